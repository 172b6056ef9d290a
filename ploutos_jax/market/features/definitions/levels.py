"""Features of levels: pivots and past extremes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.definitions.forms import in_both_forms
from ploutos_jax.market.features.indicators import levels
from ploutos_jax.market.features.indicators.rolling import bars_since_max, divide, rolling_max, rolling_min


def _pivot(part: int) -> Callable[[Bars], jax.Array]:
    def function(bars: Bars) -> jax.Array:
        high, low, close = bars.previous_session
        # A short bar's range is no measure of a session's: intraday the session's own is taken.
        scale = jnp.where(bars.is_intraday, high - low + 0 * bars.atr_14, bars.atr_14)
        return divide(levels.pivot_distances(high, low, close)[part] + (close - bars.close), scale, 0.0)

    return function


def _raw_pivot(part: int) -> Callable[[Bars], jax.Array]:
    def function(bars: Bars) -> jax.Array:
        high, low, close = bars.previous_session
        return close + levels.pivot_distances(high, low, close)[part]

    return function


def _close_over(level: jax.Array, bars: Bars) -> jax.Array:
    return (bars.close - level) / level


_SCALE = " / ATR14, of the session before; intraday: / its H - L"

FEATURES = (
    Feature(
        "pivot",
        _pivot(0),
        "(P - C)" + _SCALE + "; P = (H + L + C) / 3",
        14,
        raw=Raw("P = (H + L + C) / 3 of the session before", _raw_pivot(0), 1),
    ),
    Feature("pivot_r1", _pivot(1), "(2P - L - C)" + _SCALE, 14, raw=Raw("2P - L", _raw_pivot(1), 1)),
    Feature("pivot_s1", _pivot(2), "(2P - H - C)" + _SCALE, 14, raw=Raw("2P - H", _raw_pivot(2), 1)),
    Feature("pivot_r2", _pivot(3), "(P + H - L - C)" + _SCALE, 14, raw=Raw("P + H - L", _raw_pivot(3), 1)),
    Feature("pivot_s2", _pivot(4), "(P - H + L - C)" + _SCALE, 14, raw=Raw("P - H + L", _raw_pivot(4), 1)),
    in_both_forms(
        "close_over_high_252",
        lambda b: rolling_max(b.high, 252),
        _close_over,
        "C / highest H of 252 - 1",
        251,
        -1,
        0,
        "TA-Lib MAX",
        textbook="highest H of 252",
    ),
    in_both_forms(
        "close_over_low_252",
        lambda b: rolling_min(b.low, 252),
        _close_over,
        "C / lowest L of 252 - 1",
        251,
        low=0,
        oracle="TA-Lib MIN",
        textbook="lowest L of 252",
    ),
    in_both_forms(
        "bars_since_high_252",
        lambda b: bars_since_max(b.high, 252),
        lambda x, b: x / 252,
        "bars since the highest H of 252 / 252",
        251,
        0,
        1,
        textbook="bars since the highest H of 252, the newest of equal ones",
    ),
    Feature(
        "donchian_20",
        lambda b: levels.donchian_position(b.high, b.low, b.close, 20),
        "(C - lowest L) / (highest H - lowest L) of 20",
        19,
        0,
        1,
        "TA-Lib MAX, MIN",
    ),
)
