"""Alpaca through alpaca-py, from a server on loopback: each closed bar is traded once, each order is sent once."""

import dataclasses
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.live.alpaca_broker import AlpacaPaper, AwayError
from ploutos_jax.live.alpaca_feed import AlpacaFeed
from ploutos_jax.live.bars import ClosedBar, labels_from
from ploutos_jax.live.guards import Guards
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.ledger import compare
from ploutos_jax.live.reconcile import describe, reconcile
from ploutos_jax.live.routing import Router, broker_orders, check_rules, late_exits
from ploutos_jax.live.stream import Stream, _panel
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import COSTLY, make_agent
from tests.live.alpaca_server import KEY, SECRET, STEP, Alpaca, serve

SYMBOLS = ("AAPL", "SPY")
ROOT = Path(__file__).resolve().parents[2]
HALF_DAY_END = 390 + 390 + 210


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("APCA_API_KEY_ID", KEY)
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)


def stream_of(alpaca, urls, symbols=SYMBOLS, interval="1m", say=lambda kind, text: None):
    where = {"base_url": urls[0], "socket_url": urls[1]}
    feed = AlpacaFeed(symbols, interval, **where, clock=lambda: alpaca.clock() / 1000, reconnect_seconds=0.02)
    return Stream(feed, feed.labels(symbols), say=say, sleep=lambda seconds: time.sleep(seconds / 50))


def agent_for(stream, alpaca):
    rows = [
        ClosedBar(
            np.datetime64(alpaca.begins[i], "ms").astype("datetime64[ns]"),
            19905,
            *np.stack([alpaca.bars[ticker][i] for ticker in SYMBOLS], axis=1),
            tradable=np.ones(2, bool),
        )
        for i in range(100)
    ]
    return make_agent(build_market(_panel(rows, stream.labels), "minimal"), COSTLY)


def router_of(journal, urls, said):
    return Router(
        AlpacaPaper(SYMBOLS, urls[0]), journal, SYMBOLS, say=lambda *words: said.append(words), sleep=lambda _: None
    )


def known_fills(alpaca):
    """What the server filled, by name."""
    return {order["client_order_id"]: float(order["filled_qty"]) for order in alpaca.orders.values()}


@pytest.mark.thorough
def test_a_half_day_a_holiday_and_every_fault(tmp_path, capfd):
    num_bars, first = 110, HALF_DAY_END - 40
    alpaca = Alpaca(now=first, speed=60 / 0.08, page=300)
    rng = np.random.default_rng(0)
    pick = lambda count: set(rng.choice(range(first + 5, first + 100), count, replace=False).tolist())  # noqa: E731
    alpaca.repeated, alpaca.revised, alpaca.broken = pick(6), pick(5), pick(2)
    alpaca.unsent = {(ticker, number) for ticker in SYMBOLS for number in pick(4)}
    alpaca.absent = {("SPY", number) for number in pick(5)} | {(ticker, first + 21) for ticker in SYMBOLS}
    alpaca.away = range(first + 70, first + 76)
    alpaca.actions = {
        "cash_dividends": [{"symbol": "SPY", "ex_date": "2024-07-05", "rate": 1.5}],
        "forward_splits": [{"symbol": "AAPL", "ex_date": "2024-07-05", "new_rate": 2, "old_rate": 1}],
    }
    alpaca.bars["AAPL"][HALF_DAY_END:, :4] /= 2
    said, numbers, following = [], [], []

    def take(one):
        following.append(int(one.market.sessions[2]))
        numbers.append(alpaca.index(int(one.market.times[1].astype("datetime64[ms]").astype(int))))
        assert alpaca.number() > numbers[-1]
        alpaca.furthest = numbers[-1] + 8
        # What goes wrong with orders, for some bars each.
        alpaca.too_many_orders = 2 if len(numbers) == 10 else alpaca.too_many_orders
        alpaca.lose_answers = 1 if len(numbers) in (12, 16) else alpaca.lose_answers
        alpaca.rejects = {"SPY"} if 18 <= len(numbers) < 22 else set()
        alpaca.refuses = {"AAPL"} if 24 <= len(numbers) < 28 else set()
        alpaca.fills_part = set(SYMBOLS) if 32 <= len(numbers) < 44 or 80 <= len(numbers) < 95 else set()

    with serve(alpaca) as urls, Journal(tmp_path / "j") as journal:
        stream = stream_of(alpaca, urls, say=lambda *words: said.append(words))
        agent = agent_for(stream, alpaca)
        alpaca.too_many = 1
        trader = Trader(agent, stream, journal, guards=Guards(stale_bars=None), router=router_of(journal, urls, said))
        history = -next(iter(journal.bars(SYMBOLS)))[0]
        alpaca.furthest += 8
        trader.run(on_bar=take, should_stop=lambda: len(numbers) >= num_bars)
        bars = list(journal.bars(SYMBOLS, 0))
        compared = compare(journal, agent, labels_from(journal.facts()["labels"]))
        sent, found, held = broker_orders(journal), reconcile(journal, SYMBOLS), trader.router.held()
    assert numbers == [n for n in range(numbers[0], numbers[-1] + 1) if n != first + 21] and history == first
    for number, (_, bar, _) in zip(numbers, bars, strict=True):
        for a, ticker in enumerate(SYMBOLS):
            given = [getattr(bar, name)[a] for name in ("open", "high", "low", "close", "volume")]
            if (ticker, number) in alpaca.absent:
                assert np.isnan(given[:4]).all() and not bar.tradable[a]
            else:
                np.testing.assert_allclose(given, alpaca.bars[ticker][number], rtol=1e-12)
        opens = number == HALF_DAY_END
        assert bar.split[0] == (2.0 if opens else 1.0) and bar.dividend[1] == (1.5 if opens else 0.0)
    # What follows is known by the calendar: the half day ends, and the holiday is left out.
    assert following == [19907 if n < HALF_DAY_END - 1 else 19909 for n in numbers]
    # The account is that of the bars played from a file.
    assert compared.fills_differ == 0 and len(compared.paper.fills) > 20
    assert (compared.bars[["equity_replay", "equity_backtest"]] == 0).all(axis=None)
    assert alpaca.connections > 2 and alpaca.turned_away > 0 and alpaca.too_many == 0
    # No order was taken twice, and the journal knows what became of each that the server knows.
    assert len(sent) > 20 and set(known_fills(alpaca)) <= set(sent["client_id"])
    over = sent[sent["is_open"] == 0].set_index("client_id")
    assert over["filled"].to_dict() == {name: known_fills(alpaca).get(name, 0.0) for name in over.index}
    assert {"filled", "rejected", "refused", "canceled"} <= set(sent["status"])
    assert any("insufficient buying power" in text for _, text in said)
    assert any("is rejected: 0 of" in text for _, text in said) and any("is canceled" in text for _, text in said)
    # Fills that both have are two basis points worse than the open, and the simulated ones cost 8 in all.
    both = found.table[(found.table["shares_broker"] > 0) & (found.table["price_simulated"] > 0)]
    assert len(both) > 15 and "Broker:" in describe(found)
    np.testing.assert_allclose(found.held[:, 0], held)
    # The split halved nothing: what was held before it counts twice.
    assert abs(found.held - found.held[:, ::-1]).max() < 0.3 * max(found.held.max(), 1)
    everything = (tmp_path / "j").read_bytes() + repr(said).encode() + "".join(capfd.readouterr()).encode()
    assert KEY.encode() not in everything and SECRET.encode() not in everything


