"""From derivatives by a network's outputs to those by its parameters, and the critic's loss beside them."""

import typing
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.types import Observation
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.distributions import PathHead
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.learning.table_gradients import (
    TableMode,
    flatten_pairs,
    pairs_per_chunk,
    split_pairs,
    summed_gradients,
)
from ploutos_jax.train.ppo.losses import asset_mean, choosing

KEPT_WITHIN = 0.1
"""Weight of how far outputs lie beyond where they make a difference, beside derivatives of size 1."""


@typing.no_type_check
class PathSamples(struct.PyTreeNode):
    """A differentiated rollout ready for the loss, `[S, E, ...]`.

    Attributes:
        observation: seen.
        pull: derivative of what follows by the outputs, scaled.
        target: worths for the critic, scaled.
    """

    observation: Observation
    pull: Float[Array, "S E A outputs"]
    target: Float[Array, "S E A"]


@typing.no_type_check
class PathSums(struct.PyTreeNode):
    """Losses summed over samples; divide by their number. All are means per asset.

    `policy` is minus the outputs times the derivatives by them: its gradient counts, not its value. Outputs that have
    gone where none of them makes a difference are drawn back.
    """

    policy: Float[Array, "*steps"]
    value: Float[Array, "*steps"]
    entropy: Float[Array, "*steps"]

    @classmethod
    def zeros(cls) -> "PathSums":
        zero = jnp.zeros(())
        return cls(policy=zero, value=zero, entropy=zero)


def path_gradients(
    network: Network,
    agent: AgentParams,
    market: Market,
    samples: PathSamples,
    pairs: Int[Array, " pairs"],
    hyper: Hyper,
    config: TrainConfig,
    mode: TableMode,
    drop_key: PRNGKeyArray | None = None,
) -> tuple[Any, PathSums]:
    """Return gradients of the loss and its parts, averaged over a minibatch.

    Args:
        network, agent: what is differentiated.
        market: features and masks.
        samples: the whole rollout.
        pairs: `[pairs]` int32, the (time chunk, environment) pairs of the minibatch, numbered chunk-major.
        hyper, config: settings.
        mode: how market rows are encoded; see `TableMode`.
        drop_key: of dropout, that of the rollout; None without it.
    """
    length, num_envs = config.steps_per_chunk, config.num_envs
    by_pair = jax.tree.map(lambda x: x.reshape(-1, length, *x.shape[1:]), samples)
    num_samples = pairs.shape[0] * length
    loss = _PathLoss(network, market, agent, hyper, num_samples, drop_key)

    def chunk(inputs: tuple[Array, Array]) -> tuple[PathSamples, Array]:
        chosen, weight = inputs
        batch = jax.tree.map(lambda x: flatten_pairs(x[chosen // num_envs, :, chosen % num_envs]), by_pair)
        return batch, jnp.repeat(weight, length)

    chunks = split_pairs(pairs, pairs_per_chunk(network, market, length, mode))
    grads, sums = summed_gradients(network, agent, market, loss, chunk, chunks, mode, drop_key)
    return grads, jax.tree.map(lambda x: x / num_samples, sums)


class _PathLoss:
    """Loss of a chunk, with everything that stays the same over a minibatch."""

    def __init__(
        self,
        network: Network,
        market: Market,
        agent: AgentParams,
        hyper: Hyper,
        num_samples: int,
        drop_key: PRNGKeyArray | None,
    ) -> None:
        self.network, self.market, self.scaling = network, market, agent.scaling
        self.hyper, self.num_samples, self.drop_key = hyper, num_samples, drop_key

    no_sums = staticmethod(PathSums.zeros)

    def loss(
        self, params: Any, rows: Any, batch: PathSamples, weight: Float[Array, " samples"]
    ) -> tuple[Float[Array, ""], PathSums]:
        """Return the chunk's share of the mean loss, and its sums."""
        obs = batch.observation
        mask = self.market.tradable[obs.t]
        keys = self.network.drop_keys(self.drop_key, obs.t)
        outputs, value = self.network.act(params, self.scaling, rows, mask, obs.assets, obs.account, keys)
        chosen = choosing(mask, obs)
        head = cast(PathHead, self.network.head)
        useless = KEPT_WITHIN * head.beyond(outputs)
        policy = asset_mean(useless - (batch.pull * outputs).sum(axis=-1), chosen)
        value_error = asset_mean(jnp.square(value - batch.target), mask)
        entropy = asset_mean(head.entropy(outputs, obs.valid), chosen)
        sums = PathSums(
            policy=(policy * weight).sum(),
            value=(0.5 * value_error * weight).sum(),
            entropy=(entropy * weight).sum(),
        )
        total = sums.policy + self.hyper.value_coef * sums.value - self.hyper.entropy_coef * sums.entropy
        return total / self.num_samples, sums
