"""Mistakes that trading simulators are known to make; each test names one, on a few bars worked out by hand.

See `tests/env/scenes.py`; `test_broker_rules.py` holds those about gaps, the entry bar, cash and the order of events.
"""

from typing import Any

import numpy as np
import pytest

from tests.env.scenes import (
    BUY_BOTH,
    BUY_ONE,
    CAT,
    FLAT,
    NUM_BARS,
    SEC,
    SELL_BOTH,
    SELL_ONE,
    TAF,
    WAIT,
    fees,
    fills,
    near,
    reasons,
    trade,
)


def rates(**charged: float) -> dict[str, np.ndarray]:
    """Return rates of the fees at all times."""
    table = np.zeros((3, NUM_BARS))
    for name, rate in charged.items():
        table[{"sec": SEC, "taf": TAF, "cat": CAT}[name]] = rate
    return {"fee_rates": table}


RISES_AND_DIPS = [FLAT, (100, 110, 100, 109), (109, 110, 107, 109), (109, 109, 104, 105)]


def test_trailing_stop_is_not_moved_by_the_high_or_close_of_the_bar_it_is_tested_on():
    # At bar 1's own high of 110 the stop would stand at 104.5, its close at 103.55; its low is 100.
    trace = trade(RISES_AND_DIPS, [BUY_ONE], trailing_stop=0.05)
    assert [reasons(trace, step) for step in range(3)] == [["order"], [], ["trailing"]]
    assert fills(trace, 2) == [near((-100, 104.5))]


def test_trailing_stop_never_moves_down():
    bars = [FLAT, (100, 110, 100, 106), (106, 106, 105, 105), (105, 105, 104.6, 105), (105, 105, 104.4, 105)]
    trace = trade(bars, [BUY_ONE], trailing_stop=0.05)
    assert [len(fills(trace, step)) for step in range(4)] == [1, 0, 0, 1]
    assert fills(trace, 3) == [near((-100, 104.5))]


def test_stop_stands_at_the_fill_price_not_at_the_close_of_the_entry_bar():
    trace = trade([FLAT, (100, 111, 100, 110), (110, 110, 99, 100), (100, 100, 97, 97)], [BUY_ONE], stop_loss=0.02)
    assert [fills(trace, step) for step in (1, 2)] == [[], [near((-100, 98))]]


@pytest.mark.parametrize(
    ("model", "move"),
    [
        ({"slippage": 0.002}, 0.002),
        ({"slippage_atr": 0.1, "known": {"atr": 0.03}}, 0.003),
        ({"slippage_volatility": 0.1, "known": {"volatility": 0.04}}, 0.004),
        ({"slippage": 0.001, "slippage_noise": 0.5, "noise": 2.0}, 0.001 * np.e),
        ({"slippage": 0.001, "slippage_noise": 0.5, "noise": -2.0}, 0.001 / np.e),
        ({"spread": 0.002}, 0.001),
        ({"tick_size": 0.5}, 0.0025),
    ],
)
def test_every_slippage_model_is_called_and_moves_the_price_against_the_trader(model: dict[str, Any], move: float):
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], **model)
    assert [fills(trace, step)[0][1] for step in (0, 1)] == [near(100 * (1 + move)), near(100 * (1 - move))]
    assert trace.info["cost"][0] == near(10_000 / (1 + move) * move)


def test_market_impact_is_called_and_pays_for_what_fills():
    trade_of = {"impact": 1.0, "known": {"volatility": 0.02, "adv": 1e6}}
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], **trade_of)
    shares = 100 / (1 + 0.02 * 0.1)  # sized for 1 % of the usual volume
    move = 0.02 * np.sqrt(shares * 100 / 1e6)
    assert fills(trace, 0) == [near((shares, 100 * (1 + move)))]
    assert fills(trace, 1) == [near((-shares, 100 * (1 - move)))]


def test_costs_use_what_was_known_before_the_bar_not_the_bar_itself():
    atr, volatility, adv = (np.full((NUM_BARS, 2), value) for value in (0.5, 0.5, 1e3))
    atr[0], volatility[0], adv[0] = 0.01, 0.02, 1e8
    numbers = {"slippage_atr": 0.1, "slippage_volatility": 0.1, "impact": 1.0}
    trace = trade([FLAT], [BUY_ONE], known={"atr": atr, "volatility": volatility, "adv": adv}, **numbers)
    assert 100.3 < fills(trace, 0)[0][1] < 100.31


def test_regulatory_fees_are_charged_on_sales_only():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], **rates(sec=20e-6, taf=0.0002))
    assert (fees(trace, 0), fees(trace, 1)) == (0, near(10_000 * 20e-6 + 100 * 0.0002))


def test_a_fee_per_share_is_not_a_share_of_the_notional():
    dear, cheap = (trade([(p, p, p, p)], [BUY_ONE, SELL_ONE], **rates(taf=0.0002)) for p in (100, 10))
    assert (fees(dear, 1), fees(cheap, 1)) == (near(0.02), near(0.2))


