"""The only scan over the environment's step: training, backtests and baselines all run through it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import Array, EnvParams, EnvState, Info, Observation

Policy = Callable[[Array, Observation], tuple[Array, Any]]
"""`(keys [E], observations [E]) -> (actions [E, ...], whatever the caller wants recorded)`."""


class Step(struct.PyTreeNode):
    """One step of E environments as a recorder sees it: what was seen and done at close t, and what bar t+1 gave."""

    observation: Observation
    action: Array
    extra: Any
    reward: Array
    terminated: Array
    truncated: Array
    info: Info
    state: EnvState


Recorder = Callable[[Step], Any]


class Runner(struct.PyTreeNode):
    """E environments on their way; carried from one rollout to the next.

    Attributes:
        state: `[E]` accounts.
        observation: `[E]` what each sees now.
        keys: `[E]` one key per environment, `fold_in(key, global environment id)`.
        step: uint32, steps taken since the start; random numbers of a step come from `fold_in(keys, step)`.
    """

    state: EnvState
    observation: Observation
    keys: Array
    step: Array


class Boundaries(struct.PyTreeNode):
    """The true last observations of truncated episodes, whose values a learner must bootstrap.

    Attributes:
        observation: `[E, N]` in order of time; N slots suffice for the steps of a rollout.
        count: `[E]` int32 slots used.
    """

    observation: Observation
    count: Array


def start_runner(
    env: TradingEnv, params: EnvParams, key: Array, num_envs: int, *, first_id: int = 0, staggered: bool = False
) -> Runner:
    """Reset `num_envs` environments; the randomness of environment i depends on `key` and `first_id + i` only."""
    ids = jnp.arange(first_id, first_id + num_envs, dtype=jnp.uint32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)
    reset = env.reset_staggered if staggered else env.reset
    reset_keys = jax.vmap(lambda k: jax.random.fold_in(k, jnp.uint32(2**32 - 1)))(keys)
    observation, state = jax.vmap(reset, in_axes=(0, None))(reset_keys, params)
    return Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))


def restart_runner(env: TradingEnv, params: EnvParams, runner: Runner) -> Runner:
    """Begin a new episode in every environment, staggered, on another market say; keys and steps go on.

    The randomness of an environment's start depends on its key and the steps taken, not on how many run beside it.
    """
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, jnp.uint32(2**32 - 1)), runner.step))(
        runner.keys
    )
    observation, state = jax.vmap(env.reset_staggered, in_axes=(0, None))(keys, params)
    return runner.replace(state=state, observation=observation)


def num_boundary_slots(num_steps: int, episode_length: int) -> int:
    """Return how many truncations one environment can meet in a rollout: ends lie `episode_length` apart."""
    return -(-num_steps // episode_length)


def rollout(
    env: TradingEnv,
    params: EnvParams,
    policy: Policy,
    runner: Runner,
    num_steps: int,
    record: Recorder,
    *,
    auto_reset: bool = True,
) -> tuple[Runner, Boundaries, Any]:
    """Run E environments for S steps.

    Args:
        env: the environment.
        params: its numbers, shared by all E.
        policy: batched; sees one key and one observation per environment.
        runner: where the environments stand.
        num_steps: S.
        record: picks what is kept of each step; results are stacked to `[S, ...]`.
        auto_reset: start a new episode after an end; without it an account goes on past its end.

    Returns:
        The runner after S steps, the boundary observations and the stacked records.
    """
    num_envs = runner.keys.shape[0]
    step_fn = jax.vmap(env.step if auto_reset else env.step_env, in_axes=(0, 0, 0, None))
    num_slots = num_boundary_slots(num_steps, env.config.episode_length)
    rows = jnp.arange(num_envs)

    def step(carry: tuple[Runner, Boundaries], _: None) -> tuple[tuple[Runner, Boundaries], Any]:
        runner, ends = carry
        step_keys = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(k, runner.step)))(runner.keys)
        action, extra = policy(step_keys[:, 0], runner.observation)
        observation, state, reward, terminated, truncated, info = step_fn(step_keys[:, 1], runner.state, action, params)
        last = info["final_observation"] if auto_reset else observation
        slot = jnp.where(truncated, ends.count, num_slots)
        ends = Boundaries(
            observation=jax.tree.map(
                lambda kept, new: kept.at[rows, slot].set(new, mode="drop"), ends.observation, last
            ),
            count=ends.count + truncated,
        )
        seen = Step(
            observation=runner.observation,
            action=action,
            extra=extra,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            info=info,
            state=state,
        )
        moved = Runner(state=state, observation=observation, keys=runner.keys, step=runner.step + 1)
        return (moved, ends), record(seen)

    empty = Boundaries(
        observation=jax.tree.map(lambda x: jnp.zeros((num_envs, num_slots, *x.shape[1:]), x.dtype), runner.observation),
        count=jnp.zeros(num_envs, jnp.int32),
    )
    (runner, ends), records = jax.lax.scan(step, (runner, empty), None, length=num_steps)
    return runner, ends, records
