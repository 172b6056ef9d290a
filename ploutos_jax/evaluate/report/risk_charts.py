"""Charts of what was risked, over time: rolling figures, leverage, turnover, concentration, sectors."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics import exposure
from ploutos_jax.evaluate.metrics.summary import (
    daily_returns,
    rolling_beta,
    rolling_cvar,
    rolling_sharpe,
    rolling_var,
    rolling_volatility,
)
from ploutos_jax.evaluate.report.chart import Chart, Series, Unit, chart
from ploutos_jax.evaluate.report.equity_charts import AGENT, NUM_COLORS, color_of, figure
from ploutos_jax.evaluate.report.plot_style import percent


def rolling_sharpe_chart(ledgers: Mapping[str, Ledger], shown: Collection[str]) -> str:
    """Return the rolling Sharpe ratio of those strategies that are to be shown, the first one bold."""
    ledger = next(one for name, one in ledgers.items() if name in shown)
    window = window_of(ledger)
    if window is None:
        days = daily_returns(ledger).size
        return f"<p>The span of {days:,} {ledger.calendar.unit} is too short for rolling figures.</p>"
    rolling = {
        other: rolling_sharpe(daily_returns(one), window, one.calendar.periods_per_year)
        for other, one in ledgers.items()
        if other in shown
    }
    caption = f"Sharpe ratio over the last {window} {ledger.calendar.unit}"
    return _rolling_chart(ledgers, rolling, "number", caption, zero=True)


def rolling_volatility_chart(ledgers: Mapping[str, Ledger], shown: Collection[str]) -> str:
    """Return the rolling annual volatility of those strategies that are to be shown."""
    ledger = next(iter(ledgers.values()))
    window = window_of(ledger)
    if window is None:
        return ""
    rolling = {
        other: rolling_volatility(daily_returns(one), window, one.calendar.periods_per_year)
        for other, one in ledgers.items()
        if other in shown
    }
    caption = f"Volatility a year over the last {window} {ledger.calendar.unit}"
    return _rolling_chart(ledgers, rolling, "percent", caption)


def rolling_beta_chart(ledgers: Mapping[str, Ledger], reference: str) -> str:
    """Return the rolling beta of the first strategy against a reference."""
    name, ledger = next(iter(ledgers.items()))
    window = window_of(ledger)
    if window is None or reference not in ledgers or reference == name:
        return ""
    rolling = {name: rolling_beta(daily_returns(ledger), daily_returns(ledgers[reference]), window)}
    caption = f"Beta against {reference} over the last {window} {ledger.calendar.unit}"
    return _rolling_chart(ledgers, rolling, "number", caption)


def rolling_loss_chart(ledger: Ledger) -> str:
    """Return rolling VaR and CVaR."""
    returns, calendar = daily_returns(ledger), ledger.calendar
    window = window_of(ledger)
    if window is None:
        return ""
    lines = [
        Series("VaR 95", rolling_var(returns, window)[window - 1 :], "c1"),
        Series("CVaR 95", rolling_cvar(returns, window)[window - 1 :], "loss-line"),
    ]
    drawn = Chart(day_ends(ledger)[window - 1 :], lines, "percent", "Rolling VaR and CVaR", zero=True)
    return figure(f"One-{calendar.period} VaR and CVaR over the last {window} {calendar.unit}", chart(drawn))


def leverage_chart(ledger: Ledger) -> str:
    """Return gross exposure over equity."""
    return _filled_chart(ledger, exposure.leverage(ledger), AGENT, "Leverage", "Leverage: gross exposure over equity")


def turnover_chart(ledger: Ledger) -> str:
    """Return the value traded in each bar over the equity before it."""
    return _filled_chart(ledger, ledger.turnover, "c2", "Turnover", "Turnover of each bar: share of equity")


def concentration_chart(ledger: Ledger, weight: np.ndarray) -> str:
    """Return the largest position of each bar over the equity, given the weights of all as from `exposure.weights`."""
    return _filled_chart(
        ledger, exposure.largest_weight(weight), "c4", "Largest position", "Largest position: share of equity"
    )


def sector_chart(ledger: Ledger, sectors: Mapping[str, np.ndarray]) -> str:
    """Return exposure by sector as stacked areas.

    Args:
        ledger: the strategy.
        sectors: `[N+1]` share of equity by sector, as from `exposure.exposure_by_sector`.
    """
    shown = dict(list(sectors.items())[: NUM_COLORS - 1])
    rest = [values for name, values in sectors.items() if name not in shown]
    if rest:
        shown[f"{len(rest)} others"] = np.sum(rest, axis=0)
    layers = [
        Series(name, values, color_of(i), label=f"{name} {percent(float(values.mean()))}")
        for i, (name, values) in enumerate(shown.items())
    ]
    drawn = Chart(ledger.times, layers, "percent", "Exposure by sector", height=220, zero=True, stacked=True)
    return figure("Exposure by sector: share of equity, and its mean", chart(drawn))


def window_of(ledger: Ledger) -> int | None:
    """Return the window of the rolling figures, in sessions; None where the span is too short for any."""
    return exposure.fitting_window(daily_returns(ledger).size, ledger.calendar)


def day_ends(ledger: Ledger) -> np.ndarray:
    """Return the last time of every session that has a return, as `metrics.daily_returns` cuts the bars."""
    days = np.asarray(ledger.sessions)
    ends = ledger.times[np.append(days[1:] != days[:-1], True)]
    return ends[ends.size - daily_returns(ledger).size :]


def _rolling_chart(
    ledgers: Mapping[str, Ledger], rolling: Mapping[str, np.ndarray], unit: Unit, caption: str, *, zero: bool = False
) -> str:
    if not any(np.isfinite(values).any() for values in rolling.values()):
        return ""
    colors = {other: color_of(i) for i, other in enumerate(ledgers)}
    lines = [
        Series(other, values, colors[other], "line" if i else "strong")
        for i, (other, values) in enumerate(rolling.items())
    ]
    known = _first_known(rolling.values())
    lines = [dataclasses.replace(line, values=line.values[known:]) for line in lines]
    dates = day_ends(ledgers[next(iter(rolling))])[known:]
    return figure(caption, chart(Chart(dates, lines, unit, caption, zero=zero)))


def _first_known(columns: Iterable[np.ndarray]) -> int:
    """Return the first row in which any of the columns is known: the window before it is nothing to look at."""
    return min(int(np.flatnonzero(np.isfinite(column))[0]) for column in columns if np.isfinite(column).any())


def _filled_chart(ledger: Ledger, values: np.ndarray, color: str, name: str, caption: str) -> str:
    line = Series(name, values, color, fill=0.2)
    return figure(caption, chart(Chart(ledger.times, [line], "percent", name, height=160, zero=True)))
