"""Instruments: what kind of thing a ticker is, as far as its name, its exchange and its bars tell.

The broker's default costs are those of US equities. They fit nothing else: half a cent is 50 bps of a currency pair and
a thousand times the price of some coins. What a ticker is taken for is a fact next to the calendar, with the reason.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

import numpy as np

from ploutos_jax.market.calendar import is_open_around_the_clock, runs_on_weekends

InstrumentName = Literal["us-equity", "crypto", "fx", "futures", "generic"]
INSTRUMENTS: tuple[str, ...] = get_args(InstrumentName)
US_EQUITY = "us-equity"

SUB_PENNY = 0.01
"""Median price below which nothing is taken for a stock of a US exchange, in dollars."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CURRENCIES = _words(
    "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK PLN CZK HUF RON TRY ZAR MXN BRL CNY CNH HKD SGD KRW INR "
    "THB ILS RUB IDR TWD PHP MYR CLP COP XAU XAG "
)
_COINS = _words("BTC XBT ETH XRP DOGE SOL ADA LTC BCH DOT AVAX SHIB PEPE LINK BNB TRX MATIC XLM UNI ATOM ETC XMR NEAR ")
_STABLE = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD")
_FUTURES_ROOTS = "ES|NQ|YM|RTY|MES|MNQ|CL|GC|SI|HG|NG|ZB|ZN|ZF|ZT|ZC|ZS|ZW|6[ABCEJS]"
_US_EXCHANGES = _words("XNYS XNAS ARCX XASE BATS IEXG NYSE NASDAQ AMEX")
_FUTURES_EXCHANGES = _words("CMES CME XCME CBOT XCBT COMEX NYMEX XNYM CFE XCBF IEPA ICE ICEUS us_futures ")
_FOREIGN_SUFFIXES = _words(
    "L T F V AX TO CN NE HK PA DE BE MU DU HM SG AS MI SW VX ST OL CO HE KS KQ SS SZ NS BO SA MX SI TW "
    "TWO NZ JK BK KL IS TA JO LS BR VI IR WA AT BA SN MC "
)
_NEUTRAL_ZONES = ("America/", "US/", "Etc/", "UTC", "GMT", "EST")


class Venue(NamedTuple):
    """What an exchange says of its market of a ticker; None where it does not tell.

    Attributes:
        tick_size: smallest step of a price, dollars.
        lot_size: smallest step of an amount, units.
        min_notional: least dollars of an order.
        maker, taker: fees, fractions of the value traded.
    """

    tick_size: float | None = None
    lot_size: float | None = None
    min_notional: float | None = None
    maker: float | None = None
    taker: float | None = None

    @classmethod
    def read(cls, facts: Mapping[str, Any], what: str) -> "Venue":
        """Return what a file says of a market.

        Args:
            facts: by the names of the attributes; others are left out.
            what: names the file and the market in messages.

        Raises:
            ValueError: if one is no number, or below 0; rebates, which a maker may get, count as 0.
        """
        known: dict[str, float | None] = {}
        for name in cls._fields:
            value = facts.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise ValueError(f"{what}: {name} is {value!r}, which is no number.")
            if value is not None and not (np.isfinite(value) and (value >= 0 or name == "maker")):
                raise ValueError(f"{what}: {name} is {value}; it must be a number of 0 or more.")
            known[name] = None if value is None else max(float(value), 0.0)
        return cls(**known)


class Instrument(NamedTuple):
    """What a ticker is taken for, one of `INSTRUMENTS`, and why; the reason of `us-equity` is empty.

    `venue` is what the exchange says of its market, where that is known.
    """

    name: str
    why: str = ""
    venue: Venue | None = None


class _Grid(NamedTuple):
    """Whether any session of a grid falls on a weekend, and whether its sessions hold several bars."""

    weekends: bool
    clock: bool


