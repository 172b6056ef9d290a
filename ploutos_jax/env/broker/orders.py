"""From the agent's action to orders: what is requested, what is still working, and what the rules refuse."""

import typing

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Integer, Num

from ploutos_jax.env.broker import day_trades, stops
from ploutos_jax.env.broker.account import Book, count
from ploutos_jax.env.broker.bar import Bar
from ploutos_jax.env.broker.ranking import largest_first
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import BUY, HOLD, LEVELS, SELL, Action, EnvParams, EnvState


@typing.no_type_check
class Orders(struct.PyTreeNode):
    """Orders of one moment; `[A]` each, 0 or False where there is none.

    Attributes:
        sell_shares: shares to sell.
        buy_cash: value to buy at the fill price, fees not included.
        requested: True where the action asks for a trade, also one that cannot be had.
        addressed: True where the action ends an older order that is still working.
    """

    sell_shares: Float[Array, " A"]
    buy_cash: Float[Array, " A"]
    requested: Bool[Array, " A"]
    addressed: Bool[Array, " A"]


@typing.no_type_check
class OrderMoment(struct.PyTreeNode):
    """The account and the bar as the agent's orders find them, for questions asked afterwards: what was ordered, say.

    Attributes:
        book: the account; exits that fill with the orders are not in it yet.
        bar: the bar in which the orders fill.
        price: `[A]` market price of the moment.
        leaving: `[A]` bool, assets that an exit closes in this bar before or with the orders.
    """

    book: Book
    bar: Bar
    price: Float[Array, " A"]
    leaving: Bool[Array, " A"]


def decide(
    config: EnvConfig,
    params: EnvParams,
    book: Book,
    bar: Bar,
    price: Float[Array, " A"],
    action: Action,
    free: Bool[Array, " A"],
    exiting_shares: Float[Array, " A"],
    *,
    quotes: bool = False,
) -> Orders:
    """Return the orders that go to the market at one moment of a bar.

    Args:
        config, params: rules and numbers.
        book: the account at that moment.
        bar: the bar in which the orders fill.
        price: `[A]` market price of that moment; of limit orders the close observed.
        action: see `TradingEnv`.
        free: `[A]` bool, assets that trade and have not exited in this bar.
        exiting_shares: `[A]` shares that exits sell at the same moment, not in the book yet.
        quotes: static, whether actions are those of `TradingEnv.quotes`.
    """
    state, forced = book.state, exiting_shares > 0
    if bar.delisted is not None:  # a payout is no trade
        forced = forced & ~bar.delisted
    size = size_quotes if quotes else _SIZES[config.action]
    shares = state.shares - exiting_shares
    orders = size(config, params, action, shares, state, bar, price)
    if state.working_shares is not None:
        orders = _resume(params, orders, state.working_shares, shares, state.equity, price)
    if state.halted is not None:
        free = free & ~state.halted
    sells, buys = free & (orders.sell_shares > 0), free & (orders.buy_cash > 0)
    if bar.buyable is not None:
        buys = buys & bar.buyable
    if config.min_holding_bars is not None:
        sells = sells & ~stops.is_bound_to_hold(params, state, bar.row)
    sale_value = orders.sell_shares * price
    if config.day_trade_rule != "none":
        sells = sells & day_trades.allowed_sales(config, params, state, bar, sells, sale_value, forced)
        buys = buys & day_trades.allowed_buys(config, params, state, bar, buys, orders.buy_cash)
    if config.max_trades_per_day is not None and state.trades_today is not None:
        left = config.max_trades_per_day - state.trades_today - count(forced)
        most = config.max_trades_per_day
        kept = largest_first(sells, sale_value, bar.adv, left, most)
        buys = largest_first(buys, orders.buy_cash, bar.adv, left - count(kept), most)
        sells = kept
    return orders.replace(
        sell_shares=jnp.where(sells, orders.sell_shares, 0), buy_cash=jnp.where(buys, orders.buy_cash, 0)
    )


