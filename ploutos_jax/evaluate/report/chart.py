"""What a chart shows, as types, and its place on the page: a frame and the JSON that `assets/charts.js` draws.

A chart says what there is to see in the units of its figures; how that looks (scales, grid, crosshair, zoom, colours
of the theme) is the script's business. Values travel with nine digits, so that what is read under the pointer is
what is known.
"""

import dataclasses
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from ploutos_jax.market.tickers import show_marks

Unit = Literal["dollars", "percent", "number", "times"]
Kind = Literal["line", "strong", "thin", "dashed", "bars", "hidden"]

MOST_POINTS = 6000
"""Rows of a chart; longer ones keep the lowest and the highest of each stretch, of every line."""

LOG_RANGE = 4.0
"""Highest over lowest value above which a chart of money begins with a logarithmic scale."""


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One line, or the bars of one colour.

    Attributes:
        name: what the readout calls it; one without a name is not read.
        values: `[points]`; a NaN is a gap.
        color: a variable of the style sheet without its dashes, such as `c1`.
        kind: how it is drawn; `hidden` is left to what the chart draws of all series.
        fill: opacity of the area between it and 0.
        label: what the legend says, where that is more than the name.
        unit: of its values in the readout, where that is not the chart's.
    """

    name: str
    values: np.ndarray
    color: str
    kind: Kind = "line"
    fill: float = 0.0
    label: str = ""
    unit: Unit | None = None


@dataclasses.dataclass(frozen=True)
class Band:
    """A stretch of the x axis to shade, from `first` to `last` (times, or numbers as on the axis)."""

    first: Any
    last: Any
    color: str
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Upright:
    """An upright line at a number of the x axis, with a label."""

    at: float
    color: str
    label: str


@dataclasses.dataclass(frozen=True, eq=False)
class Marks:
    """Fills of one kind: `row` of the chart, `price` and `shares`, each `[fills]`."""

    name: str
    side: Literal["buy", "sell"]
    color: str
    row: np.ndarray
    price: np.ndarray
    shares: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Chart:
    """One chart.

    Attributes:
        x: `[points]` times, rising; or numbers; or names of categories.
        series: what is drawn, the first one on top.
        unit: of the values.
        words: what it shows, for those who cannot see it.
        height: pixels.
        drawn: what all series make together, such as the four of candles.
        zero: whether 0 is always in view.
        log: whether values are money that may be seen on a logarithmic scale.
        stacked: whether each series lies on top of those before it.
        bands, uprights, marks: besides the lines.
        ends: labels at the right ends of series by their place, on a wide screen.
        spans: whether buttons choose spans of time.
        joined: whether a chart below shows the same axis.
        step: distance of numbers on the x axis, where they stand for stretches.
        x_unit: of numbers on the x axis.
    """

    x: np.ndarray | Sequence[str]
    series: Sequence[Series]
    unit: Unit
    words: str
    height: int = 180
    drawn: Literal["candles", "boxes"] | None = None
    zero: bool = False
    log: bool = False
    stacked: bool = False
    bands: Sequence[Band] = ()
    uprights: Sequence[Upright] = ()
    marks: Sequence[Marks] = ()
    ends: Sequence[tuple[int, str]] = ()
    spans: bool = False
    joined: bool = False
    step: float | None = None
    x_unit: Unit = "number"


def chart(what: Chart) -> str:
    """Return the frame of a chart and what is to be drawn in it."""
    rows = _rows_to_draw(what)
    lines = [line for line in what.series if np.isfinite(line.values).any()] if what.drawn is None else what.series
    shown = [dataclasses.replace(line, values=np.asarray(line.values, np.float64)[rows]) for line in lines]
    content: dict[str, Any] = {
        "x": _axis(what, rows),
        "unit": what.unit,
        "height": what.height,
        "series": [_Raw(_series(line, what.unit)) for line in shown],
    }
    content |= {name: True for name in ("zero", "stacked", "spans", "joined") if getattr(what, name)}
    content |= {name: getattr(what, name) for name in ("drawn", "step") if getattr(what, name) is not None}
    if what.log:
        values = np.concatenate([line.values[np.isfinite(line.values)] for line in shown] or [np.ones(1)])
        positive = bool(values.size and values.min() > 0)
        content |= {"mayLog": positive, "log": positive and float(values.max() / values.min()) > LOG_RANGE}
    if what.bands:
        content["bands"] = [[_place(one.first), _place(one.last), one.color, one.label] for one in what.bands]
    if what.uprights:
        content["uprights"] = [[float(one.at), one.color, one.label] for one in what.uprights]
    if what.marks:
        content["marks"] = [_marks(one, rows) for one in what.marks]
    if what.ends:
        content["ends"] = [_end(shown, what.series[place], label, place == 0) for place, label in what.ends]
    words = html.escape(show_marks(what.words), quote=True)
    height = what.height + (6 if what.joined else 40)
    return (
        f"<div class='chart'><div class='frame' role='img' aria-label='{words}' style='--h:{height}px'></div>"
        f"<script type='application/json'>{_to_json(content)}</script></div>"
    )


def thin(columns: Iterable[np.ndarray], most: int = MOST_POINTS) -> np.ndarray:
    """Return the rows to draw: all, or of each stretch the lowest and the highest of every column, and both ends."""
    columns = [np.asarray(column, np.float64) for column in columns]
    size = columns[0].size if columns else 0
    if size <= most:
        return np.arange(size)
    edges = np.linspace(0, size, max(2, most // (2 * len(columns))) + 1).astype(np.int64)[:-1]
    stretch = np.repeat(np.arange(edges.size), np.diff(np.append(edges, size)))
    kept = [np.array([0, size - 1])]
    for column in columns:
        for sign in (1.0, -1.0):
            # Sorted by stretch, then by value: the first row of each stretch is its lowest; a gap comes last.
            order = np.lexsort((np.where(np.isfinite(column), sign * column, np.inf), stretch))
            kept.append(order[edges])
    return np.unique(np.concatenate(kept))


def numbers(values: np.ndarray, digits: int = 9) -> str:
    """Return values as JSON, what is not finite as null."""
    known = zip(values.tolist(), np.isfinite(values).tolist(), strict=True)
    return f"[{','.join(f'{value:.{digits}g}' if is_known else 'null' for value, is_known in known)}]"


class _Raw(str):
    """Text that is JSON already."""


def _rows_to_draw(what: Chart) -> np.ndarray:
    if len(what.x) == 0 or isinstance(what.x[0], str) or what.drawn is not None:
        return np.arange(len(what.x))
    if what.stacked:  # one set of rows for all layers, by their sum
        return thin([np.sum([line.values for line in what.series], axis=0)])
    return thin([line.values for line in what.series])


def _axis(what: Chart, rows: np.ndarray) -> dict[str, Any]:
    if len(what.x) and isinstance(what.x[0], str):
        return {"kind": "names", "names": [str(name) for name in what.x]}
    x = np.asarray(what.x)[rows]
    if not np.issubdtype(x.dtype, np.datetime64):
        return {"kind": "number", "values": _Raw(numbers(x.astype(np.float64))), "unit": what.x_unit}
    seconds = x.astype("datetime64[s]").astype(np.int64)
    whole = bool((seconds % 86_400 == 0).all())
    unit = 86_400 if whole else 60 if (seconds % 60 == 0).all() else 1
    steps = np.diff(seconds // unit, prepend=0)
    return {"kind": "time", "whole": whole, "seconds": unit, "steps": _Raw(f"[{','.join(map(str, steps.tolist()))}]")}


def _series(line: Series, unit: Unit) -> str:
    known = {"name": line.name, "color": line.color, "kind": line.kind, "fill": line.fill, "label": line.label}
    content: dict[str, Any] = {name: value for name, value in known.items() if value}
    if line.unit is not None and line.unit != unit:
        content["unit"] = line.unit
    return _to_json({**content, "v": _Raw(numbers(line.values, 9 if unit == "dollars" else 7))})


def _marks(marks: Marks, rows: np.ndarray) -> dict[str, Any]:
    row = np.searchsorted(rows, marks.row)
    return {
        "name": marks.name,
        "side": marks.side,
        "color": marks.color,
        "row": [int(one) for one in np.minimum(row, rows.size - 1)],
        "price": _Raw(numbers(marks.price)),
        "shares": _Raw(numbers(marks.shares, 6)),
    }


def _end(shown: Sequence[Series], line: Series, label: str, strong: bool) -> dict[str, Any]:
    place = next(i for i, one in enumerate(shown) if one.name == line.name)
    known = shown[place].values[np.isfinite(shown[place].values)]
    return {"series": place, "label": label, "value": float(known[-1]), "color": line.color, "strong": strong}


def _place(value: Any) -> float:
    if isinstance(value, np.datetime64):
        return float(value.astype("datetime64[s]").astype(np.int64))
    return float(value)


def _to_json(value: Any) -> str:
    """Return JSON that may stand inside a script: no tag begins in it, and no mark turns its words around."""
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{_to_json(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_to_json, value))}]"
    if isinstance(value, str):
        return json.dumps(show_marks(value)).replace("<", "\\u003c").replace("&", "\\u0026")
    return json.dumps(value, allow_nan=False)
