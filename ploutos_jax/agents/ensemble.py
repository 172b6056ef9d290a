"""Ensembles: several agents, the seeds of a run say, as one agent whose action is that of all of them together.

What is averaged are the targets, before trading: one account trades the mean, so that costs of members who disagree net
out. An equal part of the money for each member would pay them all.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.members import Members
from ploutos_jax.market.calendar import Calendar


def ensemble(agents: Sequence[Agent], names: Sequence[str] | None = None) -> Agent:
    """Return one agent that takes the mean of what its members would do; see `members.choose_of`.

    It acts wherever an agent does, and sees its own account. Its training span runs from the earliest to the latest bar
    of its members', and so do the bars that any of them was chosen on; a span that is not known of one is not known.
    The step is the latest of theirs.

    Args:
        agents: members, of the same rules, features, action form and network; of one, it is the agent itself.
        names: what each is, such as "seed 3, update 40"; the update alone without them.

    Raises:
        ValueError: if there is none, one is an ensemble itself, or one differs from the first; the message names it and
            what differs.
    """
    agents = list(agents)
    if not agents:
        raise ValueError("An ensemble needs agents, and there is none.")
    names = [f"update {agent.step}" for agent in agents] if names is None else list(names)
    if len(names) != len(agents):
        raise ValueError(f"There are {len(names)} names of {len(agents)} members; give one for each.")
    first = agents[0]
    if len(agents) == 1:
        return first
    for place, agent in enumerate(agents):
        if agent.members:
            raise ValueError(f"Member {place} is an ensemble of {len(agent.members)} itself; give its members.")
        if different := _differences(first, agent):
            raise ValueError(
                f"Member {place} differs from member 0 in {'; '.join(different)}. Members of an ensemble need the same"
                " rules, features, action form and network."
            )
    spans = [(agent.trained_from, agent.trained_to) for agent in agents]
    is_known = all(first and last for first, last in spans)
    chosen = [agent.chosen_on for agent in agents if agent.chosen_on]
    sectors = _sectors_of(agents) if first.symbols else {}
    calendars = [agent.calendar for agent in agents]
    return Agent(
        params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *(agent.params for agent in agents)),
        network=Members.of(first.network, len(agents)),
        env_config=first.env_config,
        feature_names=first.feature_names,
        symbols=tuple(sectors),
        sectors=tuple(sectors.values()) if first.symbols else first.sectors,
        trained_from=min(first for first, _ in spans) if is_known else "",
        trained_to=max(last for _, last in spans) if is_known else "",
        step=max(agent.step for agent in agents),
        chosen_on=(min(span[0] for span in chosen), max(span[1] for span in chosen)) if chosen else (),
        calendar=None if any(calendar is None for calendar in calendars) else first.calendar,
        members=tuple(names),
    )


def members_of_ensemble(agent: Agent) -> tuple[Agent, ...]:
    """Return the members of an ensemble as agents, in their order; an agent alone is its only one.

    What an ensemble does not keep of each (tickers, spans and steps, where they differed) is that of all together.
    """
    network = agent.network
    if not isinstance(network, Members):
        return (agent,)

    def member(place: int) -> Agent:
        params = jax.tree.map(lambda leaf: leaf[place], agent.params)
        return dataclasses.replace(agent, params=params, network=network.one, members=())

    return tuple(member(place) for place in range(network.num_members))


def _differences(one: Agent, other: Agent) -> list[str]:
    """Return in words what two agents differ in, so that they cannot be members of one ensemble."""
    found = _different_fields(one.env_config.to_plain(), other.env_config.to_plain())
    if one.feature_names != other.feature_names:
        apart = sorted(set(one.feature_names) ^ set(other.feature_names)) or ["their order"]
        found.append(f"features: {', '.join(apart[:5])}{' …' if len(apart) > 5 else ''}")
    if one.network.head != other.network.head:
        found.append(f"action form: {type(one.network.head).__name__} and {type(other.network.head).__name__}")
    policies = [dataclasses.asdict(agent.network.model.config) for agent in (one, other)]
    found += [f"network: {text}" for text in _different_fields(*policies)]
    if one.network.torso.binds_assets and one.symbols != other.symbols:
        found.append("tickers, to which a flat network is bound")
    if not found and _shapes(one) != _shapes(other):
        found.append("the shapes of their parameters")
    if bool(one.symbols) != bool(other.symbols):
        found.append("tickers, which are known of one of them only")
    if _are_unalike(one.calendar, other.calendar):
        found.append(f"bars: {one.calendar.bar_length} and {other.calendar.bar_length}")  # type: ignore[union-attr]
    return found


def _different_fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [f"{name}={one.get(name)!r} and {other.get(name)!r}" for name in names]


def _shapes(agent: Agent) -> Any:
    return jax.tree.structure(agent.params), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(agent.params)]


def _are_unalike(one: Calendar | None, other: Calendar | None) -> bool:
    return one is not None and other is not None and not one.is_alike(other)


def _sectors_of(agents: Sequence[Agent]) -> dict[str, int]:
    """Return the sector columns of all tickers of all members.

    Raises:
        ValueError: if one was trained with a ticker in another sector, so that it knows another account.
    """
    sectors: dict[str, int] = {}
    for place, agent in enumerate(agents):
        for symbol, column in zip(agent.symbols, agent.sectors, strict=True):
            if sectors.setdefault(symbol, column) != column:
                raise ValueError(
                    f"Member {place} was trained with {symbol} in sector {column}, another one with it in sector"
                    f" {sectors[symbol]}: they know other accounts. Train them with the same sectors."
                )
    return sectors
