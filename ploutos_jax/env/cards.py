"""The card of an EnvConfig: the settings that differ from the defaults, and the rules that are on, by subject."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ploutos_jax.market.display import Card

_SUBJECTS = {
    "actions": ("action", "decide_every", "action_masks", "observation", "episode_length", "initial_cash"),
    "orders": (
        *("fill", "order_type", "limit_offset_bps", "buy_pct", "max_position_pct", "max_sector_pct", "sizing"),
        *("drawdown_scaling", "no_trade_band", "lot_size", "max_participation", "remainder", "min_holding_bars"),
        "max_trades_per_day",
    ),
    "costs": (
        *("instrument", "spread_bps", "tick_size", "slippage_bps", "slippage_atr", "slippage_volatility"),
        *("slippage_noise", "impact", "fees", "commission_bps", "commission_per_share", "commission_per_order"),
        "commission_min",
    ),
    "exits": (
        *("stop_loss", "take_profit", "trailing_stop", "break_even", "stop_loss_atr", "take_profit_atr"),
        *("trailing_atr", "max_holding_bars", "drawdown_halt"),
    ),
    "account": ("settlement_days", "cash_rate", "day_trade_rule", "delisting_recovery", "ruin_pct"),
    "reward": ("reward",),
}
_NEEDS = {
    "limit_offset_bps": ("order_type", "limit"),
    "buy_pct": ("action", "discrete"),
    "remainder": ("remainder", "carry"),
}
"""Settings that mean something only where another has a value."""


def card_of(config: Any) -> Card:
    """Return the card of a configuration, of any dataclass with these fields."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changed = [f"{f.name}={_show(values[f.name])}" for f in dataclasses.fields(config) if values[f.name] != f.default]
    rows = [(subject, _list(values, names)) for subject, names in _SUBJECTS.items()]
    return Card("EnvConfig", changed, [(subject, text or "none") for subject, text in rows])


def _list(values: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {_show(values[name])}" for name in names if _is_on(values, name))


def _is_on(values: Mapping[str, Any], name: str) -> bool:
    other, wanted = _NEEDS.get(name, (name, values[name]))
    return values[other] == wanted and values[name] not in (None, "none", 0, 0.0)


def _show(value: Any) -> str:
    """Return a setting as it is typed; functions and fee schedules by their names."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))}{',' if len(value) == 1 else ''})"
    if hasattr(value, "kinds"):
        return f"FeeSchedule of {', '.join(kind.name for kind in value.kinds)}"
    return getattr(value, "__name__", repr(value)) if callable(value) else repr(value)
