"""Bars of a coin exchange, through ccxt's own classes: whatever its stream does, each closed bar is traded once."""

import time

import numpy as np
import pytest

from ploutos_jax.live.bars import ClosedBar, labels_from
from ploutos_jax.live.coins import CoinFeed
from ploutos_jax.live.guards import Guards
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.stream import Stream, _panel
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import COSTLY, make_agent
from tests.live.coin_server import BEGINNING, MARKETS, STEP, CoinExchange, serve

SYMBOLS = ("BTC/USDT", "ETH/USDT")


def stream_of(exchange, urls):
    urls = {"base_url": urls[0], "socket_url": urls[1]}
    feed = CoinFeed("binance", "1m", **urls, clock=lambda: exchange.clock() / 1000, reconnect_seconds=0.02)
    return Stream(
        feed, feed.labels(SYMBOLS), say=lambda kind, text: None, sleep=lambda seconds: time.sleep(seconds / 50)
    )


def agent_for(stream, exchange):
    rows = [
        ClosedBar(
            np.datetime64(BEGINNING + i * STEP, "ms").astype("datetime64[ns]"),
            (BEGINNING + i * STEP) // 86_400_000,
            *np.stack([exchange.bars[market][i] for market in MARKETS], axis=1),
            tradable=np.ones(2, bool),
        )
        for i in range(100)
    ]
    return make_agent(build_market(_panel(rows, stream.labels), "minimal"), COSTLY)


@pytest.mark.thorough
@pytest.mark.parametrize("num_bars", [160, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_stream_with_every_fault_is_traded_as_its_replay(tmp_path, num_bars):
    first = 60
    total = first + num_bars
    exchange = CoinExchange(total + 40, now=first, speed=60 / 0.08)
    rng = np.random.default_rng(0)
    later = range(first + 10, total - 10)
    pick = lambda share: set(rng.choice(later, max(2, int(share * num_bars)), replace=False).tolist())  # noqa: E731
    exchange.repeated, exchange.revised, exchange.broken = pick(0.05), pick(0.03), pick(0.01)
    exchange.unsent = {(market, number) for market in MARKETS for number in pick(0.03)}
    exchange.absent = {("ETHUSDT", number) for number in pick(0.02)} | {
        (market, number) for market in MARKETS for number in (first + 31, first + 32)
    }
    exchange.away = range(first + num_bars // 2, first + num_bars // 2 + 10)
    with serve(exchange) as urls, Journal(tmp_path / "j") as journal:
        stream = stream_of(exchange, urls)
        agent = agent_for(stream, exchange)
        numbers, lateness = [], []

        def take(one):
            numbers.append(int((one.market.times[1].astype("datetime64[ms]").astype(int) - BEGINNING) // STEP))
            lateness.append(exchange.number() - numbers[-1])
            exchange.furthest = numbers[-1] + 16
            if len(numbers) == num_bars // 3:
                exchange.too_many = 2

        trader = Trader(agent, stream, journal, guards=Guards(stale_bars=None))
        exchange.furthest += 16
        trader.run(on_bar=take, should_stop=lambda: len(numbers) > num_bars - 10)
        bars = list(journal.bars(SYMBOLS, 0))
        labels = labels_from(journal.facts()["labels"])
        compared = compare(journal, agent, labels)
        history = -next(iter(journal.bars(SYMBOLS)))[0]
    # Every bar that was, once and in order, none before its end, with its final prices.
    start = numbers[0]
    gone = {n for n in range(total) if all((market, n) in exchange.absent for market in MARKETS)}
    assert numbers == [n for n in range(start, numbers[-1] + 1) if n not in gone] and min(lateness) >= 1
    for number, (_, bar, _) in zip(numbers, bars, strict=True):
        for a, market in enumerate(MARKETS):
            given = [getattr(bar, name)[a] for name in ("open", "high", "low", "close", "volume")]
            if (market, number) in exchange.absent:
                assert np.isnan(given[:4]).all() and not bar.tradable[a]
            else:
                np.testing.assert_allclose(given, exchange.bars[market][number], rtol=1e-12)
    # The account is that of the bars played from a file.
    assert compared.fills_differ == 0 and len(compared.paper.fills) > num_bars / 10
    assert (compared.bars[["equity_replay", "equity_backtest"]] == 0).all(axis=None)
    assert history > 30 and exchange.connections > 2 and exchange.too_many == 0
    assert exchange.turned_away > 0, "the outage met nobody"
    asked = sum(path == "klines" for path, _ in exchange.asked)
    assert asked < 0.9 * len(numbers), "most bars come from the socket"
    print(
        f"{len(numbers)} bars, {asked} requests, {exchange.connections} connections, {len(compared.paper.fills)} fills"
    )


def test_without_a_stream_bars_are_asked_for_and_a_skewed_clock_is_put_right(tmp_path, monkeypatch):
    exchange = CoinExchange(2000, now=60, speed=60 / 0.1)
    exchange.furthest = 1900
    with serve(exchange) as urls:
        feed = CoinFeed("binance", "1m", base_url=urls[0], clock=lambda: exchange.clock() / 1000 + 300)
        monkeypatch.setattr(feed, "listen", lambda symbols, heard: lambda: None)
        stream = Stream(feed, feed.labels(SYMBOLS))
        times = []
        history = stream.history(20)
        for bar in stream.bars(None):
            if bar is not None:
                number = int((bar.time.astype("datetime64[ms]").astype(int) - BEGINNING) // STEP)
                assert exchange.number() > number
                times.append(number)
            if len(times) == 5:
                break
            assert exchange.number() < exchange.furthest, "a slow machine has used up the exchange's bars"
    assert history is not None and history.num_bars == 20 and times == list(range(times[0], times[0] + 5))
    assert int((history.times[-1].astype("datetime64[ms]").astype(int) - BEGINNING) // STEP) == times[0] - 1


def test_a_stream_goes_on_after_the_last_bar_that_is_known():
    exchange = CoinExchange(200, now=100, speed=60 / 0.1)
    with serve(exchange) as urls:
        stream = stream_of(exchange, urls)
        bars = stream.bars(np.datetime64(BEGINNING + 40 * STEP, "ms"))
        first = next(bar for bar in bars if bar is not None)
        bars.close()
    assert int((first.time.astype("datetime64[ms]").astype(int) - BEGINNING) // STEP) == 41


def test_an_unknown_market_or_exchange_is_one_message():
    exchange = CoinExchange(100, now=50)
    with serve(exchange) as urls:
        feed = CoinFeed("binance", "1m", base_url=urls[0])
        with pytest.raises(ValueError, match="binance has no market NO/SUCH"):
            feed.labels(("NO/SUCH",))
        with pytest.raises(ValueError, match="serves no bars of '7m'"):
            CoinFeed("binance", "7m", base_url=urls[0])
    with pytest.raises(ValueError, match="exchange='nowhere' is unknown to ccxt"):
        CoinFeed("nowhere", "1m")
