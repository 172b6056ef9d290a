"""Texts and numbers of a file to moments: ISO dates, days and months in either order, counts of seconds."""

import re
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ploutos_jax.market.io.columns import Source
from ploutos_jax.market.io.guess import CLOCK

FIRST_YEAR, LAST_YEAR = 1800, 2090
"""Both ends of a file must fit into 64 bits of nanoseconds, which hold 292 years."""

Moments = tuple[pd.DatetimeIndex, pd.DatetimeIndex, list[str]]
"""UTC, the wall clock as written (NaT where there is no date), and notes."""

_EPOCHS = (
    ("milliseconds", "ms", 11, 13),
    ("microseconds", "us", 14, 16),
    ("nanoseconds", "ns", 17, 19),
)
_DAYS = ("%m/%d/%Y", "%d/%m/%Y")
_WEEKDAY = re.compile(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? (?=\d|[A-Z])")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_MONTHS = ("%d-%b-%Y", "%d-%b-%y", "%b-%d-%Y", "%b-%d-%y", "%d-%B-%Y", "%B-%d-%Y", "%Y-%b-%d")


def parse_texts(texts: Sequence[str], source: Source, column: Any, form: str | None = None) -> Moments:
    """Return texts as moments.

    Args:
        texts: as the file has them.
        source: the file, for messages.
        column: its name.
        form: of the dates, as `strptime` takes it, if the user says.

    Raises:
        ValueError: if the day may be the month, or a zone is unknown.
    """
    texts = [" ".join(text.split()) for text in texts]
    if form is not None:
        given = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
        # A zone in the form moves the clock; without one both are the same.
        utc = given.tz_localize(None)
        return utc, utc, []
    texts = [_WEEKDAY.sub("", re.sub(r"^(\d+)\.0$", r"\1", text)) for text in texts]
    counts = _parse_counts(texts, column)
    if counts is not None:
        return counts
    texts, zone = _take_zone(texts, source, column)
    utc, wall = _parse_words(texts, source, column)
    if zone is None:
        return utc, wall, []
    moved = wall.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC").tz_localize(None)
    return moved, wall, []


def join_clock(dates: pd.Series, clock: pd.Series) -> pd.Series | None:
    """Return dates with the clock times of another column, or None where that holds no clock times, or dates have one.

    Args:
        dates: texts or days.
        clock: texts such as 09:30, 093000 or 930, or times of day.
    """
    days = dates.astype(object).map(lambda value: str(value).removesuffix(" 00:00:00").strip())
    times = clock.astype(object).map(lambda value: str(value).strip().removesuffix(".0"))
    numbers = times.str.fullmatch(r"\d{1,6}")
    if bool(numbers.all()):
        # 930 is half past nine, 93000 too: with seconds where any number has more than four digits.
        width = 6 if bool((times.str.len() > 4).any()) else 4
        times = times.str.zfill(width).str.replace(r"(\d\d)(?=\d)", r"\1:", regex=True)
    if not bool(times.str.fullmatch(CLOCK).all()) or bool(days.str.contains(":", regex=False).any()):
        return None
    joined = days + " " + times.map(_clock_of_day)
    joined.name = dates.name
    return joined


def _clock_of_day(text: str) -> str:
    """Return a clock time with two digits of hours, of which there are 24: 9:30 PM is 21:30."""
    hours, _, rest = text.partition(":")
    half = rest[-2:].upper()
    if half not in ("AM", "PM"):
        return f"{hours:>02}:{rest}"
    return f"{int(hours) % 12 + 12 * (half == 'PM'):02d}:{rest[:-2].strip()}"


def _parse_counts(texts: Sequence[str], column: Any) -> Moments | None:
    """Return counts since 1970, or digits such as 202401020930, as moments; None where there is something else."""
    if texts and all(re.fullmatch(r"\d{9,10}\.\d{1,9}|\d{9,10}", text) for text in texts):
        parts = [text.partition(".") for text in texts]
        nanoseconds = [int(seconds) * 10**9 + int(f"{rest:0<9}") for seconds, _, rest in parts]
        moments = pd.DatetimeIndex(np.array(nanoseconds, np.int64).astype("datetime64[ns]"))
        return moments, moments, [f"column {column!r} is read as seconds since 1970-01-01 (UTC)."]
    if not texts or not all(re.fullmatch(r"\d{9,19}", text) for text in texts):
        return None
    lengths = {len(text) for text in texts}
    if lengths in ({12}, {14}):
        form = "%Y%m%d%H%M" if lengths == {12} else "%Y%m%d%H%M%S"
        digits = pd.to_datetime(list(texts), format=form, errors="coerce")
        if bool(((digits.year >= FIRST_YEAR) & (digits.year <= LAST_YEAR)).all()):
            return digits, digits, []
    for name, unit, shortest, longest in _EPOCHS:
        if shortest <= min(lengths) and max(lengths) <= longest:
            counted = np.array([int(text) for text in texts], np.int64).astype(f"datetime64[{unit}]")
            moments = pd.DatetimeIndex(counted.astype("datetime64[ns]"))
            return moments, moments, [f"column {column!r} is read as {name} since 1970-01-01 (UTC)."]
    return None


def _take_zone(texts: Sequence[str], source: Source, column: Any) -> tuple[Sequence[str], ZoneInfo | None]:
    """Return the texts without a zone by name behind all of them, and that zone: 20240102 09:30:00 US/Eastern."""
    found = [re.fullmatch(r"(.*\d) ([A-Za-z]+/[A-Za-z_/]+|UTC|GMT)", text) for text in texts]
    if not texts or not all(found):
        return texts, None
    zones = {match[2] for match in found if match}
    if len(zones) > 1:
        raise ValueError(f"{source.name}, column {column!r}: times have {len(zones)} zones; write all in UTC.")
    try:
        return [match[1] for match in found if match], ZoneInfo(zones.pop())
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{source.name}, column {column!r}: {texts[0]!r} names a time zone that is unknown; write times in UTC."
        ) from None


