"""benchmarks/gpu/first_light.py without a GPU: what it imports is there, and its stages run in their tiny form."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "first_light.py"
SOURCES = [path.read_text(encoding="utf-8") for path in (SCRIPT, *sorted((SCRIPT.parent / "stages").glob("*.py")))]


def rehearse(folder, *flags):
    """Run stages on the CPU; return what became of each and the rows of figures."""
    env = os.environ | {"JAX_PLATFORMS": "cpu", "OUT": str(folder / "out"), "FL_WORK": str(folder / "work")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "all", "--tiny", "--seconds", "1500", *flags],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((folder / "out" / "first_light.json").read_text(encoding="utf-8"))
    return content["stages"], content["rows"]


def own_imports():
    """Return module and name of everything that stages import from this project, wherever it stands."""
    nodes = [node for source in SOURCES for node in ast.walk(ast.parse(source))]
    found = [
        (node.module or "", name.name) for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names
    ]
    return sorted({pair for pair in found if pair[0].split(".")[0] in ("ploutos_jax", "benchmarks")})


@pytest.mark.parametrize(("module", "name"), own_imports())
def test_what_stages_import_is_there(module, name):
    assert hasattr(importlib.import_module(module), name)


def test_the_tests_that_a_stage_runs_are_there():
    nodes = [node for source in SOURCES for node in ast.walk(ast.parse(source))]
    files = [node.value for node in nodes if isinstance(node, ast.Constant)]
    files = [file for file in files if isinstance(file, str) and file.startswith("tests/") and file.endswith(".py")]
    assert files and all((ROOT / file).is_file() for file in files)


@pytest.mark.thorough
def test_a_stage_writes_its_figures_as_it_finds_them(tmp_path):
    stages, rows = rehearse(tmp_path, "--only", "machine")
    assert list(stages) == ["machine"] and stages["machine"]["code"] == 0
    products = [row["tflops"] for row in rows if str(row.get("what", "")).startswith("product ")]
    assert len(products) == 3 and min(products) > 0


@pytest.mark.slow
def test_every_stage_runs_in_its_tiny_form(tmp_path):
    stages, rows = rehearse(tmp_path)
    assert {name: stage["code"] for name, stage in stages.items()} == dict.fromkeys(stages, 0)
    assert [row for row in rows if "error" in row] == []
    assert {row["stage"] for row in rows} == set(stages)
    codes = [row["codes"] for row in rows if "codes" in row]
    assert codes and not any(code for one in codes for code in one)
