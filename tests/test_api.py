"""The public names: each on a page of the API and in the package's own help, whose code runs."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ploutos_jax

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.md"))}
HELP_SECONDS = 240


def test_all_are_the_public_names():
    assert ploutos_jax.__all__ == sorted(ploutos_jax._NAMES)
    assert set(ploutos_jax.__all__) <= set(dir(ploutos_jax))


@pytest.mark.parametrize("name", ploutos_jax.__all__)
def test_every_public_name_is_on_a_page(name):
    entry = f"::: ploutos_jax.{ploutos_jax._NAMES[name]}.{name}\n    options:\n      heading: pj.{name}\n"
    assert [page for page, text in PAGES.items() if entry in text], f"no page of docs/api has the entry of {name}"
    assert f"`{name}`" in PAGES["index.md"]


@pytest.mark.parametrize("name", ploutos_jax.__all__)
def test_every_public_name_says_what_it_is(name):
    value = getattr(ploutos_jax, name)
    assert isinstance(value, tuple) or len((value.__doc__ or "").split()) > 5


def test_pages_name_nothing_that_is_not_public():
    named = {name for text in PAGES.values() for name in re.findall(r"heading: pj\.(\w+)$", text, re.MULTILINE)}
    assert named == set(ploutos_jax.__all__)


def test_help_names_everything_once():
    help_text = ploutos_jax.__doc__ or ""
    table = help_text.partition("The names, by what they are for")[2]
    rows = re.findall(r"^    [a-z ]+?  +([A-Za-z_, ]+)$", table, re.MULTILINE)
    named = [name.strip() for row in rows for name in row.split(",")]
    assert sorted(named) == ploutos_jax.__all__


def run_program(code, folder):
    """Run code in a process of its own, in a folder; return what it printed to stdout and stderr."""
    script = folder / "typed.py"
    script.write_text(code, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HELP_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr


@pytest.mark.thorough
def test_help_can_be_typed_in(tmp_path):
    """Its indented lines, in order, are a program."""
    told = (ploutos_jax.__doc__ or "").partition("The names, by what they are for")[0]
    blocks = [textwrap.dedent(part) for part in re.findall(r"(?:^(?:    .*)?\n)+", told, re.MULTILINE)]
    assert sum("pj." in block for block in blocks) >= 3
    out, err = run_program("".join(blocks), tmp_path)
    assert "Ledger('rising', 299 bars" in out and "spread_bps" in out
    assert "100%" in err and "Ledger('buy and hold', 99 bars" in out


@pytest.mark.thorough
def test_the_page_for_people_who_know_pandas_can_be_typed_in(tmp_path):
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    out, _ = run_program("\n".join(blocks), tmp_path)
    assert "Panel(4 tickers, 600 bars" in out and "Ledger('cross', 499 bars" in out and "weight_after" in out
    assert {path.name for path in tmp_path.glob("*.png")} == {"cross.png", "costs.png"}
