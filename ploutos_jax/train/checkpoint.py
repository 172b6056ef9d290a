"""Checkpoints with Orbax: the whole training state to go on from, the agent alone to act with.

Each step holds three items: `agent` (parameters and scaling), `training` (optimiser, environments, keys, counters)
and `meta` (JSON: configuration, features, tickers). Restoring an agent reads the first and the last only and puts
the arrays on the present default device, whatever device they were saved from.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.agent import Agent, AgentParams, Network
from ploutos_jax.train.normalize import FeatureScaling, ObservationScaling, RunningMoments
from ploutos_jax.train.ppo import TrainState
from ploutos_jax.train.seeds import of_seed

STEPS_FOLDER = "checkpoints"
_FORMAT = 2

PathLike = str | os.PathLike[str]


class Checkpoints:
    """Writer of a run's checkpoints; asynchronous. Use as a context manager, so that nothing is left half-written."""

    def __init__(self, run_folder: PathLike, meta: Mapping[str, Any], *, keep: int = 3) -> None:
        self._meta = dict(meta)
        self._manager = _open_manager(run_folder, keep=keep)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState) -> None:
        """Start to write a step; returns once the arrays are copied, so that their buffers may be donated."""
        if step == self._manager.latest_step():
            return
        rest = state.replace(agent=None)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                agent=ocp.args.StandardSave(state.agent),
                training=ocp.args.StandardSave(rest),
                meta=ocp.args.JsonSave(self._meta | {"step": step}),
            ),
        )

    def restore(self, template: TrainState) -> TrainState:
        """Return the newest state; `template` gives structure, shapes and devices.

        Raises:
            ValueError: if there is no checkpoint.
        """
        step = self._manager.latest_step()
        if step is None:
            raise ValueError(f"There is no checkpoint to resume from in {self._manager.directory}.")
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                agent=ocp.args.StandardRestore(_abstract(template.agent)),
                training=ocp.args.StandardRestore(_abstract(template.replace(agent=None))),
            ),
        )
        return restored["training"].replace(agent=restored["agent"])


def check_resumable(run_folder: PathLike, meta: Mapping[str, Any]) -> None:
    """Make sure, without writing anything, that a run can go on from its newest checkpoint.

    Args:
        run_folder: folder of the run.
        meta: what `describe` returns of the run as it is called now.

    Raises:
        ValueError: if the run has no checkpoint, or was trained on other bars, tickers or features.
    """
    steps_folder = Path(run_folder).absolute() / STEPS_FOLDER
    stored = None
    if steps_folder.is_dir():
        with _open_manager(run_folder) as manager:
            stored = _read_meta(manager, manager.latest_step())
    if stored is None:
        raise ValueError(
            f"There is no checkpoint to resume from in {steps_folder}: the run ended before its first. Start it anew"
            " in another folder."
        )
    if stored.get("num_seeds", 1) != meta["num_seeds"]:
        raise ValueError(
            f"The run in {run_folder} has num_seeds={stored.get('num_seeds', 1)}, now it is {meta['num_seeds']}. Give"
            " the same number to resume, or start anew in another folder."
        )
    for name in ("symbols", "feature_names", "trained_from", "trained_to"):
        if stored[name] != meta[name]:
            raise ValueError(
                f"The run in {run_folder} was trained on other data: {name} was {_shorten(stored[name])}, now it is"
                f" {_shorten(meta[name])}. Give the same data to resume, or start anew in another folder."
            )


def _read_meta(manager: ocp.CheckpointManager, step: int | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]


def _shorten(names: str | list[str]) -> str:
    return names if isinstance(names, str) else f"{len(names)} names ({', '.join(names[:5])} …)"


def describe(
    network: Network, env_config: EnvConfig, market: Market, params: EnvParams, num_seeds: int = 1
) -> dict[str, Any]:
    """Return the JSON beside the arrays: enough to rebuild the agents, one per seed, in another process."""
    columns = np.asarray(params.sector_columns)
    return {
        "format": _FORMAT,
        "env": env_config.to_plain(),
        "policy": dataclasses.asdict(network.model.config),
        "num_assets": network.model.num_assets,
        "chunk_bytes": network.chunk_bytes,
        "num_seeds": num_seeds,
        "feature_names": list(market.feature_names),
        **describe_labels(market),
        "sectors": np.where(columns.any(axis=0), columns.argmax(axis=0), NO_SECTOR).tolist(),
        "jax": jax.__version__,
    }