def with_waiting(
    config: EnvConfig,
    waiting: Num[Array, " A *edges"],
    observed: Bool[Array, " A"],
    action: Num[Array, " actions *edges"],
) -> Num[Array, " actions *edges"]:
    """Return the actions that go to the market: those of now, and where there is none those that wait.

    An asset without a bar at the close observed is held: nothing new is ordered of it, and what waits goes on waiting.

    Args:
        config: rules.
        waiting: `[A]` (`[A, 2]` of bands) actions whose asset has had no bar since; see `EnvState`.
        observed: `[A]` bool, assets that traded in the bar observed.
        action: see `TradingEnv`.
    """
    num_assets = waiting.shape[0]
    own = jnp.asarray(action)[:num_assets]
    is_order = (own != HOLD) if config.is_choice else ~jnp.isnan(own)
    if own.ndim > observed.ndim:  # a band with one edge is none, and keeps none of what waits
        is_order = is_order.all(axis=-1, keepdims=True)
    own = jnp.where(is_order & _of_shape(observed, own), own, waiting.astype(own.dtype))
    return jnp.concatenate([own, jnp.asarray(action)[num_assets:]])


def still_waiting(
    config: EnvConfig,
    waiting: Num[Array, " A *edges"],
    action: Num[Array, " actions *edges"],
    found_bar: Bool[Array, " A"],
) -> Num[Array, " A *edges"]:
    """Return `[A]` the actions that wait on: those whose asset has found no bar yet (`found_bar [A]` False)."""
    own = action[: waiting.shape[0]].astype(waiting.dtype)
    none = HOLD if config.is_choice else jnp.nan
    return jnp.where(_of_shape(found_bar, own), jnp.asarray(none, waiting.dtype), own)


def at_decisions(config: EnvConfig, state: EnvState, action: Num[Array, " actions *edges"]) -> Num[Array, "..."]:
    """Return the actions that are decided: those given where `decides`, none in the bars between."""
    if config.decide_every is None:
        return action
    none = jnp.zeros((), action.dtype) if config.is_choice else jnp.asarray(jnp.nan, action.dtype)
    return jnp.where(decides(config, state), action, none)


def decides(config: EnvConfig, state: EnvState) -> Bool[Array, ""]:
    """Return whether the agent decides at close t."""
    if state.phase is None or config.decide_every is None:
        return jnp.ones((), bool)
    return (state.t - state.phase) % config.decide_every == 0


def size_discrete(
    config: EnvConfig,
    params: EnvParams,
    action: Integer[Array | np.ndarray, " A"],
    shares: Float[Array, " A"],
    state: EnvState,
    bar: Bar,
    price: Float[Array, " A"],
) -> Orders:
    """Turn `[A]` integers, 0 hold, 1 buy, 2 sell, into orders.

    A buy spends a share of equity by `config.sizing`, up to `max_position_pct` of it in the asset; a sell closes the
    whole position. Equity is that of close t.
    """
    value = size_of_buy(config, params, state, bar)
    value = jnp.minimum(value, params.max_position_pct * state.equity - shares * price)
    return Orders(
        sell_shares=jnp.where(action == SELL, shares, 0),
        buy_cash=jnp.where((action == BUY) & (value >= params.min_order_cash), value, 0),
        requested=action != HOLD,
        addressed=action != HOLD,
    )


def size_weights(
    config: EnvConfig,
    params: EnvParams,
    action: Action,
    shares: Float[Array, " A"],
    state: EnvState,
    bar: Bar,
    price: Float[Array, " A"],
) -> Orders:
    """Turn target weights into the trades that lead there.

    Args:
        config, params: rules and numbers.
        action: `[A]` target shares of equity, the rest being cash, or `[A + 1]` with the cash weight last. Negative
            weights count as 0, weights that add up to more than 1 are scaled down to 1, then each is limited to
            `max_position_pct`. NaN keeps a position as it is. A change worth less than `min_order_cash` or
            `no_trade_band` is no order, except the sale of all that is left.
        shares: `[A]` shares that may be traded.
        state: its equity, of close t, is what weights refer to.
        bar: the bar in which the orders fill.
        price: `[A]` market price.
    """
    del bar
    keep = jnp.isnan(action)
    weight = jnp.where(keep, 0, jnp.maximum(action, 0))
    weight = weight / jnp.maximum(weight.sum(), 1)
    weight, keep = weight[: shares.shape[0]], keep[: shares.shape[0]]
    weight = jnp.minimum(weight * _drawdown_scale(config, params, state), params.max_position_pct)
    change_cash = jnp.where(keep, 0, weight * state.equity - shares * price)
    return _trades_to(config, params, change_cash, ~keep & (weight == 0), keep, shares, state, price)