def find_instruments(
    symbols: Sequence[str],
    times: np.ndarray,
    sessions: np.ndarray,
    close: np.ndarray,
    *,
    exchange: str | None = None,
    zone: ZoneInfo | None = None,
) -> tuple[Instrument, ...]:
    """Return what each ticker is taken for.

    In this order: the name of a currency pair, of a pair of a coin, of a future, the suffix of an exchange outside the
    US; the exchange that the user names; bars on both days of the weekend (crypto), on one of them (generic), around
    the clock on weekdays (fx); a time zone outside America; a median price below `SUB_PENNY` dollars (generic).
    Whatever is left is a US equity.

    Args:
        symbols: A tickers.
        times: `[T]` datetime64[ns], UTC where intraday.
        sessions: `[T]` trading days since 1970-01-01.
        close: `[T, A]` prices, NaN (or 0, or below) where there is no bar.
        exchange: its code, as the library exchange_calendars has it; None where the user names none.
        zone: of the exchange; None where the user names none.
    """
    times, sessions = np.asarray(times), np.asarray(sessions).astype(np.int64)
    close, whole = np.asarray(close), _of_exchange(exchange)
    # A grid without weekends or times of day spares a look at each of hundreds of tickers.
    days = np.unique(sessions)
    knows = _Grid(weekends=bool(((days + 3) % 7 > 4).any()), clock=len(times) > 1.5 * len(days))
    found = []
    for column, symbol in enumerate(symbols):
        named = _of_name(symbol) or whole
        found.append(named or _of_bars(times, sessions, close[:, column], zone, knows))
    return tuple(found)


def describe_instruments(symbols: Sequence[str], instruments: Sequence[Instrument], few: int = 5) -> dict[str, str]:
    """Return, for each kind but US equities, in words which tickers are taken for it and why."""
    groups: dict[Instrument, list[str]] = {}
    for symbol, instrument in zip(symbols, instruments, strict=True):
        if instrument.name != US_EQUITY:
            groups.setdefault(instrument._replace(venue=None), []).append(symbol)
    told: dict[str, list[str]] = {}
    for instrument, names in groups.items():
        shown = ", ".join(names[:few]) + (f", … ({len(names)} in all)" if len(names) > few else "")
        told.setdefault(instrument.name, []).append(f"{shown} ({instrument.why})")
    return {name: "; ".join(parts) for name, parts in told.items()}


def _of_name(symbol: str) -> Instrument | None:
    name = symbol.strip().upper()
    pair = re.fullmatch(r"([A-Z]{3})[/_.:-]?([A-Z]{3})(=X)?", name)
    if pair and pair[1] != pair[2] and {pair[1], pair[2]} <= _CURRENCIES:
        return Instrument("fx", "named like a currency pair")
    coin = re.fullmatch(r"([A-Z0-9]{2,15})[/_:-]([A-Z]{3,5})", name)
    is_quote = coin is not None and (coin[2] in _CURRENCIES or coin[2] in _STABLE or coin[2] in ("BTC", "ETH"))
    joined = any(name.startswith(base) and name[len(base) :] in _CURRENCIES for base in _COINS)
    if is_quote or joined or (name.endswith(_STABLE) and len(name) > 5):
        return Instrument("crypto", "named like a pair of a coin")
    if name.endswith("=F") or re.fullmatch(rf"[A-Z0-9]+\d!|({_FUTURES_ROOTS})[FGHJKMNQUVXZ]\d{{1,4}}", name):
        return Instrument("futures", "named like a future")
    suffix = re.fullmatch(r"[A-Z0-9&-]+\.([A-Z]{1,3})", name)
    if (suffix and suffix[1] in _FOREIGN_SUFFIXES) or re.fullmatch(r"\d{4,6}", name):
        return Instrument("generic", "named like a stock of an exchange outside the US")
    return None


def _of_exchange(code: str | None) -> Instrument | None:
    if code is None:
        return None
    if code in _US_EXCHANGES:
        return Instrument(US_EQUITY)
    if code == "24/7":
        return Instrument("crypto", "exchange 24/7")
    return Instrument("futures" if code in _FUTURES_EXCHANGES else "generic", f"exchange {code}")


def _of_bars(
    times: np.ndarray, sessions: np.ndarray, close: np.ndarray, zone: ZoneInfo | None, knows: _Grid
) -> Instrument:
    own = np.isfinite(close) & (close > 0)
    if not own.any():
        return Instrument(US_EQUITY)
    saturdays, sundays = runs_on_weekends(np.unique(sessions[own])) if knows.weekends else (False, False)
    if saturdays and sundays:
        return Instrument("crypto", "bars on all seven days of the week")
    if knows.clock and is_open_around_the_clock(times[own]):
        return Instrument("fx", "bars around the clock on weekdays")
    if saturdays or sundays:
        return Instrument("generic", "bars on a day of the weekend")
    if zone is not None and not zone.key.startswith(_NEUTRAL_ZONES):
        return Instrument("generic", f"time zone {zone.key}")
    if np.median(close[own]) < SUB_PENNY:
        return Instrument("generic", "prices below a cent")
    return Instrument(US_EQUITY)
