"""One trial of a study: an ordinary run in a folder of its own, scored on the bars to choose on."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ploutos_jax.experiment.run import prepared_output, read_data, train_agents
from ploutos_jax.experiment.study.config import TRIAL_PREFIX
from ploutos_jax.runs.overrides import merge
from ploutos_jax.runs.run_files import is_run
from ploutos_jax.runs.settings import RunSettings
from ploutos_jax.train.learning.divergence import DivergedError
from ploutos_jax.train.progress import Progress
from ploutos_jax.train.run.figures import read_figures
from ploutos_jax.train.run.folder import add_to_summary

SCORE, STEPS = "score", "timesteps"
NO_SCORE = -1e3
"""Of an agent that never traded, or diverged: below every Sharpe ratio, and a number, as samplers need."""


def at_point(settings: RunSettings, point: Mapping[str, Any]) -> RunSettings:
    """Return settings with the values of a point.

    Raises:
        ValueError: if a name is no setting, or a value none of it.
    """
    return merge(settings, point, f"trial with {', '.join(f'{name}={value}' for name, value in point.items())}")


def run_trial(
    settings: RunSettings,
    folder: Path,
    report: Callable[[dict[str, float]], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train as settings say; a folder that holds a part of the run goes on from there. Nothing is scored on the test.

    What such a part was scored is reported again, so that whoever lost it knows it.

    Args:
        settings: of the run, its data those of `choosing_bars`.
        folder: of the run.
        report: called with `score` and `timesteps` each time that the agent was scored.
        should_stop: asked between calls of the compiled program.
    """
    settings = dataclasses.replace(settings, output=str(folder), resume=is_run(folder), report=False, quiet=True)

    def tell(rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            if "held_out_score" in row:
                score = row["held_out_score"]
                report({SCORE: NO_SCORE if score is None else float(score), STEPS: row["timesteps"]})

    def observe(progress: Progress) -> None:
        tell(progress.rows)

    with prepared_output(settings) as output:
        tell(read_figures(output))
        data = read_data(settings, output)
        try:
            train_agents(settings, data, output, observers=[observe], should_stop=should_stop)
        except DivergedError as error:
            add_to_summary(output, {"diverged": str(error)})
            report({SCORE: NO_SCORE, STEPS: settings.train.total_timesteps})


def name_of(point: Mapping[str, Any]) -> str:
    """Return the name of a trial's folder, which follows from its point: a study that forgot a trial finds it again."""
    text = json.dumps({name: point[name] for name in sorted(point)}, default=str)
    return f"{TRIAL_PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def peak_bytes() -> int:
    """Return the most memory that this process has held, bytes; 0 where the system does not tell."""
    try:
        import resource  # not on every system
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def measure_trial(settings: RunSettings, folder: Path) -> int:
    """Train for one update and one score, and return the peak memory of this process, bytes."""
    train = settings.train
    short = dataclasses.replace(
        train, total_timesteps=train.timesteps_per_update, rollout_length=train.steps_per_rollout, eval_every=None
    )
    run_trial(dataclasses.replace(settings, train=short), folder)
    return peak_bytes()
