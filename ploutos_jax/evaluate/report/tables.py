"""The tables of the report page, and how a figure is written."""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.monthly import monthly_returns
from ploutos_jax.evaluate.report.plot_style import dollars, percent

NOTHING = "–"
"""Stands for a figure that is not defined."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

MOST_SPELLS = 8
"""Drawdowns that the page lists, deepest first."""

PRICE_KINDS = ("price", "spread", "slippage", "impact")
"""Kinds of cost that lie in the price of a fill."""

Figures = Mapping[str, Any]


def signed(value: float) -> str:
    """Return a gain or loss such as `+12.3%`."""
    return percent(value, "+")


def ratio(value: float) -> str:
    """Return a plain number with two digits."""
    return f"{value:,.2f}".replace("-", "−")


def count(value: float) -> str:
    """Return a whole number."""
    return f"{value:,.0f}"


def show(figures: Figures, key: str, write: Callable[[float], str]) -> str:
    """Return the figure as text, or `NOTHING` where it is missing or not finite."""
    value = figures.get(key)
    return NOTHING if value is None or not math.isfinite(value) else write(value)


COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("Total return", "total_return", signed),
    ("Annual return", "annual_return", signed),
    ("Volatility", "annual_volatility", percent),
    ("Sharpe", "sharpe", ratio),
    ("Sortino", "sortino", ratio),
    ("Calmar", "calmar", ratio),
    ("Max drawdown", "max_drawdown", percent),
    ("Drawdown bars", "max_drawdown_bars", count),
    ("VaR 95", "var_95", percent),
    ("CVaR 95", "cvar_95", percent),
    ("Win rate", "win_rate", percent),
    ("Profit factor", "profit_factor", ratio),
    ("Turnover / year", "turnover", lambda value: f"{value:,.1f}×"),
    ("Trades", "num_trades", count),
    ("Bars / trade", "average_trade_bars", lambda value: f"{value:,.1f}"),
    ("Exposure", "exposure", percent),
    ("Total cost", "total_cost", dollars),
)


MORE_COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("Omega", "omega", ratio),
    ("Tail ratio", "tail_ratio", ratio),
    ("Skew", "skew", ratio),
    ("Excess kurtosis", "kurtosis", ratio),
    ("Recovery bars", "recovery_bars", count),
    ("Highest leverage", "leverage", percent),
    ("Average win", "average_win", dollars),
    ("Average loss", "average_loss", dollars),
    ("Stopped out", "stop_hit_rate", percent),
    ("Target reached", "target_hit_rate", percent),
    ("Still open", "open_trades", count),
    ("Beta", "beta", ratio),
    ("Alpha / year", "alpha", signed),
    ("Information ratio", "information_ratio", ratio),
    ("Tracking error", "tracking_error", percent),
    ("Correlation", "correlation", ratio),
    ("Growth in 21 days", "projected_return_21", signed),
    ("Growth in 22 days", "projected_return_22", signed),
)
"""Further figures that a page shows folded in; those against a benchmark are left out without one."""


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, numbers: bool = True, kind: str = "") -> str:
    """Return a table that scrolls sideways by itself.

    Args:
        header, rows: cells; each is text, or a pair of text and attributes.
        numbers: True to align all but the first column to the right.
        kind: further classes.
    """
    top = "".join(_cell("th scope='col'", cell) for cell in header)
    lines = []
    for row in rows:
        cells = [_cell("th scope='row'" if i == 0 else "td", cell) for i, cell in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    classes = f"{'numbers' if numbers else 'words'} {kind}".strip()
    whole = f"<table class='{classes}'><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return f"<div class='scroll'>{whole}</div>"


def value_of(number: float | None) -> str:
    """Return the attribute that holds a cell's number in full, for sorting and for machines."""
    return " data-v=''" if number is None or not math.isfinite(number) else f" data-v='{float(number):.12g}'"


def metrics_table(figures: Mapping[str, Figures], relative_to: str = "") -> str:
    """Return the figures of every strategy, figures down and strategies across; the rarer ones can be folded out.

    So all figures fit a desk, and on a phone their names stay while one scrolls.

    Args:
        figures: as from `metrics.summarize` by strategy, the one under test first.
        relative_to: the strategy that beta, alpha and the like are against.
    """
    more = _figures_table(figures, MORE_COLUMNS)
    words = "Growth in 21 and 22 days is the mean growth of these very days over a month: no forecast."
    if relative_to:
        words += f" Beta, alpha, information ratio, tracking error and correlation are against {relative_to}."
    note = f"<p class='note'>{html.escape(words)}</p>"
    return f"{_figures_table(figures, COLUMNS)}<details><summary>More figures</summary>{more}{note}</details>"


def _figures_table(figures: Mapping[str, Figures], columns: Sequence[tuple[str, str, Callable[[float], str]]]) -> str:
    strong = [" class='strong'"] + [""] * (len(figures) - 1)
    header = ["Net of costs", *zip(figures, strong, strict=True)]
    rows = [
        [
            (label, f" data-key='{key}'"),
            *[
                (show(row, key, write), s + value_of(row.get(key)))
                for row, s in zip(figures.values(), strong, strict=True)
            ],
        ]
        for label, key, write in columns
        if any(key in row for row in figures.values())
    ]
    return table(header, rows)


