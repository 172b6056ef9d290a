"""Sweeps of a project: what each searches, its trials so far, what came of it. Found on the disk, without JAX."""

import csv
import math
from pathlib import Path
from typing import Any

from ploutos_jax.experiment.study.config import PICTURE, SETTINGS, TABLE, TRIAL_PREFIX
from ploutos_jax.runs.run_files import RunFiles, is_run, read_json
from ploutos_jax.runs.yaml_file import read_yaml
from ploutos_jax.train.run.figures import METRICS_FILE
from ploutos_jax.train.run.folder import SUMMARY_FILE
from ploutos_jax.ui.project import OutsideError, Project
from ploutos_jax.ui.run_list import holder_of, stamp_of

MOST_ROWS = 1000
Row = dict[str, Any]


class Sweeps:
    """The sweeps of a project; what was read of a trial is kept until its files change.

    Args:
        project: whose sweeps.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._trials: dict[Path, tuple[Any, Row]] = {}

    def all(self) -> list[dict[str, Any]]:
        """Return what is known of each sweep, the newest first."""
        found = [self.about(folder) for folder in self._project.find_folders() if is_sweep(folder)]
        return sorted(found, key=lambda sweep: sweep["started"], reverse=True)

    def folder_of(self, path: str) -> Path:
        """Return the folder of a sweep.

        Raises:
            OutsideError: if the path is none of the project's.
            FileNotFoundError: if it holds no sweep.
        """
        folder = self._project.inside(path)
        if not is_sweep(folder):
            raise FileNotFoundError("There is no sweep in that folder.")
        return folder

    def about(self, folder: Path) -> dict[str, Any]:
        """Return what is known of a sweep: what it searches, how many trials, the best of them, its state.

        `state` is `running` while a process holds the folder's lock, `finished` where its table is written, else
        `stopped`, which can be resumed. A sweep of a trained agent (`of_agent`) has a table and nothing else.
        """
        settings, problem = _settings(folder)
        summary, holder = read_json(folder / SUMMARY_FILE), holder_of(folder)
        is_done = (folder / TABLE).is_file()
        over = [str(each) for each in settings.get("over", ())]
        report = folder / "report" / "report.html"
        first = next((file for name in (SETTINGS, TABLE) if (file := folder / name).is_file()), folder)
        return {
            "sweep": self._project.name_of(folder),
            "started": first.stat().st_mtime,
            "state": "running" if holder is not None else "finished" if is_done else "stopped",
            "process": holder,
            "over": over,
            "of_agent": not settings and problem is None,
            "points": _number_of_points(settings, over),
            "tried": _count_rows(folder / TABLE) if is_done else len(_trial_folders(folder)),
            "trials": summary.get("trials"),
            "best": summary.get("best"),
            "score": summary.get("score"),
            "test": summary.get("test"),
            "deflated_sharpe": summary.get("deflated_sharpe"),
            "best_run": self._run_of(folder, summary.get("folder")),
            "report": self._project.name_of(report) if report.is_file() else None,
            "has_picture": (folder / PICTURE).is_file(),
            "problem": problem,
        }

    def table(self, folder: Path) -> dict[str, Any]:
        """Return a row for each trial, the best first: of a study that goes on, of what its trials have written.

        `rows` are at most `MOST_ROWS`; `num_rows` says how many there are.
        """
        if (folder / TABLE).is_file():
            rows = _read_table(folder / TABLE)
        else:
            names = [each.partition("=")[0].strip() for each in map(str, _settings(folder)[0].get("over", ()))]
            rows = [self._trial(path, names) for path in _trial_folders(folder)]
            rows.sort(key=lambda row: -math.inf if row["score"] is None else row["score"], reverse=True)
        return {"rows": rows[:MOST_ROWS], "num_rows": len(rows)}

    def picture(self, folder: Path) -> Path:
        """Return the file of a sweep's picture.

        Raises:
            FileNotFoundError: if there is none yet.
        """
        file = folder / PICTURE
        if not file.is_file() or file.is_symlink():
            raise FileNotFoundError("There is no picture yet: it is drawn when the sweep has ended.")
        return file

    def _run_of(self, folder: Path, name: Any) -> str | None:
        path = folder / str(name)
        return self._project.name_of(path) if name and path.parent == folder and is_run(path) else None

    def _trial(self, path: Path, names: list[str]) -> Row:
        stamp = [stamp_of(path / name) for name in (METRICS_FILE, SUMMARY_FILE)]
        known = self._trials.get(path)
        if known is None or known[0] != stamp:
            known = (stamp, _trial_row(path, names))
            self._trials[path] = known
        holder = holder_of(path)
        return known[1] | ({} if holder is None else {"ended": "running"})


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds a sweep."""
    return (folder / SETTINGS).is_file() or (folder / TABLE).is_file()


def checked(folder: Path) -> None:
    """Make sure that a sweep can be resumed.

    Raises:
        OutsideError: if it is one of a trained agent, which is scored anew instead.
    """
    if not (folder / SETTINGS).is_file():
        raise OutsideError("A sweep of a trained agent does not go on; start it anew.")


def _settings(folder: Path) -> tuple[dict[str, Any], str | None]:
    try:
        return read_yaml(str(folder / SETTINGS)) if (folder / SETTINGS).is_file() else {}, None
    except (ValueError, OSError) as error:
        return {}, str(error)


def _number_of_points(settings: dict[str, Any], over: list[str]) -> int | None:
    """Return how many points there will be: trials of a study, or every combination."""
    trials = settings.get("trials")
    if isinstance(trials, int):
        return trials
    if not over or any(":" in each for each in over):
        return None
    return math.prod(len([part for part in each.partition("=")[2].split(",") if part.strip()]) for each in over)


def _trial_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{TRIAL_PREFIX}*") if is_run(path) and not path.is_symlink())


def _trial_row(path: Path, names: list[str]) -> Row:
    run = RunFiles(path)
    try:
        point, total = {name: run.setting(name) for name in names}, run.setting("total_timesteps", 0)
    except ValueError:
        point, total = dict.fromkeys(names), 0
    rows = run.metrics
    scores = [row["held_out_score"] for row in rows if row.get("held_out_score") is not None]
    steps = rows[-1].get("timesteps", 0) if rows else 0
    is_whole = isinstance(total, int) and steps >= total > 0
    ended = "diverged" if "diverged" in run.summary else "whole" if is_whole else "early"
    score = scores[-1] if scores and ended != "diverged" else None
    return {"trial": path.name, **point, "timesteps": steps, "ended": ended, "score": score}


def _count_rows(file: Path) -> int:
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        return max(sum(1 for _ in csv.reader(opened)) - 1, 0)


def _read_table(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", errors="replace", newline="") as opened:
        return [
            {str(name): _value(text) for name, text in row.items() if name is not None}
            for row in csv.DictReader(opened)
        ]


def _value(text: Any) -> Any:
    """Return a cell of a table: numbers as numbers, nothing where it is empty or no number that JSON knows."""
    if not isinstance(text, str) or text.strip().lower() in ("", "nan", "inf", "-inf"):
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if abs(number) < 1e300 else None
    return text[:200]
