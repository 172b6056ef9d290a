"""Running vectorbt on bars, and putting what it did into the terms of a trace."""

import dataclasses
from typing import Any

import numpy as np
import vectorbt
from bars import Bars, decide, fills_in_order

CASH = 100_000.0

FILL_PRICE = {"next_open": "open", "next_close": "close", "same_close": "close"}
"""The price at which orders fill, by the environment's `fill`; the first two fill in the bar after the decision."""


@dataclasses.dataclass(frozen=True)
class Costs:
    """Costs of every order, in the terms of the engine (fractions and dollars)."""

    fees: float = 0.0
    fixed_fees: float = 0.0
    slippage: float = 0.0


@dataclasses.dataclass(frozen=True)
class Exits:
    """`[T, A]` distances of stop and target from the fill price, as fractions, by the bar of the entry's fill."""

    stop: np.ndarray
    target: np.ndarray
    trailing: bool = False


@dataclasses.dataclass(frozen=True)
class Position:
    """A closed position: the bar of its entry, and its levels in the bar of its exit."""

    entry: int
    level: float
    target: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What the engine did: `[T]` equity and cash, `[T, A]` shares, and its orders as rows of a fill."""

    equity: np.ndarray
    cash: np.ndarray
    shares: np.ndarray
    fills: list[list[Any]]


def read(portfolio: Any) -> Result:
    """Take equity, cash, shares and fills from a portfolio of one group; the kind of each fill is still "order"."""
    records = portfolio.orders.records
    fills = []
    for bar, asset, side, size, price, fee in records[["idx", "col", "side", "size", "price", "fees"]].to_numpy():
        fills.append([int(bar), int(asset), float(size if side == 0 else -size), float(price), float(fee), "order"])
    return Result(
        portfolio.value().to_numpy().ravel(),
        portfolio.cash().to_numpy().ravel(),
        portfolio.assets().to_numpy(),
        fills_in_order(fills),
    )


def run_orders(bars: Bars, targets: np.ndarray, costs: Costs, fill: str, **settings: Any) -> Result:
    """Trade `[T, A]` target shares of equity (NaN = none) in their bar, with one cash for all."""
    return read(
        vectorbt.Portfolio.from_orders(
            bars["close"],
            size=targets,
            size_type="targetpercent",
            price=bars[FILL_PRICE[fill]],
            direction="longonly",
            init_cash=CASH,
            group_by=True,
            cash_sharing=True,
            call_seq="auto",
            engine="numba",
            **vars(costs),
            **settings,
        )
    )


def run_signals(
    bars: Bars,
    entries: np.ndarray,
    leave: np.ndarray,
    shares: np.ndarray,
    costs: Costs,
    exits: Exits,
    fill: str,
    **settings: Any,
) -> Result:
    """Buy `[T, A]` `shares` where `entries` says so and sell all where `leave` does, with a stop and a target."""
    return read(
        vectorbt.Portfolio.from_signals(
            bars["close"],
            entries=entries,
            exits=leave,
            size=shares,
            size_type="amount",
            price=bars[FILL_PRICE[fill]],
            direction="longonly",
            open=bars["open"],
            high=bars["high"],
            low=bars["low"],
            sl_stop=exits.stop,
            sl_trail=exits.trailing,
            tp_stop=exits.target,
            stop_entry_price="fillprice",
            init_cash=CASH,
            group_by=True,
            cash_sharing=True,
            call_seq="auto",
            engine="numba",
            **vars(costs),
            **settings,
        )
    )


def account(fill: str, costs: Costs, **rules: float) -> dict[str, Any]:
    """Return the settings of the environment that mean the same."""
    return {
        "fill": fill,
        "initial_cash": CASH,
        "slippage_bps": costs.slippage * 1e4,
        "commission_bps": costs.fees * 1e4,
        "commission_per_order": costs.fixed_fees,
    } | rules


def trace(result: Result, rules: dict[str, Any], settings: dict[str, Any], actions: list[list[Any]]) -> dict[str, Any]:
    """Return a trace as it is kept. Equity, cash and shares hold all fills of the bar, those at its close too."""
    return {"account": rules, "settings": settings, "actions": actions} | {
        "equity": result.equity,
        "cash": result.cash,
        "shares": result.shares,
        "fills": result.fills,
    }


def check_cash(result: Result) -> None:
    """Refuse a trace in which an order may have been cut for lack of cash."""
    if (result.cash < 0.03 * result.equity).any():
        raise ValueError("Cash runs short; draw smaller targets: with too little cash the engines differ.")


def weights_of_fills(result: Result, bars: Bars, fill: str) -> list[list[Any]]:
    """Return the weights that ask for the orders the engine filled, whatever it computed them from."""
    weights = {}
    for bar, asset, signed, paid, _, kind in result.fills:
        if kind != "order":
            continue
        market, after = bars[FILL_PRICE[fill]][bar, asset], result.shares[bar, asset]
        # The environment sizes buys at the price they pay, and measures sales and holdings at the market.
        value = (after - signed) * market + signed * paid if signed > 0 else after * market
        decided = bar if fill == "same_close" else bar - 1
        weights[decided, asset] = value / _equity_decided_on(result, bars, bar, fill)
    return decide(weights)


def _equity_decided_on(result: Result, bars: Bars, bar: int, fill: str) -> float:
    """Return the equity at the close at which the orders that fill in `bar` were decided, before these orders."""
    if fill != "same_close":
        return float(result.equity[bar - 1])
    orders = [f for f in result.fills if f[0] == bar and f[5] == "order"]
    return float(result.equity[bar]) + sum(f[4] + (f[3] - bars["close"][bar, f[1]]) * f[2] for f in orders)


def find_positions(result: Result, bars: Bars, exits: Exits) -> dict[tuple[int, int], Position]:
    """Return the closed positions by (bar of the exit, asset)."""
    opened: dict[int, tuple[int, float]] = {}
    positions = {}
    for bar, asset, signed, paid, _, _ in result.fills:
        if signed > 0:
            opened[asset] = (bar, paid)
            continue
        entry, cost = opened.pop(asset)
        highest = max(cost, bars["high"][entry + 1 : bar, asset].max(initial=0)) if exits.trailing else cost
        level, target = highest * (1 - exits.stop[entry, asset]), cost * (1 + exits.target[entry, asset])
        positions[bar, asset] = Position(entry, level, target)
    return positions


def name_exits(
    result: Result,
    positions: dict[tuple[int, int], Position],
    bars: Bars,
    trailing: bool,
    leave: np.ndarray,
    slippage: float,
    fill: str,
) -> None:
    """Write the kind of each sale into its fill: ordered if it is priced like an order and nothing else was due."""
    for row in result.fills:
        bar, asset, signed, paid = row[:4]
        if signed > 0:
            continue
        position, first = positions[bar, asset], bars["open"][bar, asset]
        due_at_open = fill == "next_open" and not position.level < first < position.target
        ordered = paid == bars[FILL_PRICE[fill]][bar, asset] * (1 - slippage)
        if leave[bar, asset] and ordered and not due_at_open:
            continue
        limit = paid >= position.target * (1 - slippage) * (1 - 1e-12)
        row[5] = "target" if limit else "trailing" if trailing else "stop"


def disagreements(
    result: Result, positions: dict[tuple[int, int], Position], bars: Bars, exits: Exits, fill: str
) -> list[tuple[int, int]]:
    """Return the (bar, asset) of entries after which the engines' rules are known to differ; see README.md."""
    found = []
    for bar, asset, signed, paid, _, kind in result.fills:
        first, high, low = (bars[name][bar, asset] for name in ("open", "high", "low"))
        if signed > 0:
            inside = paid * (1 - exits.stop[bar, asset]) < low and high < paid * (1 + exits.target[bar, asset])
            if fill == "next_open" and not inside:
                found.append((bar, asset))
        elif kind in ("stop", "trailing") and first >= positions[bar, asset].target:
            found.append((positions[bar, asset].entry, asset))
    return found


def count_events(result: Result, positions: dict[tuple[int, int], Position], bars: Bars) -> dict[str, int]:
    """Count what happened to positions, so that a trace that shows little is noticed."""
    counts = dict.fromkeys(("gap_stop", "gap_target", "inside_stop", "inside_target", "both_touched", "sold"), 0)
    for bar, asset, signed, _, _, kind in result.fills:
        if signed > 0:
            continue
        if kind == "order":
            counts["sold"] += 1
            continue
        position, first = positions[bar, asset], bars["open"][bar, asset]
        side = "target" if kind == "target" else "stop"
        gapped = first >= position.target if side == "target" else first <= position.level
        counts[f"{'gap' if gapped else 'inside'}_{side}"] += 1
        reached = bars["high"][bar, asset] >= position.target and bars["low"][bar, asset] <= position.level
        counts["both_touched"] += int(reached and not gapped)
    return counts
