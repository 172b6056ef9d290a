"""Windows: what the last N rows say, for every row of `[T, A]` (T bars, A assets) at once.

Conventions of all indicators:

* Row t of a result reads rows up to t alone, hence is known at close t. Results keep the dtype they are given.
* NaN means "not known". A series is known from some row on, each asset's own; to run over the bars of an asset with
  gaps, move them together first, as `features/compacted.py` does. A window that holds a NaN gives NaN, and
  no row beyond it. No asset touches another.
* The first row with a value ("first row w") counts from 0.
* Where a quotient is 0/0 (flat prices, no volume) the neutral value stated in the docstring stands.

Nothing here is a difference of running totals, which in float32 loses every digit of a small spread late in a long
series.
"""

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_MAX_LAGS = 24
"""Rows read at once: compiled as one pass over memory."""


def require_bars(window: int) -> None:
    """Raise `ValueError` if a window holds no bar."""
    if window < 1:
        raise ValueError(f"A window needs at least 1 bar; got {window}.")


def shift(x: Float[Array, " T *shape"], bars: int) -> Float[Array, " T *shape"]:
    """Return `x[t - bars]` in row t, NaN in the first `bars` rows."""
    head = jnp.full((min(bars, x.shape[0]), *x.shape[1:]), jnp.nan, x.dtype)
    return jnp.concatenate([head, x[: max(x.shape[0] - bars, 0)]])


def difference(x: Float[Array, "T A"]) -> Float[Array, "T A"]:
    """Return `x[t] - x[t-1]`; first row 1."""
    return x - shift(x, 1)


def divide(
    numerator: Float[Array, "*shape"], denominator: Float[Array, "*#shape"], neutral: float
) -> Float[Array, "*shape"]:
    """Return the quotient, and `neutral` where the denominator is 0. NaN stays NaN."""
    return jnp.where((denominator == 0) & ~jnp.isnan(numerator), neutral, numerator / denominator)


