"""Make the golden traces of backtesting.py; see README.md for how to run this and for what they hold."""

import dataclasses
import math
import os
import warnings
from typing import Any

os.environ["BACKTESTING_NO_PROGRESS"] = "1"

import backtesting
import numpy as np
import pandas as pd
from bars import NUM_BARS, Bars, bars_of, decide, draw_bars, fills_in_order, write_json

CASH = 10_000.0
HEAD = {"engine": "backtesting.py", "version": backtesting.__version__, "numpy": np.__version__}
STOP, TARGET = 0.03, 0.05


@dataclasses.dataclass(frozen=True)
class Rules:
    """How the engine fills orders and what the strategy does to them; fractions, dollars and bars.

    `trailing`, wider than the stop, and `break_even` move the stop at each close; `longest` sells at the open of that
    age.
    """

    on_close: bool = False
    spread: float = 0.0
    fixed: float = 0.0
    relative: float = 0.0
    per_share: float = 0.0
    least: float = 0.0
    trailing: float | None = None
    break_even: float | None = None
    longest: int | None = None

    def fee(self, size: float, price: float) -> float:
        """Return the commission of a fill in dollars."""
        return max(self.fixed + abs(size) * (price * self.relative + self.per_share), self.least)


Plan = dict[int, tuple[str, float]]
"""By bar: ("buy", units) or ("close", portion of the position)."""


class Planned(backtesting.Strategy):
    """Send the orders of a plan, each buy with a stop and a target in proportion to the price it will pay.

    Sizes and levels are worked out from the price at which the order will fill: a plan is an input, not a strategy.

    Attributes:
        shares: units held at each close.
        weights: what asks the environment for the orders sent.
        timed: bars of the opens at which positions have reached their age.
        trails: bars before which the trailing level was above the stop.
    """

    plan: Plan
    rules: Rules
    adding = False

    def init(self) -> None:
        self.all_bars = {name.lower(): np.asarray(getattr(self.data, name)) for name in ("Open", "Close")}
        self.shares = np.zeros(len(self.data))
        self.weights: dict[tuple[int, int], float] = {}
        self.timed: set[int] = set()
        self.trails: set[int] = set()

    def next(self) -> None:
        bar = len(self.data) - 1
        self.shares[bar] = sum(trade.size for trade in self.trades)
        # Levels first: the engine looks at what was sent last before all else, and the open comes before the level.
        for trade in self.trades:
            self._move_stop(bar, trade)
        if self._grow_old(bar):
            return
        what, amount = self.plan.get(bar, ("", 0.0))
        if what:
            fill_price = self.all_bars["close"][bar] if self.rules.on_close else self.all_bars["open"][bar + 1]
            if what == "buy" and (self.adding or not self.trades):
                self._buy(bar, amount, fill_price * (1 + self.rules.spread))
            elif what == "close" and self.trades:
                self._close(bar, amount, fill_price)

    def _move_stop(self, bar: int, trade: Any) -> None:
        first, rules = trade.entry_price, self.rules
        highest = max(first, float(self.data.High[trade.entry_bar + (1 if rules.on_close else 0) :].max()))
        stop = first * (1 - STOP)
        if rules.break_even is not None and highest >= first * (1 + rules.break_even):
            stop = max(stop, first)
        if rules.trailing is not None and highest * (1 - rules.trailing) > stop:
            stop = highest * (1 - rules.trailing)
            self.trails.add(bar + 1)
        if stop != trade.sl:
            trade.sl = stop

    def _grow_old(self, bar: int) -> bool:
        old = (
            self.rules.longest is not None and self.trades and bar + 1 - self.trades[0].entry_bar >= self.rules.longest
        )
        if old and bar + 1 < len(self.all_bars["open"]):
            trade, first = self.trades[0], self.all_bars["open"][bar + 1]
            if trade.sl < first < trade.tp:  # else the level sells at that open too, and gives the fill its name
                self.timed.add(bar + 1)
            trade.close()
        return bool(old)

    def _buy(self, bar: int, units: float, paid: float) -> None:
        stop, target = paid * (1 - STOP), paid * (1 + TARGET)
        # The engine takes levels only if they lie on either side of the last close.
        if stop < self.data.Close[-1] * (1 + self.rules.spread) < target:
            self.buy(size=units, sl=stop, tp=target)
            held = self.shares[bar] * paid / (1 + self.rules.spread)
            # Half a share more than the order, which rounding down to whole shares takes off again.
            self.weights[bar, 0] = (held + (units + 0.5) * paid) / self.equity

    def _close(self, bar: int, portion: float, price: float) -> None:
        trade = self.trades[0]
        due_at_open = not self.rules.on_close and not trade.sl < price < trade.tp
        if due_at_open and not self.adding:
            return  # order and level at one open: the environment fills it all by the level, see README.md
        trade.close(portion)
        left = trade.size - max(1, round(trade.size * portion))
        self.weights[bar, 0] = max(left - 0.5, 0.0) * price / self.equity


