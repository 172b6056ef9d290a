"""Trend: where prices go, and how steadily."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.features.indicators.recursion import ema_change, ema_offset, smooth, wilder
from ploutos_jax.market.features.indicators.rolling import (
    bars_since_max,
    difference,
    divide,
    require_bars,
    shift,
    sum_over_lags,
)
from ploutos_jax.market.features.indicators.volatility import true_range


def macd(
    close: Float[Array, "T A"], fast: int = 12, slow: int = 26, signal: int = 9
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """Moving average convergence divergence: line, signal and histogram.

    Line = EMA(fast) - EMA(slow), both seeded at bar slow - 1; signal = EMA of the line; histogram = line - signal.

    Args:
        close: `[T, A]`.
        fast, slow, signal: windows, fast < slow.

    Returns:
        Three arrays `[T, A]` in units of the price; first row slow + signal - 2 for all three.
    """
    late = shift(close, slow - fast) * 0 + close
    line = ema_offset(late, fast) - ema_offset(close, slow)
    offset = ema_offset(line, signal)
    return line + 0 * offset, line + offset, -offset


def ppo(close: Float[Array, "T A"], fast: int = 12, slow: int = 26) -> Float[Array, "T A"]:
    """Percentage price oscillator: 100 · (EMA(fast) - EMA(slow)) / EMA(slow), each seeded on its own.

    First row slow - 1.
    """
    slow_offset = ema_offset(close, slow)
    return 100 * (ema_offset(close, fast) - slow_offset) / (close + slow_offset)


def ppo_histogram(close: Float[Array, "T A"], fast: int = 12, slow: int = 26, signal: int = 9) -> Float[Array, "T A"]:
    """PPO less its EMA(signal), in percent; first row slow + signal - 2."""
    return -ema_offset(ppo(close, fast, slow), signal)


def trix(close: Float[Array, "T A"], window: int = 15) -> Float[Array, "T A"]:
    """Change over one bar, in percent, of a threefold EMA; first row 3 · (window - 1) + 1."""
    average, change, level = close, difference(close), []
    for _ in range(3):
        offset = ema_offset(average, window, change=change)
        average, change = average + offset, ema_change(offset, window)
        level.append(offset)
    before = shift(average, 1)
    return 100 * change / before


def directional(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], window: int = 14
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """Directional indicators +DI and -DI, and the average directional movement index ADX; each 0 to 100.

    +DM = up where up > down and up > 0 (up = H - H₋₁, down = L₋₁ - L), -DM likewise; each and the true range are
    summed by Wilder's recursion S ← S - S/window + x, seeded with bars 1 .. window - 1; ±DI = 100 · S± / S_TR;
    DX = 100 · |+DI - -DI| / (+DI + -DI); ADX is Wilder's average of DX. 0 where nothing moves.

    Returns:
        +DI and -DI, first row `window`; ADX, first row 2 * window - 1.
    """
    require_bars(window)
    up, down = difference(high), -difference(low)
    known = 0 * up
    plus = jnp.where((up > down) & (up > 0), up, 0) + known
    minus = jnp.where((down > up) & (down > 0), down, 0) + known
    plus, minus, reach = (
        smooth(x, 1 - 1 / window, 1.0, window - 1, 1.0) for x in (plus, minus, true_range(high, low, close))
    )
    known = 0 * shift(reach, 1)  # the seed itself is not a value yet
    plus_di = divide(100 * plus + known, reach, 0.0)
    minus_di = divide(100 * minus + known, reach, 0.0)
    return plus_di, minus_di, wilder(divide(100 * jnp.abs(plus_di - minus_di), plus_di + minus_di, 0.0), window)


def aroon_oscillator(high: Float[Array, "T A"], low: Float[Array, "T A"], window: int = 25) -> Float[Array, "T A"]:
    """Aroon oscillator, -100 to 100: 100 · (bars since the low - bars since the high) / window.

    Over the last window + 1 bars, of equal extremes the newest. First row `window`.
    """
    return (bars_since_max(-low, window + 1) - bars_since_max(high, window + 1)) * (100 / window)


def cci(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], window: int = 20
) -> Float[Array, "T A"]:
    """Commodity channel index: distance of the typical price from its mean in units of 0.015 mean absolute deviations.

    0 where the typical price is flat. First row window - 1.
    """
    # The typical price as the close and its distance from it: differences of either keep their digits.
    lean = ((high - close) + (low - close)) / 3

    def distance(past: tuple[Array, Array]) -> Array:
        return (past[0] - close) + (past[1] - lean)

    mean = sum_over_lags(lambda past: (distance(past),), (close, lean), window, 1)[0] / window
    total = sum_over_lags(lambda past: (jnp.abs(distance(past) - mean),), (close, lean), window, 1)[0]
    return divide(-mean, 0.015 * total / window, 0.0)
