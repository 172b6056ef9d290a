"""Limits: what the rules of an account keep every agent from doing in a market; said before training."""

import warnings

import numpy as np
from jax.core import Tracer

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.market.panel import Market

CAP, FULL_PARTS = 0.25, 3
"""Largest share of equity in one asset among many, and in how many equal parts fewer assets may hold theirs."""
_FEW = 3
"""Assets up to which an account that a stop has sold out of one of them is a different bet on the market."""
_NAMED = 5


class LimitsWarning(UserWarning):
    """Of rules that keep part of an account in cash, or an asset out of it."""


def usual_cap(num_assets: int) -> float:
    """Return the largest share of equity in one asset where no `max_position_pct` is set.

    A quarter for twelve assets and more; of fewer three times an equal part, at most all: one to three assets that
    could be a quarter each would leave the rest of the account in cash whatever the agent learns.
    """
    return max(CAP, min(1.0, FULL_PARTS / num_assets))


def cap_of(config: EnvConfig, num_assets: int) -> float:
    """Return the largest share of equity in one asset that a buy may reach.

    Bands and levels divide the account up, so that three equal parts in one asset are much: a quarter each would let
    four assets be all of it.
    """
    if config.max_position_pct is not None:
        return config.max_position_pct
    return min(1.0, FULL_PARTS / num_assets) if config.action in ("bands", "levels") else usual_cap(num_assets)


def describe_limits(config: EnvConfig, market: Market) -> tuple[str, ...]:
    """Return what rules rule out in a market, one sentence each; they begin with "Under these rules".

    Told are a cap per asset that leaves the account partly in cash when every asset is at it; exits and small buys that
    do so with one to three assets; whole lots that cost more, at the lowest price, than a buy may spend of
    `initial_cash`; buys below `min_order_cash`; and rules of volume where none is known. A market that is being drawn
    inside compiled code has no prices to ask: nothing is told.
    """
    if isinstance(market.tradable, Tracer):
        return ()
    notes = (
        _invested(config, market.num_assets),
        _lots(config, market),
        _smallest(config, market.num_assets),
        _volume(config, market),
    )
    return tuple(f"Under these rules {note}" for note in notes if note)


def warn_of_limits(config: EnvConfig, market: Market) -> None:
    """Warn of what `describe_limits` tells, by `LimitsWarning`."""
    for note in describe_limits(config, market):
        warnings.warn(note, LimitsWarning, stacklevel=4)


def _invested(config: EnvConfig, num_assets: int) -> str:
    cap = cap_of(config, num_assets)
    assets = "1 asset" if num_assets == 1 else f"{num_assets} assets"
    if cap * num_assets < 1 - 1e-6:
        return (
            f"at most {cap * num_assets:.0%} of the account is ever in the market: {assets}, and"
            f" max_position_pct={cap:g}. Leave max_position_pct out, or set it to {1 / num_assets:.2g} or more."
        )
    exits = [name for name in ("stop_loss", "take_profit") if getattr(config, name) is not None]
    if num_assets > _FEW or not exits or config.action != "discrete" or config.max_position_pct is not None:
        return ""
    given = ", ".join(f"{name}={getattr(config, name):g}" for name in exits)
    return (
        f"an agent that always buys is still not always in the market: {assets}, max_position_pct={cap:g}, but {given}"
        f" sell, and a buy puts back {config.buy_pct:.0%} of the account a bar. To compare with holding, set"
        f" {', '.join(f'{name}=None' for name in exits)} and buy_pct={1 / num_assets:.2g}."
    )


def _most_spent(config: EnvConfig, num_assets: int) -> float:
    """Return the most dollars that one order of an account that just began may spend on an asset."""
    share = cap_of(config, num_assets)
    if config.action == "discrete" and config.sizing == "fixed":
        share = min(share, config.buy_pct)
    return share * config.initial_cash


def _lots(config: EnvConfig, market: Market) -> str:
    if config.lot_size is None:
        return ""
    tradable = np.asarray(market.tradable)
    lowest = np.where(tradable, np.asarray(market.low, np.float64), np.inf).min(axis=0)
    most = _most_spent(config, market.num_assets)
    out = np.flatnonzero(np.isfinite(lowest) & (lowest * config.lot_size > most))
    if not out.size:
        return ""
    names = [f"asset {i}" if market.labels is None else market.symbols[i] for i in out]
    shown = ", ".join(f"{name} (${lowest[i]:,.2f})" for i, name in list(zip(out, names, strict=True))[:_NAMED])
    more = f" and {out.size - _NAMED} more" if out.size > _NAMED else ""
    return (
        f"{shown}{more} can never be bought: lot_size={config.lot_size:g} at the lowest price costs more than the"
        f" ${most:,.0f} that a buy may spend of initial_cash={config.initial_cash:,.0f}. Raise initial_cash, buy_pct or"
        " max_position_pct, allow fractions (lot_size=None), or leave these tickers out."
    )


def _volume(config: EnvConfig, market: Market) -> str:
    rules = [name for name in ("max_participation", "impact") if getattr(config, name) is not None]
    unknown = np.flatnonzero(np.isinf(np.asarray(market.volume)).any(axis=0)) if rules else np.zeros(0, int)
    if not unknown.size:
        return ""
    names = [f"asset {i}" if market.labels is None else market.symbols[i] for i in unknown[:_NAMED]]
    more = f" and {unknown.size - _NAMED} more" if unknown.size > _NAMED else ""
    return (
        f"{' and '.join(rules)} {'does' if len(rules) == 1 else 'do'} nothing for {', '.join(names)}{more}: the data"
        " has no volume of them. Give a column of volume, or leave these rules out."
    )


def _smallest(config: EnvConfig, num_assets: int) -> str:
    most = _most_spent(config, num_assets)
    if most >= config.min_order_cash:
        return ""
    return (
        f"nothing can ever be bought: a buy may spend ${most:,.2f} of initial_cash={config.initial_cash:,.0f}, and"
        f" min_order_cash={config.min_order_cash:g} is more. Lower min_order_cash, or raise buy_pct or initial_cash."
    )