def run(bars: Bars, plan: Plan, rules: Rules, **more: Any) -> tuple[Any, Any]:
    """Return the engine's statistics and strategy after it traded a plan on bars of one asset."""
    frame = pd.DataFrame(
        {name.capitalize(): x[:, 0] for name, x in bars.items()},
        index=pd.date_range("2020-01-01", periods=len(bars["open"])),
    )
    strategy = type("Run", (Planned,), {"plan": plan, "rules": rules} | more)
    backtest = backtesting.Backtest(
        frame, strategy, cash=CASH, spread=rules.spread, commission=rules.fee, trade_on_close=rules.on_close
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some trades remain open")
        statistics = backtest.run()
    return statistics, statistics._strategy


def read_fills(strategy: Any, bars: Bars, rules: Rules) -> list[list[Any]]:
    """Return each entry once and each exit, with the kind of the exit by its price."""
    fills: list[list[Any]] = []
    entries: dict[tuple[int, float], float] = {}
    for trade in (*strategy.closed_trades, *strategy.trades):
        entry = (trade.entry_bar, trade.entry_price)
        entries[entry] = entries.get(entry, 0) + trade.size
    for (bar, price), size in entries.items():
        fills.append([int(bar), 0, float(size), float(price), rules.fee(size, price), "order"])
    sales = {bar for bar, (what, _) in strategy.plan.items() if what == "close" and (bar, 0) in strategy.weights}
    for trade in strategy.closed_trades:
        bar, price, size = int(trade.exit_bar), float(trade.exit_price), float(trade.size)
        decided, market = (bar, "close") if rules.on_close else (bar - 1, "open")
        kind = "trailing" if bar in strategy.trails else "stop"
        kind = "target" if price >= trade.entry_price * (1 + TARGET) * (1 - 1e-12) else kind
        if bar in strategy.timed:
            kind = "time"
        elif decided in sales and price == bars[market][bar, 0]:
            kind = "order"
            sales.remove(decided)  # what else leaves at this price is not the order's doing
        fills.append([bar, 0, -size, price, rules.fee(size, price), kind])
    return fills_in_order(fills)


def account(rules: Rules) -> dict[str, Any]:
    """Return the settings of the environment that mean the same; of the spread, one side is what the entry pays."""
    optional = {
        "trailing_stop": rules.trailing,
        "break_even": rules.break_even,
        "max_holding_bars": rules.longest,
    }
    return {
        "fill": "same_close" if rules.on_close else "next_open",
        "initial_cash": CASH,
        "spread_bps": 2 * rules.spread * 1e4,
        "commission_bps": rules.relative * 1e4,
        "commission_per_share": rules.per_share,
        "commission_per_order": rules.fixed,
        "commission_min": rules.least,
        "stop_loss": STOP,
        "take_profit": TARGET,
        "lot_size": 1.0,
    } | {name: value for name, value in optional.items() if value is not None}


def draw_plan(seed: int) -> Plan:
    """Draw buys of 4 to 20 units and sales of half or all."""
    rng = np.random.default_rng([seed, 1])
    plan: Plan = {}
    for bar in range(1, NUM_BARS - 1):
        draw = rng.random()
        if draw < 0.6:
            plan[bar] = ("buy", float(rng.integers(4, 21)))
        elif draw < 0.75:
            plan[bar] = ("close", float(rng.choice([0.5, 1.0])))
    return plan


def trace(bars: Bars, seed: int, rules: Rules) -> dict[str, Any]:
    """Trade a plan; buys after which rules differ are left out, and the engine is run anew."""
    plan = draw_plan(seed)
    while True:
        statistics, strategy = run(bars, plan, rules)
        fills = read_fills(strategy, bars, rules)
        wrong = disagreements(fills, bars, rules)
        if not wrong:
            break
        for bar in wrong:
            del plan[bar]
    equity = statistics["_equity_curve"]["Equity"].to_numpy()
    shares = strategy.shares[:, None]
    names = {"trade_on_close": rules.on_close, "spread": rules.spread}
    return {
        "account": account(rules),
        "settings": names | {"events": count_events(fills, bars)},
        "actions": decide(strategy.weights),
        "equity": equity,
        "cash": equity - shares[:, 0] * bars["close"][:, 0],
        "shares": shares,
        "fills": fills,
    }


def disagreements(fills: list[list[Any]], bars: Bars, rules: Rules) -> list[int]:
    """Return the bars at which buys were decided that end in a stop although the bar opened beyond the target."""
    found, entry, cost = [], 0, math.nan
    for bar, _, signed, price, _, kind in fills:
        if signed > 0:
            entry, cost = (bar if rules.on_close else bar - 1), price
        elif kind in ("stop", "trailing") and bars["open"][bar, 0] >= cost * (1 + TARGET):
            found.append(entry)
    return found


def count_events(fills: list[list[Any]], bars: Bars) -> dict[str, int]:
    """Count what happened to positions, so that a trace that shows little is noticed."""
    counts, entry, cost = dict.fromkeys(("gap_target", "gap_stop", "both_touched", "entry_bar"), 0), 0, math.nan
    for bar, _, signed, price, _, kind in fills:
        if signed > 0:
            entry, cost = bar, price
            continue
        first, high = bars["open"][bar, 0], bars["high"][bar, 0]
        counts[kind] = counts.get(kind, 0) + 1
        if kind in ("order", "time"):
            continue
        gapped = price == first
        counts["gap_target" if kind == "target" else "gap_stop"] += int(gapped)
        counts["both_touched"] += int(not gapped and kind != "target" and high >= cost * (1 + TARGET))
        counts["entry_bar"] += int(bar == entry)
    return counts


def small(rows: list[tuple[float, float, float, float]], plan: Plan, rules: Rules, **more: Any) -> dict[str, Any]:
    """Trade a plan on bars written by hand."""
    bars = bars_of(rows)
    _, strategy = run(bars, plan, rules, adding=True, **more)
    fills = read_fills(strategy, bars, rules)
    return {"bars": bars, "account": account(rules), "actions": decide(strategy.weights), "fills": fills}


FLAT = (100.0, 100.0, 100.0, 100.0)


def difference_traces() -> None:
    """One small trace for each rule that differs."""
    gap = (95.0, 96.0, 94.0, 95.0)
    warnings.filterwarnings("ignore", message=".*Broker canceled the order")
    high, low = (103.0, 103.0, 103.0, 103.0), (101.0, 101.0, 99.5, 100.0)
    traces = {
        "open_beyond_target_low_at_stop": small(
            [FLAT] * 3 + [(106.0, 107.0, 96.0, 100.0), FLAT], {1: ("buy", 10.0)}, Rules()
        ),
        "spread_wider_than_the_stop": small([FLAT] * 4, {1: ("buy", 10.0)}, Rules(spread=0.05)),
        "each_buy_has_its_levels": small(
            [FLAT] * 2 + [FLAT, high, high, low, low], {1: ("buy", 10.0), 3: ("buy", 10.0)}, Rules()
        ),
        "order_at_an_open_beyond_the_stop": small(
            [FLAT] * 4 + [gap, gap], {1: ("buy", 10.0), 3: ("close", 0.5)}, Rules(fixed=1.0)
        ),
        "buy_at_the_open_of_an_exit": small(
            [FLAT] * 4 + [(96.5, 98.0, 96.5, 98.0)] * 2, {1: ("buy", 10.0), 3: ("buy", 5.0)}, Rules()
        ),
        "commission_beyond_the_cash": small(
            [(100.035,) * 4] * 4, {1: ("buy", 98.0)}, Rules(spread=0.01, relative=0.01)
        ),
        "cash_short": small([FLAT, FLAT, (102.0,) * 4, (102.0,) * 4], {1: ("buy", 97.0)}, Rules(fixed=200.0)),
    }
    write_json("backtesting_differences", HEAD | {"traces": traces})


def full_traces() -> None:
    """Fills at the next open and at the close; rules that move stops; and a spread, of which only entries agree."""
    bars = draw_bars(23, 1)
    traces = {
        "next_open": trace(bars, 1, Rules(fixed=1.0, relative=1e-3)),
        "same_close": trace(bars, 2, Rules(on_close=True, fixed=1.0, relative=1e-3)),
        "trailing_next_open": trace(bars, 4, Rules(trailing=0.035, relative=1e-3)),
        "break_even_and_time_next_open": trace(bars, 5, Rules(break_even=0.02, longest=3, relative=1e-3)),
        "minimum_commission_next_open": trace(bars, 6, Rules(per_share=0.1, least=1.0)),
        "spread_next_open": trace(bars, 3, Rules(spread=1e-3)),
    }
    write_json("backtesting", HEAD | {"seed": 23, "bars": bars, "traces": traces})


if __name__ == "__main__":
    full_traces()
    difference_traces()
