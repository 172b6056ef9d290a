"""Momentum: how far prices moved, and how one-sidedly."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.features.indicators.recursion import ema, wilder
from ploutos_jax.market.features.indicators.rolling import (
    difference,
    divide,
    log_ratio,
    rolling_max,
    rolling_min,
    rolling_sum,
    shift,
    sma,
)
from ploutos_jax.market.features.indicators.volatility import true_range


def log_return(x: Float[Array, "T A"], bars: int = 1) -> Float[Array, "T A"]:
    """ln(x[t] / x[t - bars]); first row `bars`."""
    return log_ratio(x, shift(x, bars))


def rate_of_change(x: Float[Array, "T A"], bars: int = 10) -> Float[Array, "T A"]:
    """100 · (x[t] / x[t - bars] - 1); first row `bars`."""
    past = shift(x, bars)
    return 100 * ((x - past) / past)


def rsi(close: Float[Array, "T A"], window: int = 14) -> Float[Array, "T A"]:
    """Relative strength index, 0 to 100: 100 · U / (U + D) of Wilder's averages of gains and losses.

    50 where there is neither gain nor loss. First row `window`.
    """
    change = difference(close)
    gains, losses = wilder(jnp.maximum(change, 0), window), wilder(jnp.maximum(-change, 0), window)
    return divide(100 * gains, gains + losses, 50.0)


def stochastic_k(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], window: int = 14
) -> Float[Array, "T A"]:
    """Fast stochastic %K, 0 to 100: 100 · (C - lowest) / (highest - lowest); 50 where flat. First row window - 1."""
    lowest = rolling_min(low, window)
    return divide(100 * (close - lowest), rolling_max(high, window) - lowest, 50.0)


def stochastic_d(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    window: int = 14,
    smoothing: int = 3,
) -> Float[Array, "T A"]:
    """Fast stochastic %D: the simple average of %K; first row window + smoothing - 2."""
    return sma(stochastic_k(high, low, close, window), smoothing)


def stochastic_rsi(close: Float[Array, "T A"], window: int = 14) -> Float[Array, "T A"]:
    """Place of the RSI between its lowest and highest of `window` bars, 0 to 100; 50 where it is flat.

    First row 2 * window - 1.
    """
    strength = rsi(close, window)
    lowest = rolling_min(strength, window)
    reach = rolling_max(strength, window) - lowest
    # Of flat prices the RSI stands still but for rounding, of which there would be a quotient too.
    still = reach <= 2000 * jnp.finfo(close.dtype).eps
    return jnp.where(still, 50.0, 100 * (strength - lowest) / reach)


def williams_r(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], window: int = 14
) -> Float[Array, "T A"]:
    """Williams %R, -100 to 0: -100 · (highest - C) / (highest - lowest); -50 where flat. First row window - 1."""
    highest = rolling_max(high, window)
    return divide(-100 * (highest - close), highest - rolling_min(low, window), -50.0)


def tsi(close: Float[Array, "T A"], slow: int = 25, fast: int = 13) -> Float[Array, "T A"]:
    """True strength index, -100 to 100: 100 · E(E(ΔC)) / E(E(|ΔC|)), E(slow) inside E(fast).

    Each average begins with its first value. 0 where nothing moves. First row slow + fast - 1.
    """

    def twice(x: Float[Array, "T A"]) -> Float[Array, "T A"]:
        return ema(ema(x, slow, seed_bars=1), fast, seed_bars=1)

    change = difference(close)
    return divide(100 * twice(change), twice(jnp.abs(change)), 0.0)


def ultimate_oscillator(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    short: int = 7,
    middle: int = 14,
    long: int = 28,
) -> Float[Array, "T A"]:
    """Ultimate oscillator, 0 to 100: `100 · (4·a(short) + 2·a(middle) + a(long)) / 7`.

    a(n) = Σ(C - min(L, C₋₁)) / ΣTR over n bars, 1/2 where nothing moves. First row `long`.
    """
    pressure = close - jnp.minimum(low, shift(close, 1))
    reach = true_range(high, low, close)

    def share(window: int) -> Float[Array, "T A"]:
        return divide(rolling_sum(pressure, window), rolling_sum(reach, window), 0.5)

    return (100 / 7) * (4 * share(short) + 2 * share(middle) + share(long))
