"""All experts asked for as one table on the device."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.experts.ridge import ridge
from ploutos_jax.market.experts.ridge_fit import RidgeFit
from ploutos_jax.market.experts.rules import (
    equal_weight,
    inverse_volatility,
    mean_reversion,
    minimum_variance,
    momentum,
    volatility_target,
)
from ploutos_jax.market.panel import Market

Expert = Callable[[Market, Calendar], Float[Array, "T A"]]
"""`(market, calendar) -> weights [T, A]`, causal and pure; the calendar is static."""

EXPERTS: Mapping[str, Expert] = {
    "equal_weight": equal_weight,
    "momentum": momentum,
    "mean_reversion": mean_reversion,
    "volatility_target": volatility_target,
    "minimum_variance": minimum_variance,
    "inverse_volatility": inverse_volatility,
}
"""The experts that need nothing but a market, by name; `ridge` needs a fit in addition."""

RIDGE = "ridge"
PREFIX = "expert_"
"""What names of columns begin with that hold an expert's weights in a market's features."""


def num_experts(feature_names: Sequence[str]) -> int:
    """Return how many of the first features of a market are weights of experts, one after the other."""
    return next((n for n, name in enumerate(feature_names) if not name.startswith(PREFIX)), len(feature_names))


def table(
    market: Market, names: Sequence[str], calendar: Calendar, ridge_fit: RidgeFit | None = None
) -> Float[Array, "T experts A"]:
    """Return `[T, experts, A]` float32 target weights of experts in the order named; row t is known at close t.

    Every row is filled: a decision stands until the next one, and an asset that does not trade in a bar has 0. Weights
    are not negative, and those of an expert add up to at most 1, the rest being cash.

    Args:
        market: arrays; labels are not read, so a market drawn inside `jit` will do. Paths do not touch each other.
        names: of `EXPERTS`, or `ridge`; at least one.
        calendar: `market.calendar`, taken before tracing: it is static, and a traced market has none.
        ridge_fit: from `fit_ridge`, where `ridge` is among the names.

    Raises:
        ValueError: if a name is unknown, none is given, or `ridge` has no fit.
    """
    unknown = [name for name in names if name not in EXPERTS and name != RIDGE]
    if unknown or not names:
        asked = f"Unknown expert {unknown[0]!r}" if unknown else "No expert is named"
        raise ValueError(f"{asked}; known are {', '.join((*EXPERTS, RIDGE))}.")
    if RIDGE in names and ridge_fit is None:
        raise ValueError("The expert 'ridge' needs its coefficients: give table(..., ridge_fit=fit_ridge(market)).")
    weights = [
        EXPERTS[name](market, calendar) if name in EXPERTS or ridge_fit is None else ridge(market, calendar, ridge_fit)
        for name in names
    ]
    return jnp.stack(weights, axis=1)
