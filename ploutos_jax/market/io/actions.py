"""Splits, dividends and capital gains of files, held against the prices: are they in them already, or upside down?

Every event is judged by bars up to its own, so that no later row changes what an earlier one holds. What the prices
cannot tell is kept as the file says. Nothing is changed or doubted without a note that names the rows.

Letters: T bars, A assets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

CLEAR_EVENT = 0.2
"""Smaller events (as |ln ratio| of the price) drown in a day's change and cannot tell adjusted prices from raw ones."""

RAW, ADJUSTED, INVERTED = "raw", "adjusted", "inverted"

_RATIOS = np.array(
    [1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 20, 25, 30, 40, 50, 60, 75, 80, 100, 150, 200, 500, 1000]
)
_NEAR = 0.05
"""How far the logarithm of a price jump may lie from that of a split's ratio."""
_CALM = 8.0
"""Multiples of an asset's usual change that a jump must exceed to look like a split."""
_LATE = 15
"""Bars after a split's day within which the price may still show it."""
_RECENT = 20
"""Bars before a jump whose changes count as usual too: what stands out in a calm decade need not in a crisis."""
_AROUND = 5
"""Bars before and after a jump whose medians must tell of it too: a single bad price does not stay."""


@dataclass
class Actions:
    """What files list, as laid out on the grid, and what was found of it; changed in place.

    Attributes:
        split: `[T, A]` new shares per old share, 1 for none.
        dividend: `[T, A]` cash per share, 0 for none.
        open, close: `[T, A]` prices, NaN where there is no bar.
        adj_close: `[T, A]` the file's adjusted close, NaN where it has none.
        owner: `[T, A]` the number of the file that each row is from, -1 where there is none.
        adjusted: `[A]` bool, tickers with prices that are not those traded.
        ignored: `[T, A]` bool, splits that the prices hold already.
        inverted: `[T, A]` bool, splits that were listed upside down.
        moved: `[T, A]` bool, splits that were listed some bars before the price shows them.
        paid_in_price: `[T, A]` bool, dividends that the prices hold already, which are dropped.
        doubted: `[A]` bool, tickers whose dividends are in their prices, as far as all of them together tell.
    """

    split: np.ndarray
    dividend: np.ndarray
    open: np.ndarray
    close: np.ndarray
    adj_close: np.ndarray
    owner: np.ndarray
    adjusted: np.ndarray
    ignored: np.ndarray = field(init=False)
    inverted: np.ndarray = field(init=False)
    moved: np.ndarray = field(init=False)
    paid_in_price: np.ndarray = field(init=False)
    doubted: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.ignored, self.inverted, self.moved, self.paid_in_price = np.zeros((4, *self.close.shape), bool)
        self.doubted = np.zeros(self.close.shape[1], bool)
        self.before = rows_before(self.close)

    def settle(self) -> None:
        """Judge splits, then dividends."""
        self._settle_splits()
        if self.dividend.any():
            self._settle_dividends()

    def find_unlisted_splits(self) -> list[tuple[int, int, float]]:
        """Return (bar, asset, price ratio) of the jumps that look like a split which no column tells, by date."""
        old = _take(self.close, self.before)
        with np.errstate(invalid="ignore", divide="ignore"):
            paid = self.dividend * self.split
            jumps = [np.log((price * self.split + paid) / old) for price in (self.open, self.close)]
        usual = _usual_change(jumps[1])
        large = np.log(_RATIOS[0]) - _NEAR
        maybe = (np.abs(jumps[0]) > large) | (np.abs(jumps[1]) > large)
        return [
            (int(t), int(a), ratio)
            for t, a in np.argwhere(maybe)
            if (ratio := self._looks_like_split(int(t), int(a), [float(x[t, a]) for x in jumps], float(usual[a])))
        ]

    def _looks_like_split(self, t: int, a: int, jumps: Sequence[float], usual: float) -> float:
        """Return the ratio of prices of the split that a jump looks like, or 0."""
        own = np.flatnonzero(np.isfinite(self.close[:, a]))
        place = int(np.searchsorted(own, t))
        around = own[max(place - _AROUND, 0) : place], own[place : place + _AROUND]
        month = own[max(place - _RECENT - 1, 0) : place]
        if len(month) > 2:
            usual = max(usual, 1.4826 * float(np.median(np.abs(np.diff(np.log(self.close[month, a]))))))
        stays = np.log(np.median(self.close[around[1], a] * self.split[t, a]) / np.median(self.close[around[0], a]))
        for jump in jumps:
            steps = np.sign(jump) * np.log(_RATIOS)
            nearest = steps[np.argmin(np.abs(steps - jump))]
            # Three for two is also what a bad day looks like, and two for three what nobody does.
            near = _NEAR if abs(nearest) > np.log(1.6) else _NEAR / 2 if nearest < 0 else 0.0
            if abs(jump - nearest) < near and abs(jump) > _CALM * usual and abs(stays - nearest) < 0.15:
                return float(np.exp(nearest))
        return 0.0

    def _settle_splits(self) -> None:
        last: dict[int, str] = {}
        votes: dict[int, dict[str, int]] = {}
        for t, a in np.argwhere(self.split != 1).tolist():
            ratio, file, own = self.split[t, a], int(self.owner[t, a]), self.before[t, a]
            counts = votes.setdefault(file, {RAW: 0, ADJUSTED: 0, INVERTED: 0})
            known = np.isfinite(self.close[t, a]) and own >= 0 and ratio > 0
            if known and abs(np.log(ratio)) > CLEAR_EVENT:
                # What is paid on the same day lowers the price too: a spin-off with a reverse split, say.
                fall = -np.log((self.close[t, a] + self.dividend[t, a]) / self.close[own, a]) / np.log(ratio)
                verdict = RAW if fall > 0.5 else INVERTED if fall < -0.5 else ADJUSTED
                last[a] = verdict
                counts[verdict] += 1
            else:
                verdict = last.get(a, max(counts, key=lambda name: counts[name]))
            if verdict == ADJUSTED:
                self.split[t, a] = 1.0
                if (later := self._jump_after(t, a, ratio)) is not None:
                    self.split[later, a], self.moved[later, a] = ratio, True
                else:
                    self.ignored[t, a], self.adjusted[a] = True, True
            elif verdict == INVERTED and ratio > 0:
                self.inverted[t, a], self.split[t, a] = True, 1 / ratio

    def _jump_after(self, t: int, a: int, ratio: float) -> int | None:
        """Return the row, a few bars after a split's day, on which the price does what the split says; None without.

        Of a split of another day, each row knows no more than the listing and its own price.
        """
        if abs(np.log(ratio)) <= CLEAR_EVENT:
            return None
        own = t + 1 + np.flatnonzero(np.isfinite(self.close[t + 1 :, a]))[:_LATE]
        for row in own.tolist():
            if self.split[row, a] != 1:
                return None
            old = self.close[self.before[row, a], a]
            if min(abs(np.log(price[row, a] / old * ratio)) for price in (self.open, self.close)) < _NEAR:
                return row
        return None

    def _settle_dividends(self) -> None:
        old = _take(self.close, self.before) / self.split
        known = (self.dividend > 0) & np.isfinite(self.close) & (old > 0)
        share = np.where(known, self.dividend / np.where(known, old, 1.0), 0.0)
        known &= share < 0.95
        with np.errstate(invalid="ignore", divide="ignore"):
            fall = -np.log(self.close / old)
            expected = -np.log1p(-np.where(known, share, 0.0))
            held = self.adj_close / self.close
            grown = np.log(held / _take(held, self.before))
        # A price that rose tells of something else on that day, which the dividend may belong to.
        in_price = known & (expected > CLEAR_EVENT) & (np.abs(fall) < expected / 4)
        # Where the file's own adjusted close knows of the dividend, the close beside it is as traded. Where it knows of
        # none, either both closes are adjusted or neither is, so less of the prices' word is needed.
        told = known & np.isfinite(grown) & (share > 1e-4)
        alike = told & (np.abs(grown - np.log(self.split)) < expected / 8)
        leans = alike.any(axis=0) & (alike == told).all(axis=0)
        self.paid_in_price = in_price
        self.dividend[in_price] = 0.0
        self.adjusted |= in_price.any(axis=0)
        self.doubted = self._doubt(known & ~in_price & ~(told & (grown > expected / 2)), expected, leans)
        self.adjusted |= self.doubted

    def _doubt(self, known: np.ndarray, expected: np.ndarray, leans: np.ndarray) -> np.ndarray:
        """Return `[A]` bool, where prices fall by less than half of the dividends, by more than chance.

        The slope of returns on the falls expected is near 1 for raw prices and near 0 for adjusted ones; overnight
        returns, which are calmer, are taken where opens are prices of their own.
        """
        old = _take(self.close, self.before) / self.split
        with np.errstate(invalid="ignore", divide="ignore"):
            whole, night = np.log(self.close / old), np.log(self.open / old)
        day, calm = _usual_change(whole), _usual_change(night)
        takes_night = calm > 0.2 * day
        moved, usual = np.where(takes_night, night, whole), np.where(takes_night, calm, day)
        usual = np.maximum(usual, 1e-6)
        fall = -np.where(known, np.clip(np.nan_to_num(moved), -4 * usual, 4 * usual), 0.0)
        weight = np.where(known, expected, 0.0)
        squares, tested = (weight**2).sum(axis=0), known.sum(axis=0) >= 4
        slope = np.where(squares > 0, (fall * weight).sum(axis=0) / np.where(squares > 0, squares, 1.0), 1.0)
        error = usual / np.sqrt(np.where(squares > 0, squares, 1.0))
        limit = max(2.5, NormalDist().inv_cdf(1 - 0.01 / max(int(tested.sum()), 1))) * np.where(leans, 0.4, 1.0)
        return tested & (slope < 0.5) & (1 - slope > limit * error)


