"""What an order costs where the settings leave it to the instrument: tick, fees of US equities, a venue's fee."""

import dataclasses
from typing import NamedTuple

import numpy as np

from ploutos_jax.env.config import AUTO, EnvConfig
from ploutos_jax.market.instrument import US_EQUITY, Instrument
from ploutos_jax.market.panel import Market


class Costs(NamedTuple):
    """Usual costs of a kind of instrument, beside spread and slippage.

    Attributes:
        tick_size: dollars, as `EnvConfig.tick_size`; 0 for none.
        fee_bps: what broker and venue take of the traded value, per side.
        has_us_fees: whether the fees of US equities (SEC, TAF, CAT) are charged.
    """

    tick_size: float
    fee_bps: float
    has_us_fees: bool


USUAL_COSTS = {
    "us-equity": Costs(0.01, 0.0, True),
    "crypto": Costs(0.0, 10.0, False),
    "fx": Costs(0.0, 0.35, False),
    "futures": Costs(0.0, 0.5, False),
    "generic": Costs(0.0, 5.0, False),
}
"""By instrument. Source: taker fees of large coin exchanges (0.1 %), commission of an ECN in currencies ($3.50 per
$100,000), that of a future with its exchange fee (about $2 per $50,000 of value), that of a stock broker in Europe or
Asia (0.05 %); rounded, for want of a venue."""


class Resolved(NamedTuple):
    """Costs of the assets of a market, numbers where one holds for all of them.

    Attributes:
        tick_size: dollars, `[A]` or one for all.
        commission: fraction of the traded value, per side, `[A]` or one for all.
        fee_applies: `[2, A]` 1 where fees of the schedule by value, and by share, are charged, else 0; None where all
            are.
        maker: what the agent's limit orders pay in the place of `commission`; None where it is the same.
        lot_size: shares in a lot; 0 for none.
        min_order_cash: least dollars of an order.
    """

    tick_size: float | np.ndarray
    commission: float | np.ndarray
    fee_applies: np.ndarray | None
    maker: float | np.ndarray | None
    lot_size: float | np.ndarray
    min_order_cash: float | np.ndarray


def resolve_costs(config: EnvConfig, market: Market) -> Resolved:
    """Return what the settings and, where they leave it open, the instruments of a market cost.

    A setting that is given holds for every asset. A commission that is given stands in place of the venue's fee. Prices
    that were never traded, adjusted for later splits or dividends, have no tick and pay no fee per share.

    Args:
        config: settings.
        market: bars; without labels its assets are US equities.
    """
    if config.is_by_exchange:
        return _by_exchange(config, market)
    kinds, adjusted = instruments_of(config, market), _adjusted(market)
    usual = [USUAL_COSTS[kind.name] for kind in kinds]
    sizes = (config.lot_size or 0.0, config.min_order_cash)
    tick: float | np.ndarray = 0.0
    if config.tick_size == AUTO:
        tick = _one([0.0 if off else each.tick_size for each, off in zip(usual, adjusted, strict=True)])
    elif config.tick_size is not None:
        tick = float(config.tick_size)
    commission: float | np.ndarray = config.commission_bps * 1e-4
    if config.fees != AUTO:
        return Resolved(tick, commission, None, None, *sizes)
    if not _has_commission(config):
        commission = _one([each.fee_bps * 1e-4 for each in usual])
    applies = np.array([[each.has_us_fees for each in usual], [each.has_us_fees for each in usual]], float)
    applies[1, adjusted] = 0.0
    return Resolved(tick, commission, None if applies.all() else applies, None, *sizes)


