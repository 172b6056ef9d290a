"""Windows: the rows of a network that remembers that a stretch of bars asks for, without those of the whole market.

A row depends on all rows before it on its path. Of these, some bars are worked out again, the lead, from a state that
one pass over the market has left behind; the rows of the stretch itself follow. With the parameters of that pass they
are the very rows of the market. With later ones, the state before the lead is that of older parameters, of which the
lead lets as much be forgotten as the memory forgets in it. A gradient reaches back to the first bar of the lead.

Attention looks no further back than its blocks reach, so a lead of that length needs no state and leaves nothing out.

Source: Williams and Peng 1990, "An Efficient Gradient-Based Algorithm for On-Line Training of Recurrent Network
Trajectories", for truncated gradients; Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed
Reinforcement Learning", for stored states with a lead ("burn-in").
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ploutos_jax.agents.acting import path_starts
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import PolicyConfig, Table


@dataclasses.dataclass(frozen=True)
class Windows:
    """Sizes of windows, in bars.

    Attributes:
        rows: of the stretch.
        lead: before it, worked out again; at least so many.
        every: between two states that are left behind, so that a window begins up to `every - 1` bars earlier; 0 where
            there are none.
    """

    rows: int
    lead: int
    every: int

    @property
    def before(self) -> int:
        """Most bars before the stretch."""
        return self.lead + max(self.every - 1, 0)

    @classmethod
    def of(cls, policy: PolicyConfig, rows: int, lead: int, num_bars: int) -> "Windows":
        """Return the windows of a network.

        Args:
            policy: its shape.
            rows: of a stretch.
            lead: of a recurrence; that of attention is what it can see.
            num_bars: T, of the market.
        """
        if policy.time == "recurrent":
            return cls(rows, lead, every=-(-num_bars // -(-num_bars // _EVERY)))
        return cls(rows, policy.time_layers * (policy.time_window - 1) if policy.time == "attention" else 0, every=0)


_EVERY = 64
"""Most bars between two states: fewer are more memory and a slower pass, more are a longer lead."""


def encode_keeping(
    network: Network, agent: AgentParams, market: Market, windows: Windows, drop_keys: Key[Array, " T"] | None
) -> tuple[Table, Float[Array, "states blocks A kept"]]:
    """Return the table of all rows of a market, and what is remembered before every so many of them.

    Args:
        network: shapes, with `time="recurrent"`.
        agent: parameters and scaling.
        market: features and which assets trade; its first row begins a path.
        windows: how often.
        drop_keys: of dropout, None without it.
    """
    mask, reset = market.tradable, path_starts(market)
    features, state, _ = network.with_chances(agent.scaling, market.features, mask, reset, network.blank_state())
    num_chunks = -(-market.num_bars // windows.every)
    return network.in_order(
        agent.network, agent.scaling, (features, mask, reset, drop_keys), state, num_chunks, keeps=True
    )[1]


def encode_windows(
    network: Network,
    agent: AgentParams,
    market: Market,
    windows: Windows,
    states: Float[Array, "states blocks A kept"] | None,
    first: Int[Array, " n"],
    drop_key: PRNGKeyArray | None,
) -> Table:
    """Return the rows `[n, rows, ...]` of stretches; what lies beyond the market's last bar is its last one again.

    Args:
        network: shapes.
        agent: parameters, and scaling without that of features: see `Network.scale_once`.
        market: with features that are scaled already.
        windows: sizes.
        states: of `encode_keeping`; None with attention.
        first: the first bar of each stretch.
        drop_key: of dropout, None without it.
    """
    begins = path_starts(market)
    own, before = jnp.arange(windows.rows), jnp.arange(windows.before) - windows.before

    def one(first: Int[Array, ""]) -> Table:
        state: Any = network.model.blank_state()
        if windows.before:
            rows, begin = first + before, jnp.int32(0)
            if states is not None:
                place = jnp.maximum(first - windows.lead, 0) // windows.every
                state, begin = states[place], place * windows.every
            # Rows before the state are bars that nobody has: they leave it as it is.
            is_row, at = rows >= begin, jnp.maximum(rows, 0)
            inputs = market.features[at], market.tradable[at] & is_row[:, None], begins[at] & is_row, state
            state = network.model.apply(agent.network, *inputs, method="encode_on")[1]
        at = jnp.minimum(first + own, market.num_bars - 1)
        inputs = market.features[at], market.tradable[at], begins[at], network.drop_keys(drop_key, at)
        return network.in_order(agent.network, agent.scaling, inputs, state, network.chunks_in_order(inputs[0]))[1]

    return jax.vmap(one)(first)
