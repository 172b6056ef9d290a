"""Make the golden traces of vectorbt; see README.md for how to run this and for what they hold."""

from typing import Any

import numpy as np
import vectorbt
from bars import Bars, bars_of, decide, draw_bars, write_json
from vectorbt.portfolio.enums import StopExitPrice
from vectorbt_runs import (
    CASH,
    FILL_PRICE,
    Costs,
    Exits,
    Position,
    Result,
    account,
    check_cash,
    count_events,
    disagreements,
    find_positions,
    name_exits,
    run_orders,
    run_signals,
    trace,
    weights_of_fills,
)

HEAD = {"engine": "vectorbt", "version": vectorbt.__version__, "numpy": np.__version__}
BUY_SHARE = 0.15
"""What a discrete buy spends of equity."""

TARGETS = {"method": "from_orders", "size_type": "targetpercent", "call_seq": "auto", "cash_sharing": True}


def draw_targets(seed: int, num_bars: int, num_assets: int) -> np.ndarray:
    """Draw target shares of equity that always leave cash: NaN for most bars, 0 for some."""
    rng = np.random.default_rng([seed, 1])
    shape = (num_bars, num_assets)
    targets = np.where(rng.random(shape) < 0.2, 0.0, rng.uniform(0.02, 0.8 / num_assets, shape))
    targets[rng.random(shape) > 0.2] = np.nan
    targets[[0, -1]] = np.nan
    return targets


def draw_turns(seed: int, num_bars: int, num_assets: int) -> np.ndarray:
    """Draw targets that take turns in each asset: a share of equity when flat, 0 when held."""
    rng = np.random.default_rng([seed, 4])
    targets = np.full((num_bars, num_assets), np.nan)
    for asset in range(num_assets):
        bars = np.flatnonzero(rng.random(num_bars - 2) < 0.15) + 1
        targets[bars, asset] = np.where(np.arange(len(bars)) % 2, 0.0, BUY_SHARE)
    return targets


def decided(targets: np.ndarray, bars_before: int) -> list[list[Any]]:
    """Return targets as weights decided so many bars before they fill."""
    return decide({(int(t) - bars_before, int(a)): targets[t, a] for t, a in np.argwhere(~np.isnan(targets))})


def order_traces() -> None:
    """Target percents of one shared cash account: at the close decided on, and at the next open and close with costs.

    For the latter, an infinite valuation price of negative sign means the close before: the equity of the decision.
    """
    bars = draw_bars(11, 3)
    targets = draw_targets(11, *bars["close"].shape)
    fees, costs = Costs(fees=1e-3), Costs(fees=1e-3, fixed_fees=0.5, slippage=5e-4)
    same = run_orders(bars, targets, fees, "same_close")
    check_cash(same)
    rules = account("same_close", fees)
    traces = {"target_percent_same_close": trace(same, rules, TARGETS | {"price": "close"}, decided(targets, 0))}
    for fill in ("next_open", "next_close"):
        result = run_orders(bars, targets, costs, fill, val_price=-np.inf)
        check_cash(result)
        settings = TARGETS | {"price": FILL_PRICE[fill], "val_price": "-inf", "weights": "from the fills"}
        weights = weights_of_fills(result, bars, fill)
        traces[f"target_percent_{fill}"] = trace(result, account(fill, costs), settings, weights)
    write_json("vectorbt_orders", HEAD | {"seed": 11, "bars": bars, "traces": traces})


