"""Sizes, limits and refusals of the oracle, worked out by hand."""

import numpy as np
import pytest

from tests.reference.scenes import FIRST, PLAIN, QUIET, column, make, near, reasons, signed

FLAT = [FIRST] * 6
WEIGHTS = {**PLAIN, "action": "weights"}


def test_a_buy_is_sized_by_volatility():
    # 10 % of 100,000 scaled by 20 % over 2 % * sqrt(100) = 20 %: 10,000; at 4 % the half; unknown as it is.
    settings = {**PLAIN, "sizing": "volatility", "bars_per_year": 100.0, "volatility": [0.02, 0.04, 0.0]}
    broker = make(FLAT, FLAT, FLAT, **settings)
    assert signed(broker.step([1, 1, 1])) == [(0, 100), (1, 50), (2, 100)]


def test_a_buy_is_sized_by_the_average_true_range():
    # 1 % of equity at risk two ranges away: 1,000 / (2 * 0.01) = 50,000; 1,000 / (2 * 0.02) = 25,000; unknown 10,000.
    settings = {**PLAIN, "sizing": "atr", "atr": [0.01, 0.02, 0.0], "max_position_pct": 0.4}
    broker = make(FLAT, FLAT, FLAT, **settings)
    assert signed(broker.step([1, 1, 1])) == [(0, 400), (1, 250), (2, 100)]


def test_drawdown_makes_orders_smaller():
    falls = [FIRST, (100.0, 100.0, 90.0, 90.0), (90.0, 90.0, 90.0, 90.0)]
    broker = make(falls, FLAT[:3], **{**PLAIN, "buy_pct": 0.5}, drawdown_scaling=0.2)
    broker.step([1, 0])  # 500 shares, marked at 90: equity 95,000, drawdown 5 %
    assert signed(broker.step([0, 1])) == [(1, 475 * 0.75)]

    broker = make(falls, FLAT[:3], **WEIGHTS, drawdown_scaling=0.05)
    broker.step([0.5, 0.2])
    # At a drawdown of 5 % the scale is 0: every weight is 0, and closes its position.
    assert signed(broker.step([0.5, 0.2])) == [(0, -500), (1, -200)]


def test_a_band_keeps_weights_from_trading_a_little():
    broker = make(FLAT, FLAT, **WEIGHTS, no_trade_band=0.02)
    broker.step([0.3, 0.015])
    assert (broker.shares, broker.rejected_orders) == (near([300, 0]), 0)
    broker.step([0.281, 0.025])
    assert broker.shares == near([300, 25])
    assert signed(broker.step([0.279, 0.0])) == [(0, -21), (1, -25)]


def test_shares_come_in_lots():
    broker = make([(70.0, 70.0, 70.0, 70.0)] * 5, **{**WEIGHTS, "lot_size": 10.0})
    assert signed(broker.step([0.1])) == [(0, 140)]  # 142.86
    assert signed(broker.step([0.05])) == [(0, -60)]  # 68.57
    assert signed(broker.step([0.06])) == []  # 5.71
    assert signed(broker.step([0.0])) == [(0, -80)]
    assert broker.rejected_orders == 1


def test_a_whole_position_is_sold_whatever_its_lots():
    broker = make([FIRST, QUIET, (40.0, 40.0, 40.0, 40.0)], **PLAIN, lot_size=100.0, split=column(1, 1, 2.5))
    broker.step([1])
    assert signed(broker.step([2])) == [(0, -250)]


def test_what_a_rounding_takes_from_a_whole_lot_is_given_back():
    broker = make([(0.1, 0.1, 0.1, 0.1)] * 2, **{**WEIGHTS, "lot_size": 1.0, "initial_cash": 1_000.0})
    # 0.3 * 1,000 / 0.1 = 3,000 less the last bit of a float.
    assert signed(broker.step([0.3])) == [(0, 3_000)]


