"""Ledgers to one HTML page: no scripts, nothing from outside, readable on a desk and on a phone, light and dark."""

import base64
import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ploutos_jax.evaluate.canvas import dollars, percent
from ploutos_jax.evaluate.ledger import FILL_REASONS, OPEN, Ledger, simple_returns
from ploutos_jax.evaluate.metrics import drawdown_spells
from ploutos_jax.evaluate.page_style import STYLE
from ploutos_jax.evaluate.pictures import describe_span

NOTHING = "–"
"""Stands for a figure that is not defined."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

MOST_SPELLS = 6
"""Drawdowns that the page lists, deepest first."""

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

TILES = ("total_return", "annual_return", "sharpe", "max_drawdown", "win_rate", "total_cost")


def build_page(
    ledgers: Mapping[str, Ledger],
    figures: Mapping[str, Figures],
    *,
    title: str,
    facts: Mapping[str, str],
    equity_picture: str,
    trade_pictures: Sequence[str],
) -> str:
    """Return the page.

    Args:
        ledgers: the strategies by name, the one under test first.
        figures: what `metrics.summarize` says of each, by the same names.
        title: heading of the page.
        facts: what the reader should know about the run, shown as given. `out_of_sample` is a sentence on
            how the bars relate to those of training; without it the page says that this is not known.
        equity_picture, trade_pictures: `<picture>` elements, from `embed_picture`.
    """
    name, ledger = next(iter(ledgers.items()))
    agent = figures[name]
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class='span'>{html.escape(describe_span(ledger))} · {dollars(agent['initial_cash'])} to"
        f" {dollars(agent['final_equity'])} · net of costs</p>",
        _tiles(agent),
        _section("What these numbers are", _honest_words(name, figures, facts)),
        _section("Against the baselines", _metrics_table(figures) + equity_picture),
        _section("Costs", _costs_table(ledgers, figures)),
        _section("Deepest drawdowns", _drawdown_table(ledger)),
        _section("Returns by month", _monthly_table(ledger)),
        _section("Trades by exit", _exit_table(ledger)),
    ]
    if trade_pictures:
        sections.append(_section("Most traded tickers", "".join(trade_pictures)))
    sections.append(_section("How the figures are made", GLOSSARY))
    if facts:
        rows = [(key.replace("_", " "), value) for key, value in facts.items()]
        sections.append(_section("About this run", _table(("Fact", "Value"), rows, numbers=False)))
    head = (
        "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='color-scheme' content='light dark'><title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join(sections)
    return f"<!DOCTYPE html>\n<html lang='en'><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n"


def embed_picture(light: bytes, dark: bytes, phone_light: bytes, phone_dark: bytes, words: str) -> str:
    """Return a `<picture>` that holds four PNGs, of which a browser shows the one that fits.

    Args:
        light, dark: for a wide window, on light and on dark ground.
        phone_light, phone_dark: for a narrow one.
        words: what the picture shows, for those who cannot see it.
    """
    sources = (
        ("(max-width: 640px) and (prefers-color-scheme: dark)", phone_dark),
        ("(max-width: 640px)", phone_light),
        ("(prefers-color-scheme: dark)", dark),
    )
    choices = "".join(f"<source media='{media}' srcset='{_data_uri(png)}'>" for media, png in sources)
    return f"<picture>{choices}<img src='{_data_uri(light)}' alt='{html.escape(words, quote=True)}'></picture>\n"


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>\n{content}</section>"


def _table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, numbers: bool = True) -> str:
    """Return a table that scrolls sideways by itself; a cell is text, or a pair of text and attributes."""
    top = "".join(_cell("th scope='col'", cell) for cell in header)
    lines = []
    for row in rows:
        cells = [_cell("th scope='row'" if i == 0 else "td", cell) for i, cell in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    kind, body = "numbers" if numbers else "words", "\n".join(lines)
    table = f"<table class='{kind}'><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return f"<div class='scroll'>{table}</div>"


def _cell(tag: str, cell: Any) -> str:
    text, attributes = cell if isinstance(cell, tuple) else (cell, "")
    return f"<{tag}{attributes}>{html.escape(str(text))}</{tag[:2]}>"


def _tiles(agent: Figures) -> str:
    cells = [
        f"<div><span>{label}</span><b>{show(agent, key, write)}</b></div>"
        for label, key, write in COLUMNS
        if key in TILES
    ]
    return f"<div class='tiles'>{''.join(cells)}</div>"


def _honest_words(name: str, figures: Mapping[str, Figures], facts: Mapping[str, str]) -> str:
    agent = figures[name]
    told = facts.get("out_of_sample")
    sample = (
        f"How these bars relate to those of training, in the run's own words: {told.rstrip('.')}."
        if told
        else "The run does not say whether the agent was trained on these bars. Read the figures as in-sample, that is"
        " as too good, unless you know better."
    )
    error = (
        f" Over {agent['num_days']:,} days a Sharpe ratio is known only to about ± {_sharpe_error(agent):.2f} (one"
        " standard error, for independent normal returns)."
        if agent["num_days"] > 1
        else ""
    )
    words = [
        "All figures but the gross returns are net of the costs that the simulation charged:"
        f" {dollars(agent['total_cost'])} in fees, spread and slippage. Positions still held at the end are marked at"
        " the last close, without the cost of selling them.",
        sample,
        _comparison(name, figures),
        f"This is one path of history.{error} It is a simulation: real orders may fill worse, and what worked here need"
        " not work again.",
    ]
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in words)


def _sharpe_error(agent: Figures) -> float:
    sharpe = agent["sharpe"] if math.isfinite(agent["sharpe"]) else 0.0
    return math.sqrt((252 + sharpe**2 / 2) / agent["num_days"])


def _comparison(name: str, figures: Mapping[str, Figures]) -> str:
    others = {other: row["total_return"] for other, row in figures.items() if other != name}
    if not others:
        return "It was compared with nothing: a gain alone does not tell skill from a rising market."
    beaten = sum(figures[name]["total_return"] > value for value in others.values())
    best = max(others, key=others.__getitem__)
    return (
        f"By total return, {name} beats {beaten} of the {len(others)} strategies that it is compared with; the best of"
        f" them, {best}, made {signed(others[best])} against its {signed(figures[name]['total_return'])}."
    )


def _metrics_table(figures: Mapping[str, Figures]) -> str:
    # Figures down, strategies across: all figures fit a desk, and on a phone their names stay while one scrolls.
    strong = [" class='strong'"] + [""] * (len(figures) - 1)
    header = ["Net of costs", *zip(figures, strong, strict=True)]
    rows = [
        [label, *zip((show(row, key, write) for row in figures.values()), strong, strict=True)]
        for label, key, write in COLUMNS
    ]
    return _table(header, rows)


def _costs_table(ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures]) -> str:
    rows = []
    for name, ledger in ledgers.items():
        row = figures[name]
        shares, price, fee = (ledger.fills[column].to_numpy(np.float64) for column in ("shares", "price", "fee"))
        fees, traded = float(fee.sum()), float(shares @ price)
        rows.append(
            [
                (name, "" if rows else " class='strong'"),
                show(row, "gross_return", signed),
                show(row, "total_return", signed),
                signed(row["total_return"] - row["gross_return"]).replace("%", " points"),
                dollars(row["total_cost"]),
                dollars(fees),
                dollars(row["total_cost"] - fees),
                f"{1e4 * row['total_cost'] / traded:.1f} bp" if traded > 0 else NOTHING,
            ]
        )
    header = ("Strategy", "Gross return", "Net return", "Lost to costs", "Total cost", "Fees", "Spread, slippage")
    note = (
        "<p class='note'>Gross adds the cost of each bar back to its return: the same trades, had they been free.</p>"
    )
    return _table((*header, "Per dollar traded"), rows) + note


def _drawdown_table(ledger: Ledger) -> str:
    peaks, ends = drawdown_spells(ledger.equity)
    if not peaks.size:
        return "<p>The account never fell below an earlier high.</p>"
    depth = np.array([ledger.drawdown[a : b + 1].min() for a, b in zip(peaks, ends, strict=True)])
    days = np.datetime_as_string(ledger.times, unit="D")
    rows = []
    for i in np.argsort(depth, kind="stable")[:MOST_SPELLS]:
        a, b = int(peaks[i]), int(ends[i])
        trough = a + int(np.argmin(ledger.drawdown[a : b + 1]))
        recovered = ledger.drawdown[b] > -1e-12
        rows.append(
            [days[a], percent(float(depth[i])), days[trough], days[b] if recovered else "not yet", count(b - a)]
        )
    return _table(("Peak", "Depth", "Lowest on", "Recovered on", "Bars"), rows)


def _monthly_table(ledger: Ledger) -> str:
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
    return _table(("Year", *MONTHS, "Year"), rows)


def _heat(value: float, scale: float) -> tuple[str, str]:
    color = "gain" if value >= 0 else "loss"
    return signed(value), f" style='background: rgb(var(--{color}) / {0.05 + 0.4 * min(abs(value) / scale, 1):.2f})'"


def _exit_table(ledger: Ledger) -> str:
    if ledger.trades.empty:
        return "<p>There were no trades.</p>"
    rows = []
    reason, profit, bars = (ledger.trades[column].to_numpy() for column in ("exit_reason", "pnl", "bars"))
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
    return _table(header, rows)


GLOSSARY = """<p class='note'>Returns are simple returns; intraday bars are compounded to days for everything that is
annualised. Annual return is geometric over 252 days; volatility and Sharpe use the sample deviation and no interest.
Sortino divides by the root mean square of the losses over all days; Calmar by the largest drawdown. VaR is the 5 %
quantile of daily returns, CVaR the mean beyond it. A trade runs from flat to flat in one ticker at average cost; win
rate and profit factor count closed trades, net of cost. Turnover is one-sided: 1× replaces the portfolio once a year.
– stands for a figure that is not defined.</p>"""
