"""Statistics of returns and of the cross-section of assets."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.features.indicators.rolling import (
    divide,
    log_ratio,
    rolling_covariance,
    rolling_moments,
    rolling_powers,
    rolling_sum,
    shift,
)

HURST_LAGS = (1, 2, 4, 8, 16)


def z_score(x: Float[Array, "T A"], window: int) -> Float[Array, "T A"]:
    """Distance of x[t] from the mean of the last `window` rows in standard deviations (ddof 1); 0 where flat.

    First row window - 1 after the first known value.
    """
    offset, std = rolling_moments(x, window, ddof=1)
    return divide(-offset, std, 0.0)


def skewness(x: Float[Array, "T A"], window: int = 60) -> Float[Array, "T A"]:
    """Skewness of the last `window` values, corrected for bias: g₁·√(n(n-1)) / (n-2); 0 where flat.

    First row window - 1 after the first known value; window at least 3.
    """
    second, third, _ = rolling_powers(x, window)
    return math.sqrt(window * (window - 1)) / (window - 2) * divide(third, second * jnp.sqrt(second), 0.0)


def kurtosis(x: Float[Array, "T A"], window: int = 60) -> Float[Array, "T A"]:
    """Excess kurtosis of the last `window` values, corrected for bias: (n-1)/((n-2)(n-3))·((n+1)·g₂ + 6); 0 where flat.

    First row window - 1 after the first known value; window at least 4.
    """
    second, _, fourth = rolling_powers(x, window)
    raw = divide(fourth, jnp.square(second), 3.0 - 6 / (window + 1)) - 3
    return (window - 1) / ((window - 2) * (window - 3)) * ((window + 1) * raw + 6)


def autocorrelation(returns: Float[Array, "T A"], window: int = 60) -> Float[Array, "T A"]:
    """Correlation of each return with the one before, over the last `window` such pairs; 0 where flat.

    First row `window` after the first return.
    """
    before = shift(returns, 1)
    variance = jnp.maximum(rolling_covariance(returns, returns, window), 0)
    deviation = jnp.sqrt(variance)
    return divide(rolling_covariance(returns, before, window), deviation * shift(deviation, 1), 0.0)


def hurst(close: Float[Array, "T A"], window: int = 100) -> Float[Array, "T A"]:
    """Hurst exponent: slope of ln std(x[t+τ] - x[t]) on ln τ, x = ln C, τ = 1, 2, 4, 8, 16.

    Every difference that lies within the last `window` bars counts (ddof 0); 0.5 where one of the spreads is 0.
    First row `window`.
    """
    weights = [math.log(lag) for lag in HURST_LAGS]
    mean = sum(weights) / len(weights)
    weights = [weight - mean for weight in weights]
    slope, is_flat = jnp.zeros_like(close), jnp.zeros(close.shape, bool)
    for lag, weight in zip(HURST_LAGS, weights, strict=True):
        moves = log_ratio(close, shift(close, lag))
        variance = rolling_covariance(moves, moves, window + 1 - lag)
        is_flat |= variance <= 0
        slope += weight / sum(w * w for w in weights) * jnp.log(jnp.where(variance <= 0, 1, variance)) / 2
    return jnp.where(is_flat & ~jnp.isnan(slope), 0.5, slope)


def variance_ratio(close: Float[Array, "T A"], bars: int = 5, window: int = 100) -> Float[Array, "T A"]:
    """Lo and MacKinlay's variance ratio of `bars`-bar to 1-bar log returns; 1 where flat. First row `window`.

    σ²(q) / σ²(1) with overlapping q-bar returns, both about the mean of the `window` 1-bar returns, and divisors
    m = q·(n - q + 1)·(1 - q/n) and n - 1.
    """
    returns, moves = (log_ratio(close, shift(close, lag)) for lag in (1, bars))
    count = window - bars + 1
    total = rolling_sum(returns, window)
    mean = total / window
    single = rolling_sum(jnp.square(returns), window) - total * mean
    several = rolling_sum(jnp.square(moves), count) - 2 * bars * mean * rolling_sum(moves, count)
    several += count * jnp.square(bars * mean)
    scale = (window - 1) / (bars * count * (1 - bars / window))
    return divide(scale * jnp.maximum(several, 0), jnp.maximum(single, 0), 1.0)


def beta(returns: Float[Array, "T A"], market: Float[Array, "T A"], window: int = 60) -> Float[Array, "T A"]:
    """Covariance of returns with the market's over the market's variance; 1 where the market does not move.

    First row window - 1 after the first return.
    """
    variance = jnp.maximum(rolling_covariance(market, market, window), 0)
    return divide(rolling_covariance(returns, market, window), variance, 1.0)


def cross_sectional_mean(x: Float[Array, "T A"]) -> Float[Array, "T 1"]:
    """Mean over the assets that are known in the row; `[T, A]` to `[T, 1]`, NaN where none is."""
    known = ~jnp.isnan(x)
    return jnp.sum(jnp.where(known, x, 0), axis=1, keepdims=True) / jnp.sum(known, axis=1, keepdims=True)


def cross_sectional_rank(x: Float[Array, "T A"]) -> Float[Array, "T A"]:
    """Rank among the assets that are known in the row, -1/2 lowest to 1/2 highest, equal values sharing theirs.

    0 for an asset alone, NaN where it is not known itself. Time grows with the square of the number of assets, but
    sorting is slower below some thousands.
    """
    num_assets = x.shape[1]

    def compare(asset: Array, lower: Array) -> Array:
        other = jax.lax.dynamic_slice_in_dim(x, asset, 1, axis=1)
        return lower + (other < x).astype(x.dtype) - (other > x).astype(x.dtype)

    # Assets below less assets above: twice the distance to the middle rank.
    balance = jax.lax.fori_loop(0, num_assets, compare, jnp.zeros_like(x), unroll=min(num_assets, 12))
    others = jnp.sum(~jnp.isnan(x), axis=1, keepdims=True, dtype=jnp.int32) - 1
    return divide(balance + 0 * x, (2 * others).astype(x.dtype), 0.0)
