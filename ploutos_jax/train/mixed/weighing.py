"""How far to trust derivatives through the simulator, and how far PPO's estimate, for each group of parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MOST_GROUPS = 8
"""Groups of environments over which estimates are compared."""


def groups_of(num_envs: int, num_chunks: int) -> Int[Array, "groups pairs"]:
    """Return the (time chunk, environment) pairs, numbered chunk-major, of groups of environments of one size.

    Args:
        num_envs: E, at least 2.
        num_chunks: time chunks of a rollout.
    """
    number = max(size for size in range(1, MOST_GROUPS + 1) if num_envs % size == 0)
    envs = jnp.arange(num_envs, dtype=jnp.int32).reshape(number, 1, -1)
    chunks = jnp.arange(num_chunks, dtype=jnp.int32)[:, None]
    return (chunks * num_envs + envs).reshape(number, -1)


def share_of_path(
    groups: Int[Array, "groups pairs"],
    estimates: Callable[[Int[Array, " pairs"]], tuple[Any, Any]],
    *,
    is_exact: bool,
) -> Any:
    """Return the share of the path's estimate in each leaf of the parameters, a scalar in [0, 1].

    Both are means over groups of environments. With v their variances, by how the groups differ, the share that makes
    the variance of the sum least, as if each had luck of its own, is by inverse variance,

        α = v_ppo / (v_ppo + v_path + b²),    b = 0.

    A derivative that is blind to an event that moves is sure of itself all the same: its variance is small. Where there
    are such events b is the distance of the two means, beyond what chance explains, and α makes the expected squared
    error least.

    Source: Suh et al., "Do Differentiable Simulators Give Better Policy Gradients?" (2022), who bound that error.

    Args:
        groups: pairs of each group.
        estimates: `pairs -> (gradient of the path, gradient of PPO)`, parameters as in the network.
        is_exact: whether no event moves by an action.
    """
    path, ppo = jax.lax.map(estimates, groups)

    def share(path: Array, ppo: Array) -> Float[Array, ""]:
        apart = path - ppo
        of_path, of_ppo, of_both = (_variance_of_mean(x) for x in (path, ppo, apart))
        bias = 0.0 if is_exact else jnp.maximum(jnp.square(apart.mean(axis=0)).sum() - of_both, 0)
        total = of_ppo + of_path + bias
        return jnp.where(total > 0, of_ppo / jnp.where(total > 0, total, 1), 0)

    return jax.tree.map(share, path, ppo)


def _variance_of_mean(x: Float[Array, "groups ..."]) -> Float[Array, ""]:
    """Return the variance of the mean over groups, summed over all numbers of a leaf."""
    return jnp.var(x, axis=0, ddof=1).sum() / x.shape[0]
