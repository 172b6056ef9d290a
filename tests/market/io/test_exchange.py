"""Bars of a coin exchange into a file, through ccxt from a server on loopback."""

import json

import numpy as np
import pytest

from ploutos_jax.market.io.download import Request, download
from ploutos_jax.market.io.exchange import Ccxt, fetch_candles, market_facts, open_exchange, write_facts
from ploutos_jax.market.io.load import load_panel
from tests.live.coin_server import BEGINNING, STEP, CoinExchange, serve
from tests.scripts.command_line import call


def test_pages_are_joined_and_the_bar_under_way_is_left_out(tmp_path):
    exchange = CoinExchange(400, now=250, page=100)
    exchange.absent = {("ETHUSDT", 7)}
    request = Request(("BTC/USDT", "ETH/USDT"), tmp_path / "coins.parquet", interval="1m", start="2023-11-14", wait=0)
    with serve(exchange) as (url, _):
        vendor = Ccxt("binance", url)
        exchange.too_many = 1
        outcome = download(vendor, request, sleep=lambda _: None)
        assert outcome.failed == {} and outcome.added == {"BTC/USDT": 250, "ETH/USDT": 249}
        exchange._passed = 300.5 * STEP
        exchange.furthest = 301
        again = download(Ccxt("binance", url), request)
    assert again.added == {"BTC/USDT": 50, "ETH/USDT": 50} and again.rewritten == []
    panel = load_panel(request.output)
    assert panel.symbols == ("BTC/USDT", "ETH/USDT") and panel.num_bars == 300
    for a, market in enumerate(("BTCUSDT", "ETHUSDT")):
        there = np.isfinite(panel.close[:, a])
        assert there.sum() == (300, 299)[a]
        for column, name in enumerate(("open", "high", "low", "close", "volume")):
            np.testing.assert_allclose(getattr(panel, name)[there, a], exchange.bars[market][:300, column][there])
    assert panel.times[0] == np.datetime64(BEGINNING, "ms")


def test_facts_of_a_market_lie_beside_its_bars(tmp_path):
    with serve(CoinExchange(100, now=50)) as (url, _):
        facts = Ccxt("binance", url).facts(("BTC/USDT", "NO/SUCH"))
        exchange = open_exchange("binance", url)
        exchange.load_markets()
        assert market_facts(exchange, "BTC/USDT") == facts["BTC/USDT"]
    assert facts == {
        "BTC/USDT": {"tick_size": 0.01, "lot_size": 1e-5, "min_notional": 5.0, "maker": 0.001, "taker": 0.001}
    }
    file = write_facts(tmp_path / "coins.parquet", facts)
    write_facts(tmp_path / "coins.parquet", {"ETH/USDT": {"taker": 0.002}})
    assert file.name == "coins.parquet.markets.json" and set(json.loads(file.read_text())) == {"BTC/USDT", "ETH/USDT"}


def test_an_exchange_that_is_always_too_busy_is_an_error():
    exchange, waits = CoinExchange(100, now=50), []
    with serve(exchange) as (url, _):
        client = open_exchange("binance", url)
        client.load_markets()
        exchange.too_many = 1000
        with pytest.raises(Exception, match="1003|Too many"):
            fetch_candles(client, "BTC/USDT", "1m", BEGINNING, BEGINNING + STEP, waits.append)
    assert waits == [1, 2, 4, 8, 16, 32]


def test_the_command(tmp_path):
    with serve(CoinExchange(200, now=120)) as (url, _):
        args = ["--vendor", "ccxt", "--tickers", "BTC/USDT,NO/SUCH", "--interval", "1m", "--start", "2023-11-14"]
        outcome = call("download", [*args, "--base-url", url, "--output", "coins.parquet", "--wait", "0"], tmp_path)
        assert outcome.code == 0, outcome.err
        wrong = call("download", [*args, "--exchange", "nowhere", "--output", "other.parquet"], tmp_path)
    assert "coins.parquet: 120 rows, 120 of them new" in outcome.out and "NO/SUCH: binance has no market" in outcome.out
    assert json.loads((tmp_path / "coins.parquet.markets.json").read_text())["BTC/USDT"]["taker"] == 0.001
    assert wrong.code == 2 and "exchange='nowhere' is unknown to ccxt" in wrong.message