def continuous_traces() -> None:
    """Target percents at the open of bars that open where the last one closed: weights mean the same without help."""
    bars, fees = draw_bars(17, 3, gaps=False), Costs(fees=1e-3, fixed_fees=0.5)
    targets, settings = draw_targets(17, *bars["close"].shape), TARGETS | {"price": "open", "val_price": "inf"}
    result = run_orders(bars, targets, fees, "next_open")
    rng = np.random.default_rng([17, 3])
    bars["volume"] = rng.uniform(200, 4_000, bars["close"].shape).round()
    turns = draw_turns(17, *bars["close"].shape)
    whole = run_orders(bars, turns, fees, "next_open")
    capped = run_orders(bars, targets, fees, "next_open", max_size=0.1 * bars["volume"])
    for each in (result, capped, whole):
        check_cash(each)
    binds = np.isin([abs(fill[2]) for fill in capped.fills], 0.1 * bars["volume"])
    if not 0.2 < binds.mean() < 0.8:
        raise ValueError(f"The volume cap cuts {binds.mean():.0%} of the fills; draw volumes of which about half cut.")
    traces = {
        "continuous": trace(result, account("next_open", fees), settings, decided(targets, 1)),
        "volume_cap": trace(
            capped,
            account("next_open", fees, max_participation=0.1),
            settings | {"max_size": "0.1 * volume", "share_of_fills_cut": float(binds.mean())},
            decided(targets, 1),
        ),
        "discrete": trace(
            whole,
            account("next_open", fees, buy_pct=BUY_SHARE) | {"action": "discrete"},
            settings,
            [[bar, asset, 1 if share else 2] for bar, asset, share in decided(turns, 1)],
        ),
    }
    write_json("vectorbt_continuous", HEAD | {"seed": 17, "bars": bars, "traces": traces})


def whole_share_traces() -> None:
    """Target percents in whole shares, of one asset."""
    bars, fees = draw_bars(19, 1, gaps=False), Costs(fees=1e-3, fixed_fees=0.5)
    targets = draw_targets(19, *bars["close"].shape)
    result = run_orders(bars, targets, fees, "next_open", size_granularity=1.0)
    check_cash(result)
    settings = TARGETS | {"price": "open", "val_price": "inf", "size_granularity": 1.0}
    kept = trace(result, account("next_open", fees, lot_size=1.0), settings, decided(targets, 1))
    write_json("vectorbt_whole_shares", HEAD | {"seed": 19, "bars": bars, "traces": {"whole_shares": kept}})


def stop_trace(bars: Bars, seed: int, costs: Costs, fill: str, atr: bool = False, **rules: float) -> dict[str, Any]:
    """Trade random signals with stops as market orders and targets as limit orders.

    The engine knows one kind of exit order for both, per bar and asset: it is run again with limit orders where the
    first run sold at a target. Entries after which rules differ are left out, and the engine is run anew. At last it is
    given entries in bars of stops and targets, which it does not take, and the environment the like.
    """
    rng = np.random.default_rng([seed, 2])
    shape = bars["close"].shape
    entries, leave = rng.random(shape) < 0.15, rng.random(shape) < 0.08
    entries[[0, -1]] = leave[[0, -1]] = False
    shares = CASH / shape[1] / bars["close"][0] * rng.uniform(0.1, 0.7, shape)
    exits = read_exits(bars, fill, atr, rules)
    market = np.full(shape, StopExitPrice.StopMarket)
    while True:
        kinds = market.copy()
        for _ in range(2):
            result = run_signals(bars, entries, leave, shares, costs, exits, fill, stop_exit_price=kinds)
            positions = find_positions(result, bars, exits)
            name_exits(result, positions, bars, exits.trailing, leave, costs.slippage, fill)
            kinds = market.copy()
            for row in result.fills:
                if row[5] == "target":
                    kinds[row[0], row[1]] = StopExitPrice.StopLimit
        wrong = disagreements(result, positions, bars, exits, fill)
        if not wrong:
            break
        for place in wrong:
            entries[place] = False
    check_cash(result)
    refused = refused_entries(result, positions, bars, fill)
    for place in refused:
        entries[place] = True
    again = run_signals(bars, entries, leave, shares, costs, exits, fill, stop_exit_price=kinds)
    if [row[:5] for row in again.fills] != [row[:5] for row in result.fills]:
        raise ValueError("A signal in a bar of a stop or target changed a fill; the engine takes none there.")
    weights = weights_of_fills(result, bars, fill) + [[bar - 1, asset, 0.1] for bar, asset in refused]
    settings = {"method": "from_signals", "price": FILL_PRICE[fill], "stop_entry_price": "fillprice"} | {
        "stop_exit_price": "stopmarket for stops, stoplimit for targets",
        "events": count_events(result, positions, bars),
        "refused": len(refused),
    }
    return trace(result, account(fill, costs, **rules), settings, sorted(weights))


