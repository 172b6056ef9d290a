"""Numbers of an environment: settings and a market turned into `EnvParams`, once, on the host."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ploutos_jax.env.broker import day_trades
from ploutos_jax.env.broker.instruments import resolve_costs
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.limits import cap_of, warn_of_limits
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR, NUM_SECTORS


def make_params(config: EnvConfig, market: Market) -> EnvParams:
    """Return the numbers of `config` as leaves beside the market.

    Args:
        config: settings.
        market: bars; the float type of its close is that of every number.

    Raises:
        ValueError: if no episode of `episode_length` bars fits into the market, or the market lacks what a rule reads,
            or it lies in files and has more bars than are to be on the device.
    """
    _check_size(market)
    dtype = jnp.asarray(market.close).dtype
    for name in config.needs:
        if getattr(market, name) is None and not (name == "adv" and config.impact is None):
            raise ValueError(f"The market has no {name!r}, which these rules read; make it with build_market.")
    warn_of_limits(config, market)
    rates, caps = config.schedule.resolve(np.asarray(market.sessions))
    costs = resolve_costs(config, market)
    arrays: dict[str, Any] = {
        # Labels and names cost nothing here, and tell an agent which assets it sees.
        "market": jax.tree.map(jnp.asarray, market).replace(labels=market.labels, feature_names=market.feature_names),
        "has_gaps": None if _is_full(market) else jnp.zeros((), bool),
        "starts": jnp.asarray(_episode_starts(market, config.episode_length)),
        "sector_columns": jnp.asarray(_sector_columns(market), dtype),
        "sector_members": None if config.max_sector_pct is None else jnp.asarray(_sector_members(market), dtype),
        "fee_rates": jnp.asarray(rates, dtype),
        "fee_caps": jnp.asarray(caps, dtype),
        "fee_applies": None if costs.fee_applies is None else jnp.asarray(costs.fee_applies, dtype),
        "tick_size": jnp.asarray(costs.tick_size, dtype),
        "commission": jnp.asarray(costs.commission, dtype),
        "maker": None if costs.maker is None else jnp.asarray(costs.maker, dtype),
        "lot_size": jnp.asarray(costs.lot_size, dtype),
        "min_order_cash": jnp.asarray(costs.min_order_cash, dtype),
        "reward_weights": jnp.asarray([weight for _, weight in config.reward_terms], dtype),
        "day_trade_end": jnp.int32(
            day_trades.RULE_ENDS if config.day_trade_rule == "by_date" else np.iinfo(np.int32).max
        ),
    }
    in_bars = ("min_holding_bars", "max_holding_bars")
    numbers = {
        field.name: _number(config, field.name) for field in dataclasses.fields(EnvParams) if field.name not in arrays
    }
    if config.bars_per_year is None:
        numbers["bars_per_year"] = market.calendar.bars_per_year
    numbers["max_position_pct"] = cap_of(config, market.num_assets)
    arrays |= {n: jnp.asarray(value, jnp.int32 if n in in_bars else dtype) for n, value in numbers.items()}
    return EnvParams(**arrays)


def params_of_slice(config: EnvConfig, market: Market, rows: slice) -> EnvParams:
    """Return the numbers of a market that lies in files, with the bars of a slice of it on the device.

    Args:
        config: settings.
        market: all of it; what says which rules a program has is of the whole market, so that slices share one program.
        rows: of the slice, in which an episode of `episode_length` bars has to fit.
    """
    params = make_params(config, market.window(rows.start, rows.stop))
    return params.replace(has_gaps=None if _is_full(market) else jnp.zeros((), bool))


def moved_to(params: EnvParams, config: EnvConfig, market: Market) -> EnvParams:
    """Return the numbers of a slice beside the bars of another one, which are on the device already or go there.

    Args:
        params: of a slice of the same market.
        config: settings that it was made with.
        market: the other slice, without labels.
    """
    rates, caps = config.schedule.resolve(np.asarray(market.sessions))
    fees = {
        "fee_rates": jnp.asarray(rates, params.fee_rates.dtype),
        "fee_caps": jnp.asarray(caps, params.fee_caps.dtype),
    }
    return params.replace(market=market, **fees)


def _check_size(market: Market) -> None:
    most = None if market.labels is None else market.labels.device_bars
    if most is not None and market.num_bars > most:
        raise ValueError(
            f"This market has {market.num_bars:,} bars, of which a device holds {most:,} at a time (device_bars): it is"
            " for training and backtests alone, which take slices of it. For anything else take fewer bars"
            " (market.window), or read them without device_bars."
        )


_RENAMED = {
    "spread": ("spread_bps", 1e-4),
    "slippage": ("slippage_bps", 1e-4),
    "limit_offset": ("limit_offset_bps", 1e-4),
    "commission_per_share_cash": ("commission_per_share", 1.0),
    "commission_per_order_cash": ("commission_per_order", 1.0),
    "commission_min_cash": ("commission_min", 1.0),
    "day_trade_equity_cash": ("day_trade_equity", 1.0),
}
"""Fields of `EnvParams` by the setting they come from and its unit."""


def _number(config: EnvConfig, name: str) -> float:
    setting, unit = _RENAMED.get(name, (name, 1.0))
    value = getattr(config, setting)
    return 0.0 if value is None else value * unit


def _is_full(market: Market) -> bool:
    """Return whether every asset is known to trade in every row; a market drawn inside `jit` is not."""
    return not isinstance(market.tradable, Tracer) and bool(np.asarray(market.tradable).all())


def _sector_columns(market: Market) -> np.ndarray:
    """Return `[11, A]`, 1 where an asset belongs to the sector of a column."""
    columns = np.full(market.num_assets, NO_SECTOR) if market.sector is None else np.asarray(market.sector)
    return (np.arange(NUM_SECTORS)[:, None] == columns).astype(np.float64)


def _sector_members(market: Market) -> np.ndarray:
    """Return `[G, A]`, 1 where an asset belongs to a sector; assets of no known sector make up one of their own."""
    sectors = market.sectors
    names = sorted(set(sectors))
    return np.array([[sector == name for sector in sectors] for name in names], np.float64)


def _episode_starts(market: Market, episode_length: int) -> np.ndarray:
    rows = np.arange(market.num_bars, dtype=np.int32)
    fits = rows + episode_length <= np.asarray(market.path_end)
    if not fits.any():
        longest = int((np.asarray(market.path_end) - rows).max())
        raise ValueError(
            f"An episode of {episode_length} bars does not fit into the market: the longest stretch has"
            f" {longest + 1} bars. Set episode_length to at most {longest}."
        )
    return rows[fits]
