"""A hook of MkDocs: pages of the repository that are kept outside docs/ join the site, and links follow them.

A link to a page of the site leads to that page. A link to another file of the repository becomes plain text, as the
site does not hold it. Code is left alone.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/LEARNING.md",
    "benchmarks/REAL.md",
    "benchmarks/REFRESH.md",
    "benchmarks/RESULTS.md",
    "benchmarks/SWEEPS.md",
    "benchmarks/SYNTHETIC.md",
    "data/README.md",
    "examples/README.md",
)
PICTURES = ("benchmarks/reference_curves.png",)

_CODE = r"^```.*?^```[ \t]*$|`[^`\n]+`"
_LINK = r"(?P<picture>!?)\[(?P<text>(?:[^\]\[]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)(?P<title>[^)]*)\)"


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages and pictures from outside docs/."""
    for path in (*PAGES, *PICTURES):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Point the links of a page, which are relative to its place in the repository, to pages of the site."""
    here = page.file.src_uri
    source = here if here in PAGES else f"docs/{here}"

    def follow(match: re.Match[str]) -> str:
        if match["text"] is None or re.match(r"[a-z][a-z0-9+.-]*:|#|//", match["target"]):
            return match.group()
        path, hash_sign, anchor = match["target"].partition("#")
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        on_site = "index.md" if target == "README.md" else target.removeprefix("docs/")
        if files.get_file_from_path(on_site) is None:
            return match["text"] if (ROOT / target).exists() else match.group()
        relative = posixpath.relpath(on_site, posixpath.dirname(here) or os.curdir)
        return f"{match['picture']}[{match['text']}]({relative}{hash_sign}{anchor}{match['title']})"

    return re.sub(f"{_CODE}|{_LINK}", follow, markdown, flags=re.MULTILINE | re.DOTALL)
