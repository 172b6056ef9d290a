"""Gradient of one minibatch, without ever holding features or activations of all its samples at once.

The table is encoded once. Samples are worked through in chunks whose gradients with respect to the table rows are
scattered into one table-sized buffer; a single backward pass of the encoder turns that into parameter gradients. The
result is the gradient of the whole minibatch, up to the order of summation. What the loss of a sample is, is the
learner's.
"""

import math
import os
from collections.abc import Callable
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ploutos_jax.agents.acting import encode_market, look_up
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.parts import Parts
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table

TableMode = Literal["table", "gather"]
"""`table` encodes all rows once; `gather` encodes the rows of the samples, for markets with more rows than samples."""


class SampleLoss(Protocol):
    """A loss of samples that adds up over chunks of them."""

    def no_sums(self) -> Any:
        """Return figures of the loss before the first chunk."""
        ...

    def loss(
        self, params: Any, rows: Any, batch: Any, weight: Float[Array, " samples"]
    ) -> tuple[Float[Array, ""], Any]:
        """Return a chunk's share of the loss, and its figures, from its rows of the table."""
        ...


def summed_gradients(
    network: Network,
    agent: AgentParams,
    market: Market,
    of: SampleLoss,
    chunk: Callable[[tuple[Array, Array]], tuple[Any, Array]],
    chunks: tuple[Int[Array, "chunks size"], Num[Array, "chunks size"]],
    mode: TableMode,
    drop_key: PRNGKeyArray | None = None,
    of_table: Callable[[Any, Table], tuple[Any, Table, Any]] | None = None,
    num_chunks: Int[Array, ""] | None = None,
    rows_of: Callable[[Any, Any], Table] | None = None,
) -> tuple[Any, Any]:
    """Return gradients of a loss by the network's parameters, and its figures, summed over chunks.

    Args:
        network, agent: what is differentiated.
        market: features and masks.
        of: the loss.
        chunk: of two arrays `[size]`, such as pairs and weights, samples, which have an `observation`, and weights.
        chunks: of `split_pairs`, of `split_own_pairs`, or places and lengths of `Remembered.in_chunks`.
        mode: how market rows are encoded; see `TableMode`.
        drop_key: of dropout, that of the rollout; None without it.
        of_table: `(parameters, table) -> (gradients by the one, by the other, figures)` of what the loss holds besides,
            of a whole table, in mode `table`; None for nothing.
        num_chunks: how many of the chunks are worked through, all of them without it.
        rows_of: `(parameters, samples) -> rows` in mode `gather`; without it each sample's bar is encoded by itself.
    """
    zeros = jax.tree.map(jnp.zeros_like, agent.network)
    if mode == "gather":

        def alone(params: Any, batch: Any) -> Table:
            t = batch.observation.t
            keys = network.drop_keys(drop_key, t)
            return network.encode(params, agent.scaling, market.features[t], market.tradable[t], keys)

        def gathered(params: Any, batch: Any, weight: Array) -> tuple[Array, Any]:
            return of.loss(params, (rows_of or alone)(params, batch), batch, weight)

        def gather_step(total: Any, inputs: tuple[Array, Array]) -> tuple[Any, None]:
            batch, weight = chunk(inputs)
            grads, sums = jax.grad(gathered, has_aux=True)(agent.network, batch, weight)
            return jax.tree.map(jnp.add, total, (grads, sums)), None

        return _over_chunks(gather_step, (zeros, of.no_sums()), chunks, num_chunks)

    keys = network.drop_keys(drop_key, jnp.arange(market.num_bars))
    table, backward = jax.vjp(
        lambda params: encode_market(network, agent.replace(network=params), market, keys), agent.network
    )

    def table_step(total: Any, inputs: tuple[Array, Array]) -> tuple[Any, None]:
        grads, table_grads, sums = total
        batch, weight = chunk(inputs)
        t = batch.observation.t
        rows = look_up(table, t)
        (more, row_grads), new = jax.grad(of.loss, argnums=(0, 1), has_aux=True)(agent.network, rows, batch, weight)
        table_grads = jax.tree.map(lambda g, r: add_to_rows(g, t, r), table_grads, row_grads)
        return (jax.tree.map(jnp.add, grads, more), table_grads, jax.tree.map(jnp.add, sums, new)), None

    start = (zeros, jax.tree.map(jnp.zeros_like, table), of.no_sums())
    grads, table_grads, sums = _over_chunks(table_step, start, chunks, num_chunks)
    if of_table is not None:
        joined = of_table(agent.network, table)
        grads, table_grads, sums = (
            jax.tree.map(jnp.add, *pair) for pair in zip((grads, table_grads, sums), joined, strict=True)
        )
    return jax.tree.map(jnp.add, grads, backward(table_grads)[0]), sums


