"""Charts of what became of the money: equity of all strategies, drawdowns, and the return at multiples of the costs."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics import exposure
from ploutos_jax.evaluate.report.chart import Band, Chart, Series, Upright, chart
from ploutos_jax.evaluate.report.plot_style import percent, shorten

AGENT = "c0"
NUM_COLORS = 36
"""Colours c0 (the strategy under test) to c35 of the style sheet; further strategies start again at c1."""

Episode = tuple[str, np.datetime64, np.datetime64]
"""A stretch of time to mark: label, first and last date."""

MOST_TIMES = 1.5
"""An oracle whose equity rises above this multiple of all others' is not drawn with them."""

MARKED_EPISODES = 3
"""Drawdowns that are marked on the equity chart and numbered as in the table of episodes."""


def color_of(place: int) -> str:
    """Return the colour of the strategy at a place, 0 being the one under test."""
    return f"c{place}" if place < NUM_COLORS else f"c{1 + (place - 1) % (NUM_COLORS - 1)}"


def figure(caption: str, content: str, note: str = "") -> str:
    """Return a chart under its caption, with a note below it."""
    below = f"<p class='note'>{html.escape(note)}</p>" if note else ""
    return f"<figure><figcaption>{html.escape(caption)}</figcaption>{content}{below}</figure>"


def equity_charts(ledgers: Mapping[str, Ledger], episodes: Sequence[Episode] = (), reference: str = "") -> str:
    """Return equity of all strategies from the same cash, and below it their drawdowns on the same axis of time.

    Args:
        ledgers: the strategies by name, the one under test first.
        episodes: stretches to mark besides the deepest drawdowns, such as stress scenarios.
        reference: whose drawdown stands beside the first one's, besides those of the two that ended highest.
    """
    name, ledger = next(iter(ledgers.items()))
    start = float(ledger.equity[0])
    colors = {other: color_of(i) for i, other in enumerate(ledgers)}
    left_out = ", ".join(other for other in ledgers if other not in drawable(ledgers))
    ledgers = drawable(ledgers)
    curves = {other: one.equity * start / one.equity[0] for other, one in ledgers.items()}
    gains = {other: f"{shorten(other, 18)} {percent(float(c[-1]) / start - 1, '+')}" for other, c in curves.items()}
    bands = _bands(ledger, episodes)
    lines = [
        Series(other, curve, colors[other], "strong" if other == name else "line", label=gains[other])
        for other, curve in curves.items()
    ]
    top = Chart(
        ledger.times,
        lines,
        "dollars",
        f"Equity of {name} and {len(curves) - 1} other strategies",
        height=360,
        log=True,
        bands=bands,
        ends=[(i, gains[other]) for i, other in enumerate(curves)],
        spans=True,
        joined=True,
    )
    below = drawdown_chart(ledgers, colors, bands, reference)
    note = f"<p class='note'>Off the chart: {html.escape(left_out)}.</p>" if left_out else ""
    return f"<figure><figcaption>Equity</figcaption>{chart(top)}{below}{note}</figure>"


def drawdown_chart(
    ledgers: Mapping[str, Ledger], colors: Mapping[str, str], bands: Sequence[Band], reference: str
) -> str:
    """Return the drawdown of the first strategy, with those of the reference and of the two others that ended highest.

    Args:
        ledgers: those that are drawn, by name.
        colors: of each.
        bands: of the chart above it, shown without labels.
        reference: the benchmark, or what stands in for it.
    """
    name, ledger = next(iter(ledgers.items()))
    fallen = [other for other, one in ledgers.items() if other != name and one.drawdown.min() < 0]
    best = sorted(fallen, key=lambda other: -ledgers[other].equity[-1] / ledgers[other].equity[0])[:2]
    shown = [name, *([reference] if reference in fallen else []), *(other for other in best if other != reference)]
    lows = {o: f"{shorten(o, 18)} {percent(float(ledgers[o].drawdown.min()))}" for o in shown}
    lines = [
        Series(
            other,
            ledgers[other].drawdown,
            colors[other],
            "line" if other == name else "thin",
            fill=0.2 if other == name else 0.0,
            label=lows[other],
        )
        for other in shown
    ]
    plain = [Band(band.first, band.last, band.color) for band in bands]
    ends = [(i, lows[other]) for i, other in enumerate(shown)]
    drawn = Chart(ledger.times, lines, "percent", f"Drawdown of {name}", height=150, zero=True, bands=plain, ends=ends)
    return f"<figcaption>Drawdown, and the deepest one</figcaption>{chart(drawn)}"


def drawable(ledgers: Mapping[str, Ledger]) -> dict[str, Ledger]:
    """Return the strategies to draw in one chart: all but oracles that would make everything else look flat."""
    highest = {name: float(np.max(one.equity / one.equity[0])) for name, one in ledgers.items()}
    most = max((high for name, high in highest.items() if ledgers[name].role != "oracle"), default=np.inf)
    return {name: one for name, one in ledgers.items() if one.role != "oracle" or highest[name] <= MOST_TIMES * most}


def cost_chart(
    multiples: np.ndarray, gains: Mapping[str, np.ndarray], even: float | None, colors: Mapping[str, str]
) -> str:
    """Return the annual return of strategies at multiples of the costs charged.

    Args:
        multiples: `[multiples]` of the costs, rising.
        gains: `[multiples]` annual returns by strategy, the one under test first.
        even: multiple at which the first meets the second, if it does within the chart.
        colors: of each, as in the other charts.
    """
    lines = [Series(name, one, colors[name], "line" if i else "strong") for i, (name, one) in enumerate(gains.items())]
    uprights = [Upright(1.0, "faint", "as charged")]
    if even is not None and multiples[0] < even < multiples[-1]:
        uprights.append(Upright(even, "loss-line", f"level at {even:.1f}×"))
    drawn = Chart(multiples, lines, "percent", "Return by cost", zero=True, uprights=uprights, x_unit="times")
    return figure("Annual return at multiples of the costs, same trades", chart(drawn))


def _bands(ledger: Ledger, episodes: Sequence[Episode]) -> list[Band]:
    falls = exposure.drawdown_episodes(ledger.times, ledger.equity).head(MARKED_EPISODES)
    peaks, troughs = (falls[column].to_numpy() for column in ("peak", "trough"))
    bands = [Band(a, b, "faint", str(i + 1)) for i, (a, b) in enumerate(zip(peaks, troughs, strict=True))]
    return [*bands, *(Band(first, last, "loss-line", label) for label, first, last in episodes)]
