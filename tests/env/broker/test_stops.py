"""Exits worked out by hand: break-even, distances in ATR, time stops, and bars that touch stop and target."""

from typing import Any

import pytest

from tests.env.scenes import BUY_BOTH, BUY_ONE, FLAT, SELL_ONE, WAIT, fills, near, reasons, trade

CALM = (100, 101, 99.5, 100)


@pytest.mark.thorough
def test_break_even_stands_at_the_entry_once_the_gain_has_been_seen():
    bars = [FLAT, CALM, (100, 103, 100, 102), (102, 102, 99, 99)]
    trace = trade(bars, [BUY_ONE], break_even=0.03, stop_loss=0.5)
    assert [reasons(trace, step) for step in range(3)] == [["order"], [], ["stop"]]
    assert fills(trace, 2) == [near((-100, 100))]
    not_yet = trade([FLAT, CALM, (100, 102.9, 100, 102), (102, 102, 99, 99)], [BUY_ONE], break_even=0.03)
    assert not fills(not_yet, 2)
    # A gain in the very bar of the fall comes too late: levels are those of the bars before.
    assert not fills(trade([FLAT, CALM, (101, 104, 99, 101), (101, 101, 101, 101)], [BUY_ONE], break_even=0.03), 1)


def test_distances_in_atr_are_those_known_at_the_entry():
    atr = {"known": {"atr": [[0.01, 0.01]] + [[0.5, 0.5]] * 7}}
    dip, rise = (100, 100, 97.9, 99), (100, 103.1, 100, 103)
    stopped = trade([FLAT, FLAT, dip], [BUY_ONE], stop_loss_atr=2.0, **atr)
    assert (reasons(stopped, 1), fills(stopped, 1)) == (["stop"], [near((-100, 98))])
    reached = trade([FLAT, FLAT, rise], [BUY_ONE], take_profit_atr=3.0, **atr)
    assert (reasons(reached, 1), fills(reached, 1)) == (["target"], [near((-100, 103))])
    trailed = trade([FLAT, rise, (103, 103, 100.9, 101)], [BUY_ONE], trailing_atr=2.0, **atr)
    assert (reasons(trailed, 1), fills(trailed, 1)) == (["trailing"], [near((-100, 103.1 * 0.98))])
    assert stopped.state.entry_atr[0].tolist() == [0.01, 0]


def test_without_a_known_atr_there_is_no_level():
    rules = {"stop_loss_atr": 0.1, "take_profit_atr": 0.1, "trailing_atr": 0.1}
    trace = trade([FLAT, (100, 200, 50, 100)], [BUY_BOTH], **rules)
    assert trace.info["num_trades"].sum() == 2


def test_the_nearest_of_several_levels_counts():
    both: dict[str, Any] = {"stop_loss": 0.05, "stop_loss_atr": 2.0, "take_profit": 0.05, "take_profit_atr": 2.0}
    both["known"] = {"atr": 0.01}
    assert fills(trade([FLAT, FLAT, (100, 101, 90, 91)], [BUY_ONE], **both), 1) == [near((-100, 98))]
    assert fills(trade([FLAT, FLAT, (100, 110, 99, 109)], [BUY_ONE], **both), 1) == [near((-100, 102))]


def test_an_exit_is_trailing_where_that_stop_is_the_higher_one():
    bars = [FLAT, (100, 110, 100, 110), (110, 110, 90, 95)]
    assert reasons(trade(bars, [BUY_ONE], trailing_stop=0.05, stop_loss=0.02), 1) == ["trailing"]
    assert reasons(trade(bars, [BUY_ONE], trailing_stop=0.15, stop_loss=0.02), 1) == ["stop"]


def test_a_split_divides_the_highest_price():
    bars = [FLAT, (100, 110, 100, 110), (55, 55, 53, 54), (54, 54, 52, 52)]
    trace = trade(bars, [BUY_ONE], trailing_stop=0.05, split={(2, 0): 2.0})
    assert [fills(trace, step) for step in (1, 2)] == [[], [near((-200, 52.25))]]


def test_a_second_buy_raises_the_highest_price_but_not_the_age():
    trace = trade([FLAT, FLAT, (120, 120, 120, 120)], [BUY_ONE, BUY_ONE], max_holding_bars=3)
    assert trace.state.highest_price[:2, 0] == near([100, 120])
    assert trace.state.entry_bar[:3, 0].tolist() == [1, 1, 1]
    assert [reasons(trace, step) for step in (2, 3)] == [[], ["time"]]


