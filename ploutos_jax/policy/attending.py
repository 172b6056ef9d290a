"""The product at the heart of attention over bars, with a gradient that keeps no weight.

Weights are four heads times the window for each row, far more numbers than go in or come out. By itself JAX keeps them
all, or where rows are worked out anew in the backward pass computes the whole product once more. Here the backward pass
makes the weights again from the sum that they were divided by, and nothing else of the forward pass.

Source: Dao, Fu, Ermon, Rudra and Re 2022, "FlashAttention", for the gradient from the logarithm of the sum.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from ploutos_jax.policy.layers import KEPT

_UNSEEN = -1e9
"""Added to the logit of a key that may not be seen."""


@jax.custom_vjp
def attend(
    asked: Float[Array, "blocks queries A heads size"],
    keys: Float[Array, "blocks keys A heads size"],
    values: Float[Array, "blocks keys A heads size"],
    added: Float[Array, "heads queries keys"],
    hidden: Float[Array, "blocks A queries keys"],
) -> Float[Array, "blocks queries A heads size"]:
    """Return `softmax(asked · keys / √size + added + hidden) · values`.

    Args:
        asked: what each row looks for.
        keys, values: of the rows that the queries of a block may see.
        added: to the logits.
        hidden: of `hide`, 0 for one key of each query at least; it has no gradient.
    """
    return _forward(asked, keys, values, added, hidden)[0]


def hide(visible: Bool[Array, "blocks A queries keys"]) -> Float[Array, "blocks A queries keys"]:
    """Return what is added to the logits of keys, 0 or so little that their weight is exactly 0.

    Blocks are gone through one by one, so that it is written down once: as part of one expression XLA works it out anew
    for each head and wherever it is used.
    """
    return jax.lax.map(lambda block: jnp.where(block, 0.0, _UNSEEN), visible)


def _logits(asked: Array, keys: Array, added: Array, hidden: Array) -> Float[Array, "blocks A heads queries keys"]:
    scaled = asked / asked.shape[-1] ** 0.5  # fewer numbers than the logits
    return jnp.einsum("nqahd,nkahd->nahqk", scaled, keys) + (added + hidden[:, :, None])


def _forward(asked: Array, keys: Array, values: Array, added: Array, hidden: Array) -> tuple[Array, Any]:
    # Compiled as one with the softmax, the products take twice as long on a CPU.
    logits = jax.lax.optimization_barrier(_logits(asked, keys, added, hidden))
    most = logits.max(axis=-1)
    weights = jax.lax.optimization_barrier(jnp.exp(logits - most[..., None]))
    total = weights.sum(axis=-1)
    found = jnp.einsum("nahqk,nkahd->nahqd", weights, values) / total[..., None]
    found = checkpoint_name(found.transpose(0, 3, 1, 2, 4), KEPT)
    log_total = checkpoint_name(most + jnp.log(total), KEPT)
    return found, (asked, keys, values, added, hidden, found, log_total)


def _backward(kept: Any, gradient: Array) -> tuple[Array, Array, Array, Array, None]:
    asked, keys, values, added, hidden, found, log_total = kept
    logits = _logits(asked, keys, added, hidden)
    of_weights = jnp.einsum("nqahd,nkahd->nahqk", gradient, values)
    logits, of_weights = jax.lax.optimization_barrier((logits, of_weights))
    weights = jnp.exp(logits - log_total[..., None])
    # What a logit moves is its weight times how far its value is from what was found.
    own = (gradient * found).sum(axis=-1).transpose(0, 2, 3, 1)
    of_logits = weights * (of_weights - own[..., None])
    weights, of_logits = jax.lax.optimization_barrier((weights, of_logits))
    scale = asked.shape[-1] ** -0.5
    of_asked = scale * jnp.einsum("nahqk,nkahd->nahqd", of_logits, keys).transpose(0, 3, 1, 2, 4)
    of_keys = scale * _to_keys(asked, of_logits)
    return of_asked, of_keys, _to_keys(gradient, weights), of_logits.sum(axis=(0, 1)), None


def _to_keys(x: Array, weights: Array) -> Float[Array, "blocks keys A heads size"]:
    """Return what queries give to keys; numbers before rows, as the other order is a slow product on a CPU."""
    return jnp.einsum("nqahd,nahqk->nahdk", x, weights).transpose(0, 4, 1, 2, 3)


attend.defvjp(_forward, _backward)
