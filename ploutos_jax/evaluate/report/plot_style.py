"""How a picture looks: colours, sizes, axes, legends and labels; knows nothing of what is drawn.

Only Matplotlib's Figure objects are used, never its global state, so pictures can be drawn in any thread and without
a display. Texts never go through its math parser: a dollar sign is a dollar sign.
"""

import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import dates as mdates
from matplotlib import ticker as mticker
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

LOG_RANGE = 4.0
"""Money that spans more than this factor is drawn on a logarithmic scale."""

MOST_BARS = 4000
"""Filled areas are thinned to about this many bars: more than a picture has pixels."""


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours and size of a picture.

    Attributes:
        paper, ink, faint, grid: colours of background, text, secondary text and grid lines.
        agent: colour of the strategy under test.
        others: colours of the baselines, in their order.
        exits: colour of a sell by its reason.
        width, height: inches of a full picture, at `dpi` pixels per inch.
        text: points of ordinary text.
        line: points of a thin line.
    """

    paper: str = "#ffffff"
    ink: str = "#1b2430"
    faint: str = "#66717f"
    grid: str = "#e6e9ee"
    agent: str = "#1f5fe0"
    others: tuple[str, ...] = (
        *("#d97706", "#0f9d76", "#c2408f", "#7a5af0", "#8a6d3b", "#0c8fb3"),
        *("#c0392b", "#6b8e23", "#3d4f9f", "#d9a400", "#5b6b7a", "#e0728c"),
    )
    exits: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: {
            "order": "#1f5fe0",
            "stop": "#d43d3d",
            "target": "#12936b",
            "trailing": "#d97706",
            "time": "#7a5af0",
            "halt": "#1b2430",
            "delisted": "#8a6d3b",
        }
    )
    width: float = 16.0
    height: float = 11.0
    dpi: int = 100
    text: float = 12.5
    line: float = 1.4


LIGHT = Look()


class Picture(Figure):
    """A figure that a notebook shows without `matplotlib.pyplot`, whose global state nothing here touches."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


def to_png(figure: Figure) -> bytes:
    """Return the picture as the bytes of a PNG file with a palette, a third of the size of one without."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    pixels.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG")
    return buffer.getvalue()


def new_figure(look: Look, height: float, *, tick_chars: int, name_chars: int) -> Figure:
    """Return an empty figure whose margins hold what is written around the axes.

    Args:
        look: colours and size.
        height: inches.
        tick_chars: length of the longest number on the vertical axes.
        name_chars: length of the longest text to the right of the axes; 0 for none.
    """
    figure = Picture(figsize=(look.width, height), dpi=look.dpi, facecolor=look.paper)
    letter = 0.62 * look.text / 72
    figure.subplots_adjust(
        left=(2.0 * look.text / 72 + letter * tick_chars) / look.width,
        right=1.0 - (0.15 + (0.5 + letter * name_chars if name_chars else 0.0)) / look.width,
        top=1.0 - 1.3 / height,
        bottom=2.8 * look.text / 72 / height,
    )
    return figure


def write_headline(figure: Figure, title: str, subtitle: str, look: Look) -> None:
    """Write the title and, below it, what it covers."""
    height = figure.get_size_inches()[1]
    shared = {"x": 0.32 / look.width, "va": "top", "parse_math": False}
    figure.text(y=1 - 0.28 / height, s=title, fontsize=18.0, fontweight="bold", color=look.ink, **shared)
    figure.text(y=1 - 0.68 / height, s=subtitle, fontsize=look.text, color=look.faint, **shared)


def style_axes(axes: Axes, look: Look, label: str) -> None:
    """Leave of the axes a label, light horizontal lines and numbers."""
    axes.set_facecolor(look.paper)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(look.faint)
    axes.grid(True, axis="y", color=look.grid, linewidth=1.0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=look.faint, labelsize=look.text, length=0, which="both")
    axes.set_title(label, loc="left", fontsize=look.text, color=look.ink, pad=8)


def date_axis(axes: Axes, times: np.ndarray, look: Look) -> None:
    """Fit the horizontal axis to the dates and label it shortly."""
    first, last = times[0], times[-1]
    axes.set_xlim(first, last if last > first else first + np.timedelta64(1, "D"))  # type: ignore[arg-type]  # its stubs know floats
    locator = mdates.AutoDateLocator(minticks=3, maxticks=11)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, show_offset=False))
    axes.tick_params(axis="x", length=4, color=look.faint)


def money_axis(axes: Axes, lowest: float, highest: float) -> None:
    """Fit the vertical axis to dollars, on a logarithmic scale if they span more than `LOG_RANGE`."""
    if lowest > 0 and highest / lowest > LOG_RANGE:
        space = (highest / lowest) ** 0.04
        axes.set_yscale("log")
        axes.set_ylim(lowest / space, highest * space)
        axes.yaxis.set_major_locator(
            mticker.LogLocator(subs=(1, 2, 5) if highest / lowest > 20 else (1, 1.5, 2, 3, 5, 7))
        )
        axes.yaxis.set_minor_locator(mticker.NullLocator())
    else:
        space = 0.04 * (highest - lowest) or 0.01 * abs(highest)
        axes.set_ylim(lowest - space, highest + space)
    axes.yaxis.set_major_formatter(_Dollars())


class _Dollars(mticker.Formatter):
    """Labels of a dollar axis."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        return dollar_labels(values)

    def __call__(self, x: float, pos: int | None = None) -> str:
        return dollar_labels([x])[0]