def paid_per_share(dividend: np.ndarray, gain: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """Return what a fund pays per share, from a dividend that may include the capital gain listed beside it.

    It includes the gain if it is as large at least, and the price fell by an amount nearer to the dividend alone than
    to both together.

    Args:
        dividend, gain: dollars per share as listed, 0 for none; any shape.
        fall: close before less close, in shares of the same day; NaN where it is not known, which counts as included.
    """
    both = dividend + gain
    is_nearer = ~(np.abs(fall - both) <= np.abs(fall - dividend))
    return np.where((gain > 0) & (gain <= dividend * (1 + 1e-9)) & is_nearer, dividend, both)


def rows_before(close: np.ndarray) -> np.ndarray:
    """Return `[T, A]` the row of the last bar before each row, -1 where there is none."""
    bars = np.where(np.isfinite(close), np.arange(len(close))[:, None], -1)
    return np.maximum.accumulate(np.vstack([np.full_like(bars[:1], -1), bars[:-1]]), axis=0)


def _take(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return `[T, A]` values of the rows given, NaN for row -1."""
    return np.where(rows >= 0, np.take_along_axis(values, np.maximum(rows, 0), axis=0), np.nan)


def _usual_change(logs: np.ndarray) -> np.ndarray:
    """Return `[A]` the usual size of changes `[T, A]`: a deviation that single jumps do not move; 0 where unknown."""
    usual = np.zeros(logs.shape[1])
    for column in range(logs.shape[1]):
        own = logs[:, column][np.isfinite(logs[:, column])]
        usual[column] = 1.4826 * np.median(np.abs(own - np.median(own))) if own.size else 0.0
    return usual
