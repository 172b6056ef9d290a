"""The price of a ticker with every trade in it."""

import html

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.report.chart import Band, Chart, Marks, Series, chart
from ploutos_jax.evaluate.report.equity_charts import AGENT
from ploutos_jax.evaluate.report.plot_style import dollars
from ploutos_jax.evaluate.round_trips import OPEN
from ploutos_jax.market.tickers import show_ticker

MANY = 250
"""Trades in one chart from which on the spans held are not shaded."""

MOST_CANDLES = 5000
"""Candles of one chart; of more bars, neighbours are one candle."""

MOST_MARKS = 10_000
"""Fills that one chart marks, those of the largest value."""

_EXIT_COLORS = {"stop": "loss-line", "target": "gain-line", "trailing": "c1", "time": "c4", "halt": "ink"}


def trades_chart(ledger: Ledger, ticker: str) -> str:
    """Return the candles of a ticker, or its closes where no more is known, with every buy and sell at its fill price.

    The spans held are shaded. Prices before a split are restated in the shares of the last bar.
    """
    column = ledger.symbols.index(ticker)
    fills = ledger.fills.loc[ledger.fills["ticker"] == ticker]
    trades = ledger.trades.loc[ledger.trades["ticker"] == ticker]
    scale = np.ones(ledger.times.size)
    if ledger.split_factor is not None:
        scale = ledger.split_factor[:, column] / ledger.split_factor[-1, column]
    prices = [np.asarray(values, np.float64)[:, column] * scale for values in _prices(ledger)]
    prices = [np.where(values > 0, values, np.nan) for values in prices]
    merged = -(-ledger.times.size // MOST_CANDLES)
    first = np.arange(0, ledger.times.size, merged)
    candles = len(prices) == 4
    if candles:
        lines = [
            Series(name, values, "faint", "hidden")
            for name, values in zip(("Open", "High", "Low", "Close"), merge_bars(prices, merged), strict=True)
        ]
    else:
        lines = [Series("Close", merge_bars(prices * 4, merged)[3], "ink", "thin")]
    drawn = Chart(
        ledger.times[first],
        lines,
        "dollars",
        f"Price of {ticker} with every buy and sell",
        height=300,
        drawn="candles" if candles else None,
        log=True,
        bands=_spans_held(ledger, trades),
        marks=_marks(fills, scale, merged),
        spans=True,
    )
    # A name that is written from right to left stays by itself, and leaves the figures behind it where they are.
    name, words = show_ticker(ticker), trades_headline(ticker, trades)
    caption = f"<bdi>{html.escape(name)}</bdi>{html.escape(words[len(name) :])}"
    notes = [f"Each candle is {merged} bars."] if merged > 1 else []
    if len(fills) > MOST_MARKS:
        notes.append(f"Marked are the {MOST_MARKS:,} of {len(fills):,} fills with the largest value.")
    note = f"<p class='note'>{' '.join(notes)}</p>" if notes else ""
    return f"<figure><figcaption>{caption}</figcaption>{chart(drawn)}{note}</figure>"


def merge_bars(prices: list[np.ndarray], merged: int) -> list[np.ndarray]:
    """Return open, high, low and close of every `merged` bars; NaN where none of them is known.

    Args:
        prices: open, high, low and close, `[bars]` each.
        merged: bars that become one; the last one may have fewer.
    """
    if merged == 1:
        return prices
    group = np.arange(prices[0].size) // merged
    how = ("first", "max", "min", "last")
    return [pd.Series(values).groupby(group).agg(name).to_numpy() for values, name in zip(prices, how, strict=True)]


def trades_headline(ticker: str, trades: pd.DataFrame) -> str:
    """Return what the trades in a ticker came to, in words."""
    pnl = trades["pnl"].to_numpy(np.float64)
    closed = pnl[trades["exit_reason"].to_numpy(object) != OPEN]
    parts = [f"{closed.size} closed trade{'s' * (closed.size != 1)}"]
    if closed.size:
        parts.append(f"{np.mean(closed > 0):.0%} won")
    parts.append(f"{dollars(pnl.sum())} net of costs")
    return f"{show_ticker(ticker)}: {', '.join(parts)}"


def _prices(ledger: Ledger) -> list[np.ndarray]:
    if ledger.open is None or ledger.high is None or ledger.low is None:
        return [ledger.close]
    return [ledger.open, ledger.high, ledger.low, ledger.close]


def _spans_held(ledger: Ledger, trades: pd.DataFrame) -> list[Band]:
    if len(trades) >= MANY:
        return []
    entries = trades["entry_date"].to_numpy()
    exits = trades["exit_date"].fillna(pd.Timestamp(ledger.times[-1])).to_numpy()
    return [Band(a, b, AGENT) for a, b in zip(entries, exits, strict=True)]


def _marks(fills: pd.DataFrame, scale: np.ndarray, merged: int) -> list[Marks]:
    if len(fills) > MOST_MARKS:
        value = (fills["shares"] * fills["price"]).to_numpy(np.float64)
        fills = fills.iloc[np.sort(np.argsort(-value, kind="stable")[:MOST_MARKS])]
    bar = fills["bar"].to_numpy(np.int64)
    price = fills["price"].to_numpy(np.float64) * scale[bar]
    shares = fills["shares"].to_numpy(np.float64) / scale[bar]
    buy = (fills["side"] == "buy").to_numpy(bool)
    reason = fills["reason"].to_numpy(object)
    kinds = [("buy", buy, "ink")]
    kinds += [
        ("sell" if name == "order" else f"sell: {name}", ~buy & (reason == name), _EXIT_COLORS.get(name, AGENT))
        for name in dict.fromkeys(reason[~buy])
    ]
    return [
        Marks(name, "buy" if name == "buy" else "sell", color, bar[rows] // merged, price[rows], shares[rows])
        for name, rows, color in kinds
        if rows.any()
    ]