def test_volume_caps_all_fills_of_a_bar_together():
    volume = column(9, 500, 500, 500, 500, 500)
    broker = make(FLAT, **PLAIN, max_participation=0.1, volume=volume)
    assert signed(broker.step([1])) == [(0, 50)]
    assert signed(broker.step([1])) == [(0, 50)]
    assert signed(broker.step([2])) == [(0, -50)]
    assert broker.working == [0]
    assert signed(broker.step([0])) == []

    # Bought 50 of 80, then stopped: 30 are left to sell in that bar, the rest at the next open.
    bars = [FIRST, FIRST, (100.0, 100.0, 97.0, 100.0), (95.0, 95.0, 95.0, 95.0)]
    broker = make(bars, spread_bps=0.0, max_participation=0.1, volume=column(9, 500, 800, 900), buy_pct=0.05)
    broker.step([1])
    step = broker.step([1])
    assert signed(step) == [(0, 50), (0, -30)]
    step = broker.step([0])
    assert (signed(step), reasons(step)) == ([(0, -70)], ["stop"])


def test_with_the_same_close_volume_is_that_of_the_bar_before():
    broker = make(FLAT, **PLAIN, fill="same_close", max_participation=0.1, volume=column(30, 50, 70, 0, 0, 0))
    assert [signed(broker.step([1])) for _ in range(3)] == [[(0, 3)], [(0, 5)], [(0, 7)]]


def test_what_volume_leaves_is_carried():
    volume = column(0, 400, 300, 400, 150, 0)
    broker = make(FLAT, **PLAIN, max_participation=0.1, volume=volume, remainder="carry")
    assert signed(broker.step([1])) == [(0, 40)]
    assert broker.working == [near(60)]
    assert signed(broker.step([0])) == [(0, 30)]
    assert signed(broker.step([0])) == [(0, 30)]
    assert broker.working == [0]
    # A sale: 15 of 100; the agent's next word ends it.
    assert signed(broker.step([2])) == [(0, -15)]
    assert (broker.working, broker.rejected_orders) == ([near(-85)], 0)
    broker.step([1])  # no volume at all: the new order waits
    assert (broker.working, broker.rejected_orders) == ([near(100)], 1)


def test_a_working_order_follows_splits_waits_and_keeps_its_limit():
    tradable = column(1, 1, 0, 1, 1, 1).astype(bool)
    bars = [FIRST, FIRST, *[(50.0, 50.0, 50.0, 50.0)] * 4]
    settings = {**PLAIN, "max_participation": 0.1, "volume": column(0, 400, 0, 100, 1e9, 1e9), "remainder": "carry"}
    broker = make(bars, **settings, split=column(1, 1, 2, 1, 1, 1), tradable=tradable)
    broker.step([1])
    broker.step([0])
    assert (broker.shares, broker.working) == ([80], [near(120)])
    assert signed(broker.step([0])) == [(0, 10)]
    assert broker.working == [near(110)]
    assert signed(broker.step([0])) == [(0, 110)]

    broker = make(bars, **{**settings, "max_position_pct": 0.11}, split=column(1, 1, 2, 1, 1, 1), tradable=tradable)
    broker.step([1])
    broker.working = [500.0]
    broker.step([0])
    # 1,000 new shares are wanted, the limit of 11,000 leaves room for 140 at 50: 10 now and 130 later.
    assert signed(broker.step([0])) == [(0, 10)]
    assert broker.working == [near(130)]


@pytest.mark.parametrize(("word", "left"), [(np.nan, 60.0), (0.4, 360.0), (0.04, 0.0), (0.02, 0.0), (0.0, 0.0)])
def test_a_weight_ends_a_working_order(word: float, left: float):
    settings = {**WEIGHTS, "max_participation": 0.1, "volume": column(0, 400, 0, 0), "remainder": "carry"}
    tradable = column(1, 1, 0, 1).astype(bool)
    broker = make(FLAT[:4], **settings, tradable=tradable)
    broker.step([0.1])
    assert broker.working == [near(60)]
    broker.step([word])  # no trade in this bar
    assert broker.working == [near(60.0 if np.isnan(word) else 0.0)]
    broker = make(FLAT[:3], **settings | {"volume": column(0, 400, 0)})
    broker.step([0.1])
    broker.step([word])  # no volume in this bar
    assert broker.working[0] == near({0.02: -20.0, 0.0: -40.0}.get(word, left))


