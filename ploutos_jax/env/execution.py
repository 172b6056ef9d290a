"""From the agent's action to fills: order sizes, fill prices, the cut when cash does not reach."""

import jax.numpy as jnp
from flax import struct

from ploutos_jax.env.fees import commission_cash
from ploutos_jax.env.types import BUY, HOLD, SELL, Array, Bar, EnvParams, Fill


class Orders(struct.PyTreeNode):
    """Market orders for the open of a bar; `[A]` each, 0 or False where there is none.

    Attributes:
        sell_shares: shares to sell.
        buy_cash: value to buy at the fill price, commission not included.
        requested: True where the action asks for a trade, also one that cannot be had.
    """

    sell_shares: Array
    buy_cash: Array
    requested: Array


def size_discrete(action: Array, shares: Array, equity: Array, bar: Bar, params: EnvParams) -> Orders:
    """Turn hold, buy and sell into orders.

    A buy spends `buy_pct` of equity, up to `max_position_pct` of it in the asset at the open; a sell closes the
    whole position.

    Args:
        action: `[A]` integers 0 hold, 1 buy, 2 sell.
        shares: `[A]` shares held at the open.
        equity: dollars, known at close t.
        bar: the bar t+1 in which the orders fill.
    """
    room = params.max_position_pct * equity - shares * bar.open
    buy_cash = jnp.minimum(params.buy_pct * equity, room)
    return Orders(
        sell_shares=jnp.where(action == SELL, shares, 0),
        buy_cash=jnp.where((action == BUY) & (buy_cash >= params.min_order_cash), buy_cash, 0),
        requested=action != HOLD,
    )


def size_weights(action: Array, shares: Array, equity: Array, bar: Bar, params: EnvParams) -> Orders:
    """Turn target weights into the trades that lead there at the open.

    Args:
        action: `[A]` target shares of equity, the rest being cash, or `[A + 1]` with the cash weight last. Negative
            weights count as 0, weights that add up to more than 1 are scaled down to 1, then each is limited to
            `max_position_pct`. NaN keeps a position as it is. A change worth less than `min_order_cash` is no order,
            except the sale of all that is left.
        shares: `[A]` shares held at the open.
        equity: dollars, known at close t; weights refer to it.
        bar: the bar t+1 in which the orders fill.
    """
    keep = jnp.isnan(action)
    weight = jnp.where(keep, 0, jnp.maximum(action, 0))
    weight = weight / jnp.maximum(weight.sum(), 1)
    weight, keep = weight[: shares.shape[0]], keep[: shares.shape[0]]
    weight = jnp.minimum(weight, params.max_position_pct)
    change_cash = jnp.where(keep, 0, weight * equity - shares * bar.open)
    change_cash = jnp.where(jnp.abs(change_cash) >= params.min_order_cash, change_cash, 0)
    price = jnp.where(bar.open > 0, bar.open, 1)
    partial_sale = jnp.minimum(jnp.maximum(-change_cash, 0) / price, shares)
    closing = ~keep & (weight == 0) & (shares != 0)
    return Orders(
        sell_shares=jnp.where(closing, shares, partial_sale),
        buy_cash=jnp.maximum(change_cash, 0),
        requested=closing | (change_cash != 0),
    )


def adverse_move(params: EnvParams) -> Array:
    """Return the fraction by which a market order or stop fills away from the market price, against the trader."""
    return params.spread / 2 + params.slippage


def sell(shares: Array, reference: Array, at_limit: Array | bool, params: EnvParams) -> Fill:
    """Fill sales of `[A]` shares at `reference` less spread and slippage; exactly at it where `at_limit`."""
    price = jnp.where(at_limit, reference, reference * (1 - adverse_move(params)))
    return Fill(
        shares=-shares,
        price=price,
        reference=reference,
        fee_cash=commission_cash(shares * price, shares, params),
    )


def buy_within_cash(buy_cash: Array, cash: Array, bar: Bar, params: EnvParams) -> Fill:
    """Fill buys at the open plus spread and slippage; cut all in proportion when cash does not reach for them.

    Costs are inside the sizing: value bought plus commissions never exceed `cash`. What the cut leaves below
    `min_order_cash` is not bought. The margin left for the rounding
    of a sum over A assets is A ulp (0.006 % of cash for 500 assets in float32).

    Args:
        buy_cash: `[A]` dollars to buy, commission not included.
        cash: dollars at hand after all sales of the open.
        bar: the bar in which the buys fill.
    """
    price = jnp.where(bar.open > 0, bar.open * (1 + adverse_move(params)), 1)
    shares = buy_cash / price
    needed = (buy_cash + commission_cash(buy_cash, shares, params)).sum()
    margin = max(16, buy_cash.shape[0]) * jnp.finfo(cash.dtype).eps
    affordable = jnp.maximum(cash, 0) * (1 - margin)
    share_filled = jnp.where(needed > affordable, affordable / jnp.where(needed > 0, needed, 1), 1)
    shares = shares * share_filled
    shares = jnp.where(shares * price >= params.min_order_cash, shares, 0)
    return Fill(
        shares=shares,
        price=price,
        reference=bar.open,
        fee_cash=commission_cash(shares * price, shares, params),
    )
