"""Alpaca as a vendor of bars, through alpaca-py (extra `live`): stocks and coins as traded, with splits and dividends.

Keys come from the environment alone. They are in no message: whatever an answer says is told by its status and by a
text that the keys were taken out of.
"""

import dataclasses
import logging
import os
import time
import urllib.parse
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ploutos_jax.market.io.exchange import Candle, first_of
from ploutos_jax.market.io.trading_hours import DAY_MS, TradingHours
from ploutos_jax.market.io.vendors import COLUMNS, NoBarsError
from ploutos_jax.market.io.venue_clock import VenueClock

Answer = TypeVar("Answer")
KEY_NAMES = ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")
"""Variables of the environment that hold the keys, by Alpaca's own names."""
STOCK_MINUTES = {"1m": 1, "2m": 2, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1d": 1440}
COIN_MINUTES = STOCK_MINUTES | {"60m": 60, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480, "12h": 720}
"""Lengths of bars. Those of an hour of stocks begin on the hour, and the first holds half an hour before the open."""
FEEDS = ("iex", "sip")
_TIMEOUT_SECONDS = 30.0
_LATER_DAYS, _RENEW_DAYS = 90, 30


class AlpacaError(RuntimeError):
    """Alpaca did not do what it was asked for.

    Attributes:
        status: of its answer; None where there was none.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


@dataclasses.dataclass(frozen=True, repr=False)
class Keys:
    """Keys of an account; what prints them prints nothing of them."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(...)"

    @classmethod
    def read(cls) -> "Keys":
        """Return those of the environment.

        Raises:
            ValueError: if one is missing.
        """
        missing = [name for name in KEY_NAMES if not os.environ.get(name)]
        if missing:
            raise ValueError(
                f"Alpaca needs keys in the environment: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'}"
                " not set. Make them in Alpaca's dashboard for its paper account."
            )
        return cls(*(os.environ[name] for name in KEY_NAMES))

    def out_of(self, text: str) -> str:
        """Return a text without the keys."""
        for secret in (self.secret, self.key):
            text = text.replace(secret, "…")
        return text


def load_sdk() -> SimpleNamespace:
    """Return what is used of alpaca-py.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Its streams use an interface that websockets calls old.
            warnings.simplefilter("ignore")
            from alpaca.data import historical, live, requests, timeframe
            from alpaca.data.historical.corporate_actions import CorporateActionsClient
            from alpaca.trading.client import TradingClient
            from alpaca.trading.requests import GetCalendarRequest, MarketOrderRequest
    except ImportError:
        raise ValueError("Alpaca needs alpaca-py: pip install 'ploutos_jax[live]'.") from None
    # What it logs of a stream that breaks are tracebacks; whoever listens is told in words.
    logging.getLogger("alpaca").setLevel(logging.CRITICAL)
    return SimpleNamespace(
        historical=historical,
        live=live,
        requests=requests,
        timeframe=timeframe,
        CorporateActionsClient=CorporateActionsClient,
        TradingClient=TradingClient,
        GetCalendarRequest=GetCalendarRequest,
        MarketOrderRequest=MarketOrderRequest,
    )


def bound(client: Any, seconds: float = _TIMEOUT_SECONDS) -> Any:
    """Return a client of alpaca-py, whose requests wait for ever, with a limit to how long they do."""
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        def send(
            self,
            request: Any,
            stream: bool = False,
            timeout: Any = None,
            verify: Any = True,
            cert: Any = None,
            proxies: Any = None,
        ) -> Any:
            return super().send(request, stream, timeout or seconds, verify, cert, proxies)

    for scheme in ("https://", "http://"):
        client._session.mount(scheme, Bounded())
    return client


def ask(keys: Keys, call: Callable[..., Answer], *args: Any, **more: Any) -> Answer:
    """Return what a call of alpaca-py returns.

    Raises:
        ValueError: if the keys are refused.
        AlpacaError: of any other failure.
    """
    from alpaca.common.exceptions import APIError
    from requests.exceptions import RequestException

    try:
        return call(*args, **more)
    except APIError as error:
        status = error.status_code
        said = keys.out_of(" ".join(str(error).split())[:200])
    except RequestException as error:
        raise AlpacaError(f"Alpaca does not answer ({type(error).__name__})") from None
    if status == 401:
        raise ValueError(f"Alpaca refuses the keys in {' and '.join(KEY_NAMES)} (401).")
    raise AlpacaError(f"Alpaca answers {status}: {said}", status)


def is_coin(ticker: str) -> bool:
    """Return whether a ticker is a pair of a coin, such as BTC/USD."""
    return "/" in ticker


class AlpacaData:
    """Bars, calendar and clock.

    Args:
        coins: whether the tickers are pairs of coins.
        feed: `iex` or `sip` of stocks; None for the best that the account may ask for.
        base_url: address that all requests go to instead.
        clock: seconds since 1970 by this machine.

    Raises:
        ValueError: if alpaca-py or a key is missing.
    """

    def __init__(
        self,
        *,
        coins: bool = False,
        feed: str | None = None,
        base_url: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.sdk, self.keys, self.coins, self._feed = load_sdk(), Keys.read(), coins, feed
        if feed is not None and feed not in FEEDS:
            raise ValueError(f"feed={feed!r} is unknown; use {' or '.join(FEEDS)}.")
        given = {"api_key": self.keys.key, "secret_key": self.keys.secret, "url_override": base_url, "raw_data": True}
        bars = (
            self.sdk.historical.CryptoHistoricalDataClient if coins else self.sdk.historical.StockHistoricalDataClient
        )
        self._bars = bound(bars(**given))
        self._actions = bound(self.sdk.CorporateActionsClient(**given))
        self._trading = bound(self.sdk.TradingClient(paper=True, **given))
        self._clock = VenueClock(self._ask_clock, clock)
        self._hours: TradingHours | None = None

    def now(self) -> float:
        """Return Alpaca's clock, seconds since 1970."""
        return self._clock.now()

    def _ask_clock(self) -> float:
        return datetime.fromisoformat(ask(self.keys, self._trading.get_clock)["timestamp"]).timestamp()

    def hours(self, first: int, now: int) -> TradingHours | None:
        """Return when stocks trade, from a moment to weeks after now; None of coins, which always do.

        Args:
            first, now: milliseconds since 1970.
        """
        if self.coins:
            return None
        known = self._hours
        if known is not None and known.opens[0] <= first + 7 * DAY_MS and known.closes[-1] > now + _RENEW_DAYS * DAY_MS:
            return known
        begin = min(first, first if known is None else int(known.opens[0])) - 7 * DAY_MS
        span = self.sdk.GetCalendarRequest(start=_day(begin), end=_day(now + _LATER_DAYS * DAY_MS))
        try:
            self._hours = TradingHours.read(ask(self.keys, self._trading.get_calendar, span))
        except AlpacaError:
            if known is None:
                raise
        return self._hours

    def candles(self, ticker: str, interval: str, first: int, end: int | None = None) -> list[Candle]:
        """Return the bars of a ticker that begin in [first, end) milliseconds since 1970, closed or not.

        Those of a day begin at midnight UTC of their day. Pages are joined, and a busy Alpaca is given time, by
        alpaca-py.

        Args:
            ticker: such as `AAPL` or `BTC/USD`.
            interval: see `minutes_of`.
            first, end: without an end as far as the account may see.
        """
        frame, minutes = self.sdk.timeframe, minutes_of(interval, coins=self.coins)
        unit = frame.TimeFrameUnit
        size = (
            frame.TimeFrame(1, unit.Day)
            if minutes == 1440
            else frame.TimeFrame(minutes // 60, unit.Hour)
            if minutes >= 60
            else frame.TimeFrame(minutes, unit.Minute)
        )
        # The end of a request is part of it.
        span = {"start": _moment(first), "end": None if end is None else _moment(end - 1)}
        if self.coins:
            request = self.sdk.requests.CryptoBarsRequest(symbol_or_symbols=ticker, timeframe=size, **span)
            rows = ask(self.keys, self._bars.get_crypto_bars, request)
        else:
            more = {"adjustment": "raw", "feed": self._feed}
            request = self.sdk.requests.StockBarsRequest(symbol_or_symbols=ticker, timeframe=size, **span, **more)
            rows = ask(self.keys, self._bars.get_stock_bars, request)
        found = {}
        for row in rows.get(ticker) or ():
            moment = int(np.datetime64(row["t"].rstrip("Z"), "ms").astype(np.int64))
            # A day of stocks begins at midnight of New York.
            moment -= moment % DAY_MS if minutes == 1440 else 0
            if first <= moment and (end is None or moment < end):
                found[moment] = Candle(moment, *(float(row[name]) for name in "ohlcv"))
        return [found[moment] for moment in sorted(found)]

    def events(
        self, tickers: Sequence[str], first_day: int, last_day: int
    ) -> dict[str, dict[int, tuple[float, float]]]:
        """Return cash per share and new shares per old one by ticker and ex-day; of coins none.

        Args:
            tickers: whose.
            first_day, last_day: days since 1970-01-01.
        """
        if self.coins:
            return {}
        types = ["cash_dividend", "forward_split", "reverse_split"]
        span = {"start": _day(first_day * DAY_MS), "end": _day(last_day * DAY_MS)}
        request = self.sdk.requests.CorporateActionsRequest(symbols=list(tickers), types=types, **span)
        found: dict[str, dict[int, tuple[float, float]]] = {ticker: {} for ticker in tickers}
        for kind, rows in ask(self.keys, self._actions.get_corporate_actions, request).items():
            for row in rows:
                own = found.setdefault(row["symbol"], {})
                day = int(np.datetime64(row["ex_date"], "D").astype(np.int64))
                cash, shares = own.get(day, (0.0, 1.0))
                if kind == "cash_dividends":
                    cash += float(row["rate"])
                elif kind in ("forward_splits", "reverse_splits"):
                    shares *= float(row["new_rate"]) / float(row["old_rate"])
                own[day] = cash, shares
        return found


def minutes_of(interval: str, *, coins: bool) -> int:
    """Return the length of a bar.

    Raises:
        ValueError: if there are no such bars.
    """
    known = COIN_MINUTES if coins else STOCK_MINUTES
    if interval not in known:
        why = ""
        if not coins and interval in COIN_MINUTES:
            why = " Longer ones begin on the hour, so that the first holds trades before the open."
        kind = "coins" if coins else "stocks"
        raise ValueError(f"Alpaca serves no bars of {interval!r} of {kind}; use one of {', '.join(known)}.{why}")
    return known[interval]


class Alpaca:
    """A `Vendor`: closed bars of the regular session, as traded, with splits and dividends beside them.

    Args:
        feed: `iex` or `sip` of stocks; None for the best that the account may ask for.
        base_url: address that all requests go to instead.

    Raises:
        ValueError: if alpaca-py or a key is missing.
    """

    name = "alpaca"

    def __init__(self, feed: str | None = None, base_url: str | None = None) -> None:
        self._data = {coins: AlpacaData(coins=coins, feed=feed, base_url=base_url) for coins in (False, True)}

    def fetch(self, ticker: str, interval: str, *, period: str | None = None, start: Any = None) -> pd.DataFrame:
        """Return closed bars; see `Vendor.fetch`."""
        data = self._data[is_coin(ticker)]
        try:
            step = 60_000 * minutes_of(interval, coins=data.coins)
        except ValueError as error:
            raise NoBarsError(str(error)) from None
        now = int(1000 * data.now())
        first = first_of(period, now) if start is None else int(pd.Timestamp(start).value // 1_000_000)
        try:
            hours = data.hours(first, now)
            candles = data.candles(ticker, interval, first)
            events = data.events([ticker], first // DAY_MS, now // DAY_MS).get(ticker, {})
        except AlpacaError as error:
            if error.status in (400, 403, 404, 422):
                raise NoBarsError(str(error)) from None
            raise
        candles = [candle for candle in candles if _is_closed(candle.time, step, now, hours)]
        if not candles:
            raise NoBarsError("no closed bars in this span")
        values = np.array(candles, np.float64)
        moments = values[:, 0].astype(np.int64)
        dates = pd.to_datetime(moments, unit="ms", utc=True)
        if step >= DAY_MS:
            dates = dates.tz_localize(None)
        dividend, split = _on_rows(events, moments, hours)
        frame: dict[str, Any] = {name: values[:, i] for i, name in enumerate(Candle._fields) if i}
        frame |= {"date": dates, "dividend": dividend, "split": split}
        return pd.DataFrame({name: frame[name] for name in COLUMNS})

    def sector(self, ticker: str) -> str | None:
        """Return None: Alpaca does not say."""
        return None


def _is_closed(begin: int, step: int, now: int, hours: TradingHours | None) -> bool:
    """Return whether a bar is over and of the regular session."""
    if hours is None:
        return begin + step <= now
    if step >= DAY_MS:
        return hours.is_over(begin // DAY_MS, now)
    return begin + step <= now and hours.holds(begin)


def _on_rows(
    events: dict[int, tuple[float, float]], moments: np.ndarray, hours: TradingHours | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return dividends and splits `[T]`, each on the first bar of its day, or the first later one."""
    dividend, split = np.zeros(len(moments)), np.ones(len(moments))
    days = moments // DAY_MS
    if hours is not None and len(moments) and (moments % DAY_MS).any():
        days = np.array([hours.day_of(int(moment)) for moment in moments])
    for day in sorted(events):
        row = int(np.searchsorted(days, day))
        # What went ex before the first bar is in its price.
        if row < len(days) and not (row == 0 and day < days[0]):
            cash, shares = events[day]
            split[row] *= shares
            dividend[row] = dividend[row] / shares + cash
    return dividend, split


def is_loopback(url: str) -> bool:
    """Return whether an address is of this machine."""
    return urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _moment(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _day(milliseconds: int) -> date:
    return _moment(milliseconds).date()
