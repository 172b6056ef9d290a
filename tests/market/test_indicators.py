"""Indicators against TA-Lib and pandas, on flat prices, and with missing bars."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import talib

from ploutos_jax.market import indicators

NUM_BARS, NUM_ASSETS = 420, 3
# Name -> first row with a value.
FIRST_ROW = {
    "sma_10": 9,
    "sma_50": 49,
    "ema_10": 9,
    "ema_20": 19,
    "wilder_14": 13,
    "macd": 33,
    "macd_signal": 33,
    "macd_histogram": 33,
    "adx_14": 27,
    "rsi_7": 7,
    "rsi_14": 14,
    "stochastic_k_14": 13,
    "williams_r_14": 13,
    "roc_10": 10,
    "log_return_5": 5,
    "cci_20": 19,
    "mfi_14": 14,
    "bollinger_lower": 19,
    "bollinger_middle": 19,
    "bollinger_upper": 19,
    "bollinger_width": 19,
    "bollinger_percent_b": 19,
    "true_range": 1,
    "atr_14": 14,
    "volatility_20": 20,
    "obv_20": 20,
    "sum_13": 12,
    "max_252": 251,
    "min_100": 99,
}
# Where a formula is 0/0 on flat prices, and everywhere else, the value that a network should read as "nothing there".
FLAT = {
    "rsi_7": 50.0,
    "rsi_14": 50.0,
    "stochastic_k_14": 50.0,
    "williams_r_14": -50.0,
    "cci_20": 0.0,
    "mfi_14": 50.0,
    "bollinger_percent_b": 0.5,
    "bollinger_width": 0.0,
    "adx_14": 0.0,
    "macd_histogram": 0.0,
    "volatility_20": 0.0,
    "obv_20": 0.0,
    "atr_14": 0.0,
    "roc_10": 0.0,
    "log_return_5": 0.0,
}


def make_bars() -> dict[str, np.ndarray]:
    """Random bars of three assets: a usual one, one with many ties, one of a high price and small moves."""
    rng = np.random.default_rng(7)
    spread = np.array([0.02, 0.03, 0.004])
    close = np.array([50.0, 3.0, 9000.0]) * np.exp(np.cumsum(rng.normal(0, spread, (NUM_BARS, NUM_ASSETS)), axis=0))
    close[:, 1] = np.round(close[:, 1], 1)
    opens = close * np.exp(rng.normal(0, spread / 3, close.shape))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, spread / 3, close.shape)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, spread / 3, close.shape)))
    high[:, 1], low[:, 1] = np.round(high[:, 1] + 0.05, 1), np.round(low[:, 1] - 0.05, 1)
    volume = rng.integers(0, 10**7, close.shape).astype(float)
    return {"high": high, "low": low, "close": close, "volume": volume}


def compute(high, low, close, volume):
    line, signal, histogram = indicators.macd(close)
    lower, middle, upper = indicators.bollinger(close)
    return {
        "sma_10": indicators.sma(close, 10),
        "sma_50": indicators.sma(close, 50),
        "ema_10": indicators.ema(close, 10),
        "ema_20": indicators.ema(close, 20),
        "wilder_14": indicators.wilder(close, 14),
        "macd": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "adx_14": indicators.adx(high, low, close, 14),
        "rsi_7": indicators.rsi(close, 7),
        "rsi_14": indicators.rsi(close, 14),
        "stochastic_k_14": indicators.stochastic_k(high, low, close, 14),
        "williams_r_14": indicators.williams_r(high, low, close, 14),
        "roc_10": indicators.rate_of_change(close, 10),
        "log_return_5": indicators.log_return(close, 5),
        "cci_20": indicators.cci(high, low, close, 20),
        "mfi_14": indicators.mfi(high, low, close, volume, 14),
        "bollinger_lower": lower,
        "bollinger_middle": middle,
        "bollinger_upper": upper,
        "bollinger_width": indicators.bollinger_width(close),
        "bollinger_percent_b": indicators.bollinger_percent_b(close),
        "true_range": indicators.true_range(high, low, close),
        "atr_14": indicators.atr(high, low, close, 14),
        "volatility_20": indicators.realised_volatility(close, 20),
        "obv_20": indicators.obv_change(close, volume, 20),
        "sum_13": indicators.rolling_sum(close, 13),
        "max_252": indicators.rolling_max(high, 252),
        "min_100": indicators.rolling_min(low, 100),
    }


def expect(high, low, close, volume) -> dict[str, np.ndarray]:
    """The same of one asset by TA-Lib, or by pandas where TA-Lib has nothing or another convention."""
    prices = pd.DataFrame({"high": high, "low": low, "close": close, "volume": volume})
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    upper, middle, lower = talib.BBANDS(close, 20, 2, 2)
    highest, lowest = prices.high.rolling(14).max(), prices.low.rolling(14).min()
    band = prices.close.rolling(20)
    obv = pd.Series(talib.OBV(close, volume))
    return {
        "sma_10": talib.SMA(close, 10),
        "sma_50": talib.SMA(close, 50),
        "ema_10": talib.EMA(close, 10),
        "ema_20": talib.EMA(close, 20),
        "wilder_14": wilder_by_hand(close, 14),
        "macd": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "adx_14": talib.ADX(high, low, close, 14),
        "rsi_7": talib.RSI(close, 7),
        "rsi_14": talib.RSI(close, 14),
        "stochastic_k_14": (100 * (prices.close - lowest) / (highest - lowest)).to_numpy(),
        "williams_r_14": talib.WILLR(high, low, close, 14),
        "roc_10": talib.ROC(close, 10),
        "log_return_5": np.log(prices.close / prices.close.shift(5)).to_numpy(),
        "cci_20": talib.CCI(high, low, close, 20),
        "mfi_14": talib.MFI(high, low, close, volume, 14),
        "bollinger_lower": lower,
        "bollinger_middle": middle,
        "bollinger_upper": upper,
        "bollinger_width": (100 * 4 * band.std(ddof=0) / band.mean()).to_numpy(),
        "bollinger_percent_b": ((prices.close - band.mean()) / (4 * band.std(ddof=0)) + 0.5).to_numpy(),
        "true_range": talib.TRANGE(high, low, close),
        "atr_14": talib.ATR(high, low, close, 14),
        "volatility_20": np.log(prices.close).diff().rolling(20).std(ddof=1).to_numpy(),
        "obv_20": (obv - obv.shift(20)).to_numpy(),
        "sum_13": prices.close.rolling(13).sum().to_numpy(),
        "max_252": prices.high.rolling(252).max().to_numpy(),
        "min_100": prices.low.rolling(100).min().to_numpy(),
    }


def wilder_by_hand(x: np.ndarray, window: int) -> np.ndarray:
    y = np.full_like(x, np.nan)
    y[window - 1] = x[:window].mean()
    for t in range(window, len(x)):
        y[t] = (y[t - 1] * (window - 1) + x[t]) / window
    return y


@pytest.fixture(scope="module")
def bars():
    return make_bars()


@pytest.fixture(scope="module")
def compiled():
    return jax.jit(compute)


@pytest.fixture(scope="module")
def expected(bars):
    columns = [expect(**{name: x[:, a].copy() for name, x in bars.items()}) for a in range(NUM_ASSETS)]
    return {name: np.stack([column[name] for column in columns], axis=1) for name in columns[0]}


@pytest.fixture(scope="module")
def double(bars, compiled):
    with jax.enable_x64(True):
        return jax.device_get(compiled(**{name: jnp.asarray(x, jnp.float64) for name, x in bars.items()}))


@pytest.fixture(scope="module")
def single(bars, compiled):
    return jax.device_get(compiled(**{name: jnp.asarray(x, jnp.float32) for name, x in bars.items()}))


@pytest.mark.parametrize("name", FIRST_ROW)
def test_agrees_with_the_oracle(name, double, single, expected):
    first = FIRST_ROW[name]
    truth = expected[name]
    assert double[name].dtype == np.float64
    assert single[name].dtype == np.float32
    assert np.isfinite(truth[first:]).all()
    # Relative to the indicator's own spread: a difference of two averages has no relative error of its own.
    spread = truth[first:].std(axis=0)
    assert (np.abs(double[name][first:] - truth[first:]) <= 1e-8 * (np.abs(truth[first:]) + spread)).all()
    error = np.abs(single[name][first:] - truth[first:])
    assert (error <= 1e-3 * (np.abs(truth[first:]) + spread)).all()


@pytest.mark.parametrize("name", FIRST_ROW)
def test_first_row_with_a_value(name, double, single, expected):
    for values in (double[name], single[name]):
        assert np.isnan(values[: FIRST_ROW[name]]).all()
        assert np.isfinite(values[FIRST_ROW[name] :]).all()
    assert np.isnan(expected[name][: FIRST_ROW[name]]).all()


@pytest.mark.parametrize("price", [1.0, 0.1, 123.45, 9876.54])
def test_flat_prices_give_neutral_values(price, compiled):
    flat = jnp.full((NUM_BARS, NUM_ASSETS), price, jnp.float32)
    values = jax.device_get(compiled(high=flat, low=flat, close=flat, volume=jnp.full_like(flat, 1000.0)))
    for name, neutral in FLAT.items():
        np.testing.assert_allclose(values[name][FIRST_ROW[name] :], neutral, atol=2e-6 * price, err_msg=name)
    for name in ("rsi_14", "stochastic_k_14", "cci_20", "mfi_14", "bollinger_percent_b", "volatility_20"):
        assert (values[name][FIRST_ROW[name] :] == FLAT[name]).all(), name


def test_no_volume_gives_neutral_money_flow(bars, compiled):
    values = compiled(
        **{name: jnp.asarray(x, jnp.float32) for name, x in (bars | {"volume": bars["volume"] * 0}).items()}
    )
    assert (np.asarray(values["mfi_14"])[14:] == 50).all()


def test_a_missing_bar_stays_with_its_asset_and_window(bars, compiled, single):
    holed = {name: x.astype(np.float32) for name, x in bars.items()}
    for x in holed.values():
        x[60:63, 1] = np.nan
    values = jax.device_get(compiled(**holed))
    for name in FIRST_ROW:
        np.testing.assert_array_equal(values[name][:, [0, 2]], single[name][:, [0, 2]], err_msg=name)
        np.testing.assert_array_equal(values[name][:60, 1], single[name][:60, 1], err_msg=name)
        assert np.isnan(values[name][60:63, 1]).all(), name
        assert np.isfinite(values[name][63 + 252 :, 1]).all(), name


@pytest.mark.parametrize("smooth", [indicators.ema, indicators.wilder])
def test_a_recursion_passes_over_missing_bars(smooth, bars):
    close = bars["close"][:60].astype(np.float32)
    kept = np.setdiff1d(np.arange(60), [0, 1, 5, 20, 21, 40])
    holed = np.full_like(close, np.nan)
    holed[kept] = close[kept]
    moved = np.full_like(close, np.nan)
    moved[: len(kept)] = close[kept]
    run = jax.jit(partial(smooth, window=10))
    np.testing.assert_array_equal(np.asarray(run(holed))[kept], np.asarray(run(moved))[: len(kept)])
    assert np.isnan(np.delete(np.asarray(run(holed)), kept, axis=0)).all()


@pytest.mark.parametrize("window", [1, 2, 3, 7, 16, 31, 60, 70])
def test_windows_of_every_length(window):
    x = np.random.default_rng(window).normal(size=(60, 2)).astype(np.float32)
    frame = pd.DataFrame(x.astype(float)).rolling(window)
    for function, truth in (
        (indicators.rolling_sum, frame.sum()),
        (indicators.rolling_max, frame.max()),
        (indicators.rolling_min, frame.min()),
        (lambda y, w: y + indicators.rolling_offset(y, w), frame.mean()),
        (indicators.rolling_std, frame.std(ddof=0)),
    ):
        np.testing.assert_allclose(function(jnp.asarray(x), window), truth.to_numpy(), rtol=1e-5, atol=1e-6)


def test_rolling_spread_of_a_high_price_in_single_precision():
    """The spread is 1e-5 of the level, late in a long series: where differences of running totals lose every digit."""
    x = (20_000 + np.cumsum(np.random.default_rng(0).normal(0, 0.05, (20_000, 1)), axis=0)).astype(np.float32)
    std = np.asarray(jax.jit(lambda y: indicators.rolling_std(y, 20))(x))[19:, 0]
    truth = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(float), 20).std(axis=1)
    assert np.abs(std / truth - 1).max() < 5e-5


@pytest.mark.parametrize("function", [indicators.sma, indicators.ema, indicators.wilder, indicators.rolling_std])
@pytest.mark.parametrize("window", [0, -3])
def test_a_window_without_bars_is_an_error(function, window):
    with pytest.raises(ValueError, match=f"at least 1 bar; got {window}"):
        function(jnp.ones((5, 1)), window)