def size_levels(
    config: EnvConfig,
    params: EnvParams,
    action: Integer[Array | np.ndarray, " A"],
    shares: Float[Array, " A"],
    state: EnvState,
    bar: Bar,
    price: Float[Array, " A"],
) -> Orders:
    """Turn `[A]` integers into orders: 0 keeps a position, 1, 2, ... are `LEVELS` of `max_position_pct` of equity.

    A number that is none of these keeps it, too. What the target weights then do is told in `size_weights`.
    """
    is_level = (action > HOLD) & (action <= len(LEVELS))
    level = jnp.asarray(LEVELS, price.dtype)[jnp.where(is_level, action - 1, 0)] * params.max_position_pct
    return size_weights(config, params, jnp.where(is_level, level, jnp.nan), shares, state, bar, price)


def size_bands(
    config: EnvConfig,
    params: EnvParams,
    action: Float[Array, "A 2"],
    shares: Float[Array, " A"],
    state: EnvState,
    bar: Bar,
    price: Float[Array, " A"],
) -> Orders:
    """Turn bands into the trades to their nearer edge.

    Args:
        config, params: rules and numbers.
        action: `[A, 2]` lower and upper share of equity. Negative edges count as 0, an upper one below the lower as the
            lower. Where the lower edges add up to more than 1, both are scaled down until they add up to 1. An upper
            edge of 1 or more above the lower is then no limit: `max_position_pct` is one of buys, and what was bought
            may rise beyond it. Every other edge is at most that. NaN in either keeps a position as it is. A position
            within its band is not traded; one outside to the edge, if the trade is worth `min_order_cash` and
            `no_trade_band`, or closes the position.
        shares: `[A]` shares that may be traded.
        state: its equity, of close t, is what weights refer to.
        bar: the bar in which the orders fill.
        price: `[A]` market price.

    Source: with costs in proportion to the value traded the best policy trades to the edge of a region in which it
    does nothing (Davis and Norman, "Portfolio Selection with Transaction Costs", 1990).
    """
    del bar
    keep = jnp.isnan(action).any(axis=-1)
    lower, upper = (jnp.where(keep, 0, jnp.maximum(action[:, edge], 0)) for edge in (0, 1))
    upper = jnp.maximum(lower, upper)
    total, scale = jnp.maximum(lower.sum(), 1), _drawdown_scale(config, params, state)
    # Equity is that of close t: at a higher open, all of an account is worth more than that, and still all of it.
    unlimited = (upper / total * scale >= 1) & (lower < upper)
    lower, upper = (jnp.minimum(edge / total * scale, params.max_position_pct) for edge in (lower, upper))
    held = shares * price
    most = jnp.where(unlimited, jnp.inf, upper * state.equity)
    change_cash = jnp.clip(held, lower * state.equity, most) - held
    return _trades_to(config, params, jnp.where(keep, 0, change_cash), ~keep & (upper == 0), keep, shares, state, price)


def size_quotes(
    config: EnvConfig,
    params: EnvParams,
    action: Action,
    shares: Float[Array, " A"],
    state: EnvState,
    bar: Bar,
    price: Float[Array, " A"],
) -> Orders:
    """Turn quotes into orders on both sides.

    Args:
        config, params: rules and numbers.
        action: `[A, 2]` shares of equity to buy and to sell. NaN and negative ones order nothing. A buy goes up to
            `max_position_pct`, and one below `min_order_cash` is no order; a sale is at most the position.
        shares: `[A]` shares that may be traded.
        state: its equity, of close t, is what shares of equity refer to.
        bar: the bar in which the orders work.
        price: `[A]` market price.
    """
    del bar
    wanted = jnp.where(action > 0, action, 0) * state.equity
    room = params.max_position_pct * state.equity - shares * price
    buy_cash = jnp.minimum(wanted[:, 0] * _drawdown_scale(config, params, state), room)
    buy_cash = jnp.where(buy_cash >= params.min_order_cash, buy_cash, 0)
    sell_shares = jnp.minimum(wanted[:, 1] / jnp.where(price > 0, price, 1), shares)
    requested = (buy_cash > 0) | (sell_shares > 0)
    return Orders(sell_shares=sell_shares, buy_cash=buy_cash, requested=requested, addressed=requested)


