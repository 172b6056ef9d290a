"""Sessions, interest and the day-trade rule of the oracle, worked out by hand."""

from typing import Any

import numpy as np
import pytest

from tests.reference.broker import ReferenceBroker
from tests.reference.scenes import FIRST, PLAIN, column, make, near, reasons, signed

SMALL = {**PLAIN, "initial_cash": 10_000.0, "day_trade_rule": "pdt_2001", "sessions": [0] + [1] * 12}
FLAT = [FIRST] * 13
CRASH = [FIRST, (100.0, 100.0, 97.0, 100.0)]
STOPPED = {"spread_bps": 0.0, "initial_cash": 10_000.0, "day_trade_rule": "pdt_2001"}


def play(broker: ReferenceBroker, actions: Any) -> list[list[tuple[int, float]]]:
    return [signed(broker.step(np.atleast_1d(action))) for action in actions]


def test_interest_is_paid_for_calendar_days():
    # Friday to Monday: 3 days of 90,000 at 3.6 % over 360; nothing within a session.
    broker = make([FIRST] * 4, **PLAIN, cash_rate=0.036, sessions=[0, 1, 4, 4])
    assert broker.step([1])["interest"] == near(10.0)  # before the buy
    assert broker.step([0])["interest"] == near(90_010 * 0.036 * 3 / 360)
    assert broker.step([0])["interest"] == 0
    assert broker.cash == near(90_010 * 1.0003)
    assert broker.equity == near(broker.cash + 100 * 100)


@pytest.mark.parametrize(
    ("orders", "day_trades"),
    [
        ([0.25, 0.5, 0.0], [0, 0, 1]),  # two buys and a sale
        ([0.5, 0.0, 0.5, 0.0], [0, 1, 1, 2]),
        ([0.5, 0.25, 0.0], [0, 1, 1]),  # a buy and two sales
        ([0.5, 0.25, 0.5, 0.0], [0, 1, 1, 2]),
    ],
)
def test_day_trades_are_counted_by_runs_of_buys_and_sales(orders: list[float], day_trades: list[int]):
    broker = make(FLAT, **SMALL, action="weights")
    counts = []
    for order in orders:
        broker.step([order])
        counts.append(broker.day.day_trades[0])
    assert counts == day_trades
    assert broker.day.fills[0] == len(orders)


def test_a_sale_of_what_was_bought_the_day_before_is_no_day_trade():
    broker = make(FLAT, **{**SMALL, "sessions": [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]}, action="weights")
    play(broker, [0.5, 0.0, 0.5])
    assert broker.day.day_trades == [0, 0, 0, 0, 0]
    assert broker.day.fills == [2, 1, 0, 0, 0]
    play(broker, [0.0])
    assert broker.day.day_trades == [1, 0, 0, 0, 0]


def test_counters_forget_after_five_sessions():
    broker = make([FIRST] * 8, **{**SMALL, "sessions": [0, 0, 0, 1, 2, 3, 4, 5]})
    play(broker, [1, 2])
    window = []
    for _ in range(5):
        window.append(sum(broker.day.day_trades))
        broker.step([0])
    assert window == [1] * 5
    assert (broker.day.day_trades, broker.day.fills) == ([0] * 5, [0] * 5)


def test_entry_mode_refuses_what_could_become_the_fourth_day_trade():
    broker = make(FLAT, FLAT, FLAT, FLAT, **SMALL, day_trade_mode="entry")
    # Equal values: the first three columns; all three could be sold today, so the fourth waits.
    assert play(broker, [[1, 1, 1, 1]]) == [[(0, 10), (1, 10), (2, 10)]]
    assert play(broker, [[1, 0, 0, 1]]) == [[(0, 10)]]  # more of what was opened today is free
    assert play(broker, [[2, 2, 0, 0], [0, 1, 0, 1]]) == [[(0, -20), (1, -10)], []]
    assert (sum(broker.day.day_trades), broker.rejected_orders) == (2, 4)
    assert play(broker, [[0, 0, 2, 0]]) == [[(2, -10)]]  # sales are free
    assert sum(broker.day.day_trades) == 3
    assert not broker.day.flagged


def test_exit_mode_refuses_the_fourth_sale():
    broker = make(FLAT, FLAT, FLAT, FLAT, **SMALL, action="weights", day_trade_mode="exit")
    play(broker, [[0.2, 0.1, 0.21, 0.22]])
    # The largest three go; asset 1 is held overnight.
    assert play(broker, [[0, 0, 0, 0]]) == [[(0, -20), (2, -21), (3, -22)]]
    assert play(broker, [[0.2, 0, 0, 0]]) == [[(0, 20)]]
    assert (sum(broker.day.day_trades), broker.rejected_orders) == (3, 2)
    assert not broker.day.flagged


def test_exit_mode_keeps_a_stop_for_the_next_session():
    bars = [*CRASH, (95.0, 96.0, 94.0, 95.0), (96.0, 96.0, 96.0, 96.0), (97.9, 99.0, 97.9, 99.0)]
    broker = make(*[bars] * 4, **STOPPED, day_trade_mode="exit", sessions=[0, 1, 1, 1, 2])
    # Four buys, and four stops in the same bar: three fill, the last column stays, through the session.
    step = broker.step([1, 1, 1, 1])
    assert reasons(step) == ["order"] * 4 + ["stop"] * 3
    assert play(broker, [[0, 0, 0, 0]] * 2) == [[], []]
    assert broker.day.opened == [False, False, False, True]
    step = broker.step([0, 0, 0, 0])
    assert [(fill.asset, fill.price, fill.reason) for fill in step["fills"]] == [(3, 97.9, "stop")]
    assert sum(broker.day.day_trades) == 3


