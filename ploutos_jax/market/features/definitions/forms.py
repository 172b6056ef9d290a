"""The two forms of a feature, where one follows from the other: the textbook's units, and what a network takes."""

import math
from collections.abc import Callable

import jax
from jaxtyping import Float

from ploutos_jax.market.features.compacted import Bars
from ploutos_jax.market.features.definitions.feature import Feature, Raw

YEAR = 252**0.5
"""Bars to a year's volatility, taking a bar for a trading day."""

Form = Callable[[jax.Array, Bars], jax.Array]
"""`(values [T, A] in the textbook's units, bars) -> values in network form`."""


def in_both_forms(
    name: str,
    function: Callable[[Bars], jax.Array],
    network: Form,
    formula: str,
    warm_up: int,
    low: float = -math.inf,
    high: float = math.inf,
    oracle: str = "NumPy",
    *,
    textbook: str,
    textbook_warm_up: int | None = None,
) -> Feature:
    """Return a feature whose network form is made of its textbook form, so that each indicator is written once.

    Args:
        name: in `market.feature_names`.
        function: the textbook form of bars, `[T, A]`, known at their close.
        network: makes the network form of it, such as `of_100`.
        formula, warm_up, low, high, oracle: of the network form, see `Feature`.
        textbook, textbook_warm_up: formula and warm-up of the textbook form, see `Raw`.
    """
    return Feature(
        name,
        lambda bars: network(function(bars), bars),
        formula,
        warm_up,
        low,
        high,
        oracle,
        raw=Raw(textbook, function, textbook_warm_up),
    )


def of_100(values: Float[jax.Array, "T A"], bars: Bars) -> Float[jax.Array, "T A"]:
    """Return percent as a fraction."""
    del bars
    return values / 100


def around_50(values: Float[jax.Array, "T A"], bars: Bars) -> Float[jax.Array, "T A"]:
    """Return an oscillator from 0 to 100 as -1 to 1."""
    del bars
    return values / 50 - 1


def yearly(values: Float[jax.Array, "T A"], bars: Bars) -> Float[jax.Array, "T A"]:
    """Return a volatility per bar as one per year."""
    del bars
    return values * YEAR


def over_close(values: Float[jax.Array, "T A"], bars: Bars) -> Float[jax.Array, "T A"]:
    """Return a difference of prices as a share of the close."""
    return values / bars.close
