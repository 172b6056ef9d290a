"""The gradient of PPO's loss over one minibatch."""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.env.types import Observation
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.policy.quantiles import quantile_loss
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.learning.stretches import Remembered
from ploutos_jax.train.learning.table_gradients import (
    TableMode,
    flatten_pairs,
    pairs_per_chunk,
    split_own_pairs,
    split_pairs,
    summed_gradients,
)
from ploutos_jax.train.ppo.losses import (
    LossSums,
    asset_mean,
    choosing,
    joined_log_prob,
    surrogate,
    value_squares,
)
from ploutos_jax.train.ppo.return_loss import of_table, return_errors


@typing.no_type_check
class Samples(struct.PyTreeNode):
    """A rollout ready for the loss, `[S, E, ...]`; `value` is None where the value loss does not clip, and
    `quantile_target`, draws of the return to come, where no quantiles are learnt.
    """

    observation: Observation
    action: Num[Array, "S E A"]
    log_prob: Float[Array, "S E ratios"]
    advantage: Float[Array, "S E K"]
    target: Float[Array, "S E K"]
    value: Float[Array, "S E K"] | None
    quantile_target: Float[Array, "S E N"] | None = None


QUANTILE_COEF = 0.25
"""Weight of the loss of the quantiles."""

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
    parts: Parts = WHOLE,
    moments: "PairMoments | None" = None,
    remembered: Remembered | None = None,
) -> tuple[Any, LossSums]:
    """Return gradients of the PPO loss and its terms, averaged over the minibatch.

    Args:
        network, agent: what is differentiated.
        market: features and masks.
        samples: the whole rollout, or this part of it.
        pairs: `[pairs]` int32, the (time chunk, environment) pairs of the minibatch, numbered chunk-major.
        hyper, config: PPO settings.
        mode: how market rows are encoded; see `TableMode`.
        drop_key: of dropout, that of the rollout; None without it.
        labels: of the auxiliary loss, whose weighted mean is part of the loss then: over all rows of the market in mode
            `table`, over those of the samples in mode `gather`.
        parts: of the environments; gradients are summed over all.
        moments: of `pair_moments`, where there are several parts.
        remembered: how a network that remembers is differentiated by stretches, in mode `gather`; None by every row.
    """
    length = config.steps_per_chunk if remembered is None else remembered.stretches.length
    num_envs = parts.of(config.num_envs)
    by_pair = jax.tree.map(lambda x: x.reshape(-1, length, *x.shape[1:]), samples)
    num_samples = pairs.shape[0] * length
    size, num_chunks = pairs_per_chunk(network, market, length, mode), None
    if remembered is not None:
        size = pairs.shape[0]  # all together are cut into stretches
    if moments is None:
        centre, spread = _advantage_stats(by_pair, market, pairs // num_envs, pairs % num_envs)
        chunks = split_pairs(pairs, size)
    else:
        chunks, num_chunks = split_own_pairs(pairs, size, config.num_envs, parts)
        centre, spread = moments.of_pairs(chunks[0].reshape(-1), chunks[1].reshape(-1), parts)
    loss = ChunkLoss(network, market, agent, hyper, config.ratio, num_samples, drop_key)
    if labels is not None:
        loss = WithReturns(loss, labels, in_samples=mode == "gather", share=1 / parts.number)

    def chunk(inputs: tuple[Array, Array]) -> tuple[Samples, Array]:
        chosen, weight = inputs
        batch = jax.tree.map(lambda x: flatten_pairs(x[chosen // num_envs, :, chosen % num_envs]), by_pair)
        scaled = (_at_least_float32(batch.advantage) - centre) / spread
        return batch.replace(advantage=scaled), jnp.repeat(weight, length)

    rows_of: Callable[[Any, Samples], Table] | None = None
    if remembered is not None:
        own, weights = (x.reshape(-1) for x in chunks)
        t = by_pair.observation.t[own // num_envs, :, own % num_envs]
        chunks, num_chunks = remembered.in_chunks(network, market.num_features, t, weights)

        def chunk(inputs: tuple[Array, Array]) -> tuple[Samples, Array]:
            (pair, step), weight = remembered.samples_of(own, inputs)
            batch = jax.tree.map(lambda x: x[pair // num_envs, step, pair % num_envs], by_pair)
            scaled = (_at_least_float32(batch.advantage) - centre) / spread
            return batch.replace(advantage=scaled), weight

        def stretch_rows(params: Any, batch: Samples) -> Table:
            return remembered.rows(network, agent.replace(network=params), market, batch.observation.t, drop_key)

        rows_of = stretch_rows

    besides = loss.of_table if isinstance(loss, WithReturns) and mode == "table" else None
    made = summed_gradients(network, agent, market, loss, chunk, chunks, mode, drop_key, besides, num_chunks, rows_of)
    grads, sums = parts.total(made)
    return grads, jax.tree.map(lambda x: x / num_samples, sums)


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
    ) -> None:
        self.network, self.market, self.scaling = network, market, agent.scaling
        self.hyper, self.ratio, self.num_samples, self.drop_key = hyper, ratio, num_samples, drop_key

    def no_sums(self) -> LossSums:
        return LossSums.zeros(quantile=self.network.model.config.quantiles > 0)

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
        kl_share = kl if self.ratio == "per_asset" else kl / jnp.maximum(chosen.sum(axis=-1), 1)
        sums = LossSums(
            policy=(policy * weight).sum(),
            value=(0.5 * value_error * weight).sum(),
            entropy=(entropy * weight).sum(),
            kl=(kl_share * weight).sum(),
            clipped=(clipped * weight).sum(),
        )
        total = sums.policy + self.hyper.value_coef * sums.value - self.hyper.entropy_coef * sums.entropy
        if batch.quantile_target is not None:
            seen = rows, mask, obs.assets, obs.account, keys
            error = quantile_loss(self.network.distribution(params, self.scaling, *seen), batch.quantile_target)
            of_quantiles = (error * weight).sum()
            sums = sums.replace(quantile=of_quantiles)
            total = total + QUANTILE_COEF * of_quantiles
        return total / self.num_samples, sums


@dataclasses.dataclass(frozen=True)
class WithReturns:
    """The loss of a chunk with the auxiliary loss on returns, see `return_loss`.

    Attributes:
        ppo: the loss without it.
        labels: of every row of the market.
        in_samples: whether the rows of the samples are what it is a mean over; those of the whole table otherwise.
        share: what this device adds of the latter, which all of them have.
    """

    ppo: ChunkLoss
    labels: Float[Array, "T A horizons"]
    in_samples: bool
    share: float = 1.0

    def no_sums(self) -> LossSums:
        return self.ppo.no_sums().replace(returns=jnp.zeros(()))

    def loss(
        self, params: Any, rows: Table, batch: Samples, weight: Float[Array, " samples"]
    ) -> tuple[Float[Array, ""], LossSums]:
        """Return the chunk's share of the mean loss, and its sums."""
        loss, sums = self.ppo.loss(params, rows, batch, weight)
        if not self.in_samples:
            return loss, sums.replace(returns=jnp.zeros(()))
        network = self.ppo.network
        error = (return_errors(network, params, rows, self.labels[batch.observation.t]) * weight).sum()
        share = network.model.config.return_loss * error / self.ppo.num_samples
        return loss + share, sums.replace(returns=error)

    def of_table(self, params: Any, table: Table) -> tuple[Any, Table, LossSums]:
        """Return gradients of the auxiliary loss by parameters and table, and its sum as if of as many samples."""
        value, grads, table_grads = of_table(self.ppo.network, params, table, self.labels)
        if self.share != 1:
            value, grads, table_grads = jax.tree.map(lambda x: x * self.share, (value, grads, table_grads))
        return grads, table_grads, self.ppo.no_sums().replace(returns=value * self.ppo.num_samples)


@typing.no_type_check
class PairMoments(struct.PyTreeNode):
    """Advantages of each pair of time chunk and environment, those of actions without a choice left out.

    Attributes:
        count: `[pairs]` how many there are.
        mean: `[pairs]`.
        square: `[pairs]` sums of squared distances from it.
    """

    count: Float[Array, " pairs"]
    mean: Float[Array, " pairs"]
    square: Float[Array, " pairs"]

    def of_pairs(
        self, pairs: Int[Array, " n"], weight: Float[Array, " n"], parts: Parts
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return mean and deviation of the advantages of a minibatch over all parts.

        Source: Chan, Golub, LeVeque 1979 (merging of means and sums of squares).

        Args:
            pairs: this part's of the minibatch.
            weight: 0 for those that only fill up.
            parts: of the environments.
        """
        count, mean = self.count[pairs] * weight, self.mean[pairs]
        number, total = parts.total((count.sum(), (count * mean).sum()))
        number = jnp.maximum(number, 1)
        centre = total / number
        square = parts.total((self.square[pairs] * weight + count * jnp.square(mean - centre)).sum())
        return centre, jnp.sqrt(square / number) + 1e-8


def pair_moments(samples: Samples, market: Market, length: int) -> PairMoments:
    """Return the moments of the advantages of a part of a rollout, by pair; `length` is that of a time chunk."""
    advantage, obs = _at_least_float32(samples.advantage), samples.observation
    is_joint = advantage.shape[-1] == 1
    chosen = choosing(market.tradable[obs.t], obs)
    if is_joint:
        chosen = chosen.any(axis=-1, keepdims=True) if obs.valid is not None else jnp.ones_like(advantage, bool)
    weight = chosen.astype(advantage.dtype)

    def by_pair(x: Array) -> Array:
        return x.reshape(-1, length, *x.shape[1:]).sum(axis=(1, 3))

    count = by_pair(weight)
    mean = by_pair(advantage * weight) / jnp.maximum(count, 1)
    spread = jnp.square(advantage - jnp.repeat(mean, length, axis=0)[..., None]) * weight
    return PairMoments(*(x.reshape(-1) for x in (count, mean, by_pair(spread))))


def _advantage_stats(by_pair: Samples, market: Market, chunk: Array, env: Array) -> tuple[Array, Array]:
    """Return mean and deviation of the advantages of a minibatch, those of actions without a choice left out."""
    advantage = _at_least_float32(by_pair.advantage[chunk, :, env])
    is_joint = advantage.shape[-1] == 1
    if is_joint and by_pair.observation.valid is None:
        return advantage.mean(), advantage.std() + 1e-8
    seen = jax.tree.map(lambda x: x[chunk, :, env], by_pair.observation)
    chosen = choosing(market.tradable[seen.t], seen)
    weight = (chosen.any(axis=-1, keepdims=True) if is_joint else chosen).astype(advantage.dtype)
    total = jnp.maximum(weight.sum(), 1)
    mean = (advantage * weight).sum() / total
    return mean, jnp.sqrt((jnp.square(advantage - mean) * weight).sum() / total) + 1e-8


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
