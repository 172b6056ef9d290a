"""PPO losses per sample, so that a minibatch can be worked through in chunks and summed."""

import typing
from typing import Literal

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from ploutos_jax.env.types import Observation

RatioKind = Literal["joint", "per_asset"]


@typing.no_type_check
class LossSums(struct.PyTreeNode):
    """Losses summed over samples; divide by their number. Entropy and KL are means per asset.

    `returns`, the auxiliary loss of `PolicyConfig.return_loss`, and `quantile`, that of the quantiles, are None where
    there is none.
    """

    policy: Float[Array, "*steps"]
    value: Float[Array, "*steps"]
    entropy: Float[Array, "*steps"]
    kl: Float[Array, "*steps"]
    clipped: Float[Array, "*steps"]
    returns: Float[Array, "*steps"] | None = None
    quantile: Float[Array, "*steps"] | None = None

    @classmethod
    def zeros(cls, *, returns: bool = False, quantile: bool = False) -> "LossSums":
        zero = jnp.zeros(())
        more = {"returns": zero if returns else None, "quantile": zero if quantile else None}
        return cls(policy=zero, value=zero, entropy=zero, kl=zero, clipped=zero, **more)


def asset_mean(x: Float[Array, "samples A"], mask: Bool[Array, "samples A"]) -> Float[Array, " samples"]:
    """Return the mean over tradable assets, `[samples, A]` to `[samples]`; 0 where none is tradable."""
    weight = mask.astype(x.dtype)
    return (x * weight).sum(axis=-1) / jnp.maximum(weight.sum(axis=-1), 1)


def choosing(tradable: Bool[Array, "*batch A"], observation: Observation) -> Bool[Array, "*batch A"]:
    """Return where an asset's action makes a difference: it trades, and there is more to do than to hold."""
    return tradable if observation.valid is None else tradable & (observation.valid > 0)


def joined_log_prob(
    log_prob: Float[Array, "samples A"], mask: Bool[Array, "samples A"], ratio: RatioKind
) -> Float[Array, "samples ratios"]:
    """Return the log-probability that the ratio is taken of: per asset `[samples, A]`, or their sum `[samples, 1]`.

    Actions of assets that cannot trade change nothing, so they take no part.
    """
    log_prob = jnp.where(mask, log_prob, 0)
    return log_prob if ratio == "per_asset" else log_prob.sum(axis=-1, keepdims=True)


def surrogate(
    new_log_prob: Float[Array, "samples ratios"],
    old_log_prob: Float[Array, "samples ratios"],
    advantage: Float[Array, " samples #ratios"],
    mask: Bool[Array, "samples ratios"],
    clip_range: Float[Array, ""] | float,
) -> tuple[Float[Array, " samples"], Float[Array, " samples"], Float[Array, " samples"]]:
    """Return per sample, `[samples]` each: the clipped surrogate (to minimise), the KL estimate, the clipped share.

    `−min(ρ·A, clip(ρ, 1 − ε, 1 + ε)·A)` with one ratio per asset or one in all, averaged over a sample's ratios. KL
    is `ρ − 1 − ln ρ`, whose terms are never negative.

    Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; Schulman 2020, "Approximating KL
    Divergence".

    Args:
        new_log_prob, old_log_prob: `[samples, A]` or `[samples, 1]` of `joined_log_prob`.
        advantage: `[samples, A]` or `[samples, 1]`, normalised.
        mask: `[samples, A]` or `[samples, 1]`, which ratios count.
        clip_range: ε.
    """
    log_ratio = new_log_prob - old_log_prob
    ratio = jnp.exp(log_ratio)
    objective = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip_range, 1 + clip_range) * advantage)
    clipped = (jnp.abs(ratio - 1) > clip_range).astype(ratio.dtype)
    # expm1 keeps the digits that ratio - 1 loses near 1, where they are all there is.
    divergence = jnp.expm1(log_ratio) - log_ratio
    return -asset_mean(objective, mask), asset_mean(divergence, mask), asset_mean(clipped, mask)


def value_squares(
    value: Float[Array, "samples K"],
    target: Float[Array, "samples K"],
    old_value: Float[Array, "samples K"] | None,
    clip: Float[Array, ""] | float,
) -> Float[Array, "samples K"]:
    """Return squared errors of values, `[samples, K]`; with old values the larger one of plain and clipped.

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
