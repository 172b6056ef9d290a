"""Stops and targets of the oracle, by hand.

Numbers as in `test_broker_reference.py`: a buy at an open of 100 fills at 100.1, a stop at P at 0.999 P.
"""

import pytest

from tests.reference.scenes import FIRST, QUIET, make, near

SHARES = 10_000 / 100.1

UNLIMITED = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None, "max_position_pct": 1.0}


def test_a_stop_that_the_open_jumps_over_fills_at_the_open():
    broker = make([FIRST, QUIET, (95.0, 103.0, 94.0, 102.0)])
    broker.step([1])
    step = broker.step([1])
    # Stop 100.1 * 0.98 = 98.098, open 95: 95 * 0.999 = 94.905, not 98; the order to buy more is refused.
    assert step["fills"] == [(0, -1, near(SHARES), near(94.905), 95.0, 0.0, "stop")]
    assert broker.cash == near(90_000 + 9_481.018981018981)
    assert (broker.exits["stop"], broker.exits["target"], broker.rejected_orders, step["rejected"]) == (1, 0, 1, [0])
    assert broker.shares[0] == 0


def test_a_target_that_the_open_jumps_over_fills_at_the_better_open_without_spread():
    broker = make([FIRST, QUIET, (110.0, 111.0, 90.0, 100.0)])
    broker.step([1])
    step = broker.step([2])
    # Target 104.104, open 110: a resting limit order gets 110 flat; the agent's own sell finds nothing to sell.
    assert step["fills"] == [(0, -1, near(SHARES), 110.0, 110.0, 0.0, "target")]
    assert broker.cash == near(90_000 + 10_989.010989010989)
    assert (step["cost"], broker.exits["stop"], broker.exits["target"], broker.rejected_orders) == (0, 0, 1, 1)


@pytest.mark.parametrize(("first", "reason"), [(98.0, "stop"), (104.0, "target")])
def test_levels_are_reached_when_touched_by_the_open(first: float, reason: str):
    broker = make([FIRST, QUIET, (first, 110.0, 90.0, 100.0)], spread_bps=0.0)
    broker.step([1])
    step = broker.step([1])  # the order comes after the exit, and is refused
    assert (step["fills"], step["rejected"]) == ([(0, -1, 100.0, first, first, 0.0, reason)], [0])


@pytest.mark.parametrize(
    ("bar", "reason", "price"),
    [
        ((100.0, 101.0, 98.0, 99.0), "stop", 98.0),
        ((100.0, 104.0, 99.0, 99.0), "target", 104.0),
        ((100.0, 103.99, 98.01, 99.0), None, 0.0),
    ],
)
def test_levels_are_reached_when_touched_inside_the_bar(bar: tuple, reason: str | None, price: float):
    broker = make([FIRST, QUIET, bar], spread_bps=0.0)
    broker.step([1])
    expected = [] if reason is None else [(0, -1, 100.0, price, price, 0.0, reason)]
    assert broker.step([0])["fills"] == expected


def test_the_stop_wins_when_both_are_touched():
    broker = make([FIRST, QUIET, (100.0, 105.0, 97.0, 101.0)])
    broker.step([1])
    step = broker.step([0])
    # 100.1 * 0.98 * 0.999 = 97.999902, so 10,000 * 0.98 * 0.999 = 9,790.20 comes back.
    assert step["fills"] == [(0, -1, near(SHARES), near(97.999902), near(98.098), 0.0, "stop")]
    assert broker.cash == near(99_790.20)
    assert (broker.exits["stop"], broker.exits["target"]) == (1, 0)


def test_the_stop_works_in_the_bar_of_entry():
    broker = make([FIRST, (100.0, 101.0, 97.0, 100.0)])
    step = broker.step([1])
    assert [(fill.side, fill.reason) for fill in step["fills"]] == [(1, "order"), (-1, "stop")]
    assert (broker.cash, broker.equity) == (near(99_790.20), near(99_790.20))
    assert (broker.num_trades, broker.exits["stop"], broker.entry_bar[0]) == (2, 1, -1)
    assert step["turnover"] == near(0.1 + 0.097902)


def test_the_target_works_in_the_bar_of_entry_at_its_level_exactly():
    broker = make([FIRST, (100.0, 109.0, 99.0, 100.0)])
    broker.step([1])
    assert broker.cash == near(100_400)  # 4 % of the 10,000 that the entry cost, fill to fill
    assert (broker.exits["stop"], broker.exits["target"]) == (0, 1)


def test_an_exit_inside_the_bar_can_follow_an_order_and_never_leads_to_a_second_exit():
    # Flat after the jump at the open, the asset is not bought again, so the low of 90 has nothing to stop.
    broker = make([FIRST, QUIET, (97.0, 110.0, 90.0, 100.0), (100.0, 100.5, 99.5, 100.0)])
    broker.step([1])
    assert len(broker.step([1])["fills"]) == 1
    assert [fill.side for fill in broker.step([1])["fills"]] == [1]


def test_levels_follow_the_average_price_of_the_buys():
    # 100 shares at 100 and 10,000 / 103 shares at 103: average 20,000 / (100 + 10,000 / 103) = 101.477832512315,
    # stop 99.448275862069, target 105.536945812808. The old stop 98 is not touched, the old target 104 is.
    bars = [FIRST, QUIET, (103.0, 104.5, 99.4, 103.0)]
    broker = make(bars, spread_bps=0.0)
    broker.step([1])
    step = broker.step([1])
    assert step["fills"][1] == (0, -1, near(197.0873786407767), near(99.448275862069), near(99.448275862069), 0, "stop")

    broker = make([*bars[:2], (103.0, 104.5, 99.5, 103.0)], spread_bps=0.0)
    broker.step([1])
    assert len(broker.step([1])["fills"]) == 1
    assert (broker.entry_price[0], broker.entry_bar[0]) == (near(101.477832512315), 1)


def test_the_average_price_has_the_spread_in_and_the_fees_out():
    broker = make([FIRST, QUIET, (101.0, 101.5, 100.5, 101.0)], commission_bps=10.0)
    broker.step([1])
    assert broker.equity == near(99_980.00999000999)  # 9.99000999 of spread and 10 of fees
    broker.step([1])
    # 10,000 at 100.1 and 10 % of that equity at 101 * 1.001 = 101.101.
    assert broker.entry_price[0] == near(19_998.000999000999 / (10_000 / 100.1 + 9_998.000999000999 / 101.101))


def test_a_stop_above_the_open_fills_from_the_open():
    # A spread of 6 %: bought at 103, stop 100.94 above the open of 100: out at 100 * 0.97, not at 100.94 * 0.97.
    broker = make([FIRST, (100.0, 101.0, 99.5, 100.0)], spread_bps=600.0)
    fills = broker.step([1])["fills"]
    assert fills[1][3:] == (near(97.0), 100.0, 0.0, "stop")


def test_stop_and_target_can_be_switched_off():
    crash = (60.0, 70.0, 50.0, 60.0)
    rally = (160.0, 170.0, 150.0, 160.0)
    for bar, off in ((crash, "stop_loss"), (rally, "take_profit")):
        broker = make([FIRST, QUIET, bar], **{off: None})
        broker.step([1])
        assert broker.step([0])["fills"] == []
        assert broker.shares[0] == near(SHARES)
