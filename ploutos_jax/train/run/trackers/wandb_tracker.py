"""Weights & Biases: settings, figures by step, report and policy as artefacts.

Without `WANDB_API_KEY` it works in `offline` mode, unless `WANDB_MODE` says otherwise: everything lies below
`wandb/` in the run folder, and `wandb sync` sends it whenever that is wanted.
"""

import importlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ploutos_jax.train.run.trackers.tracking import FINISHED

_PROJECT = "ploutos"


class WandbTracker:
    """Tells Weights & Biases of a run.

    Args:
        folder: of the run, whose name the tracked run gets; files of the offline mode lie in it.
        settings: of the run by name; the configuration of the tracked run.

    Raises:
        ValueError: if W&B is not installed.
    """

    name = "wandb"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            self._wandb = importlib.import_module("wandb")
        except ImportError as error:
            raise ValueError(f"log=wandb needs Weights & Biases ({error}): pip install 'ploutos_jax[wandb]'.") from None
        self._folder, self._settings = folder, settings
        has_key = bool(os.environ.get("WANDB_API_KEY"))
        self._mode = os.environ.get("WANDB_MODE") or ("online" if has_key else "offline")
        self._project = os.environ.get("WANDB_PROJECT", _PROJECT)
        self._run: Any = None

    def begin(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Start the tracked run, or one of the same id that W&B joins with what it has; see `Tracker`."""
        is_known = known.get("project") == self._project and isinstance(known.get("run_id"), str)
        run_id = known["run_id"] if is_known else secrets.token_hex(4)
        # An offline run cannot ask what is there: of the same id, `wandb sync` joins them.
        goes_on = {"resume": "allow"} if self._mode == "online" else {}
        self._run = self._wandb.init(
            project=self._project,
            id=run_id,
            name=self._folder.name,
            mode=self._mode,
            dir=str(self._folder),
            config={name: value for name, value in self._settings.items() if value is not None},
            settings=self._wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
            **goes_on,
        )
        return {"project": self._project, "run_id": run_id}

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Add figures at their environment steps."""
        for step, figures in rows:
            self._run.log(dict(figures), step=step)

    def publish(self, folders: Mapping[str, Path], policy: Path | None, scores: Mapping[str, float]) -> None:
        """Add folders and the policy as artefacts, and the final score to the summary."""
        self._run.summary.update({f"final_score/{name}": value for name, value in scores.items()})
        kinds = {**dict.fromkeys(folders, "report"), **({} if policy is None else {"policy": "model"})}
        for name, folder in {**folders, **({} if policy is None else {"policy": policy})}.items():
            artifact = self._wandb.Artifact(f"{self._folder.name}-{name}", type=kinds[name])
            artifact.add_dir(str(folder))
            self._run.log_artifact(artifact)

    def end(self, how: str) -> None:
        """Write out what is left."""
        self._run.finish(exit_code=0 if how == FINISHED else 1)
