"""Limit orders on bars: at which prices they rest, whether a bar fills them, and which of two sides counts.

A bar says neither how many orders stood before ours at a price nor in which order its prices came. Both are answered
against the account: a price that is only touched fills nothing, and of two sides the worse one counts.
"""

import typing
from collections.abc import Callable

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from ploutos_jax.env.broker.bar import Bar
from ploutos_jax.env.broker.execution import tick_of
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import EnvParams


@typing.no_type_check
class Resting(struct.PyTreeNode):
    """Where buys and sales rest in a bar, what they would get, and whether the bar trades through them; `[A]` each.

    Attributes:
        buy_limit: dollars, known at close t.
        buy_price, sell_price: dollars of a fill: the limit, or the open where that is better.
        buys, sells: bool.
    """

    buy_limit: Float[Array, " A"]
    buy_price: Float[Array, " A"]
    sell_price: Float[Array, " A"]
    buys: Bool[Array, " A"]
    sells: Bool[Array, " A"]


def rest(config: EnvConfig, params: EnvParams, bar: Bar, price: Float[Array, " A"]) -> Resting:
    """Return the limits around `[A]` closes observed, in shares of `bar`, and what the bar makes of them.

    A buy rests at `price·(1 − offset)`, a sale at `price·(1 + offset)`, away from the close to a whole tick where there
    is one. A buy fills if the low is a tick below it (without ticks, below it at all), a sale if the high is a tick
    above.

    Source: a fill for certain needs a trade beyond the limit; at the limit it depends on the place in the queue. So the
    fill models of LEAN (a buy fills where the low is below its limit) and nautilus_trader (probability of a fill at a
    touch).
    """
    buy, sell = price * (1 - params.limit_offset), price * (1 + params.limit_offset)
    below, above = buy, sell
    if config.tick_size is not None:
        hair = 4 * float(jnp.finfo(price.dtype).eps)
        buy, buy_tick = _to_tick(config, params, buy, jnp.floor, 1 + hair)
        sell, sell_tick = _to_tick(config, params, sell, jnp.ceil, 1 - hair)
        # A hair beyond is rounding error; the limit itself never is.
        below, above = (buy - buy_tick) * (1 + hair), (sell + sell_tick) * (1 - hair)
    return Resting(
        buy_limit=buy,
        buy_price=jnp.minimum(buy, bar.open),
        sell_price=jnp.maximum(sell, bar.open),
        buys=(bar.low < buy) & (bar.low <= below),
        sells=(bar.high > sell) & (bar.high >= above),
    )


def worse_side(resting: Resting, close: Float[Array, " A"]) -> Resting:
    """Return the fills without the better side, a share, where a bar would fill both sides of an asset.

    Args:
        resting: `buys` and `sells` where there are orders.
        close: `[A]` close of the bar.
    """
    both = resting.buys & resting.sells
    takes_buy = close - resting.buy_price <= resting.sell_price - close
    return resting.replace(buys=resting.buys & ~(both & ~takes_buy), sells=resting.sells & ~(both & takes_buy))


def comes_after(resting: Resting, exit_price: Float[Array, " A"]) -> Bool[Array, " A"]:
    """Tell which `[A]` exits inside the bar come after the fill of an order: where that is the worse sequence.

    A sale below its exit's price (a target) comes before it, and a buy above it (a stop) too. Every other exit comes
    first, and cancels the order.
    """
    sold_before = resting.sells & (resting.sell_price < exit_price)
    return sold_before | (resting.buys & (resting.buy_price > exit_price))


def _to_tick(
    config: EnvConfig, params: EnvParams, price: Array, whole: Callable[[Array], Array], hair: float
) -> tuple[Array, Array]:
    """Return prices at whole ticks, and the tick of each; where the tick is 0 they stay as they are."""
    tick = tick_of(config, params, price)
    has_tick = tick > 0
    return jnp.where(has_tick, whole(price / jnp.where(has_tick, tick, 1) * hair) * tick, price), tick
