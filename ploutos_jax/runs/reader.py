"""Run: what a run folder holds, read in one place by reports, comparisons, dashboards and notebooks."""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.runs.settings import data_of_run, read_yaml
from ploutos_jax.train.checkpoints.checkpoint import PathLike
from ploutos_jax.train.held_out import HELD_OUT_PREFIX
from ploutos_jax.train.run.figures import read_figures
from ploutos_jax.train.run.folder import CONFIG_FILE, SUMMARY_FILE

REPORT_METRICS = "metrics.json"


class Run:
    """A run folder, read when asked. Nothing is written, and a run that is still going can be read.

    Args:
        path: the folder; one without `config.yaml` holds no run.

    Raises:
        ValueError: if the folder holds no run.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        if not is_run(self.path):
            raise ValueError(f"{self.path} holds no run: a run folder has a file {CONFIG_FILE}.")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What `config.yaml` holds, as written.

        Raises:
            ValueError: if it is not YAML.
        """
        try:
            return read_yaml(str(self.path / CONFIG_FILE))
        except OSError as error:
            raise ValueError(f"{self.path / CONFIG_FILE} cannot be read: {error}") from None

    @cached_property
    def data(self) -> DataConfig:
        """Which data the run was trained on.

        Raises:
            ValueError: if the run was started from Python and its configuration does not name any.
        """
        return data_of_run(self.path)

    @property
    def num_seeds(self) -> int:
        """Agents trained side by side.

        Raises:
            ValueError: if `config.yaml` says no whole number.
        """
        found = _find(self.settings, "num_seeds", 1)
        if isinstance(found, bool) or not isinstance(found, int):
            raise ValueError(f"{self.path / CONFIG_FILE} cannot be read: num_seeds={found!r} is no whole number.")
        return found

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`, one for each update; a line cut short by a crash is left out."""
        return read_figures(self.path)

    @property
    def scored(self) -> list[dict[str, Any]]:
        """Rows of `metrics` with a score on held-out bars."""
        return [
            row for row in self.metrics if any(k.startswith(HELD_OUT_PREFIX) and v is not None for k, v in row.items())
        ]

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds; empty while the run goes on, or where it is damaged."""
        return _read_json(self.path / SUMMARY_FILE)

    @property
    def periods_per_year(self) -> float:
        """Returns in a year of the data trained on; those of daily bars where an older run does not say."""
        found = self.summary.get("calendar")
        value = found.get("periods_per_year") if isinstance(found, Mapping) else None
        is_known = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        return float(value) if is_known else Calendar().periods_per_year  # type: ignore[arg-type]  # is_known says so

    @property
    def reports(self) -> Iterator[dict[str, Any]]:
        """`metrics.json` of every report below the folder."""
        return (found for path in sorted(self.path.rglob(REPORT_METRICS)) if (found := _read_json(path)))


def is_run(path: PathLike) -> bool:
    """Return whether a folder holds a run."""
    return (Path(path) / CONFIG_FILE).is_file()


def find_runs(path: PathLike) -> list[Run]:
    """Return the runs in a folder and below, by path."""
    folder = Path(path)
    return [Run(file.parent) for file in sorted(folder.rglob(CONFIG_FILE))] if folder.is_dir() else []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _find(settings: Any, name: str, default: Any) -> Any:
    """Return a setting by name, wherever in the mapping it stands: runs from Python nest it otherwise."""
    if not isinstance(settings, Mapping):
        return default
    if name in settings:
        return settings[name]
    inner = [_find(value, name, None) for value in settings.values()]
    return next((value for value in inner if value is not None), default)
