"""Recursions down the rows of `[T, A]`: exponential and Wilder's averages, totals that restart, values that last.

Source: the seeds of the averages are those of TA-Lib (https://ta-lib.org), with which they agree to rounding.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ploutos_jax.market.features.indicators.rolling import difference, require_bars

Combine = Callable[[Any, Any], Any]


def scan_rows(combine: Combine, elements: Any, identity: Any, lift: Callable[[Any], Any] = lambda row: row) -> Any:
    """Return in row t the combination of rows 0 .. t, from the first to the last.

    Args:
        combine: associative `(earlier, later) -> both`, element by element.
        elements: a pytree of arrays `[T, ...]`.
        identity: a pytree of numbers that change nothing.
        lift: makes of one row of `elements` what is combined; what it reads need not be made for all rows first.
    """
    start = jax.tree.map(
        lambda number, x: jnp.full(x.shape, number, x.dtype),
        identity,
        jax.eval_shape(lift, jax.tree.map(lambda x: x[0], elements)),
    )
    return jax.lax.platform_dependent(
        elements, start, cpu=partial(scan_in_turn, combine, lift), default=partial(scan_in_blocks, combine, lift)
    )


def scan_in_turn(combine: Combine, lift: Callable[[Any], Any], elements: Any, start: Any) -> Any:
    """Scan row by row, which a CPU does at the speed of its memory."""

    def step(total: Any, row: Any) -> tuple[Any, Any]:
        total = combine(total, lift(row))
        return total, total

    return jax.lax.scan(step, start, elements)[1]


def scan_in_blocks(combine: Combine, lift: Callable[[Any], Any], elements: Any, start: Any) -> Any:
    """Scan in 2·√T steps: a step costs the same on a GPU however much it holds.

    The rows are cut into √T blocks of √T rows. All blocks are scanned at once, then their ends, then each block is
    joined with what went before it.
    """
    num_rows = jax.tree.leaves(elements)[0].shape[0]
    size = max(1, math.isqrt(num_rows))
    count = -(-num_rows // size)

    def split(x: Array) -> Array:
        tail = jnp.zeros((count * size - num_rows, *x.shape[1:]), x.dtype)
        return jnp.moveaxis(jnp.concatenate([x, tail]).reshape(count, size, *x.shape[1:]), 1, 0)

    def join(x: Array) -> Array:
        return jnp.moveaxis(x, 0, 1).reshape(count * size, *x.shape[2:])[:num_rows]

    starts = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), start)
    inside = scan_in_turn(combine, jax.vmap(lift), jax.tree.map(split, elements), starts)
    ends = jax.tree.map(lambda x: x[-1], inside)
    before = jax.lax.scan(lambda total, block: (combine(total, block), total), start, ends)[1]
    return jax.tree.map(join, jax.vmap(combine, in_axes=(None, 0))(before, inside))


def _apply_in_order(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
    """Join `y -> decay * y + x` of two rows into one such step."""
    return earlier[0] * later[0], later[0] * earlier[1] + later[1]


def decaying_sum(x: Float[Array, "T A"], decay: Float[Array, "T A"]) -> Float[Array, "T A"]:
    """Return `y[t] = decay[t] * y[t-1] + x[t]`, starting from 0.

    Args:
        x: `[T, A]`.
        decay: `[T, A]`; 0 restarts in that row.
    """
    return scan_rows(_apply_in_order, (decay, x), (1, 0))[1]


def hold(x: Float[Array, " T *shape"], is_set: Bool[Array, " T *shape"]) -> Float[Array, " T *shape"]:
    """Return the value of `x` in the last row where `is_set`; NaN before the first.

    Args:
        x: `[T, ...]`.
        is_set: `[T, ...]` bool of the same shape.
    """

    def combine(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        return earlier[0] | later[0], jnp.where(later[0], later[1], earlier[1])

    return scan_rows(combine, (is_set, x), (False, jnp.nan))[1]


def _first_known(x: Array) -> Array:
    """Return `[A]` the first row with a value, T where there is none."""
    row = jnp.arange(x.shape[0], dtype=jnp.int32)[:, None]
    return jnp.min(jnp.where(jnp.isnan(x), x.shape[0], row), axis=0)


def _number_rows(x: Array) -> Array:
    return jnp.arange(x.shape[0], dtype=jnp.int32)


def smooth(x: Float[Array, "T A"], decay: float, gain: float, seed_bars: int, seed_scale: float) -> Float[Array, "T A"]:
    """Return `y[t] = decay * y[t-1] + gain * x[t]`, begun with the first known values.

    `y` begins in the last of the first `seed_bars` known values of an asset, as `seed_scale` times their sum. A NaN
    that comes later makes the rest of its asset NaN.

    Args:
        x: `[T, A]`.
        decay, gain, seed_scale: numbers.
        seed_bars: at least 1.
    """
    first = _first_known(x)

    def lift(row: tuple[Array, Array]) -> tuple[Array, Array]:
        number, value = row
        age = number - first
        keep = jnp.where(age < seed_bars - 1, 1, jnp.where(age == seed_bars - 1, seed_scale, decay))
        weight = jnp.where(age < seed_bars - 1, 1, jnp.where(age == seed_bars - 1, seed_scale, gain))
        return keep.astype(x.dtype), jnp.where(age < 0, 0, weight * value).astype(x.dtype)

    y = scan_rows(_apply_in_order, (_number_rows(x), x), (1, 0), lift)[1]
    return jnp.where(_number_rows(x)[:, None] - first < seed_bars - 1, jnp.nan, y)


def wilder(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Wilder's average, α = 1 / window, seeded with the mean of the first `window` values.

    First row window - 1 after the first known value.
    """
    require_bars(window)
    return smooth(x, 1 - 1 / window, 1 / window, window, 1 / window)


