"""The market made of a panel: broker-ready arrays, columns and their names, paths, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURE_SETS

NUM_BARS, NUM_ASSETS = 330, 4
PRICES = ("open", "high", "low", "close")


def lagged_return(panel):
    return np.diff(np.log(panel.close), axis=0, prepend=np.nan)


def test_missing_bars_carry_the_last_close(ragged):
    market = build_market(ragged, "minimal")
    exists = np.isfinite(ragged.close)
    carried = pd.DataFrame(ragged.close).ffill().fillna(0).to_numpy().astype(np.float32)
    for name in PRICES:
        values = np.asarray(getattr(market, name))
        np.testing.assert_array_equal(values, np.where(exists, getattr(ragged, name).astype(np.float32), carried))
        assert values.dtype == np.float32
    np.testing.assert_array_equal(np.asarray(market.volume) > 0, exists)
    np.testing.assert_array_equal(market.tradable, exists)
    np.testing.assert_array_equal(market.split, ragged.split)
    np.testing.assert_array_equal(market.dividend, ragged.dividend.astype(np.float32))
    assert (np.asarray(market.path_end) == NUM_BARS - 1).all()
    assert market.sessions.dtype == jnp.int32
    assert market.symbols == ragged.symbols and market.times is ragged.times


def test_multiples_of_costs_pass_to_the_market_and_change_no_feature(panel):
    scale = np.random.default_rng(0).uniform(1, 9, panel.close.shape)
    market = build_market(panel.replace(spread_scale=scale), "minimal")
    np.testing.assert_array_equal(market.spread_scale, scale.astype(np.float32))
    assert market.impact_scale is None
    plain = build_market(panel, "minimal")
    assert plain.spread_scale is None
    np.testing.assert_array_equal(market.features, plain.features)
    np.testing.assert_array_equal(market.window(20).spread_scale, market.spread_scale[20:])


def test_delisted_marks_the_bar_after_the_last_own_one(ragged, panel):
    delisted = np.asarray(build_market(ragged, "minimal").delisted)
    assert np.argwhere(delisted).tolist() == [[300, 3]]
    assert build_market(panel, "minimal").delisted is None
    idle = panel.tradable.copy()
    idle[200:, 0] = False  # still quoted, never tradable again
    idle[:, 1] = False  # never tradable at all
    idle[-1, 2] = False
    assert build_market(panel.replace(tradable=idle), "minimal").delisted is None
    # A last bar without volume is still a bar: the end comes after it.
    prices = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close")}
    for price in prices.values():
        price[201:, 0] = np.nan
    delisted = np.asarray(build_market(panel.replace(tradable=idle & ~np.isnan(price), **prices), "minimal").delisted)
    assert np.argwhere(delisted).tolist() == [[201, 0]]


def test_leaving_a_universe_is_no_end_and_reaches_the_market(panel):
    inside = np.ones(panel.close.shape, bool)
    inside[200:, 0], inside[100:150, 1] = False, False
    market = build_market(panel.replace(buyable=inside), "minimal")
    assert market.delisted is None and np.asarray(market.tradable).all()
    np.testing.assert_array_equal(market.buyable, inside)
    np.testing.assert_array_equal(market.window(150).buyable, inside[150:])
    np.testing.assert_array_equal(market.features, build_market(panel, "minimal").features)
    assert build_market(panel, "minimal").buyable is None


@pytest.mark.thorough
def test_columns_of_a_set(panel):
    market = build_market(panel)
    assert market.feature_names == (*FEATURE_SETS["standard"], "warm", "known")
    assert market.features.shape == (NUM_BARS, NUM_ASSETS, len(FEATURE_SETS["standard"]) + 2)
    assert market.dividend is None
    assert market.split is None


def test_features_see_total_returns(ragged):
    market = build_market(ragged, ["log_return_1"])
    split, dividend = ragged.split[1:], ragged.dividend[1:]
    returns = np.log((ragged.close[1:] + dividend) * split / ragged.close[:-1])
    for t, asset in ((100, 0), (150, 2)):
        assert (split[t - 1, asset] != 1) or (dividend[t - 1, asset] != 0)
        np.testing.assert_allclose(market.features[t, asset, 0], returns[t - 1, asset], rtol=1e-4)


def test_a_window_keeps_features_of_the_whole_history(panel):
    market = build_market(panel, "minimal")
    window = market.window(200, 260)
    np.testing.assert_array_equal(window.features, market.features[200:260])
    assert (np.asarray(window.features)[..., -1] == 1).all()
    assert window.feature_names == market.feature_names


def test_own_columns_join_in_order(panel):
    news = np.where(np.arange(NUM_BARS)[:, None] % 50 == 0, np.nan, 123.0) * np.ones(NUM_ASSETS)
    extreme = np.full(panel.close.shape, np.inf)
    panel = panel.replace(signals={"news": news, "extreme": extreme})

    def twice_the_range(panel):
        return 2 * (panel.high - panel.low) / panel.close

    names = ("twice_the_range", "rsi_14", "log_return_1", "signal_news", "signal_extreme", "warm", "known")
    market = build_market(panel, [twice_the_range, "rsi_14", "log_return_1"])
    assert market.feature_names == names
    values = dict(zip(names, np.moveaxis(np.asarray(market.features), -1, 0), strict=True))
    np.testing.assert_allclose(values["twice_the_range"], 2 * (panel.high - panel.low) / panel.close, rtol=1e-5)
    np.testing.assert_array_equal(values["signal_news"], np.nan_to_num(news).astype(np.float32))
    assert (values["signal_extreme"] == np.float32(1e15)).all()
    assert (values["known"] == 1).all()
    assert values["warm"][:, 0].tolist() == [0.0] + [0.5] * 13 + [1.0] * (NUM_BARS - 14)
    plain = build_market(panel, ["log_return_1", "rsi_14"])
    np.testing.assert_array_equal(plain.features[..., 0], values["log_return_1"])
    np.testing.assert_array_equal(plain.features[..., 1], values["rsi_14"])


def test_signals_join_unless_some_are_named(panel):
    panel = panel.replace(signals={"news": panel.close, "other": panel.open})
    market = build_market(panel, ["rsi_14"])
    assert market.feature_names == ("rsi_14", "signal_news", "signal_other", "warm", "known")
    assert build_market(panel, market.feature_names).feature_names == market.feature_names
    named = build_market(panel, ["signal_other", "rsi_14"])
    assert named.feature_names == ("signal_other", "rsi_14", "warm", "known")
    np.testing.assert_array_equal(named.features[..., 0], panel.open.astype(np.float32))
    np.testing.assert_array_equal(named.features[..., 1], market.features[..., 0])


def test_own_functions_see_one_path_at_a_time(panel):
    joined = jax.tree.map(lambda x: np.concatenate([x, x]), panel).replace(labels=None)
    path_end = np.repeat([NUM_BARS - 1, 2 * NUM_BARS - 1], NUM_BARS)
    market = build_market(joined, [lagged_return], path_end)
    np.testing.assert_array_equal(market.path_end, path_end)
    assert (np.asarray(market.features)[[0, NUM_BARS], :, 0] == 0).all()
    np.testing.assert_array_equal(market.features[:NUM_BARS], market.features[NUM_BARS:])


def test_paths_bound_the_broker_arrays(make_panel, remove_bars):
    panel = make_panel(num_bars=20, num_assets=2)
    missing = np.zeros((20, 2), bool)
    missing[8:13, 0] = True
    market = build_market(remove_bars(panel, missing), [], np.repeat([9, 19], 10))
    assert (np.asarray(market.close)[10:13, 0] == 0).all()
    assert (np.asarray(market.close)[8:10, 0] == np.float32(panel.close[7, 0])).all()
    assert np.argwhere(np.asarray(market.delisted)).tolist() == [[8, 0]]
    assert market.feature_names == ("warm", "known")
    np.testing.assert_array_equal(market.features[..., 0], market.features[..., 1])


@pytest.mark.parametrize("path_end", [np.repeat([9, 19], [12, 8]), np.full(20, 9), np.full(19, 18), np.full(20, -1)])
def test_paths_of_another_length_are_an_error(path_end, make_panel):
    with pytest.raises(ValueError, match="path_end must hold"):
        build_market(make_panel(num_bars=20), [], path_end)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("standart", "Unknown feature set 'standart'; did you mean 'standard'"),
        ("rsi_14", "Unknown feature set 'rsi_14'.* A single feature goes in a list"),
        (["rsi14"], "Unknown feature 'rsi14'; did you mean 'rsi_14'"),
        (["signal_new"], "Unknown feature 'signal_new'; did you mean 'signal_news'"),
        (["@"], "Unknown feature '@'; known are log_return_1, "),
        (["rsi_14", "rsi_14"], "'rsi_14' is given twice"),
        ([3], "holds 3; give names and functions"),
    ],
)
def test_unknown_names_are_errors(features, message, panel):
    with pytest.raises(ValueError, match=message):
        build_market(panel.replace(signals={"news": panel.close}), features)


@pytest.mark.parametrize("name", ["rsi_14", "warm", "known"])
def test_a_function_may_not_take_a_known_name(name, panel):
    def function(panel):
        return panel.close

    function.__name__ = name
    with pytest.raises(ValueError, match=f"'{name}' has the name of a known feature"):
        build_market(panel, [function])


def test_an_inconsistent_panel_is_an_error(panel):
    high = panel.high.copy()
    high[5, 1] = panel.low[5, 1] / 2
    with pytest.raises(ValueError, match=r"outside \[low, high\] at 2015-01-06.* T1"):
        build_market(panel.replace(high=high))


def test_build_market_inside_jit(ragged):
    inside = jax.jit(lambda panel: build_market(panel, "minimal"))(ragged)
    outside = build_market(ragged, "minimal")
    np.testing.assert_allclose(inside.features, outside.features, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(inside.close, outside.close)
    np.testing.assert_array_equal(inside.delisted, outside.delisted)


def test_double_precision(ragged):
    with jax.enable_x64(True):
        market = build_market(ragged, "minimal")
    assert market.features.dtype == market.close.dtype == market.dividend.dtype == np.float64


def test_a_function_of_another_shape_is_an_error(panel):
    def bad_shape(panel):
        return panel.close[1:]

    with pytest.raises(ValueError, match=r"'bad_shape' returned shape \(329, 4\); .*\(330, 4\)"):
        build_market(panel, [bad_shape])
