"""The step and the reference broker run side by side over random markets, compared number by number.

Everything in `run_reference` is compared that the state or info of the step holds: what is in `EXACT` has to be equal,
other numbers agree to `TOLERANCE`.
"""

import dataclasses
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from ploutos_jax.env.types import REASON_NAMES
from ploutos_jax.market.panel import SCALES, Market
from tests.env.cases import KINDS, Case
from tests.env.worlds import (
    NUM_ACCOUNTS,
    NUM_ASSETS,
    Trace,
    random_actions,
    random_fees,
    random_market,
    random_noise,
    random_numbers,
    simulate,
)
from tests.reference import settings as reference
from tests.reference.broker import ReferenceBroker

TOLERANCE = 1e-9

SETTING_OF = {
    "commission_per_order_cash": "commission_per_order",
    "commission_min_cash": "commission_min",
    "commission_per_share_cash": "commission_per_share",
    "day_trade_equity_cash": "day_trade_equity",
}
IN_BPS = {"spread": "spread_bps", "slippage": "slippage_bps", "commission": "commission_bps"}
IN_BPS |= {"limit_offset": "limit_offset_bps"}
ALWAYS = (
    "action",
    "fill",
    "order_type",
    "sizing",
    "remainder",
    "holding_binds_stops",
    "max_trades_per_day",
    "settlement_days",
)
ALWAYS += ("both_touched", "strict_targets", "day_trade_rule", "day_trade_mode", "decide_every")
"""Settings that are not numbers of `EnvParams`."""


class World(NamedTuple):
    """What one comparison is about."""

    market: Market
    numbers: dict[str, np.ndarray]
    actions: np.ndarray
    noise: np.ndarray | None
    fee_rates: np.ndarray
    fee_caps: np.ndarray
    day_trade_end: int


def draw_world(case: Case, seed: int, num_assets: int = NUM_ASSETS) -> World:
    """Draw a market and accounts for a case."""
    kind = case["world"]
    shape = {"num_assets": num_assets, "dtype": np.float64}
    market = random_market(seed, **shape, plain=kind == "plain", intraday=kind == "intraday")
    rates, caps = random_fees(seed, len(KINDS))
    caps[[kind.rows[0][2] is None for kind in KINDS]] = np.inf
    middle = int(np.quantile(market.sessions, np.random.default_rng([seed, 6]).random()))
    return World(
        market=market,
        numbers=random_numbers(seed, rules=True),
        actions=random_actions(seed, case["action"], num_assets=num_assets),
        noise=random_noise(seed, num_assets=num_assets) if case["slippage_noise"] == "noise" else None,
        fee_rates=rates,
        fee_caps=caps,
        day_trade_end=middle,
    )


def run_env(case: Case, world: World) -> Trace:
    numbers: dict[str, Any] = dict(world.numbers)
    if case["fees"] != "none":
        numbers |= {"fee_rates": world.fee_rates, "fee_caps": world.fee_caps}
    if case["day trades"] == "by_date":
        numbers["day_trade_end"] = np.int32(world.day_trade_end)
    return simulate(case.config, world.market, numbers, world.actions, world.noise)


def make_broker(case: Case, world: World, account: int) -> ReferenceBroker:
    """Return the reference's account of that number."""
    config, market = case.config, world.market
    settings: dict[str, Any] = {name: getattr(config, name) for name in ALWAYS}
    for name, values in world.numbers.items():
        value = values[account].item()
        if name in IN_BPS:
            settings[IN_BPS[name]] = value * 1e4
        # Bars a year are left to the market's calendar unless they are set: that is a number, too.
        elif name == "bars_per_year" or getattr(config, SETTING_OF.get(name, name)) is not None:
            settings[SETTING_OF.get(name, name)] = value
    optional = ("volume", "sessions", "delisted", "dividend", "split", "atr", "volatility", "adv", "buyable", *SCALES)
    names = list(dict.fromkeys(market.sectors))
    if case["fees"] != "none":
        settings["fee_rounding"] = config.schedule.rounding
        settings["fees"] = [
            reference.FeeKind(kind.unit, kind.sides, rates.tolist(), caps.tolist())
            for kind, rates, caps in zip(KINDS, world.fee_rates, world.fee_caps, strict=True)
        ]
    for name in ("stop_loss", "take_profit", "tick_size"):
        settings.setdefault(name, None)
    return ReferenceBroker(
        market.open,
        market.high,
        market.low,
        market.close,
        market.tradable,
        **{name: getattr(market, name) for name in optional},
        sectors=[names.index(sector) for sector in market.sectors],
        day_trade_end=world.day_trade_end,
        **settings,
    )


