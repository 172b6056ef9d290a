"""Features in their textbook form, against the oracles and by name."""

import jax
import numpy as np
import pytest

from ploutos_jax.market.features.catalog import FEATURE_SETS, FEATURES
from ploutos_jax.market.features.raw import raw_features, raw_form
from tests.market.features.oracles import network_values, raw_values
from tests.market.worlds import PRICES

ALONE = tuple(feature for feature in FEATURES if not feature.across_assets)
OTHER_NAMES = {
    "ease_of_movement_60": "ease_of_movement",
    "amihud_20": "log_illiquidity_20",
    "close_over_high_252": "high_252",
    "close_over_low_252": "low_252",
}


@pytest.fixture(scope="module")
def values(panel):
    with jax.enable_x64(True):
        return jax.device_get(raw_features(panel, [*FEATURE_SETS["standard"], "session_progress"]))


@pytest.fixture(scope="module")
def expected(panel):
    """The oracle's raw value where it has one, its network form where the two are one."""
    prices = {name: np.asarray(getattr(panel, name))[:, 0].copy() for name in (*PRICES, "volume")}
    raw = raw_values(**prices)
    network = network_values(raw, prices)
    truth = {}
    for feature in ALONE:
        name = OTHER_NAMES.get(feature.name, feature.name.removeprefix("close_over_"))
        truth[feature.name] = network[feature.name] if feature.raw is None else raw[name]
    return truth


@pytest.mark.parametrize("feature", ALONE, ids=[feature.name for feature in ALONE])
def test_agrees_with_the_oracle_from_its_first_bar_on(feature, values, expected):
    ours, truth, first = values[feature.name], expected[feature.name], raw_form(feature).warm_up
    assert np.isnan(ours[:first]).all() and np.isfinite(ours[first:]).all()
    error = np.abs(ours[first:, 0] - truth[first:])
    assert (error <= 1e-6 * np.maximum(np.abs(truth[first:]), truth[first:].std())).all()


def test_missing_bars_are_not_known(ragged):
    values = raw_features(ragged, ["rsi_14", "close_over_sma_10", "return_rank_20"])
    exists = np.isfinite(ragged.close)
    own_bar = np.cumsum(exists, axis=0) - 1
    for name, first in {"rsi_14": 14, "close_over_sma_10": 9, "return_rank_20": 20}.items():
        np.testing.assert_array_equal(np.isfinite(values[name]), exists & (own_bar >= first))


def test_a_set_by_its_name(panel):
    assert tuple(raw_features(panel, "minimal")) == FEATURE_SETS["minimal"]


@pytest.mark.parametrize(
    ("features", "said"),
    [("minimum", "Unknown feature set 'minimum'; did you mean 'minimal'"), (["rsi_15"], "did you mean 'rsi_14'")],
)
def test_unknown_names_are_errors(features, said, panel):
    with pytest.raises(ValueError, match=said):
        raw_features(panel, features)
