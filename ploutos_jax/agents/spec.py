"""The description of an agent that is stored next to its arrays, as JSON, and how an agent is built from it again."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.members import Members
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.regimes import RegimeModel
from ploutos_jax.agents.scaling import FeatureScaling, ObservationScaling, RunningMoments
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR
from ploutos_jax.policy.actor_critic import PolicyConfig

FORMAT = 3
"""Version of the description; older ones lack what resuming compares, and can be read."""
ENSEMBLE_FORMAT = 4
"""Version of the description of an ensemble, which readers of format 3 would take for one agent."""
MOST_MEMBERS = 10_000
"""More members than any ensemble has, and few enough to ask for their shapes."""


def describe(
    network: Network, env_config: EnvConfig, market: Market, params: EnvParams, num_seeds: int = 1
) -> dict[str, Any]:
    """Return the JSON next to the arrays: enough to rebuild the agents, one per seed, in another process.

    Raises:
        ValueError: if a network that is bound to its assets would be trained on columns that hold others on each path.
    """
    if network.torso.binds_assets and market.labels is not None and market.labels.are_places:
        raise ValueError(
            f"policy.torso={network.model.config.torso!r} is bound to its assets, and path_tickers draws other ones for"
            " each path; take torso=shared, or leave path_tickers out."
        )
    columns = np.asarray(params.sector_columns)
    return {
        "format": FORMAT,
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


def describe_agent(agent: Agent) -> dict[str, Any]:
    """Return the JSON of one agent alone, or of one ensemble; what `agent_from` reads."""
    return {
        "format": ENSEMBLE_FORMAT if agent.members else FORMAT,
        "env": agent.env_config.to_plain(),
        "policy": dataclasses.asdict(agent.network.model.config),
        "num_assets": agent.network.model.num_assets,
        "chunk_bytes": agent.network.chunk_bytes,
        "feature_names": list(agent.feature_names),
        "symbols": list(agent.symbols),
        "trained_from": agent.trained_from,
        "trained_to": agent.trained_to,
        "sectors": list(agent.sectors),
        "chosen_on": list(agent.chosen_on),
        "calendar": None if agent.calendar is None else dataclasses.asdict(agent.calendar),
        "step": agent.step,
        **({"members": list(agent.members)} if agent.members else {}),
    }


def describe_labels(market: Market) -> dict[str, Any]:
    """Return names and calendar of a training market: `symbols`, `trained_from`, `trained_to`, `calendar`.

    Empty without labels; no symbols where the columns held other tickers on each path, so that it knows none of them.
    """
    if market.labels is None:
        return {"symbols": [], "trained_from": "", "trained_to": "", "calendar": None}
    first, last = (name_moment(market.times[row]) for row in (0, -1))
    calendar = dataclasses.asdict(market.calendar)
    symbols = [] if market.labels.are_places else list(market.symbols)
    return {"symbols": symbols, "trained_from": first, "trained_to": last, "calendar": calendar}


def check_format(meta: Mapping[str, Any], place: object) -> None:
    """Make sure that this version reads a description.

    Raises:
        ValueError: if it was written by a later one.
    """
    if not isinstance(meta.get("format"), int) or not 1 <= meta["format"] <= ENSEMBLE_FORMAT:
        raise ValueError(
            f"{place} has the format {meta.get('format')!r}; this version reads 1 to {ENSEMBLE_FORMAT}. Update"
            " ploutos_jax."
        )


def agent_from(meta: Mapping[str, Any], params: AgentParams, step: int) -> Agent:
    """Return an agent with the parameters of one seed, or the ensemble whose members the description names.

    Raises:
        ValueError: if it names members as no ensemble does.
    """
    members = members_of(meta)
    network = network_from(meta)
    return Agent(
        params=params,
        network=Members.of(network, len(members)) if members else network,
        env_config=EnvConfig.from_plain(meta["env"]),
        feature_names=tuple(meta["feature_names"]),
        symbols=tuple(meta["symbols"]),
        sectors=tuple(meta["sectors"]),
        trained_from=meta["trained_from"],
        trained_to=meta["trained_to"],
        step=step,
        chosen_on=tuple(meta.get("chosen_on") or ()),
        calendar=_calendar_from(meta.get("calendar")),
        members=members,
    )


def members_of(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the members of a described ensemble are; empty of one agent.

    Raises:
        ValueError: if that is no list of two texts or more.
    """
    members = meta.get("members")
    if members is None:
        return ()
    is_list = isinstance(members, list) and 2 <= len(members) <= MOST_MEMBERS
    if not is_list or not all(isinstance(member, str) for member in members):
        raise ValueError(f"members must be a list of 2 to {MOST_MEMBERS} texts")
    return tuple(members)


def _calendar_from(stored: Any) -> Calendar | None:
    """Return a calendar as it was stored; None where it was not, or by a version that knows others."""
    if not isinstance(stored, Mapping):
        return None
    try:
        return Calendar(**stored)
    except (TypeError, ValueError):
        return None


def network_from(meta: Mapping[str, Any]) -> Network:
    """Return the network of a description."""
    policy = PolicyConfig(**{**meta["policy"], "hidden": tuple(meta["policy"]["hidden"])})
    env_config, names = EnvConfig.from_plain(meta["env"]), meta["feature_names"]
    return Network.for_env(policy, env_config, meta["num_assets"], meta["chunk_bytes"], names)


def shapes_of(meta: Mapping[str, Any], num_seeds: int) -> AgentParams:
    """Return shapes and types of an agent's arrays, `[num_seeds, ...]` with several; nothing is computed."""
    network, num_features = network_from(meta), len(meta["feature_names"])

    def blank() -> AgentParams:
        zeros = jax.numpy.zeros(num_features)
        scaling = ObservationScaling(
            features=FeatureScaling(centre=zeros, spread=zeros),
            assets=RunningMoments.create(network.num_fields[0]),
            account=RunningMoments.create(network.num_fields[1]),
            forecast=None if network.model.config.forecast == "none" else Forecast.blank(num_features),
            regimes=None if network.model.config.regimes == "none" else RegimeModel.blank(),
        )
        agent = AgentParams(network=network.init(jax.random.key(0), num_features), scaling=scaling)
        return agent if num_seeds == 1 else jax.tree.map(lambda leaf: jax.numpy.stack([leaf] * num_seeds), agent)

    return jax.eval_shape(blank)
