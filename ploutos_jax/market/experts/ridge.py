"""The ridge regression as an expert: scores of every row from fitted coefficients, traded with a band; inside `jit`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.ridge_fit import CLIP_FEATURES, RidgeFit
from ploutos_jax.market.experts.rules import third
from ploutos_jax.market.experts.schedule import look_back, newest, path_starts
from ploutos_jax.market.panel import Market

_ROWS_AT_ONCE = 64
"""Rows whose standardised features exist at a time."""


def ridge(market: Market, calendar: Calendar, fit: RidgeFit) -> Float[Array, "T A"]:
    """Return `[T, A]` float32 weights of the third that the regression ranks highest, exchanged with a band.

    Decided at the first bar of every session, as in `hold_best` of the baselines: what is held stays until it falls out
    of the better half, its place goes to the best that is not held, at a third's equal part. Every row is filled: what
    is held shows the weight that it was bought at, scaled down where these add up to more than 1; 0 in a bar in which
    the asset does not trade. A path begins with nothing held.

    Args:
        market: arrays, with the features of the fit.
        calendar: of its bars; static.
        fit: from `fit_ridge`, of rows that lie before those that are traded; nothing here can tell.
    """
    past, start = look_back(market, calendar), path_starts(jnp.asarray(market.path_end))
    last = newest(past.tradable, start)
    score = jnp.take_along_axis(scores(jnp.asarray(market.features), fit), jnp.maximum(last, 0), axis=0)
    ranked = past.allowed & (last >= 0)
    # Ranks of all rows at once: a sort in every step of the scan would cost more than all else in it.
    order = jnp.argsort(jnp.where(ranked, -score, jnp.inf), axis=1, stable=True)
    place = jnp.argsort(order, axis=1)
    ended = jnp.zeros_like(ranked) if market.delisted is None else jnp.asarray(market.delisted)
    row = jnp.arange(len(start))

    def step(weight: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
        begins, decides, order, place, ranked, live, trades, ended = at
        weight = jnp.where(begins | ended, 0, weight)
        count = ranked.sum()
        number, most = third(count), jnp.maximum((count + 1) // 2, third(count))
        kept = (weight > 0) & ~(trades & ~(ranked & (place < most)))
        free = jnp.maximum(number - (kept & live).sum(), 0)
        able = ranked & ~kept & trades & (place < number)
        bought = able & (jnp.cumsum(able[order])[place] <= free)
        chosen = jnp.where(bought, 1 / jnp.maximum(number, 1), jnp.where(kept, weight, 0)).astype(jnp.float32)
        weight = jnp.where(decides, chosen, weight)
        return weight, jnp.where(trades, weight, 0)

    inputs = (row == start, past.opens, order, place, ranked, past.live, past.tradable, ended)
    table = jax.lax.scan(step, jnp.zeros(market.close.shape[1], jnp.float32), inputs)[1]
    return table / jnp.maximum(table.sum(axis=1, keepdims=True), 1)


def scores(features: Float[Array, "T A F"], fit: RidgeFit) -> Float[Array, "T A"]:
    """Return the scores `[T, A]` of features, a few rows at a time; known when these are."""
    centre, spread, coefficients = (jnp.asarray(x, features.dtype) for x in (fit.centre, fit.spread, fit.coefficients))

    def of_row(row: Array) -> Array:
        standard = jnp.clip((row - centre) / spread, -CLIP_FEATURES, CLIP_FEATURES)
        return jnp.matmul(standard, coefficients, precision="highest")

    return jax.lax.map(of_row, features, batch_size=_ROWS_AT_ONCE)
