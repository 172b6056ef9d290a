"""Run: what a run folder holds, read in one place by reports, comparisons, dashboards and notebooks."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.runs.run_files import RunFiles
from ploutos_jax.runs.run_files import is_run as is_run
from ploutos_jax.runs.settings import data_of_run
from ploutos_jax.train.checkpoints.checkpoint import PathLike
from ploutos_jax.train.held_out import HELD_OUT_PREFIX
from ploutos_jax.train.run.folder import CONFIG_FILE


class Run(RunFiles):
    """The files of a run folder, and what they say in the settings' own types."""

    @cached_property
    def data(self) -> DataConfig:
        """Which data the run was trained on.

        Raises:
            ValueError: if the run was started from Python and its configuration does not name any.
        """
        return data_of_run(self.path)

    @property
    def scored(self) -> list[dict[str, Any]]:
        """Rows of `metrics` with a score on held-out bars."""
        return [
            row for row in self.metrics if any(k.startswith(HELD_OUT_PREFIX) and v is not None for k, v in row.items())
        ]


def find_runs(path: PathLike) -> list[Run]:
    """Return the runs in a folder and below, by path."""
    folder = Path(path)
    return [Run(file.parent) for file in sorted(folder.rglob(CONFIG_FILE))] if folder.is_dir() else []
