"""Rewards: functions of one account before and after a bar. A user's own function has the same form."""

from collections.abc import Callable

import jax.numpy as jnp

from ploutos_jax.env.types import Array, EnvState

RewardFunction = Callable[[EnvState, EnvState], Array]


def log_return(before: EnvState, after: EnvState) -> Array:
    """Return `ln(equity after / equity before)`, net of all costs; rewards of an episode add up to its growth."""
    tiny = jnp.finfo(after.equity.dtype).tiny
    return jnp.log(jnp.maximum(after.equity, tiny) / before.equity)


def resolve_reward(reward: str | RewardFunction) -> RewardFunction:
    """Return the function of a name, or the function itself.

    Raises:
        ValueError: if the name is not one of the built-in rewards.
    """
    if callable(reward):
        return reward
    if reward != "log_return":
        raise ValueError(f"reward={reward!r} is unknown; use 'log_return' or a function of (before, after).")
    return log_return
