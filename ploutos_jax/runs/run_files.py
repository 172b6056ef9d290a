"""RunFiles: what a run folder holds, read without the settings' own types, so without JAX."""

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.runs.yaml_file import read_yaml
from ploutos_jax.train.run.figures import read_figures
from ploutos_jax.train.run.folder import CONFIG_FILE, SUMMARY_FILE

REPORT_METRICS = "metrics.json"


class RunFiles:
    """A run folder, read when asked. Nothing is written, and a run that is still going can be read.

    Args:
        path: the folder; one without `config.yaml` holds no run.

    Raises:
        ValueError: if the folder holds no run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
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

    @property
    def num_seeds(self) -> int:
        """Agents trained side by side.

        Raises:
            ValueError: if `config.yaml` says no whole number.
        """
        found = self.setting("num_seeds", 1)
        if isinstance(found, bool) or not isinstance(found, int):
            raise ValueError(f"{self.path / CONFIG_FILE} cannot be read: num_seeds={found!r} is no whole number.")
        return found

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`, one for each update; a line cut short by a crash is left out."""
        return read_figures(self.path)

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds; empty while the run goes on, or where it is damaged."""
        return read_json(self.path / SUMMARY_FILE)

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
        return (found for path in sorted(self.path.rglob(REPORT_METRICS)) if (found := read_json(path)))

    def setting(self, name: str, default: Any = None) -> Any:
        """Return a setting by its name, wherever in `config.yaml` it stands: runs from Python nest it otherwise."""
        return _find(self.settings, name, default)


def is_run(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds a run."""
    return (Path(path) / CONFIG_FILE).is_file()


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file; an empty one where there is none, or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _find(settings: Any, name: str, default: Any) -> Any:
    if not isinstance(settings, Mapping):
        return default
    if name in settings:
        return settings[name]
    inner = [_find(value, name, None) for value in settings.values()]
    return next((value for value in inner if value is not None), default)
