"""What an agent has to beat: rules without learning, played through the same broker at the same costs.

A rule is a table of target weights: row i holds the weights to trade towards after the close of the i-th bar of the
span played, NaN leaves a position alone. Rules see the bars before the span too, so that what they estimate is known
when it begins, and nothing later than the row they fill; the oracles say what they see beyond it. Rules that are no
table (random actions) are played in `backtest.py`.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from ploutos_jax.evaluate.backtest.covariance import minimum_variance_weights, shrunk_covariance
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.planted import HINT, is_planted

Rule = Callable[[Market, int], np.ndarray]
"""`(market, first) -> targets [T - first, A]`: `first` is the row at whose close the first decision is made."""

_HINT_FEATURE = f"signal_{HINT}"

REBALANCE_BARS = 21
"""Bars between two rebalancings: a month of trading days."""
WEEK_BARS = 5
LOOKBACK_BARS, LEAST_BARS = 252, 63
"""Bars from which a rule estimates, and the fewest known ones below which an asset is not held."""
PART_HELD = 1 / 3
"""Share of the assets that momentum and mean reversion hold."""
TARGET_VOLATILITY = 0.10
"""Annual volatility that the volatility target aims at."""

ORACLE = "oracle (sees the next bar)"


def cash(market: Market, first: int = 0) -> np.ndarray:
    """Return targets that never hold anything."""
    return np.zeros((market.num_bars - first, market.num_assets))


def buy_and_hold(market: Market, first: int = 0) -> np.ndarray:
    """Return targets that buy all assets tradable at the first bar in equal parts, once, and never trade again."""
    targets = np.full((market.num_bars - first, market.num_assets), np.nan)
    targets[0] = _equal_parts(np.asarray(market.tradable[first]))
    return targets


def equal_weight(market: Market, first: int = 0) -> np.ndarray:
    """Return targets that bring all tradable assets back to equal parts every `REBALANCE_BARS` bars.

    Positions in assets that do not trade at a rebalancing are left alone, here and in the rules below.
    """
    return _rebalance(market, first, REBALANCE_BARS, lambda _, tradable: _equal_parts(tradable))


def momentum(market: Market, first: int = 0) -> np.ndarray:
    """Return targets that hold the third of the assets that rose most in a year, but for its last month.

    Every `REBALANCE_BARS` bars, in equal parts; of that third only what rose at all, the rest is cash.
    """
    returns = total_returns(market)

    def weights(row: int, tradable: np.ndarray) -> np.ndarray:
        window = returns[max(row + 1 - LOOKBACK_BARS, 0) : max(row + 1 - REBALANCE_BARS, 0)]
        return _best_third(_growth(window), tradable & _has_history(window))

    return _rebalance(market, first, REBALANCE_BARS, weights)


def mean_reversion(market: Market, first: int = 0) -> np.ndarray:
    """Return targets that hold the third of the assets that fell most in `WEEK_BARS` bars, for as many.

    In equal parts; of that third only what fell at all, the rest is cash.
    """
    returns = total_returns(market)

    def weights(row: int, tradable: np.ndarray) -> np.ndarray:
        window = returns[max(row + 1 - WEEK_BARS, 0) : row + 1]
        known = np.isfinite(window).all(axis=0) & (len(window) == WEEK_BARS)
        return _best_third(-_growth(window), tradable & known)

    return _rebalance(market, first, WEEK_BARS, weights)


def volatility_target(market: Market, first: int = 0) -> np.ndarray:
    """Return targets in equal parts, scaled every `REBALANCE_BARS` bars to `TARGET_VOLATILITY` a year, cash the rest.

    The volatility is that of the equal parts over the last `LEAST_BARS` bars; there is no borrowing. Until those bars
    are there nothing is held.
    """
    returns = total_returns(market)
    periods = bars_per_year(market)

    def weights(row: int, tradable: np.ndarray) -> np.ndarray:
        window = returns[max(row + 1 - LEAST_BARS, 0) : row + 1]
        held = tradable & np.isfinite(window).any(axis=0)
        if len(window) < LEAST_BARS or not held.any():
            return np.zeros(tradable.shape)
        together = np.nan_to_num(window[:, held]).mean(axis=1)
        volatility = together.std(ddof=1) * np.sqrt(periods)
        return _equal_parts(held) * (min(1.0, TARGET_VOLATILITY / volatility) if volatility > 0 else 1.0)

    return _rebalance(market, first, REBALANCE_BARS, weights)


def minimum_variance(market: Market, first: int = 0) -> np.ndarray:
    """Return targets of the least variance without short positions, from the shrunk covariance of a year.

    Every `REBALANCE_BARS` bars, over the tradable assets of which `LEAST_BARS` returns are known; a return that is not
    known counts as the asset's mean.
    """
    returns = total_returns(market)

    def weights(row: int, tradable: np.ndarray) -> np.ndarray:
        window = returns[max(row + 1 - LOOKBACK_BARS, 0) : row + 1]
        held = np.flatnonzero(tradable & _has_history(window))
        out = np.zeros(tradable.shape)
        if held.size:
            known = window[:, held]
            known = known[np.isfinite(known).any(axis=1)]
            filled = np.where(np.isfinite(known), known, np.nanmean(known, axis=0))
            out[held] = minimum_variance_weights(shrunk_covariance(filled))
        return out

    return _rebalance(market, first, REBALANCE_BARS, weights)


def foresight(market: Market, first: int = 0, *, fill: str = "next_open") -> np.ndarray:
    """Return targets that hold each asset, at an equal part, in just the bars in which it will rise.

    An upper bound that nobody can follow: it **sees the next bar**. Without costs no timing of such parts earns more.

    Args:
        market, first: as in the other rules.
        fill: when orders fill, see `EnvConfig`: what is earned runs from one fill to the next.
    """
    tradable = np.asarray(market.tradable)
    price = np.asarray(market.open if fill == "next_open" else market.close, np.float64)
    lag = 0 if fill == "same_close" else 1
    bars = len(price)
    split, dividend = _events(market)
    gain = np.zeros(price.shape)
    rows = np.arange(bars - 1 - lag)
    bought, sold = rows + lag, rows + lag + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = split[sold] * (price[sold] + dividend[sold]) / price[bought] - 1
    gain[rows] = np.where(tradable[bought] & tradable[sold] & (price[bought] > 0), grown, 0.0)
    if lag == 1 and fill == "next_open" and bars > 1:  # the last fill is marked at the close of its own bar
        close = np.asarray(market.close[-1], np.float64)
        gain[-2] = np.where(tradable[-1], close / np.where(tradable[-1], price[-1], 1.0) - 1, 0.0)
    return (gain[first:] > 0) / market.num_assets


def oracle(market: Market, first: int = 0) -> np.ndarray:
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
    hint = np.asarray(market.features[first:, :, market.feature_names.index(_HINT_FEATURE)])
    return (hint > 0) / market.num_assets


def rules_for(market: Market, *, fill: str | None = None) -> dict[str, Rule]:
    """Return the rules that a report on this market shows: `RULES`, and on a planted market the oracle.

    With `fill`, when orders fill, `foresight` is among them, named `ORACLE`.
    """
    rules = {**RULES, "oracle": oracle} if _has_hint(market) else dict(RULES)
    return rules if fill is None else {**rules, ORACLE: partial(foresight, fill=fill)}


def total_returns(market: Market) -> np.ndarray:
    """Return `[T, A]` returns from close to close with splits and dividends, known at close t.

    NaN where an asset does not trade or has no earlier close; after a gap the return is that over the gap. A path
    begins with NaN.
    """
    close = np.asarray(market.close, np.float64)
    split, dividend = _events(market)
    before = np.concatenate([np.zeros((1, close.shape[1])), close[:-1]])
    follows = np.concatenate([[False], np.diff(np.asarray(market.path_end)) == 0])
    known = np.asarray(market.tradable) & (before > 0) & follows[:, None]
    grown = split * (close + dividend) / np.where(before > 0, before, 1.0) - 1
    return np.where(known, grown, np.nan)


def bars_per_year(market: Market) -> float:
    """Return the bars in a year of 252 sessions, by the bars per session of this market."""
    return market.calendar.periods_per_year * market.num_bars / max(len(np.unique(np.asarray(market.sessions))), 1)


def _events(market: Market) -> tuple[np.ndarray, np.ndarray]:
    shape = market.close.shape
    split = np.ones(shape) if market.split is None else np.asarray(market.split, np.float64)
    dividend = np.zeros(shape) if market.dividend is None else np.asarray(market.dividend, np.float64)
    return split, dividend


def _rebalance(market: Market, first: int, every: int, weights: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return targets with `weights(row, tradable in it)` every so many bars, NaN for what does not trade."""
    tradable = np.asarray(market.tradable)
    targets = np.full((market.num_bars - first, market.num_assets), np.nan)
    for i in range(0, len(targets), every):
        targets[i] = np.where(tradable[first + i], weights(first + i, tradable[first + i]), np.nan)
    return targets


def _best_third(score: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return equal parts of the best third of the allowed assets, those above 0 only."""
    number = int(np.ceil(allowed.sum() * PART_HELD))
    out = np.zeros(score.shape)
    best = np.argsort(np.where(allowed, -score, np.inf), kind="stable")[:number]
    out[best] = np.where(score[best] > 0, 1 / max(number, 1), 0.0)
    return out


def _growth(window: np.ndarray) -> np.ndarray:
    return np.log1p(np.nan_to_num(window)).sum(axis=0)


def _has_history(window: np.ndarray) -> np.ndarray:
    return np.isfinite(window).sum(axis=0) >= LEAST_BARS


def _has_hint(market: Market) -> bool:
    return is_planted(market) and _HINT_FEATURE in market.feature_names


def _equal_parts(tradable: np.ndarray) -> np.ndarray:
    return tradable / max(tradable.sum(), 1)


RULES: dict[str, Rule] = {
    "cash": cash,
    "buy and hold": buy_and_hold,
    "equal weight": equal_weight,
    "momentum": momentum,
    "mean reversion": mean_reversion,
    "volatility target": volatility_target,
    "minimum variance": minimum_variance,
}
"""The rules that every report shows, by the name it shows them under."""
