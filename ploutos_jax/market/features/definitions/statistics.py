"""Features of the distribution of returns, and of an asset among the others."""

import jax
import jax.numpy as jnp

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.indicators import statistics
from ploutos_jax.market.features.indicators.momentum import log_return
from ploutos_jax.market.features.indicators.rolling import divide


def _z_score(bars: Bars) -> jax.Array:
    offset, std = bars.moments_20
    return jnp.clip(divide(-offset, std * (20 / 19) ** 0.5, 0.0), -5, 5)


def _rank(bars: Bars) -> jax.Array:
    by_row = bars.to_panel_rows(log_return(bars.close, 20))
    return bars.from_panel_rows(statistics.cross_sectional_rank(by_row))


FEATURES = (
    Feature(
        "z_score_20",
        _z_score,
        "(C - SMA20) / std of 20 (ddof 1)",
        19,
        -5,
        5,
        "pandas",
        raw=Raw("(C - SMA20) / std, without bounds", lambda b: statistics.z_score(b.close, 20)),
    ),
    Feature(
        "skew_60",
        lambda b: jnp.clip(statistics.skewness(b.returns, 60), -5, 5),
        "skewness of 60 log returns, bias-corrected",
        60,
        -5,
        5,
        "pandas",
        raw=Raw("the same without bounds", lambda b: statistics.skewness(b.returns, 60)),
    ),
    Feature(
        "kurtosis_60",
        lambda b: jnp.arcsinh(statistics.kurtosis(b.returns, 60)),
        "asinh of the excess kurtosis of 60 log returns, bias-corrected",
        60,
        -2,
        5,
        "pandas",
        raw=Raw("excess kurtosis, bias-corrected", lambda b: statistics.kurtosis(b.returns, 60)),
    ),
    Feature(
        "autocorrelation_60",
        lambda b: statistics.autocorrelation(b.returns, 60),
        "correlation of 60 pairs of log returns, one bar apart",
        61,
        -1,
        1,
        "pandas",
    ),
    Feature(
        "hurst_100",
        lambda b: statistics.hurst(b.close, 100) - 0.5,
        "slope of ln std(x[t+τ] - x[t]) on ln τ = 0 .. ln 16, x = ln C, less 1/2",
        100,
        raw=Raw("the slope", lambda b: statistics.hurst(b.close, 100)),
    ),
    Feature(
        "variance_ratio_5_100",
        lambda b: statistics.variance_ratio(b.close, 5, 100) - 1,
        "variance of 5-bar over 5 × that of 1-bar log returns, of 100, less 1",
        100,
        -1,
        raw=Raw("the ratio", lambda b: statistics.variance_ratio(b.close, 5, 100)),
    ),
    Feature(
        "beta_60",
        lambda b: statistics.beta(b.returns, b.market_returns, 60),
        "cov / var of 60 log returns with their mean over all assets",
        60,
        across_assets=True,
    ),
    Feature(
        "return_rank_20",
        _rank,
        "rank of log_return_20 among all assets, -1/2 to 1/2",
        20,
        -0.5,
        0.5,
        across_assets=True,
    ),
)
