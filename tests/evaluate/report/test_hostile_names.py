"""Reports of tickers that somebody chose to do harm: no file is lost, no text is turned around, no script gets in."""

import base64
import dataclasses
import hashlib
import html
import re
from pathlib import Path

import pandas as pd
import pytest

from ploutos_jax.cli.orders import harmless
from ploutos_jax.evaluate.report import write
from ploutos_jax.market.tickers import show_ticker
from tests.evaluate.accounts import make_ledger

ROOT = Path(__file__).resolve().parents[3]
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
NAMES = {"AAA": "L" * 300, "BRK.B": "R\u202eTXT"}
MORE = {"AAA": "aaa\u200f", "BRK.B": "AAA\u200f"}


def report(folder: Path, names: dict[str, str]) -> Path:
    """The report of an account with other names for two of its tickers."""
    ledger = make_ledger("agent", num_bars=120, trade_every=4)
    symbols = tuple(names.get(symbol, symbol) for symbol in ledger.symbols)
    tables = {name: getattr(ledger, name).replace({"ticker": names}) for name in ("fills", "trades")}
    known = {field.name for field in dataclasses.fields(ledger)}
    tables = {name: table for name, table in tables.items() if name in known}
    ledger = dataclasses.replace(ledger, symbols=symbols, **tables)
    write.write_report(folder, ledger, {"cash": make_ledger("cash", 1, 120, 0)}, tickers=list(names.values()))
    return folder


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    monkeypatch.setattr(write, "to_png", lambda figure: PNG_HEAD)


@pytest.mark.parametrize("names", [NAMES, MORE])
def test_no_picture_is_lost_and_no_text_turned(tmp_path, names):
    folder = report(tmp_path / "report", names)
    pictures = {path.name.casefold() for path in folder.glob("backtest_trades_*.png")}
    assert len(pictures) == 2 and max(map(len, pictures)) < 200
    page = (folder / "report.html").read_text("utf-8")
    assert not re.search("[\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]", page)
    assert all(f"<bdi>{html.escape(show_ticker(name))}</bdi>" in page for name in names.values())


def test_the_policy_of_a_page_names_its_own_script_and_no_other(tmp_path):
    page = (report(tmp_path / "report", NAMES) / "report.html").read_text("utf-8")
    (policy,) = re.findall(r"<meta http-equiv='Content-Security-Policy' content=\"([^\"]+)\">", page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.partition("style-src")[0]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert not re.search(r"<[^>]+ on[a-z]+=", page.replace(script, ""))
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_nothing_that_a_spreadsheet_opens_is_written():
    # =cmd() in a cell runs there. What we write are Parquet, JSON and HTML; a CSV has such cells quoted.
    sources = [*(ROOT / "ploutos_jax").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    writers = re.compile(r"\.to_csv\(|\.to_excel\(|csv\.(writer|DictWriter)\(|write_csv\(")
    lines = [line for path in sources for line in path.read_text("utf-8").splitlines() if writers.search(line)]
    assert lines and all(re.search(r"\bharmless\(\w+\)\.to_csv\(", line) for line in lines), lines
    orders = pd.DataFrame({"ticker": ["=cmd()", "-A", "@B", "BRK-B", ""], "shares": [1, 2, 3, -4, 5]})
    written = harmless(orders)
    assert list(written["ticker"]) == ["'=cmd()", "'-A", "'@B", "BRK-B", ""]
    mixed = harmless(pd.DataFrame({"rule": ["=x", 3, None, "+y"], "score": [0.5, -1.0, 2.0, 3.0]}))
    assert list(mixed["rule"])[:2] == ["'=x", 3] and mixed["rule"].iloc[3] == "'+y"
    assert mixed["score"].tolist() == [0.5, -1.0, 2.0, 3.0] and mixed["rule"].isna().tolist() == [0, 0, 1, 0]
    assert list(written["shares"]) == list(orders["shares"]) and orders["ticker"].iloc[0] == "=cmd()"