EXITS = ("stop", "target", "trailing", "time", "halt")
EXACT = ("num_trades", "rejected_orders", *(f"exit_{name}" for name in EXITS), "entry_bar", "terminated")
EXACT += ("opened_today", "day_trades", "session_fills", "flagged", "trades_today", "halted", "reasons")
DOLLARS = ("cash", "equity", "peak_equity", "session_equity", "cost", "total cost", "profit", "interest")
DOLLARS += ("fee_rounding", "unsettled_cash", "fee_day_cash")
RATIOS = ("turnover", "reward")
SHARES = ("shares", "working_shares", "fill shares")

SMALL_POSITION = 1e-3
"""A share of equity: fewer shares are compared as a part of that many, for they are differences of larger numbers."""

MOST_FILLS = 3
"""Fills of one asset in one bar."""

Arrays = dict[str, np.ndarray]


def run_reference(case: Case, world: World) -> tuple[Arrays, Counter[str]]:
    """Run the reference's accounts; return what they went through, `[S, N, ...]`, and how often each rule acted."""
    events: Counter[str] = Counter()
    accounts = []
    fills = np.zeros((len(world.actions), NUM_ACCOUNTS, 5, MOST_FILLS, world.market.num_assets))
    for account in range(NUM_ACCOUNTS):
        broker = make_broker(case, world, account)
        rows = []
        for step, action in enumerate(world.actions[:, account]):
            rows.append(_take_step(broker, action, None if world.noise is None else world.noise[step, account]))
            _write_fills(broker, fills[step, account])
        accounts.append({name: [row[name] for row in rows] for name in rows[0]})
        events += broker.events
    history = {name: np.array([account[name] for account in accounts]).swapaxes(0, 1) for name in accounts[0]}
    return history | _name_fills(fills), events


def _take_step(broker: ReferenceBroker, action: np.ndarray, noise: np.ndarray | None) -> dict[str, Any]:
    before = (broker.num_trades, broker.rejected_orders, broker.exits.copy(), broker.equity)
    step = broker.step(action, noise)
    exits = {f"exit_{name}": broker.exits[name] - before[2][name] for name in EXITS}
    return {
        **exits,
        "num_trades": broker.num_trades - before[0],
        "rejected_orders": broker.rejected_orders - before[1],
        "terminated": step["terminated"],
        "cash": broker.cash,
        "equity": broker.equity,
        "peak_equity": broker.peak_equity,
        "total cost": broker.cost,
        "cost": step["cost"],
        "turnover": step["turnover"],
        "profit": step["profit"],
        "interest": step["interest"],
        "fee_rounding": step["fee_rounding"],
        "reward": np.log(broker.equity / before[3]) if min(broker.equity, before[3]) > 0 else 0.0,
        "shares": broker.shares.copy(),
        "entry_price": broker.entry_price.copy(),
        "entry_bar": broker.entry_bar.copy(),
        "entry_atr": broker.entry_atr.copy(),
        "highest_price": broker.highest_price.copy(),
        "working_shares": broker.working.copy(),
        "unsettled_cash": broker.unsettled.copy(),
        "fee_day_cash": broker.fee_day.copy(),
        "opened_today": broker.day.opened.copy(),
        "day_trades": broker.day.day_trades.copy(),
        "session_fills": broker.day.fills.copy(),
        "flagged": broker.day.flagged,
        "session_equity": broker.day.session_equity,
        "trades_today": broker.trades_today,
        "halted": broker.halted,
        "tied": broker.tied,
    }


def _write_fills(broker: ReferenceBroker, table: np.ndarray) -> None:
    """Write `[5, MOST_FILLS, A]`: signed shares, price, reference, fee and reason of the fills of each asset."""
    used = [0] * table.shape[-1]
    for fill in broker.fills:
        reason = REASON_NAMES.index(fill.reason)
        row = (fill.side * fill.shares, fill.price, fill.reference_price, fill.fee, reason)
        table[:, used[fill.asset], fill.asset] = row
        used[fill.asset] += 1


def _name_fills(table: np.ndarray) -> Arrays:
    """Return the fills `[S, N, 5, MOST_FILLS, A]` by name."""
    names = ("fill shares", "fill price", "fill reference", "fill fee", "reasons")
    return {name: table[:, :, place] for place, name in enumerate(names)}


def read_trace(trace: Trace) -> Arrays:
    """Return what `run_reference` returns, without what the rules that are off do not keep."""
    state, info = trace.state, trace.info
    kept = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    names = ("shares", "price", "reference", "fee_cash", "reason")
    table = np.stack([np.stack([getattr(fill, name) for fill in info["fills"]], axis=2) for name in names], axis=2)
    happened = table[:, :, :1] != 0
    order = np.broadcast_to(np.argsort(~happened, axis=3, kind="stable"), table.shape)
    table = np.take_along_axis(np.where(happened, table, 0), order, axis=3)
    short = MOST_FILLS - table.shape[3]
    assert short >= 0 or not table[:, :, 0, MOST_FILLS:].any()
    table = np.pad(table, [(0, 0)] * 3 + [(0, max(short, 0)), (0, 0)])[:, :, :, :MOST_FILLS]
    counts = ("num_trades", "rejected_orders", *(f"exit_{name}" for name in EXITS))
    shown = ("cost", "turnover", "profit", "interest", "fee_rounding")
    mine = {
        **kept,
        **{name: info[name] for name in (*counts, *shown)},
        "cash": state.cash + state.cash_low,
        "total cost": state.cost + state.cost_low,
        "reward": trace.reward,
        "terminated": trace.terminated,
        **_name_fills(table),
    }
    return {name: value for name, value in mine.items() if value is not None}


