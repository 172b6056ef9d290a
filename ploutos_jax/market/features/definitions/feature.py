"""Feature: one column of the table, and what people should know of it."""

import dataclasses
import math
from collections.abc import Callable

import jax

from ploutos_jax.market.features.compacted import Bars


@dataclasses.dataclass(frozen=True)
class Raw:
    """The textbook form of a feature, in its own units, for people and for comparison with other libraries.

    Attributes:
        formula: what it is, for people.
        function: takes `Bars`, returns `[T, A]` over own bars, NaN before the warm-up.
        warm_up: the first own bar with a value, where it is another than that of the network form.
    """

    formula: str
    function: Callable[[Bars], jax.Array]
    warm_up: int | None = None


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        name: its name in `market.feature_names`.
        function: takes `Bars`, returns `[T, A]` in network form over own bars, NaN before the warm-up; own bar i is
            known at its close.
        formula: what it is, for people; `X[-n]` is X n bars ago.
        warm_up: the first own bar with a value, counted from 0, where every bar is a session of its own.
        low, high: bounds of the value, if it has any besides the table's clip.
        oracle: what tests compare it with.
        raw: the textbook form where it is another than the network form.
        across_assets: whether it looks at other assets' bars too.
    """

    name: str
    function: Callable[[Bars], jax.Array]
    formula: str
    warm_up: int
    low: float = -math.inf
    high: float = math.inf
    oracle: str = "NumPy"
    raw: Raw | None = None
    across_assets: bool = False
