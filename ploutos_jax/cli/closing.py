"""What a run says at its end: what there was to be found, what was found, what it cost, and how it looks."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console, RenderableType
from rich.table import Table

from ploutos_jax.cli.picture import Curve, draw
from ploutos_jax.evaluate.backtest.baselines import HINT_ORACLE
from ploutos_jax.experiment.run import AGENT, ExperimentResult
from ploutos_jax.train.run.figures import read_figures

_NOTHING = 0.001
"""What a year promises at most where there is nothing to be earned, a share of equity."""
_RIVAL = "equal weight"
_LEARNING = (("held_out_score", "Sharpe ratio on bars held out"), ("total_return_mean", "Return of an episode"))
"""Figures of a run that tell whether it learns; the first that it has is drawn."""


def answers(result: ExperimentResult) -> Table:
    """Return what there was to be found, what was found and what it cost, in three lines."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for question, answer in (
        ("What there was to be found", _to_be_found(result)),
        ("What was found", _found(result)),
        ("What it cost", _cost(result)),
    ):
        table.add_row(question, answer)
    return table


def _to_be_found(result: ExperimentResult) -> str:
    best = result.promised.get(HINT_ORACLE)
    if best is None:
        return "Nobody knows: these bars follow no law that is written down. The report says how likely luck is."
    if best <= _NOTHING:
        return "Nothing: these bars are made up, and nothing foretells them. What is right is to trade little."
    return (
        f"{best:+.1%} a year, net of costs: what the oracle, which knows the law of these made bars, is promised with"
        " luck left out."
    )


def _found(result: ExperimentResult) -> str:
    agent, rival = result.scores[AGENT], result.scores.get(_RIVAL, {})
    best = result.promised.get(HINT_ORACLE)
    if best is not None:
        found = f"{max(result.promised[AGENT], 0) / best:.0%} of it: " if best > _NOTHING else ""
        others = [f", {name} {result.promised[name]:+.1%}" for name in ("ridge", _RIVAL) if name in result.promised]
        return f"{found}{result.promised[AGENT]:+.1%} a year{''.join(others)}."
    words = f"{_percent(agent, 'annual_return')} a year, Sharpe ratio {_ratio(agent)}"
    beside = f"; {_RIVAL} {_percent(rival, 'annual_return')}, {_ratio(rival)}" if rival else ""
    return f"{words}{beside}. {'In sample, so it proves nothing.' if result.in_sample else 'One span is one draw.'}"


def _cost(result: ExperimentResult) -> str:
    agent = result.scores[AGENT]
    turnover = agent.get("turnover")
    often = "" if turnover is None else f", turnover {turnover:.1f} times the account a year"
    return f"${agent.get('total_cost') or 0:,.0f} in spread, slippage and fees{often}; all returns are after it."


def _percent(figures: Mapping[str, Any], name: str) -> str:
    value = figures.get(name)
    return "–" if value is None else f"{value:+.1%}"


def _ratio(figures: Mapping[str, Any]) -> str:
    value = figures.get("sharpe")
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"


def pictures(result: ExperimentResult, console: Console) -> list[RenderableType]:
    """Return how the agent learned, and its account beside others, as curves; none where no terminal shows them.

    Args:
        result: of the run.
        console: that they are for; one without braille gets plain signs.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        return []
    look: dict[str, Any] = {
        "braille": (console.encoding or "").lower().startswith("utf") and not console.legacy_windows,
        "width": min(console.width, 100),
    }
    rows = read_figures(result.output)
    shown: list[RenderableType] = []
    for name, title in _LEARNING:
        known = [(row["timesteps"], np.mean(row[name])) for row in rows if _is_figure(row.get(name))]
        if len(known) > 1:
            steps, values = zip(*known, strict=True)
            ends = (f"{steps[0]:,.0f}", f"{steps[-1]:,.0f} steps")
            shown.append(draw([Curve("agent", steps, values)], title=title, ends=ends, height=6, **look))
            break
    names = [name for name in (AGENT, HINT_ORACLE, _RIVAL) if name in result.ledgers]
    curves = [
        Curve(name, range(len(result.ledgers[name].equity)), result.ledgers[name].equity.tolist()) for name in names
    ]
    title = "Equity on the training bars" if result.in_sample else "Equity on bars never trained on"
    shown.append(draw(curves, title=title, ends=(result.first, result.last), height=9, write="${:,.0f}".format, **look))
    return shown


def _is_figure(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(each, int | float) and math.isfinite(each) for each in values)
