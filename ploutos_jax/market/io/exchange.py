"""Coin exchanges as a vendor of bars, through ccxt (extra `live`): history, and what an exchange says of its markets.

Only public data is asked for; no key is read.
"""

import json
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ploutos_jax.market.io.markets_file import facts_file
from ploutos_jax.market.io.vendors import COLUMNS, NoBarsError

_PAGE = 1000
_DAY_MS = 86_400_000
_PERIOD = re.compile(r"(\d+)(d|wk|mo|y)")
_DAYS = {"d": 1, "wk": 7, "mo": 30.4375, "y": 365.25}
_FIRST_DAY_MS = 1_230_768_000_000  # 2009: before it there was no coin


class Candle(NamedTuple):
    """A bar as an exchange gives it: `time` is its start in milliseconds since 1970, `volume` in units of the base."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def open_exchange(name: str, base_url: str | None = None, socket_url: str | None = None, *, asynchronous: bool = False):
    """Return an exchange of ccxt.

    Args:
        name: as ccxt writes it, such as `binance`.
        base_url: address that all REST requests go to instead, paths unchanged.
        socket_url: the same for the streams.
        asynchronous: that of ccxt.pro, for streams.

    Raises:
        ValueError: if ccxt is not installed, or knows no such exchange.
    """
    try:
        import ccxt
        import ccxt.pro
    except ImportError:
        raise ValueError("Coin exchanges need ccxt: pip install 'ploutos_jax[live]'.") from None
    if name not in ccxt.exchanges:
        raise ValueError(f"exchange={name!r} is unknown to ccxt {ccxt.__version__}; write such as binance or kraken.")
    module: Any = ccxt.pro if asynchronous and name in ccxt.pro.exchanges else ccxt
    exchange = getattr(module, name)({"enableRateLimit": True, "options": {"fetchMarkets": ["spot"]}})
    if base_url is not None:
        exchange.urls["api"] = _redirected(exchange.urls["api"], base_url, socket_url or base_url)
    return exchange


def _redirected(urls: Any, base_url: str, socket_url: str) -> Any:
    if isinstance(urls, Mapping):
        return {name: _redirected(url, base_url, socket_url) for name, url in urls.items()}
    if not isinstance(urls, str):
        return urls
    parts = urllib.parse.urlsplit(urls)
    base = socket_url if parts.scheme in ("ws", "wss") else base_url
    return base.rstrip("/") + parts.path


def seconds_of(exchange: Any, interval: str) -> int:
    """Return the length of a bar.

    Raises:
        ValueError: if the exchange serves no such bars.
    """
    known = exchange.timeframes or {}
    if interval not in known:
        raise ValueError(f"{exchange.id} serves no bars of {interval!r}; use one of {', '.join(known)}.")
    return int(exchange.parse_timeframe(interval))


def fetch_candles(
    exchange: Any, symbol: str, interval: str, first: int, end: int, sleep: Callable[[float], None] = time.sleep
) -> list[Candle]:
    """Return the bars of a symbol that begin in [first, end), page by page, times ascending and each once.

    An exchange that is asked too often is given time; any other error is the caller's.

    Args:
        exchange: of ccxt.
        symbol: such as `BTC/USDT`.
        interval: such as `1h`.
        first, end: milliseconds since 1970.
        sleep: waits.
    """
    import ccxt

    found: dict[int, Candle] = {}
    wait, since = 1.0, first
    while since < end:
        try:
            rows = exchange.fetch_ohlcv(symbol, interval, since=since, limit=_PAGE)
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded):
            if wait > 60:
                raise
            sleep(wait)
            wait *= 2
            continue
        new = [Candle(int(row[0]), *map(float, row[1:6])) for row in rows if None not in row[:5]]
        found |= {candle.time: candle for candle in new if first <= candle.time < end}
        last = max((candle.time for candle in new), default=since - 1)
        if last < since:
            break
        since = last + 1
    return [found[moment] for moment in sorted(found)]


class Ccxt:
    """A coin exchange; a `Vendor`. Bars that are not closed yet are left out.

    Args:
        exchange: as ccxt writes it.
        base_url: address that all requests go to instead.

    Raises:
        ValueError: as `open_exchange` does.
    """

    def __init__(self, exchange: str, base_url: str | None = None) -> None:
        self.name = f"ccxt:{exchange}"
        self._exchange = open_exchange(exchange, base_url)

    def fetch(self, ticker: str, interval: str, *, period: str | None = None, start: Any = None) -> pd.DataFrame:
        """Return closed bars; see `Vendor.fetch`."""
        self._exchange.load_markets()
        if ticker not in self._exchange.markets:
            raise NoBarsError(f"{self._exchange.id} has no market {ticker}")
        seconds = seconds_of(self._exchange, interval)
        now = self.now()
        first = first_of(period, now) if start is None else int(pd.Timestamp(start).value // 1_000_000)
        candles = fetch_candles(self._exchange, ticker, interval, first, now - 1000 * seconds + 1)
        if not candles:
            raise NoBarsError("no closed bars in this span")
        values = np.array(candles, np.float64)
        dates = pd.to_datetime(values[:, 0].astype(np.int64), unit="ms", utc=True)
        if seconds >= _DAY_MS // 1000:
            dates = dates.tz_localize(None).normalize()
        columns = {name: values[:, i] for i, name in enumerate(Candle._fields) if i}
        frame: dict[str, Any] = {"date": dates, **columns, "dividend": 0.0, "split": 1.0}
        return pd.DataFrame({name: frame[name] for name in COLUMNS})

    def sector(self, ticker: str) -> str | None:
        """Return None: a coin has no sector."""
        return None

    def now(self) -> int:
        """Return the exchange's own time, milliseconds since 1970; that of this machine where it tells none."""
        return int(self._exchange.fetch_time()) if self._exchange.has.get("fetchTime") else int(1000 * time.time())

    def facts(self, tickers: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """Return what the exchange says of its markets; see `market_facts`."""
        self._exchange.load_markets()
        return {ticker: market_facts(self._exchange, ticker) for ticker in tickers if ticker in self._exchange.markets}


def market_facts(exchange: Any, symbol: str) -> dict[str, float | None]:
    """Return the rules of a market: `tick_size` (dollars), `lot_size` (units), `min_notional` (dollars), `maker` and
    `taker` (fractions of the value traded, those of an account without discounts); None where it does not tell.
    """
    import ccxt

    market = exchange.market(symbol)

    def step(value: Any) -> float | None:
        # Some exchanges count decimals, others give the step itself.
        if value is None:
            return None
        return float(value) if exchange.precisionMode == ccxt.TICK_SIZE else float(10.0 ** -int(value))

    def number(value: Any) -> float | None:
        return None if value is None else float(value)

    return {
        "tick_size": step(market["precision"]["price"]),
        "lot_size": step(market["precision"]["amount"]),
        "min_notional": number(market["limits"]["cost"]["min"]),
        "maker": number(market["maker"]),
        "taker": number(market["taker"]),
    }


def write_facts(path: Path, facts: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write the facts of markets beside the file of their bars, as `FILE.markets.json`; those of others stay."""
    file = facts_file(path)
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**known, **facts}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return file


def first_of(period: str | None, now: int) -> int:
    """Return when a span up to now begins, milliseconds since 1970: `60d`, `18mo`, `5y`, `ytd`; None and `max` are all.

    Raises:
        ValueError: if it is none.
    """
    if period in (None, "max"):
        return _FIRST_DAY_MS
    if period == "ytd":
        year = np.datetime64(now, "ms").astype("datetime64[Y]")
        return int(year.astype("datetime64[ms]").astype(np.int64))
    match = _PERIOD.fullmatch(period or "")
    if match is None:
        raise ValueError(f"period={period!r} is unknown; write such as 60d, 18mo, 5y, ytd or max.")
    return now - int(int(match[1]) * _DAYS[match[2]] * _DAY_MS)
