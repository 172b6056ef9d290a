"""What quantiles of the return to come are learnt from, and what the worst episodes count beside the reward.

Letters: S steps, E environments, K values.
"""

import typing

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.env.rollout import Boundaries, Runner
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.learning.looking import quantiles_in_chunks
from ploutos_jax.train.ppo.advantages import next_values
from ploutos_jax.train.ppo.stored import Stored

_PACE = 0.05


def quantile_targets(
    network: Network,
    agent: AgentParams,
    market: Market,
    table: Table | None,
    stored: Stored,
    runner: Runner,
    ends: Boundaries,
    hyper: Hyper,
    keys: tuple[PRNGKeyArray, PRNGKeyArray | None],
    parts: Parts = WHOLE,
) -> Float[Array, "S E quantiles"]:
    """Return draws of the return to come from each state of a rollout, in deviations of returns.

    Args:
        network, agent, market, table: what made the rollout.
        stored, runner, ends: the rollout.
        hyper: γ and λ.
        keys: of the draws, and of dropout or None.
        parts: of the environments.
    """
    key, drop_key = keys
    steps, num_envs = stored.terminated.shape
    seen = (stored.observation, ends.observation)
    flat = [jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), one) for one in seen]
    every = jax.tree.map(lambda *x: jnp.concatenate(x), flat[0], runner.observation, flat[1])
    found = quantiles_in_chunks(network, agent, market, table, every, drop_key)
    own, last, boundary = jnp.split(found, [steps * num_envs, (steps + 1) * num_envs])
    own, boundary = own.reshape(steps, num_envs, -1), boundary.reshape(num_envs, -1, own.shape[-1])
    following = next_values(own, last, stored.truncated, boundary)
    reward = stored.reward.astype(jnp.float32).sum(axis=-1)
    over = stored.terminated, stored.truncated
    return replaced_returns(key, reward, following, *over, hyper.gamma, hyper.gae_lambda, parts)


def replaced_returns(
    key: PRNGKeyArray,
    reward: Float[Array, "S E"],
    following: Float[Array, "S E quantiles"],
    terminated: Bool[Array, "S E"],
    truncated: Bool[Array, "S E"],
    gamma: Float[Array, ""] | float,
    trace: Float[Array, ""] | float,
    parts: Parts = WHOLE,
) -> Float[Array, "S E quantiles"]:
    """Return `Σ_{k<n} γᵏ r + γⁿ θ_j`, n steps on, for all quantiles θ of the state that is reached.

    n is geometric with chance `1 − trace` of ending at each step, cut at the end of episode and rollout: the targets of
    many samples together have the distribution that a mixture over n has. An average over n, as a λ-return is, would be
    narrower than what there is to learn.

    Source: Nam, Kim and Park, "GMAC: A Distributional Perspective on Actor-Critic Framework" (2021).

    Args:
        key: consumed; draws are made for the environments of all parts, and each part takes its own.
        reward: of each step.
        following: quantiles of the state that each step truly led to, see `next_values`.
        terminated, truncated: ends; after the first kind nothing follows.
        gamma: discount.
        trace: λ.
        parts: of the environments.
    """
    steps, num_envs = reward.shape
    drawn = jax.random.bernoulli(key, trace, (steps, parts.number * num_envs))
    if not parts.is_one:
        drawn = jax.lax.dynamic_slice_in_dim(drawn, parts.place * num_envs, num_envs, axis=1)
    goes_on = drawn & ~(terminated | truncated)

    def step(later: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, following, terminated, goes_on = inputs
        ahead = jnp.where(goes_on[:, None], later, jnp.where(terminated[:, None], 0, following))
        now = reward[:, None] + gamma * ahead
        return now, now

    inputs = reward, following, terminated, goes_on
    return jax.lax.scan(step, following[-1], inputs, reverse=True)[1]


@typing.no_type_check
class Tail(struct.PyTreeNode):
    """The running quantile of the log growth of finished episodes, and how far they lie from it on average; scalars."""

    quantile: Float[Array, ""]
    distance: Float[Array, ""]

    @classmethod
    def create(cls) -> "Tail":
        return cls(quantile=jnp.zeros(()), distance=jnp.zeros(()))

    def after(
        self,
        growth: Float[Array, "S E"],
        done: Bool[Array, "S E"],
        tail: Float[Array, ""] | float,
        parts: Parts = WHOLE,
    ) -> "Tail":
        """Return the numbers after the episodes that ended, in steps that lead to the `tail` quantile.

        Each episode moves it up by `tail` times a share of the distance, or, lying below it, down by the rest.

        Source: Robbins and Monro 1951, "A Stochastic Approximation Method".
        """
        number = parts.total(done.sum())
        away = parts.total(jnp.where(done, jnp.abs(growth - self.quantile), 0).sum()) / jnp.maximum(number, 1)
        share = 1 - (1 - _PACE) ** number
        distance = self.distance + share * (away - self.distance)
        below = parts.total(jnp.where(done, growth < self.quantile, False).sum())
        step = distance * jnp.clip(_PACE * (tail * number - below), -1, 1)
        return Tail(quantile=self.quantile + step, distance=distance)


def penalised(
    reward: Float[Array, "S E K"],
    growth: Float[Array, "S E"],
    done: Bool[Array, "S E"],
    tail: Tail,
    hyper: Hyper,
    scale: Float[Array, ""],
) -> Float[Array, "S E K"]:
    """Return rewards with `−η/α · max(b − Z, 0)` at an episode's end, Z its log growth and b its running quantile.

    With b the α quantile of Z, the mean of `b − max(b − Z, 0) / α` is the CVaR: over whole episodes, from their
    beginning, what is weighed is one static measure of risk. Values of the assets share it evenly.

    Source: Rockafellar and Uryasev 2000, "Optimization of Conditional Value-at-Risk".

    Args:
        reward: over `scale`.
        growth: log of equity over that at an episode's beginning.
        done: ends.
        tail: before the rollout.
        hyper: η is `cvar_weight`, α is `tail`.
        scale: of rewards.
    """
    lost = jnp.where(done, jnp.maximum(tail.quantile - growth, 0), 0)
    penalty = hyper.cvar_weight / hyper.tail * lost / scale
    return (reward.astype(jnp.float32) - penalty[..., None] / reward.shape[-1]).astype(reward.dtype)
