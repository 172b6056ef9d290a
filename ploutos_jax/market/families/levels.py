"""Features of levels: pivots and past extremes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ploutos_jax.market.bars import Bars
from ploutos_jax.market.families.feature import Feature
from ploutos_jax.market.indicators import levels
from ploutos_jax.market.indicators.rolling import bars_since_max, divide, rolling_max, rolling_min


def _pivot(part: int) -> Callable[[Bars], jax.Array]:
    def function(bars: Bars) -> jax.Array:
        high, low, close = bars.previous_session
        # A short bar's range is no measure of a session's: intraday the session's own is taken.
        scale = jnp.where(bars.is_intraday, high - low + 0 * bars.atr_14, bars.atr_14)
        return divide(levels.pivot_distances(high, low, close)[part] + (close - bars.close), scale, 0.0)

    return function


def _close_over(extreme: Callable[[Bars], jax.Array]) -> Callable[[Bars], jax.Array]:
    def function(bars: Bars) -> jax.Array:
        level = extreme(bars)
        return (bars.close - level) / level

    return function


_SCALE = " / ATR14, of the session before; intraday: / its H - L"

FEATURES = (
    Feature("pivot", _pivot(0), "(P - C)" + _SCALE + "; P = (H + L + C) / 3", 14),
    Feature("pivot_r1", _pivot(1), "(2P - L - C)" + _SCALE, 14),
    Feature("pivot_s1", _pivot(2), "(2P - H - C)" + _SCALE, 14),
    Feature("pivot_r2", _pivot(3), "(P + H - L - C)" + _SCALE, 14),
    Feature("pivot_s2", _pivot(4), "(P - H + L - C)" + _SCALE, 14),
    Feature(
        "close_over_high_252",
        _close_over(lambda b: rolling_max(b.high, 252)),
        "C / highest H of 252 - 1",
        251,
        -1,
        0,
        "TA-Lib MAX",
    ),
    Feature(
        "close_over_low_252",
        _close_over(lambda b: rolling_min(b.low, 252)),
        "C / lowest L of 252 - 1",
        251,
        low=0,
        oracle="TA-Lib MIN",
    ),
    Feature(
        "bars_since_high_252",
        lambda b: bars_since_max(b.high, 252) / 252,
        "bars since the highest H of 252 / 252",
        251,
        0,
        1,
        "TA-Lib MAXINDEX",
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
