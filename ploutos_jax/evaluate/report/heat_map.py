"""A sweep's table as a picture: one figure by two of the numbers that were swept."""

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ploutos_jax.evaluate.report import plot_style
from ploutos_jax.evaluate.report.plot_style import LIGHT, Look

_SHARES = ("return", "volatility", "drawdown")
"""Figures whose names hold one of these are shown as percentages."""
_MOST = 24
"""Values along an axis; more cannot be read."""
_CELL = 0.75


def heat_map(
    table: pd.DataFrame, x: str, y: str, value: str = "sharpe", *, title: str = "", look: Look = LIGHT
) -> Figure:
    """Return one figure of a sweep by two of its numbers; the mean where several rows share a cell, such as seeds.

    Colours are those of loss below 0 and of gain above it.

    Args:
        table: of `sweep`.
        x, y: names of the numbers along the axes.
        value: the column to show.
        title: the first line.
        look: colours and size.

    Raises:
        ValueError: if a column is missing, or an axis has more values than can be read.
    """
    for name in (x, y, value):
        if name not in table.columns:
            raise ValueError(f"The table has no column {name!r}; there are {', '.join(map(str, table.columns))}.")
    if len({x, y, value}) < 3:
        raise ValueError(f"A heat map needs three columns, not x={x!r}, y={y!r} and value={value!r}.")
    cells = table.pivot_table(index=y, columns=x, values=value, aggfunc="mean", dropna=False)
    if max(cells.shape) > _MOST:
        raise ValueError(
            f"The sweep has {cells.shape[1]} values of {x} and {cells.shape[0]} of {y}; draw at most {_MOST}."
        )
    numbers = cells.to_numpy(np.float64)
    colours, low, high = _colours(numbers, look)
    rows, columns = numbers.shape
    width, height = 2.6 + max(columns, 6) * 1.15, 2.3 + rows * _CELL
    wide = Look(**{**vars(look), "width": width, "height": height})
    figure = plot_style.new_figure(wide, height, tick_chars=max(len(_label(one)) for one in cells.index), name_chars=0)
    # Room for the name of the axis below its numbers.
    figure.subplots_adjust(bottom=4.4 * look.text / 72 / height)
    axes = figure.add_subplot()
    axes.imshow(numbers, cmap=colours, vmin=low, vmax=high, aspect="auto", origin="lower")
    axes.set_xticks(range(columns), [_label(one) for one in cells.columns])
    axes.set_yticks(range(rows), [_label(one) for one in cells.index])
    axes.tick_params(colors=look.faint, labelsize=look.text, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(x, color=look.ink, fontsize=look.text, parse_math=False)
    axes.set_title(y, loc="left", color=look.ink, fontsize=look.text, parse_math=False)
    for row, column in np.ndindex(rows, columns):
        text = _write(value, float(numbers[row, column]))
        axes.text(column, row, text, ha="center", va="center", color=look.ink, fontsize=look.text, parse_math=False)
    plot_style.write_headline(figure, title or f"{value.replace('_', ' ')} by {x} and {y}", "net of costs", wide)
    return figure


def _colours(numbers: np.ndarray, look: Look) -> tuple[LinearSegmentedColormap, float, float]:
    """Return colours and the numbers at their ends; where there are losses and gains, both ends are as far from 0."""
    loss, gain = look.exits["stop"], look.exits["target"]
    known = numbers[np.isfinite(numbers)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if low < 0 < high:
        most = max(-low, high)
        return LinearSegmentedColormap.from_list("both", [loss, look.paper, gain]), -most, most
    ends = [loss, look.paper] if high <= 0 and low < 0 else [look.paper, gain]
    return LinearSegmentedColormap.from_list("one", ends), low, high if high > low else low + 1


def _label(number: object) -> str:
    return f"{number:g}" if isinstance(number, int | float) else str(number)


def _write(name: str, number: float) -> str:
    if not np.isfinite(number):
        return "–"
    if any(word in name for word in _SHARES):
        return plot_style.percent(number)
    return f"{number:,.2f}".replace("-", "−") if abs(number) < 1_000 else f"{number:,.0f}"