def dollar_labels(values: Sequence[float]) -> list[str]:
    """Return ticks as dollars, all with the digits that tell them apart: none, cents, or more."""
    close = 1e-6 * max(map(abs, values), default=0.0)
    digits = next((d for d in (0, 2, 3, 4, 5, 6) if all(abs(v - round(v, d)) <= close for v in values)), 8)
    return [f"{'−' if value < 0 else ''}${abs(value):,.{digits}f}" for value in values]


def percent_axis(axes: Axes, lowest: float, highest: float) -> None:
    """Fit the vertical axis to shares of one."""
    axes.set_ylim(lowest, highest)
    axes.yaxis.set_major_locator(mticker.MaxNLocator(4))
    # `%g` of the percentage keeps 2.5 % from reading as 2 %.
    axes.yaxis.set_major_formatter(mticker.FuncFormatter(lambda value, _: f"{100 * value:.4g}%".replace("-", "−")))


def add_legend(axes: Axes, handles: Sequence[Artist], look: Look, *, columns: int = 1, beside: bool = False) -> None:
    """Add a legend without a frame: above the axes on the right, or beside them."""
    legend = axes.legend(
        handles=list(handles),
        ncols=1 if beside else columns,
        frameon=False,
        fontsize=look.text,
        handlelength=1.2,
        handletextpad=0.6,
        columnspacing=1.2,
        borderaxespad=0.1,
        labelcolor=look.faint,
        loc="center left" if beside else "lower right",
        bbox_to_anchor=(1.008, 0.5) if beside else (1.0, 1.0),
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def label_ends(axes: Axes, names: Sequence[str], values: Sequence[float], colors: Sequence[str], look: Look) -> None:
    """Write each name beside the right end of its line, the first one bold, pushed apart so that none overlap.

    Args:
        axes: with their final limits.
        names, values, colors: label, last value and colour of each line.
        look: colours and size.
    """
    figure = axes.figure
    to_share = axes.transData + axes.transAxes.inverted()
    ends = np.array([to_share.transform((0.0, value))[1] for value in values])
    height = axes.get_position().height * figure.get_figure(root=True).get_size_inches()[1]  # type: ignore[union-attr]  # axes have one
    places = spread_labels(ends, 1.45 * look.text / 72 / height)
    for i, (name, color) in enumerate(zip(names, colors, strict=True)):
        axes.annotate(
            name,
            xy=(1.0, ends[i]),
            xytext=(1.018, places[i]),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=color,
            fontsize=look.text,
            fontweight="bold" if i == 0 else "normal",
            va="center",
            parse_math=False,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.8, "shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)},
        )


def spread_labels(targets: np.ndarray, gap: float) -> np.ndarray:
    """Return places near `targets` that are at least `gap` apart, moved as little as possible (least squares).

    Args:
        targets: `[places]` wanted places, in any order, as shares of the axis.
        gap: smallest distance between two places.
    """
    order = np.argsort(targets, kind="stable")
    # With the gaps taken out, "at least gap apart" reads "not decreasing": pool neighbours that are out of order.
    blocks: list[tuple[float, int]] = []
    for rank, target in enumerate(np.asarray(targets)[order]):
        mean, count = float(target) - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, size = blocks.pop()
            mean, count = (before * size + mean * count) / (size + count), size + count
        blocks.append((mean, count))
    sorted_places = np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])
    places = np.empty(len(order))
    places[order] = sorted_places + gap * np.arange(len(order))
    return places


def thin_bars(times: np.ndarray, values: np.ndarray, extreme: np.ufunc) -> tuple[np.ndarray, np.ndarray]:
    """Return about `MOST_BARS` bars at most, each standing for the `extreme` (minimum or maximum) of its neighbours."""
    step = -(-values.size // MOST_BARS)
    starts = np.arange(0, values.size, step)
    return times[starts], extreme.reduceat(values, starts)


def shorten(name: str, length: int) -> str:
    """Return the name, cut to `length` characters if it is longer."""
    return name if len(name) <= length else name[: length - 1] + "…"


def dollars(value: float, smallest: float = 20.0) -> str:
    """Return `$1,234`, with cents where the numbers beside it are small."""
    digits = 0 if abs(smallest) >= 20 else 2
    return f"{'−' if round(value, digits) < 0 else ''}${abs(value):,.{digits}f}"


def percent(value: float, sign: str = "") -> str:
    """Return `12.3%`, with a `+` before gains if `sign` is `+`; 0 has no sign."""
    text = f"{value:{sign},.1%}"
    return "0.0%" if text.lstrip("+-") == "0.0%" else text.replace("-", "−")
