"""What happens to an account in a bar, on a few bars worked out by hand; see `tests/env/scenes.py`."""

import numpy as np
import pytest

from tests.env.scenes import (
    BUY_BOTH,
    BUY_ONE,
    FLAT,
    NUM_BARS,
    SELL_BOTH,
    SELL_ONE,
    WAIT,
    fills,
    near,
    reasons,
    trade,
)


def test_action_is_not_discarded():
    assert [fills(trade([FLAT], [a]), 0) for a in (BUY_ONE, WAIT)] == [[near((100, 100))], []]
    assert fills(trade([FLAT], [BUY_ONE, SELL_ONE]), 1) == [near((-100, 100))]


def test_orders_of_one_asset_leave_the_others_alone():
    trace = trade([FLAT], [BUY_BOTH, SELL_ONE])
    np.testing.assert_allclose(trace.state.shares[:2], [[100, 100], [0, 100]])


def test_orders_fill_at_the_next_open_not_at_the_close_observed():
    assert fills(trade([FLAT, (110, 115, 105, 112)], [BUY_ONE]), 0) == [near((10_000 / 110, 110))]


def test_gapped_stop_fills_at_open_not_at_level():
    # 90,000 cash and 100 shares out at 80, not at the stop of 98.
    trace = trade([FLAT, FLAT, (80, 99, 79, 98)], [BUY_ONE], stop_loss=0.02)
    assert fills(trace, 1) == [near((-100, 80))]
    assert trace.state.equity[1] == near(98_000)
    assert trace.info["exit_stop"].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_gapped_target_fills_at_the_better_open():
    trace = trade([FLAT, FLAT, (120, 121, 103, 105)], [BUY_ONE], take_profit=0.04, spread=0.002)
    assert fills(trace, 1) == [near((-10_000 / 100.1, 120))]
    assert trace.info["exit_target"].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_stop_fills_at_its_level_inside_the_bar_and_pays_spread_and_slippage():
    trace = trade([FLAT, FLAT, (100, 101, 90, 95)], [BUY_ONE], stop_loss=0.02, spread=0.002, slippage=0.001)
    level = 100 * 1.002 * 0.98
    assert fills(trace, 1)[0][1] == near(level * 0.998)


def test_a_wider_spread_is_paid_by_the_fills_of_its_bar_alone():
    scale = np.ones((NUM_BARS, 2))
    scale[2, 0] = 10
    bars = [FLAT, FLAT, FLAT, FLAT]
    trace = trade(bars, [BUY_BOTH, SELL_BOTH], known={"spread_scale": scale}, spread=0.002)
    shares = 10_000 / 100.1
    assert [fills(trace, step) for step in (0, 1)] == [[near((shares, 100.1))], [near((-shares, 99))]]
    assert fills(trace, 1, asset=1) == [near((-shares, 99.9))]
    assert trace.info["cost"][1] == near(shares * (1 + 0.1))


def test_a_stop_pays_the_wider_spread_and_a_target_none():
    scale = np.ones((NUM_BARS, 2))
    scale[2] = 10
    moves = {"known": {"spread_scale": scale}, "spread": 0.002, "stop_loss": 0.02, "take_profit": 0.04}
    down, up = (100, 101, 90, 95), (100, 110, 100, 109)
    trace = trade([FLAT, FLAT, down], [BUY_BOTH], other=[FLAT, FLAT, up], **moves)
    assert fills(trace, 1)[0][1] == near(100.1 * 0.98 * 0.99)
    assert fills(trace, 1, asset=1)[0][1] == near(100.1 * 1.04)


def test_market_impact_may_be_larger_in_a_bar():
    scale = np.ones((NUM_BARS, 2))
    scale[2, 0] = 2
    known = {"volatility": 0.02, "adv": 1e6, "impact_scale": scale}
    trace = trade([FLAT], [BUY_BOTH, SELL_BOTH], known=known, impact=1.0)
    lost = [1 - fills(trace, 1, asset)[0][1] / 100 for asset in (0, 1)]
    assert lost[0] == near(2 * lost[1]) and 0.0019 < lost[1] < 0.002


def test_stop_checked_on_entry_bar():
    trace = trade([FLAT, (100, 101, 97, 101)], [BUY_ONE], stop_loss=0.02)
    assert fills(trace, 0) == [near((100, 100)), near((-100, 98))]
    assert (trace.state.shares[0, 0], trace.state.entry_bar[0, 0]) == (0, -1)


