"""From order sizes to fills: fill prices, the volume limit, lots, the cut when cash does not reach."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int8

from ploutos_jax.env.broker import fees
from ploutos_jax.env.broker.account import exact_sum
from ploutos_jax.env.broker.bar import Bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import DELISTED, NO_FILL, ORDER, Costs, EnvParams, Fill

SMALL_ORDER = 1e-3
"""Share of the usual volume below which market impact grows linearly, not with the square root."""


class Move(NamedTuple):
    """Parts of the way from the market price to the fill price, as fractions of it; `[A]`, or one for all assets.

    `impact` is None where there is none.
    """

    spread: Float[Array, " *A"]
    slippage: Float[Array, " *A"]
    impact: Float[Array, " *A"] | None

    @property
    def total(self) -> Float[Array, " *A"]:
        """Their sum."""
        move = self.spread + self.slippage
        return move if self.impact is None else move + self.impact


def adverse_move(
    config: EnvConfig, params: EnvParams, bar: Bar, reference: Float[Array, " A"], participation: Float[Array, " A"]
) -> Move:
    """Return the fractions by which market orders fill away from the market price, against the trader.

    Args:
        config, params: rules and numbers.
        bar: the bar of the fills.
        reference: `[A]` market price, dollars.
        participation: `[A]` size of the orders as a share of the usual volume of a bar; read by market impact only.
    """
    half_spread = params.spread / 2
    if bar.spread_scale is not None:
        half_spread = half_spread * bar.spread_scale
    if config.tick_size is not None:
        half_spread = jnp.maximum(half_spread, tick_of(config, params, reference) / (2 * _safe(reference)))
    if config.impact is None or bar.volatility is None:
        return Move(half_spread, bar.slippage, None)
    # The root's slope is infinite at 0: keep it away from there, for gradients.
    root = jnp.sqrt(jnp.maximum(participation, SMALL_ORDER))
    grown = jnp.where(participation >= SMALL_ORDER, root, participation / SMALL_ORDER**0.5)
    impact = params.impact if bar.impact_scale is None else params.impact * bar.impact_scale
    return Move(half_spread, bar.slippage, impact * bar.volatility * grown)


def tick_of(config: EnvConfig, params: EnvParams, price: Float[Array, " A"]) -> Float[Array, " *A"]:
    """Return the smallest step of `[A]` prices: below $1 a hundredth, but an exchange's own is what it is."""
    if config.is_by_exchange:
        return params.tick_size
    return jnp.where(price >= 1, params.tick_size, params.tick_size / 100)


def participation_of(config: EnvConfig, bar: Bar, value: Float[Array, " A"]) -> Float[Array, " A"]:
    """Return orders of `[A]` dollars as a share of the usual volume of a bar, 0 where that is unknown."""
    if config.impact is None or bar.adv is None:
        return value
    return jnp.where(bar.adv > 0, value / _safe(bar.adv), 0)


def sell(
    config: EnvConfig,
    params: EnvParams,
    bar: Bar,
    shares: Float[Array, " A"],
    reference: Float[Array, " A"],
    reason: Int8[Array, " A"],
    at_limit: Bool[Array, " A"],
) -> Fill:
    """Fill sales of `[A]` shares at `reference` less spread, slippage and impact; exactly at it where `at_limit`."""
    move = adverse_move(config, params, bar, reference, participation_of(config, bar, shares * reference))
    price = jnp.where(at_limit, reference, reference * jnp.maximum(1 - move.total, 0))
    fee_cash, by_kind = _fees(config, _as_maker(params, reason == ORDER), bar, shares, shares * price, is_sale=True)
    if bar.delisted is not None:  # an asset's end pays out: that is no trade
        free = reason == DELISTED
        fee_cash, by_kind = jnp.where(free, 0, fee_cash), tuple(jnp.where(free, 0, x) for x in by_kind)
    return Fill(
        shares=-shares,
        price=price,
        reference=reference,
        fee_cash=fee_cash,
        fee_cash_by_kind=by_kind,
        reason=jnp.where(shares != 0, reason, NO_FILL).astype(jnp.int8),
        **move._asdict(),
    )


def sale_within_limits(
    config: EnvConfig,
    params: EnvParams,
    bar: Bar,
    wanted: Float[Array, " A"],
    held: Float[Array, " A"],
    price: Float[Array, " A"],
    volume_left: Float[Array, " A"] | None,
) -> Float[Array, " A"]:
    """Return how many of the `[A]` shares that orders want to sell can be sold: volume, lots, smallest order."""
    shares = within_volume(wanted, volume_left)
    if config.has_lots:
        shares = jnp.where(shares == held, shares, whole_lots(shares, params))
    is_dust = (shares != held) & (shares * price < params.min_order_cash)
    return jnp.where(is_dust, 0, shares)


