"""The figures of a ledger: everything that is measured, by name, and `summarize`, which puts it together.

Formulas are in `return_metrics`, `trade_metrics`, `relative_metrics`, `rolling` and `months`; docs/metrics.md lists
them with the library that each is held to.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.ledger import Ledger, simple_returns
from ploutos_jax.evaluate.metrics.benchmark import alpha as alpha
from ploutos_jax.evaluate.metrics.benchmark import beta as beta
from ploutos_jax.evaluate.metrics.benchmark import correlation as correlation
from ploutos_jax.evaluate.metrics.benchmark import information_ratio as information_ratio
from ploutos_jax.evaluate.metrics.benchmark import tracking_error as tracking_error
from ploutos_jax.evaluate.metrics.monthly import TRADING_DAYS as TRADING_DAYS
from ploutos_jax.evaluate.metrics.monthly import monthly_returns as monthly_returns
from ploutos_jax.evaluate.metrics.monthly import projected_return as projected_return
from ploutos_jax.evaluate.metrics.returns import NAN as NAN
from ploutos_jax.evaluate.metrics.returns import ROUNDING as ROUNDING
from ploutos_jax.evaluate.metrics.returns import annual_return as annual_return
from ploutos_jax.evaluate.metrics.returns import annual_volatility as annual_volatility
from ploutos_jax.evaluate.metrics.returns import calmar as calmar
from ploutos_jax.evaluate.metrics.returns import cvar_95 as cvar_95
from ploutos_jax.evaluate.metrics.returns import drawdown_spells as drawdown_spells
from ploutos_jax.evaluate.metrics.returns import kurtosis as kurtosis
from ploutos_jax.evaluate.metrics.returns import max_drawdown as max_drawdown
from ploutos_jax.evaluate.metrics.returns import max_drawdown_bars as max_drawdown_bars
from ploutos_jax.evaluate.metrics.returns import omega as omega
from ploutos_jax.evaluate.metrics.returns import ratio_of as ratio_of
from ploutos_jax.evaluate.metrics.returns import recovery_bars as recovery_bars
from ploutos_jax.evaluate.metrics.returns import sharpe as sharpe
from ploutos_jax.evaluate.metrics.returns import skew as skew
from ploutos_jax.evaluate.metrics.returns import sortino as sortino
from ploutos_jax.evaluate.metrics.returns import tail_ratio as tail_ratio
from ploutos_jax.evaluate.metrics.returns import total_return as total_return
from ploutos_jax.evaluate.metrics.returns import var_95 as var_95
from ploutos_jax.evaluate.metrics.rolling import rolling_beta as rolling_beta
from ploutos_jax.evaluate.metrics.rolling import rolling_cvar as rolling_cvar
from ploutos_jax.evaluate.metrics.rolling import rolling_drawdown as rolling_drawdown
from ploutos_jax.evaluate.metrics.rolling import rolling_sharpe as rolling_sharpe
from ploutos_jax.evaluate.metrics.rolling import rolling_var as rolling_var
from ploutos_jax.evaluate.metrics.rolling import rolling_volatility as rolling_volatility
from ploutos_jax.evaluate.metrics.trades import STOPS as STOPS
from ploutos_jax.evaluate.metrics.trades import TARGETS as TARGETS
from ploutos_jax.evaluate.metrics.trades import average_loss as average_loss
from ploutos_jax.evaluate.metrics.trades import average_trade_bars as average_trade_bars
from ploutos_jax.evaluate.metrics.trades import average_win as average_win
from ploutos_jax.evaluate.metrics.trades import exposure as exposure
from ploutos_jax.evaluate.metrics.trades import gross_return as gross_return
from ploutos_jax.evaluate.metrics.trades import hit_rate as hit_rate
from ploutos_jax.evaluate.metrics.trades import leverage as leverage
from ploutos_jax.evaluate.metrics.trades import num_trades as num_trades
from ploutos_jax.evaluate.metrics.trades import profit_factor as profit_factor
from ploutos_jax.evaluate.metrics.trades import total_cost as total_cost
from ploutos_jax.evaluate.metrics.trades import turnover as turnover
from ploutos_jax.evaluate.metrics.trades import win_rate as win_rate
from ploutos_jax.evaluate.round_trips import OPEN


def daily_returns(ledger: Ledger) -> Float[np.ndarray, " days"]:
    """Return `[days]` returns by session: the ledger's own if bars are days or longer, else compounded over one."""
    days = np.asarray(ledger.sessions)
    closes = np.flatnonzero(np.append(days[1:] != days[:-1], True))
    rows = closes if closes[0] == 0 else np.append(0, closes)
    return simple_returns(ledger.equity[rows])


