"""The only scan over the environment's step: training, backtests and baselines all run through it."""

import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, Num, PRNGKeyArray, UInt32

from ploutos_jax.env.trading import StateResult, TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState, Info, Observation

Policy = Callable[..., tuple[Num[Array, " E *action"], Any]]
"""`(keys [E], observations [E]) -> (actions [E, ...], whatever the caller wants recorded)`; see `Path` for a third."""


@typing.no_type_check
class Step(struct.PyTreeNode):
    """One step of E environments as a recorder sees it: what was seen and done at close t, and what bar t+1 gave."""

    observation: Observation
    action: Num[Array, " E *action"]
    extra: Any
    reward: Float[Array, " E"]
    terminated: Bool[Array, " E"]
    truncated: Bool[Array, " E"]
    info: Info
    state: EnvState


Recorder = Callable[[Step], Any]


@typing.no_type_check
class Runner(struct.PyTreeNode):
    """E environments on their way; carried from one rollout to the next.

    Attributes:
        state: `[E]` accounts.
        observation: `[E]` what each sees now.
        keys: `[E]` one key per environment, `fold_in(key, global environment id)`.
        step: uint32, steps taken since the start. Each key is split into one for the policy and one for the
            environment; random numbers of a step come from `fold_in` of these with the step.
    """

    state: EnvState
    observation: Observation
    keys: Key[Array, " E"]
    step: UInt32[Array, ""]


@typing.no_type_check
class Boundaries(struct.PyTreeNode):
    """The true last observations of truncated episodes, whose values a learner must bootstrap.

    Attributes:
        observation: `[E, slots]` in order of time; those that the truncations of a rollout do not use hold what the
            environment saw at the rollout's beginning.
        count: `[E]` int32 slots used.
        state: `[E, slots]` the accounts themselves.
    """

    observation: Observation
    count: Int[Array, " E"]
    state: EnvState


class Path(NamedTuple):
    """What a rollout needs so that a derivative can be taken of it.

    Steps are checkpointed: of each only the state is kept, and the rest is done once more on the way back.

    Attributes:
        nudges: leaves `[S, ...]`, one per step, by which derivatives are wanted; the policy gets those of its step as a
            third argument.
        link: `(state, extra, nudge) -> (state, extra)`: stands between two steps, after the policy has looked; `extra`
            is what the policy gave. The values of the state are to stay, its derivatives may be others.
    """

    nudges: Any
    link: Callable[[EnvState, Any, Any], tuple[EnvState, Any]]


def start_runner(
    env: TradingEnv, params: EnvParams, key: PRNGKeyArray, num_envs: int, *, first_id: int = 0, staggered: bool = False
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

    The randomness of an environment's start depends on its key and the steps taken, not on how many run in parallel.
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
    tally: tuple[Recorder, Any] | None = None,
    path: Path | None = None,
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
        tally: a recorder of `[E]` numbers, and the numbers that those of every step are added to. Sums over
            environments belong after the loop: inside it a GPU works out the whole step on one of its processors to
            add them up.
        path: for a rollout that is differentiated; None costs nothing.

    Returns:
        The runner after S steps, the boundary observations and the stacked records; with a tally these are a pair of
        the records and the sums.
    """
    num_envs = runner.keys.shape[0]
    num_slots = num_boundary_slots(num_steps, env.config.episode_length)
    fold_in = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    of_policy, of_env = jax.vmap(jax.random.split, out_axes=1)(runner.keys)
    observe = jax.vmap(env.observe, in_axes=(0, None))

    def advance(key: Array, state: EnvState, action: Array) -> StateResult:
        if auto_reset:
            return env.step_state(key, state, action, params)
        _, state, reward, terminated, truncated, info = env.step_env(key, state, action, params)
        return state, state, reward, terminated, truncated, info

    # Only states are carried, and looked at where a step begins: computed within a step, an observation would have the
    # compiler repeat the whole broker for each of its columns, and after an episode's end it would be needed twice.
    def step(carry: tuple[EnvState, EnvState, Array, Array, Any], nudge: Any) -> tuple[Any, Any]:
        state, ended, count, number, sums = carry
        seen = observe(state, params)
        if path is None:
            action, extra = policy(fold_in(of_policy, number), seen)
        else:
            action, extra = policy(fold_in(of_policy, number), seen, nudge)
            state, extra = path.link(state, extra, nudge)
        moved = jax.vmap(advance)(fold_in(of_env, number), state, action)
        state, last, reward, terminated, truncated, info = moved
        ended = _keep_last(ended, last, truncated, count)
        made = Step(
            observation=seen,
            action=action,
            extra=extra,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            info=info,
            state=state,
        )
        if tally is not None:
            sums = jax.tree.map(jnp.add, sums, tally[0](made))
        return (state, ended, count + truncated, number + 1, sums), record(made)

    # An unused slot holds the account that its environment begins with, so that it can be looked at.
    slots = jax.tree.map(lambda x: jnp.repeat(x[:, None], num_slots, axis=1), runner.state)
    sums = None if tally is None else tally[1]
    start = (runner.state, slots, jnp.zeros(num_envs, jnp.int32), runner.step, sums)
    body, nudges = (step, None) if path is None else (jax.checkpoint(step), path.nudges)
    (state, ended, count, number, sums), records = jax.lax.scan(body, start, nudges, length=num_steps)
    runner = Runner(state=state, observation=observe(state, params), keys=runner.keys, step=number)
    boundaries = jax.vmap(observe, in_axes=(1, None), out_axes=1)(ended, params)
    records = records if tally is None else (records, sums)
    return runner, Boundaries(observation=boundaries, count=count, state=ended), records


def _keep_last(kept: EnvState, last: EnvState, truncated: Bool[Array, " E"], count: Int[Array, " E"]) -> EnvState:
    """Return the last accounts of truncated episodes, `[E, slots]`, with those that end now in the next free slot."""
    num_envs, num_slots = kept.t.shape

    def by_choice(kept: Array, last: Array) -> Array:
        return jnp.where(now.reshape(now.shape + (1,) * (last.ndim - 1)), last[:, None], kept)

    def in_place(kept: Array, last: Array) -> Array:
        return kept.at[jnp.arange(num_envs), slot].set(last, mode="drop", unique_indices=True)

    # Few numbers are written anew in every step, as part of the step's own kernel; many only where an episode ends.
    if num_slots * kept.shares.shape[-1] <= _FEW:
        now = truncated[:, None] & (count[:, None] == jnp.arange(num_slots))
        return jax.tree.map(by_choice, kept, last)
    slot = jnp.where(truncated, count, num_slots)
    return jax.tree.map(in_place, kept, last)


_FEW = 32
"""Positions of an environment's ended episodes up to which they are chosen rather than scattered."""
