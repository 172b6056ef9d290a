"""Trading figures of a rollout: sums over its steps on the device, and what follows from them for a row of figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.env.rollout import Runner, Step
from ploutos_jax.env.trading import EXITS
from ploutos_jax.env.types import EnvParams
from ploutos_jax.train.algorithm import Metrics

_COUNTS = ("num_trades", "rejected_orders", *EXITS)
_SUMS = (
    "episodes",
    "episode_return",
    "total_return",
    "terminated",
    "cost",
    "turnover",
    "invested",
    "reward",
    "growth",
    "gain",
    "squared_gain",
    *_COUNTS,
)
_WORST_RETURN = -0.999
"""Bound of a bar's return, so that the growth of an account that loses all stays a number."""


def account_return(step: Step) -> Float[Array, " E"]:
    """Return what the bar gained over the equity before it, `[E]`, net of all costs."""
    info = step.info
    gained = info["profit"].sum(axis=-1) + info["interest"] - info["fee_rounding"]
    return (gained / (info["equity"] - gained)).astype(jnp.float32)


def no_trading(num_envs: int) -> Metrics:
    """Return the sums before the first step, `[E]` zeros."""
    return {name: jnp.zeros(num_envs, jnp.float32) for name in _SUMS}


def trading_numbers(step: Step, params: EnvParams) -> Metrics:
    """Return what is added up of one step, float32 `[E]` of each environment."""
    info = step.info
    done = step.terminated | step.truncated
    gain = jnp.maximum(account_return(step), _WORST_RETURN)
    numbers = {
        "episodes": done,
        "episode_return": jnp.where(done, info["episode_return"], 0),
        "total_return": jnp.where(done, info["equity"] / params.initial_cash - 1, 0),
        "terminated": step.terminated,
        "cost": info["cost"] / info["equity"],
        "turnover": info["turnover"],
        "invested": 1 - info["cash"] / info["equity"],
        "reward": step.reward,
        "growth": jnp.log1p(gain),
        "gain": gain,
        "squared_gain": jnp.square(gain),
        **{name: info[name] for name in _COUNTS},
    }
    return {name: number.astype(jnp.float32) for name, number in numbers.items()}


def trading_figures(sums: Metrics, samples: int, runner: Runner, params: EnvParams, parts: Parts = WHOLE) -> Metrics:
    """Return the figures of a rollout.

    `total_return_mean` is that of the episodes that ended, like `episode_return_mean`; `equity`, `drawdown_mean` and
    `drawdown_max` are those of the accounts at the end of the rollout; `sharpe` is the ratio of a year over the
    returns of all accounts and bars together; `growth_per_step` the mean logarithm of an account's growth in a bar.

    Args:
        sums: `[E]` of `trading_numbers`, added up over the steps.
        samples: number of steps, over all environments of all parts.
        runner: the environments after the rollout.
        params: numbers of the environment.
        parts: of the environments.
    """
    total = parts.total({name: value.sum() for name, value in sums.items()})
    names = ("reward", "cost", "turnover", "growth", *_COUNTS)
    mean = total["gain"] / samples
    variance = jnp.maximum(total["squared_gain"] / samples - mean**2, 0)
    ratio = mean / jnp.sqrt(jnp.where(variance > 0, variance, 1)) * jnp.sqrt(params.bars_per_year)
    state = runner.state
    drawdown = 1 - state.equity / state.peak_equity
    return {
        "episodes": total["episodes"],
        "episode_return_mean": total["episode_return"] / total["episodes"],
        "total_return_mean": total["total_return"] / total["episodes"],
        "terminated_episodes": total["terminated"],
        "invested": total["invested"] / samples,
        "equity": parts.mean(state.equity.mean()),
        "drawdown_mean": parts.mean(drawdown.mean()),
        "drawdown_max": parts.largest(drawdown.max()),
        "sharpe": jnp.where(variance > 0, ratio, 0).astype(jnp.float32),
        "trades": total["num_trades"],
        **{f"{name}_per_step": total[name] / samples for name in names},
    }


def projected_month(growth_per_step: float, days: int, bars_per_day: float = 1.0) -> float:
    """Return what an account would gain in some trading days if it grew as it did in training, a fraction.

    Args:
        growth_per_step: mean logarithm of growth in a bar.
        days: trading days of the month, 21 or 22.
        bars_per_day: bars in a trading day of this market; below 1 for bars longer than a day.
    """
    return math.expm1(growth_per_step * days * bars_per_day)


def recent_growth(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the mean `growth_per_step` of the last tenth of a run's rows of figures, or None without any."""
    growths = [row["growth_per_step"] for row in rows[-max(1, len(rows) // 10) :] if row.get("growth_per_step")]
    return sum(growths) / len(growths) if growths else None
