"""Rules that know the law of a hint, and what trading costs; each sees hints and prices up to close t, no later ones.

Tables of target weights as in `baselines`: NaN keeps a position. What they maximise is the expected gain after costs;
risk is left out, and so is the drift of prices.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from ploutos_jax.evaluate.backtest.oracles.bands import best_bands
from ploutos_jax.evaluate.backtest.oracles.budget import band_oracle
from ploutos_jax.evaluate.backtest.oracles.promised import expected_returns, hints_of, law_of, promised_returns
from ploutos_jax.market.hints import HintKind
from ploutos_jax.market.panel import Market

CostlyRule = Callable[..., Float[np.ndarray, "bars A"]]
"""`(market, first, *, cost)`: a rule that is told the cost per side, as a share of what is traded, `[A]` or for all."""

Cost = float | Float[np.ndarray, " A"]


def persistent_oracle(market: Market, first: int = 0, *, cost: Cost = 0.0) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold each asset of a `planted_persistent` market, at an equal part, between the best bands.

    The exact optimum of positions between 0 and 1/A whose costs are linear; see `bands`.
    """
    law = law_of(market)
    unit = law.strength * law.volatility[0]
    cost = np.broadcast_to(np.asarray(cost, np.float64), unit.shape)
    if not unit.all():
        return np.full((market.num_bars - first, market.num_assets), np.nan)
    bands = best_bands(law.persistence, cost / unit)
    held = hold_between(hints_of(market)[first:], bands.buy, bands.sell)
    return on_changes(held, 1 / market.num_assets)


def filter_oracle(market: Market, first: int = 0, *, cost: Cost = 0.0) -> Float[np.ndarray, "bars A"]:
    """Return targets that buy what is expected to earn more than a side costs, and sell what to lose more.

    For markets whose expectations do not last, such as `planted_lag` and `planted_regimes`: of independent,
    symmetric expectations these are the best bands exactly. Regimes weigh by their chances, see `regime_chances`.
    That hints of a lag are known weeks ahead is not used: without costs it is worth nothing, with them a little.
    """
    return _beyond_cost(expected_returns(market)[first:], cost)


def state_oracle(market: Market, first: int = 0, *, cost: Cost = 0.0) -> Float[np.ndarray, "bars A"]:
    """Return the targets of `filter_oracle` of somebody who is told the true regime, which nobody can know."""
    return _beyond_cost(promised_returns(market)[first:], cost)


def hold_between(
    signal: Float[np.ndarray, "bars A"], buy: Float[np.ndarray, "*bars A"], sell: Float[np.ndarray, "*bars A"]
) -> Bool[np.ndarray, "bars A"]:
    """Return what is held after each row, from nothing: bought above `buy`, sold below `sell`, kept in between."""
    bought, sold = signal > buy, signal < sell
    held = np.zeros(signal.shape, bool)
    now = np.zeros(signal.shape[1], bool)
    for row in range(len(signal)):
        now = bought[row] | (now & ~sold[row])
        held[row] = now
    return held


def on_changes(held: Bool[np.ndarray, "bars A"], size: float) -> Float[np.ndarray, "bars A"]:
    """Return targets of `size` where an asset comes to be held and 0 where it no longer is; NaN, keep, elsewhere."""
    before = np.concatenate([np.zeros_like(held[:1]), held[:-1]])
    return np.where(held != before, np.where(held, size, 0.0), np.nan)


def _beyond_cost(expected: np.ndarray, cost: Cost) -> np.ndarray:
    level = np.broadcast_to(np.asarray(cost, np.float64), expected.shape[1:])
    return on_changes(hold_between(expected, level, -level), 1 / expected.shape[1])


ORACLES: dict[HintKind, CostlyRule] = {
    "persistent": persistent_oracle,
    "lag": filter_oracle,
    "regimes": filter_oracle,
    "edge": band_oracle,
}
"""By the kind of a market's law; `planted` has `baselines.oracle` itself."""
