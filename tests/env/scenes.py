"""Small markets written down bar by bar, for cases worked out by hand.

Two assets, eight bars. The agent acts at the close of bars 0, 1, ...; step i of a result describes bar i + 1. Unless a
test says otherwise there are no costs, no exits and no limits, and a buy takes 10 % of 100,000.
"""

from typing import Any

import jax
import numpy as np
import pytest

from ploutos_jax.env.types import REASON_NAMES
from ploutos_jax.market.panel import SCALES
from tests.env.worlds import Trace, make_config, make_market, simulate

NUM_BARS = 8
FLAT = (100.0, 100.0, 100.0, 100.0)
BUY_ONE, SELL_ONE, SELL_BOTH, BUY_BOTH, WAIT = [1, 0], [2, 0], [2, 2], [1, 1], [0, 0]

SEC, TAF, CAT = range(3)
"""Places of the fees of the schedule."""

EVERY_RULE: dict[str, Any] = {
    "max_sector_pct": 1.0,
    "drawdown_scaling": 0.5,
    "no_trade_band": 0.01,
    "max_participation": 0.1,
    "min_holding_bars": 1,
    "max_trades_per_day": 100,
    "slippage_atr": 0.1,
    "slippage_volatility": 0.1,
    "slippage_noise": 0.1,
    "impact": 1.0,
    "fee_rounding": "none",
    "trailing_stop": 0.05,
    "break_even": 0.02,
    "stop_loss_atr": 2.0,
    "take_profit_atr": 3.0,
    "trailing_atr": 2.0,
    "max_holding_bars": 10,
    "drawdown_halt": 0.2,
    "cash_rate": 0.05,
    "day_trade_rule": "pdt_2001",
}
"""Settings with every rule on: one compiled program for all tests, which turn rules off by their numbers."""

INERT: dict[str, Any] = {
    "max_sector_pct": 1e9,
    "sector_members": np.eye(2),
    "drawdown_scaling": 1e18,
    "no_trade_band": 0.0,
    "max_participation": 1e9,
    "min_holding_bars": 0,
    "spread": 0.0,
    "tick_size": 0.0,
    "slippage": 0.0,
    "slippage_atr": 0.0,
    "slippage_volatility": 0.0,
    "slippage_noise": 0.0,
    "impact": 0.0,
    "fee_rates": np.zeros((3, NUM_BARS)),
    "fee_caps": np.full((3, NUM_BARS), np.inf),
    "stop_loss": 1.0,
    "take_profit": 1e9,
    "trailing_stop": 1.0,
    "break_even": 1e9,
    "stop_loss_atr": 1e9,
    "take_profit_atr": 1e9,
    "trailing_atr": 1e9,
    "max_holding_bars": 1000,
    "drawdown_halt": 1e9,
    "cash_rate": 0.0,
    "day_trade_equity_cash": 0.0,
}
"""Numbers with which no rule does anything."""

Bars = list[tuple[float, float, float, float]]


def trade(
    bars: Bars,
    actions: list[Any],
    *,
    other: Bars | None = None,
    compiled: dict[str, Any] | None = None,
    noise: float = 0.0,
    sessions: list[int] | None = None,
    known: dict[str, Any] | None = None,
    features: np.ndarray | None = None,
    kind: str | None = None,
    **given: Any,
) -> Trace:
    """Trade bars (open, high, low, close) of one asset, with a second one beside it that stays at 100.

    Bars and actions that are not given repeat the last bar and hold. Arrays of the result are `[S, ...]`.

    Args:
        bars: of the first asset.
        actions: of both assets, one entry per step.
        other: bars of the second asset.
        compiled: settings that need a program of their own: with them, no rule is on but those and the fixed stop and
            target, and there are no fees.
        noise: the standard normal number of every fill.
        sessions: of the eight bars, counted from the first; each bar is one of its own if not given.
        known: `volume`, `atr`, `volatility`, `adv` of the market, `spread_scale`, `impact_scale`, one number or an
            array `[8, 2]`.
        features: `[8, 2, 2]`.
        kind: of the actions; without it integers are discrete, pairs of numbers are bands, others weights.
        given: numbers by their name in `EnvParams`; for `tradable`, `buyable`, `split`, `delisted` and `dividend` the
            exceptions by (bar, asset).
    """
    if kind is None:
        given_actions = np.asarray(actions)
        kind = "discrete" if given_actions.dtype.kind == "i" else "weights" if given_actions.ndim == 2 else "bands"
    is_choice = kind in ("discrete", "levels")
    rows = [bars + bars[-1:] * (NUM_BARS - len(bars)), (other or []) + [FLAT] * (NUM_BARS - len(other or []))]
    prices = dict(zip(("open", "high", "low", "close"), np.array(rows).transpose(2, 1, 0), strict=True))
    shape = (NUM_BARS, 2)
    fields: dict[str, Any] = {
        "tradable": np.ones(shape, bool),
        "buyable": np.ones(shape, bool),
        "delisted": np.zeros(shape, bool),
        "split": np.ones(shape),
        "dividend": np.zeros(shape),
        **{name: np.ones(shape) for name in SCALES},
    }
    for name in ("tradable", "buyable", "delisted", "split", "dividend"):
        for place, value in given.pop(name, {}).items():
            fields[name][place] = value
    fields |= {name: np.broadcast_to(np.asarray(value, float), shape).copy() for name, value in (known or {}).items()}
    if features is not None:
        fields["features"] = features
    if sessions is not None:
        fields["sessions"] = np.array(sessions, np.int32) + 18_000
    hold = np.array(WAIT) if is_choice else np.full((2, 2) if kind == "bands" else 2, np.nan)
    steps = np.stack([*np.array(actions), *[hold] * (NUM_BARS - 1 - len(actions))])[:, None]
    steps = steps.astype(np.int32 if is_choice else np.float64)
    market = make_market(prices, np.float64, **fields)
    settings = EVERY_RULE if compiled is None else {"fees": "none", "tick_size": None} | compiled
    config = make_config(kind, NUM_BARS, **settings)
    numbers = np.full((NUM_BARS - 1, 1, 2), noise) if config.slippage_noise is not None else None
    inert = {name: value for name, value in INERT.items() if compiled is None or name != "sector_members"}
    trace = simulate(config, market, inert | given, steps, numbers)
    return jax.tree.map(lambda x: x[:, 0], trace)


def fills(trace: Trace, step: int, asset: int = 0) -> list[tuple[float, float]]:
    """Return (shares, price) of each fill of an asset in one step."""
    return [(f.shares[step, asset], f.price[step, asset]) for f in trace.info["fills"] if f.shares[step, asset]]


def reasons(trace: Trace, step: int, asset: int = 0) -> list[str]:
    """Return the reason of each fill of an asset in one step."""
    return [REASON_NAMES[f.reason[step, asset]] for f in trace.info["fills"] if f.shares[step, asset]]


def fees(trace: Trace, step: int, asset: int = 0) -> float:
    """Return the dollars of fees of an asset in one step, rounding up at the day's end not included."""
    return sum(f.fee_cash[step, asset] for f in trace.info["fills"])


def near(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)
