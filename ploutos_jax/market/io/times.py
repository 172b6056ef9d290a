"""Times of a file's rows: what is a date, whether the file is intraday, and which session each bar belongs to."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ploutos_jax.market.calendar import YEAR_DAYS, Calendar, find_calendar, is_open_around_the_clock, runs_all_week
from ploutos_jax.market.io.align import Table, name_few
from ploutos_jax.market.io.columns import Source, find_first
from ploutos_jax.market.io.dates import FIRST_YEAR, LAST_YEAR, parse_texts

DEFAULT_ZONE = "America/New_York"
_ROLL_HOURS = 7
"""A market that is open around the clock on weekdays begins its next trading day at 17:00 in New York."""


@dataclass(frozen=True)
class Exchange:
    """Where a file's bars were traded, as far as the user says.

    Attributes:
        zone: time zone whose date is the session of an intraday bar; None to find it from the bars.
        code: name of an exchange in the library exchange_calendars, such as XNYS; None where it is not known.
    """

    zone: ZoneInfo | None = None
    code: str | None = None

    @classmethod
    def find(cls, exchange_timezone: str | None, code: str | None) -> "Exchange":
        """Return the exchange of two settings.

        Raises:
            ValueError: if one is unknown, or the library that knows exchanges is not installed.
        """
        zone = None if exchange_timezone is None else find_zone(exchange_timezone)
        if code is not None and zone is None:
            zone = ZoneInfo(str(_library_calendar(code, None, None).tz))
        return cls(zone, code)

    @property
    def known_zone(self) -> ZoneInfo:
        """The zone, or the one that is assumed."""
        return self.zone or ZoneInfo(DEFAULT_ZONE)


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name; an unknown name is a ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"exchange_timezone={name!r} is no IANA time zone, such as 'America/New_York'.") from None


def parse_times(
    column: pd.Series, owners: np.ndarray, source: Source, exchange: Exchange, form: str | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the times of a file's rows: midnight of the date for daily bars, UTC for intraday ones.

    A file is intraday if most of its dates hold several bars of one ticker, and daily otherwise, whatever the stamps
    of its rows: a clock time in a daily file (of the close, or of a day that is not over) stands for its date.

    Args:
        column: `[entries]` texts, dates or moments.
        owners: `[entries]` a number for the ticker of each row.
        source: the file, for messages.
        exchange: whose midnight starts a day.
        form: of texts, as `strptime` takes it; found without it.

    Returns:
        `[dates]` datetime64[ns] in any order, the place of each row in them, and notes on stamps that were read as
        dates and on counts of seconds.

    Raises:
        ValueError: naming the first row that holds no date.
    """
    codes, values = pd.factorize(column)
    zoned, notes = True, []
    if isinstance(values, pd.DatetimeIndex):
        wall = values.tz_localize(None)
        utc = wall if values.tz is None else values.tz_convert("UTC").tz_localize(None)
        zoned = values.tz is not None
    else:
        utc, wall, notes = parse_texts([str(value).strip() for value in values], source, column.name, form)
        zoned = bool((utc != wall).any())
    known = (utc.year >= FIRST_YEAR) & (utc.year <= LAST_YEAR)
    bad = ~np.append(known, False)[codes]
    if bad.any():
        form = "" if form is None else f" of the form {form}"
        raise ValueError(
            f"{find_first(column, bad, source)} is not a date{form} from {FIRST_YEAR} to {LAST_YEAR}; write dates as"
            " YYYY-MM-DD or YYYY-MM-DD HH:MM:SS, or say how they are written:"
            f" {source.say('date_format=%d.%m.%Y')}."
        )
    local = utc.tz_localize("UTC").tz_convert(exchange.known_zone).tz_localize(None)
    # Midnight in the file's own zone, or in that of the exchange, is the stamp of a daily bar.
    clock = max((wall, local), key=lambda one: float((one == one.normalize()).mean()))
    is_midnight = np.asarray(clock == clock.normalize())
    if is_midnight.all():
        return clock.to_numpy("datetime64[ns]"), codes, notes
    if _is_intraday(clock, codes, owners):
        return utc.to_numpy("datetime64[ns]"), codes, notes
    if not is_midnight.any():
        clock = local if zoned else wall
    times = clock.normalize().to_numpy("datetime64[ns]")
    return times, codes, [*notes, _note_on_stamps(clock, is_midnight)]


def _is_intraday(clock: pd.DatetimeIndex, codes: np.ndarray, owners: np.ndarray) -> bool:
    """Return whether the typical date of a ticker holds more than one bar."""
    dates = clock.normalize().to_numpy("datetime64[D]").astype(np.int64)[codes]
    # As one number each: rows of a table are sorted a hundred times slower.
    pairs = owners * (dates.max() - dates.min() + 1) + dates - dates.min()
    _, counts = np.unique(pairs, return_counts=True)
    return bool(np.median(counts) > 1)


def _note_on_stamps(clock: pd.DatetimeIndex, is_midnight: np.ndarray) -> str:
    odd = clock[~is_midnight]
    if is_midnight.any():
        return (
            f"{len(odd):,} of {len(clock):,} dates of this daily file carry a time of day (first: {odd[0]}) and stand"
            " for their date; such a row may hold a day that was not over."
        )
    return f"daily bars are stamped with a time of day (first: {odd[0]}); each stands for its date."


