"""The trials of a study as a picture: the score by each of the numbers that were searched."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ploutos_jax.evaluate.report import plot_style
from ploutos_jax.evaluate.report.plot_style import LIGHT, Look

_MOST = 6
_HEIGHT, _IN_A_ROW = 3.6, 3
_MANY = 30.0
"""Times that the largest number is above the smallest, beyond which an axis shows logarithms."""


def draw_study(
    table: pd.DataFrame, names: Sequence[str], score: str = "score", *, title: str = "Sweep", look: Look = LIGHT
) -> Figure:
    """Return a panel for each of the first six names: one point for each trial, its score above its number.

    Trials that ended early are hollow, the best one is ringed.

    Args:
        table: a row for each trial, with columns of the names, the score, and `ended` where trials may end early.
        names: what was searched.
        score: column of the score, more is better.
        title: the first line.
        look: colours and size.

    Raises:
        ValueError: if no trial has a score.
    """
    known = table.dropna(subset=[score])
    if not len(known):
        raise ValueError("No trial has a score; there is nothing to draw.")
    names = list(names)[:_MOST]
    rows = -(-len(names) // _IN_A_ROW)
    height = 1.4 + _HEIGHT * rows
    figure = plot_style.new_figure(look, height, tick_chars=7, name_chars=0)
    grid = figure.add_gridspec(rows, min(len(names), _IN_A_ROW), hspace=0.4, wspace=0.22)
    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[divmod(place, min(len(names), _IN_A_ROW))])
        plot_style.style_axes(axes, look, name.replace("_", " "))
        _draw(axes, known, name, score, look)
    words = f"{len(table)} trials, {len(known)} with a score; {score} on the bars to choose on"
    plot_style.write_headline(figure, title, words, look)
    return figure


def _draw(axes: Axes, table: pd.DataFrame, name: str, score: str, look: Look) -> None:
    values, heights = list(table[name]), table[score].to_numpy(float)
    are_numbers = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values)
    if are_numbers:
        places = np.array(values, float)
        if places.min() > 0 and places.max() / places.min() > _MANY:
            axes.set_xscale("log")
    else:
        words = sorted({str(value) for value in values})
        places = np.array([words.index(str(value)) for value in values], float)
        axes.set_xticks(range(len(words)), words)
    early = table["ended"].eq("early").to_numpy() if "ended" in table else np.zeros(len(table), bool)
    axes.scatter(places[~early], heights[~early], color=look.agent, s=30)
    axes.scatter(places[early], heights[early], facecolors="none", edgecolors=look.agent, s=30)
    candidates = np.where(early, -np.inf, heights) if not early.all() else heights
    best = int(candidates.argmax())
    axes.scatter(places[best], heights[best], facecolors="none", edgecolors=look.ink, s=120)
