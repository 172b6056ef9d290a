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


def test_help_can_be_typed_in(tmp_path):
    """Its indented lines, in order, are a program."""
    told = (ploutos_jax.__doc__ or "").partition("The names, by what they are for")[0]
    blocks = [textwrap.dedent(part) for part in re.findall(r"(?:^(?:    .*)?\n)+", told, re.MULTILINE)]
    script = tmp_path / "typed.py"
    script.write_text("".join(blocks), encoding="utf-8")
    assert sum("pj." in block for block in blocks) >= 3
    run = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HELP_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    assert "Ledger('rising', 299 bars" in run.stdout and "spread_bps" in run.stdout
    assert "100%" in run.stderr and "Ledger('buy and hold', 99 bars" in run.stdout
