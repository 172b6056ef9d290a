"""Exits of the oracle, worked out by hand."""

from typing import Any

import pytest

from tests.reference.scenes import FIRST, QUIET, column, make, near, reasons

OFF = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None}


def run(bars: list, **settings: Any) -> list[tuple[int, str, float]]:
    """Buy 100 shares at 100 in bar 1, hold; return (bar, reason, price) of the exits."""
    broker = make([FIRST, FIRST, *bars], **{**OFF, **settings})
    found = []
    for bar in range(1, len(bars) + 2):
        step = broker.step([int(bar == 1)])
        found += [(bar, fill.reason, near(fill.price)) for fill in step["fills"] if fill.reason != "order"]
    return found


def test_a_trailing_stop_follows_the_highest_price_of_the_bars_before():
    bars = [(100.0, 110.0, 100.0, 105.0), (106.0, 112.0, 104.5, 110.0), (110.0, 110.0, 106.0, 107.0)]
    # After bar 2: 110 * 0.95 = 104.5, which bar 3 touches, whatever its own high.
    assert run(bars, trailing_stop=0.05) == [(3, "trailing", 104.5)]
    bars[1] = (106.0, 112.0, 104.6, 110.0)
    assert run(bars, trailing_stop=0.05) == [(4, "trailing", 106.4)]  # 112 * 0.95
    assert run([(100.0, 110.0, 95.1, 105.0), (104.0, 104.0, 104.0, 104.0)], trailing_stop=0.05) == [
        (3, "trailing", 104.0)
    ]


def test_an_exit_is_trailing_only_where_that_level_is_higher():
    assert run([(100.0, 100.0, 90.0, 100.0)], trailing_stop=0.05, stop_loss=0.05) == [(2, "stop", 95.0)]
    assert run([(100.0, 100.0, 90.0, 100.0)], trailing_stop=0.04, stop_loss=0.05) == [(2, "trailing", 96.0)]


def test_the_high_of_the_bar_of_entry_counts_from_the_next_bar_on():
    broker = make([FIRST, (100.0, 110.0, 96.0, 100.0), (104.4, 105.0, 104.0, 105.0)], **OFF, trailing_stop=0.05)
    assert reasons(broker.step([1])) == ["order"]
    assert broker.highest_price == [110.0]
    assert broker.step([0])["fills"][0].price == 104.4


def test_the_highest_price_follows_splits_and_buys():
    bars = [FIRST, QUIET, (60.0, 60.5, 59.0, 60.0), (60.0, 60.0, 60.0, 60.0)]
    broker = make(bars, **OFF, trailing_stop=0.2, split=column(1, 1, 2, 1))
    broker.step([1])
    assert broker.highest_price == [101.0]
    broker.step([1])
    assert broker.highest_price == [60.5]


def test_break_even_lifts_the_stop_to_the_entry():
    bars = [(101.0, 102.0, 100.5, 101.0), (101.0, 101.0, 99.0, 99.0)]
    assert run(bars, break_even=0.02) == [(3, "stop", 100.0)]
    assert run(bars, break_even=0.0201) == []
    assert run(bars, break_even=0.0201, stop_loss=0.01) == [(3, "stop", 99.0)]


def test_stops_in_average_true_ranges_use_the_one_known_at_the_entry():
    atr = column(0.02, 0.01, 0.5, 0.5)
    touched = [(100.0, 104.0, 96.0, 100.0)]
    assert run(touched, stop_loss_atr=2.0, atr=atr[:3]) == [(2, "stop", 96.0)]
    assert run(touched, stop_loss_atr=2.01, atr=atr[:3]) == []
    assert run(touched, take_profit_atr=2.0, atr=atr[:3]) == [(2, "target", 104.0)]
    # The nearer of two levels counts.
    assert run(touched, take_profit_atr=2.0, take_profit=0.03, atr=atr[:3]) == [(2, "target", 103.0)]
    assert run(touched, stop_loss_atr=2.0, stop_loss=0.03, atr=atr[:3]) == [(2, "stop", 97.0)]
    # 110 * (1 - 2.5 * 0.02) = 104.5
    higher = [(100.0, 110.0, 100.0, 110.0), (110.0, 110.0, 104.0, 110.0)]
    assert run(higher, trailing_atr=2.5, atr=atr) == [(3, "trailing", 104.5)]


def test_there_is_no_rule_in_ranges_that_are_unknown():
    bars = [(100.0, 200.0, 1.0, 100.0)]
    assert run(bars, trailing_atr=2.0, stop_loss_atr=2.0, take_profit_atr=2.0, atr=column(0, 0.02, 0.02)) == []


