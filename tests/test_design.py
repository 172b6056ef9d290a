"""docs/design.md and CONTRIBUTING.md against the disk: every path and every `file.py: function` named exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs" / "design.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
PLACES = ("ploutos_jax/", "scripts/", "tests/", "docs/", "benchmarks/", ".github/", ".ci/")
MAX_FOLDERS = 3


def named_paths(text: str) -> set[str]:
    """Return the paths in code spans that begin with a folder of the repository, those with functions included."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return {match.group() for span in spans if span.startswith(PLACES) and (match := re.match(r"[\w./-]+", span))}


def named_functions(text: str) -> set[tuple[str, str]]:
    """Return the pairs of file and name in code spans such as `ploutos_jax/env/rollout.py: rollout`."""
    return set(re.findall(r"`([\w./]+\.py): (\w+)`", text))


def definitions(source: str) -> set[str]:
    """Return the names of all functions and classes of a file, methods included."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page):
    assert sorted(p for p in named_paths(page.read_text(encoding="utf-8")) if not (ROOT / p).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_functions_exist(page):
    found = named_functions(page.read_text(encoding="utf-8"))
    absent = [
        f"{path}: {name}"
        for path, name in sorted(found)
        if not (ROOT / path).is_file() or name not in definitions((ROOT / path).read_text(encoding="utf-8"))
    ]
    assert absent == []


def test_questions_are_answered_within_three_folders():
    page = PAGES[0].read_text(encoding="utf-8")
    rows = re.findall(r"^\| Where [^|]+\|([^|]+)\|([^|]+)\|$", page, re.MULTILINE)
    assert len(rows) == 5
    for folders, answer in rows:
        opened = re.findall(r"`(\w+)`", folders)
        assert 1 <= len(opened) <= MAX_FOLDERS
        for path, _ in named_functions(answer):
            assert path.split("/")[1:-1] == opened


AXES = re.compile(r'\b[A-Z]\w*\[[^"\n]*(?:\n[^"\n]*)?"([^"\n]*)"\]|`\[([^\]`\n]*)\]`')
"""Shapes of annotations, and those that docstrings write in brackets."""


def test_letters_of_axes_are_those_of_the_glossary():
    letters = re.findall(r"^\| ([A-Z]) \|", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(letters) == len(set(letters)) >= 12
    strange, found = [], set()
    for path in sorted((ROOT / "ploutos_jax").rglob("*.py")):
        for shape in AXES.finditer(path.read_text(encoding="utf-8")):
            axes = set(re.findall(r"(?<![\w%'-])([A-Z])(?![\w%'])", shape[1] or shape[2] or ""))
            strange += [f"{path.relative_to(ROOT)}: {shape.group()}" for _ in axes - set(letters)]
            found |= axes
    assert strange == []
    assert found == set(letters), "the glossary names a letter that no shape has"


def test_layers_on_the_page_are_those_on_disk():
    page = PAGES[0].read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(ploutos_jax/[\w/]+)/` \|", page, re.MULTILINE))
    code = [path for path in (ROOT / "ploutos_jax").rglob("*.py") if path.name != "__init__.py"]
    folders = {path.parent.relative_to(ROOT).as_posix() for path in code} - {"ploutos_jax"}
    assert folders <= named


def test_what_does_not_exist_is_found():
    text = "see `ploutos_jax/env/nowhere.py: step` and `scripts/train.py --help`\n```\n`docs/none.md`\n```\n"
    assert named_paths(text) == {"ploutos_jax/env/nowhere.py", "scripts/train.py"}
    assert named_functions(text) == {("ploutos_jax/env/nowhere.py", "step")}
    assert definitions("class A:\n    def b(self): ...") == {"A", "b"}


def test_moved_modules_are_where_the_page_says():
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    moved = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", page, re.MULTILINE)
    assert len(moved) > 100
    package = ROOT / "ploutos_jax"
    places = [(new, package / new.replace(".", "/")) for _, new in moved]
    assert [new for new, at in places if not (at.with_suffix(".py").is_file() or (at / "__init__.py").is_file())] == []
    assert [old for old, _ in moved if (package / f"{old.replace('.', '/')}.py").is_file()] == []
