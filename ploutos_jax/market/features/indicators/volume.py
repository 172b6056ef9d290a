"""Volume: how much was traded, and on which side of the price.

What is a sum over all history elsewhere (on-balance volume, volume-price trend) is a change over a window here: exact
in float32, where the sum itself is not.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.features.indicators.recursion import ema
from ploutos_jax.market.features.indicators.rolling import (
    difference,
    divide,
    log_ratio,
    rolling_sum,
    shift,
    sma,
    sum_over_lags,
)

_LEAST_ILLIQUIDITY = 1e-20
"""Stands for none, of which there is no logarithm: far below what any market has."""
_TIE_ROUNDINGS = 4
"""How many roundings two sums of the same three prices may lie apart."""


def close_location(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"]
) -> Float[Array, "T A"]:
    """Place of the close in its bar, -1 at the low to 1 at the high; 0 where they are one. First row 0."""
    return divide((close - low) - (high - close), high - low, 0.0)


def mfi(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    volume: Float[Array, "T A"],
    window: int = 14,
) -> Float[Array, "T A"]:
    """Money flow index, 0 to 100: 100 · P / (P + Q), P and Q the sums of typical price × volume on rises and falls.

    Bars whose typical price is unchanged, but for rounding, count for neither; 50 where no money moves.

    First row `window`.
    """
    typical = (high + low + close) / 3
    change = difference(typical)
    # Prices are decimals: of equal sums of three, one may be rounded up and the other down.
    change = jnp.where(jnp.abs(change) <= _TIE_ROUNDINGS * jnp.finfo(typical.dtype).eps * typical, 0 * change, change)
    flow = typical * volume + 0 * change
    rises = rolling_sum(jnp.where(change > 0, flow, 0 * flow), window)
    falls = rolling_sum(jnp.where(change < 0, flow, 0 * flow), window)
    return divide(100 * rises, rises + falls, 50.0)


def obv_change(close: Float[Array, "T A"], volume: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Change of on-balance volume over the last `window` bars, in shares: Σ sign(ΔC) · V. First row `window`."""
    return rolling_sum(jnp.sign(difference(close)) * volume, window)


def chaikin_money_flow(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    volume: Float[Array, "T A"],
    window: int = 20,
) -> Float[Array, "T A"]:
    """Chaikin's money flow, -1 to 1: mean place of the close in its bar, weighted by volume; 0 without volume.

    First row window - 1.
    """
    return divide(rolling_sum(close_location(high, low, close) * volume, window), rolling_sum(volume, window), 0.0)


def force_index(close: Float[Array, "T A"], volume: Float[Array, "T A"], window: int = 13) -> Float[Array, "T A"]:
    """Force index: EMA(window) of ΔC · V, begun with its first value; first row `window`."""
    return ema(difference(close) * volume, window, seed_bars=1)


def force_ratio(close: Float[Array, "T A"], volume: Float[Array, "T A"], window: int = 13) -> Float[Array, "T A"]:
    """Force index over the same average of |ΔC| · V, -1 to 1; 0 where nothing moves. First row `window`."""
    force = difference(close) * volume
    return divide(ema(force, window, seed_bars=1), ema(jnp.abs(force), window, seed_bars=1), 0.0)


def vpt_change(close: Float[Array, "T A"], volume: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Change of the volume-price trend over the last `window` bars: Σ V · (C/C₋₁ - 1). First row `window`."""
    return rolling_sum(volume * (difference(close) / shift(close, 1)), window)


def ease_of_movement(
    high: Float[Array, "T A"], low: Float[Array, "T A"], volume: Float[Array, "T A"]
) -> Float[Array, "T A"]:
    """Ease of movement: 1e8 · (ΔH + ΔL)·(H - L) / (2·V); 0 without volume. First row 1."""
    return divide((difference(high) + difference(low)) * (high - low) * (1e8 / 2), volume, 0.0)


def vwap(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    volume: Float[Array, "T A"],
    window: int = 14,
) -> Float[Array, "T A"]:
    """Mean typical price of the last `window` bars, weighted by volume; the close without volume.

    First row window - 1.
    """
    return close + vwap_offset(high, low, close, volume, window)


def vwap_offset(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    volume: Float[Array, "T A"],
    window: int = 14,
) -> Float[Array, "T A"]:
    """VWAP less the close, to full relative precision; 0 without volume. First row window - 1."""
    lean = ((high - close) + (low - close)) / 3

    def terms(past: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        shares, price, distance = past
        return shares * ((price - close) + distance), shares

    money, shares = sum_over_lags(terms, (volume, close, lean), window, 2)
    return divide(money, shares, 0.0)


def log_illiquidity(close: Float[Array, "T A"], volume: Float[Array, "T A"], window: int = 20) -> Float[Array, "T A"]:
    """Logarithm of Amihud's illiquidity: mean of |ln(C/C₋₁)| / (C·V) over the last `window` bars.

    A bar without volume counts as 0. First row `window`.
    """
    price_impact = divide(jnp.abs(log_ratio(close, shift(close, 1))), close * volume, 0.0)
    return jnp.log(jnp.maximum(sma(price_impact, window), _LEAST_ILLIQUIDITY))