class Comparison(NamedTuple):
    """What a comparison found.

    Attributes:
        steps: environment steps compared.
        worst: the largest relative difference of each number that may differ by rounding.
        events: how often each rule acted, and each kind of fill there was.
    """

    steps: int
    worst: dict[str, float]
    events: Counter[str]


def compare(case: Case, seed: int, num_assets: int = NUM_ASSETS) -> Comparison:
    """Run many accounts through one market in both; raise AssertionError at the first difference."""
    world = draw_world(case, seed, num_assets)
    ours = read_trace(run_env(case, world))
    theirs, events = run_reference(case, world)
    tied = theirs.pop("tied")
    # From a choice between equals on an account may go either way.
    ours = {
        name: np.where(tied.reshape(*tied.shape, *(1,) * (value.ndim - 2)), theirs[name], value)
        if name in theirs
        else value
        for name, value in ours.items()
    }
    _assert_equal(case, seed, ours, theirs)
    scales = _scales(world, theirs)
    names = [name for name in theirs if name not in EXACT and name in ours]
    worst = {
        name: _difference(f"{case}, seed {seed}: {name}", ours[name], theirs[name], scales[name]) for name in names
    }
    reasons, counts = np.unique(theirs["reasons"][theirs["fill shares"] != 0], return_counts=True)
    events += Counter({REASON_NAMES[int(r)]: int(n) for r, n in zip(reasons, counts, strict=True)})
    events["rejected"] += int(theirs["rejected_orders"].sum())
    events["terminated"] += int(theirs["terminated"].any(axis=0).sum())
    events["interest"] += int((theirs["interest"] > 0).sum())
    events["fee rounding"] += int((theirs["fee_rounding"] > 0).sum())
    events["day trades"] += int((theirs["day_trades"][..., 0] > 0).sum())
    return Comparison(theirs["equity"].size, worst, events)


def _assert_equal(case: Case, seed: int, ours: Arrays, theirs: Arrays) -> None:
    """Raise at the first step in which something that has to be equal is not."""
    first: list[tuple[int, ...]] = []
    for name in EXACT:
        if name in ours:
            wrong = np.argwhere(ours[name] != theirs[name])
            first += [(*place, name) for place in wrong[:1].tolist()]  # type: ignore[misc]
    if first:
        *where, name = min(first, key=lambda place: place[0])
        place = tuple(where)
        raise AssertionError(
            f"{case}, seed {seed}: {name} at (step, account, ...) {place}: {ours[name][place]!r},"
            f" the reference says {theirs[name][place]!r}."
        )


def _scales(world: World, theirs: Arrays) -> Arrays:
    """Return by what each difference is divided: the number itself or, where it is a sum or difference, equity.

    Fees above the price of a share can eat an account whole: below a ten-thousandth of what it had, all is rounding.
    """
    equity, least = theirs["equity"], 1e-4 * world.numbers["initial_cash"]
    price = world.market.close[1:, None]
    scales = {name: np.abs(values) for name, values in theirs.items()}
    for name in DOLLARS:
        scales[name] = np.maximum(scales[name], _like(np.maximum(equity, least), scales[name]))
    for name in RATIOS:
        scales[name] = np.where(equity < least, np.inf, np.maximum(scales[name], 1))
    small = np.where(equity < least, least, SMALL_POSITION * equity)[..., None]
    for name in SHARES:
        few = small / np.where(price > 0, price, 1)
        scales[name] = np.maximum(scales[name], few[:, :, None] if scales[name].ndim == 4 else few)
    traded = np.abs(theirs["fill shares"] * theirs["fill price"])
    scales["fill fee"] = np.maximum(traded, small[..., None])
    return {name: np.where(scale > 0, scale, 1) for name, scale in scales.items()}


def _like(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return `[S, N]` values with as many dimensions as the other array."""
    return values.reshape(values.shape + (1,) * (other.ndim - 2))


def _difference(what: str, ours: np.ndarray, theirs: np.ndarray, scale: np.ndarray) -> float:
    """Return the largest difference; raise if it is more than rounding."""
    error = np.abs(ours - theirs) / scale
    where = np.unravel_index(np.argmax(error), error.shape)
    place = tuple(map(int, where))
    assert error[where] <= TOLERANCE, (
        f"{what} at (step, account, ...) {place}: {ours[where]!r}, the reference says {theirs[where]!r}."
    )
    return float(error[where])
