"""Draw every feature of one ticker on a page, to look them over.

python scripts/plot_features.py --data data/sp500.parquet --ticker AAPL --output features.png
python scripts/plot_features.py --data data/sp500.parquet --ticker AAPL --form textbook --output features.png
"""

import dataclasses
import sys
from typing import Any, Literal

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, ScalarFormatter

from ploutos_jax.cli.terminal import exit_codes
from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURE_SETS
from ploutos_jax.market.features.compute import CLIP
from ploutos_jax.market.features.docs import FAMILIES
from ploutos_jax.market.features.raw import raw_features, raw_form
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel

COLORS = ("#4c566a", "#1f6f8b", "#3a7d44", "#b5651d", "#6a4c93", "#99582a", "#a4343a")
UNKNOWN = "#e9e9ee"
NUM_COLUMNS = 6
_NUM_BARS = 504
_COMPANY = 50
"""Other tickers that are read besides, so that features across assets say something."""


@dataclasses.dataclass(frozen=True)
class Page:
    """Draw the features of one ticker.

    Attributes:
        data: market file or folder.
        ticker: whose features; the first ticker of the data without it.
        output: picture to write, by its ending PNG, PDF or SVG.
        start: first date drawn; the last 504 bars without it. Features know the bars before it.
        end: last date drawn.
        features: name of the feature set.
        form: `network` is what a policy sees, `textbook` the indicators in their own units.
    """

    data: str
    output: str
    ticker: str | None = None
    start: str | None = None
    end: str | None = None
    features: str = "standard"
    form: Literal["network", "textbook"] = "network"


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = tyro.cli(Page, args=args)
    panel = load_panel(wanted.data)
    ticker = wanted.ticker or panel.symbols[0]
    company = [symbol for symbol in panel.symbols if symbol != ticker][:_COMPANY]
    panel = panel.select([ticker, *company])
    rows = panel.find_rows(wanted.start, wanted.end)
    if wanted.start is None:
        rows = slice(max(rows.start, rows.stop - _NUM_BARS), rows.stop)
    values = _values(panel, wanted.features, wanted.form)
    figure = draw(panel, {name: x[rows] for name, x in values.items()}, rows, wanted.form)
    figure.savefig(wanted.output)
    print(f"{len(values)} features of {ticker}: {wanted.output}")
    return 0


def _values(panel: Panel, features: str, form: str) -> dict[str, np.ndarray]:
    """Return the first asset's features by name, NaN where not known."""
    if features not in FEATURE_SETS:
        raise ValueError(f"features={features!r} is unknown; known are {', '.join(FEATURE_SETS)}.")
    if form == "textbook":
        return {name: np.asarray(x[:, 0]) for name, x in raw_features(panel, features).items()}
    market = build_market(panel, features)
    table = np.asarray(market.features[:, 0])
    own_bar = np.cumsum(np.isfinite(np.asarray(panel.close)[:, 0])) - 1
    known = {feature.name: own_bar >= feature.warm_up for family in FAMILIES.values() for feature in family}
    has_bar = table[:, -1] > 0
    return {name: np.where(known[name] & has_bar, table[:, i], np.nan) for i, name in enumerate(FEATURE_SETS[features])}


def draw(panel: Panel, values: dict[str, np.ndarray], rows: slice, form: str) -> Figure:
    """Return the page: the close, then a small plot for each feature, coloured by family.

    Args:
        panel: of which the first asset is drawn.
        values: by feature name, over the rows drawn.
        rows: rows of the panel that are drawn.
        form: `network` or `textbook`; says where the scale comes from.
    """
    chosen = [
        (color, feature)
        for color, family in zip(COLORS, FAMILIES.values(), strict=True)
        for feature in family
        if feature.name in values
    ]
    num_lines = -(-(len(chosen) + 1) // NUM_COLUMNS)
    figure = Figure(figsize=(3.3 * NUM_COLUMNS, 1.55 * num_lines + 0.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(num_lines, NUM_COLUMNS, squeeze=False).ravel()
    times = panel.times[rows]
    close = np.asarray(total_return(panel).close)[rows, 0]
    _plot(axes[0], times, close, "black", "close", "total-return price")
    for axis, (color, feature) in zip(axes[1:], chosen, strict=False):
        formula = feature.formula if form == "network" else raw_form(feature).formula
        _plot(axis, times, values[feature.name], color, feature.name, formula)
        if form == "network":
            _show_bounds(axis, feature.low, feature.high)
    for axis in axes[len(chosen) + 1 :]:
        axis.set_axis_off()
    figure.suptitle(f"{panel.symbols[0]}, {form} form, {str(times[0])[:10]} to {str(times[-1])[:10]}", fontsize=12)
    drawn = {color for color, _ in chosen}
    families = [(name, color) for name, color in zip(FAMILIES, COLORS, strict=True) if color in drawn]
    lines = [Line2D([], [], color=color, linewidth=2, label=name) for name, color in families]
    lines.append(Line2D([], [], color=UNKNOWN, linewidth=6, label="not known"))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)
    return figure


def _plot(axis: Axes, times: np.ndarray, x: np.ndarray, color: str, name: str, formula: str) -> None:
    # Against the number of the bar: nights and weekends would be drawn as slopes.
    bars = np.arange(len(x))
    axis.plot(bars, x, color=color, linewidth=0.7)
    axis.set_title(name, fontsize=8, loc="left", pad=11, fontweight="bold")
    shown = formula if len(formula) < 58 else formula[:56] + "…"
    axis.text(0, 1.04, shown.replace("$", ""), transform=axis.transAxes, fontsize=6, color="#666666")
    unknown = ~np.isfinite(x)
    axis.fill_between(bars, 0, 1, where=unknown, transform=axis.get_xaxis_transform(), color=UNKNOWN, linewidth=0)
    axis.set_xlim(0, max(len(x) - 1, 1))
    ticks = np.linspace(0, len(x) - 1, 5).astype(int)[:-1]
    is_long = times[-1] - times[0] > np.timedelta64(150, "D")
    axis.set_xticks(ticks, [str(times[tick])[: 7 if is_long else 10] for tick in ticks])
    axis.tick_params(labelsize=6, length=2, pad=1.5)
    axis.yaxis.set_major_formatter(EngFormatter(sep="", usetex=False) if _is_large(x) else ScalarFormatter())
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#eeeeee", linewidth=0.6)


def _is_large(x: np.ndarray) -> bool:
    return bool(np.isfinite(x).any()) and float(np.nanmax(np.abs(x))) > 1e4


def _show_bounds(axis: Axes, low: float, high: float) -> None:
    bottom, top = axis.get_ylim()
    for bound in (0.0, max(low, -CLIP), min(high, CLIP)):
        if bottom <= bound <= top:
            axis.axhline(bound, color="#bbbbbb", linewidth=0.6, linestyle="-" if bound == 0 else ":", zorder=0)


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
