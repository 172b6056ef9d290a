"""README.md and docs/ against the disk: the file trees, the quick start, the two commands, links, and machine paths."""

import os
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DESIGN = ROOT / "docs" / "design.md"

_INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q uv && .venv/bin/uv pip install -q -c constraints.txt -e "
COMMANDS = {
    "start": _INSTALL + ". && .venv/bin/python scripts/train.py",
    "test": _INSTALL + '".[test]" && .venv/bin/python -m pytest',
}
FLAT_FOLDERS = {"scripts": ".py", "notebooks": ".ipynb"}
QUICK_START_LINES = 12
README_WORDS = 1200
QUICK_START_SECONDS = 240

# A path of one person's or one machine's disk. What stands before keeps web addresses and relative paths out.
MACHINE_PATH = re.compile(r"(?<![\w.~$}>/-])/(?:work|tmp|root|home|Users)/|\b[A-Z]:\\Users\\|\bfile:///")


def marked_block(text: str, mark: str) -> str:
    """Return the content of the fenced block that follows the line `<!-- mark -->`.

    Raises:
        ValueError: if there is no such block.
    """
    pattern = rf"^<!-- {re.escape(mark)} -->[ \t]*\n+```[^\n]*\n(.*?)^```[ \t]*$"
    match = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"The page has no fenced block right after the line '<!-- {mark} -->'; add it.")
    return match.group(1)


def parse_tree(block: str) -> set[str]:
    """Return the paths that a printed file tree names, directories with a closing slash.

    One entry a line: indentation (spaces or box-drawing signs), the name, then what is said about it. A directory's
    name ends in a slash; what is indented deeper lies inside. A line `.` stands for the repository's root.
    """
    named: set[str] = set()
    open_folders: list[tuple[int, str]] = []
    for line in block.splitlines():
        match = re.match(r"([\s│├└─]*)([^\s│├└─]\S*)", line)
        if match is None or match.group(2) == ".":
            continue
        column, name = len(match.group(1)), match.group(2)
        while open_folders and open_folders[-1][0] >= column:
            open_folders.pop()
        path = (open_folders[-1][1] if open_folders else "") + name
        named.add(path)
        if name.endswith("/"):
            open_folders.append((column, path))
    return named


def tree_must_name(files: list[str]) -> set[str]:
    """Return what a file tree must show of some tracked files: code, scripts, notebooks and the top level.

    Hidden files need not be shown, nor empty `__init__.py` files below the top of the package.
    """
    needed = set()
    for path in files:
        parts = PurePosixPath(path).parts
        if not parts[0].startswith("."):
            needed.add(parts[0] + ("/" if len(parts) > 1 else ""))
        code = parts[0] == "ploutos_jax" and path.endswith(".py")
        flat = len(parts) == 2 and PurePosixPath(path).suffix == FLAT_FOLDERS.get(parts[0])
        empty_init = len(parts) > 2 and parts[-1] == "__init__.py" and not (ROOT / path).read_bytes().strip()
        if (code or flat) and not empty_init:
            needed.add(path)
    return needed


def repository_files() -> list[str]:
    """Return the files that git tracks or would track, as paths from the root; skip outside a git checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"not a git checkout: {error}")
    return sorted({path for path in listing.split("\0") if path and (ROOT / path).is_file()})


def relative_links(text: str) -> list[str]:
    """Return the targets of a Markdown text's links and images that are neither addresses nor pure anchors."""
    prose = re.sub(r"^```.*?^```[ \t]*$|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", prose)
    targets += re.findall(r"^\[[^\]]+\]:\s*(\S+)", prose, re.MULTILINE)
    targets += re.findall(r"""\b(?:src|href)=["']([^"']+)["']""", prose)
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#|//", target)]


@pytest.mark.parametrize("page", [README, DESIGN], ids=lambda page: page.name)
def test_file_tree_matches_the_disk(page):
    named = parse_tree(marked_block(page.read_text(encoding="utf-8"), "tree"))
    assert named
    absent = sorted(p for p in named if not ((ROOT / p).is_dir() if p.endswith("/") else (ROOT / p).is_file()))
    assert absent == [], f"{page.name}'s file tree names what does not exist"
    needed = tree_must_name(repository_files())
    if page == README:  # the top level; docs/design.md has the rest
        needed = {path for path in needed if "/" not in path.rstrip("/")}
    assert sorted(needed - named) == [], f"{page.name}'s file tree leaves out files"


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= README_WORDS


@pytest.mark.thorough
def test_quick_start_runs(tmp_path):
    code = marked_block(README.read_text(encoding="utf-8"), "quick-start")
    assert len([line for line in code.splitlines() if line.strip()]) <= QUICK_START_LINES
    script = tmp_path / "quick_start.py"
    script.write_text(code, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=QUICK_START_SECONDS,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_the_promised_one(name):
    block = marked_block(README.read_text(encoding="utf-8"), f"command: {name}")
    assert block.strip() == COMMANDS[name]


def test_links_point_to_files():
    pages = [ROOT / path for path in repository_files() if path.endswith(".md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in relative_links(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_no_file_holds_a_machine_path():
    found = []
    for path in repository_files():
        content = (ROOT / path).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
            found += [f"{path}:{number}: {match.group()}" for match in MACHINE_PATH.finditer(line)]
    assert found == []


def test_machine_paths_are_recognised():
    slash = "/"
    for path in ("work/main/a.py", "tmp/x", "home/anna/code", "Users/anna", "root/.cache"):
        assert MACHINE_PATH.search(f"see {slash}{path}") and MACHINE_PATH.search(f'"{slash}{path}"')
    for text in ("https://example.org/home/page", "a/work/b", "$HOME/tmp/x", "../tmp/x", "work/main"):
        assert not MACHINE_PATH.search(text)


PLAIN_TREE = """\
ploutos_jax/        the package
  market/           prices
    panel.py        Panel
scripts/
  train.py          trains
LICENSE
"""
DRAWN_TREE = """\
.
├── ploutos_jax/         the package
│   └── market/          prices
│       └── panel.py     Panel
├── scripts/
│   └── train.py         trains
└── LICENSE
"""


@pytest.mark.parametrize("tree", [PLAIN_TREE, DRAWN_TREE])
def test_tree_is_parsed_in_both_styles(tree):
    expected = {
        "ploutos_jax/",
        "ploutos_jax/market/",
        "ploutos_jax/market/panel.py",
        "scripts/",
        "scripts/train.py",
        "LICENSE",
    }
    assert parse_tree(tree) == expected


def test_tree_must_name_code_and_the_top_level():
    files = [".gitignore", "LICENSE", "data/README.md", "scripts/train.py", "notebooks/tour.ipynb", "tests/a/test_b.py"]
    assert tree_must_name(files) == {
        "LICENSE",
        "data/",
        "scripts/",
        "scripts/train.py",
        "notebooks/",
        "notebooks/tour.ipynb",
        "tests/",
    }


def test_links_in_code_and_addresses_are_left_alone():
    prose = "[a](docs/a.md#part) [b](https://example.org) [c](#here) `[d](no.md)`\n"
    text = prose + "```\n[e](no.md)\n```\n![f](img/f.png 'title')\n"
    assert relative_links(text) == ["docs/a.md", "img/f.png"]
