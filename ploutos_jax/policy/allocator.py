"""Allocator: how much of the account follows each expert, by what the whole cross-section shows."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ploutos_jax.policy.layers import masked_mean

START = 0.98
"""Share of equal parts in an untrained mix."""
_GAIN = 6.0
"""What a parameter moves a logarithm of a share by: these are few numbers against the thousands of the network."""


class Allocator(nn.Module):
    """Shares of equal parts, of some experts and of cash, of one row of the market: `softmax(W · summary + b)`.

    The summary is mean and deviation of every feature over the assets that trade. W is 0 at first and b leaves `START`
    to equal parts: untrained, the mix is equal weight to within a fiftieth. Shares depend on the market alone, not on
    the account: they are worked out once for each row, all assets share them, and nothing is sampled.

    Attributes:
        num_experts: at least 1.
    """

    num_experts: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "*batch A F"], mask: Bool[Array, "*batch A"]
    ) -> Float[Array, "*batch parts"]:
        """Return the shares `[..., experts + 2]`: equal parts, each expert, cash.

        Args:
            features: scaled, known at the close of the row.
            mask: assets that trade.
        """
        x = features.astype(jnp.float32)
        mean = masked_mean(x, mask)
        square = masked_mean(jnp.square(x - mean[..., None, :]), mask)
        # The gradient of a root at 0, where assets do not differ or one trades alone, is infinite.
        deviation = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
        summary = jnp.concatenate([mean, deviation], axis=-1)
        logits = nn.Dense(self.num_experts + 2, kernel_init=nn.initializers.zeros)(summary)
        ahead = math.log(START / (1 - START) * (self.num_experts + 1))
        return jax.nn.softmax(_GAIN * logits + jnp.zeros(self.num_experts + 2).at[0].set(ahead))

    def mix(
        self,
        shares: Float[Array, "*batch parts"],
        experts: Float[Array, "*batch A experts"],
        mask: Bool[Array, "*batch A"],
    ) -> Float[Array, "*batch A"]:
        """Return weights `[..., A]` of the mix; those of an expert add up to at most 1, and so do those of the mix."""
        equal = mask / jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
        followed = (experts.astype(jnp.float32) * shares[..., None, 1:-1]).sum(axis=-1)
        return shares[..., :1] * equal + followed
