"""Technical indicators: causal functions of arrays `[T, A]` (T bars, A assets), in their textbook units.

Every function reads row t and earlier rows only, so row t of the result is known at close t. It works in the dtype it
is given. NaN means "not known": a window that holds a NaN gives NaN and no row beyond it, and a recursion passes over
a NaN with its state kept. Neither touches another asset. To run an indicator over an asset's own bars as if the
missing ones were not there, compact the series first, as `ploutos_jax.market.features` does.

The first row with a value ("first row w") counts from 0. Where a quotient is 0/0 (flat prices, no volume) the neutral
value stated in the docstring stands.

Source: the recursions and their seeds are those of TA-Lib (https://ta-lib.org), with which they agree to rounding;
the neutral values are our own.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

Array = jax.Array


def shift(x: Array, bars: int) -> Array:
    """Return `x[t - bars]` in row t, NaN in the first `bars` rows."""
    head = jnp.full((min(bars, x.shape[0]), *x.shape[1:]), jnp.nan, x.dtype)
    return jnp.concatenate([head, x[: max(x.shape[0] - bars, 0)]])


def difference(x: Array) -> Array:
    """Return `x[t] - x[t-1]`; first row 1."""
    return x - shift(x, 1)


def divide(numerator: Array, denominator: Array, neutral: float) -> Array:
    """Return the quotient, and `neutral` where the denominator is 0. NaN stays NaN."""
    return jnp.where((denominator == 0) & ~jnp.isnan(numerator), neutral, numerator / denominator)


def _require_bars(window: int) -> None:
    if window < 1:
        raise ValueError(f"A window needs at least 1 bar; got {window}.")


# Windows ---------------------------------------------------------------------------------------------------------


def _combine_window(combine: Callable[[Array, Array], Array], x: Array, window: int) -> Array:
    """Combine the last `window` rows of `x` by an associative function.

    Windows of 1, 2, 4, ... rows are made by doubling and joined along the binary digits of `window`: log2(window)
    passes, and sums are pairwise, hence far more exact than a difference of running totals.
    """
    _require_bars(window)
    parts, covered, block, size = [], 0, x, 1
    while covered < window:
        if window & size:
            parts.append(shift(block, covered))
            covered += size
        block, size = combine(block, shift(block, size)), 2 * size
    return functools.reduce(combine, parts)


def rolling_sum(x: Array, window: int) -> Array:
    """Sum of the last `window` rows; first row window - 1."""
    return _combine_window(jnp.add, x, window)


def rolling_max(x: Array, window: int) -> Array:
    """Largest value of the last `window` rows; first row window - 1."""
    return _combine_window(jnp.maximum, x, window)


def rolling_min(x: Array, window: int) -> Array:
    """Smallest value of the last `window` rows; first row window - 1."""
    return _combine_window(jnp.minimum, x, window)


def _sum_over_lags(term: Callable[[Array], Array], x: Array, window: int) -> Array:
    """Sum `term(x[t - k])` over k = 0 .. window - 1, where `term` may hold values of row t, such as the mean.

    The loop keeps one lag in memory, never the `[T, window, A]` array of all windows.
    """
    _require_bars(window)
    num_rows = x.shape[0]
    padded = jnp.concatenate([jnp.full((window - 1, *x.shape[1:]), jnp.nan, x.dtype), x])

    def add_lag(lag: Array, total: Array) -> Array:
        return total + term(jax.lax.dynamic_slice_in_dim(padded, window - 1 - lag, num_rows))

    return jax.lax.fori_loop(0, window, add_lag, jnp.zeros_like(x))


def rolling_offset(x: Array, window: int) -> Array:
    """Mean of the last `window` rows less x[t], taken from differences; exactly 0 where flat. First row window - 1."""
    return _sum_over_lags(lambda past: past - x, x, window) / window


def rolling_std(x: Array, window: int, ddof: int = 0) -> Array:
    """Standard deviation of the last `window` rows in two passes; exactly 0 where flat. First row window - 1.

    Both passes run on differences to x[t], so that the level of `x` costs no digits.

    Args:
        x: `[T, A]`.
        window: number of rows.
        ddof: 0 divides by `window`, 1 by `window - 1`.
    """
    offset = rolling_offset(x, window)
    squares = _sum_over_lags(lambda past: jnp.square(past - x - offset), x, window)
    return jnp.sqrt(squares / (window - ddof))


def sma(x: Array, window: int) -> Array:
    """Simple moving average; first row window - 1."""
    return rolling_sum(x, window) / window


# Recursions ------------------------------------------------------------------------------------------------------


def _smooth(x: Array, decay: float, gain: float, seed_rows: int, seed_scale: float) -> Array:
    """Run `y[t] = decay * y[t-1] + gain * x[t]` down the rows, starting from a sum of the first rows.

    The first `seed_rows` known values of an asset are summed; `y` begins in the last of them as `seed_scale` times
    that sum. A NaN in `x` gives NaN in that row and leaves the state as it was.
    """

    def step(carry: tuple[Array, Array], value: Array) -> tuple[tuple[Array, Array], Array]:
        count, state = carry
        is_known = ~jnp.isnan(value)
        value = jnp.where(is_known, value, 0)
        count = count + is_known
        total = state + value
        seeding = jnp.where(count == seed_rows, total * seed_scale, total)
        moved = jnp.where(count <= seed_rows, seeding, decay * state + gain * value)
        state = jnp.where(is_known, moved, state)
        return (count, state), jnp.where(is_known & (count >= seed_rows), state, jnp.nan)

    start = jnp.zeros(x.shape[1:], jnp.int32), jnp.zeros(x.shape[1:], x.dtype)
    return jax.lax.scan(step, start, x)[1]


def ema(x: Array, window: int) -> Array:
    """Exponential moving average, α = 2 / (window + 1), seeded with the mean of the first `window` values.

    First row window - 1 after the first known value.
    """
    _require_bars(window)
    alpha = 2 / (window + 1)
    return _smooth(x, 1 - alpha, alpha, window, 1 / window)


def wilder(x: Array, window: int) -> Array:
    """Wilder's average, α = 1 / window, seeded with the mean of the first `window` values.

    First row window - 1 after the first known value.
    """
    _require_bars(window)
    return _smooth(x, 1 - 1 / window, 1 / window, window, 1 / window)


# Trend -----------------------------------------------------------------------------------------------------------


def macd(close: Array, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Array, Array, Array]:
    """Moving average convergence divergence: line, signal and histogram.

    Line = EMA(fast) - EMA(slow), both seeded at bar slow - 1; signal = EMA of the line; histogram = line - signal.

    Args:
        close: `[T, A]`.
        fast, slow, signal: windows, fast < slow.

    Returns:
        Three arrays `[T, A]` in units of the price; first row slow + signal - 2 for all three.
    """
    known_before = jnp.cumsum(~jnp.isnan(close), axis=0, dtype=jnp.int32) <= slow - fast
    line = ema(jnp.where(known_before, jnp.nan, close), fast) - ema(close, slow)
    average = ema(line, signal)
    return line + 0 * average, average, line - average


def adx(high: Array, low: Array, close: Array, window: int = 14) -> Array:
    """Average directional movement index, 0 to 100; 0 where nothing moves. First row 2 * window - 1.

    +DM = up where up > down and up > 0 (up = H - H₋₁, down = L₋₁ - L), -DM likewise; each and the true range are
    summed by Wilder's recursion S ← S - S/window + x, seeded with bars 1 .. window - 1; ±DI = 100 · S± / S_TR;
    DX = 100 · |+DI - -DI| / (+DI + -DI); ADX is Wilder's average of DX.
    """
    _require_bars(window)
    up, down = difference(high), -difference(low)
    known = 0 * up
    plus = jnp.where((up > down) & (up > 0), up, 0) + known
    minus = jnp.where((down > up) & (down > 0), down, 0) + known
    moves = jnp.stack([plus, minus, true_range(high, low, close)], axis=-1)
    sums = _smooth(moves, 1 - 1 / window, 1.0, window - 1, 1.0)
    sums = jnp.where(jnp.isnan(shift(sums, 1)), jnp.nan, sums)  # the seed itself is not a value yet
    plus_di = divide(100 * sums[..., 0], sums[..., 2], 0.0)
    minus_di = divide(100 * sums[..., 1], sums[..., 2], 0.0)
    return wilder(divide(100 * jnp.abs(plus_di - minus_di), plus_di + minus_di, 0.0), window)


def cci(high: Array, low: Array, close: Array, window: int = 20) -> Array:
    """Commodity channel index: distance of the typical price from its mean in units of 0.015 mean absolute deviations.

    0 where the typical price is flat. First row window - 1.
    """
    typical = (high + low + close) / 3
    offset = rolling_offset(typical, window)
    deviation = _sum_over_lags(lambda past: jnp.abs(past - typical - offset), typical, window) / window
    return divide(-offset, 0.015 * deviation, 0.0)


# Momentum --------------------------------------------------------------------------------------------------------


def log_return(x: Array, bars: int = 1) -> Array:
    """ln(x[t] / x[t - bars]); first row `bars`."""
    return jnp.log(x / shift(x, bars))


def rate_of_change(x: Array, bars: int = 10) -> Array:
    """100 · (x[t] / x[t - bars] - 1); first row `bars`."""
    return 100 * (x / shift(x, bars) - 1)


def rsi(close: Array, window: int = 14) -> Array:
    """Relative strength index, 0 to 100: 100 · U / (U + D) of Wilder's averages of gains and losses.

    50 where there is neither gain nor loss. First row `window`.
    """
    change = difference(close)
    averages = wilder(jnp.stack([jnp.maximum(change, 0), jnp.maximum(-change, 0)], axis=-1), window)
    return divide(100 * averages[..., 0], averages[..., 0] + averages[..., 1], 50.0)


def stochastic_k(high: Array, low: Array, close: Array, window: int = 14) -> Array:
    """Fast stochastic %K, 0 to 100: 100 · (C - lowest) / (highest - lowest); 50 where flat. First row window - 1."""
    lowest = rolling_min(low, window)
    return divide(100 * (close - lowest), rolling_max(high, window) - lowest, 50.0)


def williams_r(high: Array, low: Array, close: Array, window: int = 14) -> Array:
    """Williams %R, -100 to 0: -100 · (highest - C) / (highest - lowest); -50 where flat. First row window - 1."""
    highest = rolling_max(high, window)
    return divide(-100 * (highest - close), highest - rolling_min(low, window), -50.0)


# Volatility ------------------------------------------------------------------------------------------------------


def true_range(high: Array, low: Array, close: Array) -> Array:
    """max(H, C₋₁) - min(L, C₋₁) in units of the price; first row 1."""
    before = shift(close, 1)
    return jnp.maximum(high, before) - jnp.minimum(low, before)


def atr(high: Array, low: Array, close: Array, window: int = 14) -> Array:
    """Average true range in units of the price: Wilder's average of the true range from bar 1. First row `window`."""
    return wilder(true_range(high, low, close), window)


