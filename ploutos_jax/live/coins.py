"""A coin exchange as a feed: REST through ccxt, streams through ccxt.pro where the exchange has them."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ploutos_jax.live.stream import Heard
from ploutos_jax.market.calendar import YEAR_DAYS, Calendar
from ploutos_jax.market.instrument import Instrument, Venue
from ploutos_jax.market.io.exchange import Candle, fetch_candles, market_facts, open_exchange, seconds_of
from ploutos_jax.market.io.venue_clock import VenueClock
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels

_DAY_SECONDS = 86_400
_LONGEST_WAIT_SECONDS = 30.0


class CoinFeed:
    """Bars of an exchange; see `Feed`.

    Args:
        exchange: as ccxt writes it.
        interval: of a bar, such as `1m`.
        base_url, socket_url: addresses that requests and streams go to instead.
        clock: seconds since 1970 by this machine.
        reconnect_seconds: before a stream that broke is opened again; twice as long each time, 30 at most.

    Raises:
        ValueError: if ccxt is not installed, or the exchange serves no such bars.
    """

    def __init__(
        self,
        exchange: str,
        interval: str,
        *,
        base_url: str | None = None,
        socket_url: str | None = None,
        clock: Callable[[], float] = time.time,
        reconnect_seconds: float = 1.0,
    ) -> None:
        self._patience = reconnect_seconds
        self.name = f"ccxt:{exchange}"
        self._names = exchange, base_url, socket_url
        self._interval, self._own_clock = interval, clock
        self._clock = VenueClock(lambda: float(self._exchange.fetch_time()) / 1000, clock)
        self._exchange = open_exchange(exchange, base_url)
        self.seconds = float(seconds_of(self._exchange, interval))

    def labels(self, symbols: Sequence[str]) -> Labels:
        """Return the labels of a stream's bars.

        Raises:
            ValueError: if the exchange has no market of a symbol.
        """
        import numpy as np

        self._exchange.load_markets()
        missing = [symbol for symbol in symbols if symbol not in self._exchange.markets]
        if missing:
            raise ValueError(f"{self._exchange.id} has no market {missing[0]}; write such as BTC/USDT.")
        per_session = max(1.0, _DAY_SECONDS / self.seconds)
        return Labels(
            tuple(symbols),
            (UNKNOWN_SECTOR,) * len(symbols),
            np.zeros(0, "datetime64[ns]"),
            calendar=Calendar(YEAR_DAYS, per_session, YEAR_DAYS),
            instruments=tuple(
                Instrument(
                    "crypto", "traded on a coin exchange", Venue.read(market_facts(self._exchange, symbol), symbol)
                )
                for symbol in symbols
            ),
        )

    def now(self) -> float:
        """Return the exchange's clock, or this machine's where it tells none."""
        return self._clock.now() if self._exchange.has.get("fetchTime") else self._own_clock()

    def fetch(self, symbol: str, first: int, end: int) -> list[Candle]:
        """Return bars from REST; see `Feed.fetch`."""
        return fetch_candles(self._exchange, symbol, self._interval, first, end)

    def first_from(self, moment: int) -> int:
        """Return the first multiple of the bar's length: the market never closes."""
        step = int(1000 * self.seconds)
        return -(-moment // step) * step

    def session_of(self, start: int) -> int:
        """Return the day in UTC."""
        return start // (1000 * _DAY_SECONDS)

    def next_session(self, start: int) -> int | None:
        """Return the day of the bar that follows: the market never closes."""
        return self.session_of(start + int(1000 * self.seconds))

    def events(self, symbols: Sequence[str], first_day: int, last_day: int) -> None:
        """Return None: coins pay no dividends and are not split."""

    def listen(self, symbols: Sequence[str], heard: "queue.Queue[Heard]") -> Callable[[], None]:
        """Follow the stream in a thread; without one all bars are asked for. See `Feed.listen`."""
        if not self._exchange.has.get("watchOHLCV") and not _has_stream(self._names[0]):
            return lambda: None
        return _Listener(self._names, self._interval, symbols, heard, self._patience).stop


def _has_stream(name: str) -> bool:
    import ccxt.pro

    return name in ccxt.pro.exchanges


class _Listener:
    def __init__(
        self,
        names: tuple[str, str | None, str | None],
        interval: str,
        symbols: Sequence[str],
        heard: Any,
        patience: float,
    ) -> None:
        self._patience, self._stopped = patience, False
        self._names, self._interval, self._symbols, self._heard = names, interval, symbols, heard
        self._loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close the streams and end the thread."""

        self._stopped = True

        def cancel() -> None:
            for task in self._tasks:
                task.cancel()

        self._loop.call_soon_threadsafe(cancel)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._follow_all())
        finally:
            self._loop.close()

    async def _follow_all(self) -> None:
        name, base_url, socket_url = self._names
        exchange = open_exchange(name, base_url, socket_url, asynchronous=True)
        try:
            self._ready.set()
            await self._load(exchange)
            if self._stopped:
                return
            self._hear_closed(exchange)
            self._tasks = [asyncio.ensure_future(self._follow(exchange, symbol)) for symbol in self._symbols]
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            await exchange.close()

    async def _load(self, exchange: Any) -> None:
        wait = self._patience
        while not self._stopped:
            try:
                await exchange.load_markets()
                return
            except Exception:  # an exchange that is away when a stream begins
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    async def _follow(self, exchange: Any, symbol: str) -> None:
        wait = self._patience
        while True:
            try:
                await exchange.watch_ohlcv(symbol, self._interval)
                wait = self._patience
            except asyncio.CancelledError:
                raise
            except Exception:  # any break of the stream; what was missed is asked for by REST
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _hear_closed(self, exchange: Any) -> None:
        """Have the exchange's messages about bars looked at before ccxt drops the word that a bar is closed.

        It is the `x` of Binance's kline. Bars of exchanges without it are asked for.
        """
        handle = getattr(exchange, "handle_ohlcv", None)
        if handle is None:
            return
        by_id = {exchange.market_id(symbol): symbol for symbol in self._symbols}

        def look(client: Any, message: Any) -> None:
            kline = message.get("k") if isinstance(message, dict) else None
            if isinstance(kline, dict) and kline.get("x") is True and kline.get("s") in by_id:
                candle = Candle(int(kline["t"]), *(float(kline[name]) for name in "ohlcv"))
                self._heard.put(Heard(by_id[kline["s"]], candle))
            handle(client, message)

        exchange.handle_ohlcv = look
