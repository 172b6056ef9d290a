"""What the reference broker is told: rules and costs, in the units in which people write them."""

import dataclasses
from collections.abc import Sequence
from datetime import date
from math import inf, isfinite
from typing import Any, NamedTuple

LAST_DAY_TRADE_SESSION_PLUS_ONE = (date(2026, 6, 4) - date(1970, 1, 1)).days

CHOICES = {
    "action": ("discrete", "weights", "bands", "levels", "quotes"),
    "fill": ("next_open", "next_close", "same_close"),
    "order_type": ("market", "limit"),
    "sizing": ("fixed", "volatility", "atr"),
    "remainder": ("cancel", "carry"),
    "fee_rounding": ("none", "fill", "day"),
    "both_touched": ("pessimistic", "path", "target"),
    "day_trade_rule": ("none", "by_date", "pdt_2001"),
    "day_trade_mode": ("entry", "exit", "both"),
}


class FeeKind(NamedTuple):
    """One kind of fee, resolved for every bar.

    Attributes:
        unit: "notional" (the rate is a fraction of dollars traded) or "share" (dollars per share).
        sides: "sell" or "both".
        rates: T rates, one per bar.
        caps: T dollars that one fill pays at most; inf for none.
    """

    unit: str
    sides: str
    rates: Sequence[float]
    caps: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Rules and costs under the names of the simulator's configuration; None switches a rule off.

    Costs are 0 unless given. Beside the configuration there are `fees`, kinds resolved per bar; `sectors`, a group
    number per asset; and `day_trade_end`, the first session (days since 1970-01-01) without the day-trade rule, read
    with `day_trade_rule="by_date"`.

    Raises:
        ValueError: if a choice is unknown, a number is not finite, or costs leave no price above 0.
    """

    action: str = "discrete"
    decide_every: int | None = None
    initial_cash: float = 100_000.0

    fill: str = "next_open"
    order_type: str = "market"
    limit_offset_bps: float = 10.0
    buy_pct: float = 0.10
    max_position_pct: float = 0.25
    max_sector_pct: float | None = None
    sizing: str = "fixed"
    target_volatility: float = 0.20
    risk_pct: float = 0.01
    risk_atr: float = 2.0
    bars_per_year: float = 252.0
    drawdown_scaling: float | None = None
    no_trade_band: float | None = None
    min_order_cash: float = 1.0
    lot_size: float | None = None
    max_participation: float | None = None
    remainder: str = "cancel"
    min_holding_bars: int | None = None
    holding_binds_stops: bool = False
    max_trades_per_day: int | None = None

    spread_bps: float = 2.0
    tick_size: float | None = None
    slippage_bps: float = 0.0
    slippage_atr: float | None = None
    slippage_volatility: float | None = None
    slippage_noise: float | None = None
    impact: float | None = None
    fees: Sequence[FeeKind] = ()
    fee_rounding: str = "none"
    commission_bps: float = 0.0
    commission_per_share: float = 0.0
    commission_per_order: float = 0.0
    commission_min: float = 0.0

    stop_loss: float | None = 0.02
    take_profit: float | None = 0.04
    trailing_stop: float | None = None
    break_even: float | None = None
    stop_loss_atr: float | None = None
    take_profit_atr: float | None = None
    trailing_atr: float | None = None
    max_holding_bars: int | None = None
    drawdown_halt: float | None = None
    both_touched: str = "pessimistic"
    strict_targets: bool = False

    settlement_days: int = 0
    cash_rate: float | None = None
    day_trade_rule: str = "none"
    day_trade_mode: str = "entry"
    day_trade_equity: float = 25_000.0
    day_trade_end: int = LAST_DAY_TRADE_SESSION_PLUS_ONE
    delisting_recovery: float = 1.0
    ruin_pct: float = 0.1
    sectors: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {choices}.")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isfinite(value):
                raise ValueError(f"{field.name}={value} is not finite.")
        if not 0 <= self.spread_bps / 2 + self.slippage_bps < 1e4:
            message = f"spread_bps={self.spread_bps} and slippage_bps={self.slippage_bps} give no price above 0."
            raise ValueError(message)
        if self.max_sector_pct is not None and self.sectors is None:
            raise ValueError("max_sector_pct is given without sectors; give a group number per asset.")
        for kind in self.fees:
            if kind.unit not in ("notional", "share") or kind.sides not in ("sell", "both"):
                raise ValueError(f"A fee has unit={kind.unit!r}, sides={kind.sides!r}; see FeeKind.")


def fee_kind(unit: str, sides: str, rate: float, num_bars: int, cap: float = inf) -> FeeKind:
    """Return a kind whose rate never changes."""
    return FeeKind(unit, sides, [rate] * num_bars, [cap] * num_bars)


def zero_if_off(value: Any) -> float:
    """Return the number of a rule that only adds something, 0 where it is off."""
    return 0.0 if value is None else float(value)
