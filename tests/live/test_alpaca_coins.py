"""Alpaca's pairs of coins from a server on loopback: around the clock, by stream and by REST, with their own orders."""

import numpy as np
import pytest

from ploutos_jax.live.alpaca_broker import AlpacaPaper
from ploutos_jax.live.bars import ClosedBar, labels_from
from ploutos_jax.live.guards import Guards
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.reconcile import reconcile
from ploutos_jax.live.routing import Router, broker_orders
from ploutos_jax.live.stream import _panel
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import COSTLY, make_agent
from tests.live.alpaca_server import KEY, SECRET, AlpacaCoins, serve
from tests.live.test_alpaca import known_fills, stream_of

PAIRS = ("BTC/USD", "ETH/USD")


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)


def agent_of(stream, alpaca):
    columns = [np.stack([alpaca.bars[pair][i] for pair in PAIRS], axis=1) for i in range(100)]
    times = [np.datetime64(begin, "ms").astype("datetime64[ns]") for begin in alpaca.begins]
    rows = [ClosedBar(times[i], 19905, *columns[i], tradable=np.ones(2, bool)) for i in range(100)]
    return make_agent(build_market(_panel(rows, stream.labels), "minimal"), COSTLY)


@pytest.mark.thorough
def test_coins_are_traded_over_midnight_as_their_replay(tmp_path):
    num_bars, first = 60, 90  # midnight UTC is bar 120
    alpaca = AlpacaCoins(now=first, speed=60 / 0.08, page=50)
    alpaca.broken, alpaca.repeated = {first + 20}, {first + 12, first + 33}
    alpaca.unsent = {("BTC/USD", first + 15), ("ETH/USD", first + 40)}
    alpaca.absent = {("ETH/USD", first + 25)} | {(pair, first + 28) for pair in PAIRS}  # minutes without a trade
    numbers, sessions = [], []

    def take(one):
        numbers.append(alpaca.index(int(one.market.times[1].astype("datetime64[ms]").astype(int))))
        sessions.append(int(one.market.sessions[1]))
        assert alpaca.number() > numbers[-1]
        alpaca.furthest = numbers[-1] + 8

    with serve(alpaca) as urls, Journal(tmp_path / "j") as journal:
        stream = stream_of(alpaca, urls, PAIRS)
        agent = agent_of(stream, alpaca)
        router = Router(AlpacaPaper(PAIRS, urls[0]), journal, PAIRS, sleep=lambda _: None)
        trader = Trader(agent, stream, journal, guards=Guards(stale_bars=None), router=router)
        alpaca.furthest += 8
        trader.run(on_bar=take, should_stop=lambda: len(numbers) >= num_bars)
        bars = list(journal.bars(PAIRS, 0))
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
        sent, found = broker_orders(journal), reconcile(journal, PAIRS)
    assert numbers == [n for n in range(numbers[0], numbers[-1] + 1) if n != first + 28]
    assert sessions == [19907 if n < 120 else 19908 for n in numbers], "a day of coins is one of UTC"
    for number, (_, bar, _) in zip(numbers, bars, strict=True):
        for a, pair in enumerate(PAIRS):
            given = [getattr(bar, name)[a] for name in ("open", "high", "low", "close", "volume")]
            there = (pair, number) not in alpaca.absent
            assert bar.tradable[a] == there
            np.testing.assert_allclose(given[:4], alpaca.bars[pair][number][:4] if there else [np.nan] * 4, rtol=1e-12)
        assert bar.split is None and bar.dividend is None
    assert compared.fills_differ == 0 and len(compared.paper.fills) > 10
    assert (compared.bars[["equity_replay", "equity_backtest"]] == 0).all(axis=None)
    assert alpaca.connections > 1 and len(sent) > 10 and alpaca.again == []
    orders = {order["client_order_id"]: order for order in alpaca.orders.values()}
    assert {order["time_in_force"] for order in orders.values()} == {"gtc"}, "Alpaca takes no order of coins for a day"
    assert {order["symbol"] for order in orders.values()} == set(PAIRS) and not any("/" in name for name in orders)
    over = sent[sent["is_open"] == 0].set_index("client_id")
    assert over["filled"].to_dict() == {name: known_fills(alpaca).get(name, 0.0) for name in over.index}
    np.testing.assert_allclose(found.held[:, 0], [alpaca.held(pair) for pair in PAIRS], rtol=1e-9)