def lay_out_sessions(
    tables: Sequence[Table], times: np.ndarray, exchange: Exchange, periods_per_year: float | None
) -> tuple[np.ndarray, Calendar, list[str]]:
    """Return `[T]` int32 session of each bar as days since 1970-01-01, the calendar of the file, and notes.

    The session of a daily bar is its date. That of an intraday bar is its date in the zone of the exchange, if that is
    known. Without one, a market with bars on both days of the weekend counts days in UTC, one open around the clock on
    weekdays from 17:00 to 17:00 in New York, any other by the date in New York.

    Args:
        tables: what was read; daily and intraday files do not mix.
        times: `[T]` datetime64[ns] ascending union of their times.
        exchange: as far as it is known.
        periods_per_year: overrides the count found.
    """
    daily = {table.name: bool((table.times == table.times.astype("datetime64[D]")).all()) for table in tables}
    notes: list[str] = []
    if all(daily.values()):
        sessions = times.astype("datetime64[D]").astype(np.int32)
    elif any(daily.values()):
        apart = [name_few([name for name, is_daily in daily.items() if is_daily is kind]) for kind in (True, False)]
        raise ValueError(f"Daily bars ({apart[0]}) and intraday bars ({apart[1]}) do not mix; load them apart.")
    else:
        sessions, notes = _intraday_sessions(times, exchange)
    found = find_calendar(times, sessions, periods_per_year)
    if exchange.code is not None and periods_per_year is None and found.period == "day":
        a_year = _sessions_per_year(exchange.code, sessions)
        found = find_calendar(times, sessions, a_year)
    return sessions, found, notes


def _intraday_sessions(times: np.ndarray, exchange: Exchange) -> tuple[np.ndarray, list[str]]:
    if exchange.code is not None:
        return _sessions_of_exchange(times, exchange.code), []
    if exchange.zone is not None:
        return _local_days(times, exchange.zone), []
    if runs_all_week(np.unique(times.astype("datetime64[D]").astype(np.int64))):
        note = "bars lie on every day of the week: sessions are days in UTC; --exchange-timezone overrides that."
        return times.astype("datetime64[D]").astype(np.int32), [note]
    zone = ZoneInfo(DEFAULT_ZONE)
    if is_open_around_the_clock(times):
        note = (
            "bars lie around the clock on weekdays: sessions run from 17:00 to 17:00 in New York;"
            " --exchange-timezone overrides that."
        )
        return _local_days(times, zone, hours=_ROLL_HOURS), [note]
    sessions = _local_days(times, zone)
    crossing = _share_of_sessions_cut(times, sessions)
    if crossing < 0.5:
        return sessions, []
    note = (
        f"{crossing:.0%} of the sessions run over midnight in {DEFAULT_ZONE}, whose date is taken for the trading day:"
        " if this is another exchange, give its zone, such as --exchange-timezone Australia/Sydney."
    )
    return sessions, [note]


def _local_days(times: np.ndarray, zone: ZoneInfo, hours: int = 0) -> np.ndarray:
    local = pd.DatetimeIndex(times, tz="UTC").tz_convert(zone).tz_localize(None)
    return (local + pd.Timedelta(hours=hours)).to_numpy("datetime64[D]").astype(np.int32)


def _share_of_sessions_cut(times: np.ndarray, sessions: np.ndarray) -> float:
    """Return the share of changes of session that no pause of two hours goes with."""
    change = np.flatnonzero(np.diff(sessions))
    if change.size == 0:
        return 0.0
    return float((np.diff(times)[change] < np.timedelta64(2, "h")).mean())


def _library_calendar(code: str, first: Any, last: Any) -> Any:
    try:
        import exchange_calendars
        from exchange_calendars.errors import InvalidCalendarName
    except ImportError:
        raise ValueError(
            f"exchange={code!r} needs the library exchange_calendars: pip install 'ploutos_jax[calendars]'."
        ) from None
    try:
        # What the library does with pandas is between the two.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return exchange_calendars.get_calendar(code, start=first, end=last)
    except InvalidCalendarName:
        few = ", ".join(sorted(exchange_calendars.get_calendar_names(include_aliases=False))[:8])
        raise ValueError(f"exchange={code!r} is unknown to exchange_calendars, which knows {few} and others.") from None


def _schedule(code: str, times: np.ndarray) -> pd.DataFrame:
    """Return open and close in UTC by session, from two weeks before the first bar to two weeks after the last."""
    first, last = pd.DatetimeIndex(times[[0, -1]]).normalize()
    around = pd.Timedelta(days=14)
    try:
        known = _library_calendar(code, first - around, last + around)
    except ValueError as error:
        if str(error).startswith("exchange="):
            raise
        raise ValueError(f"exchange={code!r} does not cover the bars of {first:%Y-%m-%d} to {last:%Y-%m-%d}.") from None
    return known.schedule


def _sessions_of_exchange(times: np.ndarray, code: str) -> np.ndarray:
    """Return the session of each bar: the one whose trading runs over midnight, else the local date."""
    schedule = _schedule(code, times)
    names = schedule.index.to_numpy("datetime64[D]").astype(np.int32)
    opens, closes = (
        schedule[name].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[ns]")
        for name in ("open", "close")
    )
    zone = ZoneInfo(str(_library_calendar(code, None, None).tz))
    starts_before = _local_days(opens, zone) < names
    if not starts_before.mean() > 0.5:
        return _local_days(times, zone)
    # Trading of the next session may begin the evening before: a bar belongs to the first session not over yet.
    place = np.searchsorted(closes, times, side="right")
    return names[np.minimum(place, len(names) - 1)]


def _sessions_per_year(code: str, sessions: np.ndarray) -> float:
    """Return the sessions in a year of an exchange, over the whole years around the bars."""
    first, last = (np.datetime64(int(day), "D").astype("datetime64[Y]") for day in (sessions[0], sessions[-1]))
    known = _library_calendar(code, f"{first}-01-01", f"{last}-12-31")
    span = (pd.Timestamp(f"{last}-12-31") - pd.Timestamp(f"{first}-01-01")).days + 1
    return round(len(known.sessions) / span * YEAR_DAYS, 2)