def ema(x: Float[Array, "T A"], window: int, seed_bars: int | None = None) -> Float[Array, "T A"]:
    """Exponential moving average, α = 2 / (window + 1).

    First row window - 1 after the first known value, however it is seeded.

    Args:
        x: `[T, A]`.
        window: the span.
        seed_bars: how many values are averaged to begin with, `window` unless given; 1 begins with the first value.
    """
    return x + ema_offset(x, window, seed_bars)


def ema_offset(
    x: Float[Array, "T A"], window: int, seed_bars: int | None = None, change: Float[Array, "T A"] | None = None
) -> Float[Array, "T A"]:
    """EMA less x[t], exactly 0 where flat: `d[t] = (1 - α) * (d[t-1] - (x[t] - x[t-1]))`.

    Taken from differences, it keeps its digits where the average is close to the value, as that of a price is.

    Args:
        x: `[T, A]`.
        window, seed_bars: see `ema`.
        change: `[T, A]` `x[t] - x[t-1]` where it is known better than by subtraction.
    """
    require_bars(window)
    seed_bars = window if seed_bars is None else seed_bars
    decay = 1 - 2 / (window + 1)
    first = _first_known(x)

    def lift(row: tuple[Array, Array]) -> tuple[Array, Array]:
        number, move = row
        age = number - first
        # Until the seed is complete y is the sum, over the values so far, of their distances to x[t].
        scale = jnp.where(age < seed_bars - 1, 1, jnp.where(age == seed_bars - 1, 1 / seed_bars, decay))
        weight = jnp.where(age < seed_bars, age, 1).astype(x.dtype)
        return scale.astype(x.dtype), jnp.where(age <= 0, 0, -scale * weight * move).astype(x.dtype)

    change = difference(x) if change is None else change
    y = scan_rows(_apply_in_order, (_number_rows(x), change), (1, 0), lift)[1]
    return jnp.where((_number_rows(x)[:, None] - first < window - 1) | jnp.isnan(x), jnp.nan, y)


def ema_change(offset: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Change of an EMA over one row, `-α / (1 - α)` times its `ema_offset`; not valid in the seed's own row."""
    return offset * (-2 / (window - 1))
