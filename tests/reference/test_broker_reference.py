"""The oracle itself, proved on cases worked out by hand and on invariants of random markets.

Most cases use a full spread of 20 bps, so that a buy at an open of 100 fills at 100.1 and a stop or sell at P fills at
0.999 P. A first buy of 10 % of 100,000 is then 10,000 / 100.1 = 99.9000999 shares, and whatever they are sold for at a
price p brings 10,000 p / 100.1.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.reference.broker import ReferenceBroker
from tests.reference.scenes import FIRST, QUIET, column, make, near

SHARES = 10_000 / 100.1
UNLIMITED = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None, "max_position_pct": 1.0}


def test_a_buy_and_a_sell_pay_half_the_spread_each():
    broker = make([FIRST, QUIET, (101.0, 101.5, 100.5, 101.0)])
    step = broker.step([1])
    # 10 % of 100,000 at 100 * 1.001; the spread costs 0.1 a share; marked at 100.
    assert step["fills"] == [(0, 1, near(99.90009990009990), near(100.1), 100.0, 0.0, "order")]
    assert step["cost"] == near(9.990009990009990)
    assert step["turnover"] == near(0.1)
    assert (broker.cash, broker.equity) == (near(90_000), near(99_990.00999000999))
    assert step["profit"] == near([-9.99000999000999])
    assert (broker.entry_price[0], broker.entry_bar[0], broker.t) == (near(100.1), 1, 1)

    step = broker.step([2])
    # Sold at 101 * 0.999 = 100.899: 10,000 * 100.899 / 100.1 = 10,079.820179820180; the spread costs 0.101 a share.
    assert step["fills"] == [(0, -1, near(SHARES), near(100.899), 101.0, 0.0, "order")]
    assert step["cost"] == near(10.08991008991009)
    assert (broker.cash, broker.equity) == (near(100_079.82017982018), broker.cash)
    assert (broker.shares[0], broker.entry_price[0], broker.entry_bar[0]) == (0, 0, -1)
    assert (broker.num_trades, broker.rejected_orders, broker.cost) == (2, 0, near(20.07992007992008))


def test_slippage_adds_to_half_the_spread():
    broker = make([FIRST, QUIET], spread_bps=4.0, slippage_bps=3.0)
    assert broker.step([1])["fills"][0].price == near(100.05)  # 2 + 3 bps


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


def test_buys_are_cut_in_proportion_to_the_cash():
    flat = [FIRST] * 3
    broker = make(flat, flat, spread_bps=0.0, buy_pct=0.6, max_position_pct=0.8)
    broker.step([1, 0])
    # Asset 0 has room for 80,000 - 60,000 = 20,000, asset 1 wants 60,000; 40,000 pay for half of each.
    step = broker.step([1, 1])
    assert [fill.shares for fill in step["fills"]] == [near(100), near(300)]
    assert broker.shares == near([700, 300])
    assert 0 <= broker.cash < 1e-9


def test_buys_are_cut_with_their_fees():
    settings = {"spread_bps": 0.0, "buy_pct": 0.8, "max_position_pct": 0.8}
    broker = make([FIRST] * 2, [FIRST] * 2, **settings, commission_bps=100.0, commission_per_share=1.0)
    step = broker.step([1, 1])
    # At 100 a share both fees are 1 % of notional: 80,000 needs 81,600, and half the cash buys 50,000 / 1.02.
    assert [fill.shares for fill in step["fills"]] == [near(490.1960784313725)] * 2
    assert [fill.fee for fill in step["fills"]] == [near(980.3921568627451)] * 2
    assert 0 <= broker.cash < 1e-9


def test_buys_without_any_cash_are_rejected():
    flat = [FIRST] * 3
    broker = make(flat, flat, spread_bps=0.0, buy_pct=1.0, max_position_pct=1.0)
    broker.step([1, 0])
    assert broker.cash == 0
    assert broker.step([0, 1])["fills"] == []
    assert broker.rejected_orders == 1


@pytest.mark.parametrize(("sold", "bought"), [(0, 1), (1, 0)])
def test_sells_come_before_buys(sold: int, bought: int):
    flat = [FIRST] * 3
    broker = make(flat, flat, spread_bps=0.0, buy_pct=1.0, max_position_pct=1.0)
    broker.step([1 if a == sold else 0 for a in (0, 1)])
    step = broker.step([2 if a == sold else 1 for a in (0, 1)])
    assert [(fill.asset, fill.side, fill.shares) for fill in step["fills"]] == [(sold, -1, 1000), (bought, 1, 1000)]
    assert step["turnover"] == near(2.0)


def test_money_from_an_exit_at_the_open_pays_for_buys_but_not_money_from_inside_the_bar():
    settings = {"spread_bps": 0.0, "buy_pct": 1.0, "max_position_pct": 1.0}
    flat = [FIRST] * 3
    broker = make([FIRST, FIRST, (90.0, 100.0, 90.0, 100.0)], flat, **settings)
    broker.step([1, 0])
    assert [fill[:3] for fill in broker.step([0, 1])["fills"]] == [(0, -1, 1000), (1, 1, near(900))]

    broker = make([FIRST, FIRST, (100.0, 100.0, 90.0, 100.0)], flat, **settings)
    broker.step([1, 0])
    assert [fill[:3] for fill in broker.step([0, 1])["fills"]] == [(0, -1, 1000)]
    assert (broker.cash, broker.rejected_orders) == (near(98_000), 1)


def test_a_position_grows_up_to_its_limit():
    broker = make([FIRST] * 5, spread_bps=0.0)
    held = []
    for _ in range(4):
        broker.step([1])
        held.append(broker.shares[0])
    assert held == near([100, 200, 250, 250])  # 10 %, 20 %, then only 5 % more of 100,000, then nothing
    assert (broker.num_trades, broker.rejected_orders) == (3, 1)


def test_the_limit_values_what_is_held_at_the_open_and_equity_at_the_close_before():
    broker = make([FIRST, FIRST, (103.0, 103.5, 102.0, 102.0)], spread_bps=0.0, buy_pct=0.2)
    broker.step([1])
    broker.step([1])
    # 25 % of 100,000 less 200 * 103 = 4,400, at 103.
    assert broker.shares[0] == near(200 + 42.71844660194175)


def test_the_size_of_a_buy_follows_equity_at_the_close_before():
    other = [FIRST, (100.0, 103.0, 99.0, 102.0), (50.0, 120.0, 40.0, 100.0)]
    broker = make(other, [FIRST] * 3, spread_bps=0.0, stop_loss=None, take_profit=None)
    broker.step([1, 0])
    # 100 shares marked at 102: equity 100,200, whatever the next open is.
    assert broker.step([0, 1])["fills"][0].shares == near(100.2)


def test_fees_per_share_and_per_notional_are_paid_on_both_sides():
    broker = make([FIRST] * 3, spread_bps=0.0, commission_per_share=0.005)
    broker.step([1])
    assert (broker.cash, broker.equity) == (near(89_999.5), near(99_999.5))  # 100 shares * 0.005
    assert broker.entry_price[0] == 100.0
    broker.step([2])
    assert (broker.cash, broker.cost) == (near(99_999.0), near(1.0))

    broker = make([FIRST] * 3, spread_bps=0.0, commission_per_share=0.005, commission_bps=10.0)
    assert broker.step([1])["fills"][0].fee == near(10.5)
    assert broker.step([2])["fills"][0].fee == near(10.5)


def test_stops_and_targets_pay_commission():
    for bar, fee in (((100.0, 101.0, 97.0, 100.0), 9.8), ((100.0, 105.0, 99.0, 100.0), 10.4)):
        broker = make([FIRST, QUIET, bar], spread_bps=0.0, commission_bps=10.0)
        broker.step([1])
        step = broker.step([0])
        assert (step["fills"][0].fee, step["cost"]) == (near(fee), near(fee))


def test_a_split_moves_shares_entry_and_stop():
    bars = [FIRST, QUIET, (25.2, 25.3, 24.6, 25.0), (25.0, 25.1, 24.5, 24.8)]
    broker = make(bars, spread_bps=0.0, split=column(1, 1, 4, 1))
    broker.step([1])
    step = broker.step([0])
    assert (broker.shares[0], broker.entry_price[0], broker.entry_bar[0]) == (400, 25, 1)
    assert (step["fills"], step["profit"][0], broker.equity) == ([], near(0), near(100_000))
    # The stop is 24.5 now, and the low is just there: 400 * 24.5.
    assert broker.step([0])["fills"][0][:4] == (0, -1, 400, 24.5)
    assert broker.cash == near(99_800)


def test_a_reverse_split_keeps_value():
    broker = make([FIRST, QUIET, (400.0, 401.0, 399.0, 400.0)], spread_bps=0.0, split=column(1, 1, 0.25))
    broker.step([1])
    assert broker.step([0])["fills"] == []
    assert (broker.shares[0], broker.entry_price[0], broker.equity) == (25, 400, near(100_000))


def test_a_dividend_goes_to_holders_over_the_open_per_new_share():
    bars = [FIRST, QUIET, (50.0, 50.5, 49.5, 50.0), (50.0, 50.5, 49.5, 50.0)]
    broker = make(bars, spread_bps=0.0, split=column(1, 1, 2, 1), dividend=column(0, 7, 1.5, 2))
    assert broker.step([1])["profit"][0] == near(0)  # bought at the open of the ex-date: nothing
    step = broker.step([0])
    assert (broker.cash, step["profit"][0]) == (near(90_300), near(300))  # 200 new shares * 1.5
    assert broker.entry_price[0] == 50.0
    step = broker.step([2])  # sold at the open of the ex-date: paid
    assert (broker.cash, step["profit"][0]) == (near(100_700), near(400))


def test_corporate_actions_do_not_wait_for_trading():
    halted = column(1, 1, 0).astype(bool)
    bars = [FIRST, QUIET, (50.0, 50.0, 50.0, 50.0)]
    broker = make(bars, spread_bps=0.0, tradable=halted, split=column(1, 1, 2), dividend=column(0, 0, 1))
    broker.step([1])
    broker.step([0])
    assert (broker.shares[0], broker.cash, broker.equity) == (200, near(90_200), near(100_200))


def test_a_delisting_closes_the_position_at_the_last_close_times_recovery():
    gone = column(0, 0, 1, 0).astype(bool)
    dead = (50.0, 50.0, 50.0, 50.0)
    broker = make(
        [FIRST, QUIET, dead, dead],
        tradable=~gone,
        delisted=gone,
        split=column(1, 1, 2, 1),
        delisting_recovery=0.3,
        spread_bps=0.0,
    )
    broker.step([1])
    step = broker.step([2])
    # 200 new shares at 100 / 2 * 0.3 = 15: no spread, no fee; what is lost is not a cost of trading.
    assert step["fills"] == [(0, -1, 200, near(15), near(15), 0.0, "delisted")]
    assert (broker.cash, broker.equity, step["profit"][0]) == (near(93_000), near(93_000), near(-7_000))
    assert (step["cost"], broker.num_trades, broker.rejected_orders) == (0, 1, 1)  # a payout is no trade
    assert (broker.exits["stop"], broker.exits["target"], step["turnover"]) == (0, 0, near(0.03))


def test_a_delisting_takes_no_fee_and_no_buy_even_in_a_bar_that_traded():
    gone = column(0, 0, 1).astype(bool)
    broker = make([FIRST] * 3, delisted=gone, commission_bps=50.0, commission_per_share=1.0)
    broker.step([1])
    cash = broker.cash
    assert broker.step([1])["fills"][0].fee == 0
    assert (broker.cash, broker.rejected_orders) == (near(cash + 100 * SHARES), 1)


def test_a_halt_stops_orders_and_stops_alike():
    halted = column(1, 1, 0, 0, 1).astype(bool)
    bars = [FIRST, QUIET, (80.0, 120.0, 70.0, 90.0), (90.0, 90.0, 90.0, 90.0), (85.0, 86.0, 84.0, 85.0)]
    broker = make(bars, tradable=halted, spread_bps=0.0)
    broker.step([1])
    for order in (1, 2):
        assert broker.step([order])["fills"] == []
    assert (broker.rejected_orders, broker.shares[0], broker.equity) == (0, 100, near(99_000))
    # Trading resumes below the stop of 98: out at the open.
    assert broker.step([0])["fills"] == [(0, -1, 100, 85.0, 85.0, 0.0, "stop")]
    assert broker.rejected_orders == 1, "the buy of before the halt, which waited"


def test_an_asset_not_observed_yet_takes_no_order():
    none = (0.0, 0.0, 0.0, 0.0)
    for action, settings in (([1], {}), ([0.2], {"action": "weights"})):
        broker = make([none, none, FIRST, FIRST], tradable=column(0, 0, 1, 1).astype(bool), spread_bps=0.0, **settings)
        assert broker.step(action)["fills"] == broker.step(action)["fills"] == []
        assert broker.rejected_orders == 0
        assert len(broker.step(action)["fills"]) == 1


def test_an_order_waits_for_the_next_bar_and_a_newer_one_takes_its_place():
    gap = column(1, 0, 0, 1, 1).astype(bool)
    for kind, buy, hold in (("discrete", [1], [0]), ("weights", [0.1], [np.nan])):
        broker = make([FIRST] * 5, tradable=gap, spread_bps=0.0, action=kind)
        # Bought at bar 0, which trades; what is done while nothing is seen of the asset changes nothing.
        assert [len(broker.step(action)["fills"]) for action in (buy, hold, [0], hold)] == [0, 0, 1, 0]
        assert (broker.shares[0] > 0, broker.rejected_orders) == (True, 0)


def test_selling_nothing_is_rejected_and_holding_is_no_order():
    broker = make([FIRST] * 3)
    broker.step([2])
    broker.step([0])
    assert (broker.rejected_orders, broker.num_trades) == (1, 0)


def test_weights_rebalance_towards_their_targets():
    first = [FIRST, (100.0, 111.0, 99.0, 110.0), (112.0, 113.0, 111.0, 112.0)]
    second = [FIRST, (100.0, 101.0, 89.0, 90.0), (88.0, 89.0, 87.0, 88.0)]
    broker = make(first, second, action="weights", **UNLIMITED)
    broker.step([0.5, 0.3])
    assert (broker.shares, broker.equity) == (near([500, 300]), near(102_000))
    step = broker.step([0.25, 0.5])
    # Wanted 25,500 and 51,000; held at the open 56,000 and 26,400: sell 30,500 / 112, buy 24,600 / 88.
    assert [fill.side * fill.shares for fill in step["fills"]] == near([-272.3214285714286, 279.5454545454545])
    assert (broker.cash, step["turnover"]) == (near(25_900), near(55_100 / 102_000))
    # A sale leaves the average alone; (300 * 100 + 24,600) / 579.5454... = 94.21176470588235.
    assert broker.entry_price == near([100, 94.21176470588235])
    # 500 * 112 - 500 * 110; 300 * (88 - 90): both trades were marked where they were done.
    assert step["profit"] == near([1_000, -600])


def test_weights_buy_at_the_fill_price_and_sell_value_at_the_open():
    broker = make([FIRST] * 3, action="weights", **{**UNLIMITED, "spread_bps": 20.0})
    assert broker.step([0.5])["fills"][0][2:4] == (near(499.5004995004995), near(100.1))  # 50,000 / 100.1
    # Equity 99,950.04995; wanted 24,987.5124875; held 49,950.04995 at the open: the difference / 100 at 99.9.
    assert broker.step([0.25])["fills"][0][2:4] == (near(249.6253746253746), near(99.9))


def test_weight_nan_keeps_zero_closes_equal_does_nothing():
    flat = [FIRST] * 4
    broker = make(flat, flat, action="weights", **UNLIMITED)
    broker.step([0.5, 0.25])
    assert broker.step([0.5, 0.25])["fills"] == []
    step = broker.step([np.nan, 0.0])
    assert [fill[:3] for fill in step["fills"]] == [(1, -1, near(250))]
    assert (broker.shares[0], broker.shares[1], broker.entry_bar[1]) == (500, 0, -1)
    assert broker.rejected_orders == 0


@pytest.mark.parametrize(
    ("action", "shares"),
    [
        ([0.8, 0.8], [250, 250]),  # 0.5 each, capped at 0.25
        ([0.6, 0.2, 1.2], [250, 100]),  # over 2: 0.3, 0.1 and 0.6 in cash; capped at 0.25
        ([0.1, 0.2, 0.1], [100, 200]),  # below 1 nothing is scaled
        ([-1.0, 0.2], [0, 200]),
        ([-1.0, 0.2, -5.0], [0, 200]),
        ([np.nan, 0.2, np.nan], [0, 200]),
        ([0.9, 0.3], [250, 250]),  # 0.75 and 0.25
        ([np.nan, 2.0], [0, 250]),
    ],
)
def test_weights_are_made_admissible(action: list[float], shares: list[float]):
    broker = make([FIRST] * 2, [FIRST] * 2, action="weights", spread_bps=0.0)
    broker.step(action)
    assert broker.shares == near(shares)


def test_weights_on_an_asset_that_cannot_trade_wait():
    halted = np.array([[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]], bool)
    broker = make([FIRST] * 5, [FIRST] * 5, action="weights", tradable=halted, **UNLIMITED)
    broker.step([0.5, 0.0])
    for action in ([0.0, 0.1], [0.5, 0.0], [np.nan, np.nan]):
        assert broker.step(action)["rejected"] == []
    assert broker.waiting == [0.0, 0.1], "of the last moment at which both were seen"


def test_after_an_exit_at_the_open_only_a_target_above_zero_is_an_order():
    for weight, rejected in ((0.0, 0), (0.1, 1), (np.nan, 0)):
        broker = make([FIRST, QUIET, (90.0, 91.0, 89.0, 90.0)], action="weights", spread_bps=0.0)
        broker.step([0.1])
        assert broker.step([weight])["fills"][0].reason == "stop"
        assert (broker.rejected_orders, broker.shares[0]) == (rejected, 0)


def test_ruin_is_below_the_threshold_and_the_peak_stays():
    bars = [FIRST, (100.0, 110.0, 100.0, 110.0), (95.0, 96.0, 94.0, 95.0), (94.0, 95.0, 93.0, 94.0)]
    broker = make(bars, buy_pct=1.0, ruin_pct=0.95, **UNLIMITED)
    assert [broker.step([order])["terminated"] for order in (1, 0, 0)] == [False, False, True]
    assert (broker.equity, broker.peak_equity) == (near(94_000), near(110_000))


def test_an_account_can_start_anywhere():
    broker = make([(0.0, 0.0, 0.0, 0.0), FIRST, FIRST], tradable=column(0, 1, 1).astype(bool), start=1)
    broker.step([1])
    assert (broker.t, broker.entry_bar[0]) == (2, 2)


@pytest.mark.parametrize(
    ("settings", "action", "message"),
    [
        ({}, [3], "holds 0, 1 or 2"),
        ({}, [0, 1], "shape"),
        ({"action": "weights"}, [np.inf], "infinite"),
        ({"action": "weights"}, [0.1, 0.1, 0.1], "shape"),
        ({"action": "orders"}, [0], "choose"),
        ({"start": 2}, [0], "outside"),
        ({"start": 1}, [0], "last one"),
        ({"spread_bps": 20_000.0}, [0], "above 0"),
        ({"split": column(1, 0)}, [0], "split"),
        ({"dividend": column(1, np.nan)}, [0], "dividend"),
        ({"tradable": column(1)}, [0], "tradable"),
    ],
)
def test_bad_input_is_refused(settings: dict, action: list, message: str):
    with pytest.raises(ValueError, match=message):
        make([FIRST] * 2, **settings).step(action)


def random_market(rng: np.random.Generator, num_bars: int = 501, num_assets: int = 3) -> dict[str, Any]:
    """Bars with gaps, halts (the last price carried), splits, dividends, a late listing and a delisting."""
    shape = (num_bars, num_assets)
    split = np.where(rng.random(shape) < 0.005, rng.choice([0.2, 2.0, 3.0], shape), 1.0)
    tradable = rng.random(shape) > 0.05
    gap, move = 0.015 * rng.standard_normal(shape), 0.02 * rng.standard_normal(shape)
    up, down = np.exp(0.008 * np.abs(rng.standard_normal((2, *shape))) * np.array([1, -1])[:, None, None])
    bars = np.zeros((4, *shape))
    last = np.full(num_assets, 50.0)
    for n in range(num_bars):
        last = last / split[n]
        first = last * np.exp(gap[n])
        final = first * np.exp(move[n])
        traded = np.stack([first, np.maximum(first, final) * up[n], np.minimum(first, final) * down[n], final])
        bars[:, n] = np.where(tradable[n], traded, last)
        last = bars[3, n]
    listing, end = 40, num_bars - 100
    bars[:, :listing, 1], tradable[:listing, 1] = 0.0, False
    delisted = np.zeros(shape, bool)
    delisted[end, 2], tradable[end:, 2], split[end:, 2] = True, False, 1.0
    bars[:, end:, 2] = bars[3, end - 1, 2]
    dividend = np.where(rng.random(shape) < 0.02, 0.01 * bars[0], 0.0)
    names = ("open", "high", "low", "close")
    events = {"tradable": tradable, "delisted": delisted, "split": split, "dividend": dividend}
    return dict(zip(names, bars, strict=True)) | events


def random_action(rng: np.random.Generator, kind: str, num_assets: int = 3) -> np.ndarray:
    if kind == "discrete":
        return rng.choice(3, num_assets, p=[0.5, 0.4, 0.1])
    weights = rng.uniform(-0.3, 0.9, num_assets + int(rng.integers(2)))
    weights[rng.random(len(weights)) < 0.3] = np.nan
    weights[rng.random(len(weights)) < 0.1] = 0.0
    return weights


def snapshot(broker: ReferenceBroker) -> SimpleNamespace:
    kept = {name: getattr(broker, name) for name in ("t", "cash", "equity", "peak_equity", "cost", "num_trades")}
    return SimpleNamespace(**kept, shares=list(broker.shares), rejected_orders=broker.rejected_orders)


def check_step(before: SimpleNamespace, after: ReferenceBroker, step: dict, market: dict[str, Any]) -> None:
    """Count one step again from its list of fills alone."""
    n = before.t + 1
    shares = np.array(before.shares) * market["split"][n]
    cash = before.cash + float(shares @ market["dividend"][n])
    paid = 0.0
    exited: set[int] = set()
    for fill in step["fills"]:
        assert fill.shares > 0
        assert fill.asset not in exited
        assert fill.side * (fill.price - fill.reference_price) >= 0
        shares[fill.asset] += fill.side * fill.shares
        cash -= fill.side * fill.shares * fill.price + fill.fee
        paid += fill.fee + abs(fill.price - fill.reference_price) * fill.shares
        if fill.reason != "delisted":
            assert market["tradable"][n, fill.asset]
            assert market["low"][n, fill.asset] <= fill.reference_price <= market["high"][n, fill.asset]
        if fill.reason != "order":
            exited.add(fill.asset)
    held = np.array(after.shares)
    flat = held == 0
    assert after.t == n
    assert after.cash == pytest.approx(cash, abs=1e-9)
    assert after.cash >= -1e-9
    assert after.shares == pytest.approx(shares, abs=1e-9)
    assert (held >= 0).all()
    assert (flat == (np.array(after.entry_bar) == -1)).all()
    assert (flat == (np.array(after.entry_price) == 0)).all()
    assert after.equity == pytest.approx(cash + float(shares @ market["close"][n]), abs=1e-9)
    assert after.peak_equity == max(before.peak_equity, after.equity)
    assert sum(step["profit"]) == pytest.approx(after.equity - before.equity, abs=1e-9)
    assert step["cost"] == pytest.approx(paid, abs=1e-9)
    assert after.num_trades == before.num_trades + sum(fill.reason != "delisted" for fill in step["fills"])
    assert after.rejected_orders == before.rejected_orders + len(step["rejected"])


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_value_is_conserved_and_cash_never_negative_on_random_steps(kind: str):
    reasons: list[str] = []
    dry = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        market = random_market(rng)
        settings: dict[str, Any] = {"stop_loss": 0.02 * (1 + seed), "take_profit": 0.03 * (1 + seed)}
        settings |= {"commission_bps": 2.0 * seed, "commission_per_share": 0.002 * seed, "slippage_bps": seed}
        settings |= {"delisting_recovery": 0.5, "buy_pct": 0.4, "max_position_pct": 0.5}
        broker = ReferenceBroker(**market, action=kind, **settings)
        profit, cost = np.zeros(3), 0.0
        for _ in range(500):
            before = snapshot(broker)
            step = broker.step(random_action(rng, kind))
            check_step(before, broker, step, market)
            profit, cost = profit + step["profit"], cost + step["cost"]
            reasons += [fill.reason for fill in step["fills"]]
            dry += broker.cash < 1e-6
        assert profit.sum() == pytest.approx(broker.equity - 100_000, abs=1e-7)
        assert broker.cost == pytest.approx(cost, abs=1e-7)
        assert broker.rejected_orders > 10
    # Every way out, and the cut to the cash, came up often enough to mean something.
    assert reasons.count("stop") > 100
    assert reasons.count("target") > 100
    assert reasons.count("delisted") > 0
    assert dry > 20


def run_account(market: dict[str, Any], actions: list[np.ndarray], kind: str) -> np.ndarray:
    broker = ReferenceBroker(**market, action=kind, buy_pct=0.4, max_position_pct=0.5, commission_bps=3.0)
    rows = []
    for action in actions:
        broker.step(action)
        rows.append([broker.cash, broker.equity, broker.cost, broker.num_trades, *broker.shares])
    return np.array(rows)


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_bars_to_come_change_nothing(kind: str):
    rng = np.random.default_rng(7)
    market = random_market(rng)
    other = {name: values.copy() for name, values in market.items()}
    for name in ("open", "high", "low", "close"):
        other[name][201:] *= 1.37
    other["tradable"][201:, 0] = False
    other["dividend"][201:] += 1.0
    actions = [random_action(rng, kind) for _ in range(250)]
    one, two = run_account(market, actions, kind), run_account(other, actions, kind)
    assert (one[:200] == two[:200]).all()
    assert (one[200:] != two[200:]).any()


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_the_order_of_the_assets_does_not_matter(kind: str):
    rng = np.random.default_rng(8)
    market = random_market(rng)
    actions = [random_action(rng, kind)[:3] for _ in range(300)]
    order = [2, 0, 1]
    one = run_account(market, actions, kind)
    two = run_account({n: v[:, order] for n, v in market.items()}, [a[order] for a in actions], kind)
    np.testing.assert_allclose(two, one[:, [0, 1, 2, 3, *(4 + np.array(order))]], rtol=1e-9, atol=1e-9)
