"""ActorCritic: a torso with an actor head per asset and a critic head, in two stages."""

import dataclasses
from typing import Any, Literal, cast, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ploutos_jax.policy.allocator import Allocator
from ploutos_jax.policy.attention import HEADS, WindowedAttention
from ploutos_jax.policy.bands import prior_score
from ploutos_jax.policy.layers import Precision, dense, masked_mean
from ploutos_jax.policy.quantiles import first_bias, to_quantiles
from ploutos_jax.policy.recurrent import WARM_UP, Cell, Recurrent
from ploutos_jax.policy.torsos import FlatTorso, SharedTorso, Torso

Table = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Shape of the network.

    Attributes:
        torso: `shared` is one network for all assets (the default: it learns what holds on unseen bars); `flat` is
            one dense network over the whole observation.
        hidden: layer widths, of the market stage per asset (`shared`) or of the whole network (`flat`).
        width: width of the account stage per asset (`shared` only).
        credit: what the critic values: the account (`joint`), or the part of each asset (`per_asset`), which separates
            the effect of an action from that of the others in the same bar.
        forecast: whether the network is told what a ridge regression of all features forecasts, fitted before training:
            `add` beside the features, `only` instead of them, which leaves little to learn noise by; or `none`.
        hold_cash: whether bands may leave a part of the account in cash. Without, what is learnt is which asset to
            prefer, and not from one history whether markets rise.
        sees_account: whether the network is told what the account holds. A band says where a position should lie
            whatever it is, so it needs none of it, and there is less to learn noise by without.
        time: what the network remembers of the bars before: `none`, what the features tell of them alone; `recurrent`,
            a minGRU over each asset's bars before the market stage of a `shared` torso; `attention`, which looks at
            the last bars themselves, so that it can tell how long ago something was. Either encodes every row of the
            market in every gradient step, and no episode begins in the first bars of a path, 378 and 126 by default.
        time_width: numbers that it keeps of an asset in each of its blocks; for `attention` a multiple of 4, its heads.
        time_layers: its blocks.
        time_window: bars that a block of `attention` looks at, its own among them.
        time_cell: what a block's memory is: `mingru`, averages that fade, all rows at once; `lru`, which turns as it
            fades, so that it can tell how long ago something was, up to about twice `time_width` bars; or `lstm`, whose
            gates look at its own state, one row after another.
        across: what an asset is told of the others of its bar (`shared` torso): `mean`, the mean over them;
            `attention`, besides, what eight learnt queries find among them.
        regimes: what the network is told of regimes of the market, three hidden states whose chances are known at the
            close: `none`; `features`, the chances as further inputs; `gates`, besides, a layer of the market stage for
            each, mixed by their chances, and a scale and shift of what is made of the account (`shared` torso).
        quantiles: N of the account's return to come that a second head of the critic learns, such as 64, beside the
            mean that advantages are taken from; 0 for no such head. It is a tool for risk, and changes no action.
        return_loss: weight of an auxiliary loss, such as 0.1: the market stage of a `shared` torso also forecasts the
            return of each asset over a day, a week and a month, from every row of the market; 0 for none of it.
        dropout: share of the hidden units left out in training, other ones in each bar and update; none when acting.
        precision: number format of the torso's matrix products and of the activations between them; parameters, sums,
            heads and losses are always float32.
    """

    torso: Literal["shared", "flat"] = "shared"
    hidden: tuple[int, ...] = (64, 64)
    width: int = 32
    credit: Literal["joint", "per_asset"] = "per_asset"
    forecast: Literal["none", "add", "only"] = "none"
    hold_cash: bool = True
    sees_account: bool = True
    time: Literal["none", "recurrent", "attention"] = "none"
    time_width: int = 32
    time_layers: int = 2
    time_window: int = 64
    time_cell: Cell = "mingru"
    across: Literal["mean", "attention"] = "mean"
    regimes: Literal["none", "features", "gates"] = "none"
    quantiles: int = 0
    return_loss: float = 0.0
    dropout: float = 0.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.torso not in ("shared", "flat"):
            raise ValueError(f"torso={self.torso!r} is unknown; use 'shared' or 'flat'.")
        if self.forecast not in ("none", "add", "only"):
            raise ValueError(f"forecast={self.forecast!r} is unknown; use 'none', 'add' or 'only'.")
        if self.credit not in ("joint", "per_asset"):
            raise ValueError(f"credit={self.credit!r} is unknown; use 'joint' or 'per_asset'.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={self.precision!r} is unknown; use 'float32' or 'bfloat16'.")
        if self.time not in ("none", "recurrent", "attention"):
            raise ValueError(f"time={self.time!r} is unknown; use 'none', 'recurrent' or 'attention'.")
        if self.time == "attention" and self.time_width % HEADS:
            near = max(HEADS, HEADS * round(self.time_width / HEADS))
            raise ValueError(
                f"time_width={self.time_width} must be a multiple of {HEADS} with time='attention', whose heads share"
                f" it; use {near}."
            )
        if self.time_window < 2:
            raise ValueError(f"time_window={self.time_window} must be a whole number of at least 2 bars.")
        if self.across not in ("mean", "attention"):
            raise ValueError(f"across={self.across!r} is unknown; use 'mean' or 'attention'.")
        if self.across == "attention" and self.torso != "shared":
            raise ValueError(
                f"across='attention' is among assets that a market stage keeps apart, which torso={self.torso!r} does"
                " not; use torso='shared', or across='mean'."
            )
        if self.time_cell not in get_args(Cell):
            raise ValueError(f"time_cell={self.time_cell!r} is unknown; use 'mingru', 'lru' or 'lstm'.")
        if self.time != "none" and self.torso != "shared":
            raise ValueError(
                f"time={self.time!r} remembers each asset by itself, which torso={self.torso!r} does not keep apart;"
                " use torso='shared', or time='none'."
            )
        if self.regimes not in ("none", "features", "gates"):
            raise ValueError(f"regimes={self.regimes!r} is unknown; use 'none', 'features' or 'gates'.")
        if self.regimes == "gates" and self.torso != "shared":
            raise ValueError(
                f"regimes='gates' mixes layers of a market stage, which torso={self.torso!r} does not have; use"
                " torso='shared', or regimes='features'."
            )
        if self.time_width < 1 or self.time_layers < 1:
            raise ValueError(
                f"time_width={self.time_width} and time_layers={self.time_layers} must be whole numbers of at least 1."
            )
        if self.return_loss and self.torso != "shared":
            raise ValueError(
                f"return_loss={self.return_loss} forecasts by what the market stage says of each asset, which"
                f" torso={self.torso!r} does not; use torso='shared', or return_loss=0."
            )
        if self.quantiles < 0 or self.quantiles == 1:
            raise ValueError(f"quantiles={self.quantiles} must be a whole number of at least 2, such as 64, or 0.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1), such as 0.1; 0 leaves nothing out.")
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list could not be hashed, as JAX needs it
        if not self.hidden or min(self.hidden) < 1 or self.width < 1:
            raise ValueError(f"hidden={self.hidden} and width={self.width} must be layer widths of at least 1.")

    @property
    def warm_up(self) -> int:
        """Bars of a path that the network has to have seen before it acts; 0 where it remembers none."""
        of_memory = {"none": 0, "recurrent": WARM_UP, "attention": self.time_layers * (self.time_window - 1)}
        return max(of_memory[self.time], 0 if self.regimes == "none" else REGIME_LEAD)

    def make_memory(self, **more: Any) -> Recurrent | WindowedAttention | None:
        """Return what remembers the bars before, without parameters; None if nothing does.

        Args:
            more: what Flax takes besides, such as `parent=None` for one that is part of no other module.
        """
        if self.time == "none":
            return None
        sizes = self.time_width, self.time_layers
        if self.time == "attention":
            return WindowedAttention(*sizes, self.time_window, self.precision, **more)
        return Recurrent(*sizes, self.precision, self.time_cell, **more)

    def make_torso(self) -> Torso:
        """Return the torso, without parameters."""
        if self.torso == "flat":
            return FlatTorso(self.hidden, self.precision, self.dropout)
        mixed = NUM_REGIMES if self.regimes == "gates" else 1
        by_asset, across = self.credit == "per_asset", self.across == "attention"
        return SharedTorso(self.hidden, self.width, by_asset, self.precision, self.dropout, mixed, across)


NUM_REGIMES = 3
"""Hidden states of the market that there are chances of."""
REGIME_LEAD = 63
"""Bars before the first one that is acted on, of a network that is told of regimes: all but forgotten by then."""

_HORIZONS = 3
_TILT = 3.0
"""What a forecast of 1 moves a score by, for each unit of the parameter: it is one number against thousands."""


class ActorCritic(nn.Module):
    """Policy and value function over a table of the market and a compact account.

    Attributes:
        config: shape of the torso.
        num_assets: A; the flat torso is bound to it.
        num_outputs: numbers per asset that the action distribution takes.
        cap: largest weight of an asset where the first of these numbers says where its weight lies: an untrained
            network's is then the prior, equal parts of the assets that trade. None for other actions.
        num_experts: number of first features that are weights of experts; the prior is then a mix of equal parts and
            of them, see `Allocator`.
    """

    config: PolicyConfig
    num_assets: int
    num_outputs: int
    cap: float | None = None
    num_experts: int = 0

    def setup(self) -> None:
        self.torso = self.config.make_torso()
        actor, critic = self.torso.head_sizes(self.num_assets, self.num_outputs, self.num_values)
        self.actor_head = dense(actor, scale=0.01)
        self.critic_head = dense(critic, scale=1.0)
        if self.config.regimes == "gates":
            self.gate = nn.Dense(NUM_REGIMES, kernel_init=nn.initializers.zeros)
        if self.config.time == "recurrent":
            self.recurrent = cast(Recurrent, self.config.make_memory())
        if self.config.time == "attention":
            self.attention = cast(WindowedAttention, self.config.make_memory())
        if self.is_tilted:
            self.tilt = self.param("tilt", nn.initializers.zeros, ())
        if self.num_experts:
            self.allocator = Allocator(self.num_experts)
        if self.config.quantiles:
            start = nn.initializers.constant(first_bias(self.config.quantiles))
            self.quantile_head = dense(self.config.quantiles, scale=0.1, bias_init=start)
        if self.config.return_loss:
            self.return_head = dense(_HORIZONS, scale=0.01)

    @property
    def is_tilted(self) -> bool:
        """Whether where a weight lies follows a forecast by one number, beside the network: see `act`."""
        return self.cap is not None and self.config.forecast != "none"

    @property
    def num_values(self) -> int:
        """K, numbers that the critic gives for a sample: one, or one per asset."""
        return self.num_assets if self.config.credit == "per_asset" else 1

    def num_inputs(self, num_features: int) -> int:
        """Return how many numbers of an asset and a bar `encode` takes, of a market with so many features."""
        told = 0 if self.config.regimes == "none" else NUM_REGIMES
        if self.config.forecast == "only" and not self.num_experts:
            return 1 + told
        return num_features + (self.config.forecast != "none") + told

    def _without_chances(self, inputs: Float[Array, "*batch A inputs"]) -> tuple[Array, Array | None]:
        """Return inputs without the chances of regimes, and these, None where there are none."""
        if self.config.regimes == "none":
            return inputs, None
        return inputs[..., :-NUM_REGIMES], inputs[..., -NUM_REGIMES:]

    def _parted(self, inputs: Float[Array, "*batch A inputs"]) -> tuple[Array, Array, Array]:
        """Return weights of experts, what the allocator looks at, and the inputs of the torso."""
        experts, others = inputs[..., : self.num_experts], inputs[..., self.num_experts :]
        seen = others if self.config.forecast == "none" else others[..., :-1]
        return experts, seen, others[..., -1:] if self.config.forecast == "only" else others

    def encode(
        self,
        features: Float[Array, "*batch A inputs"],
        mask: Bool[Array, "*batch A"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> Table:
        """Return table rows for scaled `features [..., A, F]` and `mask [..., A]`; linear cost in rows, not samples."""
        features, chances = self._without_chances(features)
        return self._rows(features, self._parted(features), mask, drop_keys, chances)

    def encode_on(
        self,
        features: Float[Array, "T A inputs"],
        mask: Bool[Array, "T A"],
        reset: Bool[Array, " T"],
        state: Float[Array, "blocks A kept"],
        drop_keys: Key[Array, " T"] | None = None,
        is_row: Bool[Array, " T"] | None = None,
    ) -> tuple[Table, Float[Array, "blocks A kept"]]:
        """Return table rows of a network that remembers, and what it remembers after the last.

        See `Recurrent` and `WindowedAttention`.
        """
        features, chances = self._without_chances(features)
        experts, seen, own = self._parted(features)
        if self.config.time == "recurrent":
            own, state = self.recurrent(own, mask, reset, state)
        elif self.config.time == "attention":
            own, state = self.attention(own, mask, reset, state, is_row)
        return self._rows(features, (experts, seen, own), mask, drop_keys, chances), state

    @nn.nowrap
    def blank_state(self) -> Float[Array, "blocks A kept"]:
        """Return what a network remembers that has seen nothing, `[blocks, A, kept]`; without memory of 0 blocks.

        Of LRU and LSTM `[blocks, A, 2 width]`, of attention the numbers of the bars that it looks back at.
        """
        memory = self.config.make_memory(parent=None)
        if memory is None:
            return jnp.zeros((0, self.num_assets, self.config.time_width))
        return jnp.zeros((self.config.time_layers, self.num_assets, memory.kept()))

    def _rows(
        self,
        features: Array,
        parts: tuple[Array, Array, Array],
        mask: Array,
        drop_keys: Array | None,
        chances: Array | None,
    ) -> Table:
        experts, seen, own = parts
        gates = None
        if chances is not None:
            own = jnp.concatenate([own, chances.astype(own.dtype)], axis=-1)
            if self.config.regimes == "gates":
                # The same of all assets of a row.
                gates = nn.softmax(self.gate(chances[..., 0, :].astype(jnp.float32)))
        more = {} if gates is None else {"gates": gates}
        table = self.torso.encode(own, mask, drop_keys, **more)
        if self.is_tilted:
            table["tilt"] = _TILT * self.tilt * features[..., -1].astype(jnp.float32)
        if self.num_experts:
            table["prior"] = self.allocator.mix(self.allocator(seen, mask), experts, mask)
        return table

    def forecast_returns(self, table: Table) -> Float[Array, "*batch A horizons"]:
        """Return what the market stage forecasts of each asset's return over a day, a week and a month, `[..., A, 3]`.

        In deviations from the other assets; with `PolicyConfig.return_loss` alone.
        """
        return self.return_head(table["actor"]).astype(jnp.float32)

    def distribution(
        self,
        row: Table,
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> Float[Array, "*batch N"]:
        """Return quantiles of the account's return to come, of what the critic sees, which they do not move.

        Arguments are those of `act`; with `PolicyConfig.quantiles` alone.
        """
        if not self.config.sees_account:
            assets, account = jnp.zeros_like(assets), jnp.zeros_like(account)
        _, critic = self.torso.act(row, mask, assets, account, drop_keys)
        critic = masked_mean(critic, mask) if critic.ndim == assets.ndim else critic
        return to_quantiles(self.quantile_head(jax.lax.stop_gradient(critic)).astype(jnp.float32))

    def allocation(
        self, features: Float[Array, "*batch A inputs"], mask: Bool[Array, "*batch A"]
    ) -> Float[Array, "*batch parts"]:
        """Return the shares `[..., experts + 2]` of equal parts, of each expert and of cash, at scaled features."""
        return self.allocator(self._parted(self._without_chances(features)[0])[1], mask)

    def act(
        self,
        row: Table,
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> tuple[Float[Array, "*batch A outputs"], Float[Array, "*batch K"]]:
        """Return `(outputs [..., A, num_outputs], values [..., K])` for table rows and scaled account observations.

        With bands, the middle of a band is the prior (equal parts, or the allocator's mix), with a forecast plus a
        multiple of it that is 0 at first, plus what the network says.

        Args:
            row: the table at the samples' bars.
            mask: `[..., A]` assets tradable at the bar observed.
            assets: `[..., A, H]` account observation per asset.
            account: `[..., G]` account observation.
            drop_keys: `[...]` keys that decide which units are left out, in `encode` too; None leaves out none.
        """
        if not self.config.sees_account:
            assets, account = jnp.zeros_like(assets), jnp.zeros_like(account)
        actor, critic = self.torso.act(row, mask, assets, account, drop_keys)
        outputs = self.actor_head(actor)
        outputs = outputs.reshape(*assets.shape[:-1], self.num_outputs)
        if self.is_tilted:
            outputs = outputs.at[..., 0].add(row["tilt"])
        if self.cap is not None:
            if self.num_experts:
                prior = prior_score(row["prior"], self.cap)
            else:
                equal = 1 / jnp.maximum(mask.sum(axis=-1, dtype=outputs.dtype), 1)
                prior = prior_score(equal, self.cap)[..., None]
            outputs = outputs.at[..., 0].add(prior)
        values = self.critic_head(critic)
        return outputs, values[..., 0] if values.ndim > assets.ndim - 1 else values

    def __call__(
        self,
        features: Float[Array, "*batch A F"],
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
    ) -> tuple[Float[Array, "*batch A outputs"], Float[Array, "*batch K"]]:
        """Run both stages on joined samples; used to create parameters and as the unsplit reference.

        To a network that remembers, every sample is the first bar of a path.
        """
        if self.config.time == "none":
            table = self.encode(features, mask)
        else:
            table, _ = self.encode_on(features, mask, jnp.ones(features.shape[0], bool), self.blank_state())
        if self.config.return_loss:
            self.forecast_returns(table)
        if self.config.quantiles:
            self.distribution(table, mask, assets, account)
        return self.act(table, mask, assets, account)