def test_levels_touched_exactly_are_reached():
    assert fills(trade([FLAT, FLAT, (100, 100, 98, 99)], [BUY_ONE], stop_loss=0.02), 1) == [near((-100, 98))]
    assert fills(trade([FLAT, FLAT, (100, 104, 100, 101)], [BUY_ONE], take_profit=0.04), 1) == [near((-100, 104))]
    assert fills(trade([FLAT, FLAT, (98, 99, 98, 99)], [BUY_ONE], stop_loss=0.02), 1) == [near((-100, 98))]


def test_a_level_met_by_the_open_exactly_comes_before_the_order():
    stopped = trade([FLAT, FLAT, (98, 99, 97, 99)], [BUY_ONE, SELL_ONE], stop_loss=0.02)
    reached = trade([FLAT, FLAT, (104, 105, 103, 104)], [BUY_ONE, SELL_ONE], take_profit=0.04)
    assert (stopped.info["exit_stop"][1], stopped.info["rejected_orders"][1]) == (1, 1)
    assert (reached.info["exit_target"][1], reached.info["rejected_orders"][1]) == (1, 1)


def test_stop_inside_the_spread_fills_from_the_open_not_above_it():
    # Bought at 103, the stop is at 100.94, where the asset has not traded since.
    trace = trade([FLAT, (100, 100.5, 99, 100)], [BUY_ONE], stop_loss=0.02, spread=0.06)
    assert fills(trace, 0) == [near((10_000 / 103, 103)), near((-10_000 / 103, 97))]


def test_stop_wins_when_both_levels_are_touched():
    trace = trade([FLAT, FLAT, (100, 110, 90, 108)], [BUY_ONE], stop_loss=0.02, take_profit=0.04)
    assert fills(trace, 1) == [near((-100, 98))]
    assert (trace.info["exit_stop"][1], trace.info["exit_target"][1]) == (1, 0)


def test_resting_stop_comes_before_the_order_and_nothing_is_sold_twice():
    for order in (SELL_ONE, BUY_ONE, WAIT):
        trace = trade([FLAT, FLAT, (80, 99, 79, 98)], [BUY_ONE, order], stop_loss=0.02)
        assert fills(trace, 1) == [near((-100, 80))]
        assert trace.info["rejected_orders"][1] == (order != WAIT)
        assert trace.info["num_trades"][1] == 1


def test_order_to_sell_at_the_open_comes_before_a_stop_inside_the_bar():
    trace = trade([FLAT, FLAT, (100, 101, 90, 95)], [BUY_ONE, SELL_ONE], stop_loss=0.02)
    assert fills(trace, 1) == [near((-100, 100))]
    assert trace.info["exit_stop"][1] == 0


def test_stop_fires_whatever_the_cash():
    trace = trade([FLAT, FLAT, (100, 101, 90, 95)], [BUY_BOTH], stop_loss=0.02, buy_pct=0.5, max_position_pct=1.0)
    assert trace.state.cash[0] == near(0)
    assert trace.info["exit_stop"][1] == 1


def test_stop_is_a_fraction_not_dollars():
    cheap, dear = ([tuple(x * scale for x in bar) for bar in (FLAT, FLAT, (100, 101, 97, 98))] for scale in (0.01, 50))
    assert trade(cheap, [BUY_ONE], stop_loss=0.02).state.equity[1] == near(99_800)
    assert trade(dear, [BUY_ONE], stop_loss=0.02).state.equity[1] == near(99_800)


def test_cash_never_negative_with_fees():
    costs = {"commission": 0.01, "commission_per_share_cash": 0.5, "spread": 0.01, "slippage": 0.01}
    trace = trade([FLAT], [BUY_BOTH, BUY_BOTH], buy_pct=0.8, max_position_pct=1.0, **costs)
    price = 100 * 1.015
    spent = (trace.state.shares[0] * (price * 1.01 + 0.5)).sum()
    assert spent == near(100_000)
    assert 0 <= trace.state.cash[0] < 1e-6
    assert trace.info["fills"][1].shares[0, 0] == trace.info["fills"][1].shares[0, 1]  # cut in proportion


