"""Labels: symbols, sectors, dates and calendar next to the arrays of a panel or a market, on the host."""

import contextlib
import dataclasses
from typing import Any, Literal, TypeVar

import numpy as np

from ploutos_jax.market.calendar import Calendar, find_calendar
from ploutos_jax.market.display import Shown
from ploutos_jax.market.hints import HintLaw
from ploutos_jax.market.instrument import Instrument, find_instruments

UNKNOWN_SECTOR = "Unknown"

_Labelled = TypeVar("_Labelled", bound="Labelled")
"""Not `Self`, which beartype takes only in classes that it has decorated as a whole."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names of the rows and columns of a panel; never seen by compiled code.

    Attributes:
        symbols: A ticker names, in the order of the asset axis.
        sectors: A sector names; `UNKNOWN_SECTOR` where none is known.
        times: `[T]` datetime64[ns], the bar's date (daily) or start in UTC (intraday).
        notes: what a loader repaired or left out, one sentence each.
        calendar: returns in a year, bars in a session; None to find it from the times.
        instruments: what each of the A tickers is taken for; None to find it from tickers and bars.
        adjusted: tickers whose prices are not those that were traded: adjusted for later splits or dividends.
        cut_off: bars that lay before the first one in the history that this was cut from.
        hint: of a made market with a column that tells of returns, what it tells; None of all others.
        are_places: whether a column holds another asset on each path, so that its symbol names no ticker.
        device_bars: of a market that lies in files, how many of its bars a device holds at a time; None of all others.
    """

    symbols: tuple[str, ...]
    sectors: tuple[str, ...]
    times: np.ndarray
    notes: tuple[str, ...] = ()
    calendar: Calendar | None = None
    instruments: tuple[Instrument, ...] | None = None
    adjusted: tuple[str, ...] = ()
    cut_off: int = 0
    hint: HintLaw | None = None
    are_places: bool = False
    device_bars: int | None = None

    def lying_in_files(self, device_bars: int) -> "Labels":
        """Return the labels of a market that lies in files, of which a device holds so many bars at a time."""
        return dataclasses.replace(self, device_bars=device_bars)

    def rows(self, window: slice) -> "Labels":
        hint = None if self.hint is None else self.hint.rows(window)
        return dataclasses.replace(self, times=self.times[window], cut_off=self.cut_off + window.start, hint=hint)


class Labelled(Shown):
    """Access to labels, shared by `Panel` and `Market`."""

    labels: Labels | None
    close: Any
    sessions: Any

    @property
    def symbols(self) -> tuple[str, ...]:
        """A ticker names."""
        return self._known_labels().symbols

    @property
    def sectors(self) -> tuple[str, ...]:
        """A sector names."""
        return self._known_labels().sectors

    @property
    def calendar(self) -> Calendar:
        """Returns in a year, bars in a session."""
        if self.labels is None:
            return Calendar()
        if self.labels.calendar is not None:
            return self.labels.calendar
        return find_calendar(self.times, _sessions_of(self))

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What each of the A tickers is taken for, by which the broker chooses costs that are left to it."""
        labels = self._known_labels()
        if labels.instruments is not None:
            return labels.instruments
        return find_instruments(labels.symbols, labels.times, _sessions_of(self), np.asarray(self.close))

    @property
    def times(self) -> np.ndarray:
        """`[T]` datetime64[ns] bar dates."""
        return self._known_labels().times

    @property
    def notes(self) -> tuple[str, ...]:
        """What the loader repaired or left out."""
        return self._known_labels().notes

    def _known_labels(self) -> Labels:
        if self.labels is None:
            raise ValueError(
                f"This {type(self).__name__} has no labels: JAX transformations return arrays only. Take symbols and"
                " times from the object that went in, or put them back with .replace(labels=original.labels)."
            )
        return self.labels

    def replace(self: _Labelled, **changes: Any) -> _Labelled:
        """Return a copy with some fields changed; labels stay."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]  # its users are dataclasses

    def find_rows(self, start: Any = None, end: Any = None) -> slice:
        """Return the rows of a span given by dates (both ends included) or by row numbers as in a Python slice.

        Args:
            start: first date (anything NumPy reads as a date), first row (int), or None for the first bar.
            end: last date, row after the last (int), or None for the last bar. A date without a time of day stands
                for the exchange's whole session of that date; one with a time is a moment in the time of the bars,
                UTC where they are intraday.

        Raises:
            ValueError: if the span is not a date, is the wrong way round or holds no bar.
        """
        num_bars = self.close.shape[0]
        lo = _row_of(self, start, 0, "start", side="left")
        hi = _row_of(self, end, num_bars, "end", side="right")
        if lo >= hi:
            span = f"{self.times[0]} to {self.times[-1]}" if self.labels is not None else f"rows 0 to {num_bars}"
            raise ValueError(
                f"The span start={start!s}, end={end!s} holds no bar; the data covers {span}."
                " Give a start before the end, inside the data."
            )
        return slice(lo, hi)


def _row_of(labelled: Labelled, value: Any, default: int, name: str, side: Literal["left", "right"]) -> int:
    if value is None:
        return default
    if isinstance(value, int | np.integer):
        return slice(int(value)).indices(labelled.close.shape[0])[1]
    moment = read_date(value, name)
    unit = np.datetime_data(moment)[0]
    if unit in ("Y", "M", "W", "D"):
        last = side == "right"
        day = (moment + np.timedelta64(int(last), unit)).astype("datetime64[D]").astype(np.int64) - int(last)
        return int(np.searchsorted(_sessions_of(labelled), day, side=side))
    return int(np.searchsorted(labelled.times, moment.astype("datetime64[ns]"), side=side))


def _sessions_of(labelled: Labelled) -> np.ndarray:
    """Return `[T]` trading days since 1970-01-01."""
    return np.asarray(labelled.sessions).astype(np.int64)


def name_moment(time: Any) -> str:
    """Return when a bar is: its date, and for a bar with a time of day that too, in UTC: "2024-03-05 14:30"."""
    moment = np.datetime64(time).astype("datetime64[s]")
    date, _, clock = str(moment).partition("T")
    return date if clock == "00:00:00" else f"{date} {clock.removesuffix(':00')}"


def read_date(value: Any, name: str) -> np.datetime64:
    """Return a date or moment as NumPy reads it.

    Args:
        value: such as "2017-01-31", "2017-01-31 15:30" or a datetime.
        name: what the value is, for the message.

    Raises:
        ValueError: if it is not a date, or none between the years 1700 and 2200: NumPy takes "20170131" for a year.
    """
    moment = None
    # What NumPy takes for "not a time" has no unit to compare by.
    if str(value).lower() not in ("", "nat"):
        with contextlib.suppress(ValueError):
            moment = np.datetime64(value)
    if moment is None or not np.datetime64("1700") <= moment.astype("datetime64[Y]") <= np.datetime64("2200"):
        raise ValueError(f"{name}={value!r} is not a date; write it as YYYY-MM-DD.")
    return moment
