"""Returns and trades to numbers: one pure NumPy function per metric.

Conventions, the same everywhere:

- `returns` is `[N]` simple returns per period; wealth starts at 1 before the first of them.
- `periods` is the number of return periods in a year (252 for daily returns).
- NaN in `returns` is a period whose return is not known: wealth stays where it is, moments and quantiles leave it out.
- What is not defined (too few returns, a denominator of zero) is NaN, never a warning or an exception.

Source: formulas as in empyrical, which the tests hold them to.
"""

from typing import Any

import numpy as np

from ploutos_jax.evaluate.ledger import OPEN, Ledger, simple_returns

NAN = float("nan")

ROUNDING = 1e-13
"""A spread of returns below this is rounding: returns are differences of float64 numbers near 1."""


def total_return(returns: np.ndarray) -> float:
    """Return `Π(1 + r) - 1`."""
    return float(_wealth(returns)[-1] - 1.0) if np.size(returns) else NAN


def annual_return(returns: np.ndarray, periods: float = 252) -> float:
    """Return the geometric return per year, `Π(1 + r)^(periods / N) - 1`."""
    if not np.size(returns):
        return NAN
    with np.errstate(all="ignore"):
        return float(np.float64(_wealth(returns)[-1]) ** (periods / np.size(returns)) - 1.0)


def annual_volatility(returns: np.ndarray, periods: float = 252) -> float:
    """Return `std(r, ddof=1) * √periods`."""
    known = _known(returns)
    return float(known.std(ddof=1) * np.sqrt(periods)) if known.size > 1 else NAN


def sharpe(returns: np.ndarray, periods: float = 252, risk_free: float = 0.0) -> float:
    """Return `mean(r - risk_free) / std(r, ddof=1) * √periods`; `risk_free` is a return per period."""
    excess = _known(returns) - risk_free
    if excess.size < 2:
        return NAN
    return _ratio(excess.mean() * np.sqrt(periods), excess.std(ddof=1))


def sortino(returns: np.ndarray, periods: float = 252, required: float = 0.0) -> float:
    """Return `mean(x) / √mean(min(x, 0)²) * √periods`, `x = r - required`; the lower mean is over all N periods."""
    excess = _known(returns) - required
    if excess.size < 2:
        return NAN
    return _ratio(excess.mean() * np.sqrt(periods), np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2)))


def calmar(returns: np.ndarray, periods: float = 252) -> float:
    """Return the annual return over the size of the largest drawdown."""
    return _ratio(annual_return(returns, periods), -max_drawdown(returns))


def max_drawdown(returns: np.ndarray) -> float:
    """Return the largest fall of wealth from its highest value so far, as a fraction at or below 0."""
    if not np.size(returns):
        return NAN
    wealth = _wealth(returns)
    return float(np.min(wealth / np.maximum.accumulate(wealth)) - 1.0)


def max_drawdown_bars(returns: np.ndarray) -> float:
    """Return the most periods from a peak of wealth until it is reached again, or until the end; 0 without a fall."""
    if not np.size(returns):
        return NAN
    peaks, recoveries = drawdown_spells(_wealth(returns))
    return float(np.max(recoveries - peaks, initial=0))


