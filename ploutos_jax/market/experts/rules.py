"""Experts: strategies without learning, as causal functions of a market to target weights of every row.

Each holds what the baseline of its name holds, see `ploutos_jax/evaluate/backtest/baselines.py` (`policy` must not
import it; tests compare them), but for two things that a table on the device asks for: every row is filled, and an
asset without a bar at the very beginning of a path waits for the next decision.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.minimum_variance import minimum_variance_weights, shrunk_covariance
from ploutos_jax.market.experts.schedule import MONTH, QUARTER, WEEK, YEAR, decide, look_back, sessions_in
from ploutos_jax.market.panel import Market

UNMOVED = 1e-6
"""Log return up to which a price counts as unmoved: less is what rounding leaves of one that came back to the cent."""
TARGET_VOLATILITY = 0.10
"""Annual volatility that the volatility target aims at."""


def equal_weight(market: Market, calendar: Calendar) -> Float[Array, "T A"]:
    """Return `[T, A]` equal parts of what trades, decided once a month."""
    past = look_back(market, calendar)
    (month,) = sessions_in(calendar, MONTH)
    return decide(past, month, lambda row: equal_parts(past.allowed[row]))


def momentum(market: Market, calendar: Calendar) -> Float[Array, "T A"]:
    """Return `[T, A]` equal parts of the third that rose most in a year but its last month: 12-1 momentum, monthly.

    Of that third only what rose at all, and only assets with a quarter of known returns.
    """
    past = look_back(market, calendar)
    year, quarter, month = sessions_in(calendar, YEAR, QUARTER, MONTH)

    def weights(row: Array) -> Array:
        window, _ = past.window(row, year, month)
        return _best_third(_growth(window), past.allowed[row] & (_known(window) >= quarter))

    return decide(past, month, weights)


def mean_reversion(market: Market, calendar: Calendar) -> Float[Array, "T A"]:
    """Return `[T, A]` equal parts of the third that fell most in a week, decided once a week; what fell at all."""
    past = look_back(market, calendar)
    (week,) = sessions_in(calendar, WEEK)

    def weights(row: Array) -> Array:
        window, _ = past.window(row, week)
        return _best_third(-_growth(window), past.allowed[row] & (_known(window) == week))

    return decide(past, week, weights)


def volatility_target(market: Market, calendar: Calendar) -> Float[Array, "T A"]:
    """Return `[T, A]` equal parts scaled once a month to `TARGET_VOLATILITY` a year by the last quarter, or all."""
    past = look_back(market, calendar)
    quarter, month = sessions_in(calendar, QUARTER, MONTH)

    def weights(row: Array) -> Array:
        window, on_path = past.window(row, quarter)
        held = past.allowed[row] & jnp.isfinite(window).any(axis=0)
        together = jnp.where(held & jnp.isfinite(window), window, 0).sum(axis=1) / jnp.maximum(held.sum(), 1)
        volatility = jnp.std(together, ddof=1) * jnp.sqrt(calendar.periods_per_year)
        share = jnp.minimum(1, TARGET_VOLATILITY / jnp.where(volatility > 0, volatility, 1))
        return jnp.where(on_path.all(), equal_parts(held) * jnp.where(volatility > 0, share, 1), 0)

    return decide(past, month, weights)


def minimum_variance(market: Market, calendar: Calendar) -> Float[Array, "T A"]:
    """Return `[T, A]` weights of least variance without short positions, from the shrunk covariance of a year, monthly.

    Over the assets of which a quarter of returns is known.
    """
    past = look_back(market, calendar)
    year, quarter, month = sessions_in(calendar, YEAR, QUARTER, MONTH)

    def weights(row: Array) -> Array:
        window, _ = past.window(row, year)
        held = past.allowed[row] & (_known(window) >= quarter)
        return minimum_variance_weights(shrunk_covariance(window, held), held)

    return decide(past, month, weights)


def inverse_volatility(market: Market, calendar: Calendar) -> Float[Array, "T A"]:
    """Return `[T, A]` weights in proportion to one over each asset's volatility of the last quarter, monthly.

    Over assets of which half of the quarter's returns are known and that moved; equal parts where none did.
    """
    past = look_back(market, calendar)
    quarter, month = sessions_in(calendar, QUARTER, MONTH)

    def weights(row: Array) -> Array:
        window, on_path = past.window(row, quarter)
        number = _known(window)
        held = past.allowed[row] & (number >= max(2, (quarter + 1) // 2)) & on_path.all()
        mean = jnp.nan_to_num(window).sum(axis=0) / jnp.maximum(number, 1)
        squares = jnp.where(jnp.isfinite(window), jnp.square(window - mean), 0).sum(axis=0)
        volatility = jnp.sqrt(squares / jnp.maximum(number - 1, 1))
        moves = held & (volatility > 1e-9)
        inverse = jnp.where(moves, 1 / jnp.where(moves, volatility, 1), 0)
        return jnp.where(moves.any(), inverse / jnp.where(moves.any(), inverse.sum(), 1), equal_parts(held))

    return decide(past, month, weights)


def equal_parts(held: Bool[Array, " A"]) -> Float[Array, " A"]:
    """Return `[A]` equal weights of the assets given, 0 for the others."""
    return held / jnp.maximum(held.sum(), 1)


def third(number: Array) -> Array:
    """Return a third of a number of assets, rounded up."""
    return (number + 2) // 3


def places(score: Float[Array, " A"], allowed: Bool[Array, " A"]) -> Array:
    """Return `[A]` the place of each asset by its score, best first from 0; those not allowed come last."""
    order = jnp.argsort(jnp.where(allowed, -score, jnp.inf), stable=True)
    return jnp.zeros(len(score), jnp.int32).at[order].set(jnp.arange(len(score), dtype=jnp.int32))


def _best_third(score: Array, allowed: Array) -> Array:
    number = third(allowed.sum())
    best = allowed & (places(score, allowed) < number) & (score > UNMOVED)
    return best / jnp.maximum(number, 1)


def _growth(window: Array) -> Array:
    return jnp.log1p(jnp.nan_to_num(window)).sum(axis=0)


def _known(window: Array) -> Array:
    return jnp.isfinite(window).sum(axis=0)
