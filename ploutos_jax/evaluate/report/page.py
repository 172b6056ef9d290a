"""Ledgers to one HTML page: nothing from outside, readable on a desk and on a phone, light and dark."""

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.backtest.sensitivity import Sensitivity
from ploutos_jax.evaluate.ledger import Ledger, Role
from ploutos_jax.evaluate.metrics import exposure
from ploutos_jax.evaluate.metrics.robustness import annual_return_at_cost, break_even_cost
from ploutos_jax.evaluate.report import equity_charts, return_charts, risk_charts, tables
from ploutos_jax.evaluate.report.assets import script, style
from ploutos_jax.evaluate.report.evidence import evidence_rows
from ploutos_jax.evaluate.report.figures import describe_span
from ploutos_jax.evaluate.report.plot_style import dollars
from ploutos_jax.evaluate.report.slopes import slopes_section
from ploutos_jax.evaluate.report.stress_section import stress_section
from ploutos_jax.evaluate.report.tables import COLUMNS, Figures, show
from ploutos_jax.evaluate.report.trade_charts import trades_chart
from ploutos_jax.evaluate.report.trade_tables import exit_table, trades_table
from ploutos_jax.evaluate.report.verdict import Verdict, rivals
from ploutos_jax.evaluate.stress.paths import StressPath
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.labels import UNKNOWN_SECTOR
from ploutos_jax.market.tickers import show_marks

TILES = ("total_return", "annual_return", "sharpe", "max_drawdown", "win_rate", "total_cost")

Section = tuple[str, str, str]
"""Name in the page's address, heading, content."""


def build_page(
    ledgers: Mapping[str, Ledger],
    figures: Mapping[str, Figures],
    evidence: Mapping[str, Any],
    *,
    verdict: Verdict,
    title: str,
    facts: Mapping[str, str],
    tickers: Sequence[str] = (),
    sectors: tuple[str, ...] = (),
    episodes: Sequence[equity_charts.Episode] = (),
    stress: pd.DataFrame | None = None,
    stress_paths: Sequence[StressPath] = (),
    slopes: Mapping[str, Sensitivity] | None = None,
    relative_to: str = "",
) -> str:
    """Return the page.

    Args:
        ledgers: the strategies by name, the one under test first.
        figures: what `metrics.summarize` says of each, by the same names.
        evidence: what `evidence.evidence_of` says of the first.
        verdict: what the page says first.
        title: heading of the page.
        facts: what the reader should know about the run, shown as given.
        tickers: those whose trades are drawn.
        sectors: of the ledger's symbols; none known without them.
        episodes: stretches of time to mark on the equity chart.
        stress: figures by scenario, if there was a stress test.
        stress_paths: accounts under its scenarios to draw.
        slopes: what a little more of a cost does, as from `slopes.slopes_of`, if that was asked for.
        relative_to: the strategy that beta and the like are against.
    """
    name, ledger = next(iter(ledgers.items()))
    sections: list[Section] = [
        (
            "figures",
            "Against the baselines",
            equity_charts.equity_charts(ledgers, episodes, relative_to) + tables.metrics_table(figures, relative_to),
        ),
        ("statistics", "Luck or skill", _luck(name, ledger.calendar, figures, evidence)),
        ("returns", "Returns", _returns(ledgers, relative_to)),
        ("risk", "Risk over time", _risk(ledgers, figures, sectors, relative_to)),
        ("drawdowns", "Drawdowns", _drawdowns(ledgers, relative_to)),
        ("costs", "Costs", _costs(ledgers, figures) + ("" if slopes is None else slopes_section(slopes))),
        ("stress", "Under stress", "" if stress is None else stress_section(stress, stress_paths)),
        ("trades", "Trades", exit_table(ledger.trades) + trades_table(ledger.trades)),
        ("tickers", "Trades by ticker", "".join(trades_chart(ledger, ticker) for ticker in tickers)),
        ("glossary", "How the figures are made", glossary(ledger.calendar)),
        ("run", "About this run", _facts(facts)),
    ]
    top = (
        f"<button id='theme' hidden>Light / dark</button><h1>{html.escape(title)}</h1>"
        f"<p class='span'>{html.escape(describe_span(ledger))} · {dollars(figures[name]['initial_cash'])} to"
        f" {dollars(figures[name]['final_equity'])} · net of costs</p>"
        f"{verdict_box(verdict)}{_tiles(figures[name])}"
    )
    return whole_page(title, top, sections)


def whole_page(title: str, top: str, sections: Sequence[Section]) -> str:
    """Return a page of its own.

    Args:
        title: of the window.
        top: what stands above the sections.
        sections: those without content are left out.
    """
    shown = [section for section in sections if section[2]]
    links = "".join(f"<a href='#{key}'>{html.escape(heading)}</a>" for key, heading, _ in shown)
    body = "\n".join(
        f"<section id='{key}'><h2>{html.escape(heading)}</h2>\n{content}</section>" for key, heading, content in shown
    )
    head = (
        f"<meta charset='utf-8'><meta http-equiv='Content-Security-Policy' content=\"{_policy()}\">"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='color-scheme' content='light dark'><title>{html.escape(title)}</title>"
        # Without an icon of its own a browser asks the server for one.
        f"<link rel='icon' href='data:,'><style>{style()}</style>"
    )
    # Whatever a name holds, a mark of direction in it must not turn the figures beside it around.
    content = show_marks(f"<main>\n{top}\n{_BARE}<nav>{links}</nav>\n{body}\n</main>")
    return (
        f"<!DOCTYPE html>\n<html lang='en'><head>{show_marks(head)}</head>\n<body>{content}"
        f"<script>{script()}</script></body></html>\n"
    )


