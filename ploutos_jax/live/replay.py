"""A file played as if its bars came now, at any speed."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ploutos_jax.live.bars import ClosedBar
from ploutos_jax.market.panel import Panel


class Replay:
    """The bars of a panel, one after another.

    Args:
        panel: one path.
        start: date or row of the first bar that is played; those before are history.
        end: date of the last, or row after it.
        bars_per_second: 0 for as fast as they are taken.
        name: of the source.
        sleep: waits.

    Raises:
        ValueError: if the span holds no bar.
    """

    seconds = None

    def __init__(
        self,
        panel: Panel,
        start: Any = None,
        end: Any = None,
        *,
        bars_per_second: float = 0.0,
        name: str = "replay",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        rows = panel.find_rows(start, end)
        self.name, self._first = name, rows.start
        self._panel = panel.window(0, rows.stop)
        self._pause = 1 / bars_per_second if bars_per_second else 0.0
        self._sleep = sleep
        self.labels = dataclasses.replace(
            self._panel._known_labels(), calendar=panel.calendar, instruments=panel.instruments
        )

    def history(self, num_bars: int) -> Panel | None:
        """Return up to so many bars before the first; see `Source.history`."""
        if self._first == 0:
            return None
        return self._panel.window(max(0, self._first - num_bars), self._first)

    def bars(self, after: np.datetime64 | None) -> Iterator[ClosedBar | None]:
        """Yield the bars after a time, to the end of the file; see `Source.bars`."""
        row = self._first if after is None else int(np.searchsorted(self._panel.times, after, side="right"))
        for number in range(row, self._panel.num_bars):
            if self._pause:
                self._sleep(self._pause)
            yield ClosedBar.of(self._panel, number)

    def has_missed(self, last: np.datetime64) -> bool:
        """Return False: a file has no now."""
        return False