def _parse_words(texts: Sequence[str], source: Source, column: Any) -> tuple[pd.DatetimeIndex, pd.DatetimeIndex]:
    """Return dates without a named zone as UTC and as the wall clock written."""
    # pandas takes "today" and "now" for dates.
    texts = [text if text[:1].isdigit() or re.match(r"[A-Za-z]{3,9}\.?[ -]\d", text) else "" for text in texts]
    utc = _to_datetime(texts, "ISO8601")
    if not utc.isna().any():
        walls = [re.sub(r"(?<=:\d\d)(\.\d+)? ?(Z|[+-]\d\d(:?\d\d)?)$", r"\1", text) for text in texts]
        return utc, _to_datetime(walls, "ISO8601")
    written = texts[0] if texts else ""
    between = found[1] if (found := re.match(r"\d\d?([./-])", written)) else "/"
    texts = [re.sub(r"^(\d\d?)[./-](\d\d?)[./-](\d{4})", r"\1/\2/\3", text) for text in texts]
    readings, clock = [], ""
    for clock in _CLOCKS:
        readings = [times for day in _DAYS if not (times := _to_datetime(texts, day + clock)).isna().any()]
        if readings:
            break
    if len(readings) > 1 and (readings[0] != readings[1]).any():
        month, day = (form.replace("/", between) + clock for form in _DAYS)
        raise ValueError(
            f"{source.name}, column {column!r}: dates such as {written!r} may start with the day or the month; write"
            f" dates as YYYY-MM-DD, or say which: {source.say(f'date_format={month}')}, or date_format={day}."
        )
    if not readings:
        named = [
            re.sub(r"^(\d\d?|[A-Za-z]{3,9})\.?[ /-](\d\d?|[A-Za-z]{3,9})\.?,?[ /-](\d\d(\d\d)?)\b", r"\1-\2-\3", text)
            for text in texts
        ]
        tried = (_to_datetime(named, day + clock) for day in _MONTHS for clock in _CLOCKS)
        readings = [times for times in tried if not times.isna().any()][:1]
    return (readings[0], readings[0]) if readings else (utc, utc)


def _to_datetime(texts: Sequence[str], form: str) -> pd.DatetimeIndex:
    return pd.to_datetime(list(texts), format=form, utc=True, errors="coerce").tz_localize(None)
