"""What a differentiated rollout is to bring about: functions of its bars, all accounts and bars together.

Each is a mean times the number of bars, so that a bar's derivative is of one size whatever the length of a rollout. No
account knows of the others; that they are pooled makes ratios and tails of a few thousand bars, where those of one
account in one rollout would be of a few dozen.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.train.config import Hyper
from ploutos_jax.train.pathwise.unroll import Bars, Objective

_LEAST_GAIN = -0.999
"""Bound of a bar's return, so that the growth of an account that loses all stays a number."""
_NEAR_ONE = 1e-3
"""Distance from 1 below which a risk aversion counts as 1: its utility is a difference of nearly equal numbers."""


def reward(bars: Bars) -> Float[Array, ""]:
    """Return the sum of the environment's rewards."""
    return bars.reward.sum()


def log_growth(bars: Bars) -> Float[Array, ""]:
    """Return the sum of `ln(1 + R)` over bars of simple returns R."""
    return _growth(bars.gain).sum()


def sharpe(bars: Bars) -> Float[Array, ""]:
    """Return `mean R / deviation R` of a bar, not annualised, times the number of bars; 0 where no return differs.

    Source: Moody and Saffell, "Learning to Trade via Direct Reinforcement" (2001).
    """
    variance = bars.gain.var()
    known = variance > jnp.finfo(variance.dtype).tiny
    deviation = jnp.sqrt(jnp.where(known, variance, 1))
    return bars.gain.size * jnp.where(known, bars.gain.mean() / deviation, 0)


def cvar(bars: Bars, tail: Float[Array, ""] | float) -> Float[Array, ""]:
    """Return the mean of the worst returns, a share `tail` of all of them, times the number of bars.

    The return at the edge of the tail counts by the part of it that lies inside.

    Source: Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk" (2000).

    Args:
        bars: of the rollout.
        tail: in (0, 1].
    """
    gain = bars.gain.ravel()
    rank = jnp.argsort(jnp.argsort(jax.lax.stop_gradient(gain)))
    inside = jnp.clip(tail * gain.size - rank, 0, 1)
    return gain.size * (inside * gain).sum() / inside.sum()


def growth_less_turnover(bars: Bars, penalty: Float[Array, ""] | float) -> Float[Array, ""]:
    """Return the sum of `ln(1 + R) − penalty · turnover` over bars; what trades cost is in R already."""
    return (_growth(bars.gain) - penalty * bars.turnover).sum()


def utility(bars: Bars, aversion: Float[Array, ""] | float) -> Float[Array, ""]:
    """Return the sum of `((1 + R)^(1 − a) − 1) / (1 − a)` over bars: constant relative risk aversion a, 1 being growth.

    Source: Merton, "Lifetime Portfolio Selection under Uncertainty" (1969).
    """
    growth, left = _growth(bars.gain), 1 - jnp.asarray(aversion, bars.gain.dtype)
    is_log = jnp.abs(left) < _NEAR_ONE
    power = jnp.expm1(left * growth) / jnp.where(is_log, 1, left)
    return jnp.where(is_log, growth, power).sum()


def objective_of(name: str, hyper: Hyper) -> Objective:
    """Return the objective of `TrainConfig.objective` with its number."""
    with_number: dict[str, Callable[[Bars], Array]] = {
        "reward": reward,
        "log_growth": log_growth,
        "sharpe": sharpe,
        "cvar": lambda bars: cvar(bars, hyper.tail),
        "growth_less_turnover": lambda bars: growth_less_turnover(bars, hyper.turnover_penalty),
        "utility": lambda bars: utility(bars, hyper.risk_aversion),
    }
    return with_number[name]


def _growth(gain: Float[Array, "S E"]) -> Float[Array, "S E"]:
    return jnp.log1p(jnp.maximum(gain, _LEAST_GAIN))