def test_a_working_order_ends_with_an_exit_or_a_rule_or_when_little_is_left():
    settings = {"spread_bps": 0.0, "max_participation": 0.1, "remainder": "carry"}
    bars = [FIRST, FIRST, (97.0, 97.0, 97.0, 97.0), (97.0, 97.0, 97.0, 97.0)]
    broker = make(bars, **settings, volume=column(0, 400, 100, 0))
    broker.step([1])
    step = broker.step([0])  # 40 held, 60 to come; out at the open as far as volume goes
    assert (signed(step), broker.working) == ([(0, -10)], [0])

    broker = make(FLAT, **settings, volume=column(0, 400, 100, 0, 0, 0), max_trades_per_day=0)
    broker.working = [60.0]
    broker.step([0])
    assert broker.working == [0]

    broker = make(FLAT, **settings, volume=column(0, 999.5, 0, 0, 0, 0), min_order_cash=10.0)
    broker.step([1])  # 99.95 of 100 shares: 5 dollars are left
    assert (broker.shares, broker.working) == (near([99.95]), [0])


def test_sales_of_young_positions_are_refused():
    broker = make(FLAT, **PLAIN, min_holding_bars=2)
    broker.step([1])
    broker.step([2])
    assert (broker.shares, broker.rejected_orders) == ([100], 1)
    assert signed(broker.step([2])) == [(0, -100)]


def test_the_age_of_a_position_counts_from_its_first_buy():
    broker = make(FLAT, **PLAIN, min_holding_bars=2)
    broker.step([1])
    broker.step([1])
    assert signed(broker.step([2])) == [(0, -200)]


def test_trades_a_day_go_to_sales_then_to_the_larger_then_to_the_better_traded_then_to_the_first():
    settings = {**WEIGHTS, "max_trades_per_day": 3, "adv": [5.0, 1.0, 9.0, 1.0]}
    broker = make(FLAT, FLAT, FLAT, FLAT, **settings)
    step = broker.step([0.2, 0.3, 0.2, 0.2])
    assert sorted(signed(step)) == [(0, 200), (1, 300), (2, 200)]  # 3 is as large, but trades less
    assert step["rejected"] == [3]
    # The sale of 0 comes first although it is the smallest; then 3, and of 5,000 each 2 trades more than 1.
    step = broker.step([0.19, 0.35, 0.25, 0.06])
    assert signed(step) == [(0, -10), (2, 50), (3, 60)]


def test_exits_count_as_trades_of_the_day_but_are_never_refused():
    dives = [FIRST, FIRST, (90.0, 90.0, 90.0, 90.0)]
    broker = make(dives, dives, FLAT[:3], spread_bps=0.0, max_trades_per_day=2)
    broker.step([1, 1, 0])
    step = broker.step([0, 0, 1])
    assert (reasons(step), step["rejected"]) == (["stop", "stop"], [2])
    assert broker.trades_today == 2


def test_trades_are_counted_by_session():
    broker = make(FLAT, **PLAIN, max_trades_per_day=2, sessions=[0, 0, 0, 0, 1, 1])
    assert [len(broker.step([order])["fills"]) for order in (1, 1, 2, 2, 1)] == [1, 1, 0, 1, 1]


