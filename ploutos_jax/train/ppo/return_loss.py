"""Auxiliary loss: the market stage also forecasts returns, so that it learns from every row and not from trades alone.

Targets are those of the ridge regression (`market/experts/ridge_fit.py`), horizon by horizon and on the device, so that
markets that are drawn anew have theirs.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.agents.network import Network
from ploutos_jax.market.experts.ridge_fit import CLIP_SCORES, HORIZONS
from ploutos_jax.market.experts.schedule import total_returns
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import Table


def return_labels(market: Market) -> Float[Array, "T A horizons"]:
    """Return `[T, A, 3]` how assets did after each row over a day, a week and a month, against each other.

    `clip((r − mean r) / deviation of r, ±3)` of the total return r from the open of bar t + 1 to the close of bar
    t + 1 + k, over the assets that trade in bars t and t + 1 and may be bought; of a market of one asset over its rows.
    Known k + 1 bars later; NaN where that is beyond the path, so no label knows a bar that is not trained on, where an
    asset does not count, and where assets do not differ.
    """
    allowed = market.tradable if market.buyable is None else market.tradable & market.buyable
    num_bars, num_assets = market.close.shape
    row = jnp.arange(num_bars)
    after = jnp.minimum(row + 1, num_bars - 1)
    known = total_returns(market)
    value = jnp.cumsum(jnp.log1p(jnp.where(jnp.isfinite(known), known, 0)), axis=0)
    bought = allowed & market.tradable[after]
    first_bar = jnp.log(jnp.where(bought, market.close[after] / market.open[after], 1))

    def of_horizon(k: int) -> Array:
        end = jnp.minimum(row + 1 + k, num_bars - 1)
        counts = bought & (market.path_end >= row + 1 + k)[:, None]
        gain = jnp.where(counts, jnp.expm1(first_bar + value[end] - value[after]), 0)
        axis = 0 if num_assets == 1 else 1
        number = jnp.maximum(counts.sum(axis=axis, keepdims=True), 1)
        apart = jnp.where(counts, gain - gain.sum(axis=axis, keepdims=True) / number, 0)
        deviation = jnp.sqrt(jnp.square(apart).sum(axis=axis, keepdims=True) / number)
        score = jnp.clip(apart / jnp.where(deviation > 1e-9, deviation, 1), -CLIP_SCORES, CLIP_SCORES)
        return jnp.where(counts & (deviation > 1e-9), score, jnp.nan)

    return jnp.stack([of_horizon(k) for k in HORIZONS], axis=-1)


def return_errors(
    network: Network, params: Any, rows: Table, labels: Float[Array, "rows A horizons"]
) -> Float[Array, " rows"]:
    """Return the mean squared error of the forecasts of each table row, over the labels that it has; 0 without any.

    Args:
        network: with a head for returns, see `PolicyConfig.return_loss`.
        params: of the network.
        rows: of the table.
        labels: of these rows, NaN where there is none.
    """
    known = jnp.isfinite(labels)
    forecast = cast(Array, network.model.apply(params, rows, method="forecast_returns"))
    squares = jnp.where(known, jnp.square(forecast - jnp.where(known, labels, 0)), 0)
    return squares.sum(axis=(1, 2)) / jnp.maximum(known.sum(axis=(1, 2)), 1)


def of_table(
    network: Network, params: Any, table: Table, labels: Float[Array, "T A horizons"]
) -> tuple[Float[Array, ""], Any, Table]:
    """Return the mean error over the rows of a table that have labels, and its gradients by `PolicyConfig.return_loss`.

    Returns:
        The mean, and the gradients by the parameters of the head and by the table.
    """
    number = jnp.maximum(jnp.isfinite(labels).any(axis=(1, 2)).sum(), 1)

    def loss(params: Any, table: Table) -> tuple[Array, Array]:
        value = return_errors(network, params, table, labels).sum() / number
        return network.model.config.return_loss * value, value

    (_, value), (grads, table_grads) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, table)
    return value, grads, table_grads
