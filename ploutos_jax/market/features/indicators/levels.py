"""Levels: extremes of the past, pivots, and what belongs to a trading session."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ploutos_jax.market.features.indicators.recursion import decaying_sum, hold, scan_rows
from ploutos_jax.market.features.indicators.rolling import divide, rolling_max, rolling_min, shift


def donchian_position(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], window: int = 20
) -> Float[Array, "T A"]:
    """Place of the close in the Donchian channel: 0 at the lowest low, 1 at the highest high; 1/2 where flat.

    First row window - 1.
    """
    lowest = rolling_min(low, window)
    return divide(close - lowest, rolling_max(high, window) - lowest, 0.5)


def pivot_distances(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"]
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """Floor trader's pivots of a session, as distances from its close, which keep their digits.

    P = (H + L + C)/3, R1 = 2P - L, S1 = 2P - H, R2 = P + (H - L), S2 = P - (H - L).

    Args:
        high, low, close: of the session before, `[T, A]`; see `previous_session`.

    Returns:
        P, R1, S1, R2 and S2 less C, in units of the price.
    """
    upper, lower = high - close, low - close
    pivot = (upper + lower) / 3
    return pivot, 2 * pivot - lower, 2 * pivot - upper, pivot + (high - low), pivot - (high - low)


def session_starts(sessions: Int[Array, "T A"]) -> Bool[Array, "T A"]:
    """Tell which rows begin a session; `[T, A]` bool of `sessions` `[T, A]`."""
    first = jnp.ones_like(sessions[:1], bool)
    return jnp.concatenate([first, sessions[1:] != sessions[:-1]])


def previous_session(
    high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"], starts: Bool[Array, "T A"]
) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
    """High, low and close of the session before the present one, NaN in the first.

    With one bar a session this is the bar before.

    Args:
        high, low, close: `[T, A]`.
        starts: `[T, A]` bool; see `session_starts`.
    """

    def combine(
        earlier: tuple[Array, Array, Array],
        later: tuple[Array, Array, Array],
    ):
        start, highest, lowest = later
        return (
            earlier[0] | start,
            jnp.where(start, highest, jnp.maximum(earlier[1], highest)),
            jnp.where(start, lowest, jnp.minimum(earlier[2], lowest)),
        )

    _, highest, lowest = scan_rows(combine, (starts, high, low), (False, -jnp.inf, jnp.inf))
    at_end = jnp.stack([shift(x, 1) for x in (highest, lowest, close)])
    highest, lowest, close = jax.vmap(lambda x: hold(x, starts))(at_end)
    return highest, lowest, close


def session_progress(starts: Bool[Array, "T A"]) -> Float[Array, "T A"]:
    """Bars of the session so far over those of the longest session before it, at most 1; NaN in the first session.

    A clock that asks no calendar: a session that is cut short, or a print that is missing, moves it by as much.

    Args:
        starts: `[T, A]` bool; see `session_starts`.
    """
    ones = jnp.ones(starts.shape)
    count = decaying_sum(ones, jnp.where(starts, 0, ones))
    ended = jnp.where(starts, shift(count, 1), 0)
    longest = jax.lax.cummax(jnp.nan_to_num(ended))
    return jnp.where(longest > 0, jnp.minimum(count / jnp.where(longest > 0, longest, 1), 1), jnp.nan)


def session_vwap_offset(
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    volume: Float[Array, "T A"],
    starts: Bool[Array, "T A"],
) -> Float[Array, "T A"]:
    """Mean typical price of the session so far, weighted by volume, less the close; 0 before the first trade.

    First row 0.
    """
    # Distances to the session's first close keep their digits however long the session is.
    first = hold(close, starts)
    distance = ((high - first) + (low - first) + (close - first)) / 3
    decay = jnp.where(starts, 0, 1).astype(close.dtype)
    money, shares = decaying_sum(distance * volume, decay), decaying_sum(volume, decay)
    return jnp.where(shares == 0, 0 * money, money / shares - (close - first))