def test_a_stop_pays_the_fees_of_a_sale():
    trace = trade([FLAT, FLAT, (100, 100, 97, 98)], [BUY_ONE], stop_loss=0.02, **rates(sec=20e-6, taf=0.0002))
    assert fees(trace, 1) == near(9_800 * 20e-6 + 100 * 0.0002)


def test_a_resize_pays_fees_on_the_difference_only():
    trace = trade([FLAT], [[0.10, 0], [0.15, 0], [0.05, 0]], **rates(sec=20e-6, cat=0.001))
    # Closing and opening again would cost six times as much; equity has paid the fees before, hence not to the digit.
    assert [fees(trace, step) for step in range(3)] == pytest.approx([0.1, 0.05, 0.1 + 10_000 * 20e-6], rel=1e-4)
    assert [len(fills(trace, step)) for step in range(3)] == [1, 1, 1]


def test_the_transaction_cost_of_a_portfolio_is_charged():
    trace = trade([FLAT], [[0.2, 0.2], [0.0, 0.0]], commission=0.001)
    assert trace.state.equity[:2] == near([99_960, 99_920])
    assert trace.reward[0] == near(np.log(0.9996))


def test_weights_that_stay_cost_nothing():
    trace = trade([FLAT], [[0.2, 0.1]] * 5, commission=0.0, spread=0.0)
    assert trace.info["num_trades"].tolist() == [2, 0, 0, 0, 0, 0, 0]


def test_negative_weights_do_not_open_short_positions():
    trace = trade([FLAT], [[-0.5, 0.2]])
    assert trace.state.shares[0].tolist() == near([0, 200])


def test_a_loss_is_booked_in_full_and_not_clamped():
    trace = trade([FLAT, FLAT, (1, 1, 1, 1)], [BUY_BOTH], buy_pct=0.5, max_position_pct=1.0)
    assert trace.state.equity[1] == near(50_000 + 500)
    assert trace.reward[1] == near(np.log(0.505))


def test_the_last_reward_is_not_repeated_at_the_end():
    bars = [*[FLAT] * (NUM_BARS - 2), (100, 120, 100, 120), (120, 120, 120, 120)]
    trace = trade(bars, [BUY_ONE])
    assert trace.truncated.tolist() == [False] * (NUM_BARS - 2) + [True]
    assert trace.reward[-2:] == near([np.log(1.02), 0])


def test_features_do_not_stand_for_tradability_or_prices():
    plain = trade(RISES_AND_DIPS, [BUY_BOTH, WAIT, SELL_ONE], stop_loss=0.02)
    for value in (0.0, 1.0, np.nan):
        features = np.full((NUM_BARS, 2, 2), value)
        trace = trade(RISES_AND_DIPS, [BUY_BOTH, WAIT, SELL_ONE], stop_loss=0.02, features=features)
        np.testing.assert_array_equal(trace.state.equity, plain.state.equity)
        np.testing.assert_array_equal(trace.state.shares, plain.state.shares)


def test_a_missing_bar_marks_at_the_last_price_known_and_fills_nothing():
    # What stands in a bar that does not trade is the last close; nothing is taken from another time or asset.
    bars = [FLAT, (100, 100, 90, 90), (90, 90, 90, 90), (60, 60, 60, 60)]
    trace = trade(bars, [BUY_ONE, SELL_ONE, WAIT], tradable={(2, 0): False}, stop_loss=0.05, other=[(500,) * 4] * 4)
    held = trade(bars, [BUY_ONE, SELL_ONE, WAIT], tradable={(2, 0): False}, other=[(500,) * 4] * 4)
    assert fills(trace, 0)[-1] == near((-100, 95))
    assert held.state.equity[:3] == near([99_000, 99_000, 96_000])
    assert held.info["num_trades"].tolist() == [1, 0, 1, 0, 0, 0, 0], "the sale waits for the bar after"


WEEK = [0, 1, 1, 1, 2, 2, 3, 3]
"""Sessions of uneven length."""


def test_the_day_begins_with_its_session_not_after_a_fixed_number_of_bars():
    # Two fills a day: of the buys in bars 1, 2, 3 the third is refused; bar 4 is another day.
    trace = trade([FLAT], [BUY_ONE] * 7, sessions=WEEK, max_position_pct=1.0, compiled={"max_trades_per_day": 2})
    assert trace.info["num_trades"].tolist() == [1, 1, 0, 1, 1, 1, 1]
    assert trace.info["rejected_orders"].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert trace.state.trades_today.tolist() == [1, 2, 2, 1, 2, 1, 2]


