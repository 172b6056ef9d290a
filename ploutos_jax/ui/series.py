"""Figures of a run as curves: each line of `metrics.jsonl` is read once, and curves stay short however long the run."""

import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

from ploutos_jax.train.run.figures import METRICS_FILE

CURVES = (
    *("episode_return_mean", "equity", "sharpe", "drawdown_mean", "held_out_sharpe", "held_out_total_return"),
    *("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance", "grad_norm"),
    *("learning_rate", "growth_per_step", "cost_per_step", "turnover_per_step", "invested", "trades_per_episode"),
    *("steps_per_second", "update_seconds", "host_memory_bytes", "device_memory_bytes"),
)
"""Figures that are drawn, in the order that they are offered in."""
MOST_POINTS = 1200
_MOST_BYTES = 4 * 2**20
"""Read at once: a long file is taken in pieces, so that no call takes long."""

Point = dict[str, float | int | None]


class News(NamedTuple):
    """What is new in a run's figures.

    Attributes:
        rows: points of new updates.
        is_all: whether they stand for the whole curve, what was known before forgotten.
        is_more: whether there is more in the file than was read.
    """

    rows: list[Point]
    is_all: bool
    is_more: bool


class Series:
    """The curves of one run, followed while it goes on.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / METRICS_FILE
        self._forget()

    def _forget(self) -> None:
        self._identity: int | None = None
        self._offset, self._stride, self._count = 0, 1, 0
        self._unfinished = b""
        self.points: list[Point] = []
        self.last: dict[str, Any] = {}

    def read(self) -> News:
        """Read what was written since the last call."""
        is_all = self._offset == 0
        try:
            with self._file.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._identity or status.st_size < self._offset:
                    # A run that goes on writes the file anew, without what it will do once more.
                    self._forget()
                    self._identity, is_all = status.st_ino, True
                file.seek(self._offset)
                text = file.read(_MOST_BYTES)
                self._offset += len(text)
                is_more = self._offset < status.st_size
        except OSError:
            was = bool(self.points)
            self._forget()
            return News([], was, False)
        *lines, self._unfinished = (self._unfinished + text).split(b"\n")
        rows = [row for line in lines if (row := self._take(line)) is not None]
        return News(self.points if is_all else rows, is_all, is_more)

    def read_all(self) -> list[Point]:
        """Read to the end; return the points, of evenly spaced updates where there are too many."""
        while self.read().is_more:
            pass
        return self.points

    def _take(self, line: bytes) -> Point | None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(row, dict) or _number(row.get("update")) is None or _number(row.get("timesteps")) is None:
            return None
        self.last = row
        self._count += 1
        if (self._count - 1) % self._stride:
            return None
        point: Point = {name: _mean(row.get(name)) for name in ("update", "timesteps", "seconds", *CURVES)}
        point = {name: value for name, value in point.items() if value is not None}
        self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self._stride *= 2
        return point


def _mean(value: Any) -> float | int | None:
    """Return a figure as one number: of several seeds their mean."""
    if not isinstance(value, list):
        return _number(value)
    numbers = [number for each in value if (number := _number(each)) is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _number(value: Any) -> float | int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and abs(value) < 1e300 and math.isfinite(value) else None
