"""PPO losses per sample, so that a minibatch can be worked through in chunks and summed."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

Array = jax.Array
RatioKind = Literal["joint", "per_asset"]


class LossSums(struct.PyTreeNode):
    """Losses summed over samples; divide by their number. Entropy and KL are means per asset."""

    policy: Array
    value: Array
    entropy: Array
    kl: Array
    clipped: Array

    @classmethod
    def zeros(cls) -> "LossSums":
        zero = jnp.zeros(())
        return cls(policy=zero, value=zero, entropy=zero, kl=zero, clipped=zero)


def asset_mean(x: Array, mask: Array) -> Array:
    """Return the mean over tradable assets, `[n, A]` to `[n]`; 0 where none is tradable."""
    weight = mask.astype(x.dtype)
    return (x * weight).sum(axis=-1) / jnp.maximum(weight.sum(axis=-1), 1)


def joined_log_prob(log_prob: Array, mask: Array, ratio: RatioKind) -> Array:
    """Return the log-probability that the ratio is taken of: per asset `[n, A]`, or their sum `[n, 1]`.

    Actions of assets that cannot trade change nothing, so they take no part.
    """
    log_prob = jnp.where(mask, log_prob, 0)
    return log_prob if ratio == "per_asset" else log_prob.sum(axis=-1, keepdims=True)


def surrogate(
    new_log_prob: Array, old_log_prob: Array, advantage: Array, mask: Array, clip_range: Array | float
) -> tuple[Array, Array, Array]:
    """Return per sample, `[n]` each: the clipped surrogate (to minimise), the KL estimate, the clipped share.

    `−min(ρ·A, clip(ρ, 1 − ε, 1 + ε)·A)` with one ratio per asset or one in all, averaged over a sample's ratios. KL
    is `ρ − 1 − ln ρ`, whose terms are never negative.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; Schulman 2020, "Approximating KL
    Divergence".

    Args:
        new_log_prob, old_log_prob: `[n, A]` or `[n, 1]` of `joined_log_prob`.
        advantage: `[n, A]` or `[n, 1]`, normalised.
        mask: `[n, A]` or `[n, 1]`, which ratios count.
        clip_range: ε.
    """
    log_ratio = new_log_prob - old_log_prob
    ratio = jnp.exp(log_ratio)
    objective = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage)
    clipped = (jnp.abs(ratio - 1) > clip_range).astype(ratio.dtype)
    # expm1 keeps the digits that ratio - 1 loses near 1, where they are all there is.
    divergence = jnp.expm1(log_ratio) - log_ratio
    return -asset_mean(objective, mask), asset_mean(divergence, mask), asset_mean(clipped, mask)


def value_squares(value: Array, target: Array, old_value: Array | None, clip: Array | float) -> Array:
    """Return squared errors of values, `[n, K]`; with old values the larger one of the value and its clipped twin.

    Args:
        value: of the critic now.
        target: what it should be.
        old_value: of the critic in the rollout, or None not to clip.
        clip: largest change of a value that may make the error smaller.
    """
    target = target.astype(value.dtype)
    squares = jnp.square(value - target)
    if old_value is None:
        return squares
    old_value = old_value.astype(value.dtype)
    near = old_value + jnp.clip(value - old_value, -clip, clip)
    return jnp.maximum(squares, jnp.square(near - target))