def test_a_sector_has_its_limit():
    settings = {**WEIGHTS, "max_sector_pct": 0.5, "sectors": [0, 1, 0]}
    broker = make(FLAT, FLAT, FLAT, **settings)
    # 30 % and 40 % of sector 0 are cut by 5 / 7.
    assert signed(broker.step([0.3, 0.2, 0.4])) == [(0, 1500 / 7), (1, 200), (2, 2000 / 7)]
    # 10 % of asset 0 are sold first: of its sector 40 % stay and 10 % can be bought, of asset 2 alone.
    step = broker.step([0.8 / 7, np.nan, 0.8])
    assert signed(step) == [(0, -100), (2, 100)]


def test_a_sector_that_is_full_takes_nothing():
    rises = [FIRST, (100.0, 120.0, 100.0, 120.0), (120.0, 120.0, 120.0, 120.0)]
    broker = make(rises, FLAT[:3], **WEIGHTS, max_sector_pct=0.5, sectors=[3, 3])
    broker.step([0.5, 0.0])
    # Equity 110,000, limit 55,000, held 60,000.
    step = broker.step([np.nan, 0.1])
    assert (signed(step), step["rejected"]) == ([], [1])


def test_buys_wait_for_settled_cash():
    broker = make(FLAT, FLAT, **WEIGHTS, settlement_days=1, sessions=[0, 1, 1, 2, 3, 4])
    broker.step([0.8, 0.0])
    step = broker.step([0.0, 0.9])  # sold in the same session: 20,000 are there
    assert signed(step) == [(0, -800), (1, 200)]
    assert (broker.unsettled, broker.available()) == ([near(80_000)], near(0))
    assert signed(broker.step([0.0, 0.9])) == [(1, 700)]  # the session after
    assert broker.unsettled == [0]


def test_two_days_of_settlement_take_two_sessions():
    broker = make(FLAT, FLAT, **WEIGHTS, settlement_days=2)
    broker.step([0.8, 0.0])
    broker.step([0.0, 0.2])
    assert broker.unsettled == [0, near(80_000)]
    assert signed(broker.step([0.0, 0.9])) == []
    assert broker.unsettled == [near(80_000), 0]
    assert signed(broker.step([0.0, 0.9])) == [(1, 700)]


def test_a_payout_settles_like_a_sale():
    gone = np.zeros((6, 2), bool)
    gone[2, 0] = True
    broker = make(FLAT, FLAT, **WEIGHTS, settlement_days=1, delisted=gone, delisting_recovery=0.5, tradable=~gone)
    broker.step([0.8, 0.0])
    assert signed(broker.step([0.0, 0.6])) == [(0, -800), (1, 200)]
    assert (broker.unsettled, broker.num_trades) == ([near(40_000)], 2)


def test_the_next_close_buys_at_the_close():
    bars = [FIRST, (100.0, 110.0, 90.0, 105.0), (105.0, 105.0, 102.5, 104.0)]
    broker = make(bars, spread_bps=0.0, fill="next_close")
    step = broker.step([1])
    assert (step["fills"][0].price, broker.entry_bar, broker.highest_price) == (105.0, [1], [105.0])
    # Stop 102.9: the low of the bar before it did not count, this one does.
    step = broker.step([1])
    assert (reasons(step), step["rejected"], step["fills"][0].price) == (["stop"], [0], near(102.9))


def test_the_same_close_buys_at_the_bar_observed():
    bars = [(100.0, 110.0, 90.0, 105.0), (102.0, 103.0, 101.0, 102.0), FIRST]
    broker = make(bars, spread_bps=0.0, fill="same_close")
    step = broker.step([1])
    # Bought at 105 under bar 0; the next bar opens below the stop of 102.9.
    assert [(fill.price, fill.reason) for fill in step["fills"]] == [(105.0, "order"), (102.0, "stop")]
    broker = make(bars, **PLAIN, fill="same_close", tradable=column(1, 0, 1).astype(bool))
    assert len(broker.step([1])["fills"]) == 1
    assert (broker.entry_bar, broker.step([1])["rejected"]) == ([0], [])
