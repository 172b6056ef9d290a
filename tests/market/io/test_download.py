"""Downloads through yfinance from a local server that answers as Yahoo does, faults included."""

import datetime
import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from ploutos_jax.market.io.download import Outcome, Request, download, read_known, split_tickers
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.io.vendors import COLUMNS, NoBarsError, Yahoo, read_sp500
from tests.market.io.yahoo_server import Stock, serve
from tests.market.io.yahoo_server import Yahoo as Server

yfinance = pytest.importorskip("yfinance")


@pytest.fixture(scope="module")
def vendor(tmp_path_factory):
    """Yahoo's client, bound to a server on this machine; each test gets other tickers from it."""
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))
    with serve(Server()) as server:
        yahoo = Yahoo(server.url)
        yahoo.server = server
        yield yahoo


def stock(vendor, ticker, **arguments):
    vendor.server.stocks[ticker] = Stock(sum(map(ord, ticker)), **arguments)
    return vendor.server.stocks[ticker]


def request(output, *tickers, **arguments):
    return Request(tickers=tickers, output=output, **arguments)


def run(vendor, wanted, **arguments):
    waits = []
    outcome = download(vendor, wanted, sleep=waits.append, **arguments)
    return outcome, waits


def closes(path, ticker):
    panel = load_panel(path)
    return np.asarray(panel.close)[:, panel.symbols.index(ticker)]


def test_bars_dividends_splits_and_sectors_arrive_as_the_panel_reads_them(vendor, tmp_path):
    first, second = stock(vendor, "AAA"), stock(vendor, "BBB", num_bars=40)
    first.sector = "Energy"
    first.dividends[5] = 0.75
    first.split(30, 2)
    told = []
    outcome, waits = run(vendor, request(tmp_path / "new" / "bars.parquet", "AAA", "BBB"), on_ticker=told.append)
    assert outcome == Outcome(rows=100, added={"AAA": 60, "BBB": 40})
    assert told == ["AAA", "BBB"] and waits == []
    path = tmp_path / "new" / "bars.parquet"
    assert [file.name for file in path.parent.iterdir()] == ["bars.parquet"]
    assert pq.read_schema(path).names == ["date", "ticker", *COLUMNS[1:], "sector"]
    panel = load_panel(path)
    assert panel.symbols == ("AAA", "BBB") and panel.sectors == ("Energy", "Unknown")
    for name, values in first.quote.items():
        np.testing.assert_allclose(np.asarray(getattr(panel, name))[:, 0], values, rtol=1e-6)
    assert np.isnan(np.asarray(panel.close)[40:, 1]).all(), "a missing bar stays missing"
    assert str(panel.times[0])[:10] == "2024-11-04"
    dividend = np.asarray(panel.dividend)[:, 0]
    assert dividend[5] == 0.75 and np.count_nonzero(np.nan_to_num(dividend)) == 1
    np.testing.assert_allclose(closes(path, "BBB")[:40], second.quote["close"], rtol=1e-6)


def test_an_update_joins_new_bars_and_repairs_the_last_one(vendor, tmp_path):
    known, other = stock(vendor, "CCC"), stock(vendor, "DDD")
    path = tmp_path / "bars.parquet"
    known.shown = 40
    true_close = known.quote["close"][39]
    known.quote["close"][39] *= 0.997  # the session was not over
    run(vendor, request(path, "CCC", "DDD"))
    known.shown, known.quote["close"][39] = 60, true_close
    asked = vendor.server.asked["DDD"]
    outcome, _ = run(vendor, request(path, "CCC"))
    assert outcome == Outcome(rows=120, added={"CCC": 20})
    np.testing.assert_allclose(closes(path, "CCC"), known.quote["close"], rtol=1e-6)
    np.testing.assert_allclose(closes(path, "DDD"), other.quote["close"], rtol=1e-6)
    assert vendor.server.asked["DDD"] == asked, "tickers that are not named are left alone"


def test_history_that_a_split_has_restated_is_fetched_anew(vendor, tmp_path):
    known = stock(vendor, "EEE")
    path = tmp_path / "bars.parquet"
    known.shown = 50
    run(vendor, request(path, "EEE"))
    before = closes(path, "EEE")
    known.split(55, 4)
    known.shown = 60
    outcome, _ = run(vendor, request(path, "EEE"))
    assert outcome.rewritten == ["EEE"] and outcome.added == {"EEE": 10}
    after = closes(path, "EEE")
    np.testing.assert_allclose(after, known.quote["close"], rtol=1e-6)
    np.testing.assert_allclose(after[:50], before / 4, rtol=1e-6)


def test_restated_history_that_is_served_no_more_is_kept_and_named(vendor, tmp_path):
    known = stock(vendor, "FFF")
    path = tmp_path / "bars.parquet"
    run(vendor, request(path, "FFF"))
    before = path.read_bytes()
    known.split(58, 4)
    known.stamps[:20] = [0] * 20  # before any span that is asked for
    outcome, _ = run(vendor, request(path, "FFF"))
    assert "known prices have changed" in outcome.failed["FFF"] and outcome.rewritten == []
    assert pq.read_table(path).equals(pq.read_table(io.BytesIO(before)))


