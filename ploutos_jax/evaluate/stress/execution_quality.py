"""Could it be done: what was filled of what was ordered, and at which prices, step by step."""

import typing
from typing import cast

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Num

from ploutos_jax.env.broker import orders
from ploutos_jax.env.broker.orders import OrderMoment
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import DELISTED, NO_FILL, ORDER, STOP, TARGET, TRAILING, Costs, EnvParams, Fill


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

    ordered_cash: Float[Array, "*draws"]
    filled_cash: Float[Array, "*draws"]
    stops: Int[Array, "*draws"]
    stops_beyond_atr: Int[Array, "*draws"]
    traded_cash: Float[Array, "*draws"]
    shortfall_cash: Float[Array, "*draws"]


def measure_execution(
    config: EnvConfig,
    params: EnvParams,
    usually: Bool[Array, "bars A"],
    action: Num[Array, "*action"],
    moment: OrderMoment,
    fills: tuple[Fill, ...],
) -> ExecutionQuality:
    """Return how one step's orders and stop exits were executed.

    What was filled, and against which price, is the broker's own record; what would have been ordered where trading
    is as usual is asked of the rules once more, for the account as the orders found it.

    Args:
        config, params: rules and numbers; the market must know the usual range (`atr`) of its assets.
        usually: `[bars, A]` bool, what trades where there is no shock; paths of so many bars lie end to end in the
            market.
        action: as the environment took it, `[A]` or `[A, 2]` by its form.
        moment, fills: of a step of an environment that itemises.
    """
    market, book, price = params.market, moment.book, moment.price
    observed = book.state.t
    free = usually[(observed + 1) % usually.shape[0]] & ~moment.leaving
    wanted = orders.decide(config, params, book, moment.bar, price, action, free, jnp.zeros_like(price))
    sold = (wanted.sell_shares * price).sum()
    rests = config.order_type == "limit"
    left = book.state.shares if rests else book.state.shares - wanted.sell_shares
    bought = orders.within_sectors(params, wanted.buy_cash, left, price, book.state.equity).sum()
    # Sales of the same moment can buy, those of exits too, unless they have to settle first or may not fill.
    with_orders = fills[0] if config.fill == "next_open" else None
    proceeds = 0 if config.settlement_days or rests else sold + _paid_by_exits(with_orders)
    affordable = jnp.minimum(bought, jnp.maximum(book.available_cash + proceeds, 0))

    unit = jnp.full_like(price, jnp.inf) if market.atr is None else market.atr[observed] * market.close[observed]
    first, *later = [_measure_fill(fill, unit) for fill in fills]
    total = {name: sum((each[name] for each in later), start=value) for name, value in first.items()}
    return ExecutionQuality(ordered_cash=sold + affordable, **total)


def _paid_by_exits(fill: Fill | None) -> Array | float:
    """Return the dollars that exits among the fills of one moment brought."""
    if fill is None:
        return 0.0
    exited = (fill.reason != ORDER) & (fill.reason != NO_FILL)
    return jnp.where(exited, -fill.shares * fill.price - fill.fee_cash, 0).sum()


def _measure_fill(fill: Fill, unit: Array) -> dict[str, Array]:
    """Return sums over the itemised fills of one moment, given `[A]` dollars of an average true range."""
    value = jnp.abs(fill.shares) * fill.reference
    is_order, is_stop = fill.reason == ORDER, (fill.reason == STOP) | (fill.reason == TRAILING)
    aim = cast(Costs, fill.costs).aim
    # Bought above the aim or sold below it is lost.
    lost = fill.shares * (fill.price - aim) + fill.fee_cash
    counted = ~jnp.isin(fill.reason, jnp.array([NO_FILL, TARGET, DELISTED], fill.reason.dtype))
    return {
        "filled_cash": jnp.where(is_order, value, 0).sum(),
        "stops": is_stop.sum(),
        "stops_beyond_atr": (is_stop & (aim - fill.price > unit)).sum(),
        "traded_cash": jnp.where(counted, value, 0).sum(),
        "shortfall_cash": jnp.where(counted, lost, 0).sum(),
    }
