"""The whole feature set on real bars: against oracles, in both precisions, in spans of one compiled shape."""

import jax
import numpy as np
import pytest

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.features.compute import compute_features
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel
from tests.market.features.oracles import network_values, raw_values
from tests.market.worlds import PRICES, on_grid

pytestmark = pytest.mark.realdata

NUM_BARS, NUM_ASSETS = 330, 4
ALONE = [i for i, feature in enumerate(FEATURES) if not feature.across_assets]


def cut_spans(panel: Panel, num_spans: int, bits: int = 0) -> list[Panel]:
    """Return spans of 330 bars of 4 series each, drawn from all tickers and times.

    Prices stand on a grid of some bits below their leading one, 0 for as they are: what a float32 holds exactly has
    the same ties in both precisions.
    """
    rng = np.random.default_rng(0)
    exists = np.isfinite(panel.close)
    series: list[dict[str, np.ndarray]] = []
    while len(series) < num_spans * NUM_ASSETS:
        asset = int(rng.integers(panel.num_assets))
        rows = np.flatnonzero(exists[:, asset])
        if len(rows) >= NUM_BARS:
            start = int(rng.integers(len(rows) - NUM_BARS + 1))
            chosen = rows[start : start + NUM_BARS]
            series.append({name: np.asarray(getattr(panel, name))[chosen, asset] for name in (*PRICES, "volume")})
    spans = []
    for i in range(num_spans):
        part = series[i * NUM_ASSETS : (i + 1) * NUM_ASSETS]
        arrays = {name: np.stack([each[name] for each in part], axis=1) for name in part[0]}
        prices = {name: arrays[name] for name in PRICES}
        prices = on_grid(prices, bits) if bits else prices
        everywhere, sessions = np.ones((NUM_BARS, NUM_ASSETS), bool), np.arange(NUM_BARS, dtype=np.int32)
        spans.append(Panel(**prices, volume=np.round(arrays["volume"]), tradable=everywhere, sessions=sessions))
    return spans


def largest_errors(spans: list[Panel]) -> dict[str, float]:
    """Return each feature's largest error relative to the larger of value and spread."""
    errors = {FEATURES[i].name: 0.0 for i in ALONE}
    for span in spans:
        table = np.asarray(compute_features(span.validate(), FEATURES))
        for asset in range(NUM_ASSETS):
            prices = {name: np.asarray(getattr(span, name))[:, asset].copy() for name in (*PRICES, "volume")}
            truth = network_values(raw_values(**prices), prices)
            for i in ALONE:
                feature = FEATURES[i]
                expected = truth[feature.name][feature.warm_up :]
                assert np.isfinite(expected).all(), feature.name
                scale = np.maximum(np.abs(expected), max(expected.std(), 1e-6))
                error = np.abs(table[feature.warm_up :, asset, i] - expected) / scale
                errors[feature.name] = max(errors[feature.name], float(error.max()))
    return errors


def too_large(errors: dict[str, float], tolerance: float) -> dict[str, float]:
    return {name: error for name, error in errors.items() if error > tolerance}


FILES = {
    "sp500_daily_adj_2005_2018.parquet": 16,
    "us_daily_events_2015_2017.parquet": 16,
    "us_hourly_1998_2021.parquet": 16,
    "crypto_btcusd_1h_2018_2022.parquet": 16,
    "spy_1m_2024_2025.parquet": 18,
}
"""File -> bits of the grid in single precision."""


@pytest.fixture(scope="module", params=FILES)
def bars(request, data_dir):
    return total_return(load_panel(str(data_dir / request.param))), FILES[request.param]


@pytest.mark.thorough
def test_single_precision(bars):
    panel, bits = bars
    assert too_large(largest_errors(cut_spans(panel, 2, bits)), 1e-3) == {}


@pytest.mark.thorough
def test_double_precision(bars):
    with jax.enable_x64(True):
        assert too_large(largest_errors(cut_spans(bars[0], 2)), 1e-6) == {}


@pytest.mark.slow
def test_many_spans_of_the_sp500(data_dir):
    panel = total_return(load_panel(str(data_dir / "sp500_daily_adj_2005_2018.parquet")))
    assert too_large(largest_errors(cut_spans(panel, 40, bits=16)), 1e-3) == {}
    with jax.enable_x64(True):
        assert too_large(largest_errors(cut_spans(panel, 40)), 1e-6) == {}
