"""Features of volume."""

import jax
import jax.numpy as jnp

from ploutos_jax.market.bars import Bars
from ploutos_jax.market.families.feature import Feature
from ploutos_jax.market.indicators import levels, volume
from ploutos_jax.market.indicators.rolling import divide, rolling_sum, sma
from ploutos_jax.market.indicators.statistics import z_score


def _volume_sma(bars: Bars) -> jax.Array:
    return jnp.log(divide(sma(bars.volume, 20), sma(bars.volume, 60), 1.0))


def _volume_ratio(bars: Bars) -> jax.Array:
    return jnp.log(divide(bars.volume, sma(bars.volume, 20), 1.0))


def _obv(bars: Bars) -> jax.Array:
    return divide(volume.obv_change(bars.close, bars.volume, 20), rolling_sum(bars.volume, 20), 0.0)


def _vpt(bars: Bars) -> jax.Array:
    mean_return = divide(volume.vpt_change(bars.close, bars.volume, 20), rolling_sum(bars.volume, 20), 0.0)
    return divide(mean_return, bars.volatility_20, 0.0)


def _ease(bars: Bars) -> jax.Array:
    return jnp.clip(z_score(volume.ease_of_movement(bars.high, bars.low, bars.volume), 60), -5, 5)


def _close_over_vwap(bars: Bars) -> jax.Array:
    prices = bars.high, bars.low, bars.close, bars.volume
    rolling = volume.vwap_offset(*prices, 14)
    session = levels.session_vwap_offset(*prices, bars.session_starts)
    offset = jnp.where(bars.is_intraday, session + 0 * rolling, rolling)
    return -offset / (bars.close + offset)


def _amihud(bars: Bars) -> jax.Array:
    return jnp.clip(z_score(volume.log_illiquidity(bars.close, bars.volume, 20), 252), -5, 5)


FEATURES = (
    Feature("volume_sma_20", _volume_sma, "ln(SMA20 of V / SMA60 of V)", 59, high=1.1, oracle="TA-Lib SMA"),
    Feature("volume_ratio_20", _volume_ratio, "ln(V / SMA20 of V)", 19, high=3, oracle="TA-Lib SMA"),
    Feature(
        "mfi_14",
        lambda b: volume.mfi(b.high, b.low, b.close, b.volume, 14) / 50 - 1,
        "MFI14 / 50 - 1",
        14,
        -1,
        1,
        "TA-Lib MFI",
    ),
    Feature("obv_20", _obv, "(OBV - OBV[-20]) / ΣV of 20", 20, -1, 1, "TA-Lib OBV"),
    Feature(
        "cmf_20",
        lambda b: volume.chaikin_money_flow(b.high, b.low, b.close, b.volume, 20),
        "Σ close_location · V / ΣV of 20",
        19,
        -1,
        1,
        "ta ChaikinMoneyFlow",
    ),
    Feature(
        "force_13",
        lambda b: volume.force_ratio(b.close, b.volume, 13),
        "EMA13 of ΔC · V / EMA13 of |ΔC| · V",
        13,
        -1,
        1,
        "ta ForceIndex",
    ),
    Feature("vpt_20", _vpt, "Σ V (C/C[-1] - 1) / ΣV of 20 / std of 20 log returns", 20, oracle="ta VolumePriceTrend"),
    Feature(
        "ease_of_movement_60",
        _ease,
        "z-score over 60 of (ΔH + ΔL)(H - L) / 2V",
        60,
        -5,
        5,
        "ta EaseOfMovement",
    ),
    Feature(
        "close_over_vwap_14",
        _close_over_vwap,
        "C / VWAP14 - 1; intraday: over the session's VWAP",
        13,
        oracle="ta VolumeWeightedAveragePrice",
    ),
    Feature("amihud_20", _amihud, "z-score over 252 of ln mean20(|r| / (C · V))", 271, -5, 5),
)
