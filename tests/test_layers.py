"""The layers of the package: scripts -> cli -> ui -> live -> experiment -> evaluate -> runs -> train -> agents
-> datasets -> env | policy -> market.

Higher imports lower, never the other way, and neighbours on one level (env, policy) never meet. A few libraries and
habits are fenced in too. Everything is read from the source with `ast`; nothing is imported.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ploutos_jax"
LEVELS = {
    "moved": -1,  # old paths of modules, by name alone
    "version": -1,  # one line, for whoever says which version this is
    "market": 0,
    "env": 1,
    "policy": 1,
    "datasets": 2,
    "agents": 3,
    "train": 4,
    "runs": 5,
    "evaluate": 6,
    "experiment": 7,
    "live": 8,
    "ui": 9,
    "cli": 10,
    "scripts": 11,
}
MAX_LINES = 400
BANNED_NAMES = {"utils", "util", "common", "helpers", "misc"}

# Library -> the places that may import it; a folder ends in "/".
FENCES = {
    "distrax": ("ploutos_jax/policy/distributions.py",),
    "tensorflow_probability": ("ploutos_jax/policy/distributions.py",),
    "pandas": (
        "ploutos_jax/market/io/",
        "ploutos_jax/evaluate/",
        "ploutos_jax/experiment/",
        "ploutos_jax/live/",
        "scripts/",
    ),
    "pyarrow": (
        "ploutos_jax/market/io/",
        "ploutos_jax/evaluate/",
        "ploutos_jax/experiment/",
        "ploutos_jax/live/",
        "scripts/",
    ),
}


def find_violations(path: str, source: str) -> list[str]:
    """Return what a file breaks, one sentence each.

    Args:
        path: the file's path from the repository root, with forward slashes.
        source: its text.
    """
    found = []
    if len(source.splitlines()) > MAX_LINES:
        found.append(f"{path} has {len(source.splitlines())} lines; split it (at most {MAX_LINES}).")
    if PurePosixPath(path).stem in BANNED_NAMES:
        found.append(f"{path}: name the file after what it is about.")
    for line, module in imported_modules(path, ast.parse(source)):
        complaint = _judge(path, module)
        if complaint:
            found.append(f"{path}:{line} imports {module}: {complaint}")
    for line, module in late_modules(ast.parse(source)):
        if not module or _layer_of_file(path) != _layer_of_module(module):
            found.append(f"{path}:{line} loads {module or 'what is not written out'} late: only its own layer's may.")
    return found


def imported_modules(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of every import, wherever in the file it stands.

    `from a import b` yields `a.b`: b may be a module, and the first parts, which decide, are the same if it is not.
    What `late` loads is not among them; see `late_modules`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node.level, node.module)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _is_import_call(node.func) and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield node.lineno, name.value


def late_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of what `late` loads; an empty name where that is not written out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "late":
            name = node.args[0] if node.args else None
            is_written = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield node.lineno, f"{PACKAGE}.{name.value}" if is_written else ""


def _absolute(path: str, level: int, module: str | None) -> str:
    if level == 0:
        return module or ""
    parents = PurePosixPath(path).parts[:-level]
    return ".".join([*parents, *([module] if module else [])])


def _is_import_call(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("import_module", "__import__")


def _judge(path: str, module: str) -> str | None:
    """Return why the file at `path` must not import `module`, or None if it may."""
    if module == "__future__.annotations":
        return "annotations as strings hide errors; quote the single name that needs it."
    root = module.split(".")[0]
    if root in FENCES and not any(_is_within(path, place) for place in FENCES[root]):
        return f"only {', '.join(FENCES[root])} may."
    if root == "tests":
        return "the package and its scripts do not depend on tests."
    if root not in (PACKAGE, "scripts") or path == f"{PACKAGE}/__init__.py":
        return None
    importer, imported = _layer_of_file(path), _layer_of_module(module)
    if importer not in LEVELS:
        return f"{importer!r} is not a layer; the layers are {', '.join(LEVELS)}."
    if imported not in LEVELS:
        return None if importer == "scripts" else "inside the package, import the layer's own module."
    if importer == imported or LEVELS[importer] > LEVELS[imported]:
        return None
    return f"{importer} must not import {imported}."


def _is_within(path: str, place: str) -> bool:
    return path.startswith(place) if place.endswith("/") else path == place


def _layer_of_file(path: str) -> str:
    parts = PurePosixPath(path).parts
    return parts[0] if parts[0] == "scripts" else parts[1].removesuffix(".py")


def _layer_of_module(module: str) -> str:
    """Return the layer's name, or what stands in its place when the package itself is imported."""
    parts = module.split(".")
    if parts[0] == "scripts":
        return "scripts"
    return parts[1] if len(parts) > 1 else PACKAGE


