"""Acting: the one way from a network and a market to actions: training, backtests, stress tests, an agent by itself.

The market is encoded once into a table; at a step the table's row is looked up and the account is added to it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num, UInt8

from ploutos_jax.agents.members import Members, choose_of
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.rollout import Policy
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.lead import begins_path
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.policy.distributions import Head

_ROWS_ALONE, _NUMBERS_ALONE = 16, 128
"""Rows, and rows times assets, that a row encoded by itself is repeated to at least: few of them a CPU multiplies by
other programs, which add up in another order than those of a whole market."""


def encode_market(
    network: Network, agent: AgentParams, market: Market, drop_keys: Key[Array, " T"] | None = None
) -> Table:
    """Return the table of all T rows of a market, `[T, ...]`; row t is known at close t.

    Args:
        network: shapes.
        agent: parameters and scaling.
        market: features `[T, A, F]` and which assets trade `[T, A]`.
        drop_keys: `[T]` keys of dropout, None without it and with bars before the market, which are not trained on.
    """
    features, mask = market.features, market.tradable
    if not network.warm_up:
        return network.encode(agent.network, agent.scaling, features, mask, drop_keys)
    reset, lead = path_starts(market), market.lead
    if lead is None:
        return network.encode(agent.network, agent.scaling, features, mask, drop_keys, reset)
    num_before = lead.tradable.shape[0]
    begins = jnp.arange(num_before) == 0
    features, mask = jnp.concatenate([lead.features, features]), jnp.concatenate([lead.tradable, mask])
    reset = jnp.concatenate([begins, reset.at[0].set(False)])
    table = network.encode(agent.network, agent.scaling, features, mask, None, reset)
    return jax.tree.map(lambda x: x[num_before:], table)


def path_starts(market: Market) -> Bool[Array, " T"]:
    """Return `[T]` whether a row is the first of its path."""
    return begins_path(market.path_end)


def started_warm(params: EnvParams, warm_up: int) -> EnvParams:
    """Return numbers whose episodes begin where the network has seen as many bars of the path as it has to.

    Args:
        params: of the environment, of a market that is not being traced.
        warm_up: of the network; with 0 nothing changes.

    Raises:
        ValueError: if that leaves no bar at which an episode may begin.
    """
    if not warm_up:
        return params
    starts, ends = np.asarray(params.starts), np.asarray(params.market.path_end)
    kept = starts[starts - np.searchsorted(ends, ends[starts]) >= warm_up]
    if not kept.size:
        raise ValueError(
            f"A network that remembers sees {warm_up} bars of a path before an episode begins, and no path is as long"
            " as that and an episode. Give longer histories, or lower episode_length."
        )
    return params.replace(starts=jnp.asarray(kept))


def look_up(table: Table, t: Int[Array, "*batch"]) -> Table:
    """Return the rows of a table at bars `t [...]`."""
    return jax.tree.map(lambda x: x[t], table)


def respond(
    network: Network,
    agent: AgentParams,
    market: Market,
    row: Table,
    observation: Observation,
    drop_keys: Key[Array, "*batch"] | None = None,
) -> tuple[Float[Array, "*batch A outputs"], Float[Array, "*batch K"]]:
    """Return distribution outputs `[..., A, num_outputs]` and values for observations and their rows of the table.

    Of an ensemble `[..., N, A, num_outputs]`, and the values of its N members, each by its own rewards.
    """
    mask = market.tradable[observation.t]
    return network.act(agent.network, agent.scaling, row, mask, observation.assets, observation.account, drop_keys)


def market_policy(
    network: Network, agent: AgentParams, market: Market, *, sampled: bool = False, memory: Any = None
) -> Policy:
    """Return how an agent acts in a rollout over a market: greedy actions, or sampled with the keys of the rollout.

    With `memory`, of `remember`, the market goes on where that ends, as a slice of a longer one does.
    """
    if memory is None:
        table = encode_market(network, agent, market)
    else:
        goes_on = jnp.zeros(market.tradable.shape[0], bool)
        rows = market.features, market.tradable, goes_on
        table = network.encode_on(agent.network, agent.scaling, *rows, memory)[0]

    def policy(keys: Array, observation: Observation) -> tuple[Array, None]:
        outputs, _ = respond(network, agent, market, look_up(table, observation.t), observation)
        return choose(network, outputs, keys if sampled else None, market, observation), None

    return policy


def act_on(
    network: Network, agent: AgentParams, market: Market, observation: Observation, keys: Key[Array, " E"] | None = None
) -> Num[Array, "E actions *edges"]:
    """Return actions `[E, ...]` for `[E]` observations, of the rows that they stand at alone.

    A network that remembers encodes all rows of the market, at each call: in a loop, use `market_policy`.

    Args:
        network: shapes.
        agent: parameters and scaling.
        market: features and which assets trade.
        observation: `[E]`, known at their bars' close.
        keys: `[E]` to draw actions with; greedy ones without.
    """
    t = observation.t
    if network.warm_up:
        row = look_up(encode_market(network, agent, market), t)
    else:
        row = network.encode(agent.network, agent.scaling, market.features[t], market.tradable[t])
    outputs, _ = respond(network, agent, market, row, observation)
    return choose(network, outputs, keys, market, observation)


def act_next(
    network: Network,
    agent: AgentParams,
    market: Market,
    observation: Observation,
    memory: Float[Array, "*members blocks A kept"] | None,
) -> tuple[Num[Array, "E actions *edges"], Float[Array, "E *N A outputs"], Any]:
    """Return greedy actions for observations `[E]` of one bar, the outputs behind them, and the memory after the bar.

    For whoever follows bars as they come: `act_on` for a network that remembers would encode its whole past again. On a
    CPU the outputs are, but for few forms of networks, those of `encode_market` to the bit.

    Args:
        network: shapes.
        agent: parameters and scaling.
        market: features and which assets trade; the row observed is the one after those that `memory` has seen.
        observation: `[E]`, all of the same bar, known at its close.
        memory: of `remember`; None for a network without.
    """
    t = observation.t
    together = max(_ROWS_ALONE, -(-_NUMBERS_ALONE // market.tradable.shape[1]))
    if memory is None:
        at = jnp.repeat(t, together)
        rows = network.encode(agent.network, agent.scaling, market.features[at], market.tradable[at])
        row = jax.tree.map(lambda x: x[:: len(at) // len(t)], rows)
    else:
        features, there = market.features[t[:1]], market.tradable[t[:1]]
        row, memory = network.encode_on(
            agent.network, agent.scaling, features, there, jnp.zeros(1, bool), memory, None, together - 1
        )
        row = jax.tree.map(lambda x: jnp.repeat(x, t.shape[0], axis=0), row)
    outputs, _ = respond(network, agent, market, row, observation)
    return choose(network, outputs, None, market, observation), outputs, memory


def remember(
    network: Network,
    agent: AgentParams,
    features: Float[Array, "lead A F"],
    tradable: Bool[Array, "lead A"],
    memory: Any = None,
) -> Float[Array, "*members blocks A kept"] | None:
    """Return what a network remembers of some bars of a path, the first of them its beginning; None if it does not.

    Args:
        network: shapes.
        agent: parameters and scaling.
        features, tradable: rows in order of time; there may be none.
        memory: of the bars before the first; None where they begin a path.
    """
    if not network.warm_up:
        return None
    if memory is not None:
        goes_on = jnp.zeros(features.shape[0], bool)
        return network.encode_on(agent.network, agent.scaling, features, tradable, goes_on, memory)[1]
    blank = network.model.blank_state()
    if isinstance(network, Members):
        blank = jnp.broadcast_to(blank, (network.num_members, *blank.shape))
    if not features.shape[0]:
        return blank
    reset = jnp.arange(features.shape[0]) == 0
    return network.encode_on(agent.network, agent.scaling, features, tradable, reset, blank)[1]


def choose(
    network: Network,
    outputs: Float[Array, "E *N A outputs"],
    keys: Key[Array, " E"] | None,
    market: Market,
    observation: Observation,
) -> Num[Array, "E actions *edges"]:
    """Return actions as the environment takes them from outputs `[E, A, outputs]`, drawn if there are keys.

    Outputs of an ensemble are `[E, N, A, outputs]`, and its members' actions become one; see `members.choose_of`.
    """
    head, valid = network.head, observation.valid
    if isinstance(network, Members):
        of_one = jax.vmap(choose_of, in_axes=(None, 0, 0, None if valid is None else 0, None if keys is None else 0))
        return of_one(head, outputs, market.tradable[observation.t], valid, keys)
    action = head.mode(outputs, valid) if keys is None else draw(head, keys, outputs, valid)
    return head.to_env(action, market.tradable[observation.t])


def draw(
    head: Head, keys: Key[Array, " E"], outputs: Float[Array, "E A outputs"], valid: UInt8[Array, "E A"] | None
) -> Num[Array, "E A *parts"]:
    """Return the actions of a head, `[E, A]` or `[E, A, 2]`, drawn with a key for each account."""
    if valid is None:
        return jax.vmap(head.sample)(keys, outputs)
    return jax.vmap(head.sample)(keys, outputs, valid)
