"""The built-in features: values, warm-up, causality, gaps and paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import talib

from ploutos_jax.market.bars import own_bars
from ploutos_jax.market.causality import perturb_after
from ploutos_jax.market.corporate_actions import total_return
from ploutos_jax.market.feature_set import FEATURE_SETS, FEATURES
from ploutos_jax.market.features import CLIP, compute_features
from ploutos_jax.market.panel import Panel

NUM_BARS, NUM_ASSETS = 330, 4
NAMES = tuple(feature.name for feature in FEATURES)
WARM_UP = max(feature.warm_up for feature in FEATURES)
PRICES = ("open", "high", "low", "close")


def all_features(panel: Panel, num_paths: int = 1) -> np.ndarray:
    """Every feature there is; panels of one shape share the compiled function."""
    return np.asarray(compute_features(total_return(panel, num_paths), FEATURES, num_paths))


@pytest.fixture(scope="module")
def table(panel):
    return all_features(panel)


@pytest.fixture(scope="module")
def ragged_table(ragged):
    return all_features(ragged)


def expect(panel: Panel, asset: int) -> dict[str, np.ndarray]:
    """The network form of every feature by TA-Lib and pandas, one asset without gaps."""
    opens, high, low, close, volume = (getattr(panel, name)[:, asset].copy() for name in (*PRICES, "volume"))
    c, v = pd.Series(close), pd.Series(volume)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    highest, lowest = pd.Series(high).rolling(14).max(), pd.Series(low).rolling(14).min()
    obv = pd.Series(talib.OBV(close, volume))
    volatility = np.log(c).diff().rolling(20).std()
    values = {
        "log_return_1": np.log(c / c.shift(1)),
        "log_return_5": np.log(c / c.shift(5)),
        "log_return_20": np.log(c / c.shift(20)),
        "log_return_60": np.log(c / c.shift(60)),
        "momentum_252_21": np.log(c.shift(21) / c.shift(252)),
        "close_over_sma_10": close / talib.SMA(close, 10) - 1,
        "close_over_sma_20": close / talib.SMA(close, 20) - 1,
        "close_over_sma_50": close / talib.SMA(close, 50) - 1,
        "close_over_ema_20": close / talib.EMA(close, 20) - 1,
        "macd": line / close,
        "macd_signal": signal / close,
        "macd_histogram": histogram / close,
        "adx_14": talib.ADX(high, low, close, 14) / 100,
        "rsi_14": talib.RSI(close, 14) / 50 - 1,
        "stochastic_k_14": (c - lowest) / (highest - lowest),
        "williams_r_14": talib.WILLR(high, low, close, 14) / 100,
        "roc_10": talib.ROC(close, 10) / 100,
        "cci_20": talib.CCI(high, low, close, 20) / 200,
        "mfi_14": talib.MFI(high, low, close, volume, 14) / 50 - 1,
        "bollinger_percent_b_20": (close - lower) / (upper - lower) - 0.5,
        "bollinger_width_20": (upper - lower) / middle,
        "natr_14": talib.NATR(high, low, close, 14) / 100,
        "volatility_20": volatility * np.sqrt(252),
        "volume_ratio_20": np.log(v / v.rolling(20).mean()),
        "obv_20": (obv - obv.shift(20)) / v.rolling(20).sum(),
        "gap": (opens / c.shift(1) - 1) / volatility,
        "range": (high - low) / close,
    }
    return {name: np.clip(np.asarray(x), -CLIP, CLIP) for name, x in values.items()}


@pytest.fixture(scope="module")
def expected(panel):
    columns = [expect(panel, a) for a in range(NUM_ASSETS)]
    return {name: np.stack([column[name] for column in columns], axis=1) for name in columns[0]}


@pytest.fixture(scope="module")
def double_table(panel):
    with jax.enable_x64(True):
        return all_features(panel)


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_values_and_warm_up(feature, table, double_table, expected):
    column, truth = NAMES.index(feature.name), expected[feature.name]
    assert np.isnan(truth[: feature.warm_up]).all()
    assert np.isfinite(truth[feature.warm_up :]).all()
    assert (table[: feature.warm_up, :, column] == 0).all()
    for values, tolerance, dtype in ((double_table, 1e-6, np.float64), (table, 1e-3, np.float32)):
        assert values.dtype == dtype
        error = np.abs(values[feature.warm_up :, :, column] - truth[feature.warm_up :])
        assert error.max() <= tolerance * truth[feature.warm_up :].std()


def test_warm_ups_are_the_first_known_bars(panel):
    @jax.jit
    def is_unknown(prices, sessions):
        bars = own_bars(*prices, sessions=sessions)
        return jnp.stack([jnp.isnan(feature.function(bars)) for feature in FEATURES], axis=-1)

    prices = tuple(jnp.asarray(getattr(panel, name), jnp.float32) for name in (*PRICES, "volume"))
    unknown = np.asarray(is_unknown(prices, jnp.asarray(panel.sessions)))
    for i, feature in enumerate(FEATURES):
        assert unknown[: feature.warm_up, :, i].all(), feature.name
        assert not unknown[feature.warm_up :, :, i].any(), feature.name


def test_known_follows_bars_and_warm_up(table, ragged, ragged_table):
    assert (table[:WARM_UP, :, -1] == 0).all()
    assert (table[WARM_UP:, :, -1] == 1).all()
    exists = np.isfinite(ragged.close)
    np.testing.assert_array_equal(ragged_table[..., -1], exists & (np.cumsum(exists, axis=0) > WARM_UP))
    assert (ragged_table[~exists] == 0).all()


def test_flat_prices_are_neutral(panel):
    flat = np.full((NUM_BARS, NUM_ASSETS), [1.0, 0.37, 100.1, 5432.1])
    flat_panel = panel.replace(open=flat, high=flat, low=flat, close=flat, volume=np.full(flat.shape, 500.0))
    neutral = dict.fromkeys(NAMES, 0.0) | {"stochastic_k_14": 0.5, "williams_r_14": -0.5}
    values = all_features(flat_panel)
    for i, feature in enumerate(FEATURES):
        np.testing.assert_allclose(
            values[feature.warm_up :, :, i], neutral[feature.name], atol=1e-6, err_msg=feature.name
        )


def test_the_unit_of_price_and_volume_does_not_matter(panel, table):
    scaled = panel.replace(**{name: getattr(panel, name) * 1024.0 for name in PRICES}, volume=panel.volume * 8)
    np.testing.assert_allclose(all_features(scaled), table, rtol=1e-5, atol=1e-5)


def test_a_pure_split_is_invisible_to_features(panel, table):
    ratio = np.ones(panel.close.shape)
    ratio[200] = [2.0, 4.0, 0.5, 8.0]
    shares = np.cumprod(ratio, axis=0)
    traded = panel.replace(
        **{name: getattr(panel, name) / shares for name in PRICES}, volume=panel.volume * shares, split=ratio
    )
    np.testing.assert_array_equal(all_features(traded), table)


def test_hostile_series_stay_finite(panel, remove_bars):
    rng = np.random.default_rng(3)
    close = panel.close.copy()
    close[:, 0] = np.where(np.arange(NUM_BARS) % 2, 1e-25, 1e25)
    close[:, 1] = np.exp(rng.normal(0, 25, NUM_BARS))
    close[100:, 2] = close[100, 2]
    high, low = close * 1.01, close * 0.99
    high[150:, 2] = low[150:, 2] = close[150:, 2]
    volume = np.where(rng.random(close.shape) < 0.5, 0, 10 ** rng.uniform(0, 14, close.shape))
    hostile = panel.replace(open=close, high=high, low=low, close=close, volume=volume)
    hostile = remove_bars(hostile, (rng.random(close.shape) < 0.3) & (np.arange(NUM_ASSETS) == 3))
    values = all_features(hostile)
    assert np.isfinite(values).all()
    assert np.abs(values).max() <= CLIP


@pytest.fixture(scope="module")
def perturbed_tables(ragged):
    rng = np.random.default_rng(5)
    return {t: all_features(perturb_after(ragged, t, rng)) for t in (0, 45, 140, 270, NUM_BARS - 2)}


@pytest.mark.parametrize("name", [*NAMES, "known"])
def test_no_feature_looks_ahead(name, ragged_table, perturbed_tables):
    column = [*NAMES, "known"].index(name)
    for t, values in perturbed_tables.items():
        np.testing.assert_array_equal(values[: t + 1, :, column], ragged_table[: t + 1, :, column])
    after = np.stack([values[280:, :, column] for values in perturbed_tables.values()])
    assert (after != after[-1]).any(), "the changes reached nothing"


def test_every_set_is_made_of_known_features():
    assert len(set(NAMES)) == len(NAMES)
    for names in FEATURE_SETS.values():
        assert len(set(names)) == len(names)
        assert set(names) <= set(NAMES)


def test_an_asset_with_gaps_equals_its_bars_moved_together(ragged, ragged_table):
    adjusted = total_return(ragged)
    missing = np.isnan(ragged.close)
    order = np.argsort(missing, axis=0, kind="stable")
    together = adjusted.replace(
        **{name: np.take_along_axis(getattr(adjusted, name), order, axis=0) for name in (*PRICES, "volume")}
    )
    moved = all_features(together)
    for asset in range(NUM_ASSETS):
        bars = np.flatnonzero(~missing[:, asset])
        np.testing.assert_array_equal(ragged_table[bars, asset], moved[: len(bars), asset])


def test_missing_bars_of_one_asset_leave_the_others_alone(panel, table, remove_bars):
    missing = np.zeros(panel.close.shape, bool)
    missing[50:90, 1] = True
    values = all_features(remove_bars(panel, missing))
    np.testing.assert_array_equal(values[:, [0, 2, 3]], table[:, [0, 2, 3]])
    np.testing.assert_array_equal(values[:50, 1], table[:50, 1])
    assert (values[90:, 1] != table[90:, 1]).any()


def test_assets_in_another_order(ragged, ragged_table):
    order = [2, 0, 3, 1]
    values = all_features(ragged.select([ragged.symbols[i] for i in order]))
    np.testing.assert_array_equal(values, ragged_table[:, order])


def test_paths_do_not_see_each_other(ragged, ragged_table, panel, table, make_ragged_panel):
    joined = jax.tree.map(
        lambda x, y: np.concatenate([x, y]),
        ragged,
        panel.replace(split=np.ones(panel.close.shape), dividend=np.zeros(panel.close.shape)),
    )
    values = all_features(joined, num_paths=2)
    np.testing.assert_allclose(values[:NUM_BARS], ragged_table, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values[NUM_BARS:], table, rtol=1e-5, atol=1e-5)
    other = jax.tree.map(lambda x, y: np.concatenate([x, y[NUM_BARS:]]), make_ragged_panel(9), joined)
    np.testing.assert_array_equal(all_features(other, num_paths=2)[NUM_BARS:], values[NUM_BARS:])
    assert (all_features(other, num_paths=2)[:NUM_BARS] != values[:NUM_BARS]).any()