def module_graph() -> dict[str, set[str]]:
    """Return which modules of the package each module of it imports at its top level or inside functions."""
    files = {path.removesuffix(".py").replace("/", "."): path for path in source_files()}
    graph = {}
    for module, path in files.items():
        named = {name for _, name in imported_modules(path, ast.parse((ROOT / path).read_text(encoding="utf-8")))}
        # `from a.b import c` names a.b.c: the module is a.b.c, or a.b where c is one of its definitions.
        found = {name if name in files else name.rpartition(".")[0] for name in named}
        graph[module] = {name for name in found if name in files and name != module}
    return graph


def find_circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle of imports, in order, or an empty list where there is none."""
    done: set[str] = set()

    def visit(module: str, way: list[str]) -> list[str]:
        if module in way:
            return way[way.index(module) :]
        if module in done:
            return []
        for other in sorted(graph[module]):
            if circle := visit(other, [*way, module]):
                return circle
        done.add(module)
        return []

    return next((circle for module in sorted(graph) if (circle := visit(module, []))), [])


def test_no_circle_of_imports():
    assert find_circle(module_graph()) == []


def test_a_planted_circle_is_found():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def source_files() -> list[str]:
    paths = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


@pytest.mark.parametrize("path", source_files())
def test_file_keeps_to_its_layer(path):
    assert find_violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_what_is_loaded_late_exists():
    trees = {path: ast.parse((ROOT / path).read_text(encoding="utf-8")) for path in source_files()}
    loaded = {module for tree in trees.values() for _, module in late_modules(tree)}
    assert loaded and [m for m in loaded if not (ROOT / f"{m.replace('.', '/')}.py").is_file()] == []


def test_the_checker_sees_the_package():
    layers = {_layer_of_file(path) for path in source_files()}
    assert set(LEVELS) <= layers


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ploutos_jax/market/panel.py", "from ploutos_jax.env import types"),
        ("ploutos_jax/market/panel.py", "from ploutos_jax import env"),
        ("ploutos_jax/market/panel.py", "from ..env.types import EnvState"),
        ("ploutos_jax/market/panel.py", "import pandas as pd"),
        ("ploutos_jax/market/indicators.py", "def f():\n    from pyarrow import parquet"),
        ("ploutos_jax/env/trading.py", "import ploutos_jax.policy.torsos"),
        ("ploutos_jax/policy/torsos.py", "from ploutos_jax.env.types import Observation"),
        ("ploutos_jax/policy/torsos.py", "import distrax"),
        ("ploutos_jax/train/losses.py", "from tensorflow_probability.substrates import jax as tfp"),
        ("ploutos_jax/train/ppo.py", "from ploutos_jax.evaluate.backtest import backtest"),
        ("ploutos_jax/train/ppo.py", "import importlib\nimportlib.import_module('ploutos_jax.evaluate')"),
        ("ploutos_jax/evaluate/report.py", "from scripts.train import main"),
        ("ploutos_jax/evaluate/report.py", "from tests.reference import broker"),
        ("ploutos_jax/evaluate/report.py", "import ploutos_jax as pj"),
        ("ploutos_jax/evaluate/report.py", "from .. import load_panel"),
        ("ploutos_jax/evaluate/report.py", "from __future__ import annotations"),
        ("ploutos_jax/market/panel.py", "def f():\n    return late('env.types').EnvState"),
        ("ploutos_jax/market/panel.py", "def f(name):\n    return late(name)"),
        ("ploutos_jax/extra/thing.py", "from ploutos_jax.market import panel"),
        ("ploutos_jax/env/utils.py", ""),
        ("ploutos_jax/env/account.py", "x = 1\n" * (MAX_LINES + 1)),
    ],
)
def test_a_planted_violation_is_found(path, source):
    assert len(find_violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ploutos_jax/__init__.py", "from ploutos_jax.evaluate.backtest import backtest as backtest"),
        ("ploutos_jax/market/panel.py", "def f():\n    return late('market.io.frames').frame_of"),
        ("ploutos_jax/market/io/load.py", "import pandas as pd\nfrom ploutos_jax.market.panel import Panel"),
        ("ploutos_jax/env/trading.py", "from ploutos_jax.market.panel import Market\nfrom .types import EnvState"),
        ("ploutos_jax/policy/distributions.py", "import distrax"),
        ("ploutos_jax/train/ppo.py", "from ploutos_jax.env import rollout\nfrom ploutos_jax.policy import torsos"),
        ("ploutos_jax/evaluate/report.py", "import pandas as pd\nfrom ploutos_jax.train import checkpoint"),
        ("scripts/train.py", "import ploutos_jax as pj\nfrom ploutos_jax.train.config import TrainConfig"),
        ("ploutos_jax/env/account.py", "x = 1\n" * MAX_LINES),
    ],
)
def test_what_is_allowed_passes(path, source):
    assert find_violations(path, source) == []
