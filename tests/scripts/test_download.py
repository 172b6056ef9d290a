"""scripts/download.py: from the command line to a file that the trainer reads."""

import pytest

from ploutos_jax.market.io.load import load_panel
from tests.market.io.yahoo_server import Stock, Yahoo, serve
from tests.scripts.command_line import call

LIST = "Symbol,GICS Sector\nAAA,Energy\nBRK.B,Financials\nGONE,Utilities\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory):
    pytest.importorskip("yfinance").set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


def test_the_index_with_its_sectors_and_what_failed(tmp_path):
    server = Yahoo()
    server.stocks = {"AAA": Stock(1), "BRK-B": Stock(2)}
    with serve(server, {"/list.csv": LIST}):
        args = ["--tickers", "SP500", "--output", "bars.parquet", "--list-url", f"{server.url}/list.csv"]
        args += ["--base-url", server.url, "--wait", "0"]
        outcome = call("download", args, tmp_path)
        again = call("download", args, tmp_path)
    assert outcome.code == 0, outcome.err
    assert "3 members of the S&P 500 of today" in outcome.out and "survivorship" in outcome.out
    assert "bars.parquet: 120 rows, 120 of them new, 2 tickers up to date." in outcome.out
    assert "1 tickers failed" in outcome.out and "  GONE: $GONE: No data found" in outcome.out
    assert again.code == 0 and "120 rows, 0 of them new" in again.out
    panel = load_panel(tmp_path / "bars.parquet")
    assert panel.symbols == ("AAA", "BRK-B") and panel.sectors == ("Energy", "Financials")
    assert [path.name for path in tmp_path.iterdir()] == ["bars.parquet"]


def test_quiet_says_nothing_when_nothing_fails(tmp_path):
    server = Yahoo()
    server.stocks = {"SPY": Stock(3)}
    with serve(server):
        args = ["--tickers", "spy", "--output", "spy.parquet", "--base-url", server.url, "--quiet"]
        outcome = call("download", args, tmp_path)
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
