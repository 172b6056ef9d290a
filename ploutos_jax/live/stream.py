"""Closed bars out of a stream that breaks, repeats itself and leaves things out; REST says what really was.

A row is closed when the venue's clock has passed its end. A symbol's bar is taken from the socket only where the venue
has called it closed there, once or alike, and all before it are known; in every other case it is asked for. Once a row
has gone out it stays: what comes later, or otherwise, is told and not traded.

Letters: A assets.
"""

import contextlib
import dataclasses
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ploutos_jax.live.bars import ClosedBar
from ploutos_jax.market.io.exchange import Candle
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel

_PATIENCE_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_GRACE = 0.05
"""Share of a bar, at most `_MOST_GRACE_SECONDS`, that a venue is given to send its last word on one."""
_MOST_GRACE_SECONDS = 3.0


class Heard(NamedTuple):
    """What a socket said: a bar of a symbol, with the venue's word that it is closed."""

    symbol: str
    candle: Candle


class Feed(Protocol):
    """A venue's bars.

    Attributes:
        name: such as `ccxt:binance`.
        seconds: length of a bar.
    """

    @property
    def name(self) -> str: ...

    @property
    def seconds(self) -> float: ...

    def now(self) -> float:
        """Return the venue's clock, seconds since 1970."""
        ...

    def fetch(self, symbol: str, first: int, end: int) -> list[Candle]:
        """Return the bars of a symbol that begin in [first, end) milliseconds since 1970, closed or not."""
        ...

    def listen(self, symbols: Sequence[str], heard: "queue.Queue[Heard]") -> Callable[[], None]:
        """Put closed bars that the socket tells of into a queue until the function returned is called; or none."""
        ...

    def first_from(self, moment: int) -> int:
        """Return when the first bar begins that does so at a moment or later, milliseconds since 1970."""
        ...

    def session_of(self, start: int) -> int:
        """Return the trading day of a bar, days since 1970-01-01."""
        ...

    def next_session(self, start: int) -> int | None:
        """Return the trading day of the bar after one; None where the times of the bars tell."""
        ...

    def events(
        self, symbols: Sequence[str], first_day: int, last_day: int
    ) -> Mapping[str, Mapping[int, tuple[float, float]]] | None:
        """Return what went ex on trading days: dollars per share and new shares per old one, by symbol and day.

        None where there is no such thing.
        """
        ...


