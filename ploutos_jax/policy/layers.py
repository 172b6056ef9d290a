"""What torsos and memories are made of: products with a gradient in place, in float32 or bfloat16, and dropout."""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

_HIDDEN_INIT = nn.initializers.orthogonal(2**0.5)


Precision = Literal["float32", "bfloat16"]


KEPT = "kept"
"""Name of what a backward pass that works out rows anew keeps: what attention found, as dear as all else."""


def dense(
    features: int,
    *,
    bias: bool = True,
    scale: float | None = None,
    precision: Precision = "float32",
    bias_init: nn.initializers.Initializer = nn.initializers.zeros,
) -> nn.Dense:
    """Return a dense layer, orthogonal with gain √2 (or `scale`), zero bias; `precision` is that of its product."""
    init = _HIDDEN_INIT if scale is None else nn.initializers.orthogonal(scale)
    product = _aligned_product if precision == "float32" else _bfloat16_product
    return nn.Dense(features, use_bias=bias, kernel_init=init, bias_init=bias_init, dot_general=product)


def activate(x: Float[Array, "*batch width"], precision: Precision) -> Float[Array, "*batch width"]:
    """Return `tanh` of what a layer gives, in the number format that the next layer multiplies in.

    Kept in bfloat16, what the backward pass needs takes half the memory and half the time to move.
    """
    return nn.tanh(x if precision == "float32" else x.astype(jnp.bfloat16))


def _bfloat16_product(x: Array, kernel: Array, *args: Any, **kwargs: Any) -> Array:
    """Multiply in bfloat16, forward and backward; inputs, result and what is summed up of them keep their type."""
    result = _aligned_product(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), *args, **kwargs)
    return result.astype(x.dtype)


def _aligned_product(x: Array, kernel: Array, *args: Any, **kwargs: Any) -> Array:
    """Multiply `[..., n]` by `[n, m]`; on a GPU with both sizes filled up with zeros to whole multiples of `alignment`.

    A row of odd length begins anywhere, and the fast kernels of the tensor cores read 16 bytes at a time: 503 assets of
    85 features took 1.5 times as long an update without (benchmarks/RESULTS.md).
    """
    rows, columns = kernel.shape
    more_rows, more_columns = (-size % alignment() if size > _SMALL else 0 for size in (rows, columns))
    if more_rows or more_columns:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more_rows)])
        kernel = jnp.pad(kernel, [(0, more_rows), (0, more_columns)])
    return _product(x, kernel, *args, **kwargs)[..., :columns]


def _product(x: Array, kernel: Array, dimensions: Any, precision: Any = None) -> Array:
    """Multiply `[..., n]` by `[n, m]`, as Flax's layers ask for it, with a gradient that moves no array about.

    By itself JAX works out the gradient of the kernel transposed, for which XLA writes the gradient of all samples anew
    with its axes swapped; on a CPU that, and the slow product after it, took a third of an update.

    Raises:
        ValueError: if it is another product.
    """
    if dimensions != (((x.ndim - 1,), (0,)), ((), ())) or kernel.ndim != 2:
        raise ValueError(
            f"A product of {x.shape} and {kernel.shape} over {dimensions}, not of the last and first axis."
        )
    return _multiply(x, kernel, precision)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _multiply(x: Array, kernel: Array, precision: Any) -> Array:
    return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), precision)


def _multiply_forward(x: Array, kernel: Array, precision: Any) -> tuple[Array, tuple[Array, Array]]:
    return _multiply(x, kernel, precision), (x, kernel)


def _multiply_backward(precision: Any, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    of_x = jax.lax.dot_general(gradient, kernel, (((gradient.ndim - 1,), (1,)), ((), ())), precision)
    by_row = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    return of_x, jax.lax.dot_general(*by_row, (((0,), (0,)), ((), ())), precision)


_multiply.defvjp(_multiply_forward, _multiply_backward)


def alignment() -> int:
    """Return of how many numbers the sizes of matrix products are multiples on this device; 1 where it is no matter."""
    return 16 if jax.default_backend() == "gpu" else 1


_SMALL = 64
"""Size up to which products are not filled up."""


def masked_mean(x: Float[Array, "*batch A width"], mask: Bool[Array, "*batch A"]) -> Float[Array, "*batch width"]:
    """Return the mean over assets, `[..., A, width]` to `[..., width]`, of those where `mask [..., A]` is True."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    weight = mask.astype(x.dtype)
    return jnp.einsum("...ad,...a->...d", x, weight) / jnp.maximum(weight.sum(axis=-1, keepdims=True), 1)


def drop_units(
    x: Float[Array, "*batch_and_sizes"], rate: float, keys: Key[Array, "*batch"] | None, layer: int
) -> Float[Array, "*batch_and_sizes"]:
    """Return a layer's output with a share of its units set to 0 and the others scaled up, so that the mean stays.

    Which ones depends on the key and the layer alone: the same key gives the same units again, in whatever batch.
    Rollout and loss are given equal keys and so see one network; else the probability ratio of PPO would not start
    at 1.

    Args:
        x: `[..., *sizes]` activations.
        rate: share of units left out.
        keys: `[...]` a key for each of the leading axes, or None for all units.
        layer: number of the layer; each has units of its own.

    Source: Hausknecht and Wagener, "Consistent Dropout for Policy Gradient Reinforcement Learning" (2022).
    """
    if keys is None or rate == 0:
        return x
    sizes = x.shape[keys.ndim :]
    keep = jax.vmap(lambda key: jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - rate, sizes))(keys.reshape(-1))
    return jnp.where(keep.reshape(x.shape), x / (1 - rate), 0)
