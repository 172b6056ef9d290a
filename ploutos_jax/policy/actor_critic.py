"""ActorCritic: a torso with an actor head per asset and a critic head, in two stages."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax

from ploutos_jax.policy.torsos import FlatTorso, SharedTorso, dense

Array = jax.Array
Table = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """Shape of the network.

    Attributes:
        torso: `shared` is one network for all assets (the default: it learns what holds on unseen bars); `flat` is
            one dense network over the whole observation.
        hidden: layer widths, of the market stage per asset (`shared`) or of the whole network (`flat`).
        width: width of the account stage per asset (`shared` only).
    """

    torso: Literal["shared", "flat"] = "shared"
    hidden: tuple[int, ...] = (64, 64)
    width: int = 32

    def __post_init__(self) -> None:
        if self.torso not in ("shared", "flat"):
            raise ValueError(f"torso={self.torso!r} is unknown; use 'shared' or 'flat'.")
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list could not be hashed, as JAX needs it
        if not self.hidden or min(self.hidden) < 1 or self.width < 1:
            raise ValueError(f"hidden={self.hidden} and width={self.width} must be layer widths of at least 1.")


class ActorCritic(nn.Module):
    """Policy and value function over a table of the market and a compact account.

    Attributes:
        config: shape of the torso.
        num_assets: A; the flat torso is bound to it.
        num_outputs: numbers per asset that the action distribution takes.
    """

    config: PolicyConfig
    num_assets: int
    num_outputs: int

    def setup(self) -> None:
        if self.config.torso == "shared":
            self.torso = SharedTorso(self.config.hidden, self.config.width)
            self.actor_head = dense(self.num_outputs, scale=0.01)
        else:
            self.torso = FlatTorso(self.config.hidden)
            self.actor_head = dense(self.num_assets * self.num_outputs, scale=0.01)
        self.critic_head = dense(1, scale=1.0)

    def encode(self, features: Array, mask: Array) -> Table:
        """Return table rows for scaled `features [..., A, F]` and `mask [..., A]`; linear cost in rows, not samples."""
        return self.torso.encode(features, mask)

    def act(self, row: Table, mask: Array, assets: Array, account: Array) -> tuple[Array, Array]:
        """Return `(outputs [..., A, num_outputs], value [...])` for table rows and scaled account observations.

        Args:
            row: the table at the samples' bars.
            mask: `[..., A]` assets tradable at the bar observed.
            assets: `[..., A, K]` account observation per asset.
            account: `[..., G]` account observation.
        """
        actor, critic = self.torso.act(row, mask, assets, account)
        outputs = self.actor_head(actor)
        outputs = outputs.reshape(*assets.shape[:-1], self.num_outputs)
        return outputs, self.critic_head(critic)[..., 0]

    def __call__(self, features: Array, mask: Array, assets: Array, account: Array) -> tuple[Array, Array]:
        """Run both stages on joined samples; used to create parameters and as the unsplit reference."""
        return self.act(self.encode(features, mask), mask, assets, account)
