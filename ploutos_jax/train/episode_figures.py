"""Figures by episode of a run so far: how long an episode lasts, and how often an account trades in one."""

from collections.abc import Iterable, Mapping
from typing import Any


class EpisodeFigures:
    """Counts of a run from its beginning; of one that goes on, with the rows of figures that it has.

    Means over the whole run, as an update may see no episode end: steps, and fills, of all accounts over the episodes
    that have ended. The first episode of an account begins in its middle and the last has not ended, which cancels
    over many of them.

    Args:
        rows: of the updates that were done before.
        steps_per_update: environment steps of one seed.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], steps_per_update: int) -> None:
        self._steps_per_update = steps_per_update
        self._steps = self._episodes = self._trades = 0.0
        for row in rows:
            self.added(row)

    def added(self, row: Mapping[str, Any]) -> dict[str, float | None]:
        """Count an update, and return the figures after it: None where no episode has ended yet."""
        self._steps += self._steps_per_update
        self._episodes += _number(row.get("episodes"))
        self._trades += _number(row.get("trades"))
        ended = self._episodes
        return {
            "episode_length_mean": round(self._steps / ended, 3) if ended else None,
            "trades_per_episode": round(self._trades / ended, 3) if ended else None,
        }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
