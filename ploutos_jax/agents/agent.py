"""Agent: a network, its parameters and the scaling of its inputs; everything needed to act."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ploutos_jax.agents.provenance import Provenance
from ploutos_jax.agents.scaling import ObservationScaling
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.types import Array, EnvParams, Observation
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR
from ploutos_jax.policy.actor_critic import ActorCritic, PolicyConfig, Table
from ploutos_jax.policy.distributions import Head, head_for
from ploutos_jax.policy.torsos import Torso


class AgentParams(struct.PyTreeNode):
    """What training changes: network parameters and input scaling."""

    network: Any
    scaling: ObservationScaling


@dataclasses.dataclass(frozen=True)
class Network:
    """The two-stage network on raw inputs: scaling, table of the market, action. Static, so functions can close over.

    Attributes:
        model: the Flax module.
        head: the action distribution.
        chunk_bytes: budget of one intermediate array in `encode`.
    """

    model: ActorCritic
    head: Head
    chunk_bytes: int

    @classmethod
    def create(cls, policy: PolicyConfig, action: str, num_assets: int, chunk_bytes: int) -> "Network":
        head = head_for(action)
        return cls(model=ActorCritic(policy, num_assets, head.num_outputs), head=head, chunk_bytes=chunk_bytes)

    @property
    def torso(self) -> Torso:
        """The torso without parameters: what it needs and whether it is bound to its assets."""
        return self.model.config.make_torso()

    @functools.partial(jax.jit, static_argnums=(0, 2))  # one program, and not one of every operation of every layer
    def init(self, key: Array, num_features: int) -> Any:
        """Return fresh parameters."""
        return self.model.init(
            key,
            jnp.zeros((1, self.model.num_assets, num_features)),
            jnp.ones((1, self.model.num_assets), bool),
            jnp.zeros((1, self.model.num_assets, len(ASSET_FIELDS))),
            jnp.zeros((1, len(ACCOUNT_FIELDS))),
        )

    def row_bytes(self, num_features: int) -> int:
        """Return the bytes of the widest intermediate array per market row in `encode`."""
        return self.torso.row_bytes(self.model.num_assets, num_features)

    def sample_bytes(self) -> int:
        """Return the bytes of the widest intermediate array per sample in `act`."""
        per_asset = max(self.head.num_outputs, len(ASSET_FIELDS))
        return self.torso.sample_bytes(self.model.num_assets, per_asset, len(ACCOUNT_FIELDS))

    def drop_keys(self, key: Array | None, t: Array) -> Array | None:
        """Return the keys of dropout at bars `t [...]`, or None without dropout.

        One key for the rollout and the loss of an update makes both see the same units; see `torsos.drop_units`.
        """
        if key is None or self.model.config.dropout == 0:
            return None
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, t.reshape(-1)).reshape(t.shape)

    def encode(
        self, params: Any, scaling: ObservationScaling, features: Array, mask: Array, drop_keys: Array | None = None
    ) -> Table:
        """Return table rows of `features [N, A, F]`, `mask [N, A]`, in chunks that keep within `chunk_bytes`.

        Each chunk is recomputed in the backward pass, so that only its inputs are kept. `drop_keys [N]` are those of
        dropout, None without it.
        """

        def rows(features: Array, mask: Array, keys: Array | None) -> Table:
            return cast(Table, self.model.apply(params, scaling.features(features), mask, keys, method="encode"))

        num_rows = features.shape[0]
        chunk = max(1, min(num_rows, self.chunk_bytes // self.row_bytes(features.shape[-1])))
        num_chunks = -(-num_rows // chunk)
        if num_chunks == 1:
            return rows(features, mask, drop_keys)
        chunk = -(-num_rows // num_chunks)
        padding = num_chunks * chunk - num_rows

        def split(x: Array) -> Array:
            return jnp.concatenate([x, x[:padding]]).reshape(num_chunks, chunk, *x.shape[1:])

        inputs = jax.tree.map(split, (features, mask, drop_keys))
        table = jax.lax.map(jax.checkpoint(lambda inputs: rows(*inputs)), inputs)
        return jax.tree.map(lambda x: x.reshape(num_chunks * chunk, *x.shape[2:])[:num_rows], table)

    def act(
        self,
        params: Any,
        scaling: ObservationScaling,
        row: Table,
        mask: Array,
        assets: Array,
        account: Array,
        drop_keys: Array | None = None,
    ) -> tuple[Array, Array]:
        """Return distribution outputs `[n, A, ...]` and values `[n]` from table rows and raw account observations."""
        scaled = scaling.assets(assets), scaling.account(account)
        return cast(tuple[Array, Array], self.model.apply(params, row, mask, *scaled, drop_keys, method="act"))


@dataclasses.dataclass(frozen=True)
class Agent:
    """A trained agent. It remembers the environment and the features it was trained with.

    Attributes:
        params: network parameters and scaling.
        network: shapes.
        env_config: rules and costs of the environment it was trained in.
        feature_names: F features that a market must have, in order.
        symbols: A tickers it was trained on.
        sectors: the column of each asset's sector in its observations.
        trained_from, trained_to: first and last date of the training bars, YYYY-MM-DD; empty if not known.
        step: update at which it was taken.
        chosen_on: first and last date of the bars by whose score it was chosen among the agents of its run; empty if
            it was not.
    """

    params: AgentParams
    network: Network
    env_config: EnvConfig
    feature_names: tuple[str, ...]
    symbols: tuple[str, ...]
    sectors: tuple[int, ...]
    trained_from: str
    trained_to: str
    step: int
    chosen_on: tuple[str, ...] = ()

    def known_tickers(self, symbols: Sequence[str]) -> list[str]:
        """Return those of the agent's tickers that the data has, in the agent's order.

        Raises:
            ValueError: if it has none of them, or a flat network lacks one.
        """
        have = set(symbols)
        known = [symbol for symbol in self.symbols if symbol in have]
        missing = [symbol for symbol in self.symbols if symbol not in have]
        if not known or (missing and self.network.torso.binds_assets):
            raise ValueError(
                f"The data lacks {len(missing)} of the agent's {len(self.symbols)} tickers, such as"
                f" {', '.join(missing[:5])}. Give data with the tickers of the training."
            )
        return known

    def provenance(self, first: Any, last: Any) -> Provenance:
        """Return how a span of dates relates to the bars that the agent was trained and chosen on."""
        begin, end = str(first)[:10], str(last)[:10]
        chosen_on = (self.chosen_on[0], self.chosen_on[1]) if self.chosen_on else None
        if not self.trained_to:
            return Provenance(chosen_on=chosen_on, update=self.step)
        if chosen_on is not None and begin <= chosen_on[1] and end >= chosen_on[0]:
            relation = "overlaps_selection"
        elif begin >= self.trained_to:
            relation = "after_training"
        elif end <= self.trained_from:
            relation = "before_training"
        else:
            relation = "overlaps_training"
        return Provenance(relation, (self.trained_from, self.trained_to), chosen_on, self.step)

    def check_market(self, market: Market) -> None:
        """Make sure that the agent can act in a market.

        Raises:
            ValueError: if the features, or for a flat network the assets, are not those it was trained with.
        """
        if tuple(market.feature_names) != self.feature_names:
            different = sorted(set(market.feature_names) ^ set(self.feature_names)) or ["the order"]
            raise ValueError(
                f"The market has other features than the agent was trained with; they differ in {', '.join(different)}."
                " Build it with features=list(agent.feature_names)."
            )
        if self.network.torso.binds_assets and market.num_assets != self.network.model.num_assets:
            raise ValueError(
                f"A flat network is bound to its assets: trained on {self.network.model.num_assets}, the market has"
                f" {market.num_assets}. Select the tickers agent.symbols."
            )

    def with_own_sectors(self, market: Market) -> Market:
        """Return the market with each asset in the sector that it had in training; others keep their own."""
        if market.labels is None or not self.symbols:
            return market
        columns = np.full(market.num_assets, NO_SECTOR) if market.sector is None else np.array(market.sector)
        trained = dict(zip(self.symbols, self.sectors, strict=True))
        own = [trained.get(symbol, column) for symbol, column in zip(market.symbols, columns, strict=True)]
        return market.replace(sector=np.array(own, np.int32))

    def act(self, observation: Observation, params: EnvParams, key: Array | None = None) -> Array:
        """Return the action for one observation, `[A]`; without a key the likeliest one, with a key a drawn one."""
        batch = jax.tree.map(lambda x: x[None], observation)
        keys = None if key is None else key[None]
        return self.act_batch(batch, params, keys)[0]

    def act_batch(self, observation: Observation, params: EnvParams, keys: Array | None = None) -> Array:
        """Return actions `[E, A]` for `[E]` observations, as `TradingEnv.step` takes them."""
        market, network = params.market, self.network
        mask = market.tradable[observation.t]
        row = network.encode(self.params.network, self.params.scaling, market.features[observation.t], mask)
        outputs, _ = network.act(
            self.params.network, self.params.scaling, row, mask, observation.assets, observation.account
        )
        action = network.head.mode(outputs) if keys is None else jax.vmap(network.head.sample)(keys, outputs)
        return network.head.to_env(action)