def test_a_time_stop_closes_at_the_open_after_its_bars():
    trace = trade([FLAT, FLAT, FLAT, (105, 105, 105, 105)], [BUY_ONE], max_holding_bars=2, spread=0.002)
    assert [len(fills(trace, step)) for step in range(3)] == [1, 0, 1]
    assert (reasons(trace, 2), fills(trace, 2)[0][1]) == (["time"], near(105 * 0.999))


def test_exits_at_the_open_have_an_order():
    everything = {"stop_loss": 0.02, "take_profit": 0.04, "max_holding_bars": 1, "drawdown_halt": 0.001}
    lower, higher, between = (
        trade([FLAT, (100, 100, 99, 99), (p, p, p, p)], [BUY_ONE], **everything) for p in (97, 105, 99)
    )
    assert [reasons(trace, 1) for trace in (lower, higher, between)] == [["stop"], ["target"], ["halt"]]
    del everything["drawdown_halt"]
    assert reasons(trade([FLAT, FLAT], [BUY_ONE, SELL_ONE], **everything), 1) == ["time"]


WIDE_LOW_FIRST, WIDE_HIGH_FIRST = (100, 110, 95, 100), (100, 105, 90, 100)
EVEN = (100, 106, 94, 100)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("choice", "prices"),
    [("pessimistic", [98, 98, 98]), ("target", [104, 104, 104]), ("path", [98, 104, 98])],
)
def test_a_bar_that_touches_stop_and_target(choice: str, prices: list[float]):
    levels: dict[str, Any] = {"compiled": {"both_touched": choice}, "stop_loss": 0.02, "take_profit": 0.04}
    for bar, price in zip((WIDE_LOW_FIRST, WIDE_HIGH_FIRST, EVEN), prices, strict=True):
        assert fills(trade([FLAT, FLAT, bar], [BUY_ONE], **levels), 1) == [near((-100, price))]


@pytest.mark.thorough
def test_a_strict_target_must_be_gone_through():
    at, through, at_open = (100, 104, 100, 101), (100, 104.01, 100, 101), (104, 104, 104, 104)
    for strict, expected in ((False, [1, 1, 1]), (True, [0, 1, 1])):
        rule = {"compiled": {"strict_targets": strict}, "take_profit": 0.04}
        assert [len(fills(trade([FLAT, FLAT, b], [BUY_ONE], **rule), 1)) for b in (at, through, at_open)] == expected


@pytest.mark.thorough
def test_a_minimum_holding_period_binds_orders_and_stops_only_if_told():
    fall = [FLAT, FLAT, (90, 90, 90, 90)]
    free = trade(fall, [BUY_ONE, SELL_ONE, SELL_ONE, SELL_ONE], min_holding_bars=3, stop_loss=0.5)
    assert [len(fills(free, step)) for step in range(4)] == [1, 0, 0, 1]
    assert free.info["rejected_orders"].tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert reasons(trade(fall, [BUY_ONE], min_holding_bars=3, stop_loss=0.02), 1) == ["stop"]
    bound = {"compiled": {"min_holding_bars": 1, "holding_binds_stops": True}, "min_holding_bars": 3}
    assert [reasons(trade(fall, [BUY_ONE], stop_loss=0.02, **bound), step) for step in (1, 2, 3)] == [[], [], ["stop"]]


@pytest.mark.thorough
@pytest.mark.parametrize("fill", ["next_close", "same_close"])
def test_a_position_bought_at_a_close_is_first_tested_in_the_next_bar(fill: str):
    # The bar of the purchase falls to 90 before it closes at 100; the next one gaps to 97.
    bought = 0 if fill == "same_close" else 1
    bars = [FLAT] * bought + [(100, 100, 90, 100), (97, 97, 97, 97)]
    trace = trade(bars, [BUY_ONE, WAIT], compiled={"fill": fill}, stop_loss=0.02)
    assert fills(trace, 0)[0] == near((100, 100))
    step = bought
    assert (reasons(trace, step)[-1], fills(trace, step)[-1]) == ("stop", near((-100, 97)))