def summarize(ledger: Ledger, periods: float | None = None, benchmark: Ledger | None = None) -> dict[str, Any]:
    """Return the figures of one ledger, net of costs, by name.

    Intraday bars: the returns are compounded to days first, and `periods` counts days; so `annual_*`, `sharpe`,
    `sortino`, `var_95`, `cvar_95`, `omega`, `tail_ratio`, `skew` and `kurtosis` are those of daily returns. Drawdown,
    its length, exposure and the duration of trades are by bar. Figures of trades count closed round trips; positions
    that are open at the end are in `open_trades` and `open_pnl`.

    Args:
        ledger: the account of one strategy.
        periods: days in a year that have a return; those of the ledger's calendar without it.
        benchmark: another ledger over the same bars; adds `alpha`, `beta`, `information_ratio`, `tracking_error` and
            `correlation`.

    Returns:
        Floats, ints for counts, and ISO dates for `start` and `end`; NaN where a figure is not defined. `cost_*` are
        the parts of `total_cost` as far as the ledger knows them. `projected_return_21` and `_22` are the mean growth
        of these very days over a month: no forecast.

    Raises:
        ValueError: if the benchmark covers other days.
    """
    periods = ledger.calendar.periods_per_year if periods is None else periods
    periods_per_day = ledger.calendar.periods_per_year / ledger.calendar.days_per_year
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
        "calmar": ratio_of(annual, -fall),
        "max_drawdown": fall,
        "max_drawdown_bars": max_drawdown_bars(ledger.returns),
        "recovery_bars": recovery_bars(ledger.returns),
        "var_95": var_95(daily),
        "cvar_95": cvar_95(daily),
        "win_rate": win_rate(closed_pnl),
        "profit_factor": profit_factor(closed_pnl),
        "turnover": turnover(ledger.turnover, ledger.equity, daily.size / periods),
        "num_trades": num_trades(reason),
        "average_trade_bars": average_trade_bars(bars[~is_open]),
        "total_cost": total_cost(ledger.cost),
        "exposure": exposure(ledger.gross_exposure, ledger.equity),
        "leverage": leverage(ledger.gross_exposure, ledger.equity),
        "omega": omega(daily, periods),
        "tail_ratio": tail_ratio(daily),
        "skew": skew(daily),
        "kurtosis": kurtosis(daily),
        "gross_return": gross_return(ledger.returns, ledger.cost, ledger.equity),
        "average_win": average_win(closed_pnl),
        "average_loss": average_loss(closed_pnl),
        "stop_exits": int(np.isin(reason, STOPS).sum()),
        "target_exits": int(np.isin(reason, TARGETS).sum()),
        "stop_hit_rate": hit_rate(reason, STOPS),
        "target_hit_rate": hit_rate(reason, TARGETS),
        "open_trades": int(is_open.sum()),
        "open_pnl": float(pnl[is_open].sum()),
        **{f"projected_return_{days}": projected_return(daily, days, periods_per_day) for days in TRADING_DAYS},
        **{f"cost_{kind}": paid for kind, paid in ledger.costs_by_kind.items()},
        **_beside(daily, benchmark, periods),
        "start": str(np.datetime_as_string(ledger.times[0], unit="auto")),
        "end": str(np.datetime_as_string(ledger.times[-1], unit="auto")),
        "num_bars": ledger.returns.size,
        "num_days": daily.size,
        "initial_cash": float(ledger.initial_cash),
        "final_equity": float(ledger.equity[-1]),
    }


def _beside(daily: np.ndarray, benchmark: Ledger | None, periods: float) -> dict[str, float]:
    if benchmark is None:
        return {}
    other = daily_returns(benchmark)
    return {
        "alpha": alpha(daily, other, periods),
        "beta": beta(daily, other),
        "information_ratio": information_ratio(daily, other, periods),
        "tracking_error": tracking_error(daily, other, periods),
        "correlation": correlation(daily, other),
    }
