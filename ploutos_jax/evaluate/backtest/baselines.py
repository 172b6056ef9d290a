"""What an agent has to beat: rules without learning, played through the same broker at the same costs.

A rule is a table of target weights: row i holds the weights to trade towards after the close of the i-th bar of the
span played, NaN leaves a position alone. Rules see the bars before the span too, so that what they estimate is known
when it begins, and nothing later than the row they fill; the oracles say what they see beyond it. Rules that are no
table (random actions) are played in `backtest.py`.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.backtest.covariance import minimum_variance_weights, shrunk_covariance
from ploutos_jax.evaluate.backtest.history import (
    MONTH,
    PART_HELD,
    QUARTER,
    WEEK,
    YEAR,
    Past,
    at_own_bars,
    equal_parts,
    events,
    growth,
    has_history,
    live_assets,
    may_buy,
    rebalance,
)
from ploutos_jax.evaluate.backtest.history import total_returns as total_returns
from ploutos_jax.evaluate.backtest.oracles.promised import hints_of, law_of
from ploutos_jax.evaluate.backtest.oracles.rules import ORACLES, Cost
from ploutos_jax.evaluate.backtest.ridge import has_features, ridge
from ploutos_jax.market.hints import HINT_FEATURE
from ploutos_jax.market.panel import Market

Rule = Callable[[Market, int], Float[np.ndarray, "bars A"]]
"""`(market, first) -> targets [T - first, A]`: `first` is the row at whose close the first decision is made."""

UNMOVED = 1e-6
"""Log return up to which a price counts as unmoved: less is what rounding leaves of one that came back to the cent."""
TARGET_VOLATILITY = 0.10
"""Annual volatility that the volatility target aims at."""

ORACLE = "oracle (sees the next bar)"
HINT_ORACLE = "oracle"
"""Knows the law of a made market's hint, and no later bar."""


def warn_of_history(market: Market, first: int, rules: Mapping[str, Rule]) -> None:
    """Warn where rules that estimate have less than a year before the span, though the market was cut from more."""
    waiting = [name for name, rule in rules.items() if rule in _WITH_HISTORY]
    cut_off = 0 if market.labels is None else market.labels.cut_off
    a_year = round(market.calendar.bars_per_year)
    if waiting and cut_off and first < a_year:
        warnings.warn(
            f"{', '.join(waiting)}: the market was cut from a longer one. These rules look back {a_year} bars, and"
            f" {first} of that history are left before the span, so they hold cash at first. Give the whole market and"
            f" the span: baselines(market, config, {str(market.times[first])[:10]!r}), say.",
            stacklevel=4,
        )
    if first >= a_year and any(rule is ridge for rule in rules.values()) and not has_features(market):
        warnings.warn(
            "ridge: the market has no features to regress returns on, so the rule holds cash. Build the market with"
            " the agent's features: build_market(panel, 'standard'), say.",
            stacklevel=4,
        )


