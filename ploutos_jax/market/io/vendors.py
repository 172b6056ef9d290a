"""Data vendors: one ticker's bars as a frame, whoever serves them. Others than Yahoo join through `Vendor`."""

import csv
import io
import urllib.error
import urllib.parse
import urllib.request
import warnings
from typing import Any, Protocol

import pandas as pd

from ploutos_jax.market.io.actions import paid_per_share

COLUMNS = ("date", "open", "high", "low", "close", "volume", "dividend", "split")
SP500_LIST = "https://raw.githubusercontent.com/datasets/s-and-p-500-companies/main/data/constituents.csv"
_TIMEOUT_SECONDS = 30


class NoBarsError(ValueError):
    """The vendor answers that it has no such bars: asking again would not help."""


class Vendor(Protocol):
    """Source of bars.

    Attributes:
        name: written into the files that hold its bars.
    """

    name: str

    def fetch(self, ticker: str, interval: str, *, period: str | None = None, start: Any = None) -> pd.DataFrame:
        """Return the bars of a ticker, times ascending, with `COLUMNS`.

        Args:
            ticker: as the vendor writes it.
            interval: such as `1d`.
            period: up to now, such as `5y`; or
            start: the first time.

        Returns:
            A frame whose `date` is a day without zone for daily bars and longer ones, else the start of the bar in
            UTC. `dividend` is cash per share, 0 for none; `split` new shares per old one, 1 for none.

        Raises:
            NoBarsError: if there are none; any other error may pass when it is asked again.
        """
        ...

    def sector(self, ticker: str) -> str | None:
        """Return the sector of a ticker, or None where it is not known."""
        ...


class Yahoo:
    """Yahoo Finance, through yfinance (extra `download`).

    Prices are adjusted for splits up to now (not for dividends), dividends likewise. A fund's capital gain is added to
    its dividend unless the fall of the price tells that it is in there already.

    Args:
        base_url: address of a mirror that all requests go to instead.

    Raises:
        ValueError: if yfinance is not installed.
    """

    name = "yahoo"

    def __init__(self, base_url: str | None = None) -> None:
        try:
            import yfinance
            import yfinance.data
            import yfinance.exceptions
        except ImportError:
            raise ValueError("Downloads need yfinance: pip install 'ploutos_jax[download]'.") from None
        self._yfinance = yfinance
        # Else errors of the network are swallowed and look as if there were no such ticker.
        yfinance.config.debug.hide_exceptions = False
        self._session = None if base_url is None else _redirected_session(base_url)

    def fetch(self, ticker: str, interval: str, *, period: str | None = None, start: Any = None) -> pd.DataFrame:
        """Return bars; see `Vendor.fetch`."""
        span = {"period": period} if start is None else {"start": start}
        missing = self._yfinance.exceptions.YFTickerMissingError
        how = {"auto_adjust": False, "actions": True, "raise_errors": True, "timeout": _TIMEOUT_SECONDS}
        try:
            with warnings.catch_warnings():
                # yfinance's own use of pandas; there is nothing to be done about it here.
                warnings.simplefilter("ignore")
                bars = self._ticker(ticker).history(interval=interval, **how, **span)
        except missing as error:
            raise NoBarsError(" ".join(str(error).split())) from None
        except Exception:
            # yfinance keeps answers, faulty ones too, and would read them again instead of asking.
            self._yfinance.data.YfData.cache_get.cache_clear()
            raise
        if bars.empty:
            raise NoBarsError("no bars in this span")
        return _from_yahoo(bars, is_intraday=interval.endswith(("m", "h")))

    def sector(self, ticker: str) -> str | None:
        """Return the sector by Yahoo's own names, or None if it does not say."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._ticker(ticker).info.get("sector")

    def _ticker(self, ticker: str) -> Any:
        return self._yfinance.Ticker(ticker, session=self._session)


def _from_yahoo(bars: pd.DataFrame, *, is_intraday: bool) -> pd.DataFrame:
    index = pd.DatetimeIndex(bars.index)
    dates = index.tz_convert("UTC") if is_intraday else index.tz_localize(None).normalize()
    split = bars["Stock Splits"].replace(0.0, 1.0)
    paid = bars["Dividends"]
    if "Capital Gains" in bars:
        fall = (bars["Close"].shift() - bars["Close"]).to_numpy("float64")
        dividend, gain = (bars[name].fillna(0.0).to_numpy("float64") for name in ("Dividends", "Capital Gains"))
        paid = pd.Series(paid_per_share(dividend, gain, fall), index=bars.index)
    columns = {name: bars[name.capitalize()] for name in ("open", "high", "low", "close", "volume")}
    columns |= {"dividend": paid, "split": split}
    frame = pd.DataFrame({name: column.to_numpy("float64") for name, column in columns.items()})
    frame.insert(0, "date", dates)
    return frame


def _redirected_session(base_url: str) -> Any:
    """Return a session that asks one address for everything, path and query unchanged."""
    from curl_cffi import requests

    class Redirected(requests.Session):
        def request(self, method: Any, url: str, *args: Any, **kwargs: Any) -> Any:
            parts = urllib.parse.urlsplit(url)
            there = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            return super().request(method, base_url.rstrip("/") + there, *args, **kwargs)

    return Redirected(impersonate="chrome")


def read_sp500(url: str = SP500_LIST) -> dict[str, str]:
    """Return today's members of the S&P 500 with their GICS sectors.

    Args:
        url: a CSV with the columns Symbol and GICS Sector (or ticker and sector).

    Returns:
        Ticker -> sector, tickers as Yahoo writes them (`BRK-B`).

    Raises:
        ValueError: if it cannot be read or has no such columns.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read().decode("utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"The list of tickers {url} cannot be read: {error}. Give another --list-url.") from None
    rows = list(csv.DictReader(io.StringIO(text)))
    names = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}
    ticker = next((names[name] for name in ("symbol", "ticker") if name in names), None)
    sector = next((names[name] for name in ("gics sector", "sector") if name in names), None)
    if ticker is None:
        raise ValueError(
            f"The list of tickers {url} has no column Symbol or ticker; found {', '.join(names) or 'none'}."
        )
    return {row[ticker].strip().replace(".", "-"): (row[sector] or "").strip() if sector else "" for row in rows}