def _by_exchange(config: EnvConfig, market: Market) -> Resolved:
    """Return what the exchange of each asset says it charges and takes; settings that are given go before it.

    Raises:
        ValueError: if it is not known what an asset's exchange charges.
    """
    found = () if market.labels is None else market.instruments
    symbols = () if market.labels is None else market.labels.symbols
    unknown = [s for s, kind in zip(symbols, found, strict=True) if kind.venue is None or kind.venue.taker is None]
    if unknown or not found:
        whose = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "") if found else "this market"
        raise ValueError(
            f"fees='exchange' does not know what the exchange of {whose} charges: `download --vendor ccxt` writes that"
            " beside its bars, as FILE.markets.json. Set fees, or commission_bps, instead."
        )
    venues = [kind.venue for kind in found if kind.venue is not None]
    tick = _one([v.tick_size or 0.0 for v in venues]) if config.tick_size == AUTO else float(config.tick_size or 0.0)
    taker, maker = _one([v.taker or 0.0 for v in venues]), None
    if config.order_type == "limit":
        maker = _one([(v.taker if v.maker is None else v.maker) or 0.0 for v in venues])
    if _has_commission(config):
        taker, maker = config.commission_bps * 1e-4, None
    lots = np.array([config.lot_size or v.lot_size or 0.0 for v in venues])
    least = _one([max(config.min_order_cash, v.min_notional or 0.0) for v in venues])
    return Resolved(tick, taker, None, maker, lots, least)


def describe_costs(config: EnvConfig, market: Market) -> str:
    """Return in words what a round of settings charges in a market beside spread and slippage, by instrument."""
    if config.is_by_exchange:
        return _describe_exchange(resolve_costs(config, market), market)
    kinds, adjusted = instruments_of(config, market), _adjusted(market)
    parts = []
    for name in dict.fromkeys(kind.name for kind in kinds):
        found = resolve_costs(dataclasses.replace(config, instrument=name), market.replace(labels=None))
        tick, commission = float(np.max(found.tick_size)), float(np.max(found.commission))
        fees = config.fees if isinstance(config.fees, str) else "a schedule of your own"
        if fees == AUTO:
            fees = "fees of US equities by date" if USUAL_COSTS[name].has_us_fees else "no fees of US equities"
        rate = f", {commission * 1e4:.4g} bps a side" if commission else ""
        parts.append(f"{name}: {f'tick {tick:g}' if tick else 'no tick'}, {fees}{rate}")
    if adjusted.any() and AUTO in (config.tick_size, config.fees):
        parts.append(f"{int(adjusted.sum())} of {len(adjusted)} at adjusted prices: no tick, no fee per share")
    return "; ".join(parts)


def _describe_exchange(costs: Resolved, market: Market) -> str:
    def span(values: float | np.ndarray, factor: float = 1.0) -> str:
        low, high = (factor * float(pick(values)) for pick in (np.min, np.max))
        return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"

    maker = "" if costs.maker is None else f" ({span(costs.maker, 1e4)} for limit orders)"
    return (
        f"as the exchange of each of {market.num_assets} says: {span(costs.commission, 1e4)} bps a side{maker}, tick"
        f" {span(costs.tick_size)}, lot {span(costs.lot_size)}, least order ${span(costs.min_order_cash)}"
    )


def instruments_of(config: EnvConfig, market: Market) -> tuple[Instrument, ...]:
    """Return what each of the A assets of a market is taken for: what the setting says, or else what was found."""
    if config.instrument != AUTO:
        return (Instrument(config.instrument, "as set"),) * market.num_assets
    return (Instrument(US_EQUITY),) * market.num_assets if market.labels is None else market.instruments


def _adjusted(market: Market) -> np.ndarray:
    if market.labels is None:
        return np.zeros(market.num_assets, bool)
    return np.isin(np.array(market.labels.symbols, object), list(market.labels.adjusted))


def _has_commission(config: EnvConfig) -> bool:
    given = (config.commission_bps, config.commission_per_share, config.commission_per_order, config.commission_min)
    return any(value > 0 for value in given)


def _one(values: list[float]) -> float | np.ndarray:
    return values[0] if len(set(values)) == 1 else np.array(values)
