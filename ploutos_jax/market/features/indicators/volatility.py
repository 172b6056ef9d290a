"""Volatility: how far prices range, and the channels that are drawn with it."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.features.indicators.recursion import ema, wilder
from ploutos_jax.market.features.indicators.rolling import (
    divide,
    log_ratio,
    rolling_max_so_far,
    rolling_moments,
    rolling_std,
    rolling_sum,
    shift,
    sma,
)


def true_range(high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"]) -> Float[Array, "T A"]:
    """max(H, C₋₁) - min(L, C₋₁) in units of the price; first row 1."""
    before = shift(close, 1)
    return jnp.maximum(high, before) - jnp.minimum(low, before)


def first_true_range(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"]
) -> Float[Array, "T A"]:
    """The true range, and H - L in an asset's first bar, which has no close before it; first row 0."""
    return jnp.where(jnp.isnan(shift(close, 1)), high - low, true_range(high, low, close))


def atr(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], window: int = 14
) -> Float[Array, "T A"]:
    """Average true range in units of the price: Wilder's average of the true range from bar 1. First row `window`."""
    return wilder(true_range(high, low, close), window)


def bollinger(
    close: Float[Array, "T A"], window: int = 20, num_std: float = 2.0
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """Bollinger bands: lower, middle and upper = mean ∓ num_std standard deviations (ddof 0). First row window - 1."""
    offset, std = rolling_moments(close, window)
    mean = close + offset
    return mean - num_std * std, mean, mean + num_std * std


def bollinger_percent_b(close: Float[Array, "T A"], window: int = 20, num_std: float = 2.0) -> Float[Array, "T A"]:
    """Place of the close between the bands: 0 at the lower, 1 at the upper, 0.5 where flat. First row window - 1."""
    offset, std = rolling_moments(close, window)
    return divide(-offset, 2 * num_std * std, 0.0) + 0.5


def bollinger_width(close: Float[Array, "T A"], window: int = 20, num_std: float = 2.0) -> Float[Array, "T A"]:
    """Width of the bands in percent of the middle; first row window - 1."""
    offset, std = rolling_moments(close, window)
    return 200 * num_std * std / (close + offset)


def keltner(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    window: int = 20,
    atr_window: int = 10,
    num_atr: float = 2.0,
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """Keltner channel: lower, middle and upper = EMA(window) ∓ num_atr · ATR(atr_window).

    The EMA begins with the first close, the ATR with the mean true range of bars 0 .. atr_window - 1, that of bar 0
    being H - L. First row window - 1 (atr_window < window).
    """
    middle = ema(close, window, seed_bars=1)
    reach = num_atr * wilder(first_true_range(high, low, close), atr_window)
    return middle - reach, middle, middle + reach


def ulcer_index(close: Float[Array, "T A"], window: int = 14) -> Float[Array, "T A"]:
    """Ulcer index: root mean square, in percent, of the fall of each close from the highest of `window` bars.

    The highest of the first bars is that of fewer. First row window - 1.
    """
    highest = rolling_max_so_far(close, window)
    return 100 * jnp.sqrt(sma(jnp.square((close - highest) / highest), window))


def volatility(close: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Standard deviation (ddof 1) of the last `window` log returns, per bar; first row `window`."""
    return rolling_std(log_ratio(close, shift(close, 1)), window, ddof=1)


def realised_volatility(close: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Root mean square of the last `window` log returns, per bar; first row `window`."""
    return jnp.sqrt(sma(jnp.square(log_ratio(close, shift(close, 1))), window))


def parkinson(high: Float[Array, "T A"], low: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Parkinson's volatility per bar: √(mean of ln²(H/L) / (4·ln 2)); first row window - 1."""
    return jnp.sqrt(sma(jnp.square(log_ratio(high, low)), window) / (4 * math.log(2)))


def garman_klass(
    opens: Float[Array, "T A"],
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    window: int = 20,
) -> Float[Array, "T A"]:
    """Garman and Klass's volatility per bar: √(mean of ½·ln²(H/L) - (2·ln 2 - 1)·ln²(C/O)); first row window - 1."""
    term = jnp.square(log_ratio(high, low)) / 2 - (2 * math.log(2) - 1) * jnp.square(log_ratio(close, opens))
    return jnp.sqrt(jnp.maximum(sma(term, window), 0))


def yang_zhang(
    opens: Float[Array, "T A"],
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    window: int = 20,
) -> Float[Array, "T A"]:
    """Yang and Zhang's volatility per bar: √(var(o) + k·var(c) + (1 - k)·mean(ln(H/C)·ln(H/O) + ln(L/C)·ln(L/O))).

    o = ln(O/C₋₁), c = ln(C/O), variances with ddof 1, k = 0.34 / (1.34 + (window + 1)/(window - 1)). First row
    `window`.
    """
    overnight, inside = log_ratio(opens, shift(close, 1)), log_ratio(close, opens)
    upper = log_ratio(high, close) * log_ratio(high, opens)
    lower = log_ratio(low, close) * log_ratio(low, opens)
    weight = 0.34 / (1.34 + (window + 1) / (window - 1))
    variance = jnp.square(rolling_std(overnight, window, ddof=1))
    variance += weight * jnp.square(rolling_std(inside, window, ddof=1))
    return jnp.sqrt(variance + (1 - weight) * jnp.maximum(sma(upper + lower, window), 0))


def corwin_schultz(high: Float[Array, "T A"], low: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Corwin and Schultz's bid-ask spread as a share of the price, mean of the last `window` pairs of bars.

    Of each pair β = ln²(H₋₁/L₋₁) + ln²(H/L), γ = ln²(max H / min L), α = (√(2β) - √β)/(3 - 2√2) - √(γ/(3 - 2√2)),
    spread = 2·(e^α - 1)/(1 + e^α), not below 0. First row `window`.
    """
    squares = jnp.square(log_ratio(high, low))
    beta = squares + shift(squares, 1)
    reach = log_ratio(jnp.maximum(high, shift(high, 1)), jnp.minimum(low, shift(low, 1)))
    # (√2 - 1)/(3 - 2√2) = 1/√(3 - 2√2) = √2 + 1.
    alpha = (math.sqrt(2) + 1) * (jnp.sqrt(beta) - reach)
    return sma(jnp.maximum(2 * jnp.tanh(alpha / 2), 0), window)


def overnight_share(
    overnight: Float[Array, "T A"], inside: Float[Array, "T A"], window: int = 20
) -> Float[Array, "T A"]:
    """Share of squared overnight returns in all squared returns; 1/2 where nothing moves. First row `window`."""
    night, day = jnp.square(overnight), jnp.square(inside)
    return divide(rolling_sum(night, window), rolling_sum(night + day, window), 0.5)


def downside_share(returns: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Share of squared negative returns in all squared returns; 1/2 where nothing moves.

    First row window - 1 after the first return.
    """
    falls = jnp.square(jnp.minimum(returns, 0))
    return divide(rolling_sum(falls, window), rolling_sum(jnp.square(returns), window), 0.5)
