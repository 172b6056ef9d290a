"""How many trials stand behind a result: counted from run folders, not typed in.

Whoever picks the best of many runs, seeds or checkpoints picks luck too. Each of them is a trial.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ploutos_jax.runs.reader import Run, find_runs
from ploutos_jax.train.checkpoints.checkpoint import PathLike
from ploutos_jax.train.held_out import HELD_OUT_PREFIX
from ploutos_jax.train.run.folder import CONFIG_FILE


@dataclasses.dataclass(frozen=True, eq=False)
class Trials:
    """What was tried.

    Attributes:
        count: seeds times checkpoints scored, over all run folders.
        sharpes: `[known]` Sharpe ratios per day of those trials whose score the folders hold, `count` or fewer.
        folders: the run folders counted.
    """

    count: int
    sharpes: Float[np.ndarray, " known"]
    folders: tuple[Path, ...]


def count_trials(run_folders: PathLike | Iterable[PathLike]) -> int:
    """Return the number of trials in run folders; see `read_trials`."""
    return read_trials(run_folders).count


def read_trials(run_folders: PathLike | Iterable[PathLike], periods: float | None = None) -> Trials:
    """Count the trials of runs: every run folder, each of its seeds, each checkpoint scored on held-out bars.

    A run that never was scored counts once per seed: its last state could have been chosen. Checkpoints count as
    scored by the lines of `metrics.jsonl` that hold a score, or by the reports below the run folder, whichever are
    more.

    Args:
        run_folders: run folders, or folders that hold such at any depth (`checkpoints/`); one or several.
        periods: returns in a year, by which annual Sharpe ratios in the folders are made those of one return; what
            each run says of its own data without it.

    Raises:
        ValueError: if a folder is missing or holds no run, or a `config.yaml` cannot be read.
    """
    given = [run_folders] if isinstance(run_folders, str | os.PathLike) else run_folders
    runs: dict[Path, Run] = {}
    for one in map(Path, given):
        found = find_runs(one)
        if not found:
            raise ValueError(f"{one} holds no run: a run folder has a file {CONFIG_FILE}.")
        runs |= {run.path.resolve(): run for run in found}
    count, sharpes = 0, []
    for run in runs.values():
        rows = run.scored
        count += run.num_seeds * max(1, len(rows), _num_scored_checkpoints(run))
        scores = [score for row in rows for score in _sharpes_of(row)]
        if not scores or run.num_seeds > 1:  # rows hold the mean of the seeds, which scatters less than they do
            by_seed = run.summary.get("score_by_seed")
            scores += [_as_mapping(score).get("sharpe") for score in (by_seed if isinstance(by_seed, list) else [])]
        a_year = run.periods_per_year if periods is None else periods
        # What other tools and crashes leave in a file is no score.
        sharpes += [value / np.sqrt(a_year) for value in scores if _is_finite(value)]
    return Trials(count=count, sharpes=np.array(sharpes, np.float64), folders=tuple(runs))


def _sharpes_of(row: Mapping[str, Any]) -> list[Any]:
    """Return the held-out Sharpe ratios of a row of figures: that of the run, or those of a fold's seeds.

    None stands for an agent that never traded. Before 0.3.0 the ratio had no name of its own but the score's.
    """
    name = f"{HELD_OUT_PREFIX}sharpe"
    found = row[name] if name in row else row.get(f"{HELD_OUT_PREFIX}score")
    return found if isinstance(found, list) else [found]


def _num_scored_checkpoints(run: Run) -> int:
    """Return how many checkpoints of a run have a report in its folder."""
    checkpoints = set()
    for report in run.reports:
        update = _as_mapping(report.get("provenance")).get("update")
        # Reports before 0.2.0 name the checkpoint in words only.
        said = str(_as_mapping(report.get("facts")).get("checkpoint")).rpartition("update")[2].strip()
        checkpoints.add(said if update is None else str(update))
    return len(checkpoints)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
