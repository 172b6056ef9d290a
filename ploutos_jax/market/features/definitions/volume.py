"""Features of volume."""

import jax
import jax.numpy as jnp

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.definitions.forms import around_50, in_both_forms
from ploutos_jax.market.features.indicators import levels, volume
from ploutos_jax.market.features.indicators.rolling import divide, rolling_sum, sma
from ploutos_jax.market.features.indicators.statistics import z_score


def _volume_sma(bars: Bars) -> jax.Array:
    return jnp.log(divide(sma(bars.volume, 20), sma(bars.volume, 60), 1.0))


def _vwap_offset(bars: Bars) -> jax.Array:
    prices = bars.high, bars.low, bars.close, bars.volume
    rolling = volume.vwap_offset(*prices, 14)
    session = levels.session_vwap_offset(*prices, bars.session_starts)
    return jnp.where(bars.is_intraday, session + 0 * rolling, rolling)


def _close_over_vwap(bars: Bars) -> jax.Array:
    offset = _vwap_offset(bars)
    return -offset / (bars.close + offset)


FEATURES = (
    Feature(
        "volume_sma_20",
        _volume_sma,
        "ln(SMA20 of V / SMA60 of V)",
        59,
        high=1.1,
        oracle="TA-Lib SMA",
        raw=Raw("SMA20 of V", lambda b: sma(b.volume, 20), 19),
    ),
    in_both_forms(
        "volume_ratio_20",
        lambda b: divide(b.volume, sma(b.volume, 20), 1.0),
        lambda x, b: jnp.log(x),
        "ln(V / SMA20 of V)",
        19,
        high=3,
        oracle="TA-Lib SMA",
        textbook="V / SMA20 of V",
    ),
    in_both_forms(
        "mfi_14",
        lambda b: volume.mfi(b.high, b.low, b.close, b.volume, 14),
        around_50,
        "MFI14 / 50 - 1",
        14,
        -1,
        1,
        "TA-Lib MFI",
        textbook="MFI14",
    ),
    in_both_forms(
        "obv_20",
        lambda b: volume.obv_change(b.close, b.volume, 20),
        lambda x, b: divide(x, rolling_sum(b.volume, 20), 0.0),
        "(OBV - OBV[-20]) / ΣV of 20",
        20,
        -1,
        1,
        "TA-Lib OBV",
        textbook="OBV - OBV[-20]",
    ),
    Feature(
        "cmf_20",
        lambda b: volume.chaikin_money_flow(b.high, b.low, b.close, b.volume, 20),
        "Σ close_location · V / ΣV of 20",
        19,
        -1,
        1,
        "ta chaikin_money_flow",
    ),
    Feature(
        "force_13",
        lambda b: volume.force_ratio(b.close, b.volume, 13),
        "EMA13 of ΔC · V / EMA13 of |ΔC| · V",
        13,
        -1,
        1,
        "ta force_index",
        raw=Raw("EMA13 of ΔC · V", lambda b: volume.force_index(b.close, b.volume, 13)),
    ),
    in_both_forms(
        "vpt_20",
        lambda b: volume.vpt_change(b.close, b.volume, 20),
        lambda x, b: divide(divide(x, rolling_sum(b.volume, 20), 0.0), b.volatility_20, 0.0),
        "Σ V (C/C[-1] - 1) / ΣV of 20 / std of 20 log returns",
        20,
        oracle="ta volume_price_trend",
        textbook="Σ V (C/C[-1] - 1) of 20",
    ),
    in_both_forms(
        "ease_of_movement_60",
        lambda b: volume.ease_of_movement(b.high, b.low, b.volume),
        lambda x, b: jnp.clip(z_score(x, 60), -5, 5),
        "z-score over 60 of (ΔH + ΔL)(H - L) / 2V",
        60,
        -5,
        5,
        "ta ease_of_movement",
        textbook="1e8 (ΔH + ΔL)(H - L) / 2V",
        textbook_warm_up=1,
    ),
    Feature(
        "close_over_vwap_14",
        _close_over_vwap,
        "C / VWAP14 - 1; intraday: over the session's VWAP",
        13,
        oracle="ta VolumeWeightedAveragePrice",
        raw=Raw("VWAP14; intraday: the session's VWAP", lambda b: b.close + _vwap_offset(b)),
    ),
    in_both_forms(
        "amihud_20",
        lambda b: volume.log_illiquidity(b.close, b.volume, 20),
        lambda x, b: jnp.clip(z_score(x, 252), -5, 5),
        "z-score over 252 of ln mean20(|r| / (C · V))",
        271,
        -5,
        5,
        textbook="ln mean20(|r| / (C · V))",
        textbook_warm_up=20,
    ),
)
