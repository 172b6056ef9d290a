"""What an agent has to beat: rules without learning, played through the same broker at the same costs.

A rule is a table of target weights: row i holds the weights to trade towards after the close of the i-th bar of the
span played, NaN leaves a position alone. Rules see the bars before the span too, so that what they estimate is known
when it begins, and nothing later than the row they fill; the oracles say what they see beyond it. Rules that are no
table (random actions) are played in `backtest.py`.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from ploutos_jax.evaluate.backtest.covariance import minimum_variance_weights, shrunk_covariance
from ploutos_jax.evaluate.backtest.oracles.promised import hints_of, law_of
from ploutos_jax.evaluate.backtest.oracles.rules import ORACLES, Cost
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.hints import HINT_FEATURE
from ploutos_jax.market.panel import Market

Rule = Callable[[Market, int], Float[np.ndarray, "bars A"]]
"""`(market, first) -> targets [T - first, A]`: `first` is the row at whose close the first decision is made."""

YEAR, QUARTER, MONTH, WEEK = 1.0, 1 / 4, 1 / 12, 1 / 52
"""Spans of the rules in years: estimates look back a year and take at least a quarter, most rules trade once a month.

In a market with 252 trading days a year they are 252, 63, 21 and 5 sessions, whatever the length of a bar.
"""
PART_HELD = 1 / 3
"""Share of the assets that momentum and mean reversion hold."""
TARGET_VOLATILITY = 0.10
"""Annual volatility that the volatility target aims at."""
_LIVE_DAYS = 7
"""Calendar days without a bar, as over a weekend with holidays, after which an asset no longer counts as traded."""

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


def cash(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that never hold anything."""
    return np.zeros((market.num_bars - first, market.num_assets))


