"""Replay of what vectorbt and backtesting.py did with the same bars and orders, kept in tests/golden.

Where the rules coincide, the broker agrees on every bar; where they differ, the difference is the one written down in
tests/oracles/README.md, which also says how the traces were made. The reference broker is held to the same traces.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.oracles.bars import NUM_BARS
from tests.oracles.replay import (
    Replay,
    Row,
    after_orders_at_close,
    load,
    read_actions,
    read_prices,
    replay_env,
    replay_reference,
)

TRACES = {
    "vectorbt_orders": ("target_percent_same_close", "target_percent_next_open", "target_percent_next_close"),
    "vectorbt_continuous": ("continuous", "volume_cap", "discrete"),
    "vectorbt_whole_shares": ("whole_shares",),
    "vectorbt_stops": (
        "stops_next_open",
        "stops_next_close",
        "stops_same_close",
        "trailing_next_close",
        "trailing_same_close",
        "atr_next_open",
        "atr_trailing_next_close",
    ),
    "backtesting": (
        "next_open",
        "same_close",
        "trailing_next_open",
        "break_even_and_time_next_open",
        "minimum_commission_next_open",
    ),
}


def assert_near(actual: Any, expected: Any, scale: float = 1.0) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * scale)


def assert_fills(actual: list[Row], expected: list[Any]) -> None:
    assert [(f[0], f[1], f[5]) for f in actual] == [(f[0], f[1], f[5]) for f in expected]
    for column in (2, 3, 4):
        assert_near([f[column] for f in actual], [f[column] for f in expected])


replays = pytest.mark.parametrize("replay", [replay_env, replay_reference], ids=["env", "reference"])


@replays
@pytest.mark.parametrize(("file", "name"), [(file, name) for file, names in TRACES.items() for name in names])
def test_agrees_with_the_engine_on_every_bar(file: str, name: str, replay: Callable[..., Replay]):
    golden = load(file)
    trace = golden["traces"][name]
    num_assets = len(golden["bars"]["close"][0])
    prices = read_prices(golden["bars"], num_assets)
    ours = replay(trace["account"], prices, read_actions(trace, num_assets))
    if golden["engine"] == "vectorbt" and trace["account"]["fill"] == "same_close":
        ours = after_orders_at_close(ours, prices)

    assert len(trace["equity"]) == NUM_BARS
    assert_fills(ours.fills, trace["fills"])
    assert_near(ours.shares, trace["shares"][1:])
    assert_near(ours.equity, trace["equity"][1:])
    assert_near(ours.cash, trace["cash"][1:], scale=trace["account"]["initial_cash"])


@pytest.mark.parametrize(("file", "name"), [("vectorbt_stops", n) for n in TRACES["vectorbt_stops"]] + [
    ("backtesting", n) for n in (*TRACES["backtesting"], "spread_next_open")
])  # fmt: skip
def test_traces_show_what_they_are_for(file: str, name: str):
    events = load(file)["traces"][name]["settings"]["events"]
    assert min(events.values()) > 0, events


@replays
def test_a_spread_is_paid_whole_at_the_entry_there_and_half_on_each_side_here(replay: Callable[..., Replay]):
    golden = load("backtesting")
    trace = golden["traces"]["spread_next_open"]
    prices = read_prices(golden["bars"], 1)
    ours = replay(trace["account"], prices, read_actions(trace, 1))
    half = trace["account"]["spread_bps"] / 2e4

    expected, paid = [], np.zeros(NUM_BARS)
    for bar, asset, signed, price, fee, kind in trace["fills"]:
        # Entries pay the same; sales of ours pay as much again, those at a target (a limit order) nothing.
        extra = half * price if signed < 0 and kind != "target" else 0.0
        expected.append((bar, asset, signed, price - extra, fee, kind))
        paid[bar] += extra * -signed
    assert_fills(ours.fills, expected)
    assert_near(ours.equity, (np.array(trace["equity"]) - np.cumsum(paid))[1:])
    assert paid.sum() > 20


def both(file: str, name: str, replay: Callable[..., Replay]) -> tuple[list[Any], list[Row]]:
    """Return the engine's fills and ours in a small trace."""
    trace = load(file)["traces"][name]
    num_assets = 3 if file.startswith("vectorbt") else 1
    prices, actions = read_prices(trace["bars"], num_assets), read_actions(trace, num_assets)
    return trace["fills"], replay(trace["account"], prices, actions).fills


