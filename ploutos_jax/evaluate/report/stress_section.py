"""The stress test on the report page: table, a chart for each scenario, and in a sentence which one hits hardest."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from ploutos_jax.evaluate.report.chart import Band, Chart, Series, chart
from ploutos_jax.evaluate.report.equity_charts import figure
from ploutos_jax.evaluate.report.plot_style import percent
from ploutos_jax.evaluate.report.tables import NOTHING, count, ratio, signed, table, value_of
from ploutos_jax.evaluate.stress.paths import StressPath

AS_IT_WAS = "none"
"""The row of the span without a shock."""


def _points(value: float) -> str:
    return signed(value).replace("%", " points")


LABELS: dict[str, tuple[str, Callable[[float], str]]] = {
    "draws": ("Draws", count),
    "survival_rate": ("Survive", percent),
    "return_change": ("Total return", _points),
    "cvar_change": ("CVaR 95", _points),
    "drawdown_change": ("Max drawdown", _points),
    "worst_drawdown": ("Worst drawdown", percent),
    "recovery_bars": ("Bars to recover", count),
    "censored_share": ("Not recovered", percent),
    "filled_share": ("Orders filled", percent),
    "stops_beyond_atr_share": ("Stops an ATR late", percent),
    "shortfall_bps": ("Shortfall", lambda value: f"{ratio(value)} bp"),
}
"""How the columns of `stress.stress_table` are called and written; others are shown as they are."""

NOTE = """<p class='note'>Each scenario strikes the span at random places, and is played with the same random numbers as
the span without it. Total return, CVaR and maximum drawdown are mean changes against that. Survive: draws that never
fall below half of the money at the start. Bars to recover: median by Kaplan and Meier, from the lowest equity until
that before the shock is regained; "longer" where more than half do not within the span. Orders filled: dollars filled
over dollars ordered.</p>"""


def stress_section(stress: pd.DataFrame, paths: Sequence[StressPath] = ()) -> str:
    """Return the table of figures by scenario, the index naming it, with a note on what they are, and a chart of each.

    Args:
        stress: as from `stress.stress_table`.
        paths: of the scenarios that are drawn.
    """
    labels = [LABELS.get(str(column), (str(column).replace("_", " "), ratio)) for column in stress.columns]
    rows = [
        [_scenario(name), *[_cell(value, write) for value, (_, write) in zip(row, labels, strict=True)]]
        for name, row in zip(stress.index, stress.itertuples(index=False), strict=True)
    ]
    charts = "".join(map(stress_chart, paths))
    drawn = f"<div class='pair'>{charts}</div>" if charts else ""
    return table(["Scenario", *[label for label, _ in labels]], rows) + NOTE + drawn


def stress_chart(path: StressPath) -> str:
    """Return the account under one scenario, in its median and in its worst draw, and when the shock struck each."""
    median, worst = path.median, path.worst
    lines = [
        Series("Median draw", median.equity, "c0", "strong"),
        Series("Worst draw", worst.equity, "loss-line"),
        Series("No shock", median.without, "faint", "dashed"),
    ]
    bands = [
        Band(path.times[median.first], path.times[median.last], "c0", "median"),
        Band(path.times[worst.first], path.times[worst.last], "loss-line", "worst"),
    ]
    if path.draws == 1:
        lines, bands = [dataclasses.replace(lines[0], name="Under the shock"), lines[2]], bands[:1]
        bands = [dataclasses.replace(bands[0], label="shock")]
    name = _scenario(path.scenario)
    of = f"in the median of {path.draws} draws, {_points(worst.change)} in the worst"
    caption = f"{name}: {_points(median.change)} of total return {of if path.draws > 1 else 'in its one draw'}"
    drawn = Chart(path.times, lines, "dollars", f"Equity under {path.scenario}", height=200, bands=bands)
    return figure(caption, chart(drawn))


def worst_scenario(stress: pd.DataFrame | None) -> str:
    """Return a sentence on the scenario that costs the most total return on average; none without a stress test."""
    if stress is None or "return_change" not in stress.columns:
        return ""
    struck = {name: row for name, row in stress.to_dict("index").items() if name != AS_IT_WAS}
    known = [name for name, row in struck.items() if math.isfinite(row["return_change"])]
    if not known:
        return ""
    name = min(known, key=lambda one: struck[one]["return_change"])
    worst = struck[name]
    change = _points(worst["return_change"])
    words = f"Of {len(struck)} stress scenarios, {_scenario(name).lower()} hits hardest: {change}"
    words += " of total return on average"
    if math.isfinite(worst.get("worst_drawdown", math.nan)):
        words += f", a drawdown of {percent(float(worst['worst_drawdown']))} at worst"
    if math.isfinite(worst.get("survival_rate", math.nan)):
        words += f", {percent(float(worst['survival_rate']))} of the draws survive"
    return words + "."


def _scenario(name: Any) -> str:
    return "No shock" if name == AS_IT_WAS else str(name).replace("_", " ").capitalize()


def _cell(value: Any, write: Callable[[float], str]) -> tuple[str, str]:
    if isinstance(value, str):
        return value, ""
    if value is None or math.isnan(value):
        return NOTHING, value_of(None)
    return (write(float(value)) if math.isfinite(value) else "longer"), value_of(float(value))