def test_the_rule_binds_by_equity_at_the_close_of_the_session_before():
    for equity, bought in ((24_999.0, 3), (25_000.0, 4)):
        broker = make(*[FLAT] * 4, **{**SMALL, "initial_cash": equity})
        assert len(broker.step([1, 1, 1, 1])["fills"]) == bought
    # A loss within the session does not bind yet, in the next session it does.
    falls = [FIRST, FIRST, *[(50.0, 50.0, 50.0, 50.0)] * 3]
    settings = {**SMALL, "initial_cash": 25_000.0, "buy_pct": 0.02, "sessions": [0, 1, 1, 1, 2]}
    broker = make(falls, *[FLAT[:5]] * 4, **settings)
    broker.step([1, 0, 0, 0, 0])
    broker.step([0, 0, 0, 0, 0])
    assert broker.equity < 25_000
    assert len(broker.step([0, 1, 1, 1, 1])["fills"]) == 4
    assert len(broker.step([1, 1, 1, 1, 1])["fills"]) == 3


def test_four_day_trades_flag_an_account_that_buys_nothing_once_it_is_bound():
    falls = [FIRST, FIRST, *[(50.0, 50.0, 50.0, 50.0)] * 3]
    settings = {**SMALL, "initial_cash": 25_500.0, "sessions": [0, 1, 1, 2, 2], "day_trade_mode": "exit"}
    broker = make(*[FLAT[:5]] * 4, falls, **settings)
    broker.step([1, 1, 1, 1, 1])
    broker.step([2, 2, 2, 2, 0])  # 25,500 do not bind: four day trades of nine fills
    assert (broker.day.flagged, broker.equity) == (True, near(24_225))
    step = broker.step([1, 1, 0, 0, 2])
    assert (signed(step), step["rejected"]) == ([(4, -25.5)], [0, 1])


def test_a_flagged_account_that_is_not_bound_buys():
    broker = make(FLAT, **{**SMALL, "initial_cash": 25_000.0})
    broker.day.flagged = True
    assert len(broker.step([1])["fills"]) == 1


def test_few_day_trades_among_many_fills_do_not_flag():
    broker = make(FLAT, **SMALL, action="weights")
    broker.day.day_trades, broker.day.fills = [4, 0, 0, 0, 0], [66, 0, 0, 0, 0]
    broker.day.judge(1)
    assert broker.day.flagged  # 4 of 66 are 6.06 %
    broker.day.flagged, broker.day.fills = False, [67, 0, 0, 0, 0]
    broker.day.judge(1)
    assert not broker.day.flagged  # 5.97 %
    broker.day.day_trades, broker.day.fills = [6, 0, 0, 0, 0], [100, 0, 0, 0, 0]
    broker.day.judge(1)
    assert not broker.day.flagged  # 6 % exactly
    broker.day.day_trades, broker.day.fills = [3, 0, 0, 0, 0], [3, 0, 0, 0, 0]
    broker.day.judge(1)
    assert not broker.day.flagged


@pytest.mark.parametrize(("session", "bought"), [(20_607, 3), (20_608, 4)])
def test_by_date_ends_with_the_rule(session: int, bought: int):
    # 2026-06-04 is day 20,608.
    settings = {**SMALL, "sessions": [session - 1, session], "day_trade_rule": "by_date"}
    assert len(make(*[[FIRST] * 2] * 4, **settings).step([1, 1, 1, 1])["fills"]) == bought


def test_same_close_orders_belong_to_the_session_of_their_bar():
    settings = {**SMALL, "fill": "same_close", "sessions": [0, 0, 1, 1]}
    broker = make([FIRST] * 4, **settings)
    broker.step([1])  # close of bar 0
    assert broker.day.opened == [True]
    broker.step([2])  # close of bar 1, still session 0; then session 1 begins
    assert (broker.day.day_trades, broker.day.fills) == ([0, 1, 0, 0, 0], [0, 2, 0, 0, 0])
    assert broker.trades_today == 0


def test_a_delisting_is_no_day_trade():
    gone = column(0, 0, 1).astype(bool)
    broker = make([FIRST] * 3, **{**SMALL, "sessions": [0, 1, 1]}, delisted=gone, tradable=~gone)
    play(broker, [1, 0])
    assert (broker.day.day_trades[0], broker.day.fills[0], broker.num_trades) == (0, 1, 1)


def test_exit_mode_counts_no_stop_that_finds_no_volume():
    volume = np.array([[0, 0, 0, 0], [1e9, 1e9, 1e9, 1e9], [0, 1e9, 1e9, 1e9]])
    quiet = [FIRST, FIRST, (97.0, 97.0, 97.0, 97.0)]
    settings = {"max_participation": 0.1, "volume": volume, "day_trade_mode": "exit", "sessions": [0, 1, 1]}
    broker = make(*[quiet] * 4, **STOPPED, **settings)
    broker.step([1, 1, 1, 1])
    # Four stops at the open: the first column has no volume and takes none of the three sales.
    assert signed(broker.step([0, 0, 0, 0])) == [(1, -10), (2, -10), (3, -10)]