def describe_labels(market: Market) -> dict[str, Any]:
    """Return the names of a training market: `symbols`, `trained_from`, `trained_to`; empty without labels."""
    if market.labels is None:
        return {"symbols": [], "trained_from": "", "trained_to": ""}
    first, last = (str(market.times[row])[:10] for row in (0, -1))
    return {"symbols": list(market.symbols), "trained_from": first, "trained_to": last}


def restore(run_folder: PathLike, *, step: int | None = None, seed: int = 0) -> Agent:
    """Return an agent of a run, ready to act; needs nothing but the folder.

    A reward function of the user's own is not part of a checkpoint (acting does not need it): `agent.env_config`
    then names the default reward.

    Args:
        run_folder: folder written by a training run, absolute or relative to the working directory.
        step: update number of the checkpoint; the newest without it.
        seed: which agent of a run with several seeds, by its place; the first without it, whatever its score.

    Raises:
        ValueError: if the folder holds no such checkpoint or agent; the message says which it has.
    """
    folder = Path(run_folder).absolute()
    if not (folder / STEPS_FOLDER).is_dir():
        raise ValueError(
            f"No checkpoint in {folder}: a run folder holds a folder named {STEPS_FOLDER!r}."
            " Give the folder that was passed to train as --output."
        )
    with _open_manager(folder) as manager:
        steps = manager.all_steps()
        if not steps:
            raise ValueError(
                f"No finished checkpoint in {folder / STEPS_FOLDER}; the run was stopped before its first."
            )
        if step is not None and step not in steps:
            raise ValueError(f"No checkpoint of step {step} in {folder}; there are {sorted(steps)}.")
        chosen = max(steps) if step is None else step
        meta = manager.restore(chosen, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        network = _network_from(meta)
        num_seeds = meta.get("num_seeds", 1)
        if not 0 <= seed < num_seeds:
            raise ValueError(f"No agent {seed} in {folder}: the run has {num_seeds}, numbered from 0.")
        template = jax.eval_shape(lambda: _blank_agents(network, len(meta["feature_names"]), num_seeds))
        params = manager.restore(chosen, args=ocp.args.Composite(agent=ocp.args.StandardRestore(_abstract(template))))
    return Agent(
        params=of_seed(params["agent"], seed, num_seeds),
        network=network,
        env_config=EnvConfig.from_plain(meta["env"]),
        feature_names=tuple(meta["feature_names"]),
        symbols=tuple(meta["symbols"]),
        sectors=tuple(meta["sectors"]),
        trained_from=meta["trained_from"],
        trained_to=meta["trained_to"],
        step=chosen,
    )


def _network_from(meta: Mapping[str, Any]) -> Network:
    policy = PolicyConfig(**{**meta["policy"], "hidden": tuple(meta["policy"]["hidden"])})
    return Network.create(policy, meta["env"]["action"], meta["num_assets"], meta["chunk_bytes"])


def _blank_agents(network: Network, num_features: int, num_seeds: int) -> AgentParams:
    from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS

    zeros = jax.numpy.zeros(num_features)
    scaling = ObservationScaling(
        features=FeatureScaling(centre=zeros, spread=zeros),
        assets=RunningMoments.create(len(ASSET_FIELDS)),
        account=RunningMoments.create(len(ACCOUNT_FIELDS)),
    )
    agent = AgentParams(network=network.init(jax.random.key(0), num_features), scaling=scaling)
    return agent if num_seeds == 1 else jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * num_seeds), agent)


def _abstract(tree: Any) -> Any:
    """Return shapes, dtypes and the default device for every leaf, so that any saved topology can be read."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree)


def _open_manager(run_folder: PathLike, *, keep: int | None = None) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(max_to_keep=keep)
    return ocp.CheckpointManager(Path(run_folder).absolute() / STEPS_FOLDER, options=options)
