"""Orders worked out by hand: their size, what limits them, when they fill, and what an account may do."""

from typing import Any

import numpy as np
import pytest

from tests.env.scenes import BUY_BOTH, BUY_ONE, FLAT, NUM_BARS, SELL_BOTH, SELL_ONE, WAIT, fills, near, reasons, trade


@pytest.mark.thorough
def test_size_by_volatility_and_by_atr():
    by_volatility = {"compiled": {"sizing": "volatility"}, "target_volatility": 0.16, "bars_per_year": 256.0}
    trace = trade([FLAT], [BUY_BOTH], known={"volatility": [0.02, 0.0]}, **by_volatility)
    assert trace.state.shares[0] == near([50, 100])  # half as wild as 32 % a year; unknown counts as usual
    by_atr = {"compiled": {"sizing": "atr"}, "risk_pct": 0.01, "risk_atr": 2.0, "max_position_pct": 0.2}
    trace = trade([FLAT], [BUY_BOTH], known={"atr": [0.05, 0.01]}, **by_atr)
    assert trace.state.shares[0] == near([100, 200])  # 1 % over 10 %; the other one is capped
    assert trade([FLAT], [BUY_BOTH], known={"atr": 0.0}, **by_atr).state.shares[0] == near([100, 100])


def test_buys_shrink_with_the_drawdown():
    bars = [FLAT, FLAT, (50, 50, 50, 50)]
    # 20,000 fall to 10,000: a drawdown of 10 % of which 40 % is the most.
    trace = trade(bars, [BUY_ONE, WAIT, [0, 1]], buy_pct=0.2, drawdown_scaling=0.4)
    assert trace.state.shares[2, 1] == near(0.2 * 90_000 * 0.75 / 100)
    none = trade(bars, [BUY_ONE, WAIT, [0, 1]], buy_pct=0.2, drawdown_scaling=0.1)
    assert none.state.shares[2, 1] == 0


def test_small_changes_of_weight_are_not_traded_but_a_zero_sells_all():
    steps = [[0.10, 0.02], [0.11, 0.02], [0.13, 0.0]]
    trace = trade([FLAT], steps, no_trade_band=0.02)
    assert trace.state.shares[:3] == near(np.array([[100, 20], [100, 20], [130, 0]]))
    assert trace.info["rejected_orders"].tolist() == [0] * 7


def test_whole_lots_are_bought_and_the_rest_is_sold_with_the_last():
    lots: dict[str, Any] = {"compiled": {"lot_size": 1.0, "max_participation": 0.5}, "lot_size": 30.0}
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], max_participation=1.0, **lots)
    assert [fills(trace, step)[0][0] for step in (0, 1)] == near([90, -90])
    odd = trade([FLAT], [BUY_ONE, WAIT, SELL_ONE], split={(2, 0): 0.5}, max_participation=1.0, **lots)
    assert fills(odd, 2)[0][0] == near(-45)
    volume = np.full((NUM_BARS, 2), 1e6)
    volume[3, 0] = 40.0
    capped = trade([FLAT], [BUY_ONE, WAIT, SELL_ONE], known={"volume": volume}, max_participation=1.0, **lots)
    assert fills(capped, 2)[0][0] == near(-30)


def test_sales_settle_before_they_buy():
    rule = {"compiled": {"settlement_days": 2}, "buy_pct": 1.0, "max_position_pct": 1.0}
    trace = trade([FLAT], [BUY_ONE, [2, 1], [0, 1], [0, 1]], **rule)
    assert trace.state.shares[:4, 1] == near([0, 0, 0, 1000])
    assert trace.state.unsettled_cash[:4] == near(np.array([[0, 0], [0, 1e5], [1e5, 0], [0, 0]]))
    one_day = [0, 1, 1, 1, 1, 1, 2, 3]
    held = trade([FLAT], [BUY_ONE, [2, 1], *[[0, 1]] * 5], sessions=one_day, **rule)
    assert held.state.shares[:, 1] == near([0, 0, 0, 0, 0, 0, 1000])


