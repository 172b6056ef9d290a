"""A run told to tracking services: from its first update to its report and its agent."""

import contextlib
import dataclasses
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.ensemble import ensemble
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.checkpoints.export import export_policy
from ploutos_jax.train.run.trackers.mlflow_tracker import MlflowTracker
from ploutos_jax.train.run.trackers.tracking import FAILED, FINISHED, STOPPED, Tracking
from ploutos_jax.train.run.trackers.wandb_tracker import WandbTracker

_TRACKERS = {"mlflow": MlflowTracker, "wandb": WandbTracker}


@dataclasses.dataclass
class Tracked:
    """The loggers of a run's tracking services.

    Attributes:
        loggers: for `train`; empty where the run is not tracked.
        stopped: whether the run was interrupted, for how it is said to have ended.
    """

    loggers: tuple[Tracking, ...]
    stopped: bool = False
    _folders: dict[str, Path] = dataclasses.field(default_factory=dict)
    _scores: dict[str, float] = dataclasses.field(default_factory=dict)
    _agent: Agent | None = None

    def publish(self, agents: Sequence[Agent], scores: Mapping[str, Any], report: Path | None) -> None:
        """Keep what came of the run, to be handed over at its end.

        Args:
            agents: one for each seed; several are published as their ensemble.
            scores: figures of the final score; those that are no finite numbers are left out.
            report: its folder, or None.
        """
        self._agent = agents[0] if len(agents) == 1 else ensemble(agents)
        self._scores = {name: float(value) for name, value in scores.items() if _is_number(value)}
        self._folders = {} if report is None else {"report": report}

    def finish(self, how: str) -> None:
        """Hand over what was published, and end the tracked runs."""
        if not self.loggers:
            return
        place = Path(tempfile.mkdtemp(prefix="ploutos-policy-"))
        try:
            policy = None if self._agent is None else export_policy(self._agent, place / "policy")
            for logger in self.loggers:
                logger.finish(how, folders=self._folders, policy=policy, scores=self._scores)
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def tracked(settings: RunSettings, output: Path) -> Iterator[Tracked]:
    """Tell a run to the services of `settings.log`, and how it has ended.

    Raises:
        ValueError: if the package of one is not installed.
    """
    values = _leaves(dataclasses.asdict(settings))
    trackers = [_TRACKERS[name](output, values) for name in dict.fromkeys(settings.log) if name in _TRACKERS]
    run = Tracked(tuple(Tracking(output, tracker, ends_with_training=False) for tracker in trackers))
    try:
        yield run
    except KeyboardInterrupt:
        run.finish(STOPPED)
        raise
    except BaseException:
        run.finish(FAILED)
        raise
    run.finish(STOPPED if run.stopped else FINISHED)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _leaves(value) if isinstance(value, Mapping) else {name: value}
    return flat
