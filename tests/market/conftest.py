"""Panels that several tests of the market share."""

import numpy as np
import pytest

PRICES = ("open", "high", "low", "close")
NUM_BARS, NUM_ASSETS = 330, 4


def make_panel(seed=0, num_bars=NUM_BARS, num_assets=NUM_ASSETS):
    # Imported here: JAX must not be imported before tests/conftest.py has configured it.
    from ploutos_jax.market.labels import Labels
    from ploutos_jax.market.panel import Panel

    rng = np.random.default_rng(seed)
    shape = num_bars, num_assets
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opens = close * np.exp(rng.normal(0, 0.01, shape))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, 0.01, shape)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, 0.01, shape)))
    volume = rng.integers(10**4, 10**6, shape).astype(float)
    days = np.arange(num_bars)
    labels = Labels(
        tuple(f"T{i}" for i in range(num_assets)),
        ("Unknown",) * num_assets,
        np.datetime64("2015-01-01", "ns") + days * np.timedelta64(1, "D"),
    )
    sessions = (16_436 + days).astype(np.int32)
    return Panel(opens, high, low, close, volume, np.ones(shape, bool), sessions, labels=labels)


def remove_bars(panel, missing):
    prices = {name: np.where(missing, np.nan, getattr(panel, name)) for name in PRICES}
    return panel.replace(**prices, volume=np.where(missing, 0, panel.volume), tradable=panel.tradable & ~missing)


def make_ragged_panel(seed=0):
    """Asset 1 has gaps, asset 2 is listed late, asset 3 ends early; one split and one dividend."""
    panel = make_panel(seed)
    missing = np.zeros((NUM_BARS, NUM_ASSETS), bool)
    missing[np.random.default_rng(seed + 1).choice(NUM_BARS, 40, replace=False), 1] = True
    missing[:37, 2] = True
    missing[300:, 3] = True
    split, dividend = np.ones(missing.shape), np.zeros(missing.shape)
    split[100, 0], dividend[150, 2] = 4.0, 0.7
    return remove_bars(panel, missing).replace(split=split, dividend=dividend)


@pytest.fixture(scope="session", name="make_panel")
def make_panel_fixture():
    """`make_panel(seed, num_bars, num_assets)`: random bars without gaps."""
    return make_panel


@pytest.fixture(scope="session", name="remove_bars")
def remove_bars_fixture():
    """`remove_bars(panel, missing)`: the panel without the bars marked in `missing` `[T, A]`."""
    return remove_bars


@pytest.fixture(scope="session", name="make_ragged_panel")
def make_ragged_panel_fixture():
    """`make_ragged_panel(seed)`: gaps, a late listing, an early end, a split and a dividend."""
    return make_ragged_panel


@pytest.fixture(scope="session")
def panel():
    """Four assets without gaps."""
    return make_panel()


@pytest.fixture(scope="session")
def ragged():
    """Four assets with what real data has."""
    return make_ragged_panel()
