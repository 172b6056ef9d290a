"""Extremes of a path between two points, by the law of a Brownian bridge."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def bridge_reach(
    key: PRNGKeyArray, moves: Float[Array, " *shape"], variance: Float[Array, " ..."]
) -> tuple[Float[Array, " *shape"], Float[Array, " *shape"]]:
    """Draw how far a path gets above and below its start on its way to `moves`.

    Highest and lowest point are drawn apart. Over a short way that is near the truth; over a whole bar one path would
    reach a stop and a target two or three times too often, so that bars are made of two pieces or more.

    Args:
        key: consumed.
        moves: end less start, of any shape.
        variance: of the move before it was drawn.

    Returns:
        Highest (0 or above) and lowest level (0 or below) against the start.

    Source: the maximum of a bridge from 0 to x with variance s² is `(x + √(x² − 2s²·ln U)) / 2`, U uniform
    (Karatzas & Shreve, section 4.3); the minimum mirrors it.
    """
    uniform = jax.random.uniform(key, (2, *moves.shape), minval=jnp.finfo(moves.dtype).tiny)
    reach = jnp.sqrt(moves**2 - variance * 2 * jnp.log(uniform))
    return (moves + reach[0]) / 2, (moves - reach[1]) / 2


def draw_bars(
    middle_key: PRNGKeyArray,
    bridge_key: PRNGKeyArray,
    first: Float[Array, " A"],
    overnight: Float[Array, "T A"],
    inside: Float[Array, "T A"],
    inside_variance: Float[Array, "T A"],
) -> tuple[Float[Array, "T A"], ...]:
    """Return open, high, low and close `[T, A]`, each bar a path of two halves.

    Args:
        middle_key, bridge_key: of the point half way through a bar, and of the extremes of the halves.
        first: `[A]` price before the first bar.
        overnight, inside: `[T, A]` log moves from close to open and from open to close.
        inside_variance: `[T, A]` variance from which `inside` was drawn.
    """
    log_close = jnp.log(first) + jnp.cumsum(overnight + inside, axis=0)
    log_open = log_close - inside
    middle = inside / 2 + jnp.sqrt(inside_variance) / 2 * jax.random.normal(middle_key, inside.shape)
    starts, moves = jnp.stack([jnp.zeros_like(middle), middle]), jnp.stack([middle, inside - middle])
    above, below = bridge_reach(bridge_key, moves, inside_variance / 2)
    opens, close = jnp.exp(log_open), jnp.exp(log_close)
    # Rounding may leave an extreme an ulp inside the open or the close.
    high = jnp.maximum(jnp.exp(log_open + (starts + above).max(axis=0)), jnp.maximum(opens, close))
    low = jnp.minimum(jnp.exp(log_open + (starts + below).min(axis=0)), jnp.minimum(opens, close))
    return opens, high, low, close
