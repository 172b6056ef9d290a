"""Every indicator in its textbook units, in float64, against TA-Lib, `ta` and plain NumPy; also against pandas."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.indicators import (
    levels,
    momentum,
    recursion,
    rolling,
    statistics,
    trend,
    volatility,
    volume,
)
from tests.market.features.oracles import FIRST_ROW, raw_values
from tests.market.worlds import PRICES, make_broken_panel, make_scaled_panel

WORLDS = ("random", "broken", "scaled")


def compute(open, high, low, close, volume_):
    returns = momentum.log_return(close)
    overnight, inside = rolling.log_ratio(open, rolling.shift(close, 1)), rolling.log_ratio(close, open)
    line, signal, histogram = trend.macd(close)
    plus_di, minus_di, adx = trend.directional(high, low, close)
    lower, _, upper = volatility.bollinger(close)
    keltner = volatility.keltner(high, low, close)
    starts = jnp.ones(close.shape, bool)
    before = levels.previous_session(high, low, close, starts)
    pivots = levels.pivot_distances(*before)
    return {
        **{f"sma_{n}": rolling.sma(close, n) for n in (10, 20, 50)},
        **{f"ema_{n}": recursion.ema(close, n) for n in (10, 20)},
        "wilder_14": recursion.wilder(close, 14),
        "macd": line,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "ppo": trend.ppo(close),
        "ppo_histogram": trend.ppo_histogram(close),
        "trix_15": trend.trix(close),
        "adx_14": adx,
        "plus_di_14": plus_di,
        "minus_di_14": minus_di,
        "aroon_25": trend.aroon_oscillator(high, low),
        "cci_20": trend.cci(high, low, close),
        **{f"rsi_{n}": momentum.rsi(close, n) for n in (7, 14)},
        "stochastic_k_14": momentum.stochastic_k(high, low, close),
        "stochastic_d_14": momentum.stochastic_d(high, low, close),
        "stochastic_rsi_14": momentum.stochastic_rsi(close),
        "williams_r_14": momentum.williams_r(high, low, close),
        **{f"roc_{n}": momentum.rate_of_change(close, n) for n in (10, 20)},
        "tsi_25_13": momentum.tsi(close),
        "ultimate_oscillator": momentum.ultimate_oscillator(high, low, close),
        "bollinger_upper_20": upper,
        "bollinger_lower_20": lower,
        "bollinger_width_20": volatility.bollinger_width(close),
        "bollinger_percent_b_20": volatility.bollinger_percent_b(close),
        "true_range": volatility.first_true_range(high, low, close),
        "atr_14": volatility.atr(high, low, close),
        **{f"keltner_{part}_20": x for part, x in zip(("lower", "middle", "upper"), keltner, strict=True)},
        "ulcer_14": volatility.ulcer_index(close),
        "volatility_20": volatility.volatility(close),
        **{f"realised_volatility_{n}": volatility.realised_volatility(close, n) for n in (5, 60)},
        "parkinson_20": volatility.parkinson(high, low),
        "garman_klass_20": volatility.garman_klass(open, high, low, close),
        "yang_zhang_20": volatility.yang_zhang(open, high, low, close),
        "corwin_schultz_20": volatility.corwin_schultz(high, low),
        "downside_share_20": volatility.downside_share(returns),
        "overnight_share_20": volatility.overnight_share(overnight, inside),
        "close_location": volume.close_location(high, low, close),
        "mfi_14": volume.mfi(high, low, close, volume_),
        "obv_20": volume.obv_change(close, volume_),
        "cmf_20": volume.chaikin_money_flow(high, low, close, volume_),
        "force_13": volume.force_index(close, volume_),
        "force_ratio_13": volume.force_ratio(close, volume_),
        "vpt_20": volume.vpt_change(close, volume_),
        "ease_of_movement": volume.ease_of_movement(high, low, volume_),
        "volume_sma_20": rolling.sma(volume_, 20),
        "vwap_14": volume.vwap(high, low, close, volume_),
        "log_illiquidity_20": volume.log_illiquidity(close, volume_),
        "high_252": rolling.rolling_max(high, 252),
        "low_252": rolling.rolling_min(low, 252),
        "bars_since_high_252": rolling.bars_since_max(high, 252),
        "donchian_20": levels.donchian_position(high, low, close),
        **{
            name: before[2] + x
            for name, x in zip(("pivot", "pivot_r1", "pivot_s1", "pivot_r2", "pivot_s2"), pivots, strict=True)
        },
        "return_mean_20": rolling.sma(returns, 20),
        "skew_60": statistics.skewness(returns),
        "kurtosis_60": statistics.kurtosis(returns),
        "z_score_20": statistics.z_score(close, 20),
        "autocorrelation_60": statistics.autocorrelation(returns),
        "hurst_100": statistics.hurst(close),
        "variance_ratio_5_100": statistics.variance_ratio(close),
    }


@pytest.fixture(scope="module")
def worlds(panel, make_panel):
    panels = {"random": panel, "broken": make_broken_panel(make_panel(21)), "scaled": make_scaled_panel(make_panel(22))}
    return {world: {n: getattr(p, n) for n in (*PRICES, "volume")} for world, p in panels.items()}


@pytest.fixture(scope="module")
def expected(worlds):
    truth = {}
    for world, prices in worlds.items():
        columns = [raw_values(**{name: x[:, a].copy() for name, x in prices.items()}) for a in range(4)]
        truth[world] = {name: np.stack([column[name] for column in columns], axis=1) for name in columns[0]}
    return truth


@pytest.fixture(scope="module")
def values(worlds):
    with jax.enable_x64(True):
        compiled = jax.jit(compute)
        return {world: jax.device_get(compiled(*prices.values())) for world, prices in worlds.items()}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", FIRST_ROW)
def test_agrees_with_the_oracle(name, world, values, expected):
    ours, truth, first = values[world][name], expected[world][name], FIRST_ROW[name]
    assert ours.dtype == np.float64
    assert np.isnan(ours[:first]).all()
    assert np.isfinite(ours[first:]).all()
    assert np.isnan(truth[:first]).all()
    spread = truth[first:].std(axis=0)
    error = np.abs(ours[first:] - truth[first:])
    assert (error <= 1e-6 * np.maximum(np.abs(truth[first:]), spread) + 1e-12).all()


def test_every_indicator_is_compared(values, expected):
    assert set(values["random"]) == set(FIRST_ROW) <= set(expected["random"])


@pytest.mark.parametrize("name", ["skew_60", "kurtosis_60", "autocorrelation_60", "volatility_20", "z_score_20"])
def test_agrees_with_pandas(name, worlds, values):
    close = pd.DataFrame(worlds["random"]["close"])
    returns = np.log(close / close.shift(1))
    truth = {
        "skew_60": returns.rolling(60).skew(),
        "kurtosis_60": returns.rolling(60).kurt(),
        "autocorrelation_60": returns.rolling(60).corr(returns.shift(1)),
        "volatility_20": returns.rolling(20).std(),
        "z_score_20": (close - close.rolling(20).mean()) / close.rolling(20).std(),
    }[name]
    np.testing.assert_allclose(values["random"][name], truth, rtol=1e-8, atol=1e-10)
