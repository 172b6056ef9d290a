"""Markets that can be redrawn: one function of a key and some arrays, for as many markets of one shape as wanted."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import sector_columns

DrawFunction = Callable[[jax.Array, Any], Market]
"""`(key, source) -> Market`, pure, the same shapes for every key; hashable, for it is part of a compiled program."""


@dataclasses.dataclass(frozen=True)
class MarketDraw:
    """A stream of markets.

    Attributes:
        function: draws one; sessions, sectors and ends of paths must not depend on the key.
        source: arrays that it reads, such as the bars it resamples.
        key: of the stream; market number i is drawn with `fold_in(key, i)`.
        labels: symbols, sectors and dates of every market.
        feature_names: of its features.
    """

    function: DrawFunction
    source: Any
    key: jax.Array
    labels: Labels | None = None
    feature_names: tuple[str, ...] = ()

    def number(self, index: int) -> Market:
        """Return market number `index`, its arrays on the host, so that the device holds no more than it has to."""
        drawn = jax.jit(self.function)(jax.random.fold_in(self.key, index), self.source)
        drawn = jax.tree.map(np.asarray, drawn)
        if drawn.sector is None and self.labels is not None:
            drawn = drawn.replace(sector=sector_columns(self.labels.sectors))
        return drawn.replace(labels=self.labels, feature_names=self.feature_names)

    def first(self) -> Market:
        """Return the market that a run begins with; the scaling of features is fitted on it."""
        return self.number(0)
