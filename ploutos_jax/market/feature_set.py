"""The features that the package knows: definitions and named sets.

Every feature is in network form: scale-free, so that neither the currency of the price nor the size of the company
changes it.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ploutos_jax.market import indicators
from ploutos_jax.market.bars import Bars


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: its name in `market.feature_names`.
        function: takes `Bars`, returns `[T, A]` in network form over own bars, NaN before the warm-up; own bar i is
            known at its close.
        formula: what it is, for people; `X[-n]` is X n bars ago.
        warm_up: the first own bar with a value, counted from 0.
    """

    name: str
    function: Callable[[Bars], jax.Array]
    formula: str
    warm_up: int


def _log_return(num_bars: int) -> Callable[[Bars], jax.Array]:
    return lambda bars: indicators.log_return(bars.close, num_bars)


def _momentum(bars: Bars) -> jax.Array:
    return indicators.shift(indicators.log_return(bars.close, 231), 21)


def _close_over(average: Callable[[jax.Array, int], jax.Array], window: int) -> Callable[[Bars], jax.Array]:
    return lambda bars: bars.close / average(bars.close, window) - 1


def _macd(part: int) -> Callable[[Bars], jax.Array]:
    return lambda bars: bars.macd[part] / bars.close


def _volume_ratio(bars: Bars) -> jax.Array:
    average = indicators.sma(bars.volume, 20)
    return jnp.log(indicators.divide(bars.volume, average, 1.0))


def _obv(bars: Bars) -> jax.Array:
    change = indicators.obv_change(bars.close, bars.volume, 20)
    return indicators.divide(change, indicators.rolling_sum(bars.volume, 20), 0.0)


def _gap(bars: Bars) -> jax.Array:
    gap = bars.open / indicators.shift(bars.close, 1) - 1
    return indicators.divide(gap, bars.volatility_20, 0.0)


FEATURES = (
    Feature("log_return_1", _log_return(1), "ln(C / C[-1])", 1),
    Feature("log_return_5", _log_return(5), "ln(C / C[-5])", 5),
    Feature("log_return_20", _log_return(20), "ln(C / C[-20])", 20),
    Feature("log_return_60", _log_return(60), "ln(C / C[-60])", 60),
    Feature("momentum_252_21", _momentum, "ln(C[-21] / C[-252])", 252),
    Feature("close_over_sma_10", _close_over(indicators.sma, 10), "C / SMA10 - 1", 9),
    Feature("close_over_sma_20", _close_over(indicators.sma, 20), "C / SMA20 - 1", 19),
    Feature("close_over_sma_50", _close_over(indicators.sma, 50), "C / SMA50 - 1", 49),
    Feature("close_over_ema_20", _close_over(indicators.ema, 20), "C / EMA20 - 1", 19),
    Feature("macd", _macd(0), "(EMA12 - EMA26) / C", 33),
    Feature("macd_signal", _macd(1), "EMA9 of MACD / C", 33),
    Feature("macd_histogram", _macd(2), "(MACD - signal) / C", 33),
    Feature("adx_14", lambda b: indicators.adx(b.high, b.low, b.close, 14) / 100, "ADX14 / 100", 27),
    Feature("rsi_14", lambda b: indicators.rsi(b.close, 14) / 50 - 1, "RSI14 / 50 - 1", 14),
    Feature("stochastic_k_14", lambda b: indicators.stochastic_k(b.high, b.low, b.close, 14) / 100, "%K14 / 100", 13),
    Feature("williams_r_14", lambda b: indicators.williams_r(b.high, b.low, b.close, 14) / 100, "%R14 / 100", 13),
    Feature("roc_10", lambda b: indicators.rate_of_change(b.close, 10) / 100, "C / C[-10] - 1", 10),
    Feature("cci_20", lambda b: indicators.cci(b.high, b.low, b.close, 20) / 200, "CCI20 / 200", 19),
    Feature("mfi_14", lambda b: indicators.mfi(b.high, b.low, b.close, b.volume, 14) / 50 - 1, "MFI14 / 50 - 1", 14),
    Feature("bollinger_percent_b_20", lambda b: indicators.bollinger_percent_b(b.close) - 0.5, "%B20 - 1/2", 19),
    Feature("bollinger_width_20", lambda b: indicators.bollinger_width(b.close) / 100, "(upper - lower) / middle", 19),
    Feature("natr_14", lambda b: b.atr_14 / b.close, "ATR14 / C", 14),
    Feature("volatility_20", lambda b: b.volatility_20 * 252**0.5, "√252 · std of 20 log returns", 20),
    Feature("volume_ratio_20", _volume_ratio, "ln(V / SMA20 of V)", 19),
    Feature("obv_20", _obv, "(OBV - OBV[-20]) / ΣV over 20 bars", 20),
    Feature("gap", _gap, "(O / C[-1] - 1) / std of 20 log returns", 20),
    Feature("range", lambda b: (b.high - b.low) / b.close, "(H - L) / C", 0),
)

# A year's momentum is not in the standard set: its warm-up would make `known` 0 in the first year of every asset.
FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "standard": tuple(feature.name for feature in FEATURES if feature.name != "momentum_252_21"),
    "minimal": ("log_return_1", "log_return_20", "rsi_14", "volatility_20", "volume_ratio_20"),
}