def test_sales_pay_for_buys_of_the_same_open():
    sell_and_buy = [2, 1]
    trace = trade([FLAT], [BUY_ONE, sell_and_buy], buy_pct=1.0, max_position_pct=1.0)
    np.testing.assert_allclose(trace.state.shares[:2], [[1000, 0], [0, 1000]])


def test_slippage_is_adverse_not_zero_mean():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE, BUY_ONE, SELL_ONE], slippage=0.001)
    assert [fills(trace, step)[0][1] for step in range(4)] == [near(p) for p in (100.1, 99.9, 100.1, 99.9)]
    assert (np.diff(trace.state.equity[:4]) < 0).all()


def test_both_sides_of_a_round_trip_pay_once():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], commission=0.001)
    assert [f.fee_cash[i, 0] for i, f in ((0, trace.info["fills"][1]), (1, trace.info["fills"][0]))] == [near(10)] * 2
    assert trace.state.equity[1] == near(99_980)
    assert trace.state.cost[1] == near(20)
    spread = trade([FLAT], [BUY_ONE, SELL_ONE], spread=0.002)
    assert [fills(spread, step)[0][1] for step in range(2)] == [near(100.1), near(99.9)]


@pytest.mark.thorough
def test_changing_a_weight_trades_the_difference_only():
    trace = trade([FLAT], [[0.10, 0.0], [0.15, 0.0], [0.05, 0.0]], commission=0.001)
    assert trace.info["turnover"][0] == near(0.10)
    assert trace.info["turnover"][1:3] == pytest.approx([0.05, 0.10], abs=1e-3)
    assert trace.info["num_trades"].tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_a_fee_never_exceeds_what_a_sale_brings():
    penny = (0.01, 0.01, 0.01, 0.01)
    trace = trade([penny], [BUY_ONE, SELL_ONE], commission_per_share_cash=0.05)
    assert trace.state.cash[1] == near(trace.state.cash[0])
    assert trace.info["fills"][0].fee_cash[1, 0] == near(trace.state.shares[0, 0] * 0.01)


def test_entry_price_averaged_on_add():
    trace = trade([FLAT, FLAT, (50, 50, 50, 50)], [BUY_ONE, BUY_ONE])
    # 100 shares at 100, then 10 % of 100,000 at 50 as the order was sized at the close before: 200 shares.
    assert trace.state.shares[1, 0] == near(300)
    assert trace.state.entry_price[1, 0] == near(20_000 / 300)
    assert trace.state.entry_bar[1, 0] == 1


def test_position_stays_within_its_limit_when_bought():
    trace = trade([FLAT], [BUY_ONE] * 4, max_position_pct=0.25)
    np.testing.assert_allclose(trace.state.shares[:4, 0], [100, 200, 250, 250])
    assert trace.info["rejected_orders"].tolist() == [0, 0, 0, 1, 0, 0, 0]


@pytest.mark.thorough
def test_missing_bar_does_not_drop_ticker():
    missing = {(2, 0): False}
    trace = trade([FLAT], [BUY_ONE, SELL_ONE, SELL_ONE], tradable=missing, stop_loss=0.02)
    assert [len(fills(trace, step)) for step in range(3)] == [1, 0, 1]
    assert trace.info["rejected_orders"].tolist() == [0] * 7, "the sale waited for the next bar"
    assert trace.state.equity[1] == near(100_000)


def test_stop_waits_out_a_halt_and_fills_at_the_open_after():
    bars = [FLAT, FLAT, (70, 75, 60, 70), (85, 86, 84, 85)]
    trace = trade(bars, [BUY_ONE], tradable={(2, 0): False}, stop_loss=0.02)
    assert [fills(trace, step) for step in (1, 2)] == [[], [near((-100, 85))]]


def test_delisting_pays_a_share_of_the_last_close_before_it_and_no_commission():
    costs = {"spread": 0.002, "commission": 0.001, "commission_per_share_cash": 0.1}
    # The bar in which the asset ends has a price of its own, at which nobody could trade.
    bars = [FLAT, (100, 105, 95, 90), (40, 60, 30, 50)]
    end = {"tradable": {(t, 0): False for t in range(2, NUM_BARS)}, "delisted": {(2, 0): True}}
    trace = trade(bars, [BUY_ONE, SELL_ONE], delisting_recovery=0.6, **end, **costs)
    shares = trace.state.shares[0, 0]
    assert fills(trace, 1) == [near((-shares, 54))]
    assert trace.info["cost"][1] == 0
    assert trace.state.cash[1] == near(trace.state.cash[0] + shares * 54)
    assert trace.info["profit"][1, 0] == near(-shares * 36)
    assert (trace.info["rejected_orders"][1], trace.info["exit_stop"][1]) == (1, 0)