def bollinger(close: Array, window: int = 20, num_std: float = 2.0) -> tuple[Array, Array, Array]:
    """Bollinger bands: lower, middle and upper = mean ∓ num_std standard deviations (ddof 0). First row window - 1."""
    mean, std = sma(close, window), rolling_std(close, window)
    return mean - num_std * std, mean, mean + num_std * std


def bollinger_percent_b(close: Array, window: int = 20, num_std: float = 2.0) -> Array:
    """Place of the close between the bands: 0 at the lower, 1 at the upper, 0.5 where flat. First row window - 1."""
    return divide(-rolling_offset(close, window), 2 * num_std * rolling_std(close, window), 0.0) + 0.5


def bollinger_width(close: Array, window: int = 20, num_std: float = 2.0) -> Array:
    """Width of the bands in percent of the middle; first row window - 1."""
    return 200 * num_std * rolling_std(close, window) / sma(close, window)


def realised_volatility(close: Array, window: int = 20) -> Array:
    """Standard deviation (ddof 1) of the last `window` log returns, per bar; first row `window`."""
    return rolling_std(log_return(close), window, ddof=1)


# Volume ----------------------------------------------------------------------------------------------------------


def mfi(high: Array, low: Array, close: Array, volume: Array, window: int = 14) -> Array:
    """Money flow index, 0 to 100: 100 · P / (P + Q), P and Q the sums of typical price × volume on rises and falls.

    Bars whose typical price is unchanged count for neither; 50 where no money moves. First row `window`.
    """
    typical = (high + low + close) / 3
    change = difference(typical)
    flow = typical * volume + 0 * change
    rises = rolling_sum(jnp.where(change > 0, flow, 0 * flow), window)
    falls = rolling_sum(jnp.where(change < 0, flow, 0 * flow), window)
    return divide(100 * rises, rises + falls, 50.0)


def obv_change(close: Array, volume: Array, window: int = 20) -> Array:
    """Change of on-balance volume over the last `window` bars, in shares: Σ sign(ΔC) · V. First row `window`.

    The windowed form is exact in float32, where on-balance volume itself, a sum over all history, is not.
    """
    return rolling_sum(jnp.sign(difference(close)) * volume, window)