def buy_and_hold(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that buy all assets that trade at the beginning in equal parts, once, and never trade again."""
    targets = np.full((market.num_bars - first, market.num_assets), np.nan)
    live = live_assets(market, first) & _may_buy(market, first)
    targets[0] = np.where(live, _equal_parts(live), np.nan)
    return _at_own_bars(targets, np.asarray(market.tradable)[first:], np.zeros(1, np.int64))


def equal_weight(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that bring all assets that trade back to equal parts once a month.

    Positions in assets that have not traded for a week are left alone, here and in the rules below; those in assets
    outside the universe are sold.
    """
    return _rebalance(market, first, MONTH, lambda _, live: _equal_parts(live))


def momentum(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold the third of the assets that rose most in a year, but for its last month.

    Once a month, in equal parts; of that third only what rose at all, the rest is cash.
    """
    past = _Past.of(market)
    year, quarter, month = past.spans(YEAR, QUARTER, MONTH)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, year, month)
        return _best_third(_growth(window), live & _has_history(window, quarter))

    return _rebalance(market, first, MONTH, weights)


def mean_reversion(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets that hold the third of the assets that fell most in a week, for as long.

    In equal parts; of that third only what fell at all, the rest is cash.
    """
    past = _Past.of(market)
    (week,) = past.spans(WEEK)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, week)
        known = np.isfinite(window).all(axis=0) & (len(window) == week)
        return _best_third(-_growth(window), live & known)

    return _rebalance(market, first, WEEK, weights)


def volatility_target(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets in equal parts, scaled once a month to `TARGET_VOLATILITY` a year, cash the rest.

    The volatility is that of the equal parts over the last quarter; there is no borrowing. Until a quarter is there
    nothing is held.
    """
    past = _Past.of(market)
    (quarter,) = past.spans(QUARTER)
    periods = market.calendar.periods_per_year

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, quarter)
        held = live & np.isfinite(window).any(axis=0)
        if len(window) < quarter or not held.any():
            return np.zeros(live.shape)
        together = np.nan_to_num(window[:, held]).mean(axis=1)
        volatility = together.std(ddof=1) * np.sqrt(periods)
        return _equal_parts(held) * (min(1.0, TARGET_VOLATILITY / volatility) if volatility > 0 else 1.0)

    return _rebalance(market, first, MONTH, weights)


def minimum_variance(market: Market, first: int = 0) -> Float[np.ndarray, "bars A"]:
    """Return targets of the least variance without short positions, from the shrunk covariance of a year.

    Once a month, over the assets of which a quarter of returns is known; a return that is not known counts as the
    asset's mean.
    """
    past = _Past.of(market)
    year, quarter = past.spans(YEAR, QUARTER)

    def weights(row: int, live: np.ndarray) -> np.ndarray:
        window = past.window(row, year)
        held = np.flatnonzero(live & _has_history(window, quarter))
        out = np.zeros(live.shape)
        if held.size:
            known = window[:, held]
            known = known[np.isfinite(known).any(axis=1)]
            filled = np.where(np.isfinite(known), known, np.nanmean(known, axis=0))
            out[held] = minimum_variance_weights(shrunk_covariance(filled))
        return out

    return _rebalance(market, first, MONTH, weights)


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
    split, dividend = _events(market)
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

    Args:
        market: bars.
        fill: when orders fill; with it `foresight` is among them, named `ORACLE`.
        cost: of a side, which the oracle of a hint that lasts needs to know; see `side_cost`.
    """
    rules = {**RULES, HINT_ORACLE: partial(oracle, cost=cost)} if _has_hint(market) else dict(RULES)
    return rules if fill is None else {**rules, ORACLE: partial(foresight, fill=fill)}


def total_returns(market: Market) -> Float[np.ndarray, "T A"]:
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


def _events(market: Market) -> tuple[np.ndarray, np.ndarray]:
    shape = market.close.shape
    split = np.ones(shape) if market.split is None else np.asarray(market.split, np.float64)
    dividend = np.zeros(shape) if market.dividend is None else np.asarray(market.dividend, np.float64)
    return split, dividend


@dataclasses.dataclass(frozen=True)
class _Past:
    """What rules estimate from: returns by session, of sessions that are over at the close of a row.

    Attributes:
        returns: `[sessions, A]` returns of whole sessions, NaN where an asset has none.
        number: `[T]` how many sessions are over at the close of each row.
        calendar: how many sessions make a month.
    """

    returns: Float[np.ndarray, "sessions A"]
    number: Int[np.ndarray, " T"]
    calendar: Calendar

    @classmethod
    def of(cls, market: Market) -> "_Past":
        returns, session = total_returns(market), _session_numbers(market)
        if not market.calendar.is_intraday:
            return cls(returns, np.arange(1, len(returns) + 1), market.calendar)
        # A bar can be the last of its session without anybody knowing it: only sessions before the bar's own are over.
        known = np.isfinite(returns)
        growth, bars = np.zeros((2, session[-1] + 1, returns.shape[1]))
        np.add.at(growth, session, np.log1p(np.where(known, returns, 0.0)))
        np.add.at(bars, session, known)
        return cls(np.where(bars > 0, np.expm1(growth), np.nan), session, market.calendar)

    def spans(self, *shares_of_year: float) -> tuple[int, ...]:
        """Return spans in sessions, at least 2 where a deviation needs them."""
        return tuple(max(self.calendar.sessions_in(share), 1 + (share >= QUARTER)) for share in shares_of_year)

    def window(self, row: int, sessions: int, skipped: int = 0) -> np.ndarray:
        """Return the returns of the last sessions that are over at the close of a row, without the newest ones."""
        stop = self.number[row]
        return self.returns[max(stop - sessions, 0) : max(stop - skipped, 0)]


def _session_numbers(market: Market) -> np.ndarray:
    """Return `[T]` the number of each bar's session, from 0."""
    return np.cumsum(np.diff(np.asarray(market.sessions), prepend=np.asarray(market.sessions)[:1]) != 0)


def _rebalance(
    market: Market, first: int, share_of_year: float, weights: Callable[[int, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return targets with `weights(row, assets that trade)` at the first bar of every so many sessions, else NaN.

    An asset that trades but has no bar at such a row gets its target at its next one.
    """
    every = market.calendar.sessions_in(share_of_year)
    session = _session_numbers(market)[first:]
    starts = np.flatnonzero((np.diff(session, prepend=-1) != 0) & ((session - session[0]) % every == 0))
    targets = np.full((market.num_bars - first, market.num_assets), np.nan)
    for row in starts.tolist():
        live = live_assets(market, first + row)
        allowed = live & _may_buy(market, first + row)
        targets[row] = np.where(live, np.where(allowed, weights(first + row, allowed), 0.0), np.nan)
    return _at_own_bars(targets, np.asarray(market.tradable)[first:], starts)


def live_assets(market: Market, row: int) -> Bool[np.ndarray, " A"]:
    """Return `[A]` bool, the assets that had a tradable bar at a row or in the week before it.

    In the first week of the data, when nobody can look back, those that have one in that week.
    """
    sessions = np.asarray(market.sessions)
    begin, stop = np.searchsorted(sessions, [sessions[row] - _LIVE_DAYS, sessions[0] + _LIVE_DAYS])
    tradable = np.asarray(market.tradable)
    end = row + 1 if sessions[row] - _LIVE_DAYS >= sessions[0] else max(row + 1, int(stop))
    live = tradable[begin:end].any(axis=0)
    if market.delisted is not None:
        live = live & ~np.asarray(market.delisted)[begin : row + 1].any(axis=0)
    return np.asarray(live)


def _may_buy(market: Market, row: int) -> np.ndarray:
    """Return `[A]` bool, the assets that belong to the universe at a row."""
    return np.ones(market.num_assets, bool) if market.buyable is None else np.asarray(market.buyable[row])


def _at_own_bars(targets: np.ndarray, tradable: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return targets moved from rows in which an asset has no bar to its next own bar before the next rebalancing."""
    for begin, end in zip(starts, [*starts[1:], len(targets)], strict=True):
        late = np.flatnonzero(~np.isnan(targets[begin]) & ~tradable[begin])
        for asset in late:
            own = np.flatnonzero(tradable[begin:end, asset])
            if own.size:
                targets[begin + own[0], asset] = targets[begin, asset]
            targets[begin, asset] = np.nan
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


def _has_history(window: np.ndarray, least: int) -> np.ndarray:
    return np.isfinite(window).sum(axis=0) >= least


def _has_hint(market: Market) -> bool:
    law = None if market.labels is None else market.labels.hint
    return law is not None and HINT_FEATURE in market.feature_names


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

_WITH_HISTORY = (momentum, mean_reversion, volatility_target, minimum_variance)
"""Rules that estimate from the bars before the span."""
