"""Calendar: how long a market's bars are, which of them make a session, how many returns make a year.

Everything that annualises, and every rule that means a month, reads this one fact. It is found from the times of the
bars themselves; a known exchange or a setting overrides what was found.
"""

import dataclasses
from typing import Literal

import numpy as np

YEAR_DAYS = 365.25
TRADING_DAYS = 252.0
"""Trading days by which markets with a weekend are annualised, by convention."""

Period = Literal["day", "week", "month", "quarter", "year", "period"]
"""What one return of a ledger, compounded to sessions, spans."""

_SPACINGS: tuple[tuple[float, float, Period, float], ...] = (
    (4.0, 10.0, "week", YEAR_DAYS / 7),
    (26.0, 33.0, "month", 12.0),
    (80.0, 100.0, "quarter", 4.0),
    (350.0, 380.0, "year", 1.0),
)
"""Median days between bars (from, below), what that is called, and how many make a year."""

_NEXT_LENGTH = 1.4
_WEEKEND_DAYS = 6
"""Days that a span must reach over to hold a weekend, whatever day it begins on."""

_LEAST_SHARE = 0.5
"""Share of a span's Saturdays, say, that must be sessions for Saturdays to be trading days."""


@dataclasses.dataclass(frozen=True)
class Calendar:
    """One fact carried from the panel to the ledger.

    Attributes:
        periods_per_year: P, the returns in a year. Returns are compounded to one per session before they are
            annualised, so this is sessions in a year; for bars longer than a day it is bars in a year.
        bars_per_session: bars in a full session, 1 for daily and longer bars; None where it is not known.
        days_per_year: trading days in a year of this market, by which a span given in trading days is converted.
        period: what one session's return spans; `day` unless bars are longer.
    """

    periods_per_year: float = TRADING_DAYS
    bars_per_session: float | None = None
    days_per_year: float = TRADING_DAYS
    period: Period = "day"

    def __post_init__(self) -> None:
        for name in ("periods_per_year", "bars_per_session", "days_per_year"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and np.isfinite(value)):
                raise ValueError(f"Calendar: {name}={value} must be above 0.")

    @property
    def bars_per_year(self) -> float:
        """Bars in a year; those of daily bars where the bars of a session are not known."""
        return self.periods_per_year * (self.bars_per_session or 1.0)

    @property
    def is_intraday(self) -> bool:
        """Whether a session holds several bars."""
        return (self.bars_per_session or 1.0) > 1

    def sessions_in(self, share_of_year: float) -> int:
        """Return how many sessions make a share of a year, at least 1: 21 for a month of 252 trading days."""
        return max(1, round(self.periods_per_year * share_of_year))

    @property
    def unit(self) -> str:
        """What one return spans, in the plural: "days", "weeks"."""
        return f"{self.period}s"

    def is_alike(self, other: "Calendar") -> bool:
        """Return whether bars of both are as long, as far as their calendars tell.

        Half days, holidays and missing prints move the bars of a session a little: those that are alike may differ by
        less than the step from one usual length of bar to the next, 10 to 15 minutes.
        """
        bars = [one.bars_per_session or 1.0 for one in (self, other)]
        return self.period == other.period and max(bars) < _NEXT_LENGTH * min(bars)

    @property
    def bar_length(self) -> str:
        """How long bars are, for people: "daily bars", "intraday bars, 24 a session"."""
        if self.is_intraday:
            return f"intraday bars, {self.bars_per_session:.6g} a session"
        return {"day": "daily", "period": "several days'"}.get(self.period, f"{self.period}ly") + " bars"

    def describe(self) -> str:
        """Return what was found, for people: "daily bars, 252 a year"."""
        a_year = f"{self.periods_per_year:.6g} {self.unit} a year"
        if self.is_intraday:
            return f"{self.bars_per_session:.6g} bars a session, {a_year}"
        return f"one bar a {self.period}, {a_year}"


