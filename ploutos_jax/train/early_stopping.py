"""When a run may end before its last update: time, episodes, or no more to be gained; docs/stopping.md has the rules.

The criteria are pure functions of what was measured so far.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ploutos_jax.train.progress import Progress

PATIENCE = 4
"""Held-out scores without a new best after which a run has converged."""
MIN_RETURNS = 40
"""Updates with finished episodes before the returns of episodes are judged."""
_BINS = 10
_TOLERANCE = 0.1


def describe_plateau(scores: Sequence[float]) -> str | None:
    """Return why held-out scores show that a run has converged, or None if they do not.

    They do when none of the last `PATIENCE` is above the best one before them.

    Args:
        scores: one for each time that the agent was scored, more is better.
    """
    if len(scores) <= PATIENCE or max(scores[-PATIENCE:]) > max(scores[:-PATIENCE]):
        return None
    return f"none of the last {PATIENCE} held-out scores is above the best one before them, {max(scores):.4g}"


def describe_settled(returns: Sequence[float]) -> str | None:
    """Return why the mean returns of episodes show that a run has converged, or None if they do not.

    A line is fitted to the last third of them, averaged in ten groups; its rise has a standard error. The run has
    converged when rise and error together are below a tenth of the range that the returns have covered, or when
    neither the last third nor the whole run rises by more than its standard error: nothing is being learned.

    Args:
        returns: one for each update in which episodes ended.
    """
    if len(returns) < MIN_RETURNS:
        return None
    values = np.asarray(returns, np.float64)
    last = values[-(len(values) // 3) :]
    size = max(1, len(last) // _BINS)
    groups = [values[i : i + size].mean() for i in range(0, len(values) - size + 1, size)]
    span = max(groups) - min(groups)
    rise, error = fit_rise(last)
    seen = f"over the last {len(last)} updates the return of an episode rose by {rise:.4g} ± {error:.2g}"
    if rise + error < _TOLERANCE * span:
        return f"{seen}, less than a tenth of the {span:.4g} that it covered in the run"
    whole_rise, whole_error = fit_rise(values)
    if rise < error and whole_rise < whole_error:
        return f"{seen}, and over the whole run by {whole_rise:.4g} ± {whole_error:.2g}: it does not rise"
    return None


def fit_rise(values: np.ndarray) -> tuple[float, float]:
    """Return the rise of a line fitted to values in ten groups, from first to last group, and its standard error."""
    means = np.array([group.mean() for group in np.array_split(values, _BINS)])
    x = np.arange(_BINS) - (_BINS - 1) / 2
    slope = (x * means).sum() / (x**2).sum()
    rest = means - means.mean() - slope * x
    error = math.sqrt((rest**2).sum() / (_BINS - 2) / (x**2).sum())
    return float(slope * (_BINS - 1)), error * (_BINS - 1)


class StoppingRules:
    """Rules that end a run early; an observer of `train`, whose `should_stop` it is asked.

    They are asked between calls of the compiled program, so a run ends at most a few seconds of updates after a rule
    was met; where episodes are counted, within one update (`max_updates_per_call`). Rows that a resumed run makes again
    take the place of those seen before.

    Args:
        episodes: number of finished episodes that is enough; None for no such rule.
        minutes: of training that are enough, by the rows' own `seconds`, which compiling is not part of.
        until_converged: whether to stop when the agent gets no better.
        rows: figures of the updates that were done before, of a run that is resumed.

    Attributes:
        reason: why the run was ended, or None.
    """

    def __init__(
        self,
        episodes: int | None = None,
        *,
        minutes: float | None = None,
        until_converged: bool = False,
        rows: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.reason: str | None = None
        self._episodes, self._minutes, self._until_converged = episodes, minutes, until_converged
        self._rows: list[tuple[int, float, float | None, float | None]] = []
        self._take(rows)

    def __call__(self, progress: Progress) -> None:
        """Take new figures."""
        self._take(progress.rows)
        if progress.done_timesteps >= progress.total_timesteps:
            return  # ended by itself
        self.reason = (
            self._enough_episodes()
            or self._time_is_over(progress)
            or (self._converged() if self._until_converged else None)
        )

    @property
    def max_updates_per_call(self) -> int:
        """Updates after which the rules have to be asked again."""
        return 64 if self._episodes is None else 1

    def should_stop(self) -> bool:
        """Return whether a rule is met."""
        return self.reason is not None

    def _take(self, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        while self._rows and self._rows[-1][0] >= rows[0]["update"]:
            self._rows.pop()
        for row in rows:
            scores = row.get("episode_return_mean"), row.get("held_out_score")
            self._rows.append((row["update"], row.get("episodes") or 0, *scores))

    def _enough_episodes(self) -> str | None:
        done = sum(row[1] for row in self._rows)
        if self._episodes is None or done < self._episodes:
            return None
        return f"{done:,.0f} episodes have ended, {self._episodes:,} were asked for"

    def _time_is_over(self, progress: Progress) -> str | None:
        if self._minutes is None or progress.rows[-1]["seconds"] < 60 * self._minutes:
            return None
        return f"its {self._minutes:g} minutes (--minutes) are over, compiling not counted"

    def _converged(self) -> str | None:
        """Return why the run has converged, by its held-out scores if it has any, else by the returns of episodes."""
        scores = [row[3] for row in self._rows if row[3] is not None]
        if scores:
            reason = describe_plateau(scores)
        else:
            reason = describe_settled([row[2] for row in self._rows if row[2] is not None])
        return reason and f"converged: {reason}"