def test_faults_are_tried_again_with_longer_and_longer_pauses(vendor, tmp_path):
    stock(vendor, "GGG")
    # yfinance itself asks a second time after each fault.
    vendor.server.faults["GGG"] = [500, 500, 429, 429]
    outcome, waits = run(vendor, request(tmp_path / "bars.parquet", "GGG", wait=0.5))
    assert outcome.added == {"GGG": 60} and outcome.failed == {}
    assert waits == [0.5 * 2**i for i in range(len(waits))] and len(waits) >= 2


def test_tickers_that_fail_are_named_and_the_rest_is_kept(vendor, tmp_path):
    stock(vendor, "HHH")
    stock(vendor, "III")
    vendor.server.faults["III"] = [500] * 100
    outcome, waits = run(vendor, request(tmp_path / "bars.parquet", "III", "NOPE", "HHH", retries=2, wait=1.0))
    assert outcome.added == {"HHH": 60} and set(outcome.failed) == {"III", "NOPE"}
    assert "No data found, symbol may be delisted" in outcome.failed["NOPE"]
    assert waits == [1.0, 2.0], "what the vendor does not have is not asked for again"
    assert load_panel(tmp_path / "bars.parquet").symbols == ("HHH",)
    vendor.server.faults["III"] = []


def test_without_a_single_bar_nothing_is_written(vendor, tmp_path):
    with pytest.raises(ValueError, match="Not a single bar was served, nothing is written. NONE: "):
        run(vendor, request(tmp_path / "deep" / "bars.parquet", "NONE"))
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_keeps_what_was_fetched(vendor, tmp_path):
    stock(vendor, "JJJ")
    stock(vendor, "KKK")
    done = []
    outcome, _ = run(
        vendor,
        request(tmp_path / "bars.parquet", "JJJ", "KKK"),
        on_ticker=done.append,
        should_stop=lambda: len(done) == 1,
    )
    assert outcome.interrupted and outcome.added == {"JJJ": 60}
    assert load_panel(tmp_path / "bars.parquet").symbols == ("JJJ",)


def test_a_vendor_is_asked_for_no_bars_before_a_start(vendor):
    stock(vendor, "LLL")
    bars = vendor.fetch("LLL", "1d", start=datetime.datetime(2025, 1, 6))
    assert str(bars["date"].iloc[0])[:10] == "2025-01-06"
    with pytest.raises(NoBarsError):
        vendor.fetch("ZZZZ", "1d", period="5y")


def test_files_of_others_are_left_alone(vendor, tmp_path):
    stock(vendor, "MMM")
    path = tmp_path / "bars.parquet"
    run(vendor, request(path, "MMM"))
    with pytest.raises(ValueError, match="holds bars of interval='1d', not '1wk'; give another output"):
        read_known(request(path, "MMM", interval="1wk"), "yahoo")
    with pytest.raises(ValueError, match="holds bars of vendor='yahoo', not 'other'"):
        read_known(request(path, "MMM"), "other")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "own.parquet")
    with pytest.raises(ValueError, match="was not written by a download"):
        read_known(request(tmp_path / "own.parquet", "MMM"), "yahoo")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_known(request(tmp_path / "text.parquet", "MMM"), "yahoo")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tickers": ()}, "tickers names none"),
        ({"output": "bars.csv"}, "must end in .parquet"),
        ({"interval": "1day"}, "interval='1day' is unknown"),
        ({"period": "5 years"}, "period='5 years' is unknown"),
        ({"retries": -1}, "must not be negative"),
    ],
)
def test_requests_that_make_no_sense(tmp_path, arguments, said):
    output = tmp_path / arguments.pop("output", "bars.parquet")
    with pytest.raises(ValueError, match=said):
        Request(**{"tickers": ("A",), "output": output} | arguments)


def test_the_list_of_the_index(tmp_path):
    text = 'Symbol,Security,GICS Sector\nAAA,"A, Inc.",Energy\nBRK.B,Berkshire,Financials\n'
    with serve(Server(), {"/list.csv": text, "/empty.csv": "", "/other.csv": "a,b\n1,2\n"}) as server:
        assert read_sp500(f"{server.url}/list.csv") == {"AAA": "Energy", "BRK-B": "Financials"}
        for name, said in (("empty", "found none"), ("other", "no column Symbol or ticker; found a, b")):
            with pytest.raises(ValueError, match=said):
                read_sp500(f"{server.url}/{name}.csv")
    with pytest.raises(ValueError, match="cannot be read"):
        read_sp500((tmp_path / "nowhere.csv").as_uri())


def test_tickers_of_a_list():
    assert split_tickers(" aapl, MSFT,,brk-b\nspy ") == ["AAPL", "MSFT", "BRK-B", "SPY"]
