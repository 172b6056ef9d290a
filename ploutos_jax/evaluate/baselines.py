"""What an agent has to beat: rules without learning, played through the same broker at the same costs.

A rule is a table of target weights `[T, A]`: row t holds the weights to trade towards after close t, NaN leaves a
position alone. Rules that are no table (random actions) are played in `backtest.py`.
"""

from collections.abc import Callable

import numpy as np

from ploutos_jax.market.panel import Market

Rule = Callable[[Market], np.ndarray]

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


def _equal_parts(tradable: np.ndarray) -> np.ndarray:
    return tradable / max(tradable.sum(), 1)


RULES: dict[str, Rule] = {"buy and hold": buy_and_hold, "equal weight": equal_weight}
"""The rules that every report shows, by the name it shows them under."""
