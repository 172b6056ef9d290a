"""Trades, turnover, exposure and costs to numbers; conventions as in `return_metrics`."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float, Num, Shaped

from ploutos_jax.evaluate.metrics.returns import NAN, ratio_of, total_return
from ploutos_jax.evaluate.round_trips import OPEN

STOPS, TARGETS = ("stop", "trailing"), ("target",)
"""Exit reasons that count as a stop and as a target."""


def win_rate(pnl: Float[np.ndarray, " trades"]) -> float:
    """Return the share of trades with a profit above 0, given the `[trades]` net profits in dollars."""
    return float(np.mean(np.asarray(pnl) > 0)) if np.size(pnl) else NAN


def profit_factor(pnl: Float[np.ndarray, " trades"]) -> float:
    """Return the dollars won over the dollars lost by trades."""
    pnl = np.asarray(pnl, np.float64)
    return ratio_of(np.maximum(pnl, 0.0).sum(), np.maximum(-pnl, 0.0).sum())


def average_win(pnl: Float[np.ndarray, " trades"]) -> float:
    """Return the mean profit of the trades that won, in dollars."""
    pnl = np.asarray(pnl, np.float64)
    return float(pnl[pnl > 0].mean()) if (pnl > 0).any() else NAN


def average_loss(pnl: Float[np.ndarray, " trades"]) -> float:
    """Return the mean profit of the trades that lost, in dollars below 0."""
    pnl = np.asarray(pnl, np.float64)
    return float(pnl[pnl < 0].mean()) if (pnl < 0).any() else NAN


def average_trade_bars(bars: Num[np.ndarray, " trades"]) -> float:
    """Return the mean number of bars from entry to exit."""
    return float(np.mean(bars)) if np.size(bars) else NAN


def turnover(turnover_by_bar: Float[np.ndarray, " rows"], equity: Float[np.ndarray, " rows"], years: float) -> float:
    """Return the one-sided turnover per year, `Σ traded dollars / (2 * mean equity) / years`; 1 = all once a year.

    Args:
        turnover_by_bar: `[N+1]` two-sided traded value over the equity of the row before; row 0 is not read.
        equity: `[N+1]` dollars.
        years: length of the span.
    """
    if np.size(equity) < 2:
        return NAN
    traded = np.sum(np.asarray(turnover_by_bar)[1:] * np.asarray(equity)[:-1])
    return ratio_of(float(traded) / 2.0, float(np.mean(equity)) * years)


def exposure(gross_exposure: Float[np.ndarray, " rows"], equity: Float[np.ndarray, " rows"]) -> float:
    """Return the mean of gross exposure over equity, both `[N+1]` in dollars; row 0, before any trade, is left out."""
    gross, equity = np.asarray(gross_exposure, np.float64)[1:], np.asarray(equity, np.float64)[1:]
    alive = equity > 0
    return float(np.mean(gross[alive] / equity[alive])) if alive.any() else NAN


def leverage(gross_exposure: Float[np.ndarray, " rows"], equity: Float[np.ndarray, " rows"]) -> float:
    """Return the highest gross exposure over equity; arguments as in `exposure`."""
    gross, equity = np.asarray(gross_exposure, np.float64)[1:], np.asarray(equity, np.float64)[1:]
    alive = equity > 0
    return float(np.max(gross[alive] / equity[alive])) if alive.any() else NAN


def hit_rate(exit_reason: Shaped[np.ndarray, " trades"], reasons: Collection[str]) -> float:
    """Return the share of closed round trips that ended for one of `reasons`, such as `STOPS`."""
    exit_reason = np.asarray(exit_reason)
    closed = exit_reason[exit_reason != OPEN]
    return float(np.mean(np.isin(closed, list(reasons)))) if closed.size else NAN


def total_cost(cost: Float[np.ndarray, " rows"]) -> float:
    """Return the dollars paid in fees, spread and slippage."""
    return float(np.sum(cost))


def num_trades(exit_reason: Shaped[np.ndarray, " trades"]) -> int:
    """Return the number of closed round trips, given the exit reason of each."""
    return int(np.sum(np.asarray(exit_reason) != OPEN))


def gross_return(
    returns: Float[np.ndarray, " N"], cost: Float[np.ndarray, " N+1"], equity: Float[np.ndarray, " N+1"]
) -> float:
    """Return the total return of the same trades at no cost, `Π(1 + r + cost / equity before) - 1`.

    Args:
        returns: `[N]` net returns by bar.
        cost: `[N+1]` dollars paid; row 0 is not read.
        equity: `[N+1]` dollars.
    """
    before = np.asarray(equity, np.float64)[:-1]
    share = np.where(before > 0, np.asarray(cost)[1:] / np.where(before > 0, before, 1.0), 0.0)
    return total_return(np.asarray(returns) + share)