def within_volume(shares: Float[Array, " A"], volume_left: Float[Array, " A"] | None) -> Float[Array, " A"]:
    """Return `[A]` shares, at most what the volume of the bar leaves."""
    return shares if volume_left is None else jnp.minimum(shares, jnp.maximum(volume_left, 0))


def whole_lots(shares: Float[Array, " A"], params: EnvParams) -> Float[Array, " A"]:
    """Round `[A]` shares down to whole lots; a hair below one is rounding error."""
    lots = shares / params.lot_size * (1 + 4 * jnp.finfo(shares.dtype).eps)
    if params.lot_size.ndim:  # some assets may have none
        return jnp.where(params.lot_size > 0, jnp.floor(lots) * params.lot_size, shares)
    return jnp.floor(lots) * params.lot_size


def buy_within_cash(
    config: EnvConfig,
    params: EnvParams,
    bar: Bar,
    value: Float[Array, " A"],
    reference: Float[Array, " A"],
    available: Float[Array, ""],
    volume_left: Float[Array, " A"] | None,
) -> tuple[Fill, Float[Array, " A"]]:
    """Fill buys at `reference` plus spread, slippage and impact; cut all in proportion when cash does not reach.

    Costs are inside the sizing: value bought plus fees never exceed `available`. What a cut leaves below
    `min_order_cash` is not bought.

    Args:
        config, params: rules and numbers.
        bar: the bar in which the buys fill.
        value: `[A]` dollars to buy, fees not included.
        reference: `[A]` market price.
        available: dollars at hand.
        volume_left: `[A]` shares that may still be filled, or None.

    Returns:
        The fills, and the `[A]` shares that the volume limit took from the orders.
    """
    move = adverse_move(config, params, bar, reference, participation_of(config, bar, value))
    price = jnp.where(reference > 0, reference * (1 + move.total), 1)
    ordered = value / price
    shares = within_volume(ordered, volume_left)
    unfilled = ordered - shares
    shares = shares * _affordable_share(config, params, bar, shares, price, available)
    if config.has_lots:
        shares = whole_lots(shares, params)
    shares = jnp.where(shares * price >= params.min_order_cash, shares, 0)
    if config.impact is not None:  # sized with the impact of the whole order, filled with that of what was bought
        move = adverse_move(config, params, bar, reference, participation_of(config, bar, shares * reference))
        price = jnp.where(reference > 0, reference * (1 + move.total), 1)
    fee_cash, by_kind = _fees(config, params, bar, shares, shares * price, is_sale=False)
    fill = Fill(
        shares=shares,
        price=price,
        reference=reference,
        fee_cash=fee_cash,
        fee_cash_by_kind=by_kind,
        reason=jnp.where(shares != 0, ORDER, NO_FILL).astype(jnp.int8),
        **move._asdict(),
    )
    return fill, unfilled


def buy_at_limit(
    config: EnvConfig, params: EnvParams, bar: Bar, shares: Float[Array, " A"], price: Float[Array, " A"]
) -> Fill:
    """Fill limit buys of `[A]` shares at exactly `price`."""
    move = adverse_move(config, params, bar, price, jnp.zeros_like(price))
    fee_cash, by_kind = _fees(
        config, _as_maker(params, jnp.ones(price.shape, bool)), bar, shares, shares * price, is_sale=False
    )
    return Fill(
        shares=shares,
        price=price,
        reference=price,
        fee_cash=fee_cash,
        fee_cash_by_kind=by_kind,
        reason=jnp.where(shares != 0, ORDER, NO_FILL).astype(jnp.int8),
        **move._asdict(),
    )


def affordable_at_limit(
    config: EnvConfig,
    params: EnvParams,
    bar: Bar,
    value: Float[Array, " A"],
    limit: Float[Array, " A"],
    available: Float[Array, ""],
    volume_left: Float[Array, " A"] | None,
) -> Float[Array, " A"]:
    """Return the `[A]` shares of limit buys of `value` dollars: cash is put aside for all of them, filled or not.

    Args:
        config, params: rules and numbers.
        bar: the bar in which they rest.
        value: `[A]` dollars to buy, fees not included.
        limit: `[A]` the most a share costs.
        available: dollars at hand; all buys are cut in proportion when they do not reach.
        volume_left: `[A]` shares that may still be filled, or None.
    """
    shares = within_volume(value / _safe(limit), volume_left)
    shares = shares * _affordable_share(config, params, bar, shares, limit, available)
    if config.has_lots:
        shares = whole_lots(shares, params)
    return jnp.where(shares * limit >= params.min_order_cash, shares, 0)


