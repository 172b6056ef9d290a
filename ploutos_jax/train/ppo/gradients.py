"""Gradient of one minibatch, without ever holding features or activations of all its samples at once.

The table is encoded once. Samples are worked through in chunks whose gradients with respect to the table rows are
scattered into one table-sized buffer; a single backward pass of the encoder turns that into parameter gradients. The
result is the gradient of the whole minibatch, up to the order of summation.
"""

import os
import typing
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ploutos_jax.agents.acting import encode_market, look_up
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.types import Observation
from ploutos_jax.market.panel import Market
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.ppo.losses import (
    LossSums,
    asset_mean,
    choosing,
    joined_log_prob,
    surrogate,
    value_squares,
)
from ploutos_jax.train.ppo.return_loss import of_table, return_errors

TableMode = Literal["table", "gather"]
"""`table` encodes all rows once; `gather` encodes the rows of the samples, for markets with more rows than samples."""


@typing.no_type_check
class Samples(struct.PyTreeNode):
    """A rollout ready for the loss, `[S, E, ...]`; `value` is None where the value loss does not clip."""

    observation: Observation
    action: Num[Array, "S E A"]
    log_prob: Float[Array, "S E ratios"]
    advantage: Float[Array, "S E K"]
    target: Float[Array, "S E K"]
    value: Float[Array, "S E K"] | None


# Values, advantages and targets are `[S, E, K]`: K is 1, or A with credit by asset.


