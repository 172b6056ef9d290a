"""Features of prices alone: returns, gaps and the shape of a bar."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.definitions.forms import YEAR, in_both_forms, of_100
from ploutos_jax.market.features.indicators import momentum, volatility
from ploutos_jax.market.features.indicators.rolling import divide, shift
from ploutos_jax.market.features.indicators.volume import close_location


def _log_return(num_bars: int) -> Callable[[Bars], jax.Array]:
    return lambda bars: momentum.log_return(bars.close, num_bars)


def _in_ranges(length: jax.Array, bars: Bars) -> jax.Array:
    return divide(length, bars.atr_14, 0.0)


def _true_range(bars: Bars) -> jax.Array:
    return volatility.first_true_range(bars.high, bars.low, bars.close)


def _body(bars: Bars) -> jax.Array:
    return jnp.abs(bars.close - bars.open)


def _upper_shadow(bars: Bars) -> jax.Array:
    return bars.high - jnp.maximum(bars.open, bars.close)


def _lower_shadow(bars: Bars) -> jax.Array:
    return jnp.minimum(bars.open, bars.close) - bars.low


def _overnight_return(opens: jax.Array, close_before: jax.Array) -> jax.Array:
    return (opens - close_before) / close_before


def _raw_gap(bars: Bars) -> jax.Array:
    return _overnight_return(bars.session_open, bars.previous_session[2])


def _gap(bars: Bars) -> jax.Array:
    daily = divide(_overnight_return(bars.open, shift(bars.close, 1)), bars.volatility_20, 0.0)
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
    in_both_forms(
        "roc_10",
        lambda b: momentum.rate_of_change(b.close, 10),
        of_100,
        "C / C[-10] - 1",
        10,
        low=-1,
        oracle="TA-Lib ROC",
        textbook="100 (C / C[-10] - 1)",
    ),
    in_both_forms(
        "roc_20",
        lambda b: momentum.rate_of_change(b.close, 20),
        of_100,
        "C / C[-20] - 1",
        20,
        low=-1,
        oracle="TA-Lib ROC",
        textbook="100 (C / C[-20] - 1)",
    ),
    Feature(
        "return_mean_20",
        lambda bars: momentum.log_return(bars.close, 20) * (YEAR / 20),
        "√252 · mean of 20 log returns",
        20,
        raw=Raw("mean of 20 log returns", lambda b: momentum.log_return(b.close, 20) / 20),
    ),
    Feature(
        "gap",
        _gap,
        "(O / C[-1] - 1) / std of 20 log returns; intraday: (O - C) / (H - L) over the last close",
        20,
        raw=Raw("O / C[-1] - 1; intraday: O of the session / last close - 1", _raw_gap, 1),
    ),
    Feature("range", lambda bars: (bars.high - bars.low) / bars.close, "(H - L) / C", 0, low=0),
    in_both_forms(
        "true_range",
        _true_range,
        _in_ranges,
        "(max(H, C[-1]) - min(L, C[-1])) / ATR14",
        14,
        low=0,
        oracle="TA-Lib TRANGE, ATR",
        textbook="max(H, C[-1]) - min(L, C[-1]); H - L in the first bar",
        textbook_warm_up=0,
    ),
    in_both_forms(
        "body",
        _body,
        _in_ranges,
        "|C - O| / ATR14",
        14,
        low=0,
        oracle="TA-Lib ATR",
        textbook="|C - O|",
        textbook_warm_up=0,
    ),
    in_both_forms(
        "upper_shadow",
        _upper_shadow,
        _in_ranges,
        "(H - max(O, C)) / ATR14",
        14,
        low=0,
        oracle="TA-Lib ATR",
        textbook="H - max(O, C)",
        textbook_warm_up=0,
    ),
    in_both_forms(
        "lower_shadow",
        _lower_shadow,
        _in_ranges,
        "(min(O, C) - L) / ATR14",
        14,
        low=0,
        oracle="TA-Lib ATR",
        textbook="min(O, C) - L",
        textbook_warm_up=0,
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
