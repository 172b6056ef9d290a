"""Who is credited with what: rewards divided up among assets, and actions judged by the positions they lead to."""

from typing import cast

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS
from ploutos_jax.env.rollout import Step
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.policy.distributions import Head, WeightsHead
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.ppo.losses import choosing
from ploutos_jax.train.ppo.position_value import Steps, bar_returns, position_advantage
from ploutos_jax.train.ppo.stored import Stored

_CASH = ACCOUNT_FIELDS.index("cash_share")


def credited(step: Step) -> Float[Array, "E A"]:
    """Return the rewards of each asset `[E, A]`: what its profit adds to the reward, and an even share of all else.

    A profit counts by its share of equity times `reward_slope`, so that they add up to the reward whatever it is.
    """
    reward, info = step.reward.astype(jnp.float32)[:, None], step.info
    profit = info["profit"].astype(jnp.float32)
    gained = (profit.sum(axis=-1) + info["interest"] - info["fee_rounding"])[:, None]
    own = profit / (info["equity"][:, None] - gained) * info["reward_slope"][:, None]
    return own + (reward - own.sum(axis=-1, keepdims=True)) / profit.shape[-1]


def moved(
    head: Head,
    action: Num[Array, "..."],
    observation: Observation,
    tradable: Bool[Array, "*batch A"],
) -> Float[Array, "*batch A"]:
    """Return the weights `[..., A]` that actions lead to, those held where nothing can be ordered."""
    weight = observation.positions[..., 0].astype(jnp.float32)
    return jnp.where(choosing(tradable, observation), head.position_after(action, weight, tradable), weight)


def judged_positions(
    head: Head,
    config: EnvConfig,
    params: EnvParams,
    hyper: Hyper,
    stored: Stored,
    following: Float[Array, "S E A"],
    deviation: Float[Array, ""],
) -> tuple[Float[Array, "S E A"], Float[Array, "S E A"]]:
    """Return advantages and what the critic is to learn `[S, E, A]`, from the worth of positions.

    The critic's numbers are worths of an equal part, over the scale of returns: of order 1, as others are.

    Args:
        head: of the actions.
        config, params: of the environment.
        hyper: γ and λ.
        stored: the rollout.
        following: `[S, E, A]` the critic's number of the state that each step led to.
        deviation: scale of returns.
    """
    obs, tradable = stored.observation, params.market.tradable[stored.observation.t]
    scale = deviation * tradable.shape[-1]
    steps = Steps(
        t=obs.t,
        terminated=stored.terminated,
        truncated=stored.truncated,
        weight=obs.positions[..., 0].astype(jnp.float32),
        planned=cast(Array, stored.planned),
        taken=moved(head, stored.action, obs, tradable),
        cash=obs.account[..., _CASH],
        full=jnp.full(obs.t.shape, float(isinstance(head, WeightsHead))),
        slope=cast(Array, stored.slope),
        following=following * scale,
    )
    advantage, worth = position_advantage(bar_returns(config, params), steps, hyper.gamma, hyper.gae_lambda)
    return advantage / deviation, worth / scale
