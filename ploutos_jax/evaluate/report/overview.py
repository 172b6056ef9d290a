"""Several agents on several markets: one page of their figures beside each other, with a link to the report of each."""

import dataclasses
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.evaluate.report import tables
from ploutos_jax.evaluate.report.chart import Chart, Series, Unit, chart
from ploutos_jax.evaluate.report.equity_charts import color_of, figure
from ploutos_jax.evaluate.report.page import Section, whole_page
from ploutos_jax.evaluate.report.plot_style import percent
from ploutos_jax.evaluate.report.tables import Figures, ratio, show, signed, value_of
from ploutos_jax.evaluate.report.write import check_report_folder, write_files

_COLUMNS = (
    ("Total return", "total_return", signed),
    ("Annual return", "annual_return", signed),
    ("Volatility", "annual_volatility", percent),
    ("Sharpe", "sharpe", ratio),
    ("Max drawdown", "max_drawdown", percent),
    ("Alpha / year", "alpha", signed),
    ("Beta", "beta", ratio),
)


@dataclasses.dataclass(frozen=True)
class Scored:
    """One agent on one market.

    Attributes:
        run: the agent, by name.
        market: by name.
        figures: of the agent, as `metrics.json` of its report holds them.
        reference: the name of what alpha and beta are against, and its figures; both empty without one.
        verdict: the headline of its report.
        link: to the report, from the overview.
    """

    run: str
    market: str
    figures: Figures
    reference: str
    reference_figures: Figures
    verdict: str
    link: str


def scored_of(run: str, market: str, content: Mapping[str, Any], link: str) -> Scored:
    """Return one agent on one market, given what `write_report` returned."""
    name = content["relative_to"]
    benchmark = content.get("benchmark", {})
    beside = benchmark if benchmark.get("name") == name else content["baselines"].get(name, {})
    return Scored(run, market, content, name, beside, content["verdict"], link)


def write_overview(
    folder: str | os.PathLike[str], scored: Sequence[Scored], *, command: str = "", overwrite: bool = False
) -> dict[str, Any]:
    """Write the page of several agents on several markets, and `metrics.json`; return what that holds.

    Args:
        folder: above the reports of all of them.
        scored: market by market; not every agent needs to be on each.
        command: that made it, if it is to be told.
        overwrite: replace the page that the folder holds.

    Raises:
        ValueError: if there is nothing to show, or the folder holds a report already.
    """
    check_report_folder(folder, overwrite=overwrite)
    if not scored:
        raise ValueError("An overview needs one scored agent at least.")
    content = {
        "name": "overview",
        "scored": [
            {
                "run": one.run,
                "market": one.market,
                "report": one.link,
                "verdict": one.verdict,
                "relative_to": one.reference,
                **{key: one.figures.get(key) for _, key, _ in _COLUMNS},
                "reference_annual_return": one.reference_figures.get("annual_return"),
            }
            for one in scored
        ],
        "command": command,
    }
    return write_files(Path(folder), content, _page(scored, command), {}, {})


def _page(scored: Sequence[Scored], command: str) -> str:
    runs, markets = (list(dict.fromkeys(getattr(one, field) for one in scored)) for field in ("run", "market"))
    title = f"{_count(len(runs), 'agent')} on {_count(len(markets), 'market')}"
    sections: list[Section] = [
        ("figures", "Side by side", _charts(scored, runs, markets) + _table(scored)),
        ("reports", "Each by itself", "".join(map(_entry, scored))),
        (
            "run",
            "About these runs",
            tables.table(("Fact", "Value"), [("command", command)], numbers=False) if command else "",
        ),
    ]
    head = f"<button id='theme' hidden>Light / dark</button><h1>{html.escape(title)}</h1>"
    spans = sorted({f"{str(one.figures['start'])[:10]} to {str(one.figures['end'])[:10]}" for one in scored})
    words = f"{'; '.join(spans[:3])}{' and other spans' if len(spans) > 3 else ''} · net of costs"
    return whole_page(title, f"{head}<p class='span'>{html.escape(words)}</p>", sections)


def _charts(scored: Sequence[Scored], runs: Sequence[str], markets: Sequence[str]) -> str:
    found = {(one.run, one.market): one for one in scored}

    def column(run: str, key: str) -> np.ndarray:
        values = [found[run, market].figures.get(key) if (run, market) in found else None for market in markets]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    references = {one.market: one for one in reversed(scored) if one.reference}
    parts = []
    shown: tuple[tuple[str, str, Unit], ...] = (
        ("Annual return", "annual_return", "percent"),
        ("Sharpe ratio", "sharpe", "number"),
    )
    for caption, key, unit in shown:
        lines = [Series(run, column(run, key), color_of(i), "bars") for i, run in enumerate(runs)]
        beside = [references[m].reference_figures.get(key) if m in references else None for m in markets]
        name = " or ".join(dict.fromkeys(one.reference for one in references.values()))
        values = np.array([np.nan if value is None else value for value in beside], np.float64)
        lines.append(Series(name, values, "faint", "bars"))
        parts.append(figure(caption, chart(Chart(markets, lines, unit, caption, height=220, zero=True))))
    return f"<div class='pair'>{''.join(parts)}</div>"


def _table(scored: Sequence[Scored]) -> str:
    rows = [
        [
            one.run,
            one.market,
            *((show(one.figures, key, write), value_of(one.figures.get(key))) for _, key, write in _COLUMNS),
            one.reference or tables.NOTHING,
            (
                show(one.reference_figures, "annual_return", signed),
                value_of(one.reference_figures.get("annual_return")),
            ),
        ]
        for one in scored
    ]
    header = ("Agent", "Market", *(label for label, _, _ in _COLUMNS), "Alpha and beta against", "Its annual return")
    return tables.table(header, rows, kind="sortable")


def _entry(one: Scored) -> str:
    name = f"{one.run} on {one.market}" if one.market else one.run
    link = html.escape(one.link, quote=True)
    return f"<p><a href='{link}'>{html.escape(name)}</a>: {html.escape(one.verdict)}</p>"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
