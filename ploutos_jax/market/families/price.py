"""Features of prices alone: returns, gaps and the shape of a bar."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ploutos_jax.market.bars import Bars
from ploutos_jax.market.families.feature import Feature
from ploutos_jax.market.indicators import momentum, volatility
from ploutos_jax.market.indicators.rolling import divide, shift
from ploutos_jax.market.indicators.volume import close_location

YEAR = 252**0.5
"""Bars to a year's volatility, taking a bar for a trading day."""


def _log_return(num_bars: int) -> Callable[[Bars], jax.Array]:
    return lambda bars: momentum.log_return(bars.close, num_bars)


def _roc(num_bars: int) -> Callable[[Bars], jax.Array]:
    return lambda bars: momentum.rate_of_change(bars.close, num_bars) / 100


def _in_ranges(length: Callable[[Bars], jax.Array]) -> Callable[[Bars], jax.Array]:
    return lambda bars: divide(length(bars), bars.atr_14, 0.0)


def _gap(bars: Bars) -> jax.Array:
    before = shift(bars.close, 1)
    daily = divide((bars.open - before) / before, bars.volatility_20, 0.0)
    high, low, close = bars.previous_session
    # A bar's volatility says nothing of a night's: intraday the last session's range is the yardstick.
    return jnp.where(bars.is_intraday, divide(bars.session_open - close, high - low, 0.0), daily)


FEATURES = (
    Feature("log_return_1", _log_return(1), "ln(C / C[-1])", 1, oracle="TA-Lib ROCR"),
    Feature("log_return_5", _log_return(5), "ln(C / C[-5])", 5, oracle="TA-Lib ROCR"),
    Feature("log_return_20", _log_return(20), "ln(C / C[-20])", 20, oracle="TA-Lib ROCR"),
    Feature("log_return_60", _log_return(60), "ln(C / C[-60])", 60, oracle="TA-Lib ROCR"),
    Feature(
        "momentum_252_21",
        lambda bars: shift(momentum.log_return(bars.close, 231), 21),
        "ln(C[-21] / C[-252])",
        252,
        oracle="TA-Lib ROCR",
    ),
    Feature("roc_10", _roc(10), "C / C[-10] - 1", 10, low=-1, oracle="TA-Lib ROC"),
    Feature("roc_20", _roc(20), "C / C[-20] - 1", 20, low=-1, oracle="TA-Lib ROC"),
    Feature(
        "return_mean_20",
        lambda bars: momentum.log_return(bars.close, 20) * (YEAR / 20),
        "√252 · mean of 20 log returns",
        20,
        oracle="pandas",
    ),
    Feature(
        "gap", _gap, "(O / C[-1] - 1) / std of 20 log returns; intraday: (O - C) / (H - L) over the last close", 20
    ),
    Feature("range", lambda bars: (bars.high - bars.low) / bars.close, "(H - L) / C", 0, low=0),
    Feature(
        "true_range",
        _in_ranges(lambda bars: volatility.first_true_range(bars.high, bars.low, bars.close)),
        "(max(H, C[-1]) - min(L, C[-1])) / ATR14",
        14,
        low=0,
        oracle="TA-Lib TRANGE, ATR",
    ),
    Feature(
        "body",
        _in_ranges(lambda bars: jnp.abs(bars.close - bars.open)),
        "|C - O| / ATR14",
        14,
        low=0,
        oracle="TA-Lib ATR",
    ),
    Feature(
        "upper_shadow",
        _in_ranges(lambda bars: bars.high - jnp.maximum(bars.open, bars.close)),
        "(H - max(O, C)) / ATR14",
        14,
        low=0,
        oracle="TA-Lib ATR",
    ),
    Feature(
        "lower_shadow",
        _in_ranges(lambda bars: jnp.minimum(bars.open, bars.close) - bars.low),
        "(min(O, C) - L) / ATR14",
        14,
        low=0,
        oracle="TA-Lib ATR",
    ),
    Feature(
        "close_location",
        lambda bars: close_location(bars.high, bars.low, bars.close),
        "((C - L) - (H - C)) / (H - L)",
        0,
        -1,
        1,
    ),
)