def itemise(
    config: EnvConfig, params: EnvParams, bar: Bar, fill: Fill, aim: Float[Array, " A"], *, is_sale: bool
) -> Fill:
    """Return fills with what their fee consists of, charge by charge as `sell` and `buy_within_cash` add it up.

    Args:
        config, params: rules and numbers.
        bar: the bar of the fills.
        fill: of one moment.
        aim: `[A]` price they were meant to get.
        is_sale: the side of the fills.
    """
    shares = jnp.abs(fill.shares)
    own = _as_maker(params, fill.reason == ORDER)
    commission, charged = _charges(config, own, bar, shares, shares * fill.price, is_sale=is_sale)
    is_trade = fill.reason != DELISTED

    def paid(charge: Array | None) -> Array:
        return jnp.zeros_like(shares) if charge is None else jnp.where(is_trade, charge, 0)

    kinds = tuple(paid(charge) for charge in charged)
    return fill.replace(costs=Costs(commission_cash=paid(commission), fees_cash=kinds, aim=aim))


def _affordable_share(
    config: EnvConfig, params: EnvParams, bar: Bar, shares: Array, price: Array, available: Array
) -> Array:
    """Return the fraction of `[A]` buys that `available` dollars pay for, fees included; scalar."""
    schedule, notional = config.schedule, shares * price
    fee_cash, _ = _fees(config, params, bar, shares, notional, is_sale=False)
    needed = exact_sum(notional + fee_cash)
    kinds = sum(kind.sides == "both" for kind in schedule.kinds)
    reserve = fees.CENT * len(schedule.kinds) if schedule.rounding == "day" else 0.0
    fixed = params.commission_per_order_cash + params.commission_min_cash
    fixed = (fixed + (fees.CENT * kinds if schedule.rounding == "fill" else 0.0)) * (shares > 0).sum()
    by_size = notional * params.commission + shares * params.commission_per_share_cash
    exact = fees.schedule_cash(
        *_charged_on(params, notional, shares),
        bar.fee_rates,
        bar.fee_caps,
        schedule,
        is_sale=False,
        in_proportion=True,
    )
    by_size = sum((x for x in exact if x is not None), start=by_size)
    in_proportion = exact_sum(notional + by_size)
    # The margin covers the rounding of each product; the sums are exact.
    affordable = (available - reserve) * (1 - 8 * jnp.finfo(available.dtype).eps)
    share = jnp.maximum(affordable - fixed, 0) / _safe(in_proportion)
    return jnp.where(needed > affordable, jnp.minimum(share, 1), 1)


def _fees(
    config: EnvConfig, params: EnvParams, bar: Bar, shares: Array, notional: Array, *, is_sale: bool
) -> tuple[Array, tuple[Array, ...]]:
    """Return the fees of fills, `[A]` dollars, and those of each kind where they are rounded by day.

    They never exceed the traded value, so that the sale of a penny stock cannot cost more than it brings.
    """
    commission, charged = _charges(config, params, bar, shares, notional, is_sale=is_sale)
    total = sum((x for x in charged if x is not None), start=commission)
    by_kind = tuple(jnp.zeros_like(notional) if x is None else x for x in charged)
    return jnp.minimum(total, notional), by_kind if config.schedule.rounding == "day" else ()


def _charges(
    config: EnvConfig, params: EnvParams, bar: Bar, shares: Array, notional: Array, *, is_sale: bool
) -> tuple[Array, list[Array | None]]:
    """Return the commission on fills, `[A]` dollars, and what each kind of the schedule charges, None for nothing."""
    bases = _charged_on(params, notional, shares)
    charged = fees.schedule_cash(*bases, bar.fee_rates, bar.fee_caps, config.schedule, is_sale=is_sale)
    return fees.commission_cash(notional, shares, params), charged


def _as_maker(params: EnvParams, is_order: Bool[Array, " A"]) -> EnvParams:
    """Return the numbers by which the agent's limit orders are charged, `is_order`, and exits are."""
    if params.maker is None:
        return params
    return params.replace(commission=jnp.where(is_order, params.maker, params.commission))


def _charged_on(params: EnvParams, notional: Array, shares: Array) -> tuple[Array, Array]:
    """Return the dollars and the shares that the fee schedule is charged on, 0 for assets that it is not made for."""
    if params.fee_applies is None:
        return notional, shares
    return notional * params.fee_applies[0], shares * params.fee_applies[1]


def _safe(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)
