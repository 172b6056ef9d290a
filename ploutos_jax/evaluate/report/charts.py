"""The charts of the report page, each a heading-less piece of HTML with inline SVG."""

import html
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics import exposure
from ploutos_jax.evaluate.metrics.summary import (
    cvar_95,
    daily_returns,
    rolling_cvar,
    rolling_sharpe,
    rolling_var,
    var_95,
)
from ploutos_jax.evaluate.report import svg
from ploutos_jax.evaluate.report.plot_style import dollars, percent, shorten
from ploutos_jax.evaluate.round_trips import OPEN
from ploutos_jax.market.tickers import show_ticker

AGENT = "c0"
NUM_COLORS = 36
"""Colours c0 (the strategy under test) to c35 of the style sheet; further strategies start again at c1."""

Episode = tuple[str, np.datetime64, np.datetime64]
"""A stretch of time to mark: label, first and last date."""

MOST_TIMES = 1.5
"""An oracle whose equity rises above this multiple of all others' is not drawn with them."""

MARKED_EPISODES = 3
"""Drawdowns that are marked on the equity chart and numbered as in the table of episodes."""

MANY = 250
"""Fills in one chart above which their marks are small, and trades above which the spans held are not shaded."""

_EXIT_COLORS = {"stop": "loss-line", "target": "gain-line", "trailing": "c1", "time": "c4", "halt": "ink"}


def color_of(place: int) -> str:
    """Return the colour of the strategy at a place, 0 being the one under test."""
    return f"c{place}" if place < NUM_COLORS else f"c{1 + (place - 1) % (NUM_COLORS - 1)}"


def equity_charts(ledgers: Mapping[str, Ledger], episodes: Sequence[Episode] = ()) -> str:
    """Return equity of all strategies from the same cash, and the drawdown of the first below it.

    Args:
        ledgers: the strategies by name, the one under test first.
        episodes: stretches to mark besides the deepest drawdowns, such as stress scenarios.
    """
    name, ledger = next(iter(ledgers.items()))
    start = float(ledger.equity[0])
    colors = {other: color_of(i) for i, other in enumerate(ledgers)}
    left_out = ", ".join(other for other in ledgers if other not in drawable(ledgers))
    ledgers = drawable(ledgers)
    curves = {other: one.equity * start / one.equity[0] for other, one in ledgers.items()}
    x, days = svg.time_axis(ledger.times), svg.days_of(ledger.times)
    y = svg.money_axis(min(map(np.min, curves.values())), max(map(np.max, curves.values())))
    bands = _bands(x, ledger, episodes)
    lines = [
        svg.line(x, y, days, curves[other], colors[other], kind="strong" if other == name else "", name=other)
        for other in reversed(curves)
    ]
    gains = {other: f"{shorten(other, 18)} {percent(float(c[-1]) / start - 1, '+')}" for other, c in curves.items()}
    ends = [(gains[other], float(curves[other][-1]), colors[other]) for other in curves]
    words = f"Equity of {name} and {len(curves) - 1} other strategies"
    top = svg.plot(x, y, stretched=lines, placed=bands, ends=ends, height=360, words=words, show_dates=False)
    key = svg.legend([(gains[other], colors[other]) for other in curves], "phone")
    below = _drawdown_chart(ledgers, colors, bands, x, days)
    note = f"<p class='note'>Off the chart: {html.escape(left_out)}.</p>" if left_out else ""
    return f"<figure><figcaption>Equity</figcaption>{key}{top}{below}{note}</figure>"


def drawable(ledgers: Mapping[str, Ledger]) -> dict[str, Ledger]:
    """Return the strategies to draw in one chart: all but oracles that would make everything else look flat."""
    highest = {name: float(np.max(one.equity / one.equity[0])) for name, one in ledgers.items()}
    most = max((high for name, high in highest.items() if ledgers[name].role != "oracle"), default=np.inf)
    return {name: one for name, one in ledgers.items() if one.role != "oracle" or highest[name] <= MOST_TIMES * most}