OUTSIDE = {(t, 0): False for t in range(2, NUM_BARS)}
"""The first asset leaves the universe after the second bar, and its bars go on."""


def test_an_asset_outside_the_universe_is_sold_at_the_market_and_not_bought():
    trace = trade([FLAT, FLAT, FLAT, (90, 90, 90, 90)], [BUY_ONE, BUY_ONE, SELL_ONE], buyable=OUTSIDE)
    assert (fills(trace, 1), fills(trace, 2)) == ([], [near((-100, 90))])
    assert (reasons(trace, 2), trace.info["rejected_orders"].tolist()[:4]) == (["order"], [0, 1, 0, 0])


def test_an_asset_outside_the_universe_leaves_by_its_stop():
    trace = trade([FLAT, FLAT, (100, 101, 97, 99)], [BUY_ONE], buyable=OUTSIDE, stop_loss=0.02)
    assert (reasons(trace, 1), fills(trace, 1)) == (["stop"], [near((-100, 98))])


def test_of_target_weights_outside_the_universe_only_reductions_fill():
    more, less = [0.2, 0.0], [0.05, 0.0]
    trace = trade([FLAT], np.array([[0.1, 0.0], more, less, more]), buyable=OUTSIDE)
    assert [fills(trace, step) for step in range(4)] == [[near((100, 100))], [], [near((-50, 100))], []]
    assert trace.info["rejected_orders"].tolist()[:4] == [0, 1, 0, 1]


def test_a_buy_that_waits_for_a_bar_is_dropped_where_the_asset_has_left_meanwhile():
    trace = trade([FLAT], [WAIT, BUY_ONE], tradable={(2, 0): False}, buyable=OUTSIDE)
    assert not trace.info["num_trades"].any()
    assert trace.info["rejected_orders"].tolist()[:4] == [0, 0, 1, 0]


def test_an_asset_that_comes_back_to_the_universe_is_bought_again():
    trace = trade([FLAT], [WAIT, BUY_ONE, WAIT, BUY_ONE], buyable={(2, 0): False, (3, 0): False})
    assert [len(fills(trace, step)) for step in range(4)] == [0, 0, 0, 1]


def test_nothing_is_bought_in_the_bar_in_which_an_asset_ends():
    trace = trade([FLAT], [WAIT, BUY_ONE], delisted={(2, 0): True})
    assert not trace.info["num_trades"].any()
    assert trace.info["rejected_orders"][1] == 1


@pytest.mark.parametrize("ratio", [4.0, 0.1])
def test_splits_both_ways_move_shares_entry_and_stop(ratio: float):
    after = tuple(x / ratio for x in (100, 101, 97, 99))
    trace = trade([FLAT, FLAT, tuple(x / ratio for x in FLAT), after], [BUY_ONE], split={(2, 0): ratio}, stop_loss=0.02)
    assert trace.state.equity[1] == near(100_000)
    assert (trace.state.shares[1, 0], trace.state.entry_price[1, 0]) == (near(100 * ratio), near(100 / ratio))
    assert fills(trace, 2) == [near((-100 * ratio, 98 / ratio))]


def test_reward_is_growth_net_of_fees_not_a_level_nor_a_bonus_for_acting():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], commission=0.001)
    np.testing.assert_allclose(
        trace.reward, [np.log(0.9999), np.log(99_980 / 99_990), 0, 0, 0, 0, 0], rtol=1e-6, atol=1e-12
    )
    assert trace.reward.sum() == near(np.log(0.9998))


def test_turnover_and_cost_count_every_fill_once():
    trace = trade([FLAT, (100, 101, 97, 98)], [BUY_ONE], stop_loss=0.02, spread=0.002, commission=0.001)
    bought, sold = fills(trace, 0)
    traded = bought[0] * bought[1] - sold[0] * sold[1]
    assert trace.info["turnover"][0] == near(traded / 100_000)
    spread_cost = bought[0] * 0.1 + bought[0] * (100.1 * 0.98 * 0.001)
    assert trace.info["cost"][0] == near(traded * 0.001 + spread_cost)
    assert trace.info["num_trades"][0] == 2
