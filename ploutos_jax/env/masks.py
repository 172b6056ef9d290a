"""Action masks: which orders an agent cannot give at a close, so that it does not learn from those that are refused.

A sound mask takes away what changes nothing: whatever the next bar brings and whatever is ordered of other assets, the
account goes on as if the asset had been held. It knows the account, the close and, of what comes, the calendar alone.
Not masked is what depends on the other assets' orders: cash that a sale of the same moment may bring, the last trades
of a day.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, UInt8

from ploutos_jax.env.broker import account, day_trades, orders, stops
from ploutos_jax.env.broker.bar import read_bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import MAY_BUY, MAY_SELL, EnvParams, EnvState

_WORTH_WHILE = 0.25
"""Part of a buy that has to fit under the cap for it to be advised."""


def valid_actions(config: EnvConfig, params: EnvParams, state: EnvState) -> UInt8[Array, " A"] | None:
    """Return `[A]` the actions that there are beside holding, as `Observation.valid` holds them; known at close t.

    None where no rule takes any away. Numbers (weights, bands) and levels have both bits or none, as an order of theirs
    is a buy or a sale by the price of the fill.

    Two things only the bar itself tells, and the broker sees to them: an order of an asset without a bar there waits
    for its next one, and the payout of a delisted position may leave one day trade more.

    Source: Huang and Ontañón, "A Closer Look at Invalid Action Masking in Policy Gradient Algorithms" (2020).
    """
    if not config.masks_actions:
        return None
    valid = jnp.full(state.shares.shape, MAY_BUY | MAY_SELL, jnp.uint8)
    if config.action_masks != "none":
        valid = _by_rules(config, params, state)
    if config.decide_every is None:
        return valid
    return jnp.where(orders.decides(config, state), valid, jnp.zeros_like(valid))


def _by_rules(config: EnvConfig, params: EnvParams, state: EnvState) -> UInt8[Array, " A"]:
    market, t = params.market, state.t
    # The last close of a path has no bar after it, and its observation decides nothing.
    row = t if config.fill == "same_close" else jnp.minimum(t + 1, market.path_end[t])
    sessions = market.sessions
    state = account.roll_session(state, sessions[row] != sessions[t])
    closed = jnp.zeros(state.shares.shape, bool)
    if state.halted is not None:
        closed = closed | state.halted
    if config.max_trades_per_day is not None and state.trades_today is not None:
        closed = closed | (state.trades_today >= config.max_trades_per_day)
    no_buys, no_sales = closed, closed
    if config.action == "discrete":
        by_day_trades = day_trades.refused_for_sure(config, params, state, sessions[row] < params.day_trade_end)
        no_buys = no_buys | by_day_trades[0] | _cannot_buy(config, params, state)
        no_sales = no_sales | by_day_trades[1] | (state.shares == 0)
        if config.min_holding_bars is not None:
            no_sales = no_sales | stops.is_bound_to_hold(params, state, row)
    if state.working_shares is not None:  # any action at all cancels an order that is still working
        works = state.working_shares != 0
        no_buys, no_sales = no_buys & ~works, no_sales & ~works
    # An asset that had no bar at this close takes no order; see `orders.with_waiting`.
    seen = market.tradable[t]
    buys = jnp.where(seen & ~no_buys, MAY_BUY, 0)
    return (buys | jnp.where(seen & ~no_sales, MAY_SELL, 0)).astype(jnp.uint8)


def _cannot_buy(config: EnvConfig, params: EnvParams, state: EnvState) -> Bool[Array, " A"]:
    """Return where a discrete buy would be too small to be an order, or where it is advised against."""
    close, least = params.market.close[state.t], params.min_order_cash
    size = orders.size_of_buy(config, params, state, read_bar(config, params, state.t, state.t, None))
    size = jnp.broadcast_to(size, close.shape)
    refused = (size <= 0) | (size < least)
    if config.action_masks == "sound":
        return refused
    value = state.shares * close
    room = params.max_position_pct * state.equity - value
    cash = state.cash + state.cash_low
    if state.unsettled_cash is not None:
        cash = cash - state.unsettled_cash.sum()
    refused = refused | (room < jnp.maximum(least, size * _WORTH_WHILE)) | (cash < least)
    members = params.sector_members
    if members is None:
        return refused
    precision = jax.lax.Precision.HIGHEST
    left = params.max_sector_pct * state.equity - jnp.matmul(members, value, precision=precision)
    # Assets of a sector may differ in their least order: a sector is full for all of them.
    smallest = least.min() if least.ndim else least
    is_full = (left < smallest) | (left <= 0)
    return refused | (jnp.matmul(is_full.astype(close.dtype), members, precision=precision) > 0)
