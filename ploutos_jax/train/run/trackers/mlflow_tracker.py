"""MLflow: parameters, figures by step, report, exported policy, and the policy as a registered model.

Where to is MLflow's own business: `MLFLOW_TRACKING_URI` (an SQLite file `mlflow.db` in the working directory without
it), `MLFLOW_EXPERIMENT_NAME` (`ploutos` without it), and its variables of user and token.
"""

import importlib
import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.train.run.trackers.tracking import FAILED, FINISHED, STOPPED
from ploutos_jax.version import __version__

_MANNERS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Outages are for `Tracking` to sit out, which asks again by itself; MLflow's own way takes minutes. The terminal is
the run's."""
_LONGEST_VALUE, _MOST_PARAMS = 6000, 100
_STATUS = {FINISHED: "FINISHED", STOPPED: "KILLED", FAILED: "FAILED"}
_EXPERIMENT = "ploutos"
_CODE = Path(__file__).with_name("policy_model.py")


class MlflowTracker:
    """Tells MLflow of a run.

    Args:
        folder: of the run, whose name the tracked run gets.
        settings: of the run by name; parameters of the tracked run.

    Raises:
        ValueError: if MLflow is not installed.
    """

    name = "mlflow"

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        for name, value in _MANNERS.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=UserWarning, module="mlflow")
        try:
            self._mlflow = importlib.import_module("mlflow")
            client = importlib.import_module("mlflow.tracking").MlflowClient
        except ImportError as error:
            raise ValueError(f"log=mlflow needs MLflow ({error}): pip install 'ploutos_jax[mlflow]'.") from None
        self._entities = importlib.import_module("mlflow.entities")
        self._folder, self._settings = folder, settings
        self._experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        self._uri = str(self._mlflow.get_tracking_uri())
        self._make_client = client
        self._client: Any = None
        self._run_id = ""
        self._is_published = False

    def begin(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Create the tracked run with its parameters, or open it again; see `Tracker`."""
        if self._client is None:  # its first use of an SQLite file makes the tables there, which takes seconds
            self._client = self._make_client(self._uri)
        if known.get("uri") == self._uri and isinstance(known.get("run_id"), str):
            self._run_id = known["run_id"]
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            self._run_id = self._created()
        return {"uri": self._uri, "experiment": self._experiment, "run_id": self._run_id}

    def _created(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        tags = {
            "mlflow.source.name": "ploutos",
            "ploutos_jax.version": __version__,
            "ploutos_jax.run_folder": str(self._folder.absolute()),
        }
        run_id = self._client.create_run(experiment, run_name=self._folder.name, tags=tags).info.run_id
        params = [
            self._entities.Param(name, str(value)[:_LONGEST_VALUE])
            for name, value in self._settings.items()
            if str(value)
        ]
        for place in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run_id, params=params[place : place + _MOST_PARAMS])
        return run_id

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Add figures at their environment steps."""
        now = int(1000 * time.time())
        metrics = [
            self._entities.Metric(name, float(value), now, step)
            for step, figures in rows
            for name, value in figures.items()
        ]
        for place in range(0, len(metrics), 1000):
            self._client.log_batch(self._run_id, metrics=metrics[place : place + 1000])

    def publish(self, folders: Mapping[str, Path], policy: Path | None, scores: Mapping[str, float]) -> None:
        """Add folders as artefacts and the final score as figures, and register the policy as a model."""
        for name, value in scores.items():
            self._client.log_metric(self._run_id, f"final_score/{name}", float(value))
        for name, folder in folders.items():
            self._client.log_artifacts(self._run_id, str(folder), name)
        if policy is not None and not self._is_published:
            self._client.log_artifacts(self._run_id, str(policy), "policy")
            self._register(policy)
            self._is_published = True

    def _register(self, policy: Path) -> None:
        """Log the policy as a model of the run, as a new version of the registered model of the experiment."""
        models, types = (importlib.import_module(name) for name in ("mlflow.models", "mlflow.types.schema"))
        vectors = types.Schema([types.TensorSpec(np.dtype(np.float32), (-1, -1))])
        before = self._mlflow.get_tracking_uri()
        self._mlflow.set_tracking_uri(self._uri)
        try:
            with self._mlflow.start_run(run_id=self._run_id):
                self._mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(_CODE),
                    artifacts={"policy": str(policy)},
                    signature=models.ModelSignature(inputs=vectors),
                    pip_requirements=[f"ploutos_jax=={__version__}", f"mlflow-skinny=={self._mlflow.__version__}"],
                    registered_model_name=self._experiment,
                    await_registration_for=30,
                )
        finally:
            self._mlflow.set_tracking_uri(before)

    def end(self, how: str) -> None:
        """Set the status of the tracked run."""
        self._client.set_terminated(self._run_id, status=_STATUS[how])
