"""Draw what each stress scenario does to one ticker on a page, to look it over.

python scripts/plot_stress.py --data data/sp500.parquet --ticker AAPL --output stress.png
"""

import dataclasses
import sys
from typing import Any

import jax
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ploutos_jax.cli.terminal import exit_codes
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.stress.apply import SCENARIOS, Shock, stress

USUAL, STRESSED, WINDOW = "#8a919e", "#a4343a", "#f6e7d8"
NUM_COLUMNS = 2
_COMPANY = 50
"""Other tickers that are read besides, so that there is a market."""


@dataclasses.dataclass(frozen=True)
class Page:
    """Draw the stress scenarios on one ticker.

    Attributes:
        data: market file or folder.
        ticker: whose bars; the first ticker of the data without it.
        output: picture to write, by its ending PNG, PDF or SVG.
        severity: from 0 (mildest) to 1.
        seed: of where each shock begins and of the luck in it.
    """

    data: str
    output: str
    ticker: str | None = None
    severity: float = 0.5
    seed: int = 0


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = tyro.cli(Page, args=args)
    panel = load_panel(wanted.data)
    ticker = wanted.ticker or panel.symbols[0]
    company = [symbol for symbol in panel.symbols if symbol != ticker][:_COMPANY]
    panel = panel.select([ticker, *company])
    draw(panel, wanted.severity, wanted.seed).savefig(wanted.output)
    print(f"{len(SCENARIOS)} scenarios on {ticker}: {wanted.output}")
    return 0


def draw(panel: Panel, severity: float, seed: int) -> Figure:
    """Return the page: for each scenario the first asset's bars around the shock, as they were and as they are now."""
    num_lines = -(-len(SCENARIOS) // NUM_COLUMNS)
    figure = Figure(figsize=(12, 2.5 * num_lines + 0.7), dpi=75, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(num_lines, NUM_COLUMNS, squeeze=False).ravel()
    for axis, scenario in zip(axes, SCENARIOS, strict=False):
        # Of the assets that a halt may hit, the one drawn has to be one.
        stressed, shock = stress(jax.random.key(seed), panel, scenario, severity)
        for attempt in range(1, 200):
            if bool(shock.assets[0]):
                break
            stressed, shock = stress(jax.random.key(seed + 1000 * attempt), panel, scenario, severity)
        _plot(axis, panel, stressed, shock, scenario)
    for axis in axes[len(SCENARIOS) :]:
        axis.set_axis_off()
    figure.suptitle(f"{panel.symbols[0]} under stress of severity {severity:g}", fontsize=12)
    lines = [
        Line2D([], [], color=USUAL, linewidth=1.5, label="as it was: low to high, and close"),
        Line2D([], [], color=STRESSED, linewidth=1.5, label="stressed"),
        Line2D([], [], color=WINDOW, linewidth=7, label="the shock"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), fontsize=8, frameon=False)
    return figure


def _plot(axis: Axes, panel: Panel, stressed: Panel, shock: Shock, scenario: str) -> None:
    first, last = int(shock.first), int(shock.last)
    around = max(15, min(120, last - first + 1))
    rows = slice(max(0, first - around), min(panel.num_bars, last + 1 + around))
    bars = np.arange(rows.start, rows.stop)
    axis.axvspan(first - 0.5, last + 0.5, color=WINDOW, linewidth=0)
    for bar_source, color in ((panel, USUAL), (stressed, STRESSED)):
        low, high, close = (np.asarray(getattr(bar_source, name))[rows, 0] for name in ("low", "high", "close"))
        axis.vlines(bars, low, high, color=color, linewidth=0.9, alpha=0.8)
        axis.plot(bars, close, color=color, linewidth=0.9)
    axis.set_title(scenario.replace("_", " "), fontsize=9, loc="left", fontweight="bold", pad=12)
    axis.text(0, 1.03, _figures(panel, stressed, shock), transform=axis.transAxes, fontsize=7, color="#666666")
    ticks = np.linspace(rows.start, rows.stop - 1, 5).astype(int)[:-1]
    axis.set_xticks(ticks, [str(panel.times[tick])[:10] for tick in ticks])
    axis.set_xlim(rows.start - 1, rows.stop)
    axis.tick_params(labelsize=7, length=2, pad=1.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#eeeeee", linewidth=0.6)


def _figures(panel: Panel, stressed: Panel, shock: Shock) -> str:
    """Return in words what the shock did within its rows, beside what had been there."""
    first, last = int(shock.first), int(shock.last)
    parts = ["1 bar" if last == first else f"{last - first + 1} bars"]
    volumes = [np.asarray(x.volume)[first : last + 1].sum() for x in (panel, stressed)]
    if abs(volumes[1] / max(volumes[0], 1) - 1) > 0.01:
        parts.append(f"volume x {volumes[1] / volumes[0]:.2g}")
    for name, word in (("spread_scale", "spread"), ("impact_scale", "impact")):
        scale = getattr(stressed, name)
        if scale is not None:
            parts.append(f"{word} x {float(np.asarray(scale)[first, 0]):.3g}")
    if last - first >= 10 and np.isfinite(stressed.close[first, 0]):
        measured = [_measure(x, first, last) for x in (panel, stressed)]
        parts.append(f"volatility {measured[0][0]:.0%} -> {measured[1][0]:.0%}")
        parts.append(f"mean correlation {measured[0][1]:.2f} -> {measured[1][1]:.2f}")
    return ", ".join(parts)


def _measure(panel: Panel, first: int, last: int) -> tuple[float, float]:
    """Return a year's volatility of the first asset, and the mean correlation of those that have all bars."""
    close = np.asarray(panel.close, np.float64)[first - 1 : last + 1]
    returns = np.diff(np.log(close), axis=0)
    whole = returns[:, np.isfinite(returns).all(axis=0)]
    own = returns[:, 0][np.isfinite(returns[:, 0])]
    pairs = np.corrcoef(whole.T)[np.triu_indices(whole.shape[1], 1)] if whole.shape[1] > 1 else np.ones(1)
    return float(own.std() * panel.calendar.bars_per_year**0.5) if own.size else 0.0, float(pairs.mean())


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
