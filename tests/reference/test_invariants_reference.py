"""Invariants of the oracle on random markets."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.reference.broker import ReferenceBroker

SHARES = 10_000 / 100.1

UNLIMITED = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None, "max_position_pct": 1.0}


def random_market(rng: np.random.Generator, num_bars: int = 501, num_assets: int = 3) -> dict[str, Any]:
    """Bars with gaps, halts (the last price carried), splits, dividends, a late listing and a delisting."""
    shape = (num_bars, num_assets)
    split = np.where(rng.random(shape) < 0.005, rng.choice([0.2, 2.0, 3.0], shape), 1.0)
    tradable = rng.random(shape) > 0.05
    gap, move = 0.015 * rng.standard_normal(shape), 0.02 * rng.standard_normal(shape)
    up, down = np.exp(0.008 * np.abs(rng.standard_normal((2, *shape))) * np.array([1, -1])[:, None, None])
    bars = np.zeros((4, *shape))
    last = np.full(num_assets, 50.0)
    for n in range(num_bars):
        last = last / split[n]
        first = last * np.exp(gap[n])
        final = first * np.exp(move[n])
        traded = np.stack([first, np.maximum(first, final) * up[n], np.minimum(first, final) * down[n], final])
        bars[:, n] = np.where(tradable[n], traded, last)
        last = bars[3, n]
    listing, end = 40, num_bars - 100
    bars[:, :listing, 1], tradable[:listing, 1] = 0.0, False
    delisted = np.zeros(shape, bool)
    delisted[end, 2], tradable[end:, 2], split[end:, 2] = True, False, 1.0
    bars[:, end:, 2] = bars[3, end - 1, 2]
    dividend = np.where(rng.random(shape) < 0.02, 0.01 * bars[0], 0.0)
    names = ("open", "high", "low", "close")
    events = {"tradable": tradable, "delisted": delisted, "split": split, "dividend": dividend}
    return dict(zip(names, bars, strict=True)) | events


def random_action(rng: np.random.Generator, kind: str, num_assets: int = 3) -> np.ndarray:
    if kind == "discrete":
        return rng.choice(3, num_assets, p=[0.5, 0.4, 0.1])
    weights = rng.uniform(-0.3, 0.9, num_assets + int(rng.integers(2)))
    weights[rng.random(len(weights)) < 0.3] = np.nan
    weights[rng.random(len(weights)) < 0.1] = 0.0
    return weights


def snapshot(broker: ReferenceBroker) -> SimpleNamespace:
    kept = {name: getattr(broker, name) for name in ("t", "cash", "equity", "peak_equity", "cost", "num_trades")}
    return SimpleNamespace(**kept, shares=list(broker.shares), rejected_orders=broker.rejected_orders)


def check_step(before: SimpleNamespace, after: ReferenceBroker, step: dict, market: dict[str, Any]) -> None:
    """Count one step again from its list of fills alone."""
    n = before.t + 1
    shares = np.array(before.shares) * market["split"][n]
    cash = before.cash + float(shares @ market["dividend"][n])
    paid = 0.0
    exited: set[int] = set()
    for fill in step["fills"]:
        assert fill.shares > 0
        assert fill.asset not in exited
        assert fill.side * (fill.price - fill.reference_price) >= 0
        shares[fill.asset] += fill.side * fill.shares
        cash -= fill.side * fill.shares * fill.price + fill.fee
        paid += fill.fee + abs(fill.price - fill.reference_price) * fill.shares
        if fill.reason != "delisted":
            assert market["tradable"][n, fill.asset]
            assert market["low"][n, fill.asset] <= fill.reference_price <= market["high"][n, fill.asset]
        if fill.reason != "order":
            exited.add(fill.asset)
    held = np.array(after.shares)
    flat = held == 0
    assert after.t == n
    assert after.cash == pytest.approx(cash, abs=1e-9)
    assert after.cash >= -1e-9
    assert after.shares == pytest.approx(shares, abs=1e-9)
    assert (held >= 0).all()
    assert (flat == (np.array(after.entry_bar) == -1)).all()
    assert (flat == (np.array(after.entry_price) == 0)).all()
    assert after.equity == pytest.approx(cash + float(shares @ market["close"][n]), abs=1e-9)
    assert after.peak_equity == max(before.peak_equity, after.equity)
    assert sum(step["profit"]) == pytest.approx(after.equity - before.equity, abs=1e-9)
    assert step["cost"] == pytest.approx(paid, abs=1e-9)
    assert after.num_trades == before.num_trades + sum(fill.reason != "delisted" for fill in step["fills"])
    assert after.rejected_orders == before.rejected_orders + len(step["rejected"])


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_value_is_conserved_and_cash_never_negative_on_random_steps(kind: str):
    reasons: list[str] = []
    dry = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        market = random_market(rng)
        settings: dict[str, Any] = {"stop_loss": 0.02 * (1 + seed), "take_profit": 0.03 * (1 + seed)}
        settings |= {"commission_bps": 2.0 * seed, "commission_per_share": 0.002 * seed, "slippage_bps": seed}
        settings |= {"delisting_recovery": 0.5, "buy_pct": 0.4, "max_position_pct": 0.5}
        broker = ReferenceBroker(**market, action=kind, **settings)
        profit, cost = np.zeros(3), 0.0
        for _ in range(500):
            before = snapshot(broker)
            step = broker.step(random_action(rng, kind))
            check_step(before, broker, step, market)
            profit, cost = profit + step["profit"], cost + step["cost"]
            reasons += [fill.reason for fill in step["fills"]]
            dry += broker.cash < 1e-6
        assert profit.sum() == pytest.approx(broker.equity - 100_000, abs=1e-7)
        assert broker.cost == pytest.approx(cost, abs=1e-7)
        assert broker.rejected_orders > 10
    # Every way out, and the cut to the cash, came up often enough to mean something.
    assert reasons.count("stop") > 100
    assert reasons.count("target") > 100
    assert reasons.count("delisted") > 0
    assert dry > 20


def run_account(market: dict[str, Any], actions: list[np.ndarray], kind: str) -> np.ndarray:
    broker = ReferenceBroker(**market, action=kind, buy_pct=0.4, max_position_pct=0.5, commission_bps=3.0)
    rows = []
    for action in actions:
        broker.step(action)
        rows.append([broker.cash, broker.equity, broker.cost, broker.num_trades, *broker.shares])
    return np.array(rows)


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_bars_to_come_change_nothing(kind: str):
    rng = np.random.default_rng(7)
    market = random_market(rng)
    other = {name: values.copy() for name, values in market.items()}
    for name in ("open", "high", "low", "close"):
        other[name][201:] *= 1.37
    other["tradable"][201:, 0] = False
    other["dividend"][201:] += 1.0
    actions = [random_action(rng, kind) for _ in range(250)]
    one, two = run_account(market, actions, kind), run_account(other, actions, kind)
    assert (one[:200] == two[:200]).all()
    assert (one[200:] != two[200:]).any()


@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_the_order_of_the_assets_does_not_matter(kind: str):
    rng = np.random.default_rng(8)
    market = random_market(rng)
    actions = [random_action(rng, kind)[:3] for _ in range(300)]
    order = [2, 0, 1]
    one = run_account(market, actions, kind)
    two = run_account({n: v[:, order] for n, v in market.items()}, [a[order] for a in actions], kind)
    np.testing.assert_allclose(two, one[:, [0, 1, 2, 3, *(4 + np.array(order))]], rtol=1e-9, atol=1e-9)
