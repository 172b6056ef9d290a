"""A distribution as its quantiles: n numbers, one for the middle of each n-th of the chance.

Sources: Dabney, Rowland, Bellemare and Munos, "Distributional Reinforcement Learning with Quantile Regression" (2018);
Dabney, Ostrovski, Silver and Munos (2018) for the loss.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

KAPPA = 0.05
"""Errors below this weigh by their square. Larger ones draw outer quantiles to the middle: at 1 the 5 % quantile of a
standard normal is learnt as −1.31 instead of −1.64."""
_RANGE = 4.0
"""From the lowest to the highest quantile of an untrained head."""


def levels(number: int) -> Float[np.ndarray, " quantiles"]:
    """Return the chances `(i − ½) / n` that the quantiles stand for."""
    return (np.arange(number) + 0.5) / number


def first_bias(number: int) -> Float[np.ndarray, " quantiles"]:
    """Return the bias of a head whose untrained quantiles lie evenly over a range of 4 around 0."""
    bias = np.full(number, np.log(np.expm1(_RANGE / number)), np.float32)
    bias[0] = -_RANGE / 2
    return bias


def to_quantiles(outputs: Float[Array, "*batch quantiles"]) -> Float[Array, "*batch quantiles"]:
    """Return quantiles, ascending whatever the outputs: the first one, and steps up from it, `softplus` of the rest."""
    steps = jax.nn.softplus(outputs[..., 1:])
    return jnp.cumsum(jnp.concatenate([outputs[..., :1], steps], axis=-1), axis=-1)


def quantile_loss(
    quantiles: Float[Array, "*batch quantiles"], targets: Float[Array, "*batch targets"], kappa: float = KAPPA
) -> Float[Array, "*batch"]:
    """Return `Σ_i mean_j |τ_i − 1{u < 0}| · L_κ(u) / κ` with `u = target_j − quantile_i` and Huber's L.

    Args:
        quantiles: what is learnt.
        targets: draws of the distribution, or quantiles of it, equally likely.
        kappa: see `KAPPA`.
    """
    error = targets[..., None, :] - quantiles[..., :, None]
    size = jnp.abs(error)
    huber = jnp.where(size <= kappa, 0.5 * jnp.square(error), kappa * (size - 0.5 * kappa))
    tau = jnp.asarray(levels(quantiles.shape[-1]), quantiles.dtype)[:, None]
    weight = jnp.abs(tau - (error < 0).astype(quantiles.dtype))
    return (weight * huber / kappa).mean(axis=-1).sum(axis=-1)


def tail_mean(quantiles: Float[Array, "*batch quantiles"], tail: float) -> Float[Array, "*batch"]:
    """Return the CVaR, the mean of the worst share `tail`; the quantile that the share ends in counts by its part."""
    number = quantiles.shape[-1]
    weight = np.clip(tail * number - np.arange(number), 0, 1)
    return quantiles @ jnp.asarray(weight / weight.sum(), quantiles.dtype)
