"""The step in float64 against the slow NumPy broker: every account, every fill, to 1e-9."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ploutos_jax.env.types import EnvConfig
from ploutos_jax.market.panel import Market
from tests.env.worlds import (
    NUM_ACCOUNTS,
    NUM_ASSETS,
    NUM_BARS,
    Trace,
    make_config,
    random_actions,
    random_market,
    random_numbers,
    simulate,
)
from tests.reference.broker import ReferenceBroker

TOLERANCE = 1e-9
EXACT = ("num_trades", "rejected_orders", "exit_stop", "exit_target", "entry_bar", "terminated")
REASONS = {"order": 1, "stop": 2, "target": 3, "delisted": 4}


@dataclasses.dataclass(frozen=True)
class Case:
    """One compiled program: its kind of action, its rules, and whether the market has events."""

    kind: str
    stop: bool = True
    target: bool = True
    plain: bool = False

    def __str__(self) -> str:
        rules = [name for name in ("stop", "target", "plain") if getattr(self, name)]
        return "-".join([self.kind, *rules])

    @property
    def config(self) -> EnvConfig:
        return make_config(
            self.kind, NUM_BARS, stop_loss=0.02 if self.stop else None, take_profit=0.04 if self.target else None
        )


CASES = [
    Case("discrete"),
    Case("weights"),
    Case("weights+cash", stop=False, target=False),
    Case("weights+cash", target=False),
    Case("discrete", stop=False, plain=True),
    Case("weights", plain=True),
]


def make_broker(case: Case, market: Market, numbers: dict[str, np.ndarray], account: int) -> ReferenceBroker:
    one = {name: float(value[account]) for name, value in numbers.items()}
    same = ("initial_cash", "min_order_cash", "buy_pct", "max_position_pct", "ruin_pct")
    return ReferenceBroker(
        market.open,
        market.high,
        market.low,
        market.close,
        market.tradable,
        delisted=market.delisted,
        dividend=market.dividend,
        split=market.split,
        spread_bps=one["spread"] * 1e4,
        slippage_bps=one["slippage"] * 1e4,
        commission_bps=one["commission"] * 1e4,
        commission_per_share=one["commission_per_share_cash"],
        stop_loss=one["stop_loss"] if case.stop else None,
        take_profit=one["take_profit"] if case.target else None,
        recovery=one["delisting_recovery"],
        action=case.config.action,
        **{name: one[name] for name in same},  # type: ignore[arg-type]
    )


def table_of_fills(fills: list[Any]) -> np.ndarray:
    """Return `[5, 3, A]`: signed shares, price, reference, fee and reason of the up to three fills of each asset."""
    table = np.zeros((5, 3, NUM_ASSETS))
    used = [0] * NUM_ASSETS
    for fill in fills:
        row = (fill.side * fill.shares, fill.price, fill.reference_price, fill.fee, REASONS[fill.reason])
        table[:, used[fill.asset], fill.asset] = row
        used[fill.asset] += 1
    return table


def read_reference(broker: ReferenceBroker, action: np.ndarray) -> dict[str, Any]:
    """Take one step; return what the account is after it. Counts are the reference's, since its start."""
    equity = broker.equity
    step = broker.step(action)
    names = ("num_trades", "rejected_orders", "exit_stop", "exit_target", "cash", "equity", "peak_equity")
    return {
        **{name: getattr(broker, name) for name in names},
        "total cost": broker.cost,
        "shares": broker.shares.copy(),
        "entry_price": broker.entry_price.copy(),
        "entry_bar": broker.entry_bar.copy(),
        "terminated": step["terminated"],
        "cost": step["cost"],
        "turnover": step["turnover"],
        "profit": step["profit"],
        "reward": np.log(broker.equity / equity),
        "fills": table_of_fills(step["fills"]),
    }


