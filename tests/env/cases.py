"""Combinations of the broker's rules, each a program of its own, in which every two choices meet."""

import dataclasses
from typing import Any

from ploutos_jax.env.broker.fees import FeeKind, FeeSchedule
from ploutos_jax.env.config import EnvConfig
from tests.env.covering import cover_pairs
from tests.env.worlds import NUM_BARS, make_config

KINDS = (
    FeeKind("dollars", "notional", "both", (("2019-01-01", 1e-5, 1.0),)),
    FeeKind("shares sold", "share", "sell", (("2019-01-01", 1e-5, 1.0),)),
    FeeKind("dollars sold", "notional", "sell", (("2019-01-01", 1e-5, None),)),
)
"""Kinds of fees; their rates, and the caps of those that have one, are drawn."""


def _fees(rounding: str) -> dict[str, Any]:
    return {"fees": FeeSchedule(KINDS, rounding), "fee_rounding": rounding}  # type: ignore[arg-type]


OFF: dict[str, Any] = {}

RULES: dict[str, dict[str, dict[str, Any]]] = {
    "action": {name: OFF for name in ("discrete", "weights", "weights+cash", "bands", "levels")},
    "decisions": {"free": OFF, "third": {"decide_every": 3}},
    "world": {"daily": OFF, "intraday": OFF, "plain": OFF},
    "fill": {name: {"fill": name} for name in ("next_open", "next_close", "same_close")},
    "sizing": {name: {"sizing": name} for name in ("fixed", "volatility", "atr")},
    "sectors": {"free": OFF, "limited": {"max_sector_pct": 0.5}},
    "drawdown": {"free": OFF, "scaled": {"drawdown_scaling": 0.5}},
    "band": {"none": OFF, "band": {"no_trade_band": 0.01}},
    "lots": {"none": OFF, "lots": {"lot_size": 1.0}},
    "volume": {
        "free": OFF,
        "cancel": {"max_participation": 0.1},
        "carry": {"max_participation": 0.1, "remainder": "carry"},
    },
    "holding": {
        "free": OFF,
        "orders": {"min_holding_bars": 2},
        "exits too": {"min_holding_bars": 2, "holding_binds_stops": True},
    },
    "trades": {"free": OFF, "two": {"max_trades_per_day": 2}, "nine": {"max_trades_per_day": 9}},
    "tick": {"none": {"tick_size": None}, "tick": {"tick_size": 0.01}},
    "slippage_atr": {"none": OFF, "atr": {"slippage_atr": 0.1}},
    "slippage_volatility": {"none": OFF, "volatility": {"slippage_volatility": 0.1}},
    "slippage_noise": {"none": OFF, "noise": {"slippage_noise": 0.5}},
    "impact": {"none": OFF, "impact": {"impact": 1.0}},
    "fees": {"none": {"fees": "none"}, "exact": _fees("none"), "by fill": _fees("fill"), "by day": _fees("day")},
    "stop": {"none": {"stop_loss": None}, "stop": {"stop_loss": 0.02}},
    "target": {"none": {"take_profit": None}, "target": {"take_profit": 0.04}},
    "trailing": {"none": OFF, "trailing": {"trailing_stop": 0.05}},
    "break even": {"none": OFF, "break even": {"break_even": 0.02}},
    "stop atr": {"none": OFF, "stop atr": {"stop_loss_atr": 2.0}},
    "target atr": {"none": OFF, "target atr": {"take_profit_atr": 3.0}},
    "trailing atr": {"none": OFF, "trailing atr": {"trailing_atr": 2.0}},
    "time": {"none": OFF, "time": {"max_holding_bars": 10}},
    "halt": {"none": OFF, "halt": {"drawdown_halt": 0.2}},
    "both": {name: {"both_touched": name} for name in ("pessimistic", "path", "target")},
    "strict": {"touched": OFF, "strict": {"strict_targets": True}},
    "settlement": {str(days): {"settlement_days": days} for days in (0, 1, 2)},
    "interest": {"none": OFF, "interest": {"cash_rate": 0.05}},
    "day trades": {name: {"day_trade_rule": name} for name in ("none", "by_date", "pdt_2001")},
    "day mode": {name: {"day_trade_mode": name} for name in ("entry", "exit", "both")},
}
"""The choices of each rule, and the settings that they stand for; the numbers in them are drawn anew."""


RESTING = {"fill": "next_open", "order_type": "limit"}
"""Settings of the choice `limit` of "fill", which stands in `LIMIT_CASES` alone: it does not go with all others."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One compiled program: a choice for each rule of `RULES`."""

    number: int
    chosen: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        off = ("none", "free", "daily", "0", "touched")
        return f"{self.number:02d}-" + ",".join(choice for _, choice in self.chosen if choice not in off)

    def __getitem__(self, rule: str) -> str:
        return dict(self.chosen)[rule]

    @property
    def config(self) -> EnvConfig:
        settings: dict[str, Any] = {}
        for rule, choice in self.chosen:
            settings |= RESTING if (rule, choice) == ("fill", "limit") else RULES[rule][choice]
        return make_config(self["action"], NUM_BARS, **settings)


USUAL = {
    "action": "discrete", "decisions": "free", "world": "daily", "fill": "next_open", "sizing": "fixed",
    "sectors": "free",
    "drawdown": "free", "band": "none", "lots": "none", "volume": "free", "holding": "free", "trades": "free",
    "tick": "tick", "slippage_atr": "none", "slippage_volatility": "none", "slippage_noise": "none", "impact": "none",
    "fees": "by day", "stop": "stop", "target": "target", "trailing": "none", "break even": "none",
    "stop atr": "none", "target atr": "none", "trailing atr": "none", "time": "none", "halt": "none",
    "both": "pessimistic", "strict": "touched", "settlement": "0", "interest": "none", "day trades": "by_date",
    "day mode": "entry",
}  # fmt: skip
"""The rules of an `EnvConfig()`."""

COMBINATIONS = [USUAL, *cover_pairs({rule: list(choices) for rule, choices in RULES.items()}, at_least=30)]

CASES = [Case(number, tuple(combination.items())) for number, combination in enumerate(COMBINATIONS)]
"""The usual rules, and combinations in which every two choices meet."""

LIMIT_CASES = [
    Case(
        100 + case.number,
        tuple(
            (
                dict(case.chosen)
                | {"fill": "limit"}
                | ({"volume": "cancel"} if "carry" in dict(case.chosen).values() else {})
            ).items()
        ),
    )
    for case in CASES
]
"""The same with limit orders, which are not carried on."""
