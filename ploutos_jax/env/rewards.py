"""Rewards: functions of one account before and after a bar. A user's own function has the same form.

A configuration names one, several with weights (`log_return, -0.1*turnover`), or gives functions. What a reward
remembers of the episode stands in `state.stats`; it is None where no reward that is asked for needs a memory.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ploutos_jax.env.bounds import MAX_WEIGHT, shown
from ploutos_jax.env.types import EnvParams, EnvState, ReturnStats

RewardFunction = Callable[[EnvState, EnvState], Array]
Terms = tuple[tuple[RewardFunction, float], ...]

MAX_DIFFERENTIAL = 10.0
"""Bound of the differential rewards; with returns drawn from one distribution they have a deviation of 1."""
MAX_FIVE_TERM = 10.0
"""Bound of the five-term reward, after its scaling: the one at which VecNormalize, which the older system trains with,
clips rewards."""
LEAST_RETURNS = 30
"""Returns before an episode has a Sharpe ratio; that of a few quiet bars, for a year, outweighs every other term."""


def log_return(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return `ln(equity after / equity before)`, net of all costs; rewards of an episode add up to its growth."""
    tiny = jnp.finfo(after.equity.dtype).tiny
    return jnp.log(jnp.maximum(after.equity, tiny) / before.equity)


