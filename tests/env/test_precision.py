"""The step in float32: how far it drifts, what it keeps, and that cash stays above 0 all the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.account import compensated_add
from ploutos_jax.env.trading import TradingEnv
from tests.env.worlds import (
    Trace,
    make_config,
    make_params,
    random_actions,
    random_market,
    random_numbers,
    simulate,
)

YEAR, LARGE, FEW = 253, 503, 8
UNCUT = {"buy_pct": 0.001, "max_position_pct": 0.0015}
"""Discrete buys of 503 assets that always find cash enough."""
USUAL = {"spread": 2e-4, "slippage": 1e-4, "commission": 0.0, "commission_per_share_cash": 0.005}
USUAL |= {"stop_loss": 0.02, "take_profit": 0.04}


def both_precisions(kind: str, seed: int, **numbers: float) -> tuple[Trace, Trace]:
    """Run a year of 503 assets in float32 and in float64 from exactly the same inputs."""
    config = make_config(kind, YEAR)
    market = random_market(seed, YEAR, LARGE)
    drawn = {name: value.astype(np.float32) for name, value in random_numbers(seed, FEW).items()}
    drawn |= {name: np.full(FEW, value, np.float32) for name, value in numbers.items()}
    actions = random_actions(seed, kind, YEAR - 1, FEW, LARGE)
    actions = actions if kind == "discrete" else actions.astype(np.float32)
    wide = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, (market, drawn, actions))
    return simulate(config, market, drawn, actions), simulate(config, *wide)


def measure_drift(single: Trace, double: Trace) -> tuple[float, float]:
    """Return the largest relative difference of equity before fills differ, and the share of fills that do."""
    happened = [np.stack([fill.shares != 0 for fill in trace.info["fills"]]) for trace in (single, double)]
    flips = happened[0] != happened[1]
    same_so_far = ~np.maximum.accumulate(flips.any(axis=(0, 3)), axis=0)
    drift = np.abs(single.state.equity - double.state.equity) / double.state.equity
    return float(drift[same_so_far].max()), flips.sum() / happened[1].sum()


@pytest.mark.parametrize(
    ("kind", "numbers", "limit"),
    [
        ("discrete", UNCUT, 1e-5),
        ("discrete", UNCUT | USUAL, 1e-5),
        # Where cash does not reach, the margin for rounding (A ulp of the cash) stays uninvested: no drift of the sums.
        ("discrete", USUAL, 1e-4),
        ("discrete", {}, 1e-3),
        ("weights", USUAL, 1e-4),
    ],
)
def test_a_year_of_503_assets_in_float32_stays_near_float64(kind: str, numbers: dict[str, float], limit: float):
    single, double = both_precisions(kind, 0, **numbers)
    drift, flipped = measure_drift(single, double)
    assert drift < limit
    assert flipped < 1e-4
    assert (double.info["num_trades"].sum(axis=0) > 1000).any()
    cost = double.state.cost[-1] + double.state.cost_low[-1]
    np.testing.assert_allclose(single.state.cost[-1] + single.state.cost_low[-1], cost, rtol=1e-3)
    assert (single.state.cash + single.state.cash_low >= 0).all()


@pytest.mark.parametrize(("kind", "num_assets"), [("discrete", 1), ("discrete", 30), ("weights", 30)])
def test_cash_never_falls_below_zero_in_float32(kind: str, num_assets: int):
    accounts = 200
    for seed in range(3):
        numbers = random_numbers(seed, accounts)
        for name in ("buy_pct", "max_position_pct"):
            numbers[name][::2] = 1.0
        trace = simulate(
            make_config(kind),
            random_market(seed, num_assets=num_assets),
            numbers,
            random_actions(seed, kind, num_accounts=accounts, num_assets=num_assets),
        )
        state = trace.state
        assert (state.cash + state.cash_low >= 0).all()
        assert (state.shares >= 0).all()
        # Accounts that spend all they have are among them.
        assert (state.cash < 1e-4 * state.equity).any()
        for value in jax.tree.leaves((state, trace.reward, trace.info)):
            assert np.isfinite(value).all()
        gained = trace.info["profit"].astype(np.float64).sum(axis=(0, 2))
        initial = numbers["initial_cash"]
        np.testing.assert_allclose(1 + gained / initial, state.equity[-1] / initial, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_float32_stays_float32(kind: str):
    config = make_config(kind)
    env, params = TradingEnv(config), make_params(config, random_market(0), {})
    action = jnp.zeros(4, jnp.int32 if kind == "discrete" else jnp.float32)
    key = jax.random.key(0)
    _, state = jax.eval_shape(env.reset, key, params)

    def describe(tree: Any) -> Any:
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)

    for step in (env.step, env.step_env):
        obs, after, reward, terminated, truncated, info = jax.eval_shape(step, key, state, action, params)
        assert describe(after) == describe(state)
        assert {x.dtype for x in jax.tree.leaves(after)} == {jnp.dtype("int32"), jnp.dtype("float32")}
        assert not any(x.weak_type for x in jax.tree.leaves((after, obs, reward, info)))
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (jnp.float32, jnp.bool, jnp.bool)
    # A Python number among the parameters must not change types either.
    loose = params.replace(spread=0.001, stop_loss=0.05)
    assert describe(jax.eval_shape(env.step, key, state, action, loose)[1]) == describe(state)


def test_pennies_are_not_lost_on_a_large_account():
    pennies = np.full(10_000, 0.01, np.float32)

    def add(total: tuple[jax.Array, jax.Array], change: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        return compensated_add(*total, change), None

    (high, low), _ = jax.lax.scan(add, (jnp.float32(1e7), jnp.float32(0)), pennies)
    assert float(high) + float(low) == pytest.approx(1e7 + 100, abs=1e-3)
    assert np.float32(1e7) + pennies[0] == np.float32(1e7)  # a plain sum would not move