def log_ratio(x: Float[Array, "*shape"], base: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return ln(x / base) to full relative precision where the two are close."""
    return jnp.log1p((x - base) / base)


# Sums and extremes -----------------------------------------------------------------------------------------------


def _pad(x: Array, rows: int, value: float) -> Array:
    return jnp.concatenate([jnp.full((rows, *x.shape[1:]), value, x.dtype), x])


def _lags(padded: Array, lags: Iterable[int], num_rows: int) -> list[Array]:
    """Return `x[t - lag]` for some lags, of `x` with rows before its first."""
    head = padded.shape[0] - num_rows
    return [jax.lax.slice_in_dim(padded, head - lag, padded.shape[0] - lag) for lag in lags]


def _combine_window(combine: Callable[[Array, Array], Array], x: Array, window: int, before: float) -> Array:
    """Combine the last `window` rows by an associative function; rows before the first hold `before`.

    A long window is made of equal short ones and a rest, about 2·√window terms in all.
    """
    require_bars(window)
    padded, num_rows = _pad(x, window - 1, before), x.shape[0]
    if window <= _MAX_LAGS:
        return functools.reduce(combine, _lags(padded, range(window), num_rows))
    short = _split_window(window)
    rest = window % short
    block = functools.reduce(combine, _lags(padded, range(short), num_rows))
    blocks = _lags(_pad(block, window - short, before), range(0, window - rest, short), num_rows)
    return functools.reduce(combine, blocks + _lags(padded, range(window - rest, window), num_rows))


def _split_window(window: int) -> int:
    """Return the length of the short windows that a long one is made of; a divisor near the root if there is one."""
    root = math.isqrt(window)
    divisors = [n for n in range(root, root // 2, -1) if window % n == 0]
    return divisors[0] if divisors else root


def rolling_sum(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Sum of the last `window` rows; first row window - 1."""
    return _combine_window(jax.lax.add, x, window, jnp.nan)


def rolling_max(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Largest value of the last `window` rows; first row window - 1."""
    return _combine_window(jax.lax.max, x, window, jnp.nan)


def rolling_min(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Smallest value of the last `window` rows; first row window - 1."""
    return _combine_window(jax.lax.min, x, window, jnp.nan)


def rolling_max_so_far(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Largest value of the last `window` rows, or of all rows while there are fewer; first row 0."""
    return _combine_window(jax.lax.max, x, window, -jnp.inf)


def sma(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Simple moving average; first row window - 1."""
    return rolling_sum(x, window) / window


def bars_since_max(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Number of rows since the largest value of the last `window` rows, the newest of equal ones; first row window - 1.

    Args:
        x: `[T, A]`.
        window: number of rows, the present one included; the result lies in 0 .. window - 1.
    """
    require_bars(window)
    short = min(window, max(_MAX_LAGS, math.isqrt(window)))
    highest, age = _newest_max(x, jnp.zeros_like(x), range(short))
    # Blocks may overlap: a maximum counted twice is still one, of the same age.
    highest, age = _newest_max(highest, age, [*range(0, window - short, short), window - short])
    return jnp.where(jnp.isnan(highest), jnp.nan, age)


def _newest_max(highest: Array, age: Array, lags: Sequence[int]) -> tuple[Array, Array]:
    """Return maximum and age over rows t - lag, of which the first lag is 0."""
    reach = lags[-1]
    values, ages = (_lags(_pad(array, reach, jnp.nan), lags, len(highest)) for array in (highest, age))
    for value, past_age, lag in zip(values, ages, lags, strict=True):
        age = jnp.where(value > highest, past_age + lag, age)
        highest = jnp.maximum(value, highest)
    return highest, age


# Spread ----------------------------------------------------------------------------------------------------------


def sum_over_lags(terms: Callable[[Any], tuple[Array, ...]], x: Any, window: int, num_terms: int) -> tuple[Array, ...]:
    """Sum `terms(x[t - k])` over k = 0 .. window - 1; the terms may hold values of row t, such as the mean.

    The loop keeps a few lags in memory, never the `[T, window, A]` array of all windows. First row window - 1.

    Args:
        terms: what is summed, of one row of `x`.
        x: a pytree of arrays `[T, A]`.
        window: number of rows.
        num_terms: how many arrays `terms` returns.
    """
    require_bars(window)
    first = jax.tree.leaves(x)[0]
    padded = jax.tree.map(lambda array: _pad(array, window - 1, jnp.nan), x)

    def add_lag(lag: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
        past = jax.tree.map(lambda p: jax.lax.dynamic_slice_in_dim(p, window - 1 - lag, first.shape[0]), padded)
        return tuple(total + term for total, term in zip(totals, terms(past), strict=True))

    start = (jnp.zeros_like(first),) * num_terms
    unroll = next(n for n in range(min(window, _MAX_LAGS), 0, -1) if window % n == 0)
    return jax.lax.fori_loop(0, window, add_lag, start, unroll=unroll)


def rolling_offset(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Mean of the last `window` rows less x[t], taken from differences; exactly 0 where flat. First row window - 1."""
    return sum_over_lags(lambda past: (past - x,), x, window, 1)[0] / window


def rolling_moments(
    x: Float[Array, "T A"], window: int, ddof: int = 0
) -> tuple[Float[Array, "T A"], Float[Array, "T A"]]:
    """Mean less x[t], and standard deviation, of the last `window` rows; exactly 0 where flat. First row window - 1.

    Sums of differences to x[t] and of their squares: the level of `x` costs no digits, and because x[t] is one of the
    values, the mean's part of the squares is at most window - 1 times the rest.

    Args:
        x: `[T, A]`.
        window: number of rows.
        ddof: 0 divides the squares by `window`, 1 by `window - 1`.
    """

    def terms(past: Array) -> tuple[Array, Array]:
        distance = past - x
        return distance, distance * distance

    total, squares = sum_over_lags(terms, x, window, 2)
    offset = total / window
    return offset, jnp.sqrt(jnp.maximum(squares - total * offset, 0) / (window - ddof))


def rolling_std(x: Float[Array, "T A"], window: int, ddof: int = 0) -> Float[Array, "T A"]:
    """Standard deviation of the last `window` rows; exactly 0 where flat. First row window - 1."""
    return rolling_moments(x, window, ddof)[1]


def rolling_powers(
    x: Float[Array, "T A"], window: int
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """Means of the 2nd, 3rd and 4th power of the distance to the window's mean; exactly 0 where flat.

    First row window - 1.
    """
    mean = rolling_offset(x, window)

    def terms(past: Array) -> tuple[Array, Array, Array]:
        distance = past - x - mean
        square = distance * distance
        return square, square * distance, square * square

    second, third, fourth = sum_over_lags(terms, x, window, 3)
    return second / window, third / window, fourth / window


def rolling_covariance(x: Float[Array, "T A"], y: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Mean product less product of means of two series around 0, such as returns; exactly 0 where one is 0.

    For a series far from 0 in units of its spread, use `rolling_std`. First row window - 1.
    """
    return (rolling_sum(x * y, window) - rolling_sum(x, window) * rolling_sum(y, window) / window) / window
