"""Advantages from positions: what the weight that an action leads to is worth, along the path that the market took.

What an asset earns is its weight times a return that no action moves. Of the profit that follows an action nearly all
is luck of the market on a position that was held anyway, and a critic that is to take that luck away has to be learned
from the same noise. But how an account goes on from one weight more is known: it earns the returns that the rollout has
seen until it is traded again, and pays or saves the costs of that trade. So the worth P of one unit of weight after a
fill, and the worth V of one held at a close, follow from the rollout by a recursion backward in time:

    P_s = g_s·day + γ·((1 − λ)·V̂_{s+1} + λ·V_{s+1})
    V_s = g_s·night + P_s             where the policy's mean action leaves the position alone,
    V_s = g_s·(night − c) + M_s       where it sells some (the unit is sold too, for cash),
    V_s = g_s·night + (1 − f)·P_s + f·(g_s·c + M_s)     where it buys more (the unit need not be bought),

with `night` and `day` the returns up to the fill and after it, c the cost of a trade as a fraction, g what a return
adds to the reward (`rewards.reward_slope`) and V̂ what the critic, which learns V, has made of the next state; it
stands in where a rollout or an episode ends. f is the share of the buys wanted that cash and sales can pay for, and M
what a unit of cash is worth: what these buys are worth on average where cash is short, else what it will be worth in
the next bar, discounted. An action is judged against the policy's mean one: by the difference of the weights that the
two lead to, times P − M, less the difference of their costs.

This is the derivative of the discounted reward by the weights, exact as long as the order of trades stays as it is,
with likelihood ratios for the policy alone. Exits of the broker (stops, targets) are not foreseen in it. Later returns
judge what was done, as in every advantage; what the agent sees is what was known.

Source: Mao, Venkatakrishnan, Schwarzkopf and Alizadeh, "Variance Reduction for Reinforcement Learning in Input-Driven
Environments" (2019), for baselines that know the inputs to come.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ploutos_jax.env.broker.bar import read_bar
from ploutos_jax.env.broker.execution import adverse_move
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams


class BarReturns(NamedTuple):
    """What a bar does to a position and to a trade, `[T, A]`; 0 where an asset has no bar.

    Attributes:
        held: return up to the moment of the fill, on what was held before it; with splits and dividends.
        filled: return from the fill to the close.
        cost: of a trade in the bar, per side: spread, slippage and commission by value, without impact.
    """

    held: Float[Array, "T A"]
    filled: Float[Array, "T A"]
    cost: Float[Array, "T A"]


def bar_returns(config: EnvConfig, params: EnvParams) -> BarReturns:
    """Return the returns of a market's bars, those of row t for orders that fill after the close t − 1."""
    market = params.market
    split = 1.0 if market.split is None else market.split
    dividend = 0.0 if market.dividend is None else market.dividend
    before = jnp.concatenate([market.close[:1], market.close[:-1]])
    known = market.tradable & (before > 0) & (market.open > 0)
    night = jnp.where(known, split * (market.open + dividend) / jnp.where(known, before, 1) - 1, 0)
    day = jnp.where(known, market.close / jnp.where(known, market.open, 1) - 1, 0)
    whole = (1 + night) * (1 + day) - 1
    rows = jnp.arange(market.close.shape[0])

    def cost(row: Array) -> Array:
        bar = read_bar(config, params, row, jnp.maximum(row - 1, 0), None)
        price = jnp.where(known[row], market.open[row], 1)
        return jnp.broadcast_to(adverse_move(config, params, bar, price, jnp.zeros_like(price)).total, price.shape)

    costs = jax.vmap(cost)(rows) + params.commission
    if config.fill == "next_open":
        return BarReturns(night, day, costs)
    if config.fill == "next_close":
        return BarReturns(whole, jnp.zeros_like(whole), costs)
    return BarReturns(jnp.zeros_like(whole), whole, costs)


class Steps(NamedTuple):
    """What a rollout tells of positions.

    Attributes:
        t: `[S, E]` bars observed.
        terminated, truncated: `[S, E]` ends of episodes.
        weight: `[S, E, A]` weights at the close observed.
        planned, taken: `[S, E, A]` weights that the mean action and the action taken lead to.
        cash: `[S, E]` share of equity in cash at the close observed.
        full: `[S, E]` 1 where actions divide the whole account up, so that more of one asset is less of all others
            without any cash, else 0.
        slope: `[S, E]` g.
        following: `[S, E, A]` V̂ of the state that each step led to, in rewards per unit of weight.
    """

    t: Int[Array, "S E"]
    terminated: Bool[Array, "S E"]
    truncated: Bool[Array, "S E"]
    weight: Float[Array, "S E A"]
    planned: Float[Array, "S E A"]
    taken: Float[Array, "S E A"]
    cash: Float[Array, "S E"]
    full: Float[Array, "S E"]
    slope: Float[Array, "S E"]
    following: Float[Array, "S E A"]


def position_advantage(
    returns: BarReturns, steps: Steps, gamma: Float[Array, ""] | float, trace: Float[Array, ""] | float
) -> tuple[Float[Array, "S E A"], Float[Array, "S E A"]]:
    """Return the advantage of each action and the worth V of each position, `[S, E, A]` in rewards; see the file.

    Args:
        returns: of the market's bars.
        steps: the rollout.
        gamma: γ.
        trace: λ.
    """

    def step(carry: tuple[Array, Array], now: Steps) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        later, later_cash = carry
        slope, cost, over = now.slope[:, None], returns.cost[now.t + 1], (now.truncated | now.terminated)[:, None]
        # Of a step whose following state is another account's, the critic alone tells what comes next.
        later = jnp.where(now.truncated[:, None], now.following, (1 - trace) * now.following + trace * later)
        worth = slope * returns.filled[now.t + 1] + gamma * jnp.where(now.terminated[:, None], 0, later)

        bought = jnp.maximum(now.planned - now.weight, 0)
        wanted, sold = _sum(bought), _sum(jnp.maximum(now.weight - now.planned, 0))
        paid_for = jnp.clip((now.cash[:, None] + sold) / jnp.maximum(wanted, _LEAST), 0, 1)
        of_buys = _sum(bought * (worth - slope * cost)) / jnp.maximum(wanted, _LEAST)
        of_cash = jnp.where(paid_for < 1, of_buys, gamma * jnp.where(over, 0, later_cash))

        def filled(weight: Array) -> Array:
            change = weight - now.weight
            return now.weight + jnp.where(change > 0, paid_for * change, change)

        planned, taken = filled(now.planned), filled(now.taken)
        of_account = now.full[:, None] * _sum(planned * worth) / jnp.maximum(_sum(planned), _LEAST)
        more_paid = jnp.abs(taken - now.weight) - jnp.abs(planned - now.weight)
        gained = (taken - planned) * (worth - of_cash - of_account)

        unsold = jnp.where(now.planned < now.weight, of_cash - slope * cost, worth)
        unbought = (1 - paid_for) * worth + paid_for * (of_cash + slope * cost)
        held = slope * returns.held[now.t + 1] + jnp.where(bought > 0, unbought, unsold)
        return (held, of_cash), (gained - slope * cost * more_paid, held)

    steps = jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, steps)
    begin = steps.following[-1], jnp.zeros_like(steps.following[-1, :, :1])
    return jax.lax.scan(step, begin, steps, reverse=True)[1]


def _sum(x: Float[Array, "E A"]) -> Float[Array, "E 1"]:
    return x.sum(axis=-1, keepdims=True)


_LEAST = 1e-6
"""Weight of all assets together that counts as some."""
