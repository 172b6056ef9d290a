"""What an account earns has derivatives by its actions: autodiff through whole stretches against central differences.

In float64, rule by rule, for weights and bands. What autodiff cannot know is tested as that: whole lots have no slope,
and a derivative is right as long as no event moves.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvState
from tests.env.worlds import NUM_BARS, make_config, random_market
from tests.marks import thorough_but
from tests.train.worlds import LITTLE_OPTIMISED

LEAN: dict[str, Any] = {
    "fees": "none",
    "tick_size": None,
    "stop_loss": None,
    "take_profit": None,
    "min_order_cash": 0.0,
}
RULES: dict[str, dict[str, Any]] = {
    "nothing but costs": {},
    "stops and targets": {"stop_loss": 0.03, "take_profit": 0.05, "trailing_stop": 0.06},
    "impact, ticks and slippage": {"impact": 1.0, "tick_size": 0.01, "slippage_volatility": 0.05},
    "a band, the smallest order, holding": {"no_trade_band": 0.02, "min_order_cash": 50.0, "min_holding_bars": 2},
    "caps and sectors": {"max_position_pct": 0.2, "max_sector_pct": 0.3, "drawdown_scaling": 0.5},
    "volume, carried over": {"max_participation": 0.05, "remainder": "carry"},
    "differential Sharpe": {"reward": "differential_sharpe, 5*drawdown_increment"},
    "fees, commission and interest": {
        "fees": "alpaca@2024-05-22",
        "fee_rounding": "none",
        "commission_bps": 5.0,
        "commission_min": 2.0,
        "cash_rate": 0.05,
    },
    "fees rounded by fill": {"fees": "alpaca@2024-05-22", "fee_rounding": "fill"},
    "settlement at the close": {"settlement_days": 1, "fill": "next_close"},
    "limit orders": {"order_type": "limit", "limit_offset_bps": 30.0},
}
NUM_STEPS, NUM_WAYS = 24, 8
STEP = 1e-6


def random_plans(action: str, num_assets: int) -> np.ndarray:
    """Draw the numbers that actions are made of, `[S, A]` or `[S, A, 2]`."""
    shape = (NUM_STEPS, num_assets, 2) if action == "bands" else (NUM_STEPS, num_assets)
    return np.random.default_rng(11).normal(-1.0, 1.0, shape)


def to_action(action: str, plan: jax.Array) -> jax.Array:
    """Return the action of a plan: weights that may add up to more than 1, or bands around one."""
    if action == "weights":
        return jax.nn.sigmoid(plan)
    middle, reach = jax.nn.sigmoid(plan[..., 0]), 0.1 * jax.nn.sigmoid(plan[..., 1])
    return jnp.stack([middle - reach, middle + reach], axis=-1)


@functools.cache
def slopes(action: str, rules: str, **more: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Return derivatives of the summed rewards of a stretch along some ways: by autodiff and by differences."""
    env = TradingEnv(make_config(action, **(LEAN | RULES.get(rules, {}) | more)))
    with jax.enable_x64(True):
        params = env.default_params(random_market(4, dtype=np.float64))
        num_assets = params.market.close.shape[1]
        start = env.reset_at(3, NUM_BARS - 1, params)[1]

        def earned(plan: jax.Array) -> jax.Array:
            def step(state: EnvState, now: jax.Array) -> tuple[EnvState, jax.Array]:
                _, state, reward, *_ = env.step_env(jax.random.key(0), state, to_action(action, now), params)
                return state, reward

            return jax.lax.scan(step, start, plan)[1].sum()

        plan = random_plans(action, num_assets)
        ways = np.random.default_rng(12).normal(size=(NUM_WAYS, *plan.shape))
        moved = np.concatenate([plan + STEP * ways, plan - STEP * ways])
        both = jax.jit(lambda p, m: (jax.grad(earned)(p), jax.vmap(earned)(m)), compiler_options=LITTLE_OPTIMISED)
        slope, values = jax.device_get(both(plan, moved))
    central = (values[:NUM_WAYS] - values[NUM_WAYS:]) / (2 * STEP)
    return (ways * slope).reshape(NUM_WAYS, -1).sum(axis=1), central, float(np.abs(slope).max())


QUICK = (("bands", "stops and targets"),)


@pytest.mark.thorough
@pytest.mark.parametrize("case", thorough_but(QUICK, itertools.product(["weights", "bands"], RULES)), ids=", ".join)
def test_autodiff_equals_central_differences(case: tuple[str, str]):
    by_autodiff, central, largest = slopes(*case)
    assert np.isfinite(largest) and largest > 0
    size = np.abs(central).max()
    assert size > 1e-4, "nothing that an action does would matter"
    np.testing.assert_allclose(by_autodiff, central, rtol=0, atol=1e-5 * size)


@pytest.mark.thorough
def test_whole_lots_have_no_slope():
    by_autodiff, central, _ = slopes("weights", "lots", lot_size=10.0)
    assert not by_autodiff.any()
    assert np.abs(central).max() < 1e-3, "nor do they jump within so small a step"


EVERYTHING = RULES["stops and targets"] | RULES["impact, ticks and slippage"] | RULES["volume, carried over"]
EVERYTHING |= {"fees": "alpaca@2024-05-22", "fee_rounding": "day", "drawdown_scaling": 0.5, "max_sector_pct": 0.3}
EVERYTHING |= {"min_order_cash": 50.0, "reward": "differential_sharpe, 5*drawdown_increment, sortino_bonus, five_term"}


@pytest.mark.thorough
@pytest.mark.parametrize("action", ["weights", "bands"])
def test_derivatives_are_finite_whatever_happens(action: str):
    """Of many accounts in float32: bars without volume, delistings, splits, empty and ruined accounts, actions at 0."""
    env = TradingEnv(make_config(action, **EVERYTHING))
    params = env.default_params(random_market(9))
    num_assets = params.market.close.shape[1]
    rng = np.random.default_rng(2)
    size = rng.choice([0.0, 1.0, 20.0], 24)
    plans = np.stack([one * random_plans(action, num_assets) for one in size])
    starts = jnp.asarray(rng.integers(0, NUM_BARS - NUM_STEPS - 1, 24), jnp.int32)
    cash = jnp.asarray(rng.choice([1.0, 1e3, 1e8], 24), jnp.float32)

    def earned(plan: jax.Array, start: jax.Array, cash: jax.Array) -> jax.Array:
        own = params.replace(initial_cash=cash)

        def step(state: EnvState, now: jax.Array) -> tuple[EnvState, jax.Array]:
            _, state, reward, *_ = env.step_env(jax.random.key(0), state, to_action(action, now), own)
            return state, reward

        return jax.lax.scan(step, env.reset_at(start, NUM_BARS - 1, own)[1], plan)[1].sum()

    slopes = jax.jit(jax.vmap(jax.grad(earned)), compiler_options=LITTLE_OPTIMISED)
    found = np.asarray(slopes(jnp.asarray(plans, jnp.float32), starts, cash))
    assert np.isfinite(found).all()
    assert (np.abs(found).reshape(24, -1).max(axis=1) > 0).sum() > 8