def test_interest_is_paid_once_a_session_and_not_lost_when_trading():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE] * 3, sessions=[0, 1, 1, 2, 5, 5, 6, 6], cash_rate=0.36)
    # Cash held over the night, by calendar days: before the buy of bar 1, after that of bar 3, over a weekend, ...
    cash = [100_000, *trace.info["cash"][:-1]]
    expected = [0.001 * nights * dollars for nights, dollars in zip([1, 0, 1, 3, 0, 1, 0], cash, strict=True)]
    assert expected[0] == 100 and expected[3] == pytest.approx(300 * 0.9, rel=0.01)
    assert trace.info["interest"] == near(expected)
    assert trace.state.equity[-1] == near(100_000 + sum(expected))


def test_day_trades_are_counted_over_five_sessions_not_one():
    dip = (100, 100, 97, 100)  # what is bought at the open is stopped out in the same session
    numbers = {"stop_loss": 0.02, "day_trade_equity_cash": 1e9, "max_position_pct": 0.1}
    trace = trade([FLAT, dip], [BUY_BOTH] * 7, other=[FLAT] + [dip] * 7, **numbers)
    # Two, then one more before a fourth could follow; those of bar 1 have left the window in bar 6.
    assert trace.info["day_trades"].tolist() == [2, 3, 3, 3, 3, 3, 3]
    assert trace.info["num_trades"].tolist() == [4, 2, 0, 0, 0, 4, 2]
    assert not trace.state.flagged.any()


def test_the_size_of_an_account_that_counts_is_that_of_the_session_before():
    bars = [FLAT, FLAT, (100, 300, 100, 300), (300, 300, 300, 300)]
    numbers = {"day_trade_equity_cash": 110_000.0, "sessions": [0, 1, 2, 3, 4, 5, 6, 7]}
    trace = trade(bars, [BUY_ONE], **numbers)
    assert trace.state.session_equity.tolist() == near([100_000, 100_000, 120_000, 120_000, *[120_000] * 3])


def test_the_end_of_an_asset_comes_before_its_stop_and_the_order():
    trace = trade([FLAT, FLAT, (50, 50, 50, 50)], [BUY_ONE, SELL_ONE], delisted={(2, 0): True}, stop_loss=0.02)
    assert (reasons(trace, 1), fills(trace, 1)) == (["delisted"], [near((-100, 100))])


def test_a_stop_comes_before_the_drawdown_halt_and_the_halt_before_the_order():
    crash = [FLAT, (100, 100, 60, 60), (59, 59, 59, 59)]
    numbers = {"buy_pct": 0.5, "max_position_pct": 1.0, "drawdown_halt": 0.1}
    halted = trade(crash, [BUY_ONE, BUY_BOTH, BUY_BOTH], **numbers)
    assert (reasons(halted, 1), reasons(halted, 1, 1)) == (["halt"], [])
    assert halted.info["rejected_orders"].tolist() == [0, 2, 2, 0, 0, 0, 0]
    assert halted.info["exit_halt"].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert halted.state.halted.tolist() == [True] * 7
    resting = trade([FLAT, FLAT, (100, 100, 60, 60), (59, 59, 59, 59)], [BUY_BOTH], stop_loss=0.5, **numbers)
    assert reasons(resting, 2) == ["halt"]
    both = trade([FLAT, FLAT, (100, 100, 60, 60), (49, 49, 49, 49)], [BUY_BOTH], stop_loss=0.5, **numbers)
    assert (reasons(both, 2), reasons(both, 2, 1)) == (["stop"], ["halt"])


def test_fills_of_a_bar_share_its_volume():
    # Bought at the open and stopped out inside: together at most 40 shares, not 40 each.
    trace = trade([FLAT, (100, 100, 97, 97)], [BUY_ONE], stop_loss=0.02, max_participation=0.04, known={"volume": 1e3})
    assert [fills(trace, step) for step in (0, 1)] == [[near((40, 100))], [near((-40, 98))]]


def test_orders_left_over_of_one_asset_do_not_disturb_another():
    volume = np.full((NUM_BARS, 2), 1e6)
    volume[:, 0] = 30
    carry = {"max_participation": 1.0, "remainder": "carry", "stop_loss": None, "take_profit": None}
    trace = trade([FLAT], [BUY_BOTH, [0, 2]], compiled=carry, known={"volume": volume}, max_participation=1.0)
    assert trace.state.shares[:, 0] == near([30, 60, 90, 100, 100, 100, 100])
    assert trace.state.shares[:, 1] == near([100, 0, 0, 0, 0, 0, 0])


def test_volume_and_sector_caps_hold():
    trace = trade([FLAT], [BUY_BOTH], max_participation=0.02, known={"volume": 1e3})
    assert trace.state.shares[0] == near([20, 20])
    trace = trade([FLAT], [BUY_BOTH, SELL_BOTH], max_sector_pct=0.15, sector_members=[[1, 1], [0, 0]])
    assert trace.state.shares[0] == near([75, 75])
    assert trade([FLAT], [BUY_BOTH], max_sector_pct=0.15).state.shares[0] == near([100, 100])