def _over_chunks(step: Callable[[Any, Any], tuple[Any, None]], start: Any, chunks: Any, count: Array | None) -> Any:
    """Return what steps over chunks, or over the first `count` of them, make of a start."""
    if count is None:
        return jax.lax.scan(step, start, chunks)[0]
    one = lambda i, total: step(total, jax.tree.map(lambda x: x[i], chunks))[0]  # noqa: E731
    return jax.lax.fori_loop(0, count, one, start)


def add_to_rows(table: Float[Array, "T ..."], t: Int[Array, " n"], rows: Float[Array, "n ..."]) -> Array:
    """Return the table with `rows [n, ...]` added to its rows `t [n]`.

    A GPU adds in whatever order its threads arrive, so the last bits differ from run to run. Asked for results that
    repeat, XLA sorts every number first, which costs several times the rest of an update; a product with the matrix of
    ones where a sample belongs to a row adds in one order and is what the machine is made for. Each number is split
    into three that bfloat16 holds exactly, 24 bits in all.
    """
    if not asked_to_repeat():
        return table.at[t].add(rows)
    belongs = (t[:, None] == jnp.arange(table.shape[0])).astype(jnp.bfloat16)
    rest, parts = rows.reshape(rows.shape[0], -1).astype(jnp.float32), []
    for _ in range(3):
        # Not a conversion there and back, which the compiler takes to change nothing.
        part = jax.lax.reduce_precision(rest, exponent_bits=8, mantissa_bits=7)
        rest = rest - part
        parts.append(part.astype(jnp.bfloat16))
    product = (((0,), (0,)), ((), ()))
    sums = jax.lax.dot_general(belongs, jnp.concatenate(parts, axis=-1), product, preferred_element_type=jnp.float32)
    high, middle, low = jnp.split(sums, 3, axis=-1)
    total = high + middle + low
    return table + total.reshape(table.shape).astype(table.dtype)


def asked_to_repeat() -> bool:
    """Return whether XLA has been asked for GPU kernels whose results repeat bit for bit, and there is a GPU."""
    return jax.default_backend() == "gpu" and "--xla_gpu_deterministic_ops=true" in os.environ.get("XLA_FLAGS", "")


def pairs_per_chunk(network: Network, market: Market, length: int, mode: TableMode) -> int:
    """Return how many pairs of `length` samples each keep within the byte budget of the network."""
    sample_bytes = network.sample_bytes()
    if mode == "gather":
        sample_bytes = max(sample_bytes, network.row_bytes(market.num_features))
    return max(1, network.chunk_bytes // (sample_bytes * length))


def split_pairs(pairs: Array, size: int) -> tuple[Array, Array]:
    """Return pairs and weights as `[chunks, size]`; the last chunk is filled up with weight 0."""
    num_pairs = pairs.shape[0]
    num_chunks = -(-num_pairs // size)
    size = -(-num_pairs // num_chunks)
    padding = num_chunks * size - num_pairs
    weight = jnp.ones(num_pairs)
    return (
        jnp.pad(pairs, (0, padding)).reshape(num_chunks, size),
        jnp.pad(weight, (0, padding)).reshape(num_chunks, size),
    )


def split_own_pairs(
    pairs: Int[Array, " pairs"], size: int, num_envs: int, parts: Parts
) -> tuple[tuple[Int[Array, "chunks size"], Float[Array, "chunks size"]], Int[Array, ""]]:
    """Return the pairs of a minibatch that are of this device's environments, and how many chunks they fill.

    A minibatch is drawn from all environments, so how many of its pairs a device has is chance. A chunk holds as many
    as all but one in hundreds of minibatches have on a device, and is filled up with weight 0; what is beyond takes
    another chunk. So a device computes about its part of the minibatch, and which samples a step learns from does not
    depend on the number of devices.

    Args:
        pairs: of the minibatch, numbered chunk-major over the environments of all parts.
        size: most pairs of a chunk, see `pairs_per_chunk`.
        num_envs: environments of all parts.
        parts: of these.

    Returns:
        Pairs, numbered chunk-major over the environments of this part, with their weights, and the number of chunks
        that hold any.
    """
    drawn, own_envs = pairs.shape[0], parts.of(num_envs)
    env = pairs % num_envs - parts.place * own_envs
    is_own = (env >= 0) & (env < own_envs)
    expected = drawn / parts.number
    most = min(drawn, math.ceil(expected + _DEVIATIONS * math.sqrt(expected * (1 - 1 / parts.number))))
    size = -(-most // -(-most // size))
    places = -(-drawn // size) * size
    chosen = jnp.nonzero(is_own, size=places, fill_value=0)[0]
    found = is_own.sum()
    weight = (jnp.arange(places) < found).astype(jnp.float32)
    own = jnp.where(weight > 0, (pairs // num_envs * own_envs + env)[chosen], 0)
    return (own.reshape(-1, size), weight.reshape(-1, size)), -(-found // size)


_DEVIATIONS = 3.0
"""By so many standard deviations a chunk may hold more than the mean number of a device's pairs."""


def flatten_pairs(x: Array) -> Array:
    """Join the pair and time axes of `[m, length, ...]`."""
    return x.reshape(-1, *x.shape[2:])
