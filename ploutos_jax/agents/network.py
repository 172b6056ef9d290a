"""Network: the two-stage network on raw inputs, and the parameters that training changes."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from ploutos_jax.agents.regimes import RegimeModel, columns_of, fit_regimes
from ploutos_jax.agents.scaling import FeatureScaling, ObservationScaling, fit_features
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import fields_of
from ploutos_jax.market.experts.table import num_experts
from ploutos_jax.market.lead import begins_path
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import NUM_REGIMES, ActorCritic, PolicyConfig, Table
from ploutos_jax.policy.attention import HEADS
from ploutos_jax.policy.distributions import BandsHead, Head, head_for
from ploutos_jax.policy.layers import KEPT
from ploutos_jax.policy.torsos import Torso


class AgentParams(struct.PyTreeNode):
    """What training changes: network parameters and input scaling."""

    network: Any
    scaling: ObservationScaling


ROWS_IN_ORDER = 256
"""Most rows that a network that remembers encodes at once: a scan over more is deeper, and keeps more."""
_KEPT_BY_BLOCK = {"mingru": 2, "lru": 4, "lstm": 6}
"""Arrays of a block's width that live at once while it goes forward and backward, for each of `_CHUNK_COPIES`."""
_KEPT_BY_ATTENTION = 10
"""The same of a block of attention, beside its logits and weights."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The two-stage network on raw inputs: scaling, table of the market, action. Static, so functions can close over.

    Attributes:
        model: the Flax module.
        head: the action distribution.
        chunk_bytes: budget of one intermediate array in `encode`.
        observation: which fields of the account it is told, see `EnvConfig.observation`.
        regime_columns: places of the features that regimes are told by; none without.
    """

    model: ActorCritic
    head: Head
    chunk_bytes: int
    observation: str = "full"
    regime_columns: tuple[int, ...] = ()

    @classmethod
    def create(
        cls,
        policy: PolicyConfig,
        action: str,
        num_assets: int,
        chunk_bytes: int,
        *,
        cap: float | None = None,
        cost: float = 2e-4,
        num_experts: int = 0,
        observation: str = "full",
    ) -> "Network":
        """Return a network; `cap` and `cost` are of the weights of `bands` and `levels`, see `head_for`.

        Raises:
            ValueError: if there are experts to mix for actions that have no prior.
        """
        head = head_for(action, num_assets, cap, cost, hold_cash=policy.hold_cash)
        prior_cap = head.cap if isinstance(head, BandsHead) else None
        if num_experts and prior_cap is None:
            raise ValueError(
                f"The first {num_experts} features are weights of experts, which are mixed into the middle of bands;"
                f" action={action!r} has none. Use action='bands', or leave the experts out."
            )
        model = ActorCritic(policy, num_assets, head.num_outputs, prior_cap, num_experts)
        return cls(model=model, head=head, chunk_bytes=chunk_bytes, observation=observation)

    @classmethod
    def for_env(
        cls,
        policy: PolicyConfig,
        config: EnvConfig,
        num_assets: int,
        chunk_bytes: int,
        feature_names: Sequence[str] = (),
    ) -> "Network":
        """Return a network for the actions, the limits and the costs of an environment.

        Args:
            policy: its shape.
            config: of the environment.
            num_assets: A.
            chunk_bytes: budget of one intermediate array.
            feature_names: of the market, whose first ones may be experts, see `num_experts`.

        Raises:
            ValueError: if regimes are to be told, and the market lacks what they are told by.
        """
        cost = (config.spread_bps / 2 + config.slippage_bps + config.commission_bps) * 1e-4
        cap = config.max_position_pct
        experts = num_experts(feature_names)
        sizes = policy, config.action, num_assets, chunk_bytes
        network = cls.create(*sizes, cap=cap, cost=cost, num_experts=experts, observation=config.observation)
        if policy.regimes == "none":
            return network
        return dataclasses.replace(network, regime_columns=columns_of(feature_names))

    def fit_scaling(
        self, features: Float[Array | np.ndarray, "T A F"], mask: Bool[Array | np.ndarray, "T A"]
    ) -> FeatureScaling:
        """Return the scaling of a market's features, fitted on its rows; weights of experts stay as they are."""
        return fit_features(features, mask).raw(self.model.num_experts)

    @property
    def torso(self) -> Torso:
        """The torso without parameters: what it needs and whether it is bound to its assets."""
        return self.model.config.make_torso()

    @property
    def num_fields(self) -> tuple[int, int]:
        """H and G: how many numbers of an asset, and of the account, it is told."""
        of_asset, of_account = fields_of(self.observation)
        return len(of_asset), len(of_account)

    @functools.partial(jax.jit, static_argnums=(0, 2))  # one program, and not one of every operation of every layer
    def init(self, key: PRNGKeyArray, num_features: int) -> Any:
        """Return fresh parameters for a market with so many features."""
        of_asset, of_account = self.num_fields
        return self.model.init(
            key,
            jnp.zeros((1, self.model.num_assets, self.model.num_inputs(num_features))),
            jnp.ones((1, self.model.num_assets), bool),
            jnp.zeros((1, self.model.num_assets, of_asset)),
            jnp.zeros((1, of_account)),
        )

    def row_bytes(self, num_features: int) -> int:
        """Return the bytes of the widest intermediate array per market row in `encode`."""
        widest = self.torso.row_bytes(self.model.num_assets, num_features)
        if not self.warm_up:
            return widest
        policy = self.model.config
        of_block = _KEPT_BY_BLOCK[policy.time_cell] * policy.time_width
        if policy.time == "attention":
            of_block = _KEPT_BY_ATTENTION * policy.time_width + 4 * HEADS * policy.time_window
        return max(widest, 4 * policy.time_layers * of_block * self.model.num_assets)

    @property
    def warm_up(self) -> int:
        """Bars of a path that the network has to have seen before it acts; 0 where rows do not know of each other."""
        return self.model.config.warm_up

    def fit_regimes(self, market: Market) -> RegimeModel | None:
        """Return the model of regimes fitted to all rows of a market, on the host; None where none are told."""
        if self.model.config.regimes == "none":
            return None
        columns = np.asarray(market.features)[..., list(self.regime_columns)]
        return fit_regimes(columns, np.asarray(market.tradable), np.asarray(market.path_end))

    def blank_state(self) -> Any:
        """Return what a network that remembers knows before any row, for `encode_on`."""
        memory = self.model.blank_state()
        if self.model.config.regimes == "none":
            return memory
        return memory, jnp.full(NUM_REGIMES, 1 / NUM_REGIMES)

    def with_chances(
        self, scaling: ObservationScaling, features: Array, mask: Array, reset: Array, state: Any
    ) -> tuple[Array, Any, Any]:
        """Return features with the chances of regimes last, the state of the memory, and what becomes of the rest."""
        if self.model.config.regimes == "none":
            return features, state, None
        memory, before = state
        if scaling.regimes is None:  # they are among the inputs already
            return features, memory, before
        chances, last = scaling.regimes(features[..., list(self.regime_columns)], mask, reset, before)
        return _beside(features, chances), memory, last

    def sample_bytes(self) -> int:
        """Return the bytes of the widest intermediate array per sample in `act`."""
        of_asset, of_account = self.num_fields
        of_torso = self.torso.sample_bytes(self.model.num_assets, max(self.head.num_outputs, of_asset), of_account)
        # Each quantile against each target.
        return max(of_torso, 4 * self.model.config.quantiles**2)

    def drop_keys(self, key: PRNGKeyArray | None, t: Int[Array, " *batch"]) -> Key[Array, "*batch"] | None:
        """Return the keys of dropout at bars `t [...]`, or None without dropout.

        One key for the rollout and the loss of an update makes both see the same units; see `layers.drop_units`.
        """
        if key is None or self.model.config.dropout == 0:
            return None
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, t.reshape(-1)).reshape(t.shape)

    def scale_once(self, agent: AgentParams, market: Market) -> tuple[AgentParams, Market]:
        """Return agent and market with the features scaled, for whoever encodes the same rows again and again.

        They are in the number format that the network multiplies in. The agent is for the market returned alone.
        """
        scaling, precision = agent.scaling, self.model.config.precision
        if scaling.features is None:
            return agent, market
        features = market.features
        if scaling.regimes is not None:
            reset = begins_path(market.path_end)
            features, *_ = self.with_chances(scaling, features, market.tradable, reset, self.blank_state())
        features = self._inputs(scaling, features)
        features = features.astype(jnp.bfloat16) if precision == "bfloat16" else features
        scaling = scaling.replace(features=None, forecast=None, regimes=None)
        return agent.replace(scaling=scaling), market.replace(features=features)

    def _inputs(self, scaling: ObservationScaling, features: Float[Array, "rows A F"]) -> Array:
        return scaling.inputs(features, self.model.config.forecast, keep_features=self.model.num_experts > 0)

    def allocation(
        self, agent: AgentParams, features: Float[Array, "rows A F"], mask: Bool[Array, "rows A"]
    ) -> Float[Array, "rows parts"]:
        """Return the shares `[rows, experts + 2]` of equal parts, of the experts and of cash at rows of a market."""
        if agent.scaling.regimes is not None:  # the allocator looks at no chances
            features = _beside(features, jnp.zeros((features.shape[0], NUM_REGIMES)))
        inputs = self._inputs(agent.scaling, features)
        return cast(Array, self.model.apply(agent.network, inputs, mask, method="allocation"))

    def encode(
        self,
        params: Any,
        scaling: ObservationScaling,
        features: Float[Array, "rows A F"],
        mask: Bool[Array, "rows A"],
        drop_keys: Key[Array, " rows"] | None = None,
        reset: Bool[Array, " rows"] | None = None,
    ) -> Table:
        """Return table rows of `features [rows, A, F]`, `mask [rows, A]`, in chunks that keep within `chunk_bytes`.

        Each chunk is recomputed in the backward pass, so that only its inputs are kept. `drop_keys [rows]` are those of
        dropout, None without it. A network that remembers (`warm_up`) takes rows in order of time and `reset [rows]`,
        which of them begin a path; others read neither.

        Raises:
            ValueError: if rows come to a network that remembers without word of where their paths begin.
        """
        if self.warm_up:
            if reset is None:
                raise ValueError("This network remembers bars: give rows in order of time, and reset= of their paths.")
            return self.encode_on(params, scaling, features, mask, reset, self.blank_state(), drop_keys)[0]

        def rows(features: Array, mask: Array, keys: Array | None) -> Table:
            scaled = self._inputs(scaling, features)
            return cast(Table, self.model.apply(params, scaled, mask, keys, method="encode"))

        num_rows = features.shape[0]
        num_chunks = self._num_chunks(features)
        if num_chunks == 1:
            return rows(features, mask, drop_keys)
        inputs = _in_chunks((features, mask, drop_keys), num_chunks)
        table = jax.lax.map(jax.checkpoint(lambda inputs: rows(*inputs)), inputs)
        return _joined(table, num_rows)

    def encode_on(
        self,
        params: Any,
        scaling: ObservationScaling,
        features: Float[Array, "rows A F"],
        mask: Bool[Array, "rows A"],
        reset: Bool[Array, " rows"],
        state: Any,
        drop_keys: Key[Array, " rows"] | None = None,
        copies: int = 0,
    ) -> tuple[Table, Any]:
        """Return table rows of a network that remembers, and what it remembers after them.

        One row at a time, with the state handed on, is the same as all at once: so an agent can follow bars as they
        come. In chunks the state goes from one to the next, which changes nothing, and the gradient goes all back.

        Args:
            params, scaling: of the agent.
            features, mask: rows in order of time; row t is known at close t.
            reset: `[rows]` whether a row begins a path.
            state: after the row before, `blank_state()` before any: of the memory `[blocks, A, kept]`; where regimes
                are told beside it their chances.
            drop_keys: of dropout, in the market stage after the recurrence; None without it.
            copies: of one row alone that are multiplied with it and forgotten, as by `act_next`.
        """
        features, state, chances = self.with_chances(scaling, features, mask, reset, state)
        rows = (features, mask, reset, drop_keys)
        if copies:
            rows = jax.tree.map(lambda x: jnp.repeat(x, 1 + copies, axis=0), rows)
        num_chunks, num_known = (1, 1) if copies else (self.chunks_in_order(features), None)
        state, table = self.in_order(params, scaling, rows, state, num_chunks, num_known=num_known)
        table = jax.tree.map(lambda x: x[:1], table) if copies else table
        return table, state if chances is None else (state, chances)

    def in_order(
        self,
        params: Any,
        scaling: ObservationScaling,
        inputs: Any,
        state: Array,
        num_chunks: int,
        keeps: bool = False,
        num_known: int | None = None,
    ) -> tuple[Array, Any]:
        """Return the state after rows, and their table: what `encode_on` does once features hold all that is told.

        Args:
            params, scaling: of the agent.
            inputs: features with the chances of regimes, mask, reset and keys of dropout of rows in order.
            state: of the memory alone, before the first row.
            num_chunks: of about equal size, each of which is recomputed in the backward pass.
            keeps: whether the states before each chunk, `[chunks, blocks, A, kept]`, come with the table.
            num_known: rows after so many leave the state as it is; all count without it.
        """
        num_rows = inputs[0].shape[0]
        # Rows that fill up the last chunk are bars that nobody has: they leave the state as it is.
        places = jnp.arange(-(-num_rows // num_chunks) * num_chunks).reshape(num_chunks, -1)
        is_row = places < (num_rows if num_known is None else num_known)

        def rows(state: Array, inputs: Any) -> tuple[Array, Any]:
            (features, mask, reset, keys), is_row = inputs
            scaled = self._inputs(scaling, features)
            inputs = scaled, mask & is_row[:, None], reset & is_row, state, keys, is_row
            table, after = cast(tuple[Table, Array], self.model.apply(params, *inputs, method="encode_on"))
            return after, (table, state) if keeps else table

        keep = jax.checkpoint_policies.save_only_these_names(KEPT) if self.model.config.time == "attention" else None
        state, made = jax.lax.scan(jax.checkpoint(rows, policy=keep), state, (_in_chunks(inputs, num_chunks), is_row))
        if keeps:
            return state, (_joined(made[0], num_rows), made[1])
        return state, _joined(made, num_rows)

    def chunks_in_order(self, features: Float[Array, "rows A F"]) -> int:
        """Return into how many chunks rows are cut whose memory is handed on."""
        return max(self._num_chunks(features), -(-features.shape[0] // ROWS_IN_ORDER))

    def _num_chunks(self, features: Float[Array, "rows A F"]) -> int:
        num_rows = features.shape[0]
        policy = self.model.config
        least = policy.time_window if policy.time == "attention" else 1  # what a chunk looks back at is worked out anew
        chunk = max(least, min(num_rows, self.chunk_bytes // self.row_bytes(features.shape[-1])))
        return -(-num_rows // chunk)

    def act(
        self,
        params: Any,
        scaling: ObservationScaling,
        row: Table,
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> tuple[Float[Array, "*batch A outputs"], Float[Array, "*batch K"]]:
        """Return outputs `[..., A, outputs]` and values `[..., K]` from table rows and raw account observations."""
        scaled = scaling.assets(assets), scaling.account(account)
        return cast(tuple[Array, Array], self.model.apply(params, row, mask, *scaled, drop_keys, method="act"))

    def distribution(
        self,
        params: Any,
        scaling: ObservationScaling,
        row: Table,
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> Float[Array, "*batch N"]:
        """Return quantiles of the return to come, of accounts seen as `act` sees them; see `ActorCritic`."""
        scaled = scaling.assets(assets), scaling.account(account)
        return cast(Array, self.model.apply(params, row, mask, *scaled, drop_keys, method="distribution"))


def _beside(features: Float[Array, "rows A F"], chances: Float[Array, "rows K"]) -> Float[Array, "rows A _"]:
    """Return features with the chances of a row's regimes as further columns, the same of every asset."""
    of_asset = jnp.broadcast_to(chances[:, None, :], (*features.shape[:2], chances.shape[-1]))
    return jnp.concatenate([features, of_asset.astype(features.dtype)], axis=-1)


def _in_chunks(arrays: Any, num_chunks: int) -> Any:
    """Return arrays of rows as `[chunks, size, ...]`, the last chunk filled up with the first rows."""

    def split(x: Array) -> Array:
        num_rows = x.shape[0]
        chunk = -(-num_rows // num_chunks)
        return jnp.concatenate([x, x[: num_chunks * chunk - num_rows]]).reshape(num_chunks, chunk, *x.shape[1:])

    return jax.tree.map(split, arrays)


def _joined(table: Table, num_rows: int) -> Table:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num_rows], table)