_BARE = "<noscript><p class='note'>The charts need JavaScript; words, tables and the PNG files do not.</p></noscript>"


def _policy() -> str:
    """Return what the page may do: run its own script and show what is in it; nothing is fetched or sent."""
    own = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{own}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
        " form-action 'none'"
    )


def verdict_box(verdict: Verdict) -> str:
    """Return the verdict as the page shows it."""
    points = "".join(f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>" for label, text in verdict.points)
    return f"<div class='verdict {verdict.tone}'><h2>{html.escape(verdict.headline)}</h2><dl>{points}</dl></div>"


def _tiles(agent: Figures) -> str:
    cells = [
        f"<div><span>{label}</span><b>{show(agent, key, write)}</b></div>"
        for label, key, write in COLUMNS
        if key in TILES
    ]
    return f"<div class='tiles'>{''.join(cells)}</div>"


def _returns(ledgers: Mapping[str, Ledger], relative_to: str) -> str:
    ledger = next(iter(ledgers.values()))
    pair = return_charts.distribution_chart(ledger) + return_charts.quantile_chart(ledger)
    return (
        tables.monthly_table(ledger)
        + return_charts.year_chart(ledgers, relative_to)
        + f"<div class='pair'>{pair}</div>"
        + return_charts.extremes_tables(ledgers, relative_to)
    )


def _drawdowns(ledgers: Mapping[str, Ledger], relative_to: str) -> str:
    name, ledger = next(iter(ledgers.items()))
    content = tables.drawdown_table(exposure.drawdown_episodes(ledger.times, ledger.equity))
    if relative_to not in ledgers or relative_to == name:
        return content
    other = ledgers[relative_to]
    beside = tables.drawdown_table(exposure.drawdown_episodes(other.times, other.equity))
    caption = html.escape(f"Those of {relative_to} over the same bars")
    return f"{content}<details><summary>{caption}</summary>{beside}</details>"


def _risk(
    ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures], sectors: tuple[str, ...], relative_to: str
) -> str:
    name, ledger = next(iter(ledgers.items()))
    beside = next(iter(rivals(name, figures, _roles(ledgers))), None)
    against = [name, *([relative_to] if relative_to else [])]
    parts = [
        risk_charts.rolling_sharpe_chart(ledgers, [name, *([beside] if beside else [])]),
        risk_charts.rolling_volatility_chart(ledgers, against),
        risk_charts.rolling_beta_chart(ledgers, relative_to),
        risk_charts.rolling_loss_chart(ledger),
        risk_charts.leverage_chart(ledger),
        risk_charts.turnover_chart(ledger),
    ]
    known = any(sector != UNKNOWN_SECTOR for sector in sectors)
    if not ledger.fills.empty:
        weight = exposure.weights(ledger)
        parts.append(risk_charts.concentration_chart(ledger, weight))
        if known:
            parts.append(risk_charts.sector_chart(ledger, exposure.exposure_by_sector(weight, sectors)))
    note = "" if known else "<p class='note'>Sectors of these tickers are not known: exposure is not split by them.</p>"
    return f"<div class='pair'>{''.join(parts)}</div>{note}"


def _costs(ledgers: Mapping[str, Ledger], figures: Mapping[str, Figures]) -> str:
    name, ledger = next(iter(ledgers.items()))
    content = tables.costs_table(ledgers, figures)
    if not ledger.cost.sum() > 0:
        return content
    best = next(iter(rivals(name, figures, _roles(ledgers))), None)
    shown = {name: ledger} | ({best: ledgers[best]} if best is not None else {})
    multiples = np.linspace(0.0, 5.0, 51)
    gains = {other: annual_return_at_cost(one, multiples) for other, one in shown.items()}
    even = break_even_cost(ledger, ledgers[best]) if best is not None else None
    colors = {other: equity_charts.color_of(i) for i, other in enumerate(ledgers)}
    return content + equity_charts.cost_chart(multiples, gains, even, colors)


def _roles(ledgers: Mapping[str, Ledger]) -> dict[str, Role]:
    return {name: ledger.role for name, ledger in ledgers.items()}


def _luck(name: str, calendar: Calendar, figures: Mapping[str, Figures], evidence: Mapping[str, Any]) -> str:
    rows = evidence_rows(figures[name], evidence, calendar)
    if not rows:
        return "<p>There are too few different daily returns to tell luck from skill.</p>"
    statistics = tables.table(("Statistic", "Value", "What it means"), rows, numbers=False)
    return statistics + tables.difference_table(name, evidence["sharpe_differences"], figures)


def _facts(facts: Mapping[str, Any]) -> str:
    rows = [(key.replace("_", " "), value) for key, value in facts.items()]
    return tables.table(("Fact", "Value"), rows, numbers=False) if rows else ""


def glossary(calendar: Calendar) -> str:
    """Return how the figures are made, for a market of this calendar."""
    unit, a_year = calendar.unit, f"{calendar.periods_per_year:.6g}"
    found = f"This market: {calendar.describe()}. "
    return f"<p class='note'>{found}{_GLOSSARY.format(a_year=a_year, unit=unit, period=calendar.period)}</p>"


_GLOSSARY = """Returns are simple returns; intraday bars are compounded to sessions for everything that is annualised.
Annual return is geometric over {a_year} {unit}; volatility and Sharpe use the sample deviation and no interest.
Sortino divides by the root mean square of the losses over all {unit}; Calmar by the largest drawdown. VaR is the 5 %
quantile of the returns of a {period}, CVaR the mean beyond it. A trade runs from flat to flat in one ticker at average
cost; win rate and profit factor count closed trades, net of cost. Turnover is one-sided: 1× replaces the portfolio once
a year. Rolling figures at a {period} use the {unit} up to it. – stands for a figure that is not defined."""