def costs_table(ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures]) -> str:
    """Return gross next to net, and the costs by kind, of every strategy."""
    rows = []
    by_kind = costs_by_kind(ledgers.values())
    for (name, ledger), kinds in zip(ledgers.items(), by_kind, strict=True):
        row = figures[name]
        traded = float(ledger.fills["shares"].to_numpy(np.float64) @ ledger.fills["price"].to_numpy(np.float64))
        rows.append(
            [
                (name, "" if rows else " class='strong'"),
                show(row, "gross_return", signed),
                show(row, "total_return", signed),
                signed(row["total_return"] - row["gross_return"]).replace("%", " points"),
                dollars(row["total_cost"]),
                *(dollars(kinds[kind]) for kind in kinds),
                f"{1e4 * row['total_cost'] / traded:.1f} bp" if traded > 0 else NOTHING,
            ]
        )
    header = ("Strategy", "Gross return", "Net return", "Lost to costs", "Total cost", *by_kind[0], "Per dollar traded")
    note = (
        "<p class='note'>Gross adds the cost of each bar back to its return: the same trades, had they been free.</p>"
    )
    return table(header, rows) + note


def costs_by_kind(ledgers: Iterable[Ledger]) -> list[dict[str, float]]:
    """Return the dollars paid by kind of cost for each ledger, under the same names for all; they add up to the total.

    What moves the price is broken down (spread, slippage, impact) where all ledgers know it. Fees are the rest, with
    what rounding added to them.
    """
    ledgers = list(ledgers)
    kinds = [ledger.costs_by_kind for ledger in ledgers]
    told = [name for name in ("spread", "slippage", "impact") if all(name in one for one in kinds)]
    rows = []
    for ledger, one in zip(ledgers, kinds, strict=True):
        price = {name.capitalize(): one[name] for name in told}
        price = price or {"Spread, slippage, impact": sum(one.get(name, 0.0) for name in PRICE_KINDS)}
        commission = one.get("commission", 0.0)
        fees = float(ledger.cost.sum()) - sum(price.values()) - commission
        rows.append({**price, "Commission": commission, "Fees": fees})
    return rows


def drawdown_table(episodes: pd.DataFrame) -> str:
    """Return the deepest drawdowns, given those of `risk.drawdown_episodes`."""
    if episodes.empty:
        return "<p>The account never fell below an earlier high.</p>"
    rows = [
        [
            str(i + 1),
            day(fall["peak"]),
            percent(float(fall["depth"])),
            day(fall["trough"]),
            "not yet" if pd.isna(fall["recovered"]) else day(fall["recovered"]),
            count(fall["bars_down"]),
            count(fall["bars"]),
        ]
        for i, fall in enumerate(episodes.head(MOST_SPELLS).to_dict("records"))
    ]
    header = ("", "Peak", "Depth", "Lowest on", "Recovered on", "Bars down", "Bars in all")
    more = len(episodes) - MOST_SPELLS
    note = f"<p class='note'>and {more:,} shallower ones</p>" if more > 0 else ""
    return table(header, rows) + note


def monthly_table(ledger: Ledger) -> str:
    """Return the return of every month and year as a heat map."""
    # A session is dated where it was traded; the first bar is where the account begins and earns nothing.
    days = np.asarray(ledger.sessions)[1:].astype("datetime64[D]")
    found = monthly_returns(days, ledger.returns)
    known = found.loc[:, list(range(1, 13))].to_numpy(np.float64)
    scale = max(float(np.nanmax(np.abs(known), initial=0.0)), 1e-9)
    rows = []
    for year, of_year, total in zip(found.index, known, found["year"], strict=True):
        cells = [_heat(value, scale) if np.isfinite(value) else ("", "") for value in of_year.tolist()]
        rows.append([int(year), *cells, (signed(float(total)), " class='total'")])
    return table(("Year", *MONTHS, "Year"), rows, kind="heat")


def difference_table(name: str, tests: Mapping[str, Mapping[str, Any]], figures: Mapping[str, Figures]) -> str:
    """Return how the Sharpe ratio of one strategy differs from those of others.

    Args:
        name: the strategy.
        tests: `difference`, `low`, `high`, `p_value` and `p_value_adjusted` by name of the other, as from
            `multiple.adjust_family`.
        figures: of all of them.
    """
    if not tests:
        return ""
    rows = [
        [
            other,
            (show(figures[other], "sharpe", ratio), value_of(figures[other]["sharpe"])),
            (show(test, "difference", ratio), value_of(test["difference"])),
            f"{show(test, 'low', ratio)} to {show(test, 'high', ratio)}" if math.isfinite(test["low"]) else NOTHING,
            *((show(test, key, lambda p: f"{p:.3f}"), value_of(test[key])) for key in ("p_value", "p_value_adjusted")),
            signed(figures[name]["annual_return"] - figures[other]["annual_return"]).replace("%", " points"),
        ]
        for other, test in tests.items()
    ]
    header = (
        "Against",
        "Its Sharpe",
        f"{name} minus it",
        "95 % interval",
        "p-value",
        "p, adjusted",
        "Annual return, difference",
    )
    note = (
        "<p class='note'>Differences of annual Sharpe ratios, tested by a studentised block bootstrap. The first"
        " p-value stands alone: of twenty comparisons without a difference, one falls below 0.05. The adjusted one"
        " (Holm) counts all comparisons of this table as one family.</p>"
    )
    return table(header, rows) + note


def _heat(value: float, scale: float) -> tuple[str, str]:
    color = "gain" if value >= 0 else "loss"
    return signed(value), f" style='background: rgb(var(--{color}) / {0.05 + 0.4 * min(abs(value) / scale, 1):.2f})'"


def day(time: Any) -> str:
    """Return a date, with the time of day for bars that are shorter than a day."""
    text = str(np.datetime_as_string(np.datetime64(time, "m")))
    return text.removesuffix("T00:00").replace("T", " ")


def _cell(tag: str, cell: Any) -> str:
    text, attributes = cell if isinstance(cell, tuple) else (cell, "")
    return f"<{tag}{attributes}>{html.escape(str(text))}</{tag[:2]}>"
