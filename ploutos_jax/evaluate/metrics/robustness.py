"""What a result rests on: its costs, its best days, a few trades, a few positions.

Everything is computed from ledgers alone. A result at other costs is that of the same trades, not of an agent that
would have traded differently; a sweep of backtests at other costs answers that.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics import exposure
from ploutos_jax.evaluate.metrics.summary import annual_return, daily_returns, total_return

MOST_COST = 10.0
"""Multiple of the costs up to which a level with another strategy is looked for."""

TOP = 5
"""Number of best days and of best trades that a result is looked at without."""


def growth_at_cost(ledger: Ledger, multiples: Float[np.ndarray, " multiples"]) -> Float[np.ndarray, " multiples"]:
    """Return the total growth `Σ log(1 + r + (1 - k) cost / equity before)` of the same trades at k times the cost.

    `[multiples]`, minus infinity where a bar's return would be a total loss.

    Args:
        ledger: a strategy.
        multiples: `[multiples]` values of k; 0 is free, 1 as charged.
    """
    before = ledger.equity[:-1]
    share = np.where(before > 0, ledger.cost[1:] / np.where(before > 0, before, 1.0), 0.0)
    wealth = 1.0 + ledger.returns + (1.0 - np.asarray(multiples)[:, None]) * share
    with np.errstate(all="ignore"):
        return np.where((wealth > 0).all(axis=1), np.log(np.where(wealth > 0, wealth, 1.0)).sum(axis=1), -np.inf)


def annual_return_at_cost(
    ledger: Ledger, multiples: Float[np.ndarray, " multiples"]
) -> Float[np.ndarray, " multiples"]:
    """Return `[multiples]` annual returns of the same trades at multiples of their cost."""
    years = max(daily_returns(ledger).size, 1) / ledger.calendar.periods_per_year
    return np.expm1(growth_at_cost(ledger, multiples) / years)


def break_even_cost(ledger: Ledger, other: Ledger | None = None) -> float | None:
    """Return the multiple of the costs at which a strategy makes no more than another, both at that multiple.

    Args:
        ledger: the strategy; ahead of the other at the costs charged, or the answer is None.
        other: what it is compared with; an account that earns nothing without it.

    Returns:
        A number from 1 to `MOST_COST`, or None if the strategy is behind as charged or still ahead at `MOST_COST`.
    """
    multiples = np.linspace(1.0, MOST_COST, 361)
    with np.errstate(invalid="ignore"):
        ahead = growth_at_cost(ledger, multiples) - (0.0 if other is None else growth_at_cost(other, multiples))
    if not ahead[0] > 0:
        return None
    lost = np.flatnonzero(~(ahead > 0))
    if not lost.size:
        return None
    i = int(lost[0])
    if not np.isfinite(ahead[i]):
        return float(multiples[i])
    return float(np.interp(0.0, [ahead[i], ahead[i - 1]], [multiples[i], multiples[i - 1]]))


def robustness(ledger: Ledger) -> dict[str, Any]:
    """Return what the result rests on.

    Returns:
        `annual_return_without_best_days`: that of the same days without the `TOP` best, as if spent in cash;
        `top_trades_pnl_share` and `top_ticker_pnl_share`: profit of the `TOP` best trades, and of the best ticker, over
        the profit of all (None without a profit); `top_ticker`; `effective_positions`: mean over bars with a position;
        `largest_weight`: highest share of equity in one position; `level_cost_multiple`: see `break_even_cost`.
    """
    daily = daily_returns(ledger)
    dull = daily.copy()
    dull[np.argsort(-daily, kind="stable")[:TOP]] = 0.0
    pnl = np.sort(ledger.trades["pnl"].to_numpy(np.float64))[::-1]
    by_ticker = exposure.contributions(ledger)
    profit = float(pnl.sum())
    weight = exposure.weights(ledger)
    equal = exposure.effective_positions(weight)
    best = next(iter(by_ticker), None)
    return {
        "annual_return_without_best_days": annual_return(dull, ledger.calendar.periods_per_year),
        "total_return_without_best_days": total_return(dull),
        "top_trades_pnl_share": float(pnl[:TOP].sum()) / profit if profit > 0 else None,
        "top_ticker": best,
        "top_ticker_pnl_share": by_ticker[best] / profit if best is not None and profit > 0 else None,
        "effective_positions": float(equal[equal > 0].mean()) if (equal > 0).any() else 0.0,
        "largest_weight": float(exposure.largest_weight(weight).max()),
        "level_cost_multiple": break_even_cost(ledger),
    }
