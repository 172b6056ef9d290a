"""What one more basis point of a cost does to a result: derivatives of the whole backtest, on the report page."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from ploutos_jax.agents.agent import Agent
from ploutos_jax.evaluate.backtest.sensitivity import BASIS_POINT, Sensitivity, gradient_of
from ploutos_jax.evaluate.report.tables import NOTHING, table
from ploutos_jax.market.panel import Market

LABELS = {
    "spread": "Spread, bid to ask",
    "slippage": "Slippage",
    "commission": "Commission, a side",
    "cash_rate": "Interest on cash, a year",
}
"""Numbers of the rules that a basis point is one of, and how the page calls them."""


def _points(change: float) -> str:
    return f"{100 * change:+.3f} points".replace("-", "−")


def _plain(change: float) -> str:
    return f"{change:+.4f}".replace("-", "−")


FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "annual_return": ("Annual return", _points),
    "sharpe": ("Sharpe", _plain),
}
"""Figures that are differentiated, by their names in `sensitivity.METRICS`."""

NOTE = """<p class='note'>For one more basis point (0.01 %). As decided: the derivative of the whole backtest with every
decision as it was. Decided anew: half the difference between backtests with a basis point more and less, or, where
there is none to take off, that between one more and none; the agent sees what came of it and decides again, and stops
may be hit that were not. Where both differ, that is why.</p>"""


def slopes_of(agent: Agent, span: Market) -> dict[str, Sensitivity]:
    """Return the derivatives of each of `FIGURES` by each of `LABELS`, and their changes over a basis point.

    Args:
        agent: under its own rules and costs.
        span: the bars of the backtest.
    """
    return {figure: gradient_of(figure, agent, span, by=tuple(LABELS), step=BASIS_POINT) for figure in FIGURES}


def slopes_section(slopes: Mapping[str, Sensitivity]) -> str:
    """Return the table of changes for a basis point, with a note on what they are."""
    header = ["One more basis point of"]
    for figure in slopes:
        header += [f"{FIGURES[figure][0]}, as decided", "decided anew"]
    rows = []
    for number, label in LABELS.items():
        row = [label]
        for figure, found in slopes.items():
            write = FIGURES[figure][1]
            row += [_cell(per[number], write) if number in per else NOTHING for per in (found.slopes, found.moved)]
        rows.append(row)
    return "<h3>What one more basis point costs</h3>" + table(header, rows) + NOTE


def to_json(slopes: Mapping[str, Sensitivity]) -> dict[str, Any]:
    """Return the changes for a basis point as `metrics.json` holds them."""
    return {
        figure: {
            "value": found.value,
            "as_decided": {name: slope * BASIS_POINT for name, slope in found.slopes.items()},
            "decided_anew": {name: slope * BASIS_POINT for name, slope in found.moved.items()},
        }
        for figure, found in slopes.items()
    }


def _cell(slope: float, write: Callable[[float], str]) -> str:
    return write(slope * BASIS_POINT) if math.isfinite(slope) else NOTHING