def test_trades_a_day_go_to_sales_first_then_to_the_largest():
    rule = {"compiled": {"max_trades_per_day": 1}, "known": {"adv": [[1e6, 2e6]] * NUM_BARS}, "max_position_pct": 0.2}
    trace = trade([FLAT], [BUY_BOTH, BUY_BOTH, BUY_BOTH, [2, 1]], **rule)
    # Equal values: the one that trades more; then again, as its order is as large; then the other; then the sale.
    assert trace.state.shares[:4] == near(np.array([[0, 100], [0, 200], [100, 200], [0, 200]]))
    assert trace.info["rejected_orders"].tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_a_refused_exit_waits_for_the_next_session_where_day_trades_are_limited():
    dip = (100, 100, 97, 97)
    mode = {"compiled": {"day_trade_rule": "pdt_2001", "day_trade_mode": "exit"}, "stop_loss": 0.02}
    numbers = {"day_trade_equity_cash": 1e9, "max_position_pct": 1.0, "other": [FLAT, dip, dip, (95, 95, 95, 95)]}
    trace = trade([FLAT, dip, dip, (95, 95, 95, 95)], [BUY_BOTH, BUY_BOTH], **numbers, **mode)
    assert trace.info["day_trades"].tolist() == [2, 3, 3, 3, 3, 1, 0]
    # Of four exits the fourth would make the account a day trader; it fills at the next open.
    assert [len(fills(trace, step, 0)) + len(fills(trace, step, 1)) for step in range(3)] == [4, 3, 1]
    assert (reasons(trace, 2, 1), fills(trace, 2, 1)[0][1]) == (["stop"], near(95))
    assert not trace.state.flagged.any()


def test_many_day_trades_mark_an_account_that_is_large_enough_to_make_them():
    dip = (100, 100, 97, 100)
    steps = [BUY_BOTH, BUY_BOTH, BUY_BOTH]
    trace = trade([FLAT, dip], steps, other=[FLAT] + [dip] * 7, stop_loss=0.02, day_trade_equity_cash=50_000.0)
    assert trace.info["day_trades"].tolist() == [2, 4, 6, 6, 6, 4, 2]
    assert trace.state.flagged.tolist() == [False] + [True] * 6


def test_the_day_trade_rule_ends_with_its_day():
    dip = (100, 100, 97, 100)
    rule = {"stop_loss": 0.02, "day_trade_equity_cash": 1e9, "other": [FLAT] + [dip] * 7}
    trace = trade([FLAT, dip], [BUY_BOTH] * 4, day_trade_end=18_003, **rule)
    assert trace.info["num_trades"].tolist() == [4, 2, 4, 4, 0, 0, 0]


@pytest.mark.parametrize(("fill", "price"), [("next_open", 110), ("next_close", 112), ("same_close", 100)])
def test_orders_fill_when_they_are_told_to(fill: str, price: float):
    compiled = None if fill == "next_open" else {"fill": fill}
    trace = trade([FLAT, (110, 115, 105, 112)], [BUY_ONE], compiled=compiled)
    assert fills(trace, 0) == [near((10_000 / price, price))]
    assert trace.state.equity[0] == near(100_000 + 10_000 * (112 / price - 1))
    assert trace.state.entry_bar[0, 0] == (0 if fill == "same_close" else 1)


def test_a_position_sold_at_the_close_is_still_there_for_the_stop_before_it():
    fall = [FLAT, FLAT, (100, 100, 97, 99)]
    next_close = trade(fall, [BUY_ONE, SELL_ONE], compiled={"fill": "next_close"}, stop_loss=0.02)
    assert (reasons(next_close, 1), fills(next_close, 1)) == (["stop"], [near((-100, 98))])
    assert next_close.info["rejected_orders"][1] == 1
    same_close = trade(fall, [BUY_ONE, SELL_ONE], compiled={"fill": "same_close"}, stop_loss=0.02)
    assert (reasons(same_close, 1), fills(same_close, 1)) == (["order"], [near((-100, 100))])


def test_an_order_that_is_still_working_ends_with_the_next_word_of_the_agent():
    volume = {"known": {"volume": 30.0}, "max_participation": 1.0}
    carry = {"max_participation": 1.0, "remainder": "carry", "stop_loss": None, "take_profit": None}
    trace = trade([FLAT], [BUY_ONE, WAIT, SELL_ONE], compiled=carry, **volume)
    assert trace.state.shares[:, 0] == near([30, 60, 30, 0, 0, 0, 0])
    assert trace.state.working_shares[:, 0] == near([70, 40, -30, 0, 0, 0, 0])
    cancelled = trade([FLAT], [BUY_BOTH, SELL_BOTH], **volume)
    assert cancelled.state.shares[:, 0] == near([30, 0, 0, 0, 0, 0, 0])
