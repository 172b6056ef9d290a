"""Checkpoints of a run: the whole training state to go on from, the agent alone to act with.

Each step holds three items: `agent` (parameters and scaling), `training` (optimiser, environments, keys, counters)
and `meta` (JSON: configuration, features, tickers). Restoring an agent reads the first and the last only and puts
the arrays on the present default device, whatever device they were saved from. The best agent by held-out score lies
in a folder of its own, without the training state.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams
from ploutos_jax.agents.spec import agent_from, check_format, shapes_of
from ploutos_jax.env.bounds import shown
from ploutos_jax.train.checkpoints.store import DamagedError, Steps
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.population import of_seed

STEPS_FOLDER = "checkpoints"
BEST_FOLDER = "best"

PathLike = str | os.PathLike[str]


class Checkpoints:
    """Writer of a run's checkpoints; asynchronous. Use as a context manager, so that nothing is left half-written."""

    def __init__(self, run_folder: PathLike, meta: Mapping[str, Any], *, keep: int = 3) -> None:
        self._meta = dict(meta)
        self._steps = Steps(Path(run_folder) / STEPS_FOLDER, keep=keep, write=True)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self._steps.__exit__(*error)

    @property
    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return max(self._steps.numbers, default=None)

    def save(self, step: int, state: TrainState) -> None:
        """Start to write a step; returns once the arrays are copied, so that their buffers may be donated.

        Raises:
            SaveError: if this step or the one before it cannot be written.
        """
        if step != self.latest_step:
            self._steps.save(step, _apart(state), self._meta)

    def wait(self) -> None:
        """Return once everything is on the disk; raise `SaveError` if it cannot be."""
        self._steps.wait()

    def restore(self, template: TrainState) -> TrainState:
        """Return the newest state that is whole; damaged ones after it are named in a warning and set aside.

        Args:
            template: gives structure, shapes and types.

        Raises:
            ValueError: if there is no checkpoint, or none is whole.
        """
        if not self._steps.numbers:
            raise ValueError(f"There is no checkpoint to resume from in {self._steps.path}.")
        templates = _apart(template)
        step, _, trees = self._steps.read_newest(lambda _: templates)
        self._steps.set_aside(after=step)
        return _joined(trees["agent"], trees["training"])


def _apart(state: TrainState) -> dict[str, Any]:
    """Return what is saved of a state: the agent by itself, as it acts, and all else.

    An agent acts with averaged parameters where there are any; those that training goes on from are then in `average`.
    """
    rest = state.replace(agent=None)
    if state.average is not None:
        rest = rest.replace(average=state.agent.network)
    return {"agent": state.acting, "training": rest}


def _joined(agent: AgentParams, rest: TrainState) -> TrainState:
    """Return the state that `_apart` took apart."""
    if rest.average is None:
        return rest.replace(agent=agent)
    return rest.replace(agent=agent.replace(network=rest.average), average=agent.network)


class BestAgent:
    """Writer of the best agent of a run so far, by a score of which more is better. Use as a context manager."""

    def __init__(self, run_folder: PathLike, meta: Mapping[str, Any]) -> None:
        self._meta = dict(meta)
        self._steps = Steps(Path(run_folder) / BEST_FOLDER, keep=1, write=True)
        self.found: dict[str, Any] | None = None
        for step in self._steps.numbers[::-1]:
            try:
                self.found = self._steps.read_meta(step)["best"]
                self._steps.set_aside(after=step)
                break
            except (DamagedError, KeyError):
                continue

    def __enter__(self) -> "BestAgent":
        return self

    def __exit__(self, *error: Any) -> None:
        self._steps.__exit__(*error)

    def offer(self, step: int, params: AgentParams, figures: Mapping[str, Any]) -> None:
        """Save the agent of an update if its `figures["score"]` is the highest so far; of equal ones the first stays.

        Raises:
            SaveError: if it cannot be written.
        """
        score = figures["score"]
        if score is None or (self.found is not None and score <= self.found["score"]):
            return
        # After resuming on a device that rounds otherwise, one from a later update may lie there.
        self._steps.remove(after=step - 1)
        self.found = {"update": step, **figures}
        self._steps.save(step, {"agent": params}, {**self._meta, "best": self.found})
        self._steps.wait()


