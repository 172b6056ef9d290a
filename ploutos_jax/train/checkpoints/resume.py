"""May a run go on: whether its data, features and settings are those that it was started with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from ploutos_jax.agents.checksum import digest_of_bars
from ploutos_jax.agents.scaling import FeatureScaling
from ploutos_jax.agents.spec import check_format
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.train.checkpoints.checkpoint import STEPS_FOLDER, PathLike
from ploutos_jax.train.checkpoints.store import DamagedError, Steps
from ploutos_jax.train.config import MAY_CHANGE, Hyper, TrainConfig
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.run.figures import METRICS_FILE

_LABELS = ("symbols", "feature_names", "trained_from", "trained_to")
_TOLERANCE = 1e-3


def describe_run(config: TrainConfig, market: Market, params: EnvParams, hyper: Hyper) -> dict[str, Any]:
    """Return, as JSON, what must be the same to resume a run, in addition to what `describe` returns of its agents."""
    train = dataclasses.asdict(config)
    del train["policy"]  # is part of the agents' description
    train |= train.pop("evolution")
    train["rollout_length"] = config.steps_per_rollout
    numbers = {
        name: _exact(value)
        for name, value in {**vars(params), **vars(hyper)}.items()
        if not isinstance(value, Market) and value is not None and np.size(value) <= config.num_seeds
    }
    # Its schedules follow the length of the run, which may grow.
    numbers.pop("num_updates", None)
    return {"train": _as_json(train), "numbers": numbers, "bars": digest_of_bars(market), "made_by": _made_by()}


def _exact(value: Any) -> Any:
    """Return numbers for JSON; text where it has none, as for infinity."""
    numbers = np.asarray(value, np.float64)
    return numbers.tolist() if np.isfinite(numbers).all() else str(numbers.tolist())


def _made_by() -> list[str]:
    return [jax.__version__, jax.default_backend()]


def check_resumable(run_folder: PathLike, meta: Mapping[str, Any]) -> bool:
    """Make sure, without writing anything, that a run can go on; return whether there is a checkpoint to go on from.

    A run that was ended before it did anything has none, and starts from the beginning.

    Args:
        run_folder: folder of the run.
        meta: what `describe` and `describe_run` return of the run as it is called now.

    Raises:
        ValueError: if its checkpoints are gone or all damaged, or it was started with other data or settings; the
            message names what differs.
    """
    folder = Path(run_folder).absolute()
    stored = _newest_meta(folder)
    if stored is None:
        figures = folder / METRICS_FILE
        if figures.exists() and figures.stat().st_size:
            raise ValueError(
                f"There is no checkpoint to resume from in {folder / STEPS_FOLDER}, although the run has figures: its"
                " checkpoints were removed. Start a new run in another folder."
            )
        return False
    check_format(stored, f"The newest checkpoint in {folder}")
    _check_seeds(folder, stored, meta)
    _check_data(folder, stored, meta)
    if changed := _changed_settings(stored, meta):
        raise ValueError(
            f"The run in {folder} was started with other settings: {'; '.join(changed)}. Give the same ones to resume,"
            " or start a new run in another folder."
        )
    return True


def with_rollout_of(run_folder: PathLike, config: TrainConfig) -> TrainConfig:
    """Return settings with the length of rollout that a run was begun with, if they name none.

    It was chosen from the number of steps then, which may have grown since.
    """
    if config.rollout_length is not None:
        return config
    try:
        stored = _newest_meta(Path(run_folder).absolute()) or {}
    except DamagedError:
        return config  # `check_resumable` says so
    length = stored.get("train", {}).get("rollout_length")
    if not isinstance(length, int) or length < 1 or length == config.steps_per_rollout:
        return config
    return dataclasses.replace(config, rollout_length=length)


def check_features(state: TrainState, restored: TrainState, feature_names: tuple[str, ...]) -> None:
    """Make sure that features mean what they meant: their scaling, refitted, must be that of the checkpoint.

    Raises:
        ValueError: naming those whose centre or spread on the training rows is another.
    """
    now, then = (cast(FeatureScaling, x.agent.scaling.features) for x in (state, restored))
    spread = np.abs(np.asarray(then.spread))
    moved = np.abs(np.asarray(now.centre) - np.asarray(then.centre)) + np.abs(np.asarray(now.spread) - spread)
    within = (moved <= _TOLERANCE * spread).reshape(-1, len(feature_names))
    other = np.logical_not(within.all(axis=0))
    if other.any():
        names = [name for name, is_other in zip(feature_names, other.tolist(), strict=True) if is_other]
        raise ValueError(
            f"The run was trained on other values of {_shorten(names)}: their centre or spread has moved. Give the same"
            " data and feature functions to resume, or start a new run in another folder."
        )


def _newest_meta(folder: Path) -> dict[str, Any] | None:
    """Return the description in the newest checkpoint that has a readable one."""
    if not (folder / STEPS_FOLDER).is_dir():
        return None
    with Steps(folder / STEPS_FOLDER) as steps:
        damage = None
        for step in steps.numbers[::-1]:
            try:
                return steps.read_meta(step)
            except DamagedError as error:
                damage = damage or error
    if damage is not None:
        raise damage
    return None


def _check_seeds(folder: Path, stored: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    if stored.get("num_seeds", 1) != meta["num_seeds"]:
        raise ValueError(
            f"The run in {folder} has num_seeds={stored.get('num_seeds', 1)}, now it is {meta['num_seeds']}. Give"
            " the same number to resume, or start a new run in another folder."
        )


def _check_data(folder: Path, stored: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    changed = [f"{name} was {_shorten(stored[name])}, now it is {_shorten(meta[name])}" for name in _LABELS
               if stored[name] != meta[name]]  # fmt: skip
    # Synthetic data and adjusted prices may be rounded otherwise by another device or version.
    if not changed and stored.get("made_by") == meta["made_by"] and stored["bars"] != meta["bars"]:
        changed = ["bars: prices, volumes or dates within the same span were changed"]
    if changed:
        raise ValueError(
            f"The run in {folder} was trained on other data: {'; '.join(changed)}. Give the same data to resume, or"
            " start a new run in another folder."
        )


def _changed_settings(stored: Mapping[str, Any], meta: Mapping[str, Any]) -> list[str]:
    """Return the settings that may not change and did, as `name: then -> now`."""
    changed = [entry for section in ("train", "env", "policy") for entry in _differences(stored, meta, section)]
    # Numbers follow from settings; those that were given as arguments may differ alone.
    changed = changed or _differences(stored, meta, "numbers")
    before, now = (tree.get("train", {}).get("total_timesteps", 0) for tree in (stored, meta))
    if now < before:
        changed.append(f"total_timesteps: {before} -> {now} (it may only grow)")
    return sorted(changed)


def _differences(stored: Mapping[str, Any], meta: Mapping[str, Any], section: str) -> list[str]:
    # What one of two versions does not know of cannot be compared.
    before, now = _as_json(stored.get(section, {})), _as_json(meta[section])
    names = [name for name in before.keys() & now.keys() if before[name] != now[name] and name not in MAY_CHANGE]
    return [f"{name}: {before[name]} -> {now[name]}" for name in names]


def _as_json(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in tree.items()}


def _shorten(names: str | list[str]) -> str:
    return names if isinstance(names, str) else f"{len(names)} names ({', '.join(names[:5])} …)"
