"""Covariance of returns from few bars, and the portfolio of least variance without short positions; inside `jit`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_MOST_EXCHANGES = 40
_PATIENCE = 3
_TOLERANCE = 1e-6
"""A weight this far below 0, or a slope, in units of what they are solved for, is rounding."""


def shrunk_covariance(returns: Float[Array, "sessions A"], used: Bool[Array, " A"]) -> Float[Array, "A A"]:
    """Return the covariance of the assets used, drawn towards equal variances without correlation; 0 for the others.

    A return that is not known counts as the asset's mean; sessions in which no asset used has a return do not count.

    Args:
        returns: NaN where not known.
        used: assets; each needs a known return.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    known = jnp.isfinite(returns) & used
    number, size = known.any(axis=1).sum(), used.sum()
    mean = jnp.where(known, returns, 0).sum(axis=0) / jnp.maximum(known.sum(axis=0), 1)
    centred = jnp.where(known, returns - mean, 0)
    sample = jnp.matmul(centred.T, centred, precision="highest") / jnp.maximum(number, 1)
    scale = jnp.trace(sample) / jnp.maximum(size, 1)
    # In units of the mean variance: squares of variances of returns come near the least float32.
    unit = jnp.where(scale > 0, scale, 1)
    squares = jnp.square(sample / unit).sum()
    distance = squares - size * (scale / unit) ** 2
    fourth = jnp.square(jnp.square(centred).sum(axis=1) / unit).sum()
    error = fourth / jnp.maximum(number, 1) ** 2 - squares / jnp.maximum(number, 1)
    share = jnp.clip(jnp.maximum(error, 0) / jnp.where(distance > 0, distance, 1), 0, 1)
    share = jnp.where(distance > 0, share, 1)
    return share * scale * jnp.diag(used.astype(sample.dtype)) + (1 - share) * sample


def minimum_variance_weights(covariance: Float[Array, "A A"], used: Bool[Array, " A"]) -> Float[Array, " A"]:
    """Return the weights `[A]` of least variance over the assets used, not negative, adding up to 1.

    Equal ones without variance; 0 where no asset is used. Block principal pivoting, at most `_MOST_EXCHANGES` times:
    guess which weights are above 0, solve for them, exchange all that came out on the wrong side, and only the last
    one where that has brought no progress for a while.

    Source: Júdice and Pires (1994), "A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems".
    """
    size = len(used)
    scale = jnp.trace(covariance) / jnp.maximum(used.sum(), 1)
    identity = jnp.eye(size, dtype=covariance.dtype)
    matrix = covariance / jnp.where(scale > 0, scale, 1) + 1e-7 * identity

    def solve(held: Array) -> tuple[Array, Array]:
        both = held[:, None] & held
        target = held.astype(matrix.dtype)
        factor = jax.scipy.linalg.cho_factor(jnp.where(both, matrix, identity))
        weight = jax.scipy.linalg.cho_solve(factor, target)
        # Once more on what is left over: the first solution carries the condition of the matrix times rounding.
        left = jnp.where(held, target - jnp.matmul(matrix, weight, precision="highest"), 0)
        weight = jnp.where(held, weight + jax.scipy.linalg.cho_solve(factor, left), 0)
        slope = jnp.matmul(matrix, weight, precision="highest") - 1
        wrong = used & (jnp.where(held, weight, slope) < -_TOLERANCE)
        return weight, wrong

    def exchange(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        held, wrong, fewest, patience, turn, _ = carry
        count = wrong.sum()
        fewer, patient = count < fewest, patience > 0
        last = jnp.arange(size) == size - 1 - jnp.argmax(wrong[::-1])
        held = held ^ (wrong & (fewer | patient | last))
        patience = jnp.where(fewer, _PATIENCE, jnp.maximum(patience - 1, 0))
        weight, wrong = solve(held)
        return held, wrong, jnp.minimum(fewest, count), patience, turn + 1, weight

    weight, wrong = solve(used)
    begin = (used, wrong, jnp.asarray(size + 1), jnp.asarray(_PATIENCE), jnp.asarray(0), weight)
    *_, weight = jax.lax.while_loop(lambda carry: carry[1].any() & (carry[4] < _MOST_EXCHANGES), exchange, begin)
    weight = jnp.maximum(weight, 0)
    equal = used / jnp.maximum(used.sum(), 1)
    total = weight.sum()
    return jnp.where((scale > 0) & (total > 0), weight / jnp.where(total > 0, total, 1), equal)