def simple_return(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return `equity after / equity before - 1`, net of all costs; the reward per step of Sentio."""
    return after.equity / before.equity - 1


def differential_sharpe(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return what the bar adds to the Sharpe ratio of exponential weighting, `(B ΔA - A ΔB / 2) / (B - A²)^1.5`.

    A and B are the moving averages of R and R² before the bar, ΔA = R - A, ΔB = R² - B. Clipped to ±10. It does not
    change when all returns are scaled, so it does not punish leverage, and it punishes gains above about B / A.

    Source: Moody and Saffell, "Learning to Trade via Direct Reinforcement" (2001), eq. 11.
    """
    stats = _stats(before)
    ret = simple_return(before, after)
    mean, square = stats.sharpe_mean, stats.sharpe_square
    spread = jnp.maximum(square - mean**2, 1e-8) ** 1.5
    value = (square * (ret - mean) - mean * (ret**2 - square) / 2) / spread
    return jnp.clip(value, -MAX_DIFFERENTIAL, MAX_DIFFERENTIAL)


def differential_downside(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return what the bar adds to the downside deviation ratio of exponential weighting; clipped to ±10.

    `(R - A / 2) / D` for R > 0, else `(D² (R - A / 2) - A R² / 2) / D³`, with A the moving average of R and D² that of
    min(R, 0)² before the bar. Unlike `differential_sharpe` it does not punish gains.

    Source: Moody and Saffell (2001), eq. 15.
    """
    stats = _stats(before)
    ret, mean = simple_return(before, after), stats.sharpe_mean
    deviation = jnp.sqrt(jnp.maximum(stats.downside_square, 1e-8))
    loss = (deviation**2 * (ret - mean / 2) - mean * ret**2 / 2) / deviation**3
    value = jnp.where(ret > 0, (ret - mean / 2) / deviation, loss)
    return jnp.clip(value, -MAX_DIFFERENTIAL, MAX_DIFFERENTIAL)


def drawdown_increment(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return `-max(0, drawdown after - drawdown before)`: within a decline it adds up to the decline."""
    return -jnp.maximum(drawdown(after) - drawdown(before), 0)


def sortino_bonus(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return the episode's Sortino ratio of a year, within ±3, at its end; 0 before, and with under 5 losing bars."""
    del before
    stats = _stats(after)
    num_bars = jnp.maximum(stats.count, 1)
    square = stats.downside_squares / num_bars
    # The root's slope is infinite at 0: an account without a loss yet must not ask for it.
    ratio = stats.mean / jnp.sqrt(jnp.where(square > 0, square, 1)) * jnp.sqrt(stats.bars_per_year)
    is_due = stats.is_last & (stats.downside_count >= 5)
    return jnp.where(is_due, jnp.clip(ratio, -3, 3), 0)


def turnover(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return the value traded in the bar over equity before it. Costs are in every return already: 0.1 is much."""
    del before
    return _stats(after).turnover


def five_term(before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return the reward of Ploutos V3, times `reward_scaling`, within ±10 after that.

    `100 R`; `- 10 · drawdown` if that is above 10 %; `+ 0.1 · Sharpe` if that is below 0; `- 0.01 · trades` if more
    than one filled in the bar; `+ 0.5` if R is above 2 %. Sharpe is that of the episode's returns so far, per year,
    with the deviation over all of them; 0 until there are 30. The older system states the five terms; how many returns
    it waits for and where it clips are chosen here.
    """
    stats, ret = _stats(after), simple_return(before, after)
    fall = drawdown(after)
    sharpe = _sharpe(stats)
    trades = stats.num_trades.astype(ret.dtype)
    reward = 100 * ret
    reward = reward - jnp.where(fall > 0.10, 10 * fall, 0)
    reward = reward + jnp.where(sharpe < 0, 0.1 * sharpe, 0)
    reward = reward - jnp.where(trades > 1, 0.01 * trades, 0)
    reward = reward + jnp.where(ret > 0.02, 0.5, 0)
    return jnp.clip(reward * stats.scaling, -MAX_FIVE_TERM, MAX_FIVE_TERM)


REWARDS: dict[str, RewardFunction] = {
    function.__name__: function
    for function in (
        log_return,
        simple_return,
        differential_sharpe,
        differential_downside,
        drawdown_increment,
        sortino_bonus,
        turnover,
        five_term,
    )
}


def drawdown(state: EnvState) -> Float[Array, ""]:
    """Return the loss from the episode's peak of equity, a fraction."""
    return 1 - state.equity / state.peak_equity


def resolve_reward(reward: "str | RewardFunction | tuple[tuple[str | RewardFunction, float], ...]") -> Terms:
    """Return the functions and weights of a reward setting; see `EnvConfig`.

    Raises:
        ValueError: if a name is not one of the built-in rewards or a weight is no number.
    """
    if callable(reward):
        return ((reward, 1.0),)
    if isinstance(reward, str):
        return tuple(_parse_term(term, reward) for term in reward.split(","))
    if not reward:
        raise ValueError("reward=() names no reward.")
    if not isinstance(reward, tuple | list) or not all(isinstance(x, tuple | list) and len(x) == 2 for x in reward):
        raise ValueError(f"reward={shown(reward)} must be a name, a function, or pairs of one of these and a weight.")
    return tuple(
        (term if callable(term) else _find(str(term), reward), _read_weight(weight, reward)) for term, weight in reward
    )


def total_reward(terms: Terms, params: EnvParams, before: EnvState, after: EnvState) -> Float[Array, ""]:
    """Return the weighted sum of the rewards, `terms` as `EnvConfig.reward_terms` gives them."""
    if len(terms) == 1 and terms[0][1] == 1.0:
        return terms[0][0](before, after)
    return sum(
        (params.reward_weights[place] * function(before, after) for place, (function, _) in enumerate(terms)),
        start=jnp.zeros_like(after.equity),
    )


def init_reward_state(terms: Terms, params: EnvParams, state: EnvState) -> EnvState:
    """Give an empty account the memory that its rewards need."""
    if not _needs_memory(terms):
        return state
    zero, none = jnp.zeros_like(state.equity), jnp.zeros((), jnp.int32)
    stats = ReturnStats(
        count=none,
        mean=zero,
        squares=zero,
        downside_count=none,
        downside_squares=zero,
        sharpe_mean=zero,
        # Not 0: the first differential reward would be infinite.
        sharpe_square=params.reward_volatility**2,
        downside_square=params.reward_volatility**2 / 2,
        turnover=zero,
        num_trades=none,
        is_last=jnp.zeros((), bool),
        scaling=params.reward_scaling,
        bars_per_year=params.bars_per_year,
    )
    return state.replace(stats=stats)


def update_reward_state(
    terms: Terms,
    params: EnvParams,
    before: EnvState,
    after: EnvState,
    turnover: Float[Array, ""],
    num_trades: Int[Array, ""],
) -> EnvState:
    """Enter the bar's return, turnover and number of fills into the memory."""
    stats = before.stats
    if stats is None:
        return after
    ret = simple_return(before, after)
    loss = jnp.minimum(ret, 0)
    number = stats.count + 1
    deviation = ret - stats.mean
    mean = stats.mean + deviation / number
    eta = params.reward_eta
    is_ruined = after.equity < params.ruin_pct * params.initial_cash
    stats = stats.replace(
        count=number,
        mean=mean,
        squares=stats.squares + deviation * (ret - mean),
        downside_count=stats.downside_count + (ret < 0),
        downside_squares=stats.downside_squares + loss**2,
        sharpe_mean=stats.sharpe_mean + eta * (ret - stats.sharpe_mean),
        sharpe_square=stats.sharpe_square + eta * (ret**2 - stats.sharpe_square),
        downside_square=stats.downside_square + eta * (loss**2 - stats.downside_square),
        turnover=turnover,
        num_trades=num_trades,
        is_last=is_ruined | (after.t >= after.end),
    )
    return after.replace(stats=stats)


def reward_slope(
    terms: Terms,
    params: EnvParams,
    before: EnvState,
    after: EnvState,
    turnover: Float[Array, ""],
    num_trades: Int[Array, ""],
) -> Float[Array, ""]:
    """Return `equity before * ∂reward/∂(equity after)`: by how much a reward rises with the bar's return.

    It is what the profit of one asset, as a share of equity, is worth to the reward. `after` is the account before
    `update_reward_state` or after it: its memory of the bar is made anew, with the peak of equity, for the derivative.
    """
    peak = before.peak_equity

    def reward(equity: Array) -> Array:
        state = after.replace(equity=equity, peak_equity=jnp.maximum(peak, equity))
        state = update_reward_state(terms, params, before, state, turnover, num_trades)
        return total_reward(terms, params, before, state)

    return before.equity * jax.jvp(reward, (after.equity,), (jnp.ones_like(after.equity),))[1]


def _needs_memory(terms: Terms) -> bool:
    """Tell whether any reward reads `stats`; a user's own function may."""
    without = (log_return, simple_return, drawdown_increment)
    return any(function not in without for function, _ in terms)


def _stats(state: EnvState) -> ReturnStats:
    if state.stats is None:
        raise ValueError("This account carries no memory of returns: make it with reset, with this reward configured.")
    return state.stats


def _sharpe(stats: ReturnStats) -> Array:
    variance = stats.squares / jnp.maximum(stats.count, 1)
    deviation = jnp.sqrt(jnp.where(variance > 0, variance, 1))
    ratio = stats.mean / deviation * jnp.sqrt(stats.bars_per_year)
    return jnp.where((stats.count >= LEAST_RETURNS) & (variance > 0), ratio, 0)


def _parse_term(term: str, reward: str) -> tuple[RewardFunction, float]:
    weight, star, name = term.rpartition("*")
    function = _find(name.strip(), reward)
    return function, _read_weight(weight.strip(), reward) if star else 1.0


def _read_weight(weight: Any, reward: object) -> float:
    number = math.nan
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = float(weight)
    if not abs(number) <= MAX_WEIGHT:
        raise ValueError(
            f"reward={shown(reward)}: {shown(weight)} is not a finite number; write such as -0.1*turnover, with weights"
            " in [-1e6, 1e6]."
        )
    return number


def _find(name: str, reward: object) -> RewardFunction:
    if name not in REWARDS:
        words = ", ".join(map(repr, REWARDS))
        raise ValueError(f"reward={shown(reward)} is unknown; use {words} or a function of (before, after).")
    return REWARDS[name]
