"""Charts as SVG text for a page: crisp at any width, coloured by the style sheet's variables, a few kilobytes each.

A chart is one `<svg>` as wide as its place. Lines live in a nested one that is stretched to fit, with strokes that are
not; texts and marks are placed by per cent of the width and keep their size. So one drawing serves a desk and a phone.
"""

import dataclasses
import html
import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib import dates as mdates
from matplotlib import ticker as mticker

from ploutos_jax.evaluate.report.plot_style import LOG_RANGE, dollar_labels, spread_labels

Unit = Literal["dollars", "percent", "number"]

MOST_POINTS = 1200
"""Longer lines are thinned to about this many points, the lowest and highest of each stretch."""

_SIZE = 1000
"""Side of the stretched drawing, in its own units."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis: what its ends stand for.

    Attributes:
        low, high: values at the two ends.
        unit: how values are written.
        log: True for a logarithmic scale.
    """

    low: float
    high: float
    unit: Unit = "number"
    log: bool = False

    def share(self, values: np.ndarray | float) -> np.ndarray:
        """Return where values lie between the ends, 0 to 1."""
        low, high = (np.log(self.low), np.log(self.high)) if self.log else (self.low, self.high)
        values = np.log(values) if self.log else np.asarray(values, np.float64)
        return (values - low) / (high - low)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Return values for grid lines and their labels."""
        if self.log:
            span = self.high / self.low
            subs = (1, 2, 5) if span > 20 else (1, 1.5, 2, 3, 5, 7)
            values = mticker.LogLocator(subs=subs).tick_values(self.low, self.high)
        else:
            values = mticker.MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        inside = [float(v) for v in values if self.low - 1e-12 <= v <= self.high * (1 + 1e-12) + 1e-12]
        return list(zip(inside, self._labels(inside), strict=True))

    def _labels(self, values: list[float]) -> list[str]:
        if self.unit == "dollars":
            return _short_dollars(values)
        size, sign = (100, "%") if self.unit == "percent" else (1, "")
        return [f"{size * value:.4g}{sign}".replace("-", "−") for value in values]


def money_axis(lowest: float, highest: float) -> Axis:
    """Return an axis of dollars with some room, logarithmic if the values span more than `LOG_RANGE`."""
    if lowest > 0 and highest / lowest > LOG_RANGE:
        room = (highest / lowest) ** 0.04
        return Axis(lowest / room, highest * room, "dollars", log=True)
    room = 0.05 * (highest - lowest) or 0.01 * abs(highest) or 1.0
    return Axis(lowest - room, highest + room, "dollars")


def share_axis(lowest: float, highest: float, unit: Unit = "percent", room: float = 0.06) -> Axis:
    """Return an axis with some room beyond what is not 0, and 0 itself at an end if all lies on one side."""
    space = room * (highest - lowest) or 0.01
    low = min(lowest - space, 0.0) if lowest < 0 else 0.0
    high = max(highest + space, 0.0) if highest > 0 else 0.0
    return Axis(low, high if high > low else low + 0.01, unit)


def time_axis(times: np.ndarray) -> Axis:
    """Return the axis of dates, in days since 1970."""
    days = days_of(times)
    first, last = float(days[0]), float(days[-1])
    return Axis(first, last if last > first else first + 1.0)


def days_of(times: np.ndarray) -> np.ndarray:
    """Return dates as days since 1970, with fractions."""
    return np.asarray(times).astype("datetime64[ns]").astype(np.int64) / 86_400e9


def date_ticks(x: Axis) -> list[tuple[float, str]]:
    """Return days since 1970 and labels for the axis of dates."""
    locator = mdates.AutoDateLocator(minticks=4, maxticks=9)
    first, last = (mdates.num2date(value).replace(tzinfo=None) for value in (x.low, x.high))
    values = [float(value) for value in locator.tick_values(first, last)]
    labels = mdates.ConciseDateFormatter(locator, show_offset=False).format_ticks(values)
    return [(v, text) for v, text in zip(values, labels, strict=True) if x.low <= v <= x.high]


def line(x: Axis, y: Axis, at: np.ndarray, values: np.ndarray, color: str, *, kind: str = "", name: str = "") -> str:
    """Return a line through points; a NaN breaks it.

    Args:
        x, y: axes.
        at, values: `[N]` in the units of the axes.
        color: a variable of the style sheet without its dashes, such as `c1`.
        kind: further classes of the style sheet (`strong`, `dashed`).
        name: what the readout under the pointer calls the line; without one it is not read.
    """
    values = np.asarray(values, np.float64)
    pieces = []
    for piece in _known_pieces(values):
        rows = piece[thin(values[piece])]
        pieces.append("M" + _points(x, y, at[rows], values[rows]))
    data = ""
    if name:
        drawn = np.concatenate([piece[thin(values[piece])] for piece in _known_pieces(values)] or [np.zeros(0, int)])
        data = f" data-name='{html.escape(name, quote=True)}'{_readout(np.asarray(at)[drawn], values[drawn], y.unit)}"
    return f"<path class='line {kind}' style='stroke:var(--{color})'{data} d='{''.join(pieces)}'/>"


def _readout(days: np.ndarray, values: np.ndarray, unit: str) -> str:
    """Return the times and values of a line's points as attributes: what is read under the pointer is what is known.

    Rebuilt from the drawing they would be off by its rounding. Times are minutes since 1970, or days where all are
    whole days, each after the first as the difference to the one before.
    """
    minutes = np.round(days * 1440).astype(np.int64)
    whole = bool((minutes % 1440 == 0).all())
    steps = np.diff(minutes // 1440 if whole else minutes, prepend=0)
    texts = (f"{value:.2f}" if unit == "dollars" else f"{value:.6g}" for value in values)
    return f" data-t='{'d' if whole else 'm'} {' '.join(map(str, steps))}' data-v='{' '.join(texts)}'"


def area(
    x: Axis, y: Axis, at: np.ndarray, top: np.ndarray, bottom: np.ndarray | float, color: str, *, opacity: float = 0.2
) -> str:
    """Return the area between two lines, both `[N]` without NaN."""
    top = np.asarray(top, np.float64)
    bottom = np.broadcast_to(np.asarray(bottom, np.float64), top.shape)
    rows = thin(top if np.ptp(bottom) == 0 else top + bottom)
    back = rows[::-1]
    path = f"M{_points(x, y, at[rows], top[rows])}L{_points(x, y, at[back], bottom[back])}Z"
    return f"<path style='fill:var(--{color});fill-opacity:{opacity:g}' d='{path}'/>"


def bars(x: Axis, y: Axis, edges: np.ndarray, heights: np.ndarray, color: str) -> str:
    """Return one path of upright bars between `[K+1]` edges, from 0 to `[K]` heights."""
    left, right = _SIZE * x.share(edges[:-1]), _SIZE * x.share(edges[1:])
    base, top = float(_SIZE * (1 - y.share(0.0))), _SIZE * (1 - y.share(heights))
    gap = 0.08 * (right - left)
    boxes = [
        f"M{_short(a)} {_short(base)}V{_short(t)}H{_short(b)}V{_short(base)}Z"
        for a, b, t, h in zip(left + gap, right - gap, top, heights, strict=True)
        if h != 0
    ]
    return f"<path style='fill:var(--{color})' d='{''.join(boxes)}'/>"


def band(x: Axis, first: float, last: float, color: str, label: str = "") -> str:
    """Return an upright band between two places of the x axis, with a label on top of it."""
    a, b = (100 * float(np.clip(x.share(value), 0, 1)) for value in (first, last))
    place = f"x='{a:.2f}%' y='0' width='{max(b - a, 0.15):.2f}%' height='100%'"
    box = f"<rect class='band' style='fill:var(--{color})' {place}/>"
    if not label:
        return box
    middle = min(max((a + b) / 2, 4.0), 96.0)
    return f"{box}<text class='note' x='{middle:.2f}%' y='12' text-anchor='middle'>{html.escape(label)}</text>"


def upright(x: Axis, at: float, color: str, label: str, row: int = 0) -> str:
    """Return an upright line with a label beside its top, `row` lines down."""
    share = 100 * float(x.share(at))
    anchor, shift = ("start", 5) if share < 60 else ("end", -5)
    return (
        f"<line class='mark' style='stroke:var(--{color})' x1='{share:.2f}%' x2='{share:.2f}%' y1='0' y2='100%'/>"
        f"<text style='fill:var(--{color})' x='{share:.2f}%' dx='{shift}' y='{12 + 16 * row}'"
        f" text-anchor='{anchor}'>{html.escape(label)}</text>"
    )


def marks(x: Axis, y: Axis, at: np.ndarray, values: np.ndarray, symbol: str, color: str) -> str:
    """Return symbols of the page (see `page_style.SYMBOLS`) at points; they keep their shape and size."""
    places = zip(100 * x.share(at), 100 * (1 - y.share(values)), strict=True)
    uses = [f"<use href='#{symbol}' x='{_short(a)}%' y='{_short(b)}%'/>" for a, b in places]
    return f"<g style='color:var(--{color})'>{''.join(uses)}</g>"


def plot(
    x: Axis,
    y: Axis,
    *,
    stretched: Sequence[str] = (),
    placed: Sequence[str] = (),
    ends: Sequence[tuple[str, float, str]] = (),
    x_ticks: Sequence[tuple[float, str]] | None = None,
    height: int = 200,
    words: str = "",
    dated: bool = True,
    show_dates: bool = True,
) -> str:
    """Return one chart.

    Args:
        x, y: axes.
        stretched: lines and areas, the first one lowest.
        placed: bands, marks and upright lines; bands lie under the lines, the others above.
        ends: name, last value and colour of the lines that are named at their right ends, on a wide screen.
        x_ticks: places and labels of the x axis; dates without them.
        height: pixels.
        words: what the chart shows, for those who cannot see it.
        dated: True where x is in days since 1970; the readout under the pointer needs it.
        show_dates: False where a chart below shows the same axis.
    """
    grid = [_grid_line(y, value, text) for value, text in y.ticks(max(3, height // 45))]
    ticks = _x_labels(x, date_ticks(x) if x_ticks is None else x_ticks) if show_dates else ""
    under = [item for item in placed if item.startswith("<rect class='band'")]
    above = [item for item in placed if not item.startswith("<rect class='band'")]
    inner = f"<svg viewBox='0 0 {_SIZE} {_SIZE}' preserveAspectRatio='none' width='100%' height='100%'>"
    scale = f" data-unit='{y.unit}'" if dated else ""
    classes = "plot" + (" ends" if ends else "") + ("" if show_dates else " joined")
    return (
        f"<div class='{classes}' style='--h:{height}px'{scale}>"
        f"<svg role='img' aria-label='{html.escape(words, quote=True)}'>"
        f"{''.join(under)}{''.join(grid)}{inner}{''.join(stretched)}</svg>{''.join(above)}{ticks}"
        f"{_end_labels(y, ends, height)}</svg></div>"
    )


def legend(entries: Sequence[tuple[str, str]], kind: str = "") -> str:
    """Return names with a swatch of their colour.

    Args:
        entries: name and colour of each.
        kind: `phone` for a legend that only a narrow screen shows.
    """
    items = [f"<span><i style='background:var(--{color})'></i>{html.escape(name)}</span>" for name, color in entries]
    return f"<div class='legend {kind}'>{''.join(items)}</div>"


def thin(values: np.ndarray) -> np.ndarray:
    """Return the rows to draw: all, or of each stretch the lowest and the highest, with the first and the last row."""
    size = values.size
    if size <= MOST_POINTS:
        return np.arange(size)
    edges = np.linspace(0, size, MOST_POINTS // 2 + 1).astype(np.int64)
    stretches = list(itertools.pairwise(edges))
    low = [a + int(np.argmin(values[a:b])) for a, b in stretches]
    high = [a + int(np.argmax(values[a:b])) for a, b in stretches]
    return np.unique(np.concatenate([[0, size - 1], low, high]))


def _known_pieces(values: np.ndarray) -> list[np.ndarray]:
    known = np.flatnonzero(np.isfinite(values))
    return [piece for piece in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1) if piece.size]


def _points(x: Axis, y: Axis, at: np.ndarray, values: np.ndarray) -> str:
    places = zip(_SIZE * x.share(at), _SIZE * (1 - y.share(values)), strict=True)
    return "L".join(f"{_short(a)} {_short(b)}" for a, b in places)


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _short_dollars(values: list[float]) -> list[str]:
    """Return `$200k` or `$1.25M` where the ticks are that large, so that they fit a narrow margin."""
    largest = max(map(abs, values), default=0.0)
    size, letter = (1e6, "M") if largest >= 2e6 else (1e3, "k") if largest >= 1e4 else (1.0, "")
    return [label + letter for label in dollar_labels([value / size for value in values])]


def _grid_line(y: Axis, value: float, text: str) -> str:
    place = 100 * (1 - float(y.share(value)))
    kind = " class='zero'" if value == 0 else ""
    return (
        f"<line{kind} x1='0' x2='100%' y1='{place:.2f}%' y2='{place:.2f}%'/>"
        f"<text x='-8' y='{place:.2f}%' dy='4' text-anchor='end'>{html.escape(text)}</text>"
    )


def _x_labels(x: Axis, ticks: Sequence[tuple[float, str]]) -> str:
    texts = []
    years = [text.isdigit() and len(text) == 4 for _, text in ticks]
    # A narrow screen has room for about five: the years if there are several, else every other one.
    kept = years if sum(years) > 1 else [i % 2 == 0 for i in range(len(ticks))]
    for i, (value, text) in enumerate(ticks):
        share = 100 * float(x.share(value))
        anchor = "start" if share < 2 else "end" if share > 98 else "middle"
        kind = "" if kept[i] or len(ticks) <= 5 else " class='few'"
        texts.append(f"<text{kind} x='{share:.2f}%' y='100%' dy='18' text-anchor='{anchor}'>{html.escape(text)}</text>")
    return "".join(texts)


def _end_labels(y: Axis, ends: Sequence[tuple[str, float, str]], height: int) -> str:
    if not ends:
        return ""
    wanted = np.array([1.0 - float(y.share(value)) for _, value, _ in ends])
    places = spread_labels(wanted, 17.0 / height)
    items = []
    for i, ((name, _, color), from_, to) in enumerate(zip(ends, wanted, places, strict=True)):
        kind = "end strong" if i == 0 else "end"
        # The leader is a nested drawing of its own, so that its two ends can be given in different units.
        items.append(
            f"<text class='{kind}' style='fill:var(--{color})' x='100%' dx='16' y='{100 * to:.2f}%' dy='4'>"
            f"{html.escape(name)}</text>"
            f"<svg class='leader' x='100%' width='13' height='100%'><line style='stroke:var(--{color})' x1='1' x2='13'"
            f" y1='{100 * from_:.2f}%' y2='{100 * to:.2f}%'/></svg>"
        )
    return "".join(items)
