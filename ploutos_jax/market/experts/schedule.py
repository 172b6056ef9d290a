"""When experts decide and what they know: sessions that are over, returns of them, assets that trade; inside `jit`.

Everything along time stays within a path, so that several paths end to end give what each gives alone.
"""

import typing
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.panel import Market

YEAR, QUARTER, MONTH, WEEK = 1.0, 1 / 4, 1 / 12, 1 / 52
"""Spans in years, as those of the baselines."""
_LIVE_DAYS = 7
"""Calendar days without a bar after which an asset no longer counts as traded."""


def sessions_in(calendar: Calendar, *shares_of_year: float) -> tuple[int, ...]:
    """Return spans in sessions, at least 2 where a deviation needs them; static numbers."""
    return tuple(max(calendar.sessions_in(share), 1 + (share >= QUARTER)) for share in shares_of_year)


@typing.no_type_check
class Past(struct.PyTreeNode):
    """What is known at the closes of a market, for whoever decides there.

    Attributes:
        returns: `[T, A]` total returns of whole sessions, in their order, NaN where an asset has none; as many rows
            as a market may have sessions, the last ones without meaning where it has fewer.
        first: `[T]` the first session of each row's path.
        number: `[T]` the session after the last one that is over at the close of each row.
        opens: `[T]` bool, the first bar of a session.
        since: `[T]` sessions that began on the path before that of the row.
        live: `[T, A]` bool, assets with a tradable bar at the row or in the week before it that have not ended.
        allowed: `[T, A]` bool, those of them that may be bought.
        tradable: `[T, A]` bool, see `Market`.
    """

    returns: Float[Array, "T A"]
    first: Int[Array, " T"]
    number: Int[Array, " T"]
    opens: Bool[Array, " T"]
    since: Int[Array, " T"]
    live: Bool[Array, "T A"]
    allowed: Bool[Array, "T A"]
    tradable: Bool[Array, "T A"]

    def window(
        self, row: Int[Array, ""], sessions: int, skipped: int = 0
    ) -> tuple[Float[Array, "_ A"], Bool[Array, " _"]]:
        """Return the returns of the last sessions that are over at the close of a row, without the newest ones.

        Returns:
            Returns `[sessions - skipped, A]`, NaN where not known or before the path, and which of these are on it.
        """
        index = self.number[row] - sessions + jnp.arange(sessions - skipped)
        on_path = index >= self.first[row]
        return jnp.where(on_path[:, None], self.returns[jnp.maximum(index, 0)], jnp.nan), on_path


def look_back(market: Market, calendar: Calendar) -> Past:
    """Return what rules may know at each close of a market.

    Args:
        market: arrays; labels are not read.
        calendar: static; whether a session holds several bars. Of these only whole ones count, since a bar can be the
            last of its session without anybody knowing it.
    """
    market = jax.tree.map(jnp.asarray, market.replace(features=()))  # not read here, and it may lie on the host
    start = path_starts(market.path_end)
    row = jnp.arange(len(start))
    opens = (row == start) | (jnp.diff(market.sessions, prepend=market.sessions[:1]) != 0)
    session = jnp.cumsum(opens) - 1
    returns = total_returns(market)
    if calendar.is_intraday:
        known = jnp.isfinite(returns)
        total, bars = (
            jax.ops.segment_sum(x, session, len(row), indices_are_sorted=True)
            for x in (jnp.log1p(jnp.where(known, returns, 0)), known.astype(jnp.int32))
        )
        returns, first, number = jnp.where(bars > 0, jnp.expm1(total), jnp.nan), session[start], session
    else:
        first, number = start, row + 1
    live = _live(market, start)
    return Past(
        returns=returns,
        first=first,
        number=number,
        opens=opens,
        since=session - session[start],
        live=live,
        allowed=live if market.buyable is None else live & market.buyable,
        tradable=market.tradable,
    )


def decide(past: Past, every: int, weights: Callable[[Int[Array, ""]], Float[Array, " A"]]) -> Float[Array, "T A"]:
    """Return `[T, A]` float32 weights decided at the first bar of every so many sessions of a path, kept in between.

    An asset that may not be bought at a decision gets 0; so does every asset in a bar in which it does not trade, and
    what it was given comes back with its next bar.

    Args:
        past: of the market.
        every: sessions from one decision to the next, counted from the beginning of each path.
        weights: `[A]` of a row. Evaluated at rows of decisions alone, one after the other.
    """
    shape = past.tradable.shape
    at = past.opens & (past.since % every == 0)
    rows = jnp.flatnonzero(at, size=shape[0], fill_value=0)

    def put(i: Array, table: Array) -> Array:
        chosen = jnp.where(past.allowed[rows[i]], weights(rows[i]), 0).astype(jnp.float32)
        return table.at[rows[i]].set(chosen)

    # As many turns as there are decisions, a number that the data tells: the paths of a market may be of any length.
    table = jax.lax.fori_loop(0, at.sum(), put, jnp.zeros(shape, jnp.float32))
    decided = jax.lax.cummax(jnp.where(at, jnp.arange(shape[0]), 0))
    return jnp.where(past.tradable, table[decided], 0)


def path_starts(path_end: Int[Array, " T"]) -> Int[Array, " T"]:
    """Return `[T]` the first row of each row's path."""
    row = jnp.arange(len(path_end))
    begins = (row == 0) | (path_end != jnp.roll(path_end, 1))
    return jax.lax.cummax(jnp.where(begins, row, 0))


def newest(holds: Bool[Array, "T A"], start: Int[Array, " T"]) -> Int[Array, "T A"]:
    """Return `[T, A]` the last row up to each one, on its path, in which something held; -1 where there is none."""
    last = jax.lax.cummax(jnp.where(holds, jnp.arange(len(start))[:, None], -1))
    return jnp.where(last >= start[:, None], last, -1)


def total_returns(market: Market) -> Float[Array, "T A"]:
    """Return `[T, A]` returns from close to close with splits and dividends, known at close t.

    NaN where an asset does not trade or has no earlier close on its path; after a gap the return is that over the gap.
    """
    before = jnp.concatenate([jnp.zeros_like(market.close[:1]), market.close[:-1]])
    value = market.close if market.dividend is None else market.close + market.dividend
    value = value if market.split is None else value * market.split
    follows = path_starts(market.path_end) != jnp.arange(len(before))
    known = market.tradable & (before > 0) & follows[:, None]
    return jnp.where(known, (value - before) / jnp.where(before > 0, before, 1), jnp.nan)


def _live(market: Market, start: Array) -> Array:
    last = newest(market.tradable, start)
    recent = (last >= 0) & (market.sessions[last] >= market.sessions[:, None] - _LIVE_DAYS)
    return recent if market.delisted is None else recent & (newest(market.delisted, start) < 0)