def read_trace(trace: Trace) -> dict[str, Any]:
    """Return what `read_reference` returns, as `[S, N, ...]`."""
    state, info = trace.state, trace.info
    counts = {name: info[name].cumsum(axis=0) for name in ("num_trades", "rejected_orders", "exit_stop", "exit_target")}
    fills = np.stack(
        [
            np.stack([getattr(fill, name) for fill in info["fills"]], axis=2)
            for name in ("shares", "price", "reference", "fee_cash")
        ],
        axis=2,
    )
    none = np.zeros_like(info["reasons"]["delisted"])
    reason = np.ones_like(fills[:, :, :1])
    for name in ("stop", "target"):
        at_open, inside = info["reasons"][name]
        reason = np.where(np.stack([at_open, none, inside], axis=2)[:, :, None], REASONS[name], reason)
    reason = np.where(np.stack([info["reasons"]["delisted"], none, none], axis=2)[:, :, None], 4, reason)
    happened = fills[:, :, :1] != 0
    fills = np.where(happened, np.concatenate([fills, reason], axis=2), 0)
    order = np.broadcast_to(np.argsort(~happened, axis=3, kind="stable"), fills.shape)
    return {
        **counts,
        "cash": state.cash + state.cash_low,
        "equity": state.equity,
        "peak_equity": state.peak_equity,
        "total cost": state.cost + state.cost_low,
        "shares": state.shares,
        "entry_price": state.entry_price,
        "entry_bar": state.entry_bar,
        "terminated": trace.terminated,
        "cost": info["cost"],
        "turnover": info["turnover"],
        "profit": info["profit"],
        "reward": trace.reward,
        "fills": np.take_along_axis(fills, order, axis=3),
    }


def worst_difference(name: str, ours: np.ndarray, theirs: np.ndarray, equity: np.ndarray, least: np.ndarray) -> float:
    """Return the largest difference, relative to the number itself or, where it is a sum or difference, to equity.

    Fees above the price of a share can eat an account whole: below `least` dollars, what is left is rounding.
    """
    scale = np.abs(theirs)
    if name in ("cash", "equity", "cost", "total cost", "profit"):
        scale = np.maximum(scale, np.maximum(equity, least).reshape(equity.shape + (1,) * (theirs.ndim - 2)))
    if name in ("turnover", "reward"):
        scale = np.where(equity < least, np.inf, np.maximum(scale, 1))
    if name == "fills":  # a fee is compared as a part of what was traded
        scale = scale.copy()
        scale[:, :, 3] = np.abs(theirs[:, :, 0] * theirs[:, :, 1])
    error = np.abs(ours - theirs) / np.where(scale > 0, scale, 1)
    where = np.unravel_index(np.argmax(error), error.shape)
    place = f"(step, account, ...) {tuple(map(int, where))}"
    assert error[where] <= TOLERANCE, f"{name} at {place}: {ours[where]!r}, the reference says {theirs[where]!r}."
    return float(error[where])


def compare(case: Case, seed: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Run many accounts through one market in both; return the worst differences and the reference's account."""
    market = random_market(seed, dtype=np.float64, plain=case.plain)
    numbers = random_numbers(seed)
    actions = random_actions(seed, case.kind)
    trace = simulate(case.config, market, numbers, actions)
    brokers = [make_broker(case, market, numbers, account) for account in range(NUM_ACCOUNTS)]
    rows = [[read_reference(b, a) for b, a in zip(brokers, step, strict=True)] for step in actions]
    theirs = {name: np.array([[account[name] for account in row] for row in rows]) for name in rows[0][0]}
    ours = read_trace(trace)
    for name in EXACT:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    least = 1e-4 * numbers["initial_cash"]
    worst = {
        name: worst_difference(name, ours[name], theirs[name], theirs["equity"], least)
        for name in theirs
        if name not in EXACT
    }
    np.testing.assert_array_equal(trace.info["equity"], trace.state.equity)
    np.testing.assert_array_equal(trace.info["cash"], trace.state.cash + trace.state.cash_low)
    return worst, theirs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_step_agrees_with_the_reference(case: Case):
    _, account = compare(case, 11)
    # What was compared holds every kind of event often enough to mean something.
    reason = account["fills"][:, :, 4]
    assert (reason == REASONS["order"]).sum() > 1000
    assert not case.stop or (reason == REASONS["stop"]).sum() > 100
    assert not case.target or (reason == REASONS["target"]).sum() > 50
    assert case.plain or (reason == REASONS["delisted"]).sum() > 5
    assert account["rejected_orders"][-1].sum() > 50
    assert account["terminated"].any()


@settings(max_examples=15, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**31), case=st.sampled_from(CASES[:2]))
def test_the_step_agrees_with_the_reference_whatever_the_market(seed: int, case: Case):
    compare(case, seed)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_step_agrees_with_the_reference_over_many_markets(case: Case):
    for seed in range(100, 140):
        compare(case, seed)