def returns_chart(ledger: Ledger) -> str:
    """Return the distribution of daily returns with VaR and CVaR, and the normal law of the same mean and spread."""
    returns = daily_returns(ledger)
    if returns.size < 10 or np.ptp(returns) == 0:
        return "<p>There are too few different daily returns for a distribution.</p>"
    # The outermost half per cent on either side is gathered in the last bars: one crash must not flatten the rest.
    low, high = np.quantile(returns, [0.005, 0.995])
    edges = np.linspace(low, high, int(np.clip(2 * np.sqrt(returns.size), 12, 60)) + 1)
    counts = np.histogram(np.clip(returns, low, high), edges)[0].astype(np.float64)
    mean, spread = float(returns.mean()), float(returns.std(ddof=1))
    at = np.linspace(low, high, 120)
    width = float(edges[1] - edges[0])
    normal = np.exp(-0.5 * ((at - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi)) * returns.size * width
    x = svg.Axis(float(low), float(high), "percent")
    y = svg.share_axis(0.0, float(max(counts.max(), normal.max())), "number")
    lines = [svg.bars(x, y, edges, counts, AGENT), svg.line(x, y, at, normal, "faint", kind="dashed")]
    var, cvar = var_95(returns), cvar_95(returns)
    placed = [svg.upright(x, var, "loss-line", f"VaR {percent(var)}", 1)]
    # CVaR may lie beyond the gathered tail.
    placed.append(svg.upright(x, max(cvar, float(low)), "loss-line", f"CVaR {percent(cvar)}", 0))
    drawn = svg.plot(
        x, y, stretched=lines, placed=placed, x_ticks=x.ticks(8), height=220, words="Daily returns", dated=False
    )
    note = (
        "Days by return, against a normal law (dashed) of the same mean and spread. The last bars hold all days below"
        f" {percent(float(low))} and above {percent(float(high), '+')}."
    )
    return f"<figure><figcaption>Daily returns</figcaption>{drawn}<p class='note'>{note}</p></figure>"


def rolling_sharpe_chart(ledgers: Mapping[str, Ledger], shown: Collection[str]) -> str:
    """Return the rolling Sharpe ratio of those strategies that are to be shown, the first one bold."""
    daily = {name: daily_returns(ledgers[name]) for name in ledgers if name in shown}
    name, returns = next(iter(daily.items()))
    calendar = ledgers[name].calendar
    window = exposure.fitting_window(returns.size, calendar)
    if window is None:
        return f"<p>The span of {returns.size:,} {calendar.unit} is too short for rolling figures.</p>"
    rolling = {
        other: rolling_sharpe(one, window, ledgers[other].calendar.periods_per_year) for other, one in daily.items()
    }
    values = np.concatenate(list(rolling.values()))
    if not np.isfinite(values).any():
        return ""
    dates = _day_ends(ledgers[name])[-returns.size :]
    x, days = svg.time_axis(dates), svg.days_of(dates)
    y = svg.share_axis(float(np.nanmin(values)), float(np.nanmax(values)), "number")
    colors = {other: color_of(i) for i, other in enumerate(ledgers)}
    lines = [
        svg.line(x, y, days, one, colors[other], kind="strong" if other == name else "", name=other)
        for other, one in reversed(rolling.items())
    ]
    key = svg.legend([(other, colors[other]) for other in rolling])
    drawn = svg.plot(x, y, stretched=lines, height=180, words="Rolling Sharpe ratio")
    return f"<figure><figcaption>Sharpe ratio over the last {window} {calendar.unit}</figcaption>{key}{drawn}</figure>"


def rolling_loss_chart(ledger: Ledger) -> str:
    """Return rolling VaR and CVaR."""
    returns, calendar = daily_returns(ledger), ledger.calendar
    window = exposure.fitting_window(returns.size, calendar)
    if window is None:
        return ""
    dates = _day_ends(ledger)[-returns.size :]
    x, days = svg.time_axis(dates), svg.days_of(dates)
    var, cvar = rolling_var(returns, window), rolling_cvar(returns, window)
    y = svg.share_axis(float(np.nanmin(cvar)), max(float(np.nanmax(var)), 0.0))
    lines = [svg.line(x, y, days, var, "c1", name="VaR 95"), svg.line(x, y, days, cvar, "loss-line", name="CVaR 95")]
    key = svg.legend([("VaR 95", "c1"), ("CVaR 95", "loss-line")])
    drawn = svg.plot(x, y, stretched=lines, height=180, words="Rolling VaR and CVaR")
    heading = f"One-{calendar.period} VaR and CVaR over the last {window} {calendar.unit}"
    return f"<figure><figcaption>{heading}</figcaption>{key}{drawn}</figure>"


def leverage_chart(ledger: Ledger) -> str:
    """Return gross exposure over equity."""
    return _filled_chart(ledger, exposure.leverage(ledger), AGENT, "Leverage", "Leverage: gross exposure over equity")


def turnover_chart(ledger: Ledger) -> str:
    """Return the value traded in each bar over the equity before it."""
    return _filled_chart(ledger, ledger.turnover, "c2", "Turnover", "Turnover of each bar: share of equity")


def concentration_chart(ledger: Ledger, weight: np.ndarray) -> str:
    """Return the largest position of each bar over the equity, given the weights of all as from `exposure.weights`."""
    return _filled_chart(
        ledger, exposure.largest_weight(weight), "c4", "Largest position", "Largest position: share of equity"
    )


def sector_chart(ledger: Ledger, sectors: Mapping[str, np.ndarray]) -> str:
    """Return exposure by sector as stacked areas.

    Args:
        ledger: the strategy.
        sectors: `[N+1]` share of equity by sector, as from `exposure.exposure_by_sector`.
    """
    shown = dict(list(sectors.items())[: NUM_COLORS - 1])
    rest = [values for name, values in sectors.items() if name not in shown]
    if rest:
        shown[f"{len(rest)} others"] = np.sum(rest, axis=0)
    x, days = svg.time_axis(ledger.times), svg.days_of(ledger.times)
    total = np.sum(list(shown.values()), axis=0)
    y = svg.share_axis(0.0, float(max(total.max(), 0.01)))
    # Every sector is thinned by the same rows, or the layers would part.
    rows = svg.thin(total)
    base, parts, key = np.zeros(rows.size), [], []
    for i, (name, values) in enumerate(shown.items()):
        color = color_of(i)
        parts.append(svg.area(x, y, days[rows], base + values[rows], base, color, opacity=0.75))
        base = base + values[rows]
        key.append((f"{name} {percent(float(values.mean()))}", color))
    drawn = svg.plot(x, y, stretched=parts, height=220, words="Exposure by sector", dated=False)
    caption = "<figcaption>Exposure by sector: share of equity, and its mean</figcaption>"
    return f"<figure>{caption}{svg.legend(key)}{drawn}</figure>"


def cost_chart(
    multiples: np.ndarray, gains: Mapping[str, np.ndarray], even: float | None, colors: Mapping[str, str]
) -> str:
    """Return the annual return of strategies at multiples of the costs charged.

    Args:
        multiples: `[M]` of the costs, rising.
        gains: `[M]` annual returns by strategy, the one under test first.
        even: multiple at which the first meets the second, if it does within the chart.
        colors: of each, as in the other charts.
    """
    x = svg.Axis(float(multiples[0]), float(multiples[-1]))
    values = np.concatenate(list(gains.values()))
    y = svg.share_axis(float(values.min()), float(values.max()))
    lines = [
        svg.line(x, y, multiples, one, colors[name], kind="" if i else "strong")
        for i, (name, one) in enumerate(gains.items())
    ]
    placed = [svg.upright(x, 1.0, "faint", "as charged")]
    if even is not None and multiples[0] < even < multiples[-1]:
        placed.append(svg.upright(x, even, "loss-line", f"level at {even:.1f}×", 1))
    ticks = [(value, f"{label}×") for value, label in x.ticks(6)]
    key = svg.legend([(name, colors[name]) for name in gains])
    drawn = svg.plot(
        x, y, stretched=lines, placed=placed, x_ticks=ticks, height=180, words="Return by cost", dated=False
    )
    caption = "<figcaption>Annual return at multiples of the costs, same trades</figcaption>"
    return f"<figure>{caption}{key}{drawn}</figure>"


def trades_chart(ledger: Ledger, ticker: str) -> str:
    """Return the close of a ticker with every buy and sell at its fill price, and the spans held shaded.

    Prices before a split are restated in the shares of the last bar.
    """
    column = ledger.symbols.index(ticker)
    scale = np.ones(ledger.times.size)
    if ledger.split_factor is not None:
        scale = ledger.split_factor[:, column] / ledger.split_factor[-1, column]
    close = np.asarray(ledger.close, np.float64)[:, column] * scale
    close = np.where(close > 0, close, np.nan)
    fills = ledger.fills.loc[ledger.fills["ticker"] == ticker]
    bar = fills["bar"].to_numpy(np.int64)
    price = fills["price"].to_numpy(np.float64) * scale[bar]
    known = np.append(close[np.isfinite(close)], price)
    x, days = svg.time_axis(ledger.times), svg.days_of(ledger.times)
    y = svg.money_axis(float(known.min()), float(known.max()))
    trades = ledger.trades.loc[ledger.trades["ticker"] == ticker]
    ends = svg.days_of(trades["exit_date"].fillna(pd.Timestamp(ledger.times[-1])).to_numpy())
    spans = zip(svg.days_of(trades["entry_date"].to_numpy()), ends, strict=True)
    held = [svg.band(x, a, b, AGENT) for a, b in spans] if len(trades) < MANY else []
    symbols, key = _fill_marks(x, y, days[bar], price, fills)
    line = svg.line(x, y, days, close, "ink", kind="thin", name="Close")
    words = f"Close of {ticker} with every buy and sell"
    drawn = svg.plot(x, y, stretched=[line], placed=[*held, *symbols], height=260, words=words)
    # A name that is written from right to left stays by itself, and leaves the figures behind it where they are.
    name, words = show_ticker(ticker), trades_headline(ticker, trades)
    caption = f"<bdi>{html.escape(name)}</bdi>{html.escape(words[len(name) :])}"
    return f"<figure><figcaption>{caption}</figcaption>{key}{drawn}</figure>"


def trades_headline(ticker: str, trades: pd.DataFrame) -> str:
    """Return what the trades in a ticker came to, in words."""
    pnl = trades["pnl"].to_numpy(np.float64)
    closed = pnl[trades["exit_reason"].to_numpy(object) != OPEN]
    parts = [f"{closed.size} closed trade{'s' * (closed.size != 1)}"]
    if closed.size:
        parts.append(f"{np.mean(closed > 0):.0%} won")
    parts.append(f"{dollars(pnl.sum())} net of costs")
    return f"{show_ticker(ticker)}: {', '.join(parts)}"


def _fill_marks(
    x: svg.Axis, y: svg.Axis, at: np.ndarray, price: np.ndarray, fills: pd.DataFrame
) -> tuple[list[str], str]:
    buy = (fills["side"] == "buy").to_numpy(bool)
    reason = fills["reason"].to_numpy(object)
    kinds = [("buy", buy, "buy", "ink")]
    kinds += [
        ("sell" if name == "order" else f"sell: {name}", ~buy & (reason == name), "sell", _EXIT_COLORS.get(name, AGENT))
        for name in dict.fromkeys(reason[~buy])
    ]
    shown = [kind for kind in kinds if kind[1].any()]
    small = "s" if len(fills) > MANY else ""
    symbols = [svg.marks(x, y, at[rows], price[rows], symbol + small, color) for _, rows, symbol, color in shown]
    return symbols, svg.legend([(f"{name} ({rows.sum()})", color) for name, rows, _, color in shown])


def _bands(x: svg.Axis, ledger: Ledger, episodes: Sequence[Episode]) -> list[str]:
    falls = exposure.drawdown_episodes(ledger.times, ledger.equity).head(MARKED_EPISODES)
    peaks, troughs = (svg.days_of(falls[column].to_numpy()) for column in ("peak", "trough"))
    bands = [svg.band(x, a, b, "faint", str(i + 1)) for i, (a, b) in enumerate(zip(peaks, troughs, strict=True))]
    for label, first, last in episodes:
        begin, end = svg.days_of(np.array([first, last]))
        bands.append(svg.band(x, begin, end, "loss-line", label))
    return bands


def _drawdown_chart(
    ledgers: Mapping[str, Ledger], colors: Mapping[str, str], bands: list[str], x: svg.Axis, days: np.ndarray
) -> str:
    """Return the drawdown of the first strategy, with the two best others for comparison."""
    name, ledger = next(iter(ledgers.items()))
    fallen = [other for other, one in ledgers.items() if other != name and one.drawdown.min() < 0]
    best = sorted(fallen, key=lambda other: -ledgers[other].equity[-1] / ledgers[other].equity[0])[:2]
    shown = [name, *best]
    y = svg.share_axis(min(float(ledgers[other].drawdown.min()) for other in shown), 0.0)
    parts = [svg.area(x, y, days, ledger.drawdown, 0.0, AGENT)]
    parts += [
        svg.line(x, y, days, ledgers[other].drawdown, colors[other], kind="thin" if other != name else "", name=other)
        for other in reversed(shown)
    ]
    lows = [(f"{shorten(o, 18)} {percent(float(ledgers[o].drawdown.min()))}", colors[o]) for o in shown]
    ends = [(label, float(ledgers[o].drawdown[-1]), color) for o, (label, color) in zip(shown, lows, strict=True)]
    words = f"Drawdown of {name}"
    plain = [band.split("<text")[0] for band in bands]
    drawn = svg.plot(x, y, stretched=parts, placed=plain, ends=ends, height=150, words=words)
    return f"<figcaption>Drawdown, and the deepest one</figcaption>{svg.legend(lows, 'phone')}{drawn}"


def _filled_chart(ledger: Ledger, values: np.ndarray, color: str, name: str, caption: str) -> str:
    x, days = svg.time_axis(ledger.times), svg.days_of(ledger.times)
    y = svg.share_axis(0.0, float(max(values.max(), 0.01)))
    parts = [svg.area(x, y, days, values, 0.0, color), svg.line(x, y, days, values, color, name=name)]
    drawn = svg.plot(x, y, stretched=parts, height=160, words=name)
    return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def _day_ends(ledger: Ledger) -> np.ndarray:
    """Return the last time of every day, as `metrics.daily_returns` cuts the bars."""
    days = np.asarray(ledger.sessions)
    return ledger.times[np.append(days[1:] != days[:-1], True)]
