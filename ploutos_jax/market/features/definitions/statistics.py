"""Features of the distribution of returns, and of an asset among the others."""

import jax
import jax.numpy as jnp

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.definitions.forms import in_both_forms
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
    in_both_forms(
        "skew_60",
        lambda b: statistics.skewness(b.returns, 60),
        lambda x, b: jnp.clip(x, -5, 5),
        "skewness of 60 log returns, bias-corrected",
        60,
        -5,
        5,
        "pandas",
        textbook="the same without bounds",
    ),
    in_both_forms(
        "kurtosis_60",
        lambda b: statistics.kurtosis(b.returns, 60),
        lambda x, b: jnp.arcsinh(x),
        "asinh of the excess kurtosis of 60 log returns, bias-corrected",
        60,
        -2,
        5,
        "pandas",
        textbook="excess kurtosis, bias-corrected",
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
    in_both_forms(
        "hurst_100",
        lambda b: statistics.hurst(b.close, 100),
        lambda x, b: x - 0.5,
        "slope of ln std(x[t+τ] - x[t]) on ln τ = 0 .. ln 16, x = ln C, less 1/2",
        100,
        textbook="the slope",
    ),
    in_both_forms(
        "variance_ratio_5_100",
        lambda b: statistics.variance_ratio(b.close, 5, 100),
        lambda x, b: x - 1,
        "variance of 5-bar over 5 × that of 1-bar log returns, of 100, less 1",
        100,
        -1,
        textbook="the ratio",
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
