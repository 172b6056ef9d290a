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
    """

    tick_size: float | np.ndarray
    commission: float | np.ndarray
    fee_applies: np.ndarray | None


def resolve_costs(config: EnvConfig, market: Market) -> Resolved:
    """Return what the settings and, where they leave it open, the instruments of a market cost.

    A setting that is given holds for every asset. A commission that is given stands in place of the venue's fee. Prices
    that were never traded, adjusted for later splits or dividends, have no tick and pay no fee per share.

    Args:
        config: settings.
        market: bars; without labels its assets are US equities.
    """
    kinds, adjusted = instruments_of(config, market), _adjusted(market)
    usual = [USUAL_COSTS[kind.name] for kind in kinds]
    tick: float | np.ndarray = 0.0
    if config.tick_size == AUTO:
        tick = _one([0.0 if off else each.tick_size for each, off in zip(usual, adjusted, strict=True)])
    elif config.tick_size is not None:
        tick = float(config.tick_size)
    commission: float | np.ndarray = config.commission_bps * 1e-4
    if config.fees != AUTO:
        return Resolved(tick, commission, None)
    if not _has_commission(config):
        commission = _one([each.fee_bps * 1e-4 for each in usual])
    applies = np.array([[each.has_us_fees for each in usual], [each.has_us_fees for each in usual]], float)
    applies[1, adjusted] = 0.0
    return Resolved(tick, commission, None if applies.all() else applies)


def describe_costs(config: EnvConfig, market: Market) -> str:
    """Return in words what a round of settings charges in a market beside spread and slippage, by instrument."""
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
