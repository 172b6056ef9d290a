"""What came of a sweep: a row for each trial, read from its run folder, and the best agent on the test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ploutos_jax.evaluate.inference.trials import Trials, read_trials
from ploutos_jax.experiment.study.config import TRIAL_PREFIX
from ploutos_jax.experiment.study.trial import NO_SCORE
from ploutos_jax.runs.run_files import RunFiles, is_run

Table = pd.DataFrame
"""A row for each trial."""


def trial_folders(folder: Path) -> list[Path]:
    """Return the run folders of a study's trials, in the order in which they were begun."""
    found = [path for path in folder.glob(f"{TRIAL_PREFIX}*") if is_run(path)]
    return sorted(found, key=lambda path: ((path / "config.yaml").stat().st_mtime, path.name))


def study_table(folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """Return a row for each trial: its folder's name, the values of its point, steps done, and its last score.

    `score` is that on the bars to choose on, `scored` how many times it was looked at, `ended` why the trial ended:
    `whole`, `early` (by the scheduler, or unfinished) or `diverged`.

    Args:
        folder: of the study.
        names: of the settings that were searched.
    """
    rows = []
    for path in trial_folders(folder):
        run = RunFiles(path)
        figures = run.metrics
        scores = [row["held_out_score"] for row in figures if "held_out_score" in row]
        steps = int(figures[-1]["timesteps"]) if figures else 0
        ended = "whole" if steps >= int(run.setting("total_timesteps", 0)) else "early"
        ended = "diverged" if "diverged" in run.summary else ended
        last = scores[-1] if scores and ended != "diverged" else None
        point = {name: run.setting(name) for name in names}
        rows.append(
            {"trial": path.name, **point, "timesteps": steps, "scored": len(scores), "ended": ended, "score": last}
        )
    columns = ["trial", *names, "timesteps", "scored", "ended", "score"]
    table = pd.DataFrame(rows, columns=columns)
    table["score"] = table["score"].astype(float)
    return table


def best_of(table: pd.DataFrame) -> Mapping[str, Any] | None:
    """Return the row of the best score among trials that were trained to their end, or of all where none was.

    A trial that was ended early had a higher score than those that went on only where the scheduler was mistaken; its
    agent has not had the same training, and is not what the others are compared with.
    """
    known = table[table["score"].notna() & (table["score"] > NO_SCORE)]
    whole = known[known["ended"] == "whole"] if "ended" in known else known
    some = whole if len(whole) else known
    rows = pd.DataFrame(some).to_dict("records")
    return max(rows, key=lambda row: row["score"], default=None)


def trials_of(folder: Path, table: pd.DataFrame | None = None, periods: float = 252.0) -> Trials:
    """Return what was tried: the trials' run folders, or the rows of a table whose agents were not kept.

    Args:
        folder: of the sweep.
        table: of a sweep as one program; `sharpe` is annual.
        periods: returns in a year.
    """
    if table is None:
        return read_trials(trial_folders(folder))
    known = table["sharpe"].dropna().to_numpy(float)
    return Trials(count=len(table), sharpes=known / periods**0.5, folders=())
