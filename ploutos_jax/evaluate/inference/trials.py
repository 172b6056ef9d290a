"""How many trials stand behind a result: counted from run folders, not typed in.

Whoever picks the best of many runs, seeds or checkpoints picks luck too. Each of them is a trial.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from ploutos_jax.train.checkpoints.checkpoint import PathLike
from ploutos_jax.train.held_out import PREFIX
from ploutos_jax.train.run.folder import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE

REPORT_METRICS = "metrics.json"


class Trials(NamedTuple):
    """What was tried.

    Attributes:
        count: seeds times checkpoints scored, over all run folders.
        sharpes: `[K]` Sharpe ratios per day of those trials whose score the folders hold; K may be below `count`.
        folders: the run folders counted.
    """

    count: int
    sharpes: np.ndarray
    folders: tuple[Path, ...]


def count_trials(run_folders: PathLike | Iterable[PathLike]) -> int:
    """Return the number of trials in run folders; see `read_trials`."""
    return read_trials(run_folders).count


def read_trials(run_folders: PathLike | Iterable[PathLike], periods: float = 252) -> Trials:
    """Count the trials of runs: every run folder, each of its seeds, each checkpoint scored on held-out bars.

    A run that never was scored counts once per seed: its last state could have been chosen. Checkpoints count as
    scored by the lines of `metrics.jsonl` that hold a score, or by the reports below the run folder, whichever are
    more.

    Args:
        run_folders: run folders, or folders that hold such at any depth (`checkpoints/`); one or several.
        periods: days in a year, by which annual Sharpe ratios in the folders are made daily.

    Raises:
        ValueError: if a folder is missing or holds no run, or a `config.yaml` cannot be read.
    """
    given = [run_folders] if isinstance(run_folders, str) or hasattr(run_folders, "__fspath__") else run_folders
    folders: dict[Path, None] = {}
    for one in map(Path, given):  # type: ignore[arg-type]
        found = sorted(path.parent for path in one.rglob(CONFIG_FILE)) if one.is_dir() else []
        if not found:
            raise ValueError(f"{one} holds no run: a run folder has a file {CONFIG_FILE}.")
        folders |= dict.fromkeys(path.resolve() for path in found)
    count, sharpes = 0, []
    for folder in folders:
        rows = _scored_rows(folder)
        count += _num_seeds(folder) * max(1, len(rows), _num_reports(folder))
        sharpes += [value for row in rows for value in _as_list(row.get(f"{PREFIX}sharpe"))] or _final_scores(folder)
    known = np.array([value for value in sharpes if value is not None], np.float64) / np.sqrt(periods)
    return Trials(count=count, sharpes=known, folders=tuple(folders))


def _num_seeds(folder: Path) -> int:
    try:
        settings = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        return int(_find(settings, "num_seeds", 1))
    except (yaml.YAMLError, TypeError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{folder / CONFIG_FILE} cannot be read: {error}") from None


def _find(settings: Any, name: str, default: Any) -> Any:
    """Return a setting by name, wherever in the mapping it stands."""
    if not isinstance(settings, Mapping):
        return default
    if name in settings:
        return settings[name]
    inner = [_find(value, name, None) for value in settings.values()]
    return next((value for value in inner if value is not None), default)


def _scored_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of figures that hold a score; a line cut short by a crash is none."""
    path = folder / METRICS_FILE
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and any(name.startswith(PREFIX) and row[name] is not None for name in row):
            rows.append(row)
    return rows


def _num_reports(folder: Path) -> int:
    """Return how many checkpoints of a run have a report in its folder."""
    checkpoints = set()
    for path in folder.rglob(REPORT_METRICS):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            update = content.get("provenance", {}).get("update")
            # Reports before 0.2.0 say it in words only.
            said = str(content.get("facts", {}).get("checkpoint")).rpartition("update")[2].strip()
            checkpoints.add(said if update is None else str(update))
        except (json.JSONDecodeError, AttributeError):
            continue
    return len(checkpoints)


def _final_scores(folder: Path) -> list[float | None]:
    path = folder / SUMMARY_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except json.JSONDecodeError:
        return []
    return [score.get("sharpe") for score in summary.get("score_by_seed", [])]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
