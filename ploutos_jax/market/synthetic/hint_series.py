"""Hints that last: a stationary AR(1) for each asset."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def draw_persistent(
    key: PRNGKeyArray, persistence: Float[Array, ""] | float, num_rows: int, num_assets: int
) -> Float[Array, "rows A"]:
    """Draw x_t = φ x_(t−1) + √(1 − φ²) e_t, e standard normal: every row is standard normal, assets are independent.

    Args:
        key: consumed.
        persistence: φ, in [0, 1).
        num_rows, num_assets: sizes; a row depends on the rows before it alone.
    """
    shocks = jax.random.normal(key, (num_rows, num_assets))
    share = jnp.asarray(persistence, shocks.dtype)
    spread = jnp.sqrt(1 - share**2)

    def step(before: Array, shock: Array) -> tuple[Array, Array]:
        now = share * before + spread * shock
        return now, now

    return jnp.concatenate([shocks[:1], jax.lax.scan(step, shocks[0], shocks[1:])[1]])
