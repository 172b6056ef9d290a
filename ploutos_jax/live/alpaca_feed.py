"""Alpaca as a feed: minute bars by its stream, all others and what a stream leaves out by REST.

Of stocks the bars of the regular session count, by Alpaca's own calendar: the history before an account, its stream and
its back-fill have the same ones.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ploutos_jax.live.stream import Heard
from ploutos_jax.market.calendar import TRADING_DAYS, YEAR_DAYS, Calendar
from ploutos_jax.market.instrument import US_EQUITY, Instrument
from ploutos_jax.market.io.alpaca import AlpacaData, AlpacaError, is_coin, minutes_of
from ploutos_jax.market.io.exchange import Candle
from ploutos_jax.market.io.trading_hours import DAY_MS
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels

_SESSION_MINUTES = 390
_HISTORY_DAYS = 1500
"""Days of the calendar that a history may reach back."""


class AlpacaFeed:
    """Bars of Alpaca; see `Feed`.

    Args:
        tickers: stocks such as AAPL, or pairs of coins such as BTC/USD; not both.
        interval: of a bar, such as `1m`.
        feed: `iex` or `sip` of stocks.
        base_url, socket_url: addresses that requests and the stream go to instead.
        clock: seconds since 1970 by this machine.
        reconnect_seconds: before a stream that broke is opened again; twice as long each time, 30 at most.

    Raises:
        ValueError: if alpaca-py or a key is missing, or there are no such bars.
    """

    name = "alpaca"

    def __init__(
        self,
        tickers: Sequence[str],
        interval: str,
        *,
        feed: str = "iex",
        base_url: str | None = None,
        socket_url: str | None = None,
        clock: Callable[[], float] = time.time,
        reconnect_seconds: float = 1.0,
    ) -> None:
        kinds = {is_coin(ticker) for ticker in tickers}
        if len(kinds) != 1:
            raise ValueError("Alpaca's stocks and coins trade at different hours: give --tickers of one kind.")
        self._coins, self._interval, self._feed = kinds.pop(), interval, feed
        self.seconds = 60.0 * minutes_of(interval, coins=self._coins)
        self._step = int(1000 * self.seconds)
        if self._coins and self._step >= DAY_MS:
            raise ValueError("Alpaca's days of coins begin at no fixed hour: use --interval 12h or shorter.")
        self._socket_url, self._patience = socket_url, reconnect_seconds
        self._data = AlpacaData(coins=self._coins, feed=None if self._coins else feed, base_url=base_url, clock=clock)
        try:
            self._hours(int(1000 * self._data.now()))
        except AlpacaError as error:
            raise ValueError(f"{error}; there are no trading hours to go by.") from None

    def _hours(self, now: int) -> Any:
        return self._data.hours(now - _HISTORY_DAYS * DAY_MS, now)

    def labels(self, symbols: Sequence[str]) -> Labels:
        """Return the labels of a stream's bars."""
        minutes = self.seconds / 60
        if self._coins:
            calendar = Calendar(YEAR_DAYS, max(1.0, 1440 / minutes), YEAR_DAYS)
            instrument = Instrument("crypto", "a pair of a coin at Alpaca")
        else:
            calendar = Calendar(TRADING_DAYS, max(1.0, _SESSION_MINUTES / minutes), TRADING_DAYS)
            instrument = Instrument(US_EQUITY)
        return Labels(
            tuple(symbols),
            (UNKNOWN_SECTOR,) * len(symbols),
            np.zeros(0, "datetime64[ns]"),
            calendar=calendar,
            instruments=(instrument,) * len(symbols),
        )

    def now(self) -> float:
        """Return Alpaca's clock."""
        return self._data.now()

    def fetch(self, symbol: str, first: int, end: int) -> list[Candle]:
        """Return bars of the regular session from REST; see `Feed.fetch`."""
        candles = self._data.candles(symbol, self._interval, first, end)
        return [candle for candle in candles if self._is_regular(candle.time)]

    def _is_regular(self, begin: int) -> bool:
        hours = self._hours(begin) if self._step < DAY_MS else None
        return hours is None or hours.holds(begin)

    def first_from(self, moment: int) -> int:
        """Return when the first bar begins at a moment or later, by the calendar."""
        hours = self._hours(moment)
        return -(-moment // self._step) * self._step if hours is None else hours.first_from(moment, self._step)

    def session_of(self, start: int) -> int:
        """Return the trading day; of coins the day in UTC."""
        hours = self._hours(start) if self._step < DAY_MS else None
        return start // DAY_MS if hours is None else hours.day_of(start)

    def next_session(self, start: int) -> int | None:
        """Return the trading day of the bar that follows, which the calendar knows."""
        return self.session_of(self.first_from(start + self._step))

    def events(
        self, symbols: Sequence[str], first_day: int, last_day: int
    ) -> Mapping[str, Mapping[int, tuple[float, float]]] | None:
        """Return dividends and splits by Alpaca's list of corporate actions; see `Feed.events`."""
        return None if self._coins else self._data.events(symbols, first_day, last_day)

    def listen(self, symbols: Sequence[str], heard: "queue.Queue[Heard]") -> Callable[[], None]:
        """Follow the stream of minute bars in a thread; longer bars are asked for. See `Feed.listen`."""
        if self._step != 60_000:
            return lambda: None
        sdk, keys = self._data.sdk, self._data.keys
        kind = sdk.live.CryptoDataStream if self._coins else sdk.live.StockDataStream
        path = "/v1beta3/crypto/us" if self._coins else f"/v2/{self._feed}"
        where = {} if self._socket_url is None else {"url_override": self._socket_url.rstrip("/") + path}
        # By the text of an enumeration that the stream compares with.
        stream = kind(
            keys.key, keys.secret, raw_data=True, **where, **({} if self._coins else {"feed": _feed(self._feed)})
        )
        stream._reconnect_min_backoff = self._patience

        async def take(row: dict[str, Any]) -> None:
            moment = 1000 * row["t"].seconds + row["t"].nanoseconds // 1_000_000
            if self._is_regular(moment):
                candle = Candle(moment, *(float(row[name]) for name in "ohlcv"))
                heard.put(Heard(row["S"], candle))

        stream.subscribe_bars(take, *symbols)
        stream.subscribe_updated_bars(take, *symbols)
        return _Listener(stream).stop


def _feed(name: str) -> Any:
    from alpaca.data.enums import DataFeed

    return DataFeed(name)


class _Listener:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # Whatever ends a stream: without it all bars are asked for.
        with contextlib.suppress(Exception):
            self._stream.run()

    def stop(self) -> None:
        """Close the stream and end the thread."""
        import asyncio

        loop, until = self._stream._loop, time.monotonic() + 10
        while loop is None and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
            loop = self._stream._loop
        if loop is None:
            return
        with contextlib.suppress(Exception):
            self._stream.stop()
            # It looks up every five seconds unless its socket is closed.
            asyncio.run_coroutine_threadsafe(self._stream.close(), loop).result(timeout=5)
        self._thread.join(timeout=10)
