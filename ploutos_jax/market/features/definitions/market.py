"""Features of the market as a whole, the same for every asset of a bar."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature
from ploutos_jax.market.features.indicators.rolling import divide, rolling_powers
from ploutos_jax.market.features.indicators.statistics import cross_sectional_mean

_LEAST = 1e-5
"""Size of a move below which none is told apart: a bar in which nothing moved has a logarithm, too."""
_SHORT, _LONG = 21, 252


def _of_market(function: Callable[[jax.Array], jax.Array], warm_up: int) -> Callable[[Bars], jax.Array]:
    """Return a feature from a function of returns `[T, A]` in panel rows, NaN where missing, to a number a row.

    Of a late listing it is not known before the asset's own bar of number `warm_up`, as other features are not.
    """

    def feature(bars: Bars) -> jax.Array:
        returns = bars.to_panel_rows(bars.returns)
        values = bars.from_panel_rows(jnp.broadcast_to(function(returns), returns.shape))
        return values.at[:warm_up].set(jnp.nan)

    return feature


def _deviation(returns: jax.Array, window: int) -> jax.Array:
    """Standard deviation (ddof 0) of the market's last returns; a row in which nothing trades counts as no move."""
    mean = jnp.nan_to_num(cross_sectional_mean(returns))
    # The first row has no return: what it counts as must not warm up a window.
    mean = mean.at[0].set(jnp.nan)
    # Distances to the mean, not to the last move: after one of ten deviations those cost two digits, which another
    # program of the same formula rounds otherwise.
    return jnp.sqrt(rolling_powers(mean, window)[0])


def _scaled(returns: jax.Array) -> jax.Array:
    return divide(cross_sectional_mean(returns), _deviation(returns, _LONG), 0.0)


def _log_deviation(returns: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(_deviation(returns, _SHORT), _LEAST))


def _log_move(returns: jax.Array) -> jax.Array:
    return jnp.log(jnp.maximum(jnp.sqrt(cross_sectional_mean(jnp.square(returns))), _LEAST))


def _breadth(returns: jax.Array) -> jax.Array:
    return cross_sectional_mean(jnp.where(jnp.isnan(returns), jnp.nan, jnp.sign(returns)))


FEATURES = (
    Feature(
        "market_return",
        _of_market(_scaled, _LONG),
        "m / std of 252 m, m the mean of r over all assets",
        _LONG,
        across_assets=True,
    ),
    Feature(
        "market_volatility_21",
        _of_market(_log_deviation, _SHORT),
        "ln of std of 21 m, at least ln 0.00001",
        _SHORT,
        across_assets=True,
    ),
    Feature(
        "market_move",
        _of_market(_log_move, 1),
        "ln of root mean square of r over all assets, at least ln 0.00001",
        1,
        across_assets=True,
    ),
    Feature(
        "market_breadth",
        _of_market(_breadth, 1),
        "share of all assets with r > 0 less share with r < 0",
        1,
        -1,
        1,
        across_assets=True,
    ),
)