def minibatch_gradients(
    network: Network,
    agent: AgentParams,
    market: Market,
    samples: Samples,
    pairs: Int[Array, " pairs"],
    hyper: Hyper,
    config: TrainConfig,
    mode: TableMode,
    drop_key: PRNGKeyArray | None = None,
    labels: Float[Array, "T A horizons"] | None = None,
) -> tuple[Any, LossSums]:
    """Return gradients of the PPO loss and its parts, averaged over the minibatch.

    Args:
        network, agent: what is differentiated.
        market: features and masks.
        samples: the whole rollout.
        pairs: `[pairs]` int32, the (time chunk, environment) pairs of the minibatch, numbered chunk-major.
        hyper, config: PPO settings.
        mode: how market rows are encoded; see `TableMode`.
        drop_key: of dropout, that of the rollout; None without it.
        labels: of the auxiliary loss, whose weighted mean is part of the loss then: over all rows of the market in mode
            `table`, over those of the samples in mode `gather`.
    """
    length, num_envs = config.steps_per_chunk, config.num_envs
    by_pair = jax.tree.map(lambda x: x.reshape(-1, length, *x.shape[1:]), samples)
    centre, spread = _advantage_stats(by_pair, market, pairs // num_envs, pairs % num_envs)
    num_samples = pairs.shape[0] * length
    order, weights = _split(pairs, _pairs_per_chunk(network, market, length, mode))
    parts = ChunkLoss(network, market, agent, hyper, config.ratio, num_samples, drop_key, labels)

    def chunk(inputs: tuple[Array, Array]) -> tuple[Samples, Array]:
        chosen, weight = inputs
        batch = jax.tree.map(lambda x: _flatten(x[chosen // num_envs, :, chosen % num_envs]), by_pair)
        scaled = (_at_least_float32(batch.advantage) - centre) / spread
        return batch.replace(advantage=scaled), jnp.repeat(weight, length)

    zeros = jax.tree.map(jnp.zeros_like, agent.network)
    if mode == "gather":

        def gather_step(total: Any, inputs: tuple[Array, Array]) -> tuple[Any, None]:
            batch, weight = chunk(inputs)
            grads, sums = jax.grad(parts.gathered_loss, has_aux=True)(agent.network, batch, weight)
            return jax.tree.map(jnp.add, total, (grads, sums)), None

        nothing = LossSums.zeros() if labels is None else LossSums.zeros().replace(returns=jnp.zeros(()))
        (grads, sums), _ = jax.lax.scan(gather_step, (zeros, nothing), (order, weights))
        return grads, jax.tree.map(lambda x: x / num_samples, sums)

    keys = network.drop_keys(drop_key, jnp.arange(market.num_bars))
    table, backward = jax.vjp(
        lambda params: encode_market(network, agent.replace(network=params), market, keys), agent.network
    )

    def table_step(total: Any, inputs: tuple[Array, Array]) -> tuple[Any, None]:
        grads, table_grads, sums = total
        batch, weight = chunk(inputs)
        t = batch.observation.t
        rows = look_up(table, t)
        (more, row_grads), new = jax.grad(parts.loss, argnums=(0, 1), has_aux=True)(agent.network, rows, batch, weight)
        table_grads = jax.tree.map(lambda g, r: add_to_rows(g, t, r), table_grads, row_grads)
        return (jax.tree.map(jnp.add, grads, more), table_grads, jax.tree.map(jnp.add, sums, new)), None

    start = (zeros, jax.tree.map(jnp.zeros_like, table), LossSums.zeros())
    (grads, table_grads, sums), _ = jax.lax.scan(table_step, start, (order, weights))
    sums = jax.tree.map(lambda x: x / num_samples, sums)
    if labels is not None:
        value, head_grads, more = of_table(network, agent.network, table, labels)
        grads, table_grads = (jax.tree.map(jnp.add, *x) for x in ((grads, head_grads), (table_grads, more)))
        sums = sums.replace(returns=value)
    return jax.tree.map(jnp.add, grads, backward(table_grads)[0]), sums


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


@jax.custom_vjp
def _gradient_in_one_piece(x: Array) -> Array:
    """Return x; its gradient is worked out and written once, before anything is added up of it.

    A GPU that adds up columns as few as these has most of its threads idle: with all of the loss inside that sum, a
    wide market took 2.8 ms per gradient step for what is 0.1 ms of memory traffic.
    """
    return x


_gradient_in_one_piece.defvjp(lambda x: (x, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient),))


class ChunkLoss:
    """Loss of a chunk, with everything that stays the same over a minibatch."""

    def __init__(
        self,
        network: Network,
        market: Market,
        agent: AgentParams,
        hyper: Hyper,
        ratio: Any,
        num_samples: int,
        drop_key: PRNGKeyArray | None,
        labels: Float[Array, "T A horizons"] | None = None,
    ) -> None:
        self.labels = labels
        self.network, self.market, self.scaling = network, market, agent.scaling
        self.hyper, self.ratio, self.num_samples, self.drop_key = hyper, ratio, num_samples, drop_key

    def gathered_loss(
        self, params: Any, batch: Samples, weight: Float[Array, " samples"]
    ) -> tuple[Float[Array, ""], LossSums]:
        t = batch.observation.t
        keys = self.network.drop_keys(self.drop_key, t)
        rows = self.network.encode(params, self.scaling, self.market.features[t], self.market.tradable[t], keys)
        loss, sums = self.loss(params, rows, batch, weight)
        if self.labels is None:
            return loss, sums
        error = (return_errors(self.network, params, rows, self.labels[t]) * weight).sum()
        coefficient = self.network.model.config.return_loss
        return loss + coefficient * error / self.num_samples, sums.replace(returns=error)

    def loss(
        self, params: Any, rows: Any, batch: Samples, weight: Float[Array, " samples"]
    ) -> tuple[Float[Array, ""], LossSums]:
        """Return the chunk's share of the mean loss, and its sums."""
        obs, head = batch.observation, self.network.head
        mask = self.market.tradable[obs.t]
        keys = self.network.drop_keys(self.drop_key, obs.t)
        outputs, value = self.network.act(params, self.scaling, rows, mask, obs.assets, obs.account, keys)
        outputs = _gradient_in_one_piece(outputs)
        chosen = choosing(mask, obs)
        log_prob = joined_log_prob(head.log_prob(outputs, batch.action, obs.valid), chosen, self.ratio)
        counted = chosen if self.ratio == "per_asset" else jnp.ones_like(mask[:, :1])
        policy, kl, clipped = surrogate(log_prob, batch.log_prob, batch.advantage, counted, self.hyper.clip_range)
        squares = value_squares(value, batch.target, batch.value, self.hyper.value_clip)
        value_error = asset_mean(squares, mask) if squares.shape[-1] == mask.shape[-1] else squares[..., 0]
        entropy = asset_mean(head.entropy(outputs, obs.valid), chosen)
        kl_share = kl if self.ratio == "per_asset" else kl / jnp.maximum(mask.sum(axis=-1), 1)
        sums = LossSums(
            policy=(policy * weight).sum(),
            value=(0.5 * value_error * weight).sum(),
            entropy=(entropy * weight).sum(),
            kl=(kl_share * weight).sum(),
            clipped=(clipped * weight).sum(),
        )
        total = sums.policy + self.hyper.value_coef * sums.value - self.hyper.entropy_coef * sums.entropy
        return total / self.num_samples, sums


def _advantage_stats(by_pair: Samples, market: Market, chunk: Array, env: Array) -> tuple[Array, Array]:
    """Return mean and deviation of the advantages of a minibatch, those of assets that cannot trade left out."""
    advantage = _at_least_float32(by_pair.advantage[chunk, :, env])
    if advantage.shape[-1] == 1:
        return advantage.mean(), advantage.std() + 1e-8
    seen = jax.tree.map(lambda x: x[chunk, :, env], by_pair.observation)
    weight = choosing(market.tradable[seen.t], seen).astype(advantage.dtype)
    total = jnp.maximum(weight.sum(), 1)
    mean = (advantage * weight).sum() / total
    return mean, jnp.sqrt((jnp.square(advantage - mean) * weight).sum() / total) + 1e-8


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _pairs_per_chunk(network: Network, market: Market, length: int, mode: TableMode) -> int:
    sample_bytes = network.sample_bytes()
    if mode == "gather":
        sample_bytes = max(sample_bytes, network.row_bytes(market.num_features))
    return max(1, network.chunk_bytes // (sample_bytes * length))


def _split(pairs: Array, size: int) -> tuple[Array, Array]:
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


def _flatten(x: Array) -> Array:
    """Join the pair and time axes of `[m, length, ...]`."""
    return x.reshape(-1, *x.shape[2:])
