"""A run's figures to a picture: what it learned, what it paid, and how its policy moved, over environment steps."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import ticker as mticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ploutos_jax.evaluate.report import plot_style
from ploutos_jax.evaluate.report.plot_style import LIGHT, Look
from ploutos_jax.train.outlook import Outlook

_HEIGHT = 8.0
_SMOOTH = 0.05
"""Share of the rows that a figure of single updates is averaged over; the rows themselves stand faint behind."""


class _Panel(NamedTuple):
    """One picture: its heading, the figure that is drawn, and a value that it is to reach."""

    heading: str
    figure: str
    percent: bool = False
    smooth: bool = True
    target: float | None = None


_PANELS = (
    _Panel("Sharpe ratio on bars held out", "held_out_sharpe", smooth=False),
    _Panel("Return of an episode in training", "total_return_mean", percent=True),
    _Panel("Traded in a bar, share of equity", "turnover_per_step", percent=True),
    _Panel("Paid in a bar, share of equity", "cost_per_step", percent=True),
    _Panel("Entropy of an action", "entropy"),
    _Panel("KL of an update", "approx_kl"),
)


def draw_training(
    rows: Sequence[Mapping[str, Any]], *, title: str = "Training", look: Look = LIGHT, outlook: Outlook | None = None
) -> Figure:
    """Return six panels over environment steps: the held-out score, returns, what was traded and paid, the policy.

    A panel whose figure a run does not have says so.

    Args:
        rows: figures of updates, as `metrics.jsonl` holds them; at least one.
        title: the first line.
        look: colours and size.
        outlook: the gain of a month that is aimed at: the returns are then those of a month, with a line at it.
    """
    panels = _PANELS
    if outlook is not None:
        heading = "Gain of a month at the growth in training (dashed: target)"
        monthly = _Panel(heading, "monthly_gain", percent=True, target=outlook.target)
        panels = (_PANELS[0], monthly, *_PANELS[2:])
        rows = [{**row, **outlook.monthly(row)} for row in rows]
    figure = plot_style.new_figure(
        look, _HEIGHT, tick_chars=8, name_chars=2
    )  # half of the last tick, which stands below the edge
    grid = figure.add_gridspec(2, 3, hspace=0.36, wspace=0.22)
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(grid[divmod(place, 3)])
        plot_style.style_axes(axes, look, panel.heading)
        axes.xaxis.set_major_formatter(mticker.EngFormatter(sep=""))
        axes.xaxis.set_major_locator(mticker.MaxNLocator(5))
        axes.set_xlim(0, max(float(rows[-1]["timesteps"]), 1))
        _draw_panel(axes, panel, rows, look)
    last = rows[-1]
    speed = last.get("steps_per_second")
    words = f"{int(last['timesteps']):,} environment steps in {int(last['update']):,} updates"
    plot_style.write_headline(figure, title, f"{words}, {speed:,.0f} a second" if speed else words, look)
    return figure


def _draw_panel(axes: Axes, panel: _Panel, rows: Sequence[Mapping[str, Any]], look: Look) -> None:
    known = [(row["timesteps"], row[panel.figure]) for row in rows if isinstance(row.get(panel.figure), int | float)]
    known = [(steps, value) for steps, value in known if np.isfinite(value)]
    if not known:
        axes.text(0.5, 0.5, "no such figure", transform=axes.transAxes, ha="center", color=look.faint)
        axes.set_yticks([])
        return
    steps, values = (np.array(column, float) for column in zip(*known, strict=True))
    if panel.smooth and len(values) > 1:
        axes.plot(steps, values, color=look.agent, lw=look.line, alpha=0.25)
        values = _smoothed(values)
    axes.plot(steps, values, color=look.agent, lw=2 * look.line, marker="o" if len(values) == 1 else None)
    if panel.target is not None:
        axes.axhline(panel.target, color=look.faint, lw=look.line, ls="--")
    if panel.percent:
        axes.yaxis.set_major_formatter(mticker.FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return the means over a window around each value, as much of it as there is."""
    half = max(1, round(_SMOOTH * len(values)))
    total = np.concatenate([[0.0], np.cumsum(values)])
    row = np.arange(len(values))
    first, last = np.maximum(row - half, 0), np.minimum(row + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)
