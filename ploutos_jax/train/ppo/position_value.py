"""Advantages from positions: what the weight that an action leads to is worth, along the path that the market took.

What an asset earns is its weight times a return that no action moves. Of the profit that follows an action nearly all is
luck of the market on a position that was held anyway, and a critic that is to take that luck away has to be learned from
the same noise. But how an account goes on from one weight more is known: it earns the returns that the rollout has
seen until it is traded again, and pays or saves the costs of that trade. So the worth P of one unit of weight after a
fill follows from the rollout by a recursion backward in time, without a critic:

    P_s = g_s·day + γ·V_{s+1},      V_s = g_s·night + P_s     where the position is left alone at s,
                                    V_s = g_s·(night − c)     where some of it is sold (the unit is sold too),
                                    V_s = g_s·(night + c)     where more is bought (the unit need not be bought),

with `night` and `day` the returns up to the fill and after it, c the cost of a trade as a fraction and g what a return
adds to the reward (`rewards.reward_slope`). An action is judged against the policy's mean one: by the difference of the
weights that the two lead to, times P, less the difference of their costs. Where the account is full, a unit more of one
asset is taken from the others, and is charged what the account's unit is worth.

This is the derivative of the rollout's discounted reward by its weights, exact as long as the order of trades stays as
it is, with likelihood ratios for the policy alone. Exits of the broker (stops, targets) end a position: what lies beyond
them counts as nothing. Nothing of it reaches critic or agent, so no later bar does.

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


def position_advantage(
    returns: BarReturns,
    t: Int[Array, "S E"],
    done: Bool[Array, "S E"],
    weight: Float[Array, "S E A"],
    planned: Float[Array, "S E A"],
    taken: Float[Array, "S E A"],
    full: Float[Array, "S E"],
    slope: Float[Array, "S E"],
    gamma: Float[Array, ""] | float,
) -> Float[Array, "S E A"]:
    """Return the advantage of each action `[S, E, A]`, in rewards; see the file.

    Args:
        returns: of the market's bars.
        t: `[S, E]` bars observed.
        done: `[S, E]` ends of episodes; what comes after belongs to another account.
        weight: `[S, E, A]` weights at the close observed.
        planned, taken: `[S, E, A]` weights that the mean action and the action taken lead to.
        full: `[S, E]` 1 where the account is divided up among the assets, else 0.
        slope: `[S, E]` g.
        gamma: γ.
    """

    def step(later: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        t, done, weight, planned, taken, full, slope = inputs
        slope, cost = slope[:, None], returns.cost[t + 1]
        worth = slope * returns.filled[t + 1] + gamma * jnp.where(done[:, None], 0, later)
        of_account = (planned * worth).sum(axis=-1, keepdims=True) / jnp.maximum(planned.sum(-1, keepdims=True), 1e-3)
        more = taken - planned
        more_paid = jnp.abs(taken - weight) - jnp.abs(planned - weight)
        advantage = more * (worth - full[:, None] * of_account) - slope * cost * more_paid
        after = jnp.where(planned < weight, -slope * cost, jnp.where(planned > weight, slope * cost, worth))
        return slope * returns.held[t + 1] + after, advantage

    inputs = (t, done, *(x.astype(jnp.float32) for x in (weight, planned, taken, full, slope)))
    return jax.lax.scan(step, jnp.zeros(weight.shape[1:], jnp.float32), inputs, reverse=True)[1]
