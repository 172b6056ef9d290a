"""Ranks of an asset among the others of the same bar: what it did, whatever they all did."""

from collections.abc import Callable

import jax

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.features.indicators.momentum import log_return
from ploutos_jax.market.features.indicators.rolling import divide, sma
from ploutos_jax.market.features.indicators.statistics import cross_sectional_rank
from ploutos_jax.market.features.indicators.volatility import volatility


def _ranked(name: str, function: Callable[[Bars], jax.Array], formula: str, warm_up: int) -> Feature:
    """Return the rank of a value among all assets that have one in the same panel row, -1 lowest to 1 highest.

    Equal values share the middle of their ranks; an asset alone has 0. An asset without a bar, or whose own value is
    not warm, is ranked in nobody's row and is not known itself.

    Args:
        name: in `market.feature_names`.
        function: the value, `[T, A]` over own bars, known at their close, NaN before the warm-up.
        formula: of the value.
        warm_up: the first own bar with a value.
    """

    def rank(bars: Bars) -> jax.Array:
        return bars.from_panel_rows(2 * cross_sectional_rank(bars.to_panel_rows(function(bars))))

    text = f"rank of {formula} among all assets with a bar, -1 to 1"
    return Feature(name, rank, text, warm_up, -1, 1, raw=Raw(formula, function), across_assets=True)


FEATURES = (
    _ranked("momentum_rank_21", lambda b: log_return(b.close, 21), "ln(C / C[-21])", 21),
    _ranked("momentum_rank_63", lambda b: log_return(b.close, 63), "ln(C / C[-63])", 63),
    _ranked("momentum_rank_252", lambda b: log_return(b.close, 252), "ln(C / C[-252])", 252),
    _ranked("reversal_rank_5", lambda b: -log_return(b.close, 5), "-ln(C / C[-5])", 5),
    _ranked("volatility_rank_21", lambda b: volatility(b.close, 21), "std of 21 log returns", 21),
    _ranked("volume_ratio_rank_20", lambda b: divide(b.volume, sma(b.volume, 20), 1.0), "V / SMA20 of V", 19),
)
