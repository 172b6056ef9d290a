"""Episodes: where they start and end, what follows them, and what a step reports."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState
from tests.env.worlds import (
    NUM_ACCOUNTS,
    NUM_BARS,
    calm_market,
    make_config,
    random_actions,
    random_market,
    simulate,
)

LENGTH, NUM_ENVS = 7, 64
LEAN: dict[str, Any] = {"fees": "none", "tick_size": None}
ENV = TradingEnv(EnvConfig(episode_length=LENGTH, **LEAN))
EXITS = {"exit_stop", "exit_target", "exit_trailing", "exit_time", "exit_halt"}
INFO_KEYS = {"equity", "cash", "cost", "turnover", "num_trades", "rejected_orders", "day_trades", "interest"}
INFO_KEYS |= {"fee_rounding", "leverage", "exposure", "episode_return", *EXITS}


@pytest.fixture(scope="module")
def params() -> EnvParams:
    """Two paths end to end: rows 0 to 31 and 32 to 63."""
    market = random_market(3, plain=True).replace(path_end=np.repeat(np.array([31, 63], np.int32), 32))
    return ENV.default_params(market)


@pytest.fixture(scope="module")
def reset() -> Any:
    return jax.jit(jax.vmap(ENV.reset, in_axes=(0, None)))


@pytest.fixture(scope="module")
def step() -> Any:
    return jax.jit(jax.vmap(ENV.step, in_axes=(0, 0, 0, None)))


@pytest.fixture(scope="module")
def step_env() -> Any:
    return jax.jit(jax.vmap(ENV.step_env, in_axes=(0, 0, 0, None)))


def keys(seed: int) -> jax.Array:
    return jax.random.split(jax.random.key(seed), NUM_ENVS)


def buy_all() -> jax.Array:
    return jnp.ones((NUM_ENVS, 4), jnp.int32)


def test_an_episode_starts_at_a_random_bar_and_stays_on_its_path(params: EnvParams, reset: Any):
    obs, state = reset(keys(0), params)
    assert len(np.unique(state.t)) > 10
    assert (state.end - state.t == LENGTH).all()
    assert (state.end <= params.market.path_end[state.t]).all()
    assert set(np.asarray(params.starts)) == {*range(0, 32 - LENGTH), *range(32, 64 - LENGTH)}
    assert (obs.t == state.t).all()
    assert (reset(keys(0), params)[1].t == state.t).all()
    assert (reset(keys(1), params)[1].t != state.t).any()


def test_a_new_account_is_empty(params: EnvParams, reset: Any):
    _, state = reset(keys(0), params)
    for value in (state.cash, state.equity, state.peak_equity):
        assert (value == 100_000).all()
    for value in (state.cash_low, state.cost, state.cost_low, state.episode_return, state.shares, state.entry_price):
        assert not value.any()
    assert (state.entry_bar == -1).all()


def test_staggered_episodes_start_anywhere_inside_an_episode(params: EnvParams):
    reset = jax.jit(jax.vmap(ENV.reset_staggered, in_axes=(0, None)))
    _, state = reset(jax.random.split(jax.random.key(0), 500), params)
    left = np.asarray(state.end - state.t)
    assert set(left) == set(range(1, LENGTH + 1))
    assert (state.end <= params.market.path_end[state.t]).all()
    assert set(np.asarray(state.end - LENGTH)) <= set(np.asarray(params.starts))


def test_episodes_truncate_after_their_length_and_start_anew(params: EnvParams, reset: Any, step: Any, step_env: Any):
    _, state = reset(keys(0), params)
    for i in range(1, 2 * LENGTH + 1):
        before = state
        obs, state, reward, terminated, truncated, info = step(keys(i), before, buy_all(), params)
        ends = i % LENGTH == 0
        assert (truncated == ends).all()
        assert not terminated.any()
        last_obs, last_state, *rest = step_env(keys(i), before, buy_all(), params)
        jax.tree.map(np.testing.assert_array_equal, info.pop("final_observation"), last_obs)
        jax.tree.map(np.testing.assert_array_equal, (reward, terminated, truncated, info), tuple(rest))
        if not ends:
            jax.tree.map(np.testing.assert_array_equal, (obs, state), (last_obs, last_state))
            continue
        jax.tree.map(np.testing.assert_array_equal, (obs, state), reset(keys(i), params))
        assert (last_state.t == before.end).all()
        assert (last_obs.t == last_state.t).all()
        assert (last_state.shares != 0).any()


def test_step_env_goes_on_with_the_same_account(params: EnvParams, step_env: Any):
    _, state = jax.vmap(partial(ENV.reset_at, 0, LENGTH), in_axes=None, axis_size=NUM_ENVS)(params)
    for i in range(LENGTH + 3):
        _, state, _, _, truncated, _ = step_env(keys(i), state, buy_all(), params)
        assert (truncated == (i + 1 >= LENGTH)).all()
        assert (state.t == i + 1).all()


def test_ruin_terminates_and_does_not_truncate_as_well():
    close = np.full((NUM_BARS, 4), 100.0)
    close[LENGTH:] = 5.0  # ruin falls on the last bar of the episode
    numbers = {"buy_pct": 0.25, "max_position_pct": 1.0, "stop_loss": 1.0}
    actions = np.ones((NUM_BARS - 1, NUM_ACCOUNTS, 4), np.int32)
    trace = simulate(make_config(num_bars=LENGTH + 1, **LEAN), calm_market(close), numbers, actions)
    assert not trace.terminated[: LENGTH - 1].any()
    assert trace.terminated[LENGTH - 1].all()
    assert not trace.truncated[:LENGTH].any()
    assert (trace.state.equity[LENGTH - 1] < 0.1 * 100_000).all()


@pytest.mark.thorough
def test_reward_of_the_users_own_and_reward_by_name():
    def drawdown(before: EnvState, after: EnvState) -> jax.Array:
        return after.equity / after.peak_equity - 1

    market, actions = random_market(1), random_actions(1)
    trace = simulate(make_config(reward=drawdown, **LEAN), market, {}, actions)
    np.testing.assert_array_equal(trace.reward, trace.state.equity / trace.state.peak_equity - 1)
    plain = simulate(make_config(**LEAN), market, {}, actions)
    np.testing.assert_array_equal(plain.state.equity, trace.state.equity)
    growth = np.log(plain.state.equity.astype(np.float64) / 100_000)
    np.testing.assert_allclose(plain.reward.cumsum(axis=0), growth, atol=1e-5)
    np.testing.assert_allclose(plain.state.episode_return, growth, atol=1e-5)


def test_an_unknown_reward_is_refused():
    with pytest.raises(ValueError, match="'sharpe' is unknown; use 'log_return'"):
        TradingEnv(EnvConfig(reward="sharpe", episode_length=5))


def test_info_holds_what_is_promised(params: EnvParams, reset: Any, step: Any):
    _, state = reset(keys(0), params)
    info = step(keys(0), state, buy_all(), params)[-1]
    assert {*INFO_KEYS, "profit", "fills", "final_observation"} == set(info)
    assert {info[name].shape for name in INFO_KEYS} == {(NUM_ENVS,)}
    assert len(info["fills"]) == 3
    assert {fill.reason.dtype for fill in info["fills"]} == {np.dtype("int8")}
    np.testing.assert_allclose(info["exposure"], info["leverage"])
    np.testing.assert_allclose(info["exposure"] + info["cash"] / info["equity"], 1, rtol=1e-6)
    assert info["profit"].shape == (NUM_ENVS, 4)


def test_an_episode_that_does_not_fit_is_refused_with_the_longest_that_does():
    market = random_market(0).replace(path_end=np.repeat(np.array([39, 63], np.int32), (40, 24)))
    with pytest.raises(ValueError, match="An episode of 40 bars .* has 40 bars. Set episode_length to at most 39"):
        TradingEnv(EnvConfig(episode_length=40)).default_params(market)
    assert TradingEnv(EnvConfig(episode_length=39)).default_params(market).starts.tolist() == [0]