def drawdown_spells(wealth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of the peak and the row of the recovery of every drawdown, in order.

    Args:
        wealth: `[N+1]` wealth by bar.

    Returns:
        Two int arrays of one length; the last spell ends in row N if it has not recovered by then (wealth there is
        below the peak).
    """
    at_high = np.flatnonzero(wealth >= np.maximum.accumulate(wealth) * (1.0 - ROUNDING))
    next_high = np.append(at_high[1:], wealth.size)
    fell = next_high - at_high > 1
    return at_high[fell], np.minimum(next_high[fell], wealth.size - 1)


def var_95(returns: np.ndarray) -> float:
    """Return the historical 5 % quantile of the returns (linear interpolation), a loss below 0."""
    known = _known(returns)
    return float(np.percentile(known, 5)) if known.size else NAN


def cvar_95(returns: np.ndarray) -> float:
    """Return the mean of the `int((N - 1) * 0.05) + 1` lowest returns."""
    known = _known(returns)
    if not known.size:
        return NAN
    cutoff = int((known.size - 1) * 0.05)
    return float(np.mean(np.partition(known, cutoff)[: cutoff + 1]))


def omega(returns: np.ndarray, periods: float = 252, required: float = 0.0) -> float:
    """Return gains over losses around a required return per year: `Σ(r - θ)⁺ / Σ(θ - r)⁺`, `θ` per period."""
    known = _known(returns)
    if np.size(returns) < 2 or required <= -1:
        return NAN
    excess = known - ((1.0 + required) ** (1.0 / periods) - 1.0)
    return _ratio(np.maximum(excess, 0.0).sum(), np.maximum(-excess, 0.0).sum())


def tail_ratio(returns: np.ndarray) -> float:
    """Return `|95 % quantile| / |5 % quantile|` of the returns."""
    known = _known(returns)
    if not known.size:
        return NAN
    low, high = np.percentile(known, [5, 95])
    return _ratio(abs(high), abs(low))


def skew(returns: np.ndarray) -> float:
    """Return the third standardised moment (population form)."""
    return _moment(returns, 3)


def kurtosis(returns: np.ndarray) -> float:
    """Return the fourth standardised moment minus 3 (population form; 0 for a normal law)."""
    return _moment(returns, 4) - 3.0


def win_rate(pnl: np.ndarray) -> float:
    """Return the share of trades with a profit above 0, given the `[K]` net profits in dollars."""
    return float(np.mean(np.asarray(pnl) > 0)) if np.size(pnl) else NAN


def profit_factor(pnl: np.ndarray) -> float:
    """Return the dollars won over the dollars lost by trades."""
    pnl = np.asarray(pnl, np.float64)
    return _ratio(np.maximum(pnl, 0.0).sum(), np.maximum(-pnl, 0.0).sum())


def average_win(pnl: np.ndarray) -> float:
    """Return the mean profit of the trades that won, in dollars."""
    pnl = np.asarray(pnl, np.float64)
    return float(pnl[pnl > 0].mean()) if (pnl > 0).any() else NAN


def average_loss(pnl: np.ndarray) -> float:
    """Return the mean profit of the trades that lost, in dollars below 0."""
    pnl = np.asarray(pnl, np.float64)
    return float(pnl[pnl < 0].mean()) if (pnl < 0).any() else NAN


def average_trade_bars(bars: np.ndarray) -> float:
    """Return the mean number of bars from entry to exit."""
    return float(np.mean(bars)) if np.size(bars) else NAN


def turnover(turnover_by_bar: np.ndarray, equity: np.ndarray, years: float) -> float:
    """Return the one-sided turnover per year, `Σ traded dollars / (2 * mean equity) / years`; 1 = all once a year.

    Args:
        turnover_by_bar: `[N+1]` two-sided traded value over the equity of the row before; row 0 is not read.
        equity: `[N+1]` dollars.
        years: length of the span.
    """
    if np.size(equity) < 2:
        return NAN
    traded = np.sum(np.asarray(turnover_by_bar)[1:] * np.asarray(equity)[:-1])
    return _ratio(float(traded) / 2.0, float(np.mean(equity)) * years)


def exposure(gross_exposure: np.ndarray, equity: np.ndarray) -> float:
    """Return the mean of gross exposure over equity, both `[N+1]` in dollars; row 0, before any trade, is left out."""
    gross, equity = np.asarray(gross_exposure, np.float64)[1:], np.asarray(equity, np.float64)[1:]
    alive = equity > 0
    return float(np.mean(gross[alive] / equity[alive])) if alive.any() else NAN


def total_cost(cost: np.ndarray) -> float:
    """Return the dollars paid in fees, spread and slippage."""
    return float(np.sum(cost))


def num_trades(exit_reason: np.ndarray) -> int:
    """Return the number of closed round trips, given the exit reason of each."""
    return int(np.sum(np.asarray(exit_reason) != OPEN))


def gross_return(returns: np.ndarray, cost: np.ndarray, equity: np.ndarray) -> float:
    """Return the total return of the same trades at no cost, `Π(1 + r + cost / equity before) - 1`.

    Args:
        returns: `[N]` net returns by bar.
        cost: `[N+1]` dollars paid; row 0 is not read.
        equity: `[N+1]` dollars.
    """
    before = np.asarray(equity, np.float64)[:-1]
    share = np.where(before > 0, np.asarray(cost)[1:] / np.where(before > 0, before, 1.0), 0.0)
    return total_return(np.asarray(returns) + share)


def daily_returns(ledger: Ledger) -> np.ndarray:
    """Return `[D]` returns by calendar date: those of the ledger if its bars are days, else compounded over a day."""
    days = ledger.times.astype("datetime64[D]")
    closes = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    rows = closes if closes[0] == 0 else np.append(0, closes)
    return simple_returns(ledger.equity[rows])


def summarize(ledger: Ledger, periods: float = 252) -> dict[str, Any]:
    """Return the figures of one ledger, net of costs, by name.

    Intraday bars: the returns are compounded to days first, and `periods` counts days; so `annual_*`, `sharpe`,
    `sortino`, `var_95`, `cvar_95`, `omega`, `tail_ratio`, `skew` and `kurtosis` are those of daily returns. Drawdown,
    its length, exposure and the duration of trades are by bar. Figures of trades count closed round trips; positions
    that are open at the end are in `open_trades` and `open_pnl`.

    Args:
        ledger: the account of one strategy.
        periods: days in a year that have a return.

    Returns:
        Floats, ints for counts, and ISO dates for `start` and `end`; NaN where a figure is not defined.
    """
    daily, trades = daily_returns(ledger), ledger.trades
    reason, pnl, bars = (trades[column].to_numpy() for column in ("exit_reason", "pnl", "bars"))
    is_open = reason == OPEN
    closed_pnl = pnl[~is_open]
    annual, fall = annual_return(daily, periods), max_drawdown(ledger.returns)
    return {
        "total_return": total_return(ledger.returns),
        "annual_return": annual,
        "annual_volatility": annual_volatility(daily, periods),
        "sharpe": sharpe(daily, periods),
        "sortino": sortino(daily, periods),
        "calmar": _ratio(annual, -fall),
        "max_drawdown": fall,
        "max_drawdown_bars": max_drawdown_bars(ledger.returns),
        "var_95": var_95(daily),
        "cvar_95": cvar_95(daily),
        "win_rate": win_rate(closed_pnl),
        "profit_factor": profit_factor(closed_pnl),
        "turnover": turnover(ledger.turnover, ledger.equity, daily.size / periods),
        "num_trades": num_trades(reason),
        "average_trade_bars": average_trade_bars(bars[~is_open]),
        "total_cost": total_cost(ledger.cost),
        "exposure": exposure(ledger.gross_exposure, ledger.equity),
        "omega": omega(daily, periods),
        "tail_ratio": tail_ratio(daily),
        "skew": skew(daily),
        "kurtosis": kurtosis(daily),
        "gross_return": gross_return(ledger.returns, ledger.cost, ledger.equity),
        "average_win": average_win(closed_pnl),
        "average_loss": average_loss(closed_pnl),
        "stop_exits": int(np.sum(reason == "stop")),
        "target_exits": int(np.sum(reason == "target")),
        "open_trades": int(is_open.sum()),
        "open_pnl": float(pnl[is_open].sum()),
        "start": str(np.datetime_as_string(ledger.times[0], unit="auto")),
        "end": str(np.datetime_as_string(ledger.times[-1], unit="auto")),
        "num_bars": ledger.returns.size,
        "num_days": daily.size,
        "initial_cash": float(ledger.initial_cash),
        "final_equity": float(ledger.equity[-1]),
    }


def _known(returns: np.ndarray) -> np.ndarray:
    returns = np.asarray(returns, np.float64)
    return returns[np.isfinite(returns)]


def _wealth(returns: np.ndarray) -> np.ndarray:
    returns = np.asarray(returns, np.float64)
    with np.errstate(all="ignore"):
        return np.cumprod(np.append(1.0, 1.0 + np.where(np.isfinite(returns), returns, 0.0)))


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > ROUNDING else NAN


def _moment(returns: np.ndarray, power: int) -> float:
    known = _known(returns)
    if not known.size:
        return NAN
    centred = known - known.mean()
    spread = centred.std()
    return float(np.mean((centred / spread) ** power)) if spread > ROUNDING else NAN
