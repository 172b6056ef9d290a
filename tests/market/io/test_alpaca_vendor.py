"""Bars of Alpaca into a file, through alpaca-py from a server on loopback."""

import numpy as np
import pytest

from ploutos_jax.market.io.alpaca import Alpaca
from ploutos_jax.market.io.download import Request, download
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.io.trading_hours import TradingHours
from tests.live.alpaca_server import HOURS, KEY, SECRET, STEP, moment, serve
from tests.live.alpaca_server import Alpaca as Server
from tests.scripts.command_line import call

ACTIONS = {
    "cash_dividends": [
        {"symbol": "SPY", "ex_date": "2024-07-03", "rate": 1.5},
        {"symbol": "SPY", "ex_date": "2024-06-03", "rate": 9.0},  # before the first bar
        {"symbol": "AAPL", "ex_date": "2024-07-03", "rate": 0.25},
    ],
    "forward_splits": [{"symbol": "AAPL", "ex_date": "2024-07-02", "new_rate": 2, "old_rate": 1}],
}


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)


def open_server(now, **more):
    server = Server(now=now, **more)
    server.actions = ACTIONS
    server.bars["AAPL"][390:, :4] /= 2
    return server


def vendor_of(server, url):
    vendor = Alpaca(base_url=url)
    for data in vendor._data.values():
        data._clock._own = lambda: server.clock() / 1000
    return vendor


def test_minutes_of_the_session_with_splits_and_dividends(tmp_path):
    server = open_server(900, page=250)
    server.absent = {("SPY", 7)}
    request = Request(("AAPL", "SPY"), tmp_path / "bars.parquet", interval="1m", start="2024-07-01", wait=0)
    with serve(server) as (url, _):
        outcome = download(vendor_of(server, url), request, sleep=lambda _: None)
        assert outcome.failed == {} and outcome.added == {"AAPL": 900, "SPY": 899}
        server._passed, server.furthest = 1000.5, 1001
        again = download(vendor_of(server, url), request)
    assert again.added == {"AAPL": 100, "SPY": 100} and again.rewritten == []
    pages = [query for _, path, query in server.asked if path.endswith("/bars")]
    assert any("page_token" in query for query in pages) and all(query["adjustment"] == "raw" for query in pages)
    panel = load_panel(request.output)
    assert panel.num_bars == 1000 and panel.times[0] == np.datetime64(server.begins[0], "ms")
    assert [int(panel.times[i].astype("datetime64[ms]").astype(int)) for i in (989, 990)] == server.begins[989:991]
    for a, ticker in enumerate(("AAPL", "SPY")):
        there = np.isfinite(panel.close[:, a])
        for column, name in enumerate(("open", "high", "low", "close", "volume")):
            np.testing.assert_allclose(getattr(panel, name)[there, a], server.bars[ticker][:1000, column][there])
    assert np.argwhere(np.asarray(panel.split) != 1).tolist() == [[390, 0]]
    assert np.argwhere(np.asarray(panel.dividend) != 0).tolist() == [[780, 0], [780, 1]]


def test_days_are_closed_at_their_own_hour():
    server = open_server(390 * 2 + 209)
    with serve(server) as (url, _):
        vendor = vendor_of(server, url)
        before = vendor.fetch("AAPL", "1d", start="2024-07-01")
        server._passed, server.furthest = 990.01, 991  # the half day is over, and the next session has begun
        after = vendor.fetch("AAPL", "1d", start="2024-07-01")
    assert [str(day)[:10] for day in before["date"]] == ["2024-07-01", "2024-07-02"]
    assert [str(day)[:10] for day in after["date"]] == ["2024-07-01", "2024-07-02", "2024-07-03"]
    assert after["split"].tolist() == [1, 2, 1] and after["dividend"].tolist() == [0, 0, 0.25]
    assert after["close"].iloc[2] == server.bars["AAPL"][989, 3]


def test_the_command(tmp_path, monkeypatch):
    server = open_server(500)
    with serve(server) as (url, _):
        args = ["--vendor", "alpaca", "--tickers", "AAPL,XYZ", "--interval", "30m", "--start", "2024-07-01"]
        args += ["--base-url", url, "--wait", "0", "--retries", "0"]
        server.away = range(500, 501)
        away = call("download", [*args, "--output", "away.parquet"], tmp_path)
        server.away = range(0)
        hourly = call("download", [*args, "--interval", "1h", "--output", "hourly.parquet"], tmp_path)
        wrong = call("download", [*args, "--feed", "other", "--output", "other.parquet"], tmp_path)
        monkeypatch.setenv("APCA_API_SECRET_KEY", "not-the-secret")
        refused = call("download", [*args, "--output", "refused.parquet"], tmp_path)
        monkeypatch.delenv("APCA_API_KEY_ID")
        missing = call("download", [*args, "--output", "missing.parquet"], tmp_path)
    assert away.code == 2 and "Alpaca answers 503: unavailable" in away.message
    assert hourly.code == 2 and "serves no bars of '1h' of stocks; use one of 1m" in hourly.message
    assert wrong.code == 2 and "feed" in wrong.message.lower()
    assert refused.code == 2 and "refuses the keys in APCA_API_KEY_ID and APCA_API_SECRET_KEY" in refused.message
    assert missing.code == 2 and "APCA_API_KEY_ID is not set" in missing.message
    for outcome in (away, refused, missing):
        assert not any(secret in outcome.out + outcome.err for secret in (KEY, SECRET, "not-the-secret"))


def test_trading_hours():
    hours = TradingHours.read([{"date": day, "open": a, "close": b} for day, (a, b) in HOURS.items()])
    close = moment("2024-07-03", "13:00")
    assert hours.holds(close - 1) and not hours.holds(close) and not hours.holds(moment("2024-07-04", "11:00"))
    assert hours.first_from(close, STEP) == moment("2024-07-05", "09:30")
    assert hours.first_from(close - STEP, STEP) == close - STEP
    assert hours.day_of(close) == 19909 and hours.day_of(close - 1) == 19907
    assert not hours.is_over(19907, close - 1) and hours.is_over(19907, close) and hours.is_over(1, close)
    with pytest.raises(ValueError, match="calendar ends on 2024-07-08"):
        hours.first_from(moment("2024-07-08", "16:00"), STEP)
    with pytest.raises(ValueError, match="calendar is empty"):
        TradingHours.read([])
