"""The tables of the report page, and how a figure is written."""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.canvas import dollars, percent
from ploutos_jax.evaluate.ledger import FILL_REASONS, OPEN, Ledger, simple_returns

NOTHING = "–"
"""Stands for a figure that is not defined."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

MOST_SPELLS = 8
"""Drawdowns that the page lists, deepest first."""

MOST_TRADES = 400
"""Trades that the page lists; all are in `trades.parquet`."""

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


def metrics_table(figures: Mapping[str, Figures]) -> str:
    """Return the figures of every strategy, figures down and strategies across.

    So all figures fit a desk, and on a phone their names stay while one scrolls.

    Args:
        figures: as from `metrics.summarize` by strategy, the one under test first.
    """
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
        for label, key, write in COLUMNS
    ]
    return table(header, rows)


def costs_table(ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures]) -> str:
    """Return gross beside net, and the costs by kind, of every strategy."""
    rows = []
    for name, ledger in ledgers.items():
        row = figures[name]
        kinds = costs_by_kind(ledger)
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
    kinds = costs_by_kind(next(iter(ledgers.values())))
    header = ("Strategy", "Gross return", "Net return", "Lost to costs", "Total cost", *kinds, "Per dollar traded")
    note = (
        "<p class='note'>Gross adds the cost of each bar back to its return: the same trades, had they been free.</p>"
    )
    return table(header, rows) + note


def costs_by_kind(ledger: Ledger) -> dict[str, float]:
    """Return the dollars paid by kind of cost; they add up to the total cost of the ledger."""
    fees = float(ledger.fills["fee"].to_numpy(np.float64).sum())
    return {"Fees": fees, "Spread, slippage": float(ledger.cost.sum()) - fees}


def drawdown_table(episodes: pd.DataFrame) -> str:
    """Return the deepest drawdowns, given those of `risk.drawdown_episodes`."""
    if episodes.empty:
        return "<p>The account never fell below an earlier high.</p>"
    rows = [
        [
            str(i + 1),
            _day(fall["peak"]),
            percent(float(fall["depth"])),
            _day(fall["trough"]),
            "not yet" if pd.isna(fall["recovered"]) else _day(fall["recovered"]),
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
    month = ledger.times.astype("datetime64[M]").astype(np.int64)  # since January 1970
    last = np.flatnonzero(np.append(month[1:] != month[:-1], True))
    returns = simple_returns(np.append(ledger.equity[0], ledger.equity[last]))
    by_month = dict(zip(month[last].tolist(), returns.tolist(), strict=True))
    scale = max(float(np.abs(returns).max()), 1e-9)
    rows = []
    for year in range(month[0] // 12, month[-1] // 12 + 1):
        of_year = [by_month.get(12 * year + i) for i in range(12)]
        cells = [("", "") if value is None else _heat(value, scale) for value in of_year]
        total = float(np.prod([1.0 + value for value in of_year if value is not None]) - 1.0)
        rows.append([1970 + year, *cells, (signed(total), " class='total'")])
    return table(("Year", *MONTHS, "Year"), rows, kind="heat")


def exit_table(trades: pd.DataFrame) -> str:
    """Return how trades ended and what came of them."""
    if trades.empty:
        return "<p>There were no trades.</p>"
    rows = []
    reason, profit, bars = (trades[column].to_numpy() for column in ("exit_reason", "pnl", "bars"))
    for kind in (*FILL_REASONS, OPEN):
        pnl = profit[reason == kind]
        if not pnl.size:
            continue
        mean = float(pnl.mean())
        rows.append(
            [
                "still open" if kind == OPEN else kind,
                count(pnl.size),
                percent(pnl.size / reason.size),
                percent(float(np.mean(pnl > 0))),
                f"{bars[reason == kind].mean():,.1f}",
                dollars(mean, mean),
                dollars(float(pnl.sum())),
            ]
        )
    header = ("Exit", "Trades", "Share", "Won", "Bars held", "Profit per trade", "Profit")
    return table(header, rows)


def trades_table(trades: pd.DataFrame) -> str:
    """Return the trades with the largest gains and losses, by entry; columns sort and a word filters them."""
    if trades.empty:
        return ""
    size = trades["pnl"].abs().to_numpy(np.float64)
    kept = np.sort(np.argsort(-size, kind="stable")[:MOST_TRADES])
    rows = [_trade_row(trade) for trade in trades.iloc[kept].itertuples(index=False)]
    header = (
        "Ticker",
        "Entry",
        "Exit",
        "Bars",
        "Shares",
        "Entry price",
        "Exit price",
        "Profit",
        "Return",
        "Cost",
        "Exit by",
    )
    which = (
        f"The {len(kept):,} of {len(trades):,} trades with the largest gains and losses; all are in trades.parquet."
        if len(kept) < len(trades)
        else f"All {len(trades):,} trades."
    )
    find = "<input type='search' placeholder='Filter: ticker, date, exit' aria-label='Filter the trades' hidden>"
    return f"<div class='tools'><p class='note'>{which}</p>{find}</div>{table(header, rows, kind='sortable tall')}"


def stress_table(stress: pd.DataFrame) -> str:
    """Return a table of figures by scenario as it is, the index first."""
    header = ["Scenario", *[str(column).replace("_", " ") for column in stress.columns]]
    rows = [
        [
            str(name).replace("_", " "),
            *[_stress_cell(str(c), value) for c, value in zip(stress.columns, row, strict=True)],
        ]
        for name, row in zip(stress.index, stress.itertuples(index=False), strict=True)
    ]
    return table(header, rows)


def _stress_cell(column: str, value: Any) -> tuple[str, str]:
    if not isinstance(value, int | float | np.number):
        return str(value), ""
    value = float(value)
    if not math.isfinite(value):
        return NOTHING, value_of(None)
    is_share = any(
        word in column for word in ("return", "rate", "drawdown", "cvar", "var", "share", "censored", "feasib")
    )
    text = percent(value) if is_share else count(value) if value.is_integer() else ratio(value)
    return text, value_of(value)


def _trade_row(trade: Any) -> list[tuple[str, str]]:
    cost_basis = trade.shares * trade.entry_price
    gain = trade.pnl / cost_basis if cost_basis > 0 else math.nan
    is_open = trade.exit_reason == OPEN
    tone = " class='won'" if trade.pnl > 0 else " class='lost'"
    return [
        (str(trade.ticker), ""),
        (_day(trade.entry_date), ""),
        (NOTHING if is_open else _day(trade.exit_date), ""),
        (count(trade.bars), value_of(trade.bars)),
        (f"{trade.shares:,.4g}" if trade.shares < 1000 else count(trade.shares), value_of(trade.shares)),
        (dollars(trade.entry_price, 1.0), value_of(trade.entry_price)),
        (dollars(trade.exit_price, 1.0), value_of(trade.exit_price)),
        (dollars(trade.pnl, 1.0), tone + value_of(trade.pnl)),
        (signed(gain) if math.isfinite(gain) else NOTHING, tone + value_of(gain)),
        (dollars(trade.cost, 1.0), value_of(trade.cost)),
        ("still open" if is_open else str(trade.exit_reason), ""),
    ]


def _heat(value: float, scale: float) -> tuple[str, str]:
    color = "gain" if value >= 0 else "loss"
    return signed(value), f" style='background: rgb(var(--{color}) / {0.05 + 0.4 * min(abs(value) / scale, 1):.2f})'"


def _day(time: Any) -> str:
    """Return a date, with the time of day for bars that are shorter than a day."""
    text = str(np.datetime_as_string(np.datetime64(time, "m")))
    return text.removesuffix("T00:00").replace("T", " ")


def _cell(tag: str, cell: Any) -> str:
    text, attributes = cell if isinstance(cell, tuple) else (cell, "")
    return f"<{tag}{attributes}>{html.escape(str(text))}</{tag[:2]}>"
