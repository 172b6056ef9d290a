"""A ledger for people and for other libraries: its card, its figures, daily returns, a picture."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.summary import daily_returns, summarize
from ploutos_jax.market.display import Card, plural
from ploutos_jax.market.labels import name_moment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOTHING = "–"
_NAMED = 3
"""Other accounts that the title of a picture names."""
_SHARES = ("total_return", "annual_return", "annual_volatility", "max_drawdown", "win_rate", "exposure")
_RATIOS = ("sharpe", "sortino", "calmar", "profit_factor", "turnover")
_COUNTS = ("num_trades", "open_trades")
_DOLLARS = ("total_cost", "final_equity")
_WORDS = {"num_trades": "closed trades", "turnover": "turnover a year"}


def card_of(ledger: Ledger) -> Card:
    """Return the card of a ledger: its span and the figures that are asked for first, net of costs."""
    span = f"{name_moment(ledger.times[0])} to {name_moment(ledger.times[-1])}"
    bars, gain = plural(ledger.returns.size, "bar"), ledger.equity[-1] / ledger.equity[0] - 1
    brief = [repr(ledger.name), bars, span, f"{gain:+.1%}", plural(len(ledger.fills), "fill")]
    figures = summarize(ledger)
    names = (*_SHARES[:3], *_RATIOS[:3], _SHARES[3], *_COUNTS, *_SHARES[4:], *_RATIOS[3:], *_DOLLARS)
    rows = [(_WORDS.get(name, name.replace("_", " ")), _write(name, figures[name])) for name in names]
    return Card("Ledger", brief, [("bars", f"{bars}, {span}, net of costs"), *rows])


def _write(name: str, value: float) -> str:
    if not np.isfinite(value):
        return _NOTHING
    if name in _SHARES:
        return f"{value:+.1%}" if name.endswith("return") else f"{value:.1%}"
    return f"{value:,.2f}" if name in _RATIOS else f"{value:,.0f}" if name in _COUNTS else f"${value:,.0f}"


def summary_of(ledger: Ledger, benchmark: Ledger | None) -> pd.Series:
    """Return the figures of `summarize` as a Series; see `Ledger.summary`."""
    return pd.Series(summarize(ledger, benchmark=benchmark), name=ledger.name, dtype=object)


def frame_of(ledger: Ledger) -> pd.DataFrame:
    """Return the account by bar; see `Ledger.to_frame`."""
    return ledger.equity_frame().set_index("date")


def daily_series(ledger: Ledger) -> pd.Series:
    """Return the returns of sessions with their dates; see `Ledger.to_quantstats`."""
    returns, sessions = daily_returns(ledger), np.asarray(ledger.sessions)
    closes = np.flatnonzero(np.append(sessions[1:] != sessions[:-1], True))
    days = sessions[closes[closes > 0]].astype("datetime64[D]").astype("datetime64[ns]")
    return pd.Series(returns, index=pd.DatetimeIndex(days, name="date"), name=ledger.name)


def picture_of(ledger: Ledger, others: tuple[Ledger, ...], ticker: str | None, title: str) -> "Figure":
    """Return a picture of the account, or of the trades in one ticker; see `Ledger.plot`."""
    # Brings Matplotlib.
    from ploutos_jax.evaluate.report.figures import draw_equity, draw_trades
    from ploutos_jax.evaluate.report.write import check_spans

    if ticker is not None:
        if others or title:
            raise ValueError("plot(ticker=...) draws the trades of one account in one ticker: leave the rest out.")
        if ticker not in ledger.symbols:
            few = ", ".join(ledger.symbols[:5]) + (", …" if len(ledger.symbols) > 5 else "")
            raise ValueError(f"The ticker {ticker!r} is not among the {len(ledger.symbols)} of the ledger: {few}.")
        return draw_trades(ledger, ticker)
    beside = {other.name: other for other in others}
    check_spans(ledger, beside, len(others))
    names = ", ".join(beside) if len(beside) <= _NAMED else f"{len(beside)} others"
    return draw_equity(ledger, beside, title=title or (f"{ledger.name} and {names}" if beside else ledger.name))