def test_a_time_stop_sells_at_the_open():
    assert run([(101.0, 101.0, 101.0, 101.0)] * 3, max_holding_bars=2) == [(3, "time", 101.0)]
    # A stop at the same open has the name.
    assert run([FIRST, (97.0, 97.0, 97.0, 97.0)], max_holding_bars=2, stop_loss=0.02) == [(3, "stop", 97.0)]


def test_a_time_stop_pays_the_spread():
    assert run([FIRST], max_holding_bars=1, spread_bps=20.0) == [(2, "time", 99.9)]


@pytest.mark.parametrize(
    ("bar", "policy", "found"),
    [
        ((100.0, 105.0, 97.0, 101.0), "pessimistic", ("stop", 98.0)),
        ((100.0, 105.0, 97.0, 101.0), "target", ("target", 104.0)),
        ((100.0, 105.0, 97.0, 101.0), "path", ("stop", 98.0)),  # 3 down before 5 up
        ((100.0, 104.0, 95.0, 101.0), "path", ("target", 104.0)),  # 4 up before 5 down
        ((100.0, 104.0, 96.0, 101.0), "path", ("stop", 98.0)),  # a tie
    ],
)
def test_when_both_are_touched_the_policy_decides(bar: tuple, policy: str, found: tuple):
    assert run([bar], both_touched=policy, stop_loss=0.02, take_profit=0.04) == [(2, *found)]


def test_strict_targets_have_to_be_passed():
    settings = {"take_profit": 0.04, "stop_loss": 0.02, "strict_targets": True, "both_touched": "target"}
    assert run([(100.0, 104.0, 99.0, 101.0)], **settings) == []
    assert run([(100.0, 104.01, 99.0, 101.0)], **settings) == [(2, "target", 104.0)]
    assert run([(100.0, 104.0, 97.0, 101.0)], **settings) == [(2, "stop", 98.0)]
    assert run([(104.0, 104.0, 104.0, 104.0)], **settings) == [(2, "target", 104.0)]  # filled at the open


def test_the_drawdown_halt_sells_everything_and_ends_buying():
    bars = [(100.0, 100.0, 80.0, 80.0), (90.0, 95.0, 85.0, 92.0), (92.0, 92.0, 92.0, 92.0)]
    broker = make([FIRST, FIRST, *bars], [FIRST] * 5, **{**OFF, "spread_bps": 20.0}, buy_pct=0.25, drawdown_halt=0.05)
    broker.step([1, 0])
    broker.step([0, 0])  # 25,000 at 100.1 lose a fifth: 5.02 %
    assert broker.halted
    step = broker.step([0, 1])
    assert [(fill.asset, fill.reason, fill.price) for fill in step["fills"]] == [(0, "halt", near(89.91))]
    assert step["rejected"] == [1]
    assert broker.step([1, 1])["rejected"] == [0, 1]


def test_the_halt_is_reached_not_passed():
    broker = make([FIRST, (100.0, 100.0, 80.0, 80.0)], **OFF, buy_pct=0.25, drawdown_halt=0.05)
    broker.step([1])
    assert broker.halted


def test_holding_can_bind_exits():
    fall = [(90.0, 90.0, 90.0, 90.0)] * 2
    settings = {"stop_loss": 0.02, "min_holding_bars": 2}
    assert run(fall, **settings) == [(2, "stop", 90.0)]
    assert run(fall, **settings, holding_binds_stops=True) == [(3, "stop", 90.0)]
    assert run([FIRST] * 2, max_holding_bars=1, min_holding_bars=2, holding_binds_stops=True) == [(3, "time", 100.0)]


def test_an_exit_that_volume_stops_goes_on_in_the_next_bar():
    fall = [(97.0, 97.0, 97.0, 97.0)] * 3
    broker = make([FIRST, FIRST, *fall], spread_bps=0.0, max_participation=0.1, volume=column(0, 1e4, 300, 0, 1e4))
    sold = [broker.step([int(n == 0)])["fills"] for n in range(4)]
    assert [[(fill.side, fill.shares) for fill in fills] for fills in sold] == [[(1, 100)], [(-1, 30)], [], [(-1, 70)]]
    assert broker.exits == {"stop": 2}


def test_a_bar_that_does_not_trade_raises_no_trailing_stop():
    bars = [(100.0, 120.0, 100.0, 110.0), (110.0, 110.0, 96.0, 110.0), (110.0, 110.0, 94.9, 110.0)]
    traded = column(1, 1, 0, 1, 1).astype(bool)
    assert run(bars, trailing_stop=0.05, tradable=traded) == [(4, "trailing", 104.5)]  # 110 * 0.95, not 120 * 0.95