def restore(run_folder: PathLike, *, step: int | None = None, best: bool = False, seed: int = 0) -> Agent:
    """Return an agent of a run, ready to act; needs nothing but the folder.

    A reward function of the user's own is not part of a checkpoint (acting does not need it): `agent.env_config`
    then names the default reward. A newest checkpoint that is damaged is named in a warning, and the one before it is
    taken.

    Args:
        run_folder: folder written by a training run, absolute or relative to the working directory.
        step: update number of the checkpoint; the newest without it.
        best: take the agent with the best score on held-out bars during the run (of several seeds: by the mean).
        seed: which agent of a run with several seeds, by its place; the first without it, whatever its score.

    Raises:
        ValueError: if the folder holds no such checkpoint or agent, or it is damaged; the message says which it has.
    """
    chosen, meta, params = _read(run_folder, step, best)
    num_seeds = meta.get("num_seeds", 1)
    if not 0 <= seed < num_seeds:
        folder = Path(run_folder).absolute()
        raise ValueError(f"No agent {seed} in {folder}: the run has {num_seeds}, numbered from 0.")
    return agent_from(meta, of_seed(params, seed, num_seeds), chosen)


def restore_seeds(run_folder: PathLike, *, step: int | None = None, best: bool = False) -> dict[str, Agent]:
    """Return the agents of all seeds of a run by what they are, "seed 3" say, in their order; see `restore`.

    Raises:
        ValueError: as `restore` does.
    """
    chosen, meta, params = _read(run_folder, step, best)
    num_seeds = meta.get("num_seeds", 1)
    first = meta["train"].get("seed") if isinstance(meta.get("train"), Mapping) else None
    # Runs of older versions do not say which seed was the first.
    names = [f"agent {place}" if not isinstance(first, int) else f"seed {first + place}" for place in range(num_seeds)]
    return {name: agent_from(meta, of_seed(params, i, num_seeds), chosen) for i, name in enumerate(names)}


def _read(run_folder: PathLike, step: int | None, best: bool) -> tuple[int, Mapping[str, Any], AgentParams]:
    """Return update, description and arrays of all seeds of a checkpoint; arguments and errors of `restore`."""
    if best and step is not None:
        raise ValueError(f"step={step} and best=True name two checkpoints; give one of them.")
    folder = Path(run_folder).absolute()
    place = folder / (BEST_FOLDER if best else STEPS_FOLDER)
    if not place.is_dir():
        if best and (folder / STEPS_FOLDER).is_dir():
            raise ValueError(f"The run in {folder} has no best checkpoint: it was not scored on held-out bars.")
        raise ValueError(
            f"No checkpoint in {folder}: a run folder holds a folder named {STEPS_FOLDER!r}."
            " Give the folder that was passed to train as --output."
        )
    with Steps(place) as steps:
        if not steps.numbers:
            raise ValueError(f"No finished checkpoint in {place}; the run was stopped before its first.")
        if step is None:
            chosen, meta, trees = steps.read_newest(_templates)
        elif step not in steps.numbers:
            raise ValueError(f"No checkpoint of step {step} in {folder}; there are {steps.numbers}.")
        else:
            chosen, (meta, trees) = step, steps.read_whole(step, _templates)
    return chosen, meta, trees["agent"]


def _templates(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shapes of an agent's arrays, known to make one: a description may say anything.

    Raises:
        ValueError: if a later version wrote it.
        DamagedError: if it lacks something, or says what no run can be.
    """
    check_format(meta, "The checkpoint")
    try:
        num_seeds = meta.get("num_seeds", 1)
        for name, value in {"num_seeds": num_seeds, **_sizes(meta)}.items():
            # Before anything of that size is made.
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST[name]:
                raise DamagedError(f"its description says {name}={shown(value)}, which is none from 1 to {_MOST[name]}")
        shapes: Any = shapes_of(meta, 1)
        agent_from(meta, shapes, 0)
    except KeyError as error:
        raise DamagedError(f"its description lacks {error}") from error
    except (TypeError, AttributeError, OverflowError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"its description makes no agent: {shown(error)}") from error
    if num_seeds > 1:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_seeds, *leaf.shape), leaf.dtype), shapes)
    return {"agent": shapes}


_MOST = {"num_seeds": 65_536, "num_assets": 1_000_000, "hidden": 1_000_000, "width": 1_000_000, "features": 100_000}
"""More of these than any run has, and few enough to ask for their shapes."""


def _sizes(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a description that its arrays grow with; of the layers the widest."""
    hidden = meta["policy"]["hidden"]
    return {
        "num_assets": meta["num_assets"],
        "hidden": max(hidden) if hidden and len(hidden) <= 1000 else 0,
        "width": meta["policy"].get("width", 1),
        "features": max(len(meta["feature_names"]), 1),
    }
