"""What a network makes of a market and of many accounts in it, within the byte budget, as rollouts of training ask."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ploutos_jax.agents.acting import encode_market, look_up, respond
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.env.types import Observation
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.state import TrainState

_DROPOUT = 0x0D0
"""What the learner's key is folded with for dropout, so that all else stays as it is without."""


def drop_key_of(config: TrainConfig, state: TrainState) -> PRNGKeyArray | None:
    """Return the key of dropout in this update, the same in rollout and loss, or None without dropout."""
    return None if config.policy.dropout == 0 else jax.random.fold_in(state.key, _DROPOUT)


def table_of(
    config: TrainConfig,
    network: Network,
    agent: AgentParams,
    market: Market,
    drop_key: PRNGKeyArray | None = None,
    parts: Parts = WHOLE,
) -> Table | None:
    """Return the encoded market, or None where it has more rows than a device's part of a rollout has samples.

    Of a network that remembers, whose rows do not stand alone, always the market.
    """
    if market.num_bars > parts.of(config.timesteps_per_update) and not network.warm_up:
        return None
    return encode_market(network, agent, market, network.drop_keys(drop_key, jnp.arange(market.num_bars)))


def act_in_chunks(
    network: Network,
    agent: AgentParams,
    market: Market,
    table: Table | None,
    observation: Observation,
    drop_key: PRNGKeyArray | None,
) -> tuple[Float[Array, "n A outputs"], Float[Array, "n K"]]:
    """Return outputs and values for `[n]` observations; without a table the rows of the samples are encoded.

    Args:
        network, agent: what looks.
        market: features and masks.
        table: of `table_of`.
        observation: `[n]`.
        drop_key: of dropout, None without it.
    """

    def act(obs: Observation) -> tuple[Array, Array]:
        key = network.drop_keys(drop_key, obs.t)
        row = _row_of(network, agent, market, table, obs, key)
        return respond(network, agent, market, row, obs, key)

    return _map_in_chunks(act, observation, _samples_at_once(network, market, table))


def quantiles_in_chunks(
    network: Network,
    agent: AgentParams,
    market: Market,
    table: Table | None,
    observation: Observation,
    drop_key: PRNGKeyArray | None,
) -> Float[Array, "n N"]:
    """Return quantiles of the return to come for `[n]` observations; arguments are those of `act_in_chunks`."""

    def look(obs: Observation) -> Array:
        key = network.drop_keys(drop_key, obs.t)
        row = _row_of(network, agent, market, table, obs, key)
        seen = row, market.tradable[obs.t], obs.assets, obs.account, key
        return network.distribution(agent.network, agent.scaling, *seen)

    return _map_in_chunks(look, observation, _samples_at_once(network, market, table))


def _samples_at_once(network: Network, market: Market, table: Table | None) -> int:
    sample_bytes = network.sample_bytes()
    if table is None:
        sample_bytes = max(sample_bytes, network.row_bytes(market.num_features))
    return max(1, network.chunk_bytes // sample_bytes)


def _row_of(
    network: Network, agent: AgentParams, market: Market, table: Table | None, obs: Observation, key: Array | None
) -> Table:
    """Return the row of a table that an observation stands at; without a table it is encoded."""
    if table is not None:
        return look_up(table, obs.t)
    one = market.features[obs.t][None], market.tradable[obs.t][None]
    keys = None if key is None else key[None]
    return look_up(network.encode(agent.network, agent.scaling, *one, keys), jnp.int32(0))


def _map_in_chunks(function: Any, inputs: Any, chunk: int) -> Any:
    """Apply a function of one sample to `[n]` samples, at most `chunk` at once, in chunks of about equal size."""
    num_samples = jax.tree.leaves(inputs)[0].shape[0]
    num_chunks = -(-num_samples // chunk)
    if num_chunks == 1:
        return jax.vmap(function)(inputs)
    return jax.lax.map(function, inputs, batch_size=-(-num_samples // num_chunks))
