"""Generalised advantage estimation with terminated and truncated episodes kept apart."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def next_values(
    values: Float[Array, "S E K"],
    last_value: Float[Array, "E K"],
    truncated: Bool[Array, "S E"],
    boundary_values: Float[Array, "E slots K"],
) -> Float[Array, "S E K"]:
    """Return the value of the state that each step truly led to, `[S, E, K]`.

    After a truncation the following observation belongs to a new episode; the value of the true last one is taken
    from the rollout's boundary slots.

    Args:
        values: `[S, E, K]` V of the states acted in.
        last_value: `[E, K]` V of the state after the last step.
        truncated: `[S, E]` bool.
        boundary_values: `[E, slots, K]` V of the true last states, in order of the truncations.
    """
    following = jnp.concatenate([values[1:], last_value[None]])
    slot = jnp.clip(jnp.cumsum(truncated, axis=0) - 1, 0)
    bootstrap = jnp.take_along_axis(boundary_values, slot.T[..., None], axis=1).swapaxes(0, 1)
    return jnp.where(truncated[..., None], bootstrap, following)


def gae(
    rewards: Float[Array, "S E K"],
    values: Float[Array, "S E K"],
    following: Float[Array, "S E K"],
    terminated: Bool[Array, "S E"],
    truncated: Bool[Array, "S E"],
    gamma: Float[Array, ""] | float,
    gae_lambda: Float[Array, ""] | float,
) -> Float[Array, "S E K"]:
    """Return advantages `[S, E, K]`.

    `δ_t = r_t + γ·(1 − terminated_t)·V(s_{t+1}) − V(s_t)`, `A_t = δ_t + γλ·(1 − done_t)·A_{t+1}`. Only a
    termination zeroes the bootstrap; both kinds of end cut the trace. The recursion is linear, so it runs as an
    associative scan of depth log S.

    Source: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation".

    Args:
        rewards: `[S, E, K]`.
        values: `[S, E, K]` V(s_t).
        following: `[S, E, K]` V(s_{t+1}) of the true next state, see `next_values`.
        terminated, truncated: `[S, E]` bool.
        gamma, gae_lambda: scalars.
    """
    delta = rewards + gamma * jnp.where(terminated[..., None], 0, following) - values
    decay = gamma * gae_lambda * (1 - (terminated | truncated).astype(values.dtype))[..., None]
    decay = jnp.broadcast_to(decay, delta.shape)

    def join(
        later: tuple[Float[Array, "_ E K"], Float[Array, "_ E K"]],
        earlier: tuple[Float[Array, "_ E K"], Float[Array, "_ E K"]],
    ) -> tuple[Float[Array, "_ E K"], Float[Array, "_ E K"]]:
        later_decay, later_sum = later
        earlier_decay, earlier_sum = earlier
        return later_decay * earlier_decay, earlier_sum + earlier_decay * later_sum

    return jax.lax.associative_scan(join, (decay, delta), reverse=True)[1]