def refused_entries(
    result: Result, positions: dict[tuple[int, int], Position], bars: Bars, fill: str
) -> list[tuple[int, int]]:
    """Return the (bar, asset) of stops and targets before the moment of orders: of a signal there comes no order."""
    found = []
    for bar, asset, _, _, _, kind in result.fills:
        if kind != "order" and fill != "same_close":
            position, first = positions[bar, asset], bars["open"][bar, asset]
            if fill == "next_close" or not position.level < first < position.target:
                found.append((bar, asset))
    return found


def read_exits(bars: Bars, fill: str, atr: bool, rules: dict[str, float]) -> Exits:
    """Return the distances that rules of the environment such as `trailing_stop` or `trailing_atr` mean."""
    stop, target = rules.values()
    known = np.ones(bars["close"].shape)
    if atr:
        known = bars["atr"] if fill == "same_close" else np.roll(bars["atr"], 1, axis=0)
    return Exits(stop * known, target * known, any(name.startswith("trailing") for name in rules))


def stop_traces() -> None:
    """Fixed stops and targets at every time of fill; trailing stops for entries at a close; both in terms of ATR."""
    bars = draw_bars(13, 3)
    rng = np.random.default_rng([13, 3])
    bars["atr"] = rng.uniform(0.005, 0.02, bars["close"].shape).round(6)
    costs, fixed = Costs(fees=1e-3, slippage=5e-4), {"stop_loss": 0.03, "take_profit": 0.05}
    trailing = {"trailing_stop": 0.04, "take_profit": 0.08}
    traces = {
        "stops_next_open": stop_trace(bars, 1, costs, "next_open", **fixed),
        "stops_next_close": stop_trace(bars, 2, costs, "next_close", **fixed),
        "stops_same_close": stop_trace(bars, 3, costs, "same_close", **fixed),
        "trailing_next_close": stop_trace(bars, 4, costs, "next_close", **trailing),
        "trailing_same_close": stop_trace(bars, 8, costs, "same_close", **trailing),
        "atr_next_open": stop_trace(bars, 6, costs, "next_open", True, stop_loss_atr=3.0, take_profit_atr=4.0),
        "atr_trailing_next_close": stop_trace(
            bars, 7, costs, "next_close", True, trailing_atr=3.0, take_profit_atr=6.0
        ),
    }
    write_json("vectorbt_stops", HEAD | {"seed": 13, "bars": bars, "traces": traces})


FLAT = (100.0, 100.0, 100.0, 100.0)


