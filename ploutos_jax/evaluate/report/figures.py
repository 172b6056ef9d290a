"""Ledgers to pictures: the account against its baselines, and the trades in one ticker."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.report import plot_style
from ploutos_jax.evaluate.report.plot_style import LIGHT, Look
from ploutos_jax.evaluate.round_trips import OPEN


def draw_equity(
    ledger: Ledger,
    baselines: Mapping[str, Ledger],
    *,
    benchmark: Ledger | None = None,
    title: str = "",
    look: Look = LIGHT,
) -> Figure:
    """Return equity, drawdown, and exposure with turnover, in three panels over one time axis.

    Args:
        ledger: the strategy under test, drawn bold and on top; exposure and turnover are its own.
        baselines: other strategies over the same bars by name, scaled to the same initial cash.
        benchmark: drawn dashed, if given.
        title: the first line; the second states span and costs.
        look: colours and size.
    """
    curves = _curves(ledger, baselines, benchmark, look)
    lowest = min(curve.equity.min() for curve in curves)
    highest = max(curve.equity.max() for curve in curves)
    figure = plot_style.new_figure(
        look,
        look.height,
        tick_chars=len(plot_style.dollars(highest, lowest)),
        name_chars=max(18, *(len(curve.label) for curve in curves)),
    )
    grid = figure.add_gridspec(3, 1, height_ratios=(3.2, 1.25, 1.25), hspace=0.2)
    top, middle, bottom = (figure.add_subplot(grid[i]) for i in range(3))
    for axes, label in ((top, "Equity"), (middle, "Drawdown"), (bottom, "Share of equity")):
        plot_style.style_axes(axes, look, label)
        plot_style.date_axis(axes, ledger.times, look)
        if axes is not bottom:
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="x", length=0, labelbottom=False)

    plot_style.money_axis(top, lowest, highest)
    top.axhline(ledger.equity[0], color=look.faint, linewidth=0.8, zorder=2)
    for curve in curves:
        top.plot(ledger.times, curve.equity, curve.dashes, color=curve.color, lw=curve.width, zorder=curve.order)
    labels, ends, colors = zip(*((c.label, c.equity[-1], c.color) for c in curves), strict=True)
    plot_style.label_ends(top, labels, ends, colors, look)
    _draw_drawdowns(middle, ledger, curves, look)
    _draw_exposure(bottom, ledger, look)
    title = title or (f"{ledger.name} against its baselines" if len(curves) > 1 else ledger.name)
    plot_style.write_headline(figure, title, f"{describe_span(ledger)} · net of costs", look)
    return figure


def draw_trades(ledger: Ledger, ticker: str, *, look: Look = LIGHT) -> Figure:
    """Return the close of one ticker with every buy and sell at its fill price, and the spans held shaded.

    Prices before a split are restated in the shares of the last bar.

    Args:
        ledger: the strategy.
        ticker: one of `ledger.symbols`.
        look: colours and size.
    """
    column = ledger.symbols.index(ticker)
    scale = np.ones(ledger.times.size)
    if ledger.split_factor is not None:
        scale = ledger.split_factor[:, column] / ledger.split_factor[-1, column]
    close = np.asarray(ledger.close, np.float64)[:, column] * scale
    close = np.where(close > 0, close, np.nan)
    trades = ledger.trades.loc[ledger.trades["ticker"] == ticker]
    fills = ledger.fills.loc[ledger.fills["ticker"] == ticker]
    price = fills["price"].to_numpy(np.float64) * scale[fills["bar"].to_numpy(np.int64)]
    lowest, highest = np.nanmin(np.append(close, price)), np.nanmax(np.append(close, price))

    figure = plot_style.new_figure(
        look,
        0.64 * look.height,
        tick_chars=len(plot_style.dollars(highest, lowest)),
        name_chars=0,
    )
    axes = figure.add_subplot()
    plot_style.style_axes(axes, look, "Close")
    plot_style.date_axis(axes, ledger.times, look)
    plot_style.money_axis(axes, lowest, highest)
    starts = mdates.date2num(trades["entry_date"].to_numpy())
    ends = mdates.date2num(trades["exit_date"].fillna(pd.Timestamp(ledger.times[-1])).to_numpy())
    spans = list(zip(starts, ends - starts, strict=True))
    axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), color=look.agent, alpha=0.1, linewidth=0)
    axes.plot(ledger.times, close, color=look.ink, linewidth=look.line, zorder=3)
    _draw_fills(axes, ledger, fills, price, look)

    pnl = trades["pnl"].to_numpy(np.float64)
    closed = pnl[trades["exit_reason"].to_numpy(object) != OPEN]
    parts = [f"{closed.size} closed trade{'s' * (closed.size != 1)}"]
    if closed.size:
        parts.append(f"{np.mean(closed > 0):.0%} won")
    parts.append(f"{plot_style.dollars(pnl.sum())} net of costs")
    plot_style.write_headline(figure, f"{ticker}: {', '.join(parts)}", describe_span(ledger), look)
    return figure


def describe_span(ledger: Ledger) -> str:
    """Return first date, last date and number of bars in words."""
    first, last = (str(time.astype("datetime64[D]")) for time in (ledger.times[0], ledger.times[-1]))
    return f"{first} to {last} · {ledger.returns.size:,} bars"


@dataclasses.dataclass(frozen=True)
class _Curve:
    """One strategy's line: its equity from the agent's initial cash, and how it is drawn."""

    name: str
    ledger: Ledger
    equity: np.ndarray
    color: str
    width: float
    dashes: Literal["-", "--"]
    order: float

    @property
    def label(self) -> str:
        return f"{plot_style.shorten(self.name, 22)} {plot_style.percent(self.equity[-1] / self.equity[0] - 1, '+')}"

    def handle(self, label: str) -> Line2D:
        return Line2D([], [], color=self.color, linewidth=self.width, linestyle=self.dashes, label=label)


def _curves(ledger: Ledger, baselines: Mapping[str, Ledger], benchmark: Ledger | None, look: Look) -> list[_Curve]:
    start = ledger.equity[0]
    curves = [_Curve(ledger.name, ledger, ledger.equity, look.agent, 2.1 * look.line, "-", 6.0)]
    for i, (name, other) in enumerate(baselines.items()):
        color = look.others[i % len(look.others)]
        curves.append(_Curve(name, other, other.equity * start / other.equity[0], color, look.line, "-", 4.0))
    if benchmark is not None:
        scaled = benchmark.equity * start / benchmark.equity[0]
        curves.append(_Curve(benchmark.name, benchmark, scaled, look.faint, 1.2 * look.line, "--", 5.0))
    return curves


def _draw_drawdowns(axes: Axes, ledger: Ledger, curves: list[_Curve], look: Look) -> None:
    """Draw the agent's drawdown, and for comparison the benchmark's and those of the two best baselines."""
    rest = sorted(curves[1:], key=lambda curve: -curve.equity[-1])
    fallen = [curve for curve in rest if curve.ledger.drawdown.min() < 0]
    compared = [c for c in fallen if c.dashes != "-"] + [c for c in fallen if c.dashes == "-"][:2]
    x, low = plot_style.thin_bars(ledger.times, ledger.drawdown, np.minimum)
    axes.fill_between(x, low, 0.0, color=look.agent, alpha=0.22, linewidth=0, zorder=2)
    axes.plot(ledger.times, ledger.drawdown, color=look.agent, linewidth=1.3 * look.line, zorder=6)
    for curve in compared:
        axes.plot(ledger.times, curve.ledger.drawdown, curve.dashes, color=curve.color, lw=0.8 * curve.width, zorder=3)
    deepest = min(curve.ledger.drawdown.min() for curve in (curves[0], *compared))
    plot_style.percent_axis(axes, 1.08 * deepest or -0.01, 0.0)
    shown = [(c, plot_style.percent(c.ledger.drawdown.min())) for c in (curves[0], *compared)]
    plot_style.add_legend(
        axes, [c.handle(f"{plot_style.shorten(c.name, 14)} {low}") for c, low in shown], look, beside=True
    )


def _draw_exposure(axes: Axes, ledger: Ledger, look: Look) -> None:
    alive = ledger.equity > 0
    gross = np.where(alive, ledger.gross_exposure / np.where(alive, ledger.equity, 1.0), 0.0)
    x, share = plot_style.thin_bars(ledger.times, gross, np.maximum)
    _, turnover = plot_style.thin_bars(ledger.times, ledger.turnover, np.maximum)
    axes.fill_between(x, share, 0.0, color=look.agent, alpha=0.25, linewidth=0, step="mid", zorder=2)
    axes.fill_between(x, turnover, 0.0, color=look.ink, alpha=0.6, linewidth=0, step="mid", zorder=3)
    plot_style.percent_axis(axes, 0.0, 1.08 * max(share.max(), turnover.max()) or 1.0)
    handles = [
        Line2D([], [], color=look.agent, alpha=0.4, linewidth=6, label="Gross exposure"),
        Line2D([], [], color=look.ink, alpha=0.6, linewidth=6, label="Turnover per bar"),
    ]
    plot_style.add_legend(axes, handles, look, beside=True)


def _draw_fills(axes: Axes, ledger: Ledger, fills: pd.DataFrame, price: np.ndarray, look: Look) -> None:
    """Mark buys with an upward, sells with a downward triangle in the colour of their reason."""
    times = ledger.times[fills["bar"].to_numpy(np.int64)]
    buy = (fills["side"] == "buy").to_numpy(bool)
    reason = fills["reason"].to_numpy(object)
    size = float(np.clip(9000.0 / max(len(fills), 1), 24.0, 110.0)) * (look.line / 1.4) ** 2
    kinds = [("buy", buy, "^", look.paper, look.ink, 0.8)]
    kinds += [
        (f"sell: {name}", ~buy & (reason == name), "v", color, look.paper, 0.4) for name, color in look.exits.items()
    ]
    handles = []
    for name, rows, marker, face, edge, width in kinds:
        if rows.any():
            points = axes.scatter(
                times[rows], price[rows], s=size, marker=marker, facecolor=face, edgecolor=edge, zorder=5
            )
            points.set(linewidth=width * look.line, label=f"{name} ({rows.sum()})", clip_on=False)
            handles.append(points)
    plot_style.add_legend(axes, handles, look, columns=len(handles))
