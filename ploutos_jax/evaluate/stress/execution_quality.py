"""Could it be done: what was filled of what was ordered, and at which prices, step by step."""

import typing

import jax.numpy as jnp
from flax import struct

from ploutos_jax.env.broker import account, orders, stops
from ploutos_jax.env.broker.bar import read_bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import DELISTED, NO_FILL, ORDER, STOP, TARGET, TRAILING, Array, EnvParams, EnvState, Fill


@typing.no_type_check
class ExecutionQuality(struct.PyTreeNode):
    """Sums over fills; scalars, or with the axes of what was summed.

    Attributes:
        ordered_cash: dollars of the agent's orders, buys up to what the account could pay.
        filled_cash: dollars of them that filled, at market prices.
        stops: stop exits, trailing ones included.
        stops_beyond_atr: those filled more than one average true range below the stop.
        traded_cash: dollars of orders and stop exits, at market prices.
        shortfall_cash: what they lost against the market price, or the stop, fees included.
    """

    ordered_cash: Array
    filled_cash: Array
    stops: Array
    stops_beyond_atr: Array
    traded_cash: Array
    shortfall_cash: Array


def measure_execution(
    config: EnvConfig, params: EnvParams, usually: Array, state: EnvState, action: Array, fills: tuple[Fill, ...]
) -> ExecutionQuality:
    """Return how one step's orders and stop exits were executed.

    Args:
        config, params: rules and numbers; the market must know the usual range (`atr`) of its assets.
        usually: `[L, A]` bool, what trades where there is no shock; paths of L bars lie end to end in the market.
        state: the account before the step.
        action: as the environment took it.
        fills: of the step.
    """
    market, row = params.market, state.t + 1
    noise = None if config.slippage_noise is None else jnp.zeros_like(state.shares)
    bar = read_bar(config, params, row, state.t, noise)
    book = account.open_book(config, state, market.close[state.t], bar)
    price = {"next_open": bar.open, "next_close": bar.close, "same_close": market.close[state.t]}[config.fill]
    leaving, earlier = _exits_before_orders(config, fills)
    if config.fill != "same_close":
        book = account.apply_corporate_actions(account.begin_session(config, params, book, bar), bar)
        gone = stops.exits_at_open(config, params, book.state, bar, book.held)
        leaving = leaving | (gone.any if bar.delisted is None else gone.any | bar.delisted)
    free = usually[row % usually.shape[0]] & ~leaving
    wanted = orders.decide(config, params, book, bar, price, action, free, jnp.zeros_like(price))
    sold = (wanted.sell_shares * price).sum()
    bought = orders.within_sectors(
        params, wanted.buy_cash, book.state.shares - wanted.sell_shares, price, book.state.equity
    ).sum()
    proceeds = 0 if config.settlement_days else sold + earlier  # else they buy nothing yet
    affordable = jnp.minimum(bought, jnp.maximum(book.available_cash + proceeds, 0))

    level = stops.find_levels(config, params, book.state).stop
    level = jnp.zeros_like(price) if level is None else jnp.where(book.held, level, 0)
    unit = jnp.full_like(price, jnp.inf) if market.atr is None else market.atr[state.t] * market.close[state.t]
    stage = [_measure_fill(fill, jnp.where(fill.reference == bar.open, level, 0), unit) for fill in fills]
    total = {name: sum(each[name] for each in stage) for name in stage[0]}
    return ExecutionQuality(ordered_cash=sold + affordable, **total)  # type: ignore[arg-type]


def _exits_before_orders(config: EnvConfig, fills: tuple[Fill, ...]) -> tuple[Array, Array]:
    """Return which `[A]` assets left by a stop, target, time limit or end before the orders buy, and what that paid."""
    before = {"next_open": fills[:1], "next_close": fills[:2], "same_close": ()}[config.fill]
    left, cash = jnp.zeros(fills[0].shares.shape, bool), jnp.zeros((), fills[0].price.dtype)
    for fill in before:
        exited = (fill.reason != ORDER) & (fill.reason != NO_FILL)
        left = left | exited
        cash = cash + jnp.where(exited, -fill.shares * fill.price - fill.fee_cash, 0).sum()
    return left, cash


def _measure_fill(fill: Fill, level: Array, unit: Array) -> dict[str, Array]:
    """Return sums over the fills of one moment.

    Args:
        fill: of one moment.
        level: `[A]` stops that the open has gapped through; inside a bar the market price of a stop exit is its stop.
        unit: `[A]` dollars of an average true range.
    """
    value = jnp.abs(fill.shares) * fill.reference
    is_order, is_stop = fill.reason == ORDER, (fill.reason == STOP) | (fill.reason == TRAILING)
    aimed = jnp.where(is_stop, jnp.maximum(level, fill.reference), fill.reference)
    # Bought above the aim or sold below it is lost.
    lost = fill.shares * (fill.price - aimed) + fill.fee_cash
    counted = ~jnp.isin(fill.reason, jnp.array([NO_FILL, TARGET, DELISTED], fill.reason.dtype))
    return {
        "filled_cash": jnp.where(is_order, value, 0).sum(),
        "stops": is_stop.sum(),
        "stops_beyond_atr": (is_stop & (aimed - fill.price > unit)).sum(),
        "traded_cash": jnp.where(counted, value, 0).sum(),
        "shortfall_cash": jnp.where(counted, lost, 0).sum(),
    }
