"""Windows of every length against pandas, their precision, and what a missing value does to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.indicators import rolling

WINDOWS = (1, 2, 3, 16, 24, 25, 31, 36, 97, 120)
NUM_ROWS = 110


def roll(x):
    """Every window function at every length; one program for all tests of this file."""
    functions = {
        "sum": rolling.rolling_sum,
        "max": rolling.rolling_max,
        "min": rolling.rolling_min,
        "mean": rolling.sma,
        "mean by offset": lambda y, w: y + rolling.rolling_offset(y, w),
        "std": rolling.rolling_std,
        "age": rolling.bars_since_max,
        "max so far": rolling.rolling_max_so_far,
    }
    return {(name, window): function(x, window) for name, function in functions.items() for window in WINDOWS}


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(roll)


@pytest.fixture(scope="module")
def walk():
    return np.random.default_rng(0).normal(size=(NUM_ROWS, 3)).astype(np.float32)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_of_every_length(window, compiled, walk):
    frame = pd.DataFrame(walk.astype(float)).rolling(window)
    truth = {
        "sum": frame.sum(),
        "max": frame.max(),
        "min": frame.min(),
        "mean": frame.mean(),
        "mean by offset": frame.mean(),
        "std": frame.std(ddof=0),
        "age": frame.apply(lambda y: window - 1 - np.argmax(y), raw=True),
        "max so far": pd.DataFrame(walk).rolling(window, min_periods=1).max(),
    }
    values = compiled(walk)
    for name, expected in truth.items():
        np.testing.assert_allclose(values[name, window], expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("window", WINDOWS)
def test_of_equal_highs_the_newest_counts(window, compiled):
    x = np.random.default_rng(0).integers(0, 3, (NUM_ROWS, 3)).astype(np.float32)
    newest = pd.DataFrame(x).rolling(window).apply(lambda y: np.argmax(y[::-1]), raw=True)
    np.testing.assert_array_equal(compiled(x)["age", window], newest)


@pytest.mark.parametrize("window", WINDOWS[1:])
def test_a_missing_value_stays_with_its_asset_and_window(window, compiled, walk):
    holed = walk.copy()
    holed[50:53, 1] = np.nan
    values, whole = jax.device_get(compiled(holed)), jax.device_get(compiled(walk))
    for name in ("sum", "max", "min", "std", "age"):
        ours, without = values[name, window], whole[name, window]
        np.testing.assert_array_equal(ours[:, [0, 2]], without[:, [0, 2]])
        np.testing.assert_array_equal(ours[:50, 1], without[:50, 1])
        assert np.isnan(ours[50 : 52 + window, 1]).all()
        np.testing.assert_allclose(ours[52 + window :, 1], without[52 + window :, 1], rtol=1e-5, atol=1e-5)


def test_powers_and_covariance():
    x = np.random.default_rng(1).standard_t(4, (150, 2)).astype(np.float32)
    rows = np.lib.stride_tricks.sliding_window_view(x.astype(float), 60, axis=0)
    distance = rows - rows.mean(axis=-1, keepdims=True)
    for values, power in zip(jax.jit(rolling.rolling_powers, static_argnums=1)(x, 60), (2, 3, 4), strict=True):
        np.testing.assert_allclose(values[59:], (distance**power).mean(axis=-1), rtol=1e-4, atol=1e-5)
    frame = pd.DataFrame(x.astype(float))
    truth = frame[0].rolling(60).cov(frame[1], ddof=0)
    covariance = rolling.rolling_covariance(jnp.asarray(x[:, :1]), jnp.asarray(x[:, 1:]), 60)
    np.testing.assert_allclose(covariance[:, 0], truth, rtol=1e-4, atol=1e-6)


def test_spread_of_a_high_price_in_single_precision():
    """The spread is 1e-5 of the level, late in a long series: where differences of running totals lose every digit."""
    x = (20_000 + np.cumsum(np.random.default_rng(0).normal(0, 0.05, (20_000, 1)), axis=0)).astype(np.float32)
    for window in (20, 60):
        std = np.asarray(jax.jit(rolling.rolling_std, static_argnums=1)(x, window))[window - 1 :, 0]
        truth = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(float), window).std(axis=1)
        assert np.abs(std / truth - 1).max() < 5e-5


def test_a_flat_price_has_no_spread_after_a_jump():
    x = np.full((200, 1), 123.45, np.float32)
    x[60] = 1e6
    for window in (20, 60):
        std = np.asarray(rolling.rolling_std(jnp.asarray(x), window))[:, 0]
        assert (std[60 + window :] == 0).all()
        assert (std[60 : 60 + window] > 1e4).all()


def test_shift_and_difference_reach_before_the_first_row():
    x = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(rolling.shift(x, 1), [[np.nan, np.nan], [0, 1], [2, 3]])
    assert np.isnan(rolling.shift(x, 5)).all()
    np.testing.assert_array_equal(rolling.difference(x)[1:], 2)


def test_quotients():
    quotient = rolling.divide(jnp.array([1.0, 0.0, 2.0, jnp.nan]), jnp.array([2.0, 0.0, 0.0, 0.0]), 7.0)
    np.testing.assert_array_equal(quotient, [0.5, 7, 7, np.nan])
    base, near = np.float32(500), np.nextafter(np.float32(500), np.float32(501))
    exact = np.log(float(near) / float(base))
    np.testing.assert_allclose(rolling.log_ratio(jnp.asarray(near), jnp.asarray(base)), exact, rtol=1e-6)


@pytest.mark.parametrize(
    "function", [rolling.sma, rolling.rolling_max, rolling.rolling_std, rolling.bars_since_max, rolling.rolling_powers]
)
@pytest.mark.parametrize("window", [0, -3])
def test_a_window_without_bars_is_an_error(function, window):
    with pytest.raises(ValueError, match=f"at least 1 bar; got {window}"):
        function(jnp.ones((5, 1)), window)