def row(bar: int, shares: float, price: float, kind: str = "order", fee: float = 0.0, asset: int = 0) -> Row:
    return (bar, asset, shares, price, fee, kind)


ONE_ROW_EACH: list[tuple[str, str, list[Row], list[Row]]] = [
    # The entry's bar falls to the stop: only ours looks, for a position bought at its open.
    ("vectorbt", "entry_bar_not_tested", [row(1, 100, 100)], [row(1, 100, 100), row(1, -100, 98, "stop")]),
    # A bar that opens beyond the target and then falls to the stop: a limit order has long been filled at its open.
    (
        "vectorbt",
        "open_beyond_target_low_at_stop",
        [row(1, 100, 100), row(2, -100, 98, "stop")],
        [row(1, 100, 100), row(2, -100, 106, "target")],
    ),
    # One kind of order for stops and targets: market orders pay slippage at the target, ...
    (
        "vectorbt",
        "market_order_at_target",
        [row(1, 100, 100.1), row(2, -100, 104.104 * 0.999, "target")],
        [row(1, 100, 100.1), row(2, -100, 104.104, "target")],
    ),
    # ... limit orders none at the stop.
    (
        "vectorbt",
        "limit_order_at_stop",
        [row(1, 100, 100.1), row(2, -100, 98.098, "stop")],
        [row(1, 100, 100.1), row(2, -100, 98.098 * 0.999, "stop")],
    ),
    # A sale at the open and a stop later in the bar: what comes first fills.
    (
        "vectorbt",
        "stop_before_order_at_open",
        [row(1, 100, 100), row(2, -100, 98, "stop")],
        [row(1, 100, 100), row(2, -100, 100)],
    ),
    # Bought at the open, the entry's bar rises to 103: ours trails from there, theirs from the fill price.
    (
        "vectorbt",
        "trailing_from_entry_bar",
        [row(1, 100, 100), row(3, -100, 102.6 * 0.98, "trailing")],
        [row(1, 100, 100), row(2, -100, 103 * 0.98, "trailing")],
    ),
    # A stop inside the bar sells at 98; a buy at the bar's open cannot have that cash.
    (
        "vectorbt",
        "buy_paid_by_a_later_stop",
        [row(1, 990, 100), row(2, -990, 98, "stop"), row(2, 500, 100, asset=1)],
        [row(1, 990, 100), row(2, -990, 98, "stop"), row(2, 10, 100, asset=1)],
    ),
    # 500 shares are worth 50 cents, a fill costs $5: refused there, here the fee takes all.
    (
        "vectorbt",
        "fees_above_the_value",
        [row(1, 500, 100, fee=5)],
        [row(1, 500, 100, fee=5), row(2, -500, 0.001, fee=0.5)],
    ),
    # Bought at 100 and at 103: the stop stays 2 % below the first price or moves below the second, here below 101.5.
    (
        "vectorbt",
        "adding_keeps_levels",
        [row(1, 10, 100), row(2, 10, 103), row(4, -20, 98)],
        [row(1, 10, 100), row(2, 10, 103), row(4, -20, 99.47, "stop")],
    ),
    (
        "vectorbt",
        "adding_moves_levels",
        [row(1, 10, 100), row(2, 10, 103), row(3, -20, 100.94)],
        [row(1, 10, 100), row(2, 10, 103), row(4, -20, 99.47, "stop")],
    ),
    (
        "backtesting",
        "open_beyond_target_low_at_stop",
        [row(2, 10, 100), row(3, -10, 97, "stop")],
        [row(2, 10, 100), row(3, -10, 106, "target")],
    ),
    # Bought at 105 where the market is at 100, with a stop 3 % below: sold at the open of that bar, not at the level.
    (
        "backtesting",
        "spread_wider_than_the_stop",
        [row(2, 10, 105), row(2, -10, 100, "stop")],
        [row(2, 10, 105), row(2, -10, 95, "stop")],
    ),
    # Bought at 100 and at 103: each has its stop there, 97 and 99.91; here one at 101.5 less 3 %.
    (
        "backtesting",
        "each_buy_has_its_levels",
        [row(2, 10, 100), row(4, 10, 103), row(5, -10, 99.91, "stop")],
        [row(2, 10, 100), row(4, 10, 103)],
    ),
    # Half is to be sold at an open that gaps through the stop: the stop takes all, in one fill.
    (
        "backtesting",
        "order_at_an_open_beyond_the_stop",
        [row(2, 10, 100, fee=1), row(4, -5, 95, fee=1), row(4, -5, 95, "stop", fee=1)],
        [row(2, 10, 100, fee=1), row(4, -10, 95, "stop", fee=1)],
    ),
    # An asset that exits at the open is not bought back in the same bar.
    (
        "backtesting",
        "buy_at_the_open_of_an_exit",
        [row(2, 10, 100), row(4, 5, 96.5), row(4, -10, 96.5, "stop")],
        [row(2, 10, 100), row(4, -10, 96.5, "stop")],
    ),
    # 98 shares at the market with their fees cost 9,999.50, at the price paid 10,000.48.
    (
        "backtesting",
        "commission_beyond_the_cash",
        [row(2, 98, 101.03535, fee=98 * 1.0103535)],
        [row(2, 97, 101.03535, fee=97 * 1.0103535)],
    ),
    # 97 shares at 102 and $200 of fees cost more than $10,000: none there, as many as cash allows here.
    ("backtesting", "cash_short", [], [row(2, 96, 102, fee=200)]),
]


