"""The acceptance table of the synthetic market: 160 paths of 5,000 days against the reference; a million bars."""

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from ploutos_jax.market.synthetic.generate import draw_bars_of_paths
from ploutos_jax.market.synthetic.params import SyntheticParams

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location("synthetic_facts", BENCHMARKS / "synthetic_facts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(page):
    return page.draw_returns(jax.random.key(0), page.NUM_PATHS, page.NUM_DAYS, page.NUM_ASSETS)


def test_medians_agree_with_the_reference_and_lie_in_their_intervals(page, drawn):
    reference = json.loads(page.REFERENCE.read_text())
    file = Path(__file__).parents[4] / "shared/spec/synthetic_market_reference.py"
    if file.exists():
        reference = page.draw_reference(file)
    rows = page.compare(page.facts_by_path(drawn), reference)
    print("\n" + page.table(rows, None))
    assert len(rows) > 20
    assert [row["name"] for row in rows if not row["agrees"]] == []
    assert [row["name"] for row in rows if not row["inside"]] == []


def test_residuals_of_beta_and_sector_are_not_predictable(page, drawn):
    score, error = page.neutral_momentum(drawn[1])
    assert 0 < error < 0.003
    assert abs(score) <= 2 * error


@pytest.mark.parametrize(
    ("num_paths", "num_bars", "minutes"), [(100, 10_000, None), (2, 500_000, None), (4, 50_000, 1)]
)
def test_a_million_bars_are_finite_and_consistent(num_paths, num_bars, minutes):
    """A hundred paths of forty years, two of two thousand years, and minutes."""
    shape = {"num_assets": 2, "num_bars": num_bars, "num_paths": num_paths, "bar_minutes": minutes}
    bars = draw_bars_of_paths(jax.random.key(1), SyntheticParams(), 0.2, **shape)
    opens, high, low, close, volume, spread = (np.asarray(x) for x in bars)
    assert close.shape == (num_paths, num_bars, 2)
    for values in (opens, high, low, close, volume, spread):
        assert np.isfinite(values).all() and (values > 0).all()
    assert (high >= np.maximum(opens, close)).all() and (low <= np.minimum(opens, close)).all()
