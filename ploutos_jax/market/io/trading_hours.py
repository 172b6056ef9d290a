"""When an exchange is open: days and hours as it publishes them, holidays and half days included."""

import dataclasses
from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo

import numpy as np

DAY_MS = 86_400_000


@dataclasses.dataclass(frozen=True)
class TradingHours:
    """The sessions of an exchange.

    Attributes:
        days: `[N]` trading days since 1970-01-01, ascending.
        opens, closes: `[N]` milliseconds since 1970, UTC.
    """

    days: np.ndarray
    opens: np.ndarray
    closes: np.ndarray

    @classmethod
    def read(cls, rows: Sequence[Mapping[str, str]], zone: str = "America/New_York") -> "TradingHours":
        """Return the hours of rows with `date` (YYYY-MM-DD), `open` and `close` (HH:MM in a time zone).

        Raises:
            ValueError: if there are none.
        """
        if not rows:
            raise ValueError("The exchange's calendar is empty.")
        there = ZoneInfo(zone)

        def moment(row: Mapping[str, str], name: str) -> int:
            local = np.datetime64(f"{row['date']}T{row[name]}", "s").item().replace(tzinfo=there)
            return int(1000 * local.timestamp())

        ordered = sorted(rows, key=lambda row: row["date"])
        return cls(
            np.array([np.datetime64(row["date"], "D").astype(np.int64) for row in ordered]),
            *(np.array([moment(row, name) for row in ordered]) for name in ("open", "close")),
        )

    def holds(self, moment: int) -> bool:
        """Return whether the exchange is open, from its first moment to before its last."""
        place = int(np.searchsorted(self.opens, moment, side="right")) - 1
        return place >= 0 and moment < self.closes[place]

    def day_of(self, moment: int) -> int:
        """Return the trading day that holds a moment, or the next one."""
        return int(self.days[self._place(moment)])

    def is_over(self, day: int, now: int) -> bool:
        """Return whether a trading day has closed; one that is not known has."""
        place = int(np.searchsorted(self.days, day))
        known = place < len(self.days) and self.days[place] == day
        return not known or now >= self.closes[place]

    def first_from(self, moment: int, step: int) -> int:
        """Return when the first bar begins that does so at a moment or later.

        Args:
            moment: milliseconds since 1970.
            step: length of a bar in milliseconds; bars of a day begin at midnight UTC of their day.

        Raises:
            ValueError: if the calendar ends before.
        """
        begin = -(-moment // step) * step
        if step >= DAY_MS:
            place = int(np.searchsorted(self.days * DAY_MS, begin))
            self._check(place)
            return int(self.days[place]) * DAY_MS
        place = self._place(begin)
        return max(begin, -(-int(self.opens[place]) // step) * step)

    def _place(self, moment: int) -> int:
        """Return the place of the first session that closes after a moment."""
        place = int(np.searchsorted(self.closes, moment, side="right"))
        self._check(place)
        return place

    def _check(self, place: int) -> None:
        if place >= len(self.days):
            raise ValueError(f"The exchange's calendar ends on {np.datetime64(int(self.days[-1]), 'D')}.")
