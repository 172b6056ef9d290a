"""Market and account encoders: a table of the market, one row per bar, and a cheap second stage per sample.

`encode` sees rows of the market only, so it runs once per row however many accounts stand at that bar; `act` adds the
account to a row of the table. Both torsos are exact networks over the joined input `[market; account]`, because their
first layer is linear in it: `W·[market; account] = W_m·market + W_a·account`.
"""

from functools import partial
from typing import Any, ClassVar, Protocol

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ploutos_jax.policy.attention import AcrossAssets
from ploutos_jax.policy.layers import Precision, activate, dense, drop_units, masked_mean


class Torso(Protocol):
    """What a network needs to know of a torso; a further one is a class with these and a branch in `make_torso`.

    Besides, `encode` and `act` as those of `SharedTorso` and `FlatTorso`.
    """

    binds_assets: ClassVar[bool]
    """Whether the parameters fit only the assets of the training, in their order."""

    def row_bytes(self, num_assets: int, num_features: int) -> int: ...
    def table_bytes(self, num_assets: int) -> int: ...
    def sample_bytes(self, num_assets: int, per_asset: int, num_account: int) -> int: ...
    def head_sizes(self, num_assets: int, num_outputs: int, num_values: int) -> tuple[int, int]: ...
    def encode(
        self,
        features: Float[Array, "*batch A F"],
        mask: Bool[Array, "*batch A"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> dict[str, Array]: ...
    def act(
        self,
        row: dict[str, Array],
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> tuple[Array, Array]: ...


class SharedTorso(nn.Module):
    """One network for all assets, with a summary of the cross-section added to each: few weights, learns what lasts.

    Attributes:
        hidden: widths of the market stage, per asset.
        width: width of the account stage, per asset; also the row size of the table per asset.
        values_by_asset: whether the critic has features of each asset, or of the account as a whole.
        precision: of the matrix products and of what they are given.
        dropout: share of units left out where keys are given, after every layer but the last.
        mixed: K, last layers of the market stage that are mixed by the gates of a row; 1 for one layer, and no gates.
        attends: whether an asset is told, beside the mean of all, what learnt queries find among them.
    """

    hidden: tuple[int, ...] = (64, 64)
    width: int = 32
    values_by_asset: bool = False
    precision: Precision = "float32"
    dropout: float = 0.0
    mixed: int = 1
    attends: bool = False

    binds_assets: ClassVar[bool] = False

    @nn.nowrap
    def row_bytes(self, num_assets: int, num_features: int) -> int:
        """Return the bytes of the widest intermediate array per market row in `encode`."""
        return 4 * num_assets * max(num_features, *self.hidden, self.mixed * self.hidden[-1], self.width)

    @nn.nowrap
    def table_bytes(self, num_assets: int) -> int:
        """Return the bytes of one row of the table."""
        of_row = (0 if self.values_by_asset else 2 * self.width) + (2 * self.width if self.mixed > 1 else 0)
        return 4 * (num_assets * self.width + of_row)

    @nn.nowrap
    def sample_bytes(self, num_assets: int, per_asset: int, num_account: int) -> int:
        """Return the bytes of the widest intermediate array per sample in `act`; `per_asset` numbers go in or out."""
        del num_account
        return 4 * num_assets * max(self.width, per_asset)

    @nn.nowrap
    def head_sizes(self, num_assets: int, num_outputs: int, num_values: int) -> tuple[int, int]:
        """Return the widths of actor and critic head: one head serves every asset."""
        del num_assets, num_values
        return num_outputs, 1

    def setup(self) -> None:
        layer = partial(dense, precision=self.precision)
        self.market_layers = [layer(size) for size in self.hidden]
        if self.mixed > 1:
            self.other_layers = [layer(self.hidden[-1]) for _ in range(self.mixed - 1)]
            self.film = nn.Dense(2 * self.width, kernel_init=nn.initializers.zeros)
        self.summary_layer = layer(self.hidden[-1], bias=False)
        if self.attends:
            self.across = AcrossAssets(self.hidden[-1], precision=self.precision)
        self.to_actor = layer(self.width)
        self.asset_in = layer(self.width, bias=False)
        self.account_in = layer(self.width, bias=False)
        self.actor_layer = layer(self.width)
        if self.values_by_asset:
            self.critic_layer = layer(self.width)
            return
        self.to_critic = layer(2 * self.width)
        self.critic_positions = layer(2 * self.width, bias=False)
        self.critic_account = layer(2 * self.width, bias=False)

    def encode(
        self,
        features: Float[Array, "*batch A F"],
        mask: Bool[Array, "*batch A"],
        drop_keys: Key[Array, "*batch"] | None = None,
        gates: Float[Array, "*batch K"] | None = None,
    ) -> dict[str, Array]:
        """Return the table rows of `features [..., A, F]`; `mask [..., A]` says which assets trade.

        With gates `[..., K]` the last layer is `Σ_k g_k tanh(E_k x + summary)`, and the row carries the scale and shift
        that they give to the first layer of `act`: rules of the account that go with the regime, at no cost by sample.
        """
        x = features
        for place, layer in enumerate(self.market_layers[:-1]):
            x = drop_units(activate(layer(x), self.precision), self.dropout, drop_keys, place)
        summary = self.summary_layer(masked_mean(x, mask))[..., None, :]
        if self.attends:
            summary = summary + self.across(x, mask)
        if gates is None:
            x = activate(self.market_layers[-1](x) + summary, self.precision)
        else:
            layers = (self.market_layers[-1], *self.other_layers)
            parts = [activate(layer(x) + summary, self.precision) for layer in layers]
            x = jnp.einsum("k...ad,...k->...ad", jnp.stack(parts), gates.astype(parts[0].dtype))
        x = drop_units(x, self.dropout, drop_keys, len(self.hidden) - 1)
        more = {} if gates is None else {"film": self.film(gates)}
        if self.values_by_asset:
            return {"actor": self.to_actor(x), **more}
        return {"actor": self.to_actor(x), "critic": self.to_critic(masked_mean(x, mask)), **more}

    def act(
        self,
        row: dict[str, Array],
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> tuple[Float[Array, "*batch A width"], Float[Array, "*batch _"] | Float[Array, "*batch A width"]]:
        """Return actor features `[..., A, width]`, and critic features `[..., A, width]` or `[..., 2·width]`."""
        joined = row["actor"] + self.asset_in(assets) + self.account_in(account)[..., None, :]
        if "film" in row:
            scale, shift = jnp.split(row["film"][..., None, :], 2, axis=-1)
            joined = joined * (1 + scale) + shift
        first = drop_units(activate(joined, self.precision), self.dropout, drop_keys, len(self.hidden))
        actor = activate(self.actor_layer(first), self.precision)
        if self.values_by_asset:
            return actor, activate(self.critic_layer(first), self.precision)
        critic = row["critic"] + self.critic_positions(masked_mean(actor, mask)) + self.critic_account(account)
        return actor, activate(critic, self.precision)


class FlatTorso(nn.Module):
    """One dense network over the whole observation, actor and critic apart, as older systems had it.

    Attributes:
        hidden: widths of the layers; the first is split into a market and an account part.
        precision: of the matrix products and of what they are given.
        dropout: share of units left out where keys are given, after every layer.
    """

    hidden: tuple[int, ...] = (256, 256)
    precision: Precision = "float32"
    dropout: float = 0.0

    binds_assets: ClassVar[bool] = True

    @nn.nowrap
    def row_bytes(self, num_assets: int, num_features: int) -> int:
        """Return the bytes of the widest intermediate array per market row in `encode`."""
        return 4 * max(num_assets * num_features, self.hidden[0])

    @nn.nowrap
    def table_bytes(self, num_assets: int) -> int:
        """Return the bytes of one row of the table."""
        del num_assets
        return 4 * 2 * self.hidden[0]

    @nn.nowrap
    def sample_bytes(self, num_assets: int, per_asset: int, num_account: int) -> int:
        """Return the bytes of the widest intermediate array per sample in `act`; `per_asset` numbers go in or out."""
        return 4 * max(*self.hidden, num_assets * per_asset + num_account)

    @nn.nowrap
    def head_sizes(self, num_assets: int, num_outputs: int, num_values: int) -> tuple[int, int]:
        """Return the widths of actor and critic head: one head for all assets together."""
        return num_assets * num_outputs, num_values

    def setup(self) -> None:
        layer = partial(dense, precision=self.precision)
        first = self.hidden[0]
        self.market_in = {"actor": layer(first), "critic": layer(first)}
        self.account_in = {"actor": layer(first, bias=False), "critic": layer(first, bias=False)}
        self.layers = {
            "actor": [layer(size) for size in self.hidden[1:]],
            "critic": [layer(size) for size in self.hidden[1:]],
        }

    def encode(
        self,
        features: Float[Array, "*batch A F"],
        mask: Bool[Array, "*batch A"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> dict[str, Array]:
        """Return the market part of the first layer for rows `features [..., A, F]`; no unit is complete here yet."""
        del mask, drop_keys  # a missing bar is 0 in every feature, `known` included
        row = features.reshape(*features.shape[:-2], -1)
        return {name: layer(row) for name, layer in self.market_in.items()}

    def act(
        self,
        row: dict[str, Array],
        mask: Bool[Array, "*batch A"],
        assets: Float[Array, "*batch A H"],
        account: Float[Array, "*batch G"],
        drop_keys: Key[Array, "*batch"] | None = None,
    ) -> tuple[Float[Array, "*batch width"], Float[Array, "*batch width"]]:
        """Return actor and critic features, `[..., hidden[-1]]` each."""
        del mask
        flat = jnp.concatenate([assets.reshape(*assets.shape[:-2], -1), account], axis=-1)
        out: dict[str, Any] = {}
        depth = len(self.hidden)
        for place, name in enumerate(("actor", "critic")):
            x = activate(row[name] + self.account_in[name](flat), self.precision)
            x = drop_units(x, self.dropout, drop_keys, place * depth)
            for number, layer in enumerate(self.layers[name], 1):
                x = drop_units(activate(layer(x), self.precision), self.dropout, drop_keys, place * depth + number)
            out[name] = x
        return out["actor"], out["critic"]
