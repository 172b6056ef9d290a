"""Labels of synthetic markets: days on which an exchange in New York would be open, tickers, sectors. Host only."""

from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from jaxtyping import Int, Shaped

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.instrument import US_EQUITY, Instrument
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.sectors import GICS_SECTORS

FIRST_DATE = np.datetime64("2010-01-04")
LAST_YEAR = 2199
"""Dates beyond are no longer read as dates anywhere else."""

_EXCHANGE = ZoneInfo("America/New_York")
_OPEN_MINUTE = 9 * 60 + 30
_CONSONANTS, _VOWELS = "BDLMNRSTVZ", "AEO"
_SUFFIX = ".SIM"
"""No exchange has tickers of this kind: made prices must not pass for those of a company."""


def synthetic_labels(num_assets: int, times: Shaped[np.ndarray, " T"], bars_per_session: int = 1) -> Labels:
    """Return made-up tickers, sectors dealt out in turn, the times given, and the calendar of an exchange."""
    return Labels(
        symbols=tuple(made_symbol(i) for i in range(num_assets)),
        sectors=tuple(GICS_SECTORS[i % len(GICS_SECTORS)] for i in range(num_assets)),
        times=times.astype("datetime64[ns]"),
        calendar=Calendar(bars_per_session=float(bars_per_session)),
        instruments=(Instrument(US_EQUITY),) * num_assets,
    )


def made_symbol(number: int) -> str:
    """Return a made-up ticker, the same for a number whatever others there are."""
    # Numbers near each other get tickers that look unlike.
    num_short = (len(_CONSONANTS) * len(_VOWELS)) ** 2
    rest, place = divmod(number, num_short)
    place = place * 577 % num_short
    letters = ""
    for alphabet in (_CONSONANTS, _VOWELS) * 2:
        place, i = divmod(place, len(alphabet))
        letters += alphabet[i]
    while rest:
        rest, i = divmod(rest - 1, len(_CONSONANTS))
        letters += _CONSONANTS[i]
    return letters + _SUFFIX


@cache
def exchange_days() -> Shaped[np.ndarray, " days"]:
    """Return datetime64[D] from 2010-01-04 to the end of 2199: business days without the holidays of the NYSE.

    Holidays are those of today's rules (Juneteenth from 2022 on); days of mourning, storms and the like are not known.
    """
    days = np.arange(FIRST_DATE, np.datetime64(f"{LAST_YEAR + 1}-01-01"))
    return days[np.is_busday(days, holidays=_holidays())]


def session_times(days: Shaped[np.ndarray, " T"], minutes: Int[np.ndarray, " T"]) -> Shaped[np.ndarray, " T"]:
    """Return datetime64[m] in UTC, so many minutes after the session of a day in New York opened at 9:30."""
    different, place = np.unique(days, return_inverse=True)
    midnights = different.astype("datetime64[m]")
    opens = []
    for noon in (midnights + 12 * 60).tolist():
        offset = noon.replace(tzinfo=_EXCHANGE).utcoffset()
        opens.append(_OPEN_MINUTE - int(offset.total_seconds() // 60))
    return (midnights + np.array(opens, "timedelta64[m]"))[place] + minutes.astype("timedelta64[m]")


def _holidays() -> np.ndarray:
    days: list[np.datetime64] = []
    for year in range(2010, LAST_YEAR + 1):
        days += [_nth(year, 1, 0, 3), _nth(year, 2, 0, 3), _good_friday(year), _nth(year, 9, 0, 1)]
        days.append(_nth(year, 11, 3, 4))
        days.append(_nth(year, 6, 0, 1) - 7)  # the last Monday of May
        if _weekday(new_year := np.datetime64(f"{year}-01-01")) != 5:
            days.append(_observed(new_year))
        days += [_observed(np.datetime64(f"{year}-{day}")) for day in ("07-04", "12-25")]
        if year >= 2022:
            days.append(_observed(np.datetime64(f"{year}-06-19")))
    days = [day for day in days if _weekday(day) < 5]
    return np.unique(np.array(days, "datetime64[D]"))


def _weekday(day: np.datetime64) -> int:
    """Return 0 for Monday to 6 for Sunday."""
    return int((day.astype("datetime64[D]").astype(np.int64) + 3) % 7)


def _nth(year: int, month: int, weekday: int, number: int) -> np.datetime64:
    first = np.datetime64(f"{year}-{month:02d}-01")
    return first + (weekday - _weekday(first)) % 7 + 7 * (number - 1)


def _observed(day: np.datetime64) -> np.datetime64:
    """Return the Friday before a Saturday and the Monday after a Sunday."""
    return day + {5: -1, 6: 1}.get(_weekday(day), 0)


def _good_friday(year: int) -> np.datetime64:
    """Return the Friday before Easter. Source: Meeus, Astronomical Algorithms, chapter 8."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    to_sunday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * to_sunday) // 451
    month, day = divmod(h + to_sunday - 7 * m + 114, 31)
    return np.datetime64(f"{year}-{month:02d}-{day + 1:02d}") - 2