def cash(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that never hold anything."""
    return np.zeros((market.num_bars - first, market.num_assets))


def buy_and_hold(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that buy all assets that trade at the beginning in equal parts, once, and never trade again."""
    targets = np.full((market.num_bars - first, market.num_assets), np.nan)
    live = live_assets(market, first) & may_buy(market, first)
    targets[0] = np.where(live, equal_parts(live), np.nan)
    return at_own_bars(targets, np.asarray(market.tradable)[first:], np.zeros(1, np.int64))


def equal_weight(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that bring all assets that trade back to equal parts once a month.

    Positions in assets that have not traded for a week are left alone, here and in the rules below; those in assets
    outside the universe are sold.
    """
    return rebalance(market, first, MONTH, lambda _, live: equal_parts(live))


def momentum(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold the third of the assets that rose most in a year, but for its last month.

    That is 12-1 momentum: twelve months without the newest one. Once a month, in equal parts; of that third only what
    rose at all, the rest is cash.
    """
    past = Past.of(market)
    year, quarter, month = past.spans(YEAR, QUARTER, MONTH)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, year, month)
        return _best_third(growth(window), live & has_history(window, quarter))

    return rebalance(market, first, MONTH, weights)


def mean_reversion(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold the third of the assets that fell most in a week, for as long.

    In equal parts; of that third only what fell at all, the rest is cash.
    """
    past = Past.of(market)
    (week,) = past.spans(WEEK)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, week)
        known = np.isfinite(window).all(axis=0) & (len(window) == week)
        return _best_third(-growth(window), live & known)

    return rebalance(market, first, WEEK, weights)


def volatility_target(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets in equal parts, scaled once a month to `TARGET_VOLATILITY` a year, cash the rest.

    The volatility is that of the equal parts over the last quarter; there is no borrowing. Until a quarter is there
    nothing is held.
    """
    past = Past.of(market)
    (quarter,) = past.spans(QUARTER)
    periods = market.calendar.periods_per_year

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, quarter)
        held = live & np.isfinite(window).any(axis=0)
        if len(window) < quarter or not held.any():
            return np.zeros(live.shape)
        together = np.nan_to_num(window[:, held]).mean(axis=1)
        volatility = together.std(ddof=1) * np.sqrt(periods)
        return equal_parts(held) * (min(1.0, TARGET_VOLATILITY / volatility) if volatility > 0 else 1.0)

    return rebalance(market, first, MONTH, weights)


def minimum_variance(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets of the least variance without short positions, from the shrunk covariance of a year.

    Once a month, over the assets of which a quarter of returns is known; a return that is not known counts as the
    asset's mean.
    """
    past = Past.of(market)
    year, quarter = past.spans(YEAR, QUARTER)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, year)
        held = np.flatnonzero(live & has_history(window, quarter))
        out = np.zeros(live.shape)
        if held.size:
            known = window[:, held]
            known = known[np.isfinite(known).any(axis=1)]
            filled = np.where(np.isfinite(known), known, np.nanmean(known, axis=0))
            out[held] = minimum_variance_weights(shrunk_covariance(filled))
        return out

    return rebalance(market, first, MONTH, weights)


def inverse_volatility(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets in proportion to one over the volatility of each asset in the last quarter, once a month.

    Over the assets of which at least half of the quarter's returns are known. One that did not move at all has no such
    weight and is left out, unless none did: equal parts then. Until a quarter is there nothing is held.
    """
    past = Past.of(market)
    (quarter,) = past.spans(QUARTER)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, quarter)
        held = live & has_history(window, max(2, (quarter + 1) // 2))
        out = np.zeros(live.shape)
        if len(window) < quarter or not held.any():
            return out
        volatility = np.nanstd(window[:, held], axis=0, ddof=1)
        moves = volatility > 1e-9
        out[held] = np.where(moves, 1 / np.where(moves, volatility, 1.0), 0.0) if moves.any() else 1.0
        return out / out.sum()

    return rebalance(market, first, MONTH, weights)


def foresight(market: Market, first: int = 0, *, fill: str = "next_open") -> Float[np.ndarray, "bars A"]:
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
    split, dividend = events(market)
    gain = np.zeros(price.shape)
    rows = np.arange(bars - 1 - lag)
    bought, sold = rows + lag, rows + lag + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = split[sold] * (price[sold] + dividend[sold]) / price[bought] - 1
    buyable = tradable if market.buyable is None else tradable & np.asarray(market.buyable)
    gain[rows] = np.where(buyable[bought] & tradable[sold] & (price[bought] > 0), grown, 0.0)
    if lag == 1 and fill == "next_open" and bars > 1:  # the last fill is marked at the close of its own bar
        close = np.asarray(market.close[-1], np.float64)
        gain[-2] = np.where(tradable[-1], close / np.where(tradable[-1], price[-1], 1.0) - 1, 0.0)
    return (gain[first:] > 0) / market.num_assets


def oracle(market: Market, first: int = 0, *, cost: Cost = 0.0) -> Float[np.ndarray, "bars A"]:
    """Return the targets of somebody who knows what the hint of a made market tells, and what trading costs.

    On a market of `planted_panel` he holds, at an equal part each and whatever it costs, the assets whose hint is above
    0. Each asset has its part whether or not others are held. Without costs nothing that holds at most such parts can
    be expected to earn more: the hint's sign is that of the return to be expected, and nothing else tells of it. On the
    others, see `oracles.rules`.

    Args:
        market, first: as in the other rules.
        cost: of a side, as a share of what is traded, for each asset or for all.

    Raises:
        ValueError: if the market is not a made one with a hint, or was built without it.
    """
    law = law_of(market)
    if law.kind != "planted":
        return ORACLES[law.kind](market, first, cost=cost)
    return (hints_of(market)[first:] > 0) / market.num_assets


def rules_for(market: Market, *, fill: str | None = None, cost: Cost = 0.0) -> dict[str, Rule]:
    """Return the rules that a report on this market shows: `RULES`, and on a made market with a hint the oracle.

    On a market that lies in files those that look at no history: cash, buy and hold, equal weight.

    Args:
        market: bars.
        fill: when orders fill; with it `foresight` is among them, named `ORACLE`.
        cost: of a side, which the oracle of a hint that lasts needs to know; see `side_cost`.
    """
    if market.labels is not None and market.labels.device_bars is not None:
        # The others estimate from returns of the whole history, which is not in memory.
        return {name: rule for name, rule in RULES.items() if rule in (cash, buy_and_hold, equal_weight)}
    rules = {**RULES, HINT_ORACLE: partial(oracle, cost=cost)} if _has_hint(market) else dict(RULES)
    return rules if fill is None else {**rules, ORACLE: partial(foresight, fill=fill)}


def _best_third(score: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return equal parts of the best third of the allowed assets, those above 0 only."""
    number = int(np.ceil(allowed.sum() * PART_HELD))
    out = np.zeros(score.shape)
    best = np.argsort(np.where(allowed, -score, np.inf), kind="stable")[:number]
    out[best] = np.where(score[best] > UNMOVED, 1 / max(number, 1), 0.0)
    return out


def _has_hint(market: Market) -> bool:
    law = None if market.labels is None else market.labels.hint
    return law is not None and HINT_FEATURE in market.feature_names


RULES: dict[str, Rule] = {
    "cash": cash,
    "buy and hold": buy_and_hold,
    "equal weight": equal_weight,
    "momentum": momentum,
    "mean reversion": mean_reversion,
    "volatility target": volatility_target,
    "minimum variance": minimum_variance,
    "inverse volatility": inverse_volatility,
    "ridge": ridge,
}
"""The rules that every report shows, by the name it shows them under."""

_WITH_HISTORY = (momentum, mean_reversion, volatility_target, minimum_variance, inverse_volatility, ridge)
"""Rules that estimate from the bars before the span."""