def by_hand(
    bars: Bars,
    buys: dict[tuple[int, int], float],
    weights: dict[tuple[int, int], float],
    *,
    leave: tuple[tuple[int, int], ...] = (),
    slippage: float = 0.0,
    trailing: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Buy shares at the open of (bar, asset), with a stop of 2 % and a target of 4 %; sell all at `leave`."""
    shape = bars["close"].shape
    settings = {"stop_exit_price": "stopmarket"} | settings
    costs, exits = Costs(slippage=slippage), Exits(np.full(shape, 0.02), np.full(shape, 0.04), trailing)
    entries, exiting, shares = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape)
    for place, number in buys.items():
        entries[place], shares[place] = True, number
    for place in leave:
        exiting[place] = True
    result = run_signals(bars, entries, exiting, shares, costs, exits, "next_open", **settings)
    if not settings.get("accumulate"):
        name_exits(result, find_positions(result, bars, exits), bars, trailing, exiting, slippage, "next_open")
    stop = {"trailing_stop" if trailing else "stop_loss": 0.02}
    return {
        "bars": bars,
        "account": account("next_open", costs, **stop, take_profit=0.04),
        "settings": settings,
        "actions": decide(weights),
        "fills": result.fills,
    }


def one_trade(
    rows: list[tuple[float, float, float, float]], leave_at: int | None = None, **more: Any
) -> dict[str, Any]:
    """Buy 100 shares of one asset at the open of bar 1."""
    bars = bars_of(rows)
    weights = {(0, 0): 100 * bars["open"][1, 0] * (1 + more.get("slippage", 0.0)) / CASH}
    if leave_at is None:
        return by_hand(bars, {(1, 0): 100.0}, weights, **more)
    return by_hand(bars, {(1, 0): 100.0}, weights | {(leave_at - 1, 0): 0.0}, leave=((leave_at, 0),), **more)


def by_targets(rows: list[Any], costs: Costs, targets: dict[int, list[float]], **settings: float) -> dict[str, Any]:
    """Send target percents of assets with the same bars, by bar, at the open."""
    bars = {name: np.repeat(x, len(targets[1]), axis=1) for name, x in bars_of(rows).items()}
    sizes = np.full(bars["close"].shape, np.nan)
    for bar, shares in targets.items():
        sizes[bar] = shares
    result = run_orders(bars, sizes, costs, "next_open", **settings)
    return {
        "bars": bars,
        "account": account("next_open", costs),
        "settings": {name: str(value) for name, value in settings.items()},
        "actions": decided(sizes, 1),
        "fills": result.fills,
    }


def difference_traces() -> None:
    """One small trace for each rule that differs."""
    up = (110.0, 110.0, 110.0, 110.0)
    dip, rise = (100.0, 101.0, 97.0, 100.0), (100.0, 105.0, 99.5, 104.5)
    higher = [FLAT, (100.0, 103.0, 99.5, 102.5), (102.5, 102.6, 100.5, 101.0), (101.0, 101.0, 100.0, 100.0)]
    beside = {name: np.repeat(x, 2, axis=1) for name, x in bars_of([FLAT, FLAT, FLAT, FLAT]).items()}
    beside["low"][2, 0] = 97.0
    adding = bars_of([FLAT, FLAT, (103.0,) * 4, (103.0, 103.0, 100.0, 100.0), (100.0, 100.0, 97.0, 97.0)])
    penny = (0.001, 0.001, 0.001, 0.001)
    twice, weights_twice = {(1, 0): 10.0, (2, 0): 10.0}, {(0, 0): 0.01, (1, 0): 0.0206}
    traces = {
        "cash_short": by_targets([FLAT, FLAT], Costs(fees=0.01), {1: [0.2, 0.35, 0.45]}),
        "target_sizing_under_slippage": by_targets([FLAT, FLAT], Costs(slippage=1e-3), {1: [0.2, 0.3, 0.4]}),
        "target_sizing_under_gap": by_targets([FLAT, up], Costs(), {1: [0.2, 0.25, 0.3]}, val_price=-np.inf),
        "fees_above_the_value": by_targets([FLAT, FLAT, penny, penny], Costs(fixed_fees=5.0), {1: [0.5], 2: [0.0]}),
        "buy_paid_by_a_later_stop": by_hand(beside, {(1, 0): 990.0, (2, 1): 500.0}, {(0, 0): 0.99, (1, 1): 0.5}),
        "adding_keeps_levels": by_hand(adding, twice, weights_twice, accumulate=True, upon_stop_update="keep"),
        "adding_moves_levels": by_hand(adding, twice, weights_twice, accumulate=True, upon_stop_update="override"),
        "entry_bar_not_tested": one_trade([FLAT, dip, FLAT, FLAT]),
        "open_beyond_target_low_at_stop": one_trade([FLAT, FLAT, (106.0, 107.0, 97.0, 100.0), FLAT]),
        "market_order_at_target": one_trade([FLAT, FLAT, rise, FLAT], slippage=1e-3),
        "limit_order_at_stop": one_trade([FLAT, FLAT, dip, FLAT], slippage=1e-3, stop_exit_price="stoplimit"),
        "stop_before_order_at_open": one_trade([FLAT, FLAT, dip, FLAT], leave_at=2),
        "trailing_from_entry_bar": one_trade(higher, trailing=True),
    }
    write_json("vectorbt_differences", HEAD | {"traces": traces})


if __name__ == "__main__":
    order_traces()
    continuous_traces()
    whole_share_traces()
    stop_traces()
    difference_traces()
