"""Figures of an account by the regime of the market that its agent was told of when it decided."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.metrics.returns import NAN, sharpe

NAMES = ("calm", "middle", "wild")
"""The states of `agents.regimes`, in their order."""


class OfRegime(NamedTuple):
    """Share of the bars that a regime was the likeliest in, and Sharpe ratio of a year over the returns that followed.

    NaN where fewer than two bars did.
    """

    share: float
    sharpe: float


def by_regime(
    equity: Float[np.ndarray, " rows"], chances: Float[np.ndarray, "rows regimes"], bars_per_year: float
) -> dict[str, OfRegime]:
    """Return figures by the likeliest regime, as it was known at the close before each return.

    Args:
        equity: at the close of each bar.
        chances: of the regimes at that close, calmest first; those of the last bar are followed by nothing.
        bars_per_year: by which the returns of single bars are annualised.
    """
    returns = equity[1:] / equity[:-1] - 1
    likeliest = np.argmax(chances[:-1], axis=1)
    parts = [returns[likeliest == state] for state in range(chances.shape[1])]
    return {
        name: OfRegime(len(part) / max(len(returns), 1), sharpe(part, bars_per_year) if len(part) > 1 else NAN)
        for name, part in zip(NAMES, parts, strict=True)
    }
