"""The worth of a position against the derivative of what a plain simulation earns, in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted import planted_panel
from ploutos_jax.train.ppo.position_value import BarReturns, Steps, bar_returns, position_advantage

S, A, GAMMA = 40, 3, 0.97


def world(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    low = random.uniform(0.0, 0.25, (S, A))
    return {
        "night": random.normal(0, 0.01, (S + 1, A)),
        "day": random.normal(0, 0.01, (S + 1, A)),
        "cost": random.uniform(0.0005, 0.002, (S + 1, A)),
        "slope": random.uniform(0.8, 1.2, S),
        "low": low,
        "high": low + random.uniform(0.02, 0.2, (S, A)),
    }


def play(w: dict[str, np.ndarray], extra: float = 0.0, at: int = -1, asset: int = 0) -> tuple[float, np.ndarray]:
    """Return the discounted gain of following the bands from step `at` on, with `extra` more after its fill."""
    held, total, weights = np.full(A, 0.1), 0.0, []
    for s in range(S):
        weights.append(held.copy())
        after = np.clip(held, w["low"][s], w["high"][s])
        gain = held * w["night"][s + 1] - w["cost"][s + 1] * np.abs(after - held)
        if s == at:
            after[asset] += extra
        gain = gain + after * w["day"][s + 1]
        if s >= max(at, 0):
            # The gain before the fill of step `at` does not depend on what is added after it.
            total += GAMMA ** (s - max(at, 0)) * w["slope"][s] * gain.sum()
        held = after
    return total, np.stack(weights)


def steps_of(w: dict[str, np.ndarray], weights: np.ndarray, taken: np.ndarray, full: float = 0.0) -> Steps:
    planned = np.clip(weights, w["low"], w["high"])
    none = np.zeros((S, 1), bool)
    return Steps(
        t=jnp.arange(S)[:, None],
        terminated=jnp.asarray(none),
        truncated=jnp.asarray(none),
        weight=jnp.asarray(weights[:, None]),
        planned=jnp.asarray(planned[:, None]),
        taken=jnp.asarray(taken[:, None]),
        cash=jnp.full((S, 1), 100.0),
        full=jnp.full((S, 1), full),
        slope=jnp.asarray(w["slope"][:, None]),
        following=jnp.zeros((S, 1, A)),
    )


def returns_of(w: dict[str, np.ndarray]) -> BarReturns:
    return BarReturns(*(jnp.asarray(w[name]) for name in ("night", "day", "cost")))


@pytest.mark.parametrize("seed", range(3))
def test_an_advantage_is_the_derivative_of_what_a_simulation_earns(seed):
    w = world(seed)
    _, weights = play(w)
    planned, move, tried = np.clip(weights, w["low"], w["high"]), 1e-7, 1e-2
    advantage, _ = position_advantage(returns_of(w), steps_of(w, weights, planned + tried), GAMMA, 1.0)
    for s in range(0, S, 3):
        for asset in range(A):
            more, less = (play(w, sign * move, s, asset)[0] for sign in (1, -1))
            worth = (more - less) / (2 * move)
            before, now = planned[s, asset] - weights[s, asset], planned[s, asset] + tried - weights[s, asset]
            paid = w["slope"][s] * w["cost"][s + 1, asset] * (abs(now) - abs(before)) / tried
            np.testing.assert_allclose(advantage[s, 0, asset] / tried, worth - paid, rtol=1e-4, atol=2e-6)


def test_the_mean_action_has_no_advantage_and_a_full_account_charges_what_is_displaced():
    w = world(5)
    _, weights = play(w)
    planned = np.clip(weights, w["low"], w["high"])
    none, _ = position_advantage(returns_of(w), steps_of(w, weights, planned), GAMMA, 0.9)
    assert not np.asarray(none).any()
    # The same share more of everything takes from each what it gives it: only the costs are left.
    grown = planned * 1.01
    charged, _ = position_advantage(returns_of(w), steps_of(w, weights, grown, full=1.0), GAMMA, 0.9)
    paid = w["slope"][:, None] * w["cost"][1:] * (np.abs(grown - weights) - np.abs(planned - weights))
    np.testing.assert_allclose(np.asarray(charged)[:, 0].sum(-1), -paid.sum(-1), atol=1e-7)


def test_the_critic_stands_in_where_rollouts_and_episodes_end():
    w = world(7)
    _, weights = play(w)
    planned = np.clip(weights, w["low"], w["high"])
    steps = steps_of(w, weights, planned)
    cut = 20
    truncated = np.zeros((S, 1), bool)
    truncated[cut] = True
    told = jnp.asarray(np.random.default_rng(0).normal(0, 0.1, (S, 1, A)))
    _, worth = position_advantage(
        returns_of(w), steps._replace(truncated=jnp.asarray(truncated), following=told), GAMMA, 1.0
    )
    for end in (cut, S - 1):
        left_alone = planned[end] == weights[end]
        expected = w["slope"][end] * (w["night"][end + 1] + w["day"][end + 1]) + GAMMA * np.asarray(told)[end, 0]
        np.testing.assert_allclose(np.asarray(worth)[end, 0][left_alone], expected[left_alone], rtol=1e-5, atol=1e-7)
        assert left_alone.any()
    terminated = steps._replace(terminated=jnp.asarray(truncated), following=told)
    _, ended = position_advantage(returns_of(w), terminated, GAMMA, 1.0)
    expected = w["slope"][cut] * (w["night"][cut + 1] + w["day"][cut + 1])
    alone = planned[cut] == weights[cut]
    np.testing.assert_allclose(np.asarray(ended)[cut, 0][alone], expected[alone], rtol=1e-5, atol=1e-7)


@pytest.mark.thorough
@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close"])
def test_returns_and_costs_of_bars_are_those_that_the_account_books(fill):
    config = EnvConfig(
        action="weights",
        stop_loss=None,
        take_profit=None,
        max_position_pct=1.0,
        fill=fill,
        fees="none",
        commission_bps=3.0,
        tick_size=None,
        spread_bps=8.0,
        episode_length=10,
    )
    market = build_market(planted_panel(jax.random.key(0), 2, 20), ())
    env = TradingEnv(config)
    params = env.default_params(market)
    returns = bar_returns(config, params)
    step = jax.jit(env.step_env)
    _, state = env.reset_at(0, 10, params)
    key = jax.random.key(1)
    _, bought, _, _, _, info = step(key, state, jnp.asarray([0.5, 0.0]), params)
    _, _, _, _, _, kept = step(key, bought, jnp.asarray([jnp.nan, jnp.nan]), params)
    equity = float(bought.equity)
    weight = float(bought.shares[0] * market.close[1, 0] / bought.equity)
    row = 2
    whole = (1 + float(returns.held[row, 0])) * (1 + float(returns.filled[row, 0])) - 1
    np.testing.assert_allclose(float(kept["equity"]) / equity - 1, weight * whole, atol=2e-6)
    traded = float(info["turnover"])
    np.testing.assert_allclose(float(info["cost"]) / float(state.equity), traded * float(returns.cost[1, 0]), rtol=2e-3)
