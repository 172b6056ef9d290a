"""An edge in the synthetic market: of the size asked for, at the time said, and nothing else of the market moves."""

import jax
import numpy as np
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.hints import HINT
from ploutos_jax.market.synthetic.edge import EDGE_PERSISTENCE
from ploutos_jax.market.synthetic.generate import draw_panel, synthetic_panel
from ploutos_jax.market.synthetic.planted import is_planted

BARS = ("open", "high", "low", "close", "volume", "spread_scale")
NUM_ASSETS, NUM_BARS, NUM_PATHS = 6, 700, 4
SIZES = {"num_assets": NUM_ASSETS, "num_bars": NUM_BARS, "num_paths": NUM_PATHS}


@pytest.fixture(scope="module")
def panels():
    """By edge, of one key."""
    return {edge: synthetic_panel(jax.random.key(3), **SIZES, edge=edge) for edge in (None, 0.0, 0.05, 1.0)}


def by_path(x):
    return np.asarray(x, np.float64).reshape(NUM_PATHS, NUM_BARS, NUM_ASSETS)


@pytest.mark.thorough
def test_without_an_edge_and_with_one_of_nothing_bars_are_the_same_to_the_last_bit(panels):
    for name in BARS:
        np.testing.assert_array_equal(getattr(panels[None], name), getattr(panels[0.0], name), err_msg=name)
    assert not panels[None].signals and list(panels[0.0].signals) == [HINT]
    assert panels[None].labels.hint is None and not panels[None].notes
    np.testing.assert_array_equal(panels[0.0].signals[HINT], panels[1.0].signals[HINT])


@pytest.mark.thorough
@pytest.mark.parametrize("edge", [0.05, 1.0])
def test_the_hint_multiplies_the_price_between_the_next_open_and_its_close(panels, edge):
    plain, edged = panels[None], panels[edge]
    law = edged.labels.hint
    promised = by_path(edge * law.volatility_by_bar * np.asarray(edged.signals[HINT], np.float64))

    def inside(panel):
        return by_path(panel.close) / by_path(panel.open)

    np.testing.assert_allclose((inside(edged) / inside(plain))[:, 1:], 1 + promised[:, :-1], rtol=2e-5)
    gaps = [by_path(panel.open)[:, 1:] / by_path(panel.close)[:, :-1] for panel in (edged, plain)]
    np.testing.assert_allclose(*gaps, rtol=2e-5, err_msg="nights are those of no edge")
    edged.validate()
    assert (np.asarray(edged.spread_scale) > 0).all()


@pytest.mark.thorough
def test_hints_are_persistent_and_apart_from_prices(panels):
    hint = by_path(panels[0.0].signals[HINT])
    inside = np.log(by_path(panels[0.0].close) / by_path(panels[0.0].open))
    slope = (hint[:, 1:] * hint[:, :-1]).sum() / (hint[:, :-1] ** 2).sum()
    assert slope == pytest.approx(EDGE_PERSISTENCE, abs=4 * np.sqrt((1 - 0.97**2) / hint.size))
    assert (hint[:, :50] ** 2).mean() == pytest.approx(1, abs=0.6), "stationary from the first bar on"
    # A persistent series against shocks that are not: one over the root of their number.
    told = np.corrcoef(hint[:, :-1].ravel(), inside[:, 1:].ravel())[0, 1]
    assert abs(told) < 5 / np.sqrt(hint.size)
    assert not np.allclose(hint[0], hint[1]), "each path has hints of its own"


@pytest.mark.thorough
def test_the_usual_volatility_is_that_of_a_day():
    panel = synthetic_panel(jax.random.key(9), 8, 1500, num_paths=24, edge=0.0, jitter=0.2)
    returns = np.diff(np.log(np.asarray(panel.close, np.float64)).reshape(24, 1500, 8), axis=1)
    usual, found = panel.labels.hint.volatility, returns.std(axis=1)
    assert usual.shape == found.shape == (24, 8)
    assert np.median(found / usual) == pytest.approx(1, abs=0.12)
    assert np.corrcoef(np.log(usual).ravel(), np.log(found).ravel())[0, 1] > 0.5


@pytest.mark.thorough
def test_a_path_is_the_same_whatever_the_number_of_paths(panels):
    one = synthetic_panel(jax.random.key(3), NUM_ASSETS, NUM_BARS, edge=0.05)
    np.testing.assert_allclose(one.close, np.asarray(panels[0.05].close)[:NUM_BARS], rtol=1e-5)
    np.testing.assert_allclose(one.signals[HINT], np.asarray(panels[0.05].signals[HINT])[:NUM_BARS], atol=1e-6)
    np.testing.assert_allclose(one.labels.hint.volatility[0], panels[0.05].labels.hint.volatility[0], rtol=1e-6)


def test_it_says_what_it_is(panels):
    assert "adds 0.05 of the asset's usual daily volatility" in panels[0.05].notes[0]
    assert "tells nothing (edge 0)" in panels[0.0].notes[0]
    market = build_market(panels[0.05], "minimal")
    assert market.feature_names[-3:] == ("signal_hint", "warm", "known") and market.notes == panels[0.05].notes
    assert not is_planted(market), "that is another kind of market"
    window = market.window(NUM_BARS + 10, NUM_BARS + 20)
    np.testing.assert_array_equal(window.labels.hint.path, 1)


@pytest.mark.parametrize("edge", [-0.01, 1.01, float("nan"), float("inf")])
def test_an_edge_out_of_range_is_refused(edge):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        synthetic_panel(jax.random.key(0), 2, 30, edge=edge)


def test_intraday_bars_have_none():
    with pytest.raises(ValueError, match="edge=0.1 is for daily bars; preset='sp500-60m' has no hint"):
        draw_panel(jax.random.key(0), None, 2, 30, preset="sp500-60m", edge=0.1)