@replays
@pytest.mark.parametrize(
    ("engine", "name", "theirs", "ours"), ONE_ROW_EACH, ids=["-".join(r[:2]) for r in ONE_ROW_EACH]
)
def test_differs_as_written(engine: str, name: str, theirs: list[Row], ours: list[Row], replay: Callable[..., Replay]):
    found = both(f"{engine}_differences", name, replay)
    assert_fills(found[0], theirs)
    assert_fills(found[1], ours)


@replays
def test_vectorbt_fills_in_sequence_when_cash_is_short_ours_in_proportion(replay: Callable[..., Replay]):
    # 20, 35 and 45 % of 100,000 at 100, with fees of 1 %.
    theirs, ours = both("vectorbt_differences", "cash_short", replay)
    for fills in (theirs, ours):
        assert_near(sum(f[2] * f[3] + f[4] for f in fills), 100_000.0)
    assert_near([f[2] for f in theirs], [200, 350, (100_000 - 55_000 * 1.01) / 101])
    assert_near([f[2] for f in ours], [200 / 1.01, 350 / 1.01, 450 / 1.01])


@replays
def test_vectorbt_sizes_targets_at_the_valuation_price_ours_at_the_price_paid(replay: Callable[..., Replay]):
    # Slippage of 10 bps at 100.
    theirs, ours = both("vectorbt_differences", "target_sizing_under_slippage", replay)
    assert_near([f[2] for f in theirs], [200, 300, 400])
    assert_near([f[2] * 100.1 for f in ours], [20_000, 30_000, 40_000])
    # Valued at the close of 100, bought at an open of 110.
    theirs, ours = both("vectorbt_differences", "target_sizing_under_gap", replay)
    assert_near([f[2] for f in theirs], [200, 250, 300])
    assert_near([f[2] * 110 for f in ours], [20_000, 25_000, 30_000])
