"""The scan over steps: what is recorded, where episodes were cut, and whose randomness is whose."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Boundaries, Runner, Step, num_boundary_slots, rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from tests.env.worlds import NUM_ASSETS, random_market

NUM_STEPS, NUM_ENVS = 12, 8
LEAN: dict[str, Any] = {"fees": "none", "tick_size": None, "stop_loss": None, "take_profit": None}


def orders_from_key(keys: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
    """Order at random; record a number of the observation beside it."""
    draw = jax.vmap(lambda key: jax.random.bits(key, (NUM_ASSETS,), jnp.uint8))(keys)
    return jnp.array([0, 1, 1, 2])[draw % 4], observation.account[:, 0]


def keep_all(step: Step) -> Step:
    return step


@functools.cache
def compiled(episode_length: int, num_steps: int = NUM_STEPS, auto_reset: bool = True) -> Any:
    env = TradingEnv(EnvConfig(episode_length=episode_length, **LEAN))

    def run(params: EnvParams, runner: Runner) -> tuple[Runner, Boundaries, Step]:
        return rollout(env, params, orders_from_key, runner, num_steps, keep_all, auto_reset=auto_reset)

    return jax.jit(run)


@functools.cache
def compiled_step(episode_length: int) -> Any:
    return jax.jit(TradingEnv(EnvConfig(episode_length=episode_length, **LEAN)).step)


def last_observation(
    episode_length: int, params: EnvParams, runner: Runner, steps: Step, number: int, env: int
) -> Observation:
    """Take one step of a rollout again, alone, and return the true last observation that it led to."""
    before = runner.state if number == 0 else jax.tree.map(lambda x: x[number - 1], steps.state)
    state = jax.tree.map(lambda x: x[env], before)
    key = jax.random.fold_in(jax.random.split(runner.keys[env])[1], int(runner.step) + number)
    return compiled_step(episode_length)(key, state, steps.action[number, env], params)[-1]["final_observation"]


def make(
    episode_length: int, num_envs: int = NUM_ENVS, *, ruin_pct: float = 0.1, **options: Any
) -> tuple[EnvParams, Runner]:
    env = TradingEnv(EnvConfig(episode_length=episode_length, ruin_pct=ruin_pct, **LEAN))
    params = env.default_params(random_market(4))
    start = jax.jit(functools.partial(start_runner, env, num_envs=num_envs, **options))
    return params, start(params, jax.random.key(7))


@pytest.mark.parametrize("ruin_pct", [0.1, 0.999])
@pytest.mark.parametrize("episode_length", [5, NUM_STEPS, pytest.param(30, marks=pytest.mark.slow)])
def test_boundaries_are_the_true_last_observations_of_truncated_episodes(episode_length: int, ruin_pct: float):
    params, runner = make(episode_length, staggered=True, ruin_pct=ruin_pct)
    _, ends, steps = jax.device_get(compiled(episode_length)(params, runner))
    slots = num_boundary_slots(NUM_STEPS, episode_length)
    assert ends.observation.t.shape == (NUM_ENVS, slots)
    np.testing.assert_array_equal(ends.count, steps.truncated.sum(axis=0))
    assert steps.truncated.any()
    assert (ruin_pct == 0.999) == steps.terminated.any()
    if ruin_pct < 0.5:
        assert ends.count.max() == slots
    done = steps.truncated | steps.terminated
    assert (steps.state.equity[done] == 100_000).all()
    assert not steps.state.shares[done].any()
    for env in range(NUM_ENVS):
        cuts = np.flatnonzero(steps.truncated[:, env])
        used = (env, slice(len(cuts)))
        kept = jax.tree.map(lambda x, at=used: x[at], ends.observation)
        for place, cut in enumerate(cuts):
            final = last_observation(episode_length, params, runner, steps, cut, env)
            jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, n=place: x[n], kept), final)
        # The bar of the last observation is the one after the last that was acted on.
        np.testing.assert_array_equal(kept.t, steps.observation.t[cuts, env] + 1)
        assert (ends.observation.t[env, len(cuts) :] == runner.observation.t[env]).all()


def test_slots_suffice_for_every_way_an_episode_can_lie_in_a_rollout():
    for num_steps in range(1, 40):
        for episode_length in range(1, 45):
            cuts = [len(range(first, num_steps + 1, episode_length)) for first in range(1, episode_length + 1)]
            assert max(cuts) == num_boundary_slots(num_steps, episode_length)


def test_records_are_stacked_in_order_of_time():
    params, runner = make(5)
    after, _, steps = jax.device_get(compiled(5)(params, runner))
    assert steps.action.shape == (NUM_STEPS, NUM_ENVS, NUM_ASSETS)
    assert steps.info["profit"].shape == (NUM_STEPS, NUM_ENVS, NUM_ASSETS)
    assert steps.reward.shape == steps.terminated.shape == steps.truncated.shape == (NUM_STEPS, NUM_ENVS)
    np.testing.assert_array_equal(steps.extra, steps.observation.account[:, :, 0])
    np.testing.assert_array_equal(steps.observation.t[0], runner.observation.t)
    # What was seen at a step is what the step before it left behind, and the last one is the runner's.
    np.testing.assert_array_equal(steps.observation.t[1:], steps.state.t[:-1])
    jax.tree.map(lambda x, last: np.testing.assert_array_equal(x[-1], last), steps.state, after.state)
    assert after.step == NUM_STEPS
    done = steps.truncated | steps.terminated
    np.testing.assert_array_equal(steps.state.t[~done], steps.observation.t[~done] + 1)
    assert (steps.state.equity[done] == 100_000).all()
    assert (steps.info["equity"][done] != 100_000).any()


def test_two_rollouts_in_a_row_equal_one_of_twice_the_length():
    params, runner = make(5, staggered=True)
    middle, _, first = compiled(5)(params, runner)
    end, _, second = compiled(5)(params, middle)
    whole_end, _, whole = compiled(5, 2 * NUM_STEPS)(params, runner)
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), first, second)
    jax.tree.map(np.testing.assert_array_equal, joined, jax.device_get(whole))
    jax.tree.map(np.testing.assert_array_equal, end.state, whole_end.state)
    assert not (np.asarray(first.action) == np.asarray(second.action)).all()


@pytest.mark.parametrize("num_envs", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_environment_does_not_depend_on_how_many_run_beside_it(num_envs: int):
    params, runner = make(5, staggered=True)
    _, _, many = jax.device_get(compiled(5)(params, runner))
    params, runner = make(5, num_envs, staggered=True)
    _, _, few = jax.device_get(compiled(5)(params, runner))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, :num_envs], b), many, few)
    assert num_envs == 1 or (few.action[:, 0] != few.action[:, 1]).any()


def test_environments_go_by_their_global_number():
    params, runner = make(5, staggered=True)
    _, _, many = jax.device_get(compiled(5)(params, runner))
    params, runner = make(5, 3, staggered=True, first_id=5)
    _, _, later = jax.device_get(compiled(5)(params, runner))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, 5:], b), many, later)


def test_staggered_environments_do_not_end_together():
    params, runner = make(5)
    together = np.asarray(compiled(5)(params, runner)[2].truncated)
    assert together.any(axis=1).tolist() == [i % 5 == 4 for i in range(NUM_STEPS)]
    params, runner = make(5, staggered=True)
    apart = np.asarray(compiled(5)(params, runner)[2].truncated)
    assert apart.any(axis=1).sum() > NUM_STEPS / 2
    assert not apart.all(axis=1).any()


def test_without_resets_an_account_goes_on_past_the_end():
    params, runner = make(5)
    after, _, steps = jax.device_get(compiled(5, NUM_STEPS, auto_reset=False)(params, runner))
    np.testing.assert_array_equal(after.state.t, np.asarray(runner.state.t) + NUM_STEPS)
    assert (steps.truncated == (np.arange(NUM_STEPS) >= 4)[:, None]).all()
    growth = np.log(after.state.equity / 100_000)
    np.testing.assert_allclose(steps.reward.sum(axis=0), growth, atol=1e-5)