def shut(path):
    journal = Journal(path)
    journal.write_facts({"account": "abc"})
    return journal


PLAN = [{"ticker": "AAPL", "side": "buy", "shares": 10.123456789123, "price": 200.0, "reason": "order"}]
CLOSE = np.array([200.0, 540.0])


def test_an_order_whose_answer_is_lost_is_looked_up(tmp_path):
    alpaca, said = Alpaca(now=100), []
    with serve(alpaca) as urls, shut(tmp_path / "j") as journal:
        router = router_of(journal, urls, said)
        router.write(0, "abc", PLAN, np.zeros(2), CLOSE, 1e5)
        alpaca.lose_answers = 1
        router.send()  # alpaca-py asks again, and is told that the name is taken
        assert broker_orders(journal)["status"].tolist() == ["filled"] and len(alpaca.orders) == 1
        assert set(alpaca.posted) == {"abc-0-AAPL-buy"}
        # What is held already is not ordered again; whole shares where Alpaca divides none.
        router.settle(1, np.ones(2))
        router.write(1, "abc", [], np.array([10.123456789, 3.7]), CLOSE, 1e5)
        router.send()
        again = broker_orders(journal)
        assert again["shares"].tolist() == [10.123456789, 3.0] and again["ticker"].tolist() == ["AAPL", "SPY"]
        router.settle(2, np.ones(2))
        assert router.held().tolist() == [10.123456789, 3.0]
        router.stop(2, "abc", CLOSE, flatten=True)
        router.settle(3, np.ones(2))
        assert router.held().tolist() == [0.0, 0.0] == [alpaca.held(ticker) for ticker in SYMBOLS]


def test_what_is_too_late_is_never_sent(tmp_path):
    alpaca, said, clock = Alpaca(now=100), [], [0.0]
    with serve(alpaca) as urls, shut(tmp_path / "j") as journal:
        router = Router(
            AlpacaPaper(SYMBOLS, urls[0]), journal, SYMBOLS, say=lambda *words: said.append(words), now=lambda: clock[0]
        )
        router.write(0, "abc", PLAN, np.zeros(2), CLOSE, 1e5)
        alpaca.away = range(100, 101)
        router.send()
        assert broker_orders(journal)["status"].tolist() == ["trying"] and "503" in said[0][1]
        router.send()  # not at once
        asked = len(alpaca.asked)
        clock[0] = 0.5
        router.send()
        assert len(alpaca.asked) == asked
        alpaca.away = range(0)
        router.settle(1, np.ones(2))
        assert broker_orders(journal)["status"].tolist() == ["late"] and alpaca.orders == {}
        clock[0] = 100.0
        router.send()
        assert alpaca.orders == {} and "too late" in said[-1][1]


