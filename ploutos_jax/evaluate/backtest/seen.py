"""What a strategy of one's own sees at a close: the bars up to it, and its account.

Letters: T bars of the history, n bars up to the close, A assets, F features.
"""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.display import Card, Shown, few, plural
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market, Panel

_PRICES = ("open", "high", "low", "close")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Bars(Shown):
    """Bars and account at a close, all of it known then: the last row is that of the bar that has just closed.

    Arrays are NumPy's, time first, and cannot be written. A missing bar is NaN in the prices and 0 in volume.
    `bars["AAPL"]` is one ticker as a DataFrame.

    Attributes:
        open, high, low, close: `[n, A]` prices as traded, dollars per share.
        adjusted: `[n, A]` closes adjusted backwards for the splits and dividends up to now, so that a return from one
            to another is what a holder earned; the last row is the close itself.
        volume: `[n, A]` shares.
        tradable: `[n, A]` bool, whether anything could fill in the bar.
        signals: further columns of the data by name, `[n, A]`.
        features: `[n, A, F]` the market's table; without any where a panel was given.
        times: `[n]` datetime64[ns].
        symbols: A tickers.
        cash: dollars.
        equity: cash and positions at the close, dollars.
        shares: `[A]` held.
        entry_price: `[A]` average fill price of what is held, 0 where nothing is.
    """

    open: Float[np.ndarray, "n A"]
    high: Float[np.ndarray, "n A"]
    low: Float[np.ndarray, "n A"]
    close: Float[np.ndarray, "n A"]
    adjusted: Float[np.ndarray, "n A"]
    volume: Float[np.ndarray, "n A"]
    tradable: Bool[np.ndarray, "n A"]
    signals: Mapping[str, Float[np.ndarray, "n A"]]
    features: Float[np.ndarray, "n A F"]
    times: Shaped[np.ndarray, " n"]
    symbols: tuple[str, ...]
    cash: float
    equity: float
    shares: Float[np.ndarray, " A"]
    entry_price: Float[np.ndarray, " A"]

    @property
    def num_bars(self) -> int:
        """n, bars up to now."""
        return len(self.times)

    @property
    def num_assets(self) -> int:
        """A, tickers."""
        return len(self.symbols)

    @property
    def date(self) -> np.datetime64:
        """When the bar is that has just closed."""
        return self.times[-1]

    @cached_property
    def weights(self) -> Float[np.ndarray, " A"]:
        """`[A]` shares of equity held, at the last closes known."""
        return np.where(self.shares != 0, self.shares * self._last_closes, 0.0) / self.equity

    @property
    def _last_closes(self) -> np.ndarray:
        known = np.isfinite(self.close)
        row = np.where(known.any(axis=0), len(known) - 1 - np.argmax(known[::-1], axis=0), -1)
        return np.where(row >= 0, np.take_along_axis(self.close, row[None], axis=0)[0], 0.0)

    def __getitem__(self, symbol: str) -> pd.DataFrame:
        """Return the bars of one ticker as a new DataFrame by date: the prices, `adjusted`, `volume` and the signals.

        Raises:
            KeyError: if there is no such ticker.
        """
        if symbol not in self.symbols:
            raise KeyError(f"The ticker {symbol!r} is not among the {few(self.symbols)}.")
        column = self.symbols.index(symbol)
        fields = {name: getattr(self, name) for name in (*_PRICES, "adjusted", "volume")} | dict(self.signals)
        values = {name: np.array(array[:, column]) for name, array in fields.items()}
        return pd.DataFrame(values, index=pd.DatetimeIndex(np.array(self.times), name="date"))

    def _card(self) -> Card:
        size = [plural(self.num_assets, "ticker"), plural(self.num_bars, "bar"), f"up to {name_moment(self.date)}"]
        held = [s for s, number in zip(self.symbols, self.shares, strict=True) if number != 0]
        rows = [("tickers", few(self.symbols)), ("held", few(held)), ("equity", f"${self.equity:,.2f}")]
        return Card("Bars", size, rows)


@dataclasses.dataclass(frozen=True)
class History:
    """All bars of a backtest, of which `up_to` gives what is known at a close.

    Attributes:
        fields: `[T, A]` arrays by the names of `Bars`, `adjusted` as closes adjusted forwards.
        factor: `[T, A]` of adjusted closes to closes as traded, carried through missing bars.
        signals, features, times, symbols: see `Bars`.
    """

    fields: Mapping[str, np.ndarray]
    factor: Float[np.ndarray, "T A"]
    signals: Mapping[str, np.ndarray]
    features: np.ndarray
    times: np.ndarray
    symbols: tuple[str, ...]

    @classmethod
    def of(cls, bars: Panel | Market) -> "History":
        """Return the bars of a panel, or of a market with its features."""
        panel = bars if isinstance(bars, Panel) else _panel_of(bars)
        prices = {name: np.array(getattr(panel, name), np.float64) for name in (*_PRICES, "volume")}
        close = prices["close"]
        adjusted = np.asarray(total_return(panel).close, np.float64)
        known = np.isfinite(close)
        row = np.maximum.accumulate(np.where(known, np.arange(len(close))[:, None], 0), axis=0)
        factor = np.take_along_axis(np.where(known, adjusted / np.where(known, close, 1.0), 1.0), row, axis=0)
        shape = (*close.shape, 0)
        one = cls(
            fields={**prices, "adjusted": np.array(adjusted), "tradable": np.array(panel.tradable)},
            factor=factor,
            signals={name: np.array(signal, np.float64) for name, signal in panel.signals.items()},
            features=np.zeros(shape) if isinstance(bars, Panel) else np.asarray(bars.features).view(),
            times=np.array(panel.times),
            symbols=panel.symbols,
        )
        for array in (*one.fields.values(), *one.signals.values(), one.features, one.times):
            array.flags.writeable = False
        return one

    def up_to(self, row: int, **account: Any) -> Bars:
        """Return what is known at the close of a row, and the account given."""
        seen = {name: array[: row + 1] for name, array in self.fields.items()}
        seen["adjusted"] = seen["adjusted"] / self.factor[row]
        return Bars(
            **seen,
            signals={name: signal[: row + 1] for name, signal in self.signals.items()},
            features=self.features[: row + 1],
            times=self.times[: row + 1],
            symbols=self.symbols,
            **account,
        )


def _panel_of(market: Market) -> Panel:
    """Return a market's bars with those missing again that were carried forward."""
    known = np.asarray(market.features[..., market.feature_names.index("known")]) > 0
    volume = np.asarray(market.volume)
    prices: dict[str, Any] = {name: np.where(known, np.asarray(getattr(market, name)), np.nan) for name in _PRICES}
    return Panel(
        **prices,
        volume=np.where(np.isfinite(volume), volume, 0.0),
        tradable=np.asarray(market.tradable),
        sessions=np.asarray(market.sessions),
        dividend=None if market.dividend is None else np.asarray(market.dividend),
        split=None if market.split is None else np.asarray(market.split),
        labels=market.labels,
    )
