"""What rules know and when they trade: returns of sessions that are over, assets that trade, days of rebalancing."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.panel import Market

YEAR, QUARTER, MONTH, WEEK = 1.0, 1 / 4, 1 / 12, 1 / 52
"""Spans of the rules in years: estimates look back a year and take at least a quarter, most rules trade once a month.

In a market with 252 trading days a year they are 252, 63, 21 and 5 sessions, whatever the length of a bar.
"""
PART_HELD = 1 / 3
"""Share of the assets that rules hold which choose the best."""
_LIVE_DAYS = 7
"""Calendar days without a bar, as over a weekend with holidays, after which an asset no longer counts as traded."""


def total_returns(market: Market) -> Float[np.ndarray, "T A"]:
    """Return `[T, A]` returns from close to close with splits and dividends, known at close t.

    NaN where an asset does not trade or has no earlier close; after a gap the return is that over the gap. A path
    begins with NaN.
    """
    close = np.asarray(market.close, np.float64)
    split, dividend = events(market)
    before = np.concatenate([np.zeros((1, close.shape[1])), close[:-1]])
    follows = np.concatenate([[False], np.diff(np.asarray(market.path_end)) == 0])
    known = np.asarray(market.tradable) & (before > 0) & follows[:, None]
    grown = split * (close + dividend) / np.where(before > 0, before, 1.0) - 1
    return np.where(known, grown, np.nan)


def events(market: Market) -> tuple[np.ndarray, np.ndarray]:
    """Return `[T, A]` splits and dividends, 1 and 0 where there are none."""
    shape = market.close.shape
    split = np.ones(shape) if market.split is None else np.asarray(market.split, np.float64)
    dividend = np.zeros(shape) if market.dividend is None else np.asarray(market.dividend, np.float64)
    return split, dividend


@dataclasses.dataclass(frozen=True)
class Past:
    """What rules estimate from: returns by session, of sessions that are over at the close of a row.

    Attributes:
        returns: `[sessions, A]` returns of whole sessions, NaN where an asset has none.
        number: `[T]` how many sessions are over at the close of each row.
        calendar: how many sessions make a month.
    """

    returns: Float[np.ndarray, "sessions A"]
    number: Int[np.ndarray, " T"]
    calendar: Calendar

    @classmethod
    def of(cls, market: Market) -> "Past":
        returns, session = total_returns(market), session_numbers(market)
        if not market.calendar.is_intraday:
            return cls(returns, np.arange(1, len(returns) + 1), market.calendar)
        # A bar can be the last of its session without anybody knowing it: only sessions before the bar's own are over.
        known = np.isfinite(returns)
        total, bars = np.zeros((2, session[-1] + 1, returns.shape[1]))
        np.add.at(total, session, np.log1p(np.where(known, returns, 0.0)))
        np.add.at(bars, session, known)
        return cls(np.where(bars > 0, np.expm1(total), np.nan), session, market.calendar)

    def spans(self, *shares_of_year: float) -> tuple[int, ...]:
        """Return spans in sessions, at least 2 where a deviation needs them."""
        return tuple(max(self.calendar.sessions_in(share), 1 + (share >= QUARTER)) for share in shares_of_year)

    def window(self, row: int, sessions: int, skipped: int = 0) -> np.ndarray:
        """Return the returns of the last sessions that are over at the close of a row, without the newest ones."""
        stop = self.number[row]
        return self.returns[max(stop - sessions, 0) : max(stop - skipped, 0)]


def session_numbers(market: Market) -> np.ndarray:
    """Return `[T]` the number of each bar's session, from 0."""
    return np.cumsum(np.diff(np.asarray(market.sessions), prepend=np.asarray(market.sessions)[:1]) != 0)


def rebalance(
    market: Market, first: int, share_of_year: float, weights: Callable[[int, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return targets with `weights(row, assets that trade)` at the first bar of every so many sessions, else NaN.

    An asset that trades but has no bar at such a row gets its target at its next one.
    """
    every = market.calendar.sessions_in(share_of_year)
    session = session_numbers(market)[first:]
    starts = np.flatnonzero((np.diff(session, prepend=-1) != 0) & ((session - session[0]) % every == 0))
    targets = np.full((market.num_bars - first, market.num_assets), np.nan)
    for row in starts.tolist():
        live = live_assets(market, first + row)
        allowed = live & may_buy(market, first + row)
        targets[row] = np.where(live, np.where(allowed, weights(first + row, allowed), 0.0), np.nan)
    return at_own_bars(targets, np.asarray(market.tradable)[first:], starts)


def live_assets(market: Market, row: int) -> Bool[np.ndarray, " A"]:
    """Return `[A]` bool, the assets that had a tradable bar at a row or in the week before it.

    In the first week of the data, when nobody can look back, those that have one in that week.
    """
    sessions = np.asarray(market.sessions)
    begin, stop = np.searchsorted(sessions, [sessions[row] - _LIVE_DAYS, sessions[0] + _LIVE_DAYS])
    tradable = np.asarray(market.tradable)
    end = row + 1 if sessions[row] - _LIVE_DAYS >= sessions[0] else max(row + 1, int(stop))
    live = tradable[begin:end].any(axis=0)
    if market.delisted is not None:
        live = live & ~np.asarray(market.delisted)[begin : row + 1].any(axis=0)
    return np.asarray(live)


def may_buy(market: Market, row: int) -> np.ndarray:
    """Return `[A]` bool, the assets that belong to the universe at a row."""
    return np.ones(market.num_assets, bool) if market.buyable is None else np.asarray(market.buyable[row])


def at_own_bars(targets: np.ndarray, tradable: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return targets moved from rows in which an asset has no bar to its next own bar before the next rebalancing."""
    for begin, end in zip(starts, [*starts[1:], len(targets)], strict=True):
        late = np.flatnonzero(~np.isnan(targets[begin]) & ~tradable[begin])
        for asset in late:
            own = np.flatnonzero(tradable[begin:end, asset])
            if own.size:
                targets[begin + own[0], asset] = targets[begin, asset]
            targets[begin, asset] = np.nan
    return targets


def growth(window: np.ndarray) -> np.ndarray:
    """Return `[A]` log returns over a window, those that are not known as 0."""
    return np.log1p(np.nan_to_num(window)).sum(axis=0)


def has_history(window: np.ndarray, least: int) -> np.ndarray:
    """Return `[A]` bool, the assets with at least so many known returns in a window."""
    return np.isfinite(window).sum(axis=0) >= least


def equal_parts(tradable: np.ndarray) -> np.ndarray:
    """Return `[A]` equal weights of the assets given, 0 for the others."""
    return tradable / max(tradable.sum(), 1)