def find_calendar(times: np.ndarray, sessions: np.ndarray, periods_per_year: float | None = None) -> Calendar:
    """Return the calendar that the times of bars tell of.

    Sessions on at most five days of the week make a year of `TRADING_DAYS`, by convention; sessions on all seven make
    one of `YEAR_DAYS`. Bars a week, a month, a quarter or a year apart are counted as such; any other spacing by its
    mean. With too few bars to tell, daily bars of a market with a weekend are assumed.

    Args:
        times: `[T]` datetime64[ns], ascending.
        sessions: `[T]` trading days since 1970-01-01, ascending.
        periods_per_year: overrides the count found, where it is known.
    """
    days = np.unique(np.asarray(sessions).astype(np.int64))
    found = _calendar_of_days(days)
    if len(times) > len(days):
        found = dataclasses.replace(found, bars_per_session=_bars_per_session(np.asarray(times), sessions, found))
    if periods_per_year is None:
        return found
    a_year = found.days_per_year if found.period != "day" else periods_per_year
    return dataclasses.replace(found, periods_per_year=periods_per_year, days_per_year=a_year)


def runs_all_week(days: np.ndarray) -> bool:
    """Return whether both Saturdays and Sundays are trading days among ascending days since 1970-01-01.

    A span that holds no weekend cannot tell: False.
    """
    return all(runs_on_weekends(days))


def runs_on_weekends(days: np.ndarray) -> tuple[bool, bool]:
    """Return whether Saturdays, and whether Sundays, are trading days among ascending days since 1970-01-01."""
    saturdays, sundays = _weekday_shares(np.asarray(days, np.int64))[[5, 6]] >= _LEAST_SHARE
    return bool(saturdays), bool(sundays)


def is_open_around_the_clock(times: np.ndarray) -> bool:
    """Return whether the bars of a day cover at least 22 hours of it, and a weekend is among their span.

    Args:
        times: `[T]` datetime64[ns] in UTC, ascending, at least one.
    """
    hours = (times - times.astype("datetime64[D]")) // np.timedelta64(1, "h")
    days = times.astype("datetime64[D]").astype(np.int64)
    if days[-1] - days[0] < _WEEKEND_DAYS:
        return False
    each = np.unique(np.stack([days, hours.astype(np.int64)]), axis=1)[0]
    return bool(np.median(np.unique(each, return_counts=True)[1]) >= 22)


def _calendar_of_days(days: np.ndarray) -> Calendar:
    """Return the calendar of ascending, distinct sessions `[S]`, one bar each."""
    gaps = np.diff(days)
    if gaps.size == 0:
        return Calendar(bars_per_session=1.0)
    middle = float(np.median(gaps))
    if middle <= 1:
        shares = _weekday_shares(days)
        weekly = int((shares >= _LEAST_SHARE).sum())
        a_year = TRADING_DAYS if weekly <= 5 else weekly / 7 * YEAR_DAYS
        return Calendar(a_year, 1.0, a_year)
    for low, high, period, a_year in _SPACINGS:
        if low <= middle < high:
            return Calendar(a_year, 1.0, period=period)
    # Two or three days apart there is no convention to follow: the calendar itself counts.
    return Calendar(YEAR_DAYS / float(gaps.mean()), 1.0, period="period")


def _weekday_shares(days: np.ndarray) -> np.ndarray:
    """Return `[7]`, Monday first: the share of the span's days of each weekday that are sessions; 0 for none."""
    if days.size == 0:
        return np.zeros(7)
    # 1970-01-01 was a Thursday, the weekday of number 3.
    held = np.bincount((days + 3) % 7, minlength=7)
    possible = np.bincount((np.arange(days[0], days[-1] + 1) + 3) % 7, minlength=7)
    return held / np.maximum(possible, 1)


def _bars_per_session(times: np.ndarray, sessions: np.ndarray, found: Calendar) -> float:
    counts = np.unique(np.asarray(sessions), return_counts=True)[1]
    if found.days_per_year == YEAR_DAYS:
        # A market that never closes has as many bars a day as fit; a missing print does not make the day shorter.
        step = float(np.median(np.diff(times.astype("datetime64[ns]")).astype(np.int64)))
        return 86_400e9 / step
    return float(np.median(counts))