def _trades_to(
    config: EnvConfig,
    params: EnvParams,
    change_cash: Array,
    to_nothing: Array,
    keep: Array,
    shares: Array,
    state: EnvState,
    price: Array,
) -> Orders:
    """Return the orders that change positions by `[A]` dollars, and sell all that is left where `to_nothing`."""
    least = params.min_order_cash
    if config.no_trade_band is not None:
        least = jnp.maximum(least, params.no_trade_band * state.equity)
    change_cash = jnp.where(jnp.abs(change_cash) >= least, change_cash, 0)
    partial_sale = jnp.minimum(jnp.maximum(-change_cash, 0) / jnp.where(price > 0, price, 1), shares)
    closing = to_nothing & (shares != 0)
    return Orders(
        sell_shares=jnp.where(closing, shares, partial_sale),
        buy_cash=jnp.maximum(change_cash, 0),
        requested=closing | (change_cash != 0),
        addressed=~keep,
    )


_SIZES = {"discrete": size_discrete, "weights": size_weights, "bands": size_bands, "levels": size_levels}


def within_sectors(
    params: EnvParams,
    buy_cash: Float[Array, " A"],
    shares: Float[Array, " A"],
    price: Float[Array, " A"],
    equity: Float[Array, ""],
) -> Float[Array, " A"]:
    """Return buys of `[A]` dollars, those of a sector cut by one factor where they would exceed its limit.

    Args:
        params: holds the members of the sectors and the limit, dollars.
        buy_cash: `[A]` dollars requested.
        shares: `[A]` shares held after the sales of the moment.
        price: `[A]` market price.
        equity: dollars at close t.
    """
    members = params.sector_members
    if members is None:
        return buy_cash
    precision = jax.lax.Precision.HIGHEST
    held, wanted = (jnp.matmul(members, x, precision=precision) for x in (shares * price, buy_cash))
    room = jnp.maximum(params.max_sector_pct * equity - held, 0)
    factor = jnp.where(wanted > room, room / jnp.where(wanted > 0, wanted, 1), 1)
    return buy_cash * jnp.matmul(factor, members, precision=precision)


def _of_shape(flags: Array, like: Array) -> Array:
    """Return flags `[A]` as `[A, 1]` where they meet bands."""
    return flags.reshape(flags.shape + (1,) * (like.ndim - flags.ndim))


def size_of_buy(config: EnvConfig, params: EnvParams, state: EnvState, bar: Bar) -> Float[Array, " *A"]:
    """Return the dollars that a discrete buy is worth by `config.sizing`, before caps; known at close t."""
    fixed = params.buy_pct * state.equity
    value = fixed
    if config.sizing == "volatility" and bar.volatility is not None:
        yearly = bar.volatility * jnp.sqrt(params.bars_per_year)
        value = jnp.where(yearly > 0, fixed * params.target_volatility / jnp.where(yearly > 0, yearly, 1), fixed)
    if config.sizing == "atr" and bar.atr is not None:
        risk = params.risk_atr * bar.atr
        value = jnp.where(risk > 0, params.risk_pct * state.equity / jnp.where(risk > 0, risk, 1), fixed)
    return value * _drawdown_scale(config, params, state)


def _drawdown_scale(config: EnvConfig, params: EnvParams, state: EnvState) -> Array | float:
    if config.drawdown_scaling is None:
        return 1.0
    return jnp.maximum(1 - (1 - state.equity / state.peak_equity) / params.drawdown_scaling, 0)


def _resume(
    params: EnvParams, orders: Orders, working_shares: Array, shares: Array, equity: Array, price: Array
) -> Orders:
    """Put orders that are still working where the agent does not address the asset."""
    working = jnp.where(orders.addressed, 0, working_shares)
    room = params.max_position_pct * equity - shares * price
    value = jnp.minimum(jnp.maximum(working, 0) * price, room)
    return orders.replace(
        sell_shares=jnp.where(working < 0, jnp.minimum(-working, shares), orders.sell_shares),
        buy_cash=jnp.where(working > 0, jnp.where(value >= params.min_order_cash, value, 0), orders.buy_cash),
    )