class Stream:
    """A source of closed bars from a feed; see `Source`.

    Args:
        feed: of a venue.
        labels: tickers, calendar and instruments.
        say: told of bars that were revised or came late, and of a venue that does not answer.
        sleep: waits, seconds.
    """

    def __init__(
        self,
        feed: Feed,
        labels: Labels,
        *,
        say: Callable[[str, str], None] = lambda kind, text: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self.labels, self.seconds = feed.name, labels, feed.seconds
        self._feed, self._say, self._sleep = feed, say, sleep
        self._step = int(1000 * feed.seconds)
        self._grace = 1000 * min(_GRACE * feed.seconds, _MOST_GRACE_SECONDS)
        self._candles: dict[str, dict[int, Candle]] = {symbol: {} for symbol in labels.symbols}
        self._doubted: dict[str, set[int]] = {symbol: set() for symbol in labels.symbols}
        self._given: dict[str, Candle | None] = {}
        self._given_at = 0
        self._known_until: dict[str, int] = {}
        self._wait = _PATIENCE_SECONDS
        self._first: int | None = None
        self._session: int | None = None
        self._events: Mapping[str, Mapping[int, tuple[float, float]]] | None = None

    def history(self, num_bars: int) -> Panel | None:
        """Return closed bars before now, from REST; see `Source.history`. The bar under way comes next."""
        end = int(1000 * self._feed.now()) // self._step * self._step
        self._first = self._feed.first_from(end)
        # A market that closes needs a longer span for as many bars.
        share = min(
            1.0, (self.labels.calendar.bars_per_year if self.labels.calendar else 1e9) * self.seconds / 31_557_600
        )
        first = end - int(1.3 * num_bars * self._step / max(share, 1e-3))
        first -= first % self._step
        by_symbol = {symbol: self._feed.fetch(symbol, first, end) for symbol in self.labels.symbols}
        times = sorted({candle.time for candles in by_symbol.values() for candle in candles})[-num_bars:]
        if not times:
            return None
        rows = {symbol: {candle.time: candle for candle in candles} for symbol, candles in by_symbol.items()}
        # The first row of a history lies after what went ex on its day.
        self._session = self._feed.session_of(times[0])
        self._events = self._feed.events(self.labels.symbols, self._session, self._feed.session_of(times[-1]))
        return _panel([self._row({s: rows[s].get(t) for s in self.labels.symbols}, t) for t in times], self.labels)

    def bars(self, after: np.datetime64 | None) -> Iterator[ClosedBar | None]:
        """Yield closed bars as they come, None once a second without one; see `Source.bars`. It has no end."""
        if after is not None:
            last = _milliseconds(after)
            start, self._session = self._feed.first_from(last + self._step), self._feed.session_of(last)
        elif self._first is not None:
            start = self._first
        else:
            start = self._feed.first_from(int(1000 * self._feed.now()) // self._step * self._step)
        self._known_until = dict.fromkeys(self.labels.symbols, start)
        heard: queue.Queue[Heard] = queue.Queue()
        stop = self._feed.listen(self.labels.symbols, heard)
        try:
            while True:
                self._take(heard)
                now = 1000 * self._feed.now()
                if now < start + self._step + self._grace:
                    left = (start + self._step + self._grace - now) / 1000
                    self._hear(heard, min(left, _PATIENCE_SECONDS))
                    yield None
                    continue
                closed = int(now - self._grace) // self._step * self._step
                if not self._complete(start, closed):
                    yield None
                    continue
                found = {symbol: self._candles[symbol].pop(start, None) for symbol in self.labels.symbols}
                if any(candle is not None for candle in found.values()):
                    while not self._know_events(self._feed.session_of(start)):
                        yield None
                    self._given, self._given_at = found, start
                    yield self._row(found, start)
                start = self._feed.first_from(start + self._step)
        finally:
            stop()

    def has_missed(self, last: np.datetime64) -> bool:
        """Return whether a bar after one has closed by now; see `Source.has_missed`."""
        following = self._feed.first_from(_milliseconds(last) + self._step)
        return 1000 * self._feed.now() >= following + self._step

    def _hear(self, heard: "queue.Queue[Heard]", seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._one(heard.get(timeout=max(seconds, 1e-3)))

    def _take(self, heard: "queue.Queue[Heard]") -> None:
        while not heard.empty():
            self._one(heard.get())

    def _one(self, said: Heard) -> None:
        """Take in what the socket said: the next bar, one after a gap that is asked for later, or one again."""
        symbol, candle = said
        known = self._known_until[symbol]
        before = self._candles[symbol].get(candle.time, candle)
        if candle.time % self._step:
            self._say("feed", f"{symbol}: a bar that begins at {_moment(candle.time)}, between two; left out")
        elif before != candle:
            # Two last words on a bar that has not been traded: REST says which it is.
            del self._candles[symbol][candle.time]
            self._doubted[symbol].add(candle.time)
            self._known_until[symbol] = min(known, candle.time)
        elif candle.time < known:
            self._tell_revision(symbol, candle)
        elif candle.time not in self._doubted[symbol]:
            self._candles[symbol][candle.time] = candle
            while known in self._candles[symbol]:
                known = self._feed.first_from(known + self._step)
            self._known_until[symbol] = known

    def _tell_revision(self, symbol: str, candle: Candle) -> None:
        if candle.time == self._given_at and (given := self._given.get(symbol)) is not None and given != candle:
            self._say("feed", f"{symbol}: the bar of {_moment(candle.time)} was revised after it had been traded")

    def _complete(self, start: int, closed: int) -> bool:
        """Return whether what every symbol did in a row is known, having asked for what is not."""
        for symbol in self.labels.symbols:
            if self._known_until[symbol] > start:
                continue
            try:
                candles = self._feed.fetch(symbol, start, closed)
            except Exception as error:
                self._wait_after(symbol, error)
                return False
            self._wait = _PATIENCE_SECONDS
            own = self._candles[symbol]
            for moment in [moment for moment in own if moment < closed]:
                del own[moment]
            own |= {candle.time: candle for candle in candles if start <= candle.time < closed}
            self._doubted[symbol] = {moment for moment in self._doubted[symbol] if moment >= closed}
            self._known_until[symbol] = self._feed.first_from(closed)
        return True

    def _wait_after(self, whose: str, error: Exception) -> None:
        """Tell of an answer that did not come, by its kind alone: the text of an error may hold addresses."""
        self._say("feed", f"{whose}: no answer ({type(error).__name__}); asked again in {self._wait:.0f} s")
        self._sleep(self._wait)
        self._wait = min(2 * self._wait, _LONGEST_WAIT_SECONDS)

    def _know_events(self, session: int) -> bool:
        """Return whether it is known what went ex on a trading day and since the one before, having asked."""
        if session == self._session:
            return True
        first = session if self._session is None else self._session + 1
        try:
            self._events = self._feed.events(self.labels.symbols, first, session)
        except Exception as error:
            self._wait_after("dividends and splits", error)
            return False
        self._wait = _PATIENCE_SECONDS
        return True

    def _went_ex(self, session: int) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        """Return dividends and splits `[A]` of a row, which is the first of its session or has none; None if never."""
        events, last = self._events, self._session
        self._session = session
        if events is None:
            return None, None
        cash, shares = np.zeros(len(self.labels.symbols)), np.ones(len(self.labels.symbols))
        if last is not None and session > last:
            for a, symbol in enumerate(self.labels.symbols):
                own = events.get(symbol, {})
                for day in sorted(day for day in own if last < day <= session):
                    cash[a] = cash[a] / own[day][1] + own[day][0]
                    shares[a] *= own[day][1]
        return cash, shares

    def _row(self, found: dict[str, Candle | None], start: int) -> ClosedBar:
        values = np.array([candle[1:] if candle else [np.nan] * 4 + [0.0] for candle in found.values()], float)
        volume, session = values[:, 4], self._feed.session_of(start)
        cash, shares = self._went_ex(session)
        return ClosedBar(
            np.datetime64(start, "ms").astype("datetime64[ns]"),
            session,
            open=values[:, 0],
            high=values[:, 1],
            low=values[:, 2],
            close=values[:, 3],
            volume=volume,
            tradable=np.isfinite(values[:, 3]) & (volume > 0),
            next_session=self._feed.next_session(start),
            dividend=cash,
            split=shares,
        )


def _panel(rows: list[ClosedBar], labels: Labels) -> Panel:
    fields: dict[str, Any] = {
        name: np.stack([getattr(row, name) for row in rows])
        for name in ("open", "high", "low", "close", "volume", "tradable", "dividend", "split")
        if getattr(rows[0], name) is not None
    }
    return Panel(
        **fields,
        sessions=np.array([row.session for row in rows], np.int32),
        labels=dataclasses.replace(labels, times=np.array([row.time for row in rows])),
    )


def _milliseconds(time: np.datetime64) -> int:
    return int(time.astype("datetime64[ms]").astype(np.int64))


def _moment(time: int) -> str:
    return f"{np.datetime64(time, 'ms').astype('datetime64[s]')} UTC"
