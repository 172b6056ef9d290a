"""Charts and tables of returns: by year beside a benchmark, their distribution, quantiles, the best and the worst."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.monthly import monthly_returns
from ploutos_jax.evaluate.metrics.periods import LENGTHS, Length, extremes, lengths_of, return_quantiles, returns_by
from ploutos_jax.evaluate.metrics.summary import cvar_95, daily_returns, var_95
from ploutos_jax.evaluate.report import tables
from ploutos_jax.evaluate.report.chart import Chart, Series, Upright, chart
from ploutos_jax.evaluate.report.equity_charts import AGENT, color_of, figure
from ploutos_jax.evaluate.report.plot_style import percent

QUANTILE_NAMES = ("Lowest", "5 %", "25 %", "Median", "75 %", "95 %", "Highest")
MOST_EXTREMES = 5
"""Best and worst days and months that the page lists."""

_LEAST_RETURNS = 3
"""Periods below which the page says nothing of their best and worst."""


def year_chart(ledgers: Mapping[str, Ledger], reference: str) -> str:
    """Return the return of every calendar year, of the first strategy and of the reference beside it.

    Args:
        ledgers: the strategies by name, the one under test first.
        reference: the benchmark, or what stands in for it; the first stands alone where it is not among them.
    """
    name = next(iter(ledgers))
    shown = [name, *([reference] if reference in ledgers and reference != name else [])]
    by_year = {one: monthly_returns(days_of(ledgers[one]), ledgers[one].returns)["year"] for one in shown}
    years = by_year[name].index
    if not len(years):
        return ""
    colors = {other: color_of(i) for i, other in enumerate(ledgers)}
    lines = [Series(one, values.to_numpy(np.float64), colors[one], "bars") for one, values in by_year.items()]
    drawn = Chart([str(year) for year in years], lines, "percent", "Return by year", height=220, zero=True)
    beside = f" beside {reference}" if len(shown) > 1 else ""
    return figure(f"Return of each year{beside}", chart(drawn), "The first and the last year may be parts of one.")


def quantile_chart(ledger: Ledger) -> str:
    """Return the quantiles of returns compounded over days, weeks, months, quarters and years, as far as there are."""
    by_length = {length: returns_by(days_of(ledger), ledger.returns, length) for length in lengths_of(ledger.calendar)}
    by_length = {length: returns for length, returns in by_length.items() if len(returns) > 1}
    if not by_length:
        return ""
    quantiles = np.stack([return_quantiles(returns.to_numpy()) for returns in by_length.values()])
    names = [f"{length.capitalize()}\n{len(returns):,}" for length, returns in by_length.items()]
    lines = [Series(name, quantiles[:, i], AGENT, "hidden") for i, name in enumerate(QUANTILE_NAMES)]
    drawn = Chart(names, lines, "percent", "Quantiles of returns", height=240, drawn="boxes", zero=True)
    note = (
        "Half of the returns lie in the box, the line in it is the median, nine in ten lie between the ends, dots are"
        " the lowest and the highest. Below each, how many there are."
    )
    return figure("Quantiles of returns by length of time", chart(drawn), note)


def distribution_chart(ledger: Ledger) -> str:
    """Return the distribution of daily returns with VaR and CVaR, and the normal law of the same mean and spread."""
    returns = daily_returns(ledger)
    if returns.size < 10 or np.ptp(returns) == 0:
        return "<p>There are too few different daily returns for a distribution.</p>"
    # The outermost half per cent on either side is gathered in the last bars: one crash must not flatten the rest.
    low, high = np.quantile(returns, [0.005, 0.995])
    edges = np.linspace(low, high, int(np.clip(2 * np.sqrt(returns.size), 12, 60)) + 1)
    counts = np.histogram(np.clip(returns, low, high), edges)[0].astype(np.float64)
    mean, spread = float(returns.mean()), float(returns.std(ddof=1))
    at, width = (edges[1:] + edges[:-1]) / 2, float(edges[1] - edges[0])
    normal = np.exp(-0.5 * ((at - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi)) * returns.size * width
    var, cvar = var_95(returns), cvar_95(returns)
    plural = ledger.calendar.unit
    drawn = Chart(
        at,
        [Series(plural.capitalize(), counts, AGENT, "bars"), Series("Normal law", normal, "faint", "dashed")],
        "number",
        "Daily returns",
        height=220,
        zero=True,
        # CVaR may lie beyond the gathered tail.
        uprights=[
            Upright(max(cvar, float(low)), "loss-line", f"CVaR {percent(cvar)}"),
            Upright(var, "loss-line", f"VaR {percent(var)}"),
        ],
        step=width,
        x_unit="percent",
    )
    note = (
        f"{plural.capitalize()} by return, against a normal law (dashed) of the same mean and spread. The last bars"
        f" hold all {plural} below {percent(float(low))} and above {percent(float(high), '+')}."
    )
    return figure("Daily returns" if ledger.calendar.period == "day" else "Returns", chart(drawn), note)


def extremes_tables(ledgers: Mapping[str, Ledger], reference: str) -> str:
    """Return the best and the worst days and months of the first strategy, with the reference's return in each."""
    name, ledger = next(iter(ledgers.items()))
    beside = ledgers.get(reference) if reference != name else None
    lengths = lengths_of(ledger.calendar)
    wanted = dict.fromkeys((lengths[0], "month" if "month" in lengths else lengths[-1]))
    parts = [_extremes_table(ledger, beside, reference, length) for length in LENGTHS if length in wanted]
    return f"<div class='pair'>{''.join(parts)}</div>" if any(parts) else ""


def days_of(ledger: Ledger) -> np.ndarray:
    """Return `[N]` the session in which each return was earned; the account begins in the first bar."""
    return np.asarray(ledger.sessions)[1:].astype("datetime64[D]")


def _extremes_table(ledger: Ledger, beside: Ledger | None, reference: str, length: Length) -> str:
    returns = returns_by(days_of(ledger), ledger.returns, length)
    if len(returns) < _LEAST_RETURNS:
        return ""
    best, worst = extremes(returns, MOST_EXTREMES)
    other = None if beside is None else returns_by(days_of(beside), beside.returns, length)
    sides = [("won", "Best", best), ("lost", "Worst", worst)]
    header = [
        cell for _, word, _ in sides for cell in (f"{word} {length}s", "Return", *([reference] if beside else []))
    ]
    rows = []
    for place in range(len(best)):
        row: list[object] = []
        for _, _, found in sides:
            date, value = found.index[place], float(found.iloc[place])
            tone = "won" if value > 0 else "lost"
            row += [_name_of(date, length), (tables.signed(value), f" class='{tone}'{tables.value_of(value)}")]
            if other is not None:
                row.append(tables.signed(float(other.loc[date])))
        rows.append(row)
    caption = html.escape(f"Best and worst {length}s")
    return f"<figure><figcaption>{caption}</figcaption>{tables.table(header, rows)}</figure>"


def _name_of(date: Any, length: Length) -> str:
    date = pd.Timestamp(date)
    if length == "quarter":
        return f"{date.year} Q{date.quarter}"
    return date.strftime({"day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}[length])
