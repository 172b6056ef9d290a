"""The features that the package knows, and named sets of them.

Every feature is in network form: scale-free, so that neither the currency of the price nor the size of the company
changes it.
"""

import difflib
from collections.abc import Iterable

from ploutos_jax.market.features.definitions import (
    cross_section,
    levels,
    market,
    momentum,
    price,
    session,
    statistics,
    trend,
    volatility,
    volume,
)
from ploutos_jax.market.features.definitions.feature import Feature

_STANDARD: tuple[Feature, ...] = (
    *price.FEATURES,
    *trend.FEATURES,
    *momentum.FEATURES,
    *volatility.FEATURES,
    *volume.FEATURES,
    *levels.FEATURES,
    *statistics.FEATURES,
)

FEATURES: tuple[Feature, ...] = (*_STANDARD, *cross_section.FEATURES, *session.FEATURES, *market.FEATURES)
"""All there are; what came after `standard` was fixed is in sets of its own."""

_CORE = """
    log_return_1 log_return_5 log_return_20 log_return_60 close_over_sma_10 close_over_sma_20 close_over_sma_50
    close_over_ema_20 macd macd_signal macd_histogram adx_14 rsi_14 stochastic_k_14 williams_r_14 roc_10 cci_20 mfi_14
    bollinger_percent_b_20 bollinger_width_20 natr_14 volatility_20 volume_ratio_20 obv_20 gap range
"""
_PLOUTOS_V3 = """
    close_over_sma_10 close_over_sma_20 close_over_sma_50 close_over_ema_10 close_over_ema_20 macd macd_signal
    macd_histogram adx_14 rsi_7 rsi_14 stochastic_k_14 stochastic_d_14 roc_10 roc_20 williams_r_14 tsi_25_13
    ultimate_oscillator cci_20 mfi_14 bollinger_upper_20 bollinger_lower_20 bollinger_width_20 bollinger_percent_b_20
    atr_14 keltner_middle_20 keltner_upper_20 keltner_lower_20 ulcer_14 obv_20 cmf_20 force_13 vpt_20
    ease_of_movement_60 volume_sma_20 volume_ratio_20 close_over_vwap_14 pivot pivot_r1 pivot_s1 pivot_r2 pivot_s2
    close_over_high_252 close_over_low_252 return_mean_20 volatility_20 skew_60 kurtosis_60 z_score_20
    autocorrelation_60 hurst_100 variance_ratio_5_100 body upper_shadow lower_shadow gap true_range range
"""
_SENTIO = """
    log_return_1 log_return_5 log_return_20 range volume_ratio_20 mfi_14 close_over_sma_20 macd_histogram rsi_14
    bollinger_percent_b_20 atr_14 session_progress
"""
_SENTIO_20 = """
    log_return_1 log_return_5 log_return_20 gap range body volume_ratio_20 obv_20 mfi_14 cmf_20 close_over_sma_20
    close_over_sma_50 close_over_ema_10 macd_histogram adx_14 rsi_14 stochastic_k_14 cci_20 bollinger_percent_b_20
    atr_14
"""
_TALIB44 = """
    log_return_1 log_return_5 log_return_20 roc_10 roc_20 true_range close_over_sma_10 close_over_sma_20
    close_over_sma_50 close_over_ema_10 close_over_ema_20 macd macd_signal macd_histogram ppo ppo_histogram trix_15
    adx_14 plus_di_14 minus_di_14 aroon_25 cci_20 rsi_7 rsi_14 stochastic_rsi_14 stochastic_k_14 stochastic_d_14
    williams_r_14 ultimate_oscillator bollinger_upper_20 bollinger_lower_20 bollinger_width_20 bollinger_percent_b_20
    atr_14 natr_14 volume_sma_20 volume_ratio_20 mfi_14 obv_20 close_over_high_252 close_over_low_252
    bars_since_high_252 donchian_20 z_score_20
"""

FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "standard": tuple(feature.name for feature in _STANDARD),
    "core": tuple(_CORE.split()),
    "core_ranks": (*_CORE.split(), *(feature.name for feature in cross_section.FEATURES)),
    "core_regimes": (*_CORE.split(), *(feature.name for feature in market.FEATURES)),
    "ploutos_v3": tuple(_PLOUTOS_V3.split()),
    "talib44": tuple(_TALIB44.split()),
    "sentio": tuple(_SENTIO.split()),
    "sentio_regimes": (*_SENTIO.split(), *(feature.name for feature in market.FEATURES)),
    "sentio_20": tuple(_SENTIO_20.split()),
    "minimal": ("log_return_1", "log_return_20", "rsi_14", "volatility_20", "volume_ratio_20"),
}
"""Set -> features: all but ranks; few but broad; these and ranks among the assets; those of a technical trading system;
what TA-Lib has; price, volume, indicators and time of day, which with two masks and the six numbers of a `brief`
observation are twenty; twenty without time of day, as the preset `sentio` had before; five."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a hint at what an unknown name might mean, for the end of a message."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
    return f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}."
