"""The risk view against loops over fills and bars, and the account itself."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ploutos_jax.evaluate.metrics import exposure
from ploutos_jax.market.calendar import Calendar
from tests.evaluate.accounts import SECTORS, SYMBOLS, make_ledger


def test_the_longest_window_that_fits_twice():
    assert [exposure.fitting_window(n, Calendar()) for n in (41, 42, 130, 504, 5000)] == [None, 21, 63, 252, 252]
    assert [exposure.fitting_window(n, Calendar(365.25 / 7)) for n in (7, 9, 30, 5000)] == [None, 4, 13, 52]


def test_positions_equal_a_loop_over_fills_and_the_account():
    ledger = make_ledger("agent", num_bars=200, trade_every=3)
    held, expected = np.zeros(3), []
    for bar in range(201):
        for fill in ledger.fills[ledger.fills["bar"] == bar].itertuples():
            held[SYMBOLS.index(fill.ticker)] += fill.shares if fill.side == "buy" else -fill.shares
        expected.append(held.copy())
    np.testing.assert_allclose(exposure.positions(ledger), expected, atol=1e-9)
    weight = exposure.weights(ledger)
    np.testing.assert_allclose(weight.sum(axis=1), ledger.gross_exposure / ledger.equity, rtol=1e-12)
    by_sector = exposure.exposure_by_sector(weight, SECTORS)
    assert set(by_sector) == {"Energy", "Financials"}
    np.testing.assert_allclose(by_sector["Energy"], weight[:, 0] + weight[:, 2])
    np.testing.assert_allclose(exposure.leverage(ledger), weight.sum(axis=1), rtol=1e-12)


def test_positions_follow_splits():
    ledger = make_ledger("agent", num_bars=20, trade_every=2)
    fills = ledger.fills.iloc[:1].assign(bar=2, ticker="AAA", shares=10.0, side="buy")
    split = np.ones_like(ledger.close)
    split[5, 0] = 3.0
    held = exposure.positions(dataclasses.replace(ledger, fills=fills, split=split))[:, 0]
    np.testing.assert_allclose(held, [0, 0] + [10] * 3 + [30] * 16)


def test_dust_of_rounding_counts_as_nothing():
    ledger = make_ledger("agent", num_bars=20, trade_every=2)
    two = ledger.fills.iloc[:2].assign(bar=[2, 4], ticker="AAA", side=["buy", "sell"], shares=[10.0, 10.0 - 1e-5])
    held = exposure.positions(dataclasses.replace(ledger, fills=two))[:, 0]
    assert held[3] == 10 and not held[4:].any()


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_effective_positions_lie_between_one_and_all(weights):
    weight = np.array([weights])
    number = exposure.effective_positions(weight)[0]
    held = np.count_nonzero(weight)
    if (weight**2).sum() > 0:
        assert 1 - 1e-9 <= number <= held + 1e-9
    assert exposure.effective_positions(np.full((1, 5), 0.2))[0] == pytest.approx(5)
    assert exposure.effective_positions(np.zeros((1, 5)))[0] == 0


@given(st.lists(st.floats(-0.2, 0.25), min_size=1, max_size=60))
def test_drawdown_episodes_equal_a_walk_along_the_account(steps):
    equity = 100 * np.cumprod(np.append(1.0, 1 + np.round(steps, 3)))
    times = np.datetime64("2020-01-01", "ns") + np.arange(equity.size) * np.timedelta64(1, "D")
    expected, peak, low = [], 0, 0
    for t in range(1, equity.size):
        if equity[t] >= equity[peak] * (1 - 1e-13):
            if t - peak > 1:
                expected.append((peak, low, t, equity[low] / equity[peak] - 1, t - peak))
            peak, low = t, t
        elif low == peak or equity[t] < equity[low]:
            low = t
    if peak < equity.size - 1:
        expected.append((peak, low, None, equity[low] / equity[peak] - 1, equity.size - 1 - peak))
    found = exposure.drawdown_episodes(times, equity)
    assert tuple(found.columns) == exposure.EPISODE_COLUMNS and len(found) == len(expected)
    assert found["depth"].is_monotonic_increasing
    rows = found.sort_values("peak").itertuples(index=False)
    for row, (first, lowest, last, depth, bars) in zip(rows, expected, strict=True):
        assert (row.peak, row.trough) == (times[first], times[lowest])
        assert row.recovered == times[last] if last is not None else pd.isna(row.recovered)
        assert row.depth == pytest.approx(depth) and (row.bars, row.bars_down) == (bars, lowest - first)


def test_contributions_add_up_to_the_profit():
    ledger = make_ledger("agent", num_bars=200)
    by_ticker = exposure.contributions(ledger)
    assert sum(by_ticker.values()) == pytest.approx(ledger.equity[-1] - ledger.equity[0])
    assert list(by_ticker.values()) == sorted(by_ticker.values(), reverse=True)
