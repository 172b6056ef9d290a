"""What a return adds to the reward: the derivative that credit by asset rests on, against differences of whole bars."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.rewards import REWARDS
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvState
from tests.env.worlds import NUM_ACCOUNTS, NUM_BARS, make_config, random_actions, random_market, simulate

LEAN: dict[str, Any] = {"fees": "none", "tick_size": None, "stop_loss": None, "take_profit": None, "ruin_pct": 0.5}
COMPOSITES = (
    "differential_sharpe, 50*drawdown_increment, sortino_bonus",
    "0.5*log_return, -0.1*turnover, 2*five_term",
)
STEP = 1e-6


def _squared(before: EnvState, after: EnvState) -> jax.Array:
    return (after.equity / before.equity) ** 2


@functools.cache
def slopes(reward: Any, seed: int) -> dict[str, np.ndarray]:
    """Lead accounts through a market; return `[S, N]` slopes, and those seen when closes of the bar are moved a little.

    The closes of bar t+1 are all moved by a part in a million, up and down: all that they change is what the account
    is worth at the end of the bar. A slope is the change of the reward over the change of the return.
    """
    env = TradingEnv(make_config(reward=reward, **LEAN), with_slope=True)
    with jax.enable_x64(True):
        params = env.default_params(random_market(seed, dtype=np.float64))

        def step(state: EnvState, action: jax.Array) -> tuple[EnvState, Any]:
            def close_at(scale: float) -> tuple[jax.Array, jax.Array, EnvState, Any]:
                close = params.market.close.at[state.t + 1].multiply(1 + scale)
                moved = params.replace(market=params.market.replace(close=close))
                _, after, reward, *_, info = env.advance(state, action, None, moved)
                return reward, after.equity / state.equity, after, info

            (up, more, *_), (down, less, *_) = close_at(STEP), close_at(-STEP)
            reward, ret, after, info = close_at(0)
            moved = more - less
            sides = [(up - reward) / (more - ret), (reward - down) / (ret - less)]
            return after, (info["reward_slope"], (up - down) / moved, *sides, moved, reward)

        start = env.reset_at(0, NUM_BARS - 1, params)[1]
        run = jax.jit(jax.vmap(lambda actions: jax.lax.scan(step, start, actions)[1], in_axes=1, out_axes=1))
        found = jax.device_get(run(jnp.asarray(random_actions(seed))))
    return dict(zip(("slope", "central", "above", "below", "moved", "reward"), found, strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("reward", [*REWARDS, *COMPOSITES, _squared])
def test_the_slope_is_the_change_of_the_reward_by_the_return(reward: Any):
    found = slopes(reward, 5)
    held = np.abs(found["moved"]) > 1e-8
    assert held.mean() > 0.8
    scale = np.maximum(np.abs(found["slope"]), 1)
    # At a kink or a step (a new peak, a return of 2 %, an account of nothing) there is no derivative to compare with.
    smooth = held & (np.abs(found["above"] - found["below"]) <= 1e-2 * scale)
    assert smooth.sum() > 0.99 * held.sum()
    assert np.isfinite(found["slope"]).all()
    error = (np.abs(found["slope"] - found["central"]) / scale)[smooth]
    assert error.max() < 1e-5, error.max()
    assert found["slope"].shape == (NUM_BARS - 1, NUM_ACCOUNTS)
    if reward != "turnover":
        assert (found["slope"][smooth] != 0).any()


@pytest.mark.thorough
def test_slopes_that_are_known():
    growth, simple, traded = (slopes(name, 5) for name in ("log_return", "simple_return", "turnover"))
    np.testing.assert_allclose(simple["slope"], 1, rtol=1e-12)
    np.testing.assert_allclose(growth["slope"], np.exp(-growth["reward"]), rtol=1e-12)
    assert not traded["slope"].any(), "what is traded is known before the bar's close"
    bonus = slopes("sortino_bonus", 5)["slope"]
    assert not bonus[:-1].any() and bonus[-1].any(), "it comes with the last bar"
    fall = slopes("drawdown_increment", 5)
    assert (fall["slope"] > -1e-9).all() and (fall["slope"] > 0.5).any()


@pytest.mark.thorough
def test_the_slope_is_there_on_request_and_changes_nothing_else():
    market, actions = random_market(2), random_actions(2)
    config = make_config(reward=COMPOSITES[0], **LEAN)
    params = TradingEnv(config).default_params(market)
    _, state = TradingEnv(config).reset_at(0, 20, params)
    plain, sloped = (
        jax.jit(TradingEnv(config, with_slope=wanted).step_env)(jax.random.key(0), state, actions[0, 0], params)
        for wanted in (False, True)
    )
    assert set(sloped[-1]) - set(plain[-1]) == {"reward_slope"} and sloped[-1]["reward_slope"].shape == ()
    del sloped[-1]["reward_slope"]
    jax.tree.map(np.testing.assert_array_equal, plain, sloped)
    assert dataclasses.replace(TradingEnv(config)).with_slope is False
    assert np.isfinite(simulate(config, market, {}, actions).reward).all()