KILLED = """
import os, signal, sys
import numpy as np
from ploutos_jax.live.alpaca_broker import AlpacaPaper
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.routing import Router

class Killed(AlpacaPaper):
    def submit(self, *order):
        if sys.argv[3] == "after":
            super().submit(*order)
        os.kill(os.getpid(), signal.SIGKILL)

journal = Journal(sys.argv[1])
router = Router(Killed(("AAPL", "SPY"), sys.argv[2]), journal, ("AAPL", "SPY"))
router.send()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_while_it_sends_repeats_no_order(tmp_path, moment):
    alpaca, said = Alpaca(now=100), []
    with serve(alpaca) as urls:
        with shut(tmp_path / "j") as journal:
            router_of(journal, urls, said).write(0, "abc", PLAN, np.zeros(2), CLOSE, 1e5)
        command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path / "j"), urls[0], moment]
        child = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
        assert child.returncode == -9, child.stderr.decode()
        assert len(alpaca.orders) == (moment == "after")
        with Journal(tmp_path / "j") as journal:
            assert broker_orders(journal)["status"].tolist() == ["trying"]
            router_of(journal, urls, said).send()
            assert broker_orders(journal)["status"].tolist() in (["filled"], ["accepted"])
    assert list(known_fills(alpaca)) == ["abc-0-AAPL-buy"] == list(dict.fromkeys(alpaca.posted))


@pytest.mark.parametrize(("name", "value"), [("fill", "same_close"), ("order_type", "limit")])
def test_rules_that_market_orders_do_not_follow_are_refused(name, value):
    with pytest.raises(ValueError, match=f"trained with {name}='{value}'; .* --broker simulated"):
        check_rules(dataclasses.replace(EnvConfig(), **{name: value}))
    check_rules(EnvConfig())


def test_exits_inside_a_bar_are_known_to_come_late():
    assert late_exits(EnvConfig()) == ("stop_loss", "take_profit")
    off = EnvConfig(stop_loss=None, take_profit=None, max_holding_bars=5, drawdown_halt=0.2)
    assert late_exits(off) == () and late_exits(dataclasses.replace(off, trailing_atr=2.0)) == ("trailing_atr",)


def test_live_money_wrong_keys_and_unknown_tickers_are_refused(monkeypatch):
    for address in ("https://api.alpaca.markets", "https://paper-api.alpaca.markets", "http://localhost.evil.example"):
        with pytest.raises(ValueError, match="Alpaca's paper account alone"):
            AlpacaPaper(SYMBOLS, address)
    with serve(Alpaca(now=100)) as urls:
        with pytest.raises(ValueError, match="Alpaca has no XYZ: Alpaca answers 404"):
            AlpacaPaper(("AAPL", "XYZ"), urls[0])
        with pytest.raises(ValueError, match="bars of '1h' of stocks; .* before the open"):
            AlpacaFeed(SYMBOLS, "1h", base_url=urls[0])
        with pytest.raises(ValueError, match="tickers of one kind"):
            AlpacaFeed(("AAPL", "BTC/USD"), "1m", base_url=urls[0])
        monkeypatch.setenv("APCA_API_SECRET_KEY", "wrong-secret")
        with pytest.raises(ValueError, match="refuses the keys in APCA_API_KEY_ID") as refused:
            AlpacaPaper(SYMBOLS, urls[0])
        assert "wrong-secret" not in "".join(traceback.format_exception(refused.value))
        monkeypatch.delenv("APCA_API_SECRET_KEY")
        with pytest.raises(ValueError, match="APCA_API_SECRET_KEY is not set"):
            AlpacaFeed(SYMBOLS, "1m", base_url=urls[0])


def test_what_a_gateway_says_again_of_the_keys_is_told_to_nobody():
    alpaca = Alpaca(now=100)
    with serve(alpaca) as urls:
        broker = AlpacaPaper(SYMBOLS, urls[0])
        alpaca.away = range(100, 101)
        with pytest.raises(AwayError, match="Alpaca answers 503: unavailable") as away:
            broker.find("abc")
    shown = "".join(traceback.format_exception(away.value))
    assert KEY not in shown and SECRET not in shown
    assert SECRET not in repr(vars(broker))


def test_daily_bars_are_asked_for_and_closed_when_their_day_is_over():
    alpaca = Alpaca(now=390 * 2 + 5)
    with serve(alpaca) as urls:
        feed = AlpacaFeed(SYMBOLS, "1d", base_url=urls[0], clock=lambda: alpaca.clock() / 1000)
        history = Stream(feed, feed.labels(SYMBOLS)).history(10)
    assert [str(day)[:10] for day in history.times] == ["2024-07-01", "2024-07-02"]
    own = alpaca.bars["AAPL"][390:780]
    assert history.close[1, 0] == own[-1, 3] and history.high[1, 0] == own[:, 1].max()
    day = 19907
    assert feed.first_from(day * 86_400_000 + STEP) == 19909 * 86_400_000, "the fourth of July is no bar"
