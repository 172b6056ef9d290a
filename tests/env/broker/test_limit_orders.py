"""Limit orders: worked out by hand, against the reference on random bars, and without a look at later bars."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from tests.env.cases import LIMIT_CASES
from tests.env.covering import hold_all_choices
from tests.env.differential import compare
from tests.env.scenes import BUY_BOTH, BUY_ONE, FLAT, SELL_ONE, WAIT, fills, near, reasons, trade
from tests.env.worlds import (
    NUM_ACCOUNTS,
    Trace,
    make_config,
    random_actions,
    random_market,
    simulate,
)
from tests.reference.broker import ReferenceBroker

LIMIT: dict[str, Any] = {"compiled": {"order_type": "limit"}, "limit_offset": 0.01}
"""Buys at 99 and sales at 101 where the close was at 100."""
TICKS: dict[str, Any] = {"compiled": {"order_type": "limit", "tick_size": 0.01}, "tick_size": 0.01}

FEW = [LIMIT_CASES[number] for number in hold_all_choices([dict(case.chosen) for case in LIMIT_CASES])]


def test_a_touched_limit_is_no_fill():
    touched = trade([FLAT, (100, 100, 99, 100)], [BUY_ONE], **LIMIT)
    assert (fills(touched, 0), touched.info["rejected_orders"][0], touched.state.cash[0]) == ([], 1, 100_000)
    through = trade([FLAT, (100, 100, 98.999, 100)], [BUY_ONE], **LIMIT)
    assert fills(through, 0) == [near((10_000 / 99, 99))]
    held = [FLAT, (100, 100, 98, 100)]
    touched = trade([*held, (100, 101, 100, 100)], [BUY_ONE, SELL_ONE], **LIMIT)
    through = trade([*held, (100, 101.001, 100, 100)], [BUY_ONE, SELL_ONE], **LIMIT)
    assert (fills(touched, 1), fills(through, 1)) == ([], [near((-10_000 / 99, 101))])


@pytest.mark.parametrize(("low", "is_filled"), [(98.99, True), (98.991, False), (99.0, False)])
def test_with_ticks_a_bar_has_to_trade_a_whole_tick_through(low: float, is_filled: bool):
    trace = trade([FLAT, (100, 100, low, 100)], [BUY_ONE], limit_offset=0.01, **TICKS)
    assert bool(fills(trace, 0)) == is_filled


def test_limits_are_whole_ticks_away_from_the_close():
    first = (10.07, 10.07, 10.07, 10.07)
    bought = trade(
        [first, (10.07, 10.07, 9, 10.07), (10.07, 12, 10, 10)], [BUY_ONE, SELL_ONE], limit_offset=0.005, **TICKS
    )
    assert [fills(bought, step)[0][1] for step in (0, 1)] == near([10.01, 10.13])  # of 10.01965 and 10.12035
    penny = (0.5, 0.5, 0.5, 0.5)
    bought = trade([penny, (0.5, 0.5, 0.4, 0.5)], [BUY_ONE], limit_offset=0.00501, **TICKS)
    assert fills(bought, 0)[0][1] == near(0.4974)  # a hundredth of the tick below a dollar


def test_a_bar_through_the_limit_fills_at_it_without_costs():
    costs = {"spread": 0.02, "slippage": 0.01, "commission": 0.001}
    bought = trade([FLAT, (100, 100, 90, 95)], [BUY_ONE], **costs, **LIMIT)
    fill = bought.info["fills"][3]
    assert (fill.price[0, 0], fill.reference[0, 0]) == near((99, 99))
    assert bought.info["cost"][0] == near(10)  # the commission on 10,000
    assert bought.info["turnover"][0] == near(0.1)


@pytest.mark.thorough
def test_impact_is_not_paid_at_a_limit():
    rules = {"compiled": {"order_type": "limit", "impact": 1.0}, "limit_offset": 0.01, "impact": 5.0}
    known = {"volatility": 0.05, "adv": 1e4}
    trace = trade([FLAT, (100, 100, 90, 95)], [BUY_ONE], known=known, **rules)
    assert fills(trace, 0) == [near((10_000 / 99, 99))]


def test_a_gap_fills_a_limit_order_at_the_open():
    bought = trade([FLAT, (95, 96, 94, 95), (99, 99, 98.5, 99)], [BUY_ONE, SELL_ONE], **LIMIT)
    # As many shares as were ordered at 99, and the sale at the open, which is above 95.95.
    assert [fills(bought, step) for step in (0, 1)] == [[near((10_000 / 99, 95))], [near((-10_000 / 99, 99))]]


def test_a_limit_follows_a_split():
    trace = trade([FLAT, (50, 50, 49.4, 50)], [BUY_ONE], split={(1, 0): 2.0}, **LIMIT)
    assert fills(trace, 0) == [near((10_000 / 49.5, 49.5))]


def test_what_is_not_filled_is_cancelled():
    trace = trade([FLAT, (100, 100, 99.5, 100), (100, 100, 90, 90)], [BUY_ONE, WAIT], **LIMIT)
    assert trace.info["num_trades"].sum() == 0
    assert trace.state.cash == near(np.full(7, 100_000.0))


def test_an_order_whose_asset_has_no_bar_waits_for_the_next():
    trace = trade([FLAT, FLAT, (100, 100, 98, 100)], [BUY_ONE, WAIT], tradable={(1, 0): False}, **LIMIT)
    assert [fills(trace, step) for step in (0, 1)] == [[], [near((10_000 / 99, 99))]]
    assert trace.info["rejected_orders"].sum() == 0


def test_cash_is_put_aside_for_buys_that_do_not_fill():
    rules = {"buy_pct": 1.0, "max_position_pct": 1.0, **LIMIT}
    other = [FLAT, (100, 100, 100, 100)]
    trace = trade([FLAT, (100, 100, 90, 95)], [BUY_BOTH], other=other, **rules)
    assert fills(trace, 0) == [near((50_000 / 99, 99))]
    assert trace.state.cash[0] == near(50_000)
    # The proceeds of a sale of the bar buy from the next one on.
    swap = trade(
        [FLAT, (100, 100, 98, 100), (100, 105, 98, 100)],
        [BUY_ONE, [2, 1]],
        other=[FLAT, FLAT, (100, 100, 98, 100)],
        **rules,
    )
    assert (fills(swap, 1, 0), fills(swap, 1, 1)) == ([near((-100_000 / 99, 101))], [])


def test_volume_caps_a_limit_order():
    rules = {
        "compiled": {"order_type": "limit", "max_participation": 0.5},
        "limit_offset": 0.01,
        "max_participation": 0.1,
    }
    trace = trade([FLAT, (100, 100, 90, 95)], [BUY_ONE], known={"volume": 300.0}, **rules)
    assert fills(trace, 0) == [near((30, 99))]


def test_a_limit_buy_is_stopped_in_its_own_bar():
    trace = trade([FLAT, (100, 100, 90, 98)], [BUY_ONE], stop_loss=0.05, **LIMIT)
    assert reasons(trace, 0) == ["order", "stop"]
    assert fills(trace, 0)[1] == near((-10_000 / 99, 99 * 0.95))
    gap = trade([FLAT, (95, 96, 90, 96)], [BUY_ONE], stop_loss=0.05, **LIMIT)
    assert fills(gap, 0)[1] == near((-10_000 / 99, 95 * 0.95))


def test_a_limit_buy_reaches_no_target_in_its_own_bar():
    trace = trade([FLAT, (100, 105, 98, 99), (100, 102, 99, 100)], [BUY_ONE], take_profit=0.02, **LIMIT)
    assert [reasons(trace, step) for step in (0, 1)] == [["order"], ["target"]]


def test_of_a_sale_and_an_exit_the_lower_price_comes_first():
    bought = [FLAT, (100, 100, 98, 100)]
    wide = (100, 110, 90, 100)
    stopped = trade([*bought, wide], [BUY_ONE, SELL_ONE], stop_loss=0.05, **LIMIT)
    assert fills(stopped, 1) == [near((-10_000 / 99, 99 * 0.95))]
    assert stopped.info["rejected_orders"][1] == 1
    rise = (100, 110, 99, 100)
    sold = trade([*bought, rise], [BUY_ONE, SELL_ONE], take_profit=0.05, **LIMIT)
    assert (reasons(sold, 1), fills(sold, 1)) == (["order"], [near((-10_000 / 99, 101))])
    near_target = trade([*bought, rise], [BUY_ONE, SELL_ONE], take_profit=0.015, **LIMIT)
    assert (reasons(near_target, 1), fills(near_target, 1)) == (["target"], [near((-10_000 / 99, 99 * 1.015))])


def test_of_a_buy_and_a_stop_the_higher_price_comes_first():
    bought = [FLAT, (100, 100, 98, 100)]
    deep = (100, 100, 80, 85)
    below = trade([*bought, deep], [BUY_ONE, BUY_ONE], stop_loss=0.05, max_position_pct=1.0, **LIMIT)
    # 99 is above the stop at 94.05: bought first, then all of it is stopped at 5 % below the average of 99.
    assert reasons(below, 1) == ["order", "stop"]
    assert fills(below, 1)[1][0] == near(-(10_000 + below.state.equity[0] * 0.1) / 99)
    tight = [FLAT, (100, 100, 98.9, 99.2), (99.2, 99.2, 80, 85)]
    above = trade(tight, [BUY_ONE, BUY_ONE], stop_loss=0.005, max_position_pct=1.0, **LIMIT)
    # 98.208 is below the stop at 98.505: that comes first, and the order with it to its end.
    assert (reasons(above, 1), fills(above, 1)) == (["stop"], [near((-10_000 / 99, 99 * 0.995))])
    assert above.info["rejected_orders"][1] == 1


@pytest.mark.thorough
def test_a_trailing_stop_does_not_know_the_high_of_the_bar_of_a_limit_buy():
    rules = {"compiled": {"order_type": "limit", "trailing_stop": 0.05}, "limit_offset": 0.01, "trailing_stop": 0.05}
    trace = trade([FLAT, (100, 120, 98, 99), (99, 99, 98, 98)], [BUY_ONE], **rules)
    assert trace.state.highest_price[0, 0] == near(99)
    assert not fills(trace, 1)


def quote(bars: list[tuple[float, float, float, float]], held: bool, **settings: Any) -> list[tuple[float, float]]:
    """Return (shares, price) of what a quote of both sides does in the last bar, of an account that may hold 500."""
    rows = np.array([FLAT, (100, 100, 80, 100), *bars] if held else [FLAT, *bars], float)
    market = random_market(0, len(rows), 1, plain=True)
    prices = dict(zip(("open", "high", "low", "close"), rows.T[:, :, None].astype(np.float32), strict=True))
    market = market.replace(
        **prices, volume=np.full((len(rows), 1), 1e9, np.float32), tradable=np.ones((len(rows), 1), bool)
    )
    plain = {"stop_loss": None, "take_profit": None, "fees": "none", "tick_size": None, "max_position_pct": 1.0}
    config = EnvConfig(
        action="bands", order_type="limit", limit_offset_bps=100, episode_length=len(rows) - 1, **plain, **settings
    )
    env = TradingEnv(config, quotes=True)
    params = env.default_params(market)
    _, state = env.reset_at(0, len(rows) - 1, params)
    step = jax.jit(env.step_env)
    for wanted in [[0.495, np.nan]] * held + [[0.1, 0.1]]:
        _, state, *_, info = step(jax.random.key(0), state, jnp.array([wanted], jnp.float32), params)
    return [(float(f.shares[0]), float(f.price[0])) for f in info["fills"] if f.shares[0]]


@pytest.mark.thorough
def test_of_two_sides_the_one_that_loses_at_the_close_counts():
    def sides(close: float) -> list[float]:
        return [price for _, price in quote([(100, 103, 97, close)], held=True)]

    assert sides(97.5) == [99]  # bought, and the close is below
    assert sides(102.5) == [101]  # sold, and the close is above
    assert sides(100.5) == [101]  # both gain: 1.5 and 0.5
    assert sides(100.0) == [99]  # at a tie the buy
    assert [price for _, price in quote([(100, 103, 97, 102.5)], held=False)] == [99]  # nothing to sell
    assert [price for _, price in quote([(100, 103, 99.5, 97.5)], held=True)] == [101]  # one side reached
    assert quote([(100, 100.5, 99.5, 100)], held=True) == []


@pytest.mark.thorough
def test_quotes_agree_with_the_reference():
    config = make_config("weights", order_type="limit", limit_offset_bps=50.0, fees="none", tick_size=None)
    config = dataclasses.replace(config, action="bands", stop_loss=0.05, take_profit=0.04)
    env, both = TradingEnv(config, quotes=True), 0
    with jax.enable_x64(True):
        step = jax.jit(env.step_env)
        for seed in range(4):
            market = random_market(seed, dtype=np.float64, plain=True)
            params = env.default_params(market)
            _, state = env.reset_at(0, config.episode_length, params)
            names = ("open", "high", "low", "close", "tradable")
            theirs = ReferenceBroker(
                *(getattr(market, name) for name in names),
                volume=market.volume,
                sessions=market.sessions,
                action="quotes",
                order_type="limit",
                limit_offset_bps=50.0,
                spread_bps=2.0,
                slippage_bps=1.0,
                stop_loss=0.05,
                take_profit=0.04,
            )
            rng = np.random.default_rng(seed)
            for _ in range(config.episode_length):
                action = rng.uniform(-0.05, 0.2, (market.num_assets, 2))
                action[rng.random(action.shape) < 0.1] = np.nan
                _, state, *_, info = step(jax.random.key(0), state, jnp.asarray(action), params)
                theirs.step(action)
                ours = [
                    (asset, float(f.shares[asset]), float(f.price[asset]))
                    for f in info["fills"]
                    for asset in np.flatnonzero(f.shares)
                ]
                expected = [(fill.asset, fill.side * fill.shares, fill.price) for fill in theirs.fills]
                assert sorted(ours) == [pytest.approx(fill, rel=1e-9) for fill in sorted(expected)]
                assert float(state.equity) == pytest.approx(theirs.equity, rel=1e-9)
            both += theirs.events["both sides"]
    assert both > 20


@pytest.mark.thorough
@pytest.mark.parametrize("case", FEW, ids=str)
def test_limit_orders_agree_with_the_reference(case: Any):
    found = compare(case, 11)
    assert found.events["order"] > 100 and found.events["limit not reached"] > 50


@pytest.mark.thorough
def test_every_way_of_limit_orders_is_compared():
    events = sum((compare(case, 12).events for case in FEW[:4]), start=compare(FEW[0], 13).events)
    names = ("order before an exit", "order after an exit", "stopped in the bar of a limit buy", "limit not reached")
    assert {name for name in (*names, "order waits for a bar") if events[name] < 20} == set()


@pytest.mark.thorough
def test_nothing_follows_from_a_later_bar():
    config = make_config(order_type="limit", limit_offset_bps=100.0, fees="none")
    market, actions, row = random_market(5, dtype=np.float64), random_actions(5), 30
    rng = np.random.default_rng(0)
    changes = {}
    for name in ("open", "high", "low", "close", "volume"):
        values = np.array(getattr(market, name))
        values[row + 1 :] *= rng.uniform(0.5, 2.0, values[row + 1 :].shape)
        changes[name] = values
    traces: list[Trace] = [simulate(config, one, {}, actions) for one in (market, market.replace(**changes))]
    first, second = ({"shares": x.state.shares, "cash": x.state.cash} for x in traces)
    for name in first:
        np.testing.assert_array_equal(first[name][:row], second[name][:row])
        assert (first[name][row:] != second[name][row:]).any()
    assert first["shares"].shape[1] == NUM_ACCOUNTS


@pytest.mark.parametrize("action", ["bands", "levels", "weights", "discrete"])
def test_every_kind_of_action_can_rest(action: Any):
    market = random_market(3, plain=True)
    env = TradingEnv(EnvConfig(action=action, order_type="limit", limit_offset_bps=20.0, episode_length=20))
    params = env.default_params(market)
    _, state = env.reset_at(0, 20, params)
    wanted = {"bands": np.full((4, 2), 0.2), "weights": np.full(4, 0.2)}.get(action, np.ones(4))
    wanted = wanted.astype(np.int32 if env.config.is_choice else np.float32)
    if action == "levels":
        wanted = wanted + 2
    step = jax.jit(env.step_env)
    num_trades = 0
    for _ in range(20):
        _, state, *_, info = step(jax.random.key(0), state, wanted, params)
        num_trades += int(info["num_trades"])
        assert float(state.cash) >= 0 and (np.asarray(state.shares) >= 0).all()
    assert num_trades > 3


def test_what_makes_no_sense_with_limit_orders_is_refused():
    with pytest.raises(ValueError, match="fill='next_close' is for market orders alone"):
        EnvConfig(order_type="limit", fill="next_close")
    with pytest.raises(ValueError, match="remainder='carry' would trade yesterday's price"):
        EnvConfig(order_type="limit", remainder="carry", max_participation=0.1)
    with pytest.raises(ValueError, match="only limit orders can be on both sides"):
        TradingEnv(EnvConfig(action="bands"), quotes=True)
    assert EnvConfig(order_type="limit").without_strategy_rules().order_type == "market"
