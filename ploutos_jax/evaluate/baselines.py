"""What an agent has to beat: rules without learning, played through the same broker at the same costs.

A rule is a table of target weights `[T, A]`: row t holds the weights to trade towards after close t, NaN leaves a
position alone. Rules that are no table (random actions) are played in `backtest.py`.
"""

from collections.abc import Callable

import numpy as np

from ploutos_jax.market.panel import Market
from ploutos_jax.market.planted import HINT, is_planted

Rule = Callable[[Market], np.ndarray]

_HINT_FEATURE = f"signal_{HINT}"

REBALANCE_BARS = 21
"""Bars between two rebalancings of `equal_weight`: a month of trading days."""


def cash(market: Market) -> np.ndarray:
    """Return targets that never hold anything."""
    return np.zeros(market.close.shape)


def buy_and_hold(market: Market) -> np.ndarray:
    """Return targets that buy all assets tradable at the first bar in equal parts, once, and never trade again."""
    targets = np.full(market.close.shape, np.nan)
    targets[0] = _equal_parts(np.asarray(market.tradable[0]))
    return targets


def equal_weight(market: Market) -> np.ndarray:
    """Return targets that bring all tradable assets back to equal parts every `REBALANCE_BARS` bars.

    Positions in assets that do not trade at a rebalancing are left alone.
    """
    tradable = np.asarray(market.tradable)
    targets = np.full(market.close.shape, np.nan)
    for t in range(0, len(targets), REBALANCE_BARS):
        parts = _equal_parts(tradable[t])
        targets[t] = np.where(tradable[t], parts, np.nan)
    return targets


def oracle(market: Market) -> np.ndarray:
    """Return targets that hold, at an equal part each, the assets of a planted market whose hint is above 0.

    Each asset has its part whether or not others are held. Without costs nothing that holds at most such parts can be
    expected to earn more: the hint's sign is that of the return to be expected, and nothing else tells of it.

    Raises:
        ValueError: if the market is not a planted one, or was built without its hint.
    """
    if not _has_hint(market):
        raise ValueError(
            f"The oracle reads the feature {_HINT_FEATURE!r} of a planted market, which this market does not have."
            " Build the market from planted_panel, with that signal among its features."
        )
    hint = np.asarray(market.features[..., market.feature_names.index(_HINT_FEATURE)])
    return (hint > 0) / market.num_assets


def rules_for(market: Market) -> dict[str, Rule]:
    """Return the rules that a report on this market shows: `RULES`, and on a planted market the oracle."""
    return {**RULES, "oracle": oracle} if _has_hint(market) else RULES


def _has_hint(market: Market) -> bool:
    return is_planted(market) and _HINT_FEATURE in market.feature_names


def _equal_parts(tradable: np.ndarray) -> np.ndarray:
    return tradable / max(tradable.sum(), 1)


RULES: dict[str, Rule] = {"buy and hold": buy_and_hold, "equal weight": equal_weight}
"""The rules that every report shows, by the name it shows them under."""
