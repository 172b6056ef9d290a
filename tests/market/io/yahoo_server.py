"""A local HTTP server that answers as Yahoo's chart endpoint does: bars, dividends, splits, faults."""

import contextlib
import json
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

NEW_YORK_OPEN = 14 * 3600 + 30 * 60
"""Seconds after midnight UTC at which New York opens in winter; every bar of the server lies in winter time."""
VALID_RANGES = ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"]


class Stock:
    """One ticker's daily bars, adjusted for splits up to now, as Yahoo serves them."""

    def __init__(self, seed: int, first: str = "2024-11-04", num_bars: int = 60) -> None:
        rng = np.random.default_rng(seed)
        days = np.busday_offset(first, np.arange(num_bars))
        self.stamps = [int(day.astype("datetime64[s]").astype(int)) + NEW_YORK_OPEN for day in days]
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, num_bars)))
        opens = close * np.exp(rng.normal(0, 0.005, num_bars))
        self.quote = {
            "open": opens,
            "high": np.maximum(opens, close) * 1.01,
            "low": np.minimum(opens, close) * 0.99,
            "close": close,
            "volume": rng.integers(1_000, 9_000, num_bars) * 100.0,
        }
        self.dividends: dict[int, float] = {}
        self.splits: dict[int, tuple[int, int]] = {}
        self.sector: str | None = None
        self.shown = num_bars

    def split(self, row: int, new: int, old: int = 1) -> None:
        """Let the stock split in a row; all earlier prices are restated."""
        self.splits[row] = (new, old)
        for name in ("open", "high", "low", "close"):
            self.quote[name][:row] *= old / new
        self.quote["volume"][:row] *= new / old

    def answer(self, ticker: str, first: int, last: int) -> dict:
        rows = [i for i in range(self.shown) if first <= self.stamps[i] <= last]
        events: dict = {}
        if paid := {i: amount for i, amount in self.dividends.items() if i in rows}:
            events["dividends"] = {
                str(self.stamps[i]): {"amount": amount, "date": self.stamps[i]} for i, amount in paid.items()
            }
        if split := {i: ratio for i, ratio in self.splits.items() if i in rows}:
            events["splits"] = {
                str(self.stamps[i]): {
                    "date": self.stamps[i],
                    "numerator": new,
                    "denominator": old,
                    "splitRatio": f"{new}:{old}",
                }
                for i, (new, old) in split.items()
            }
        period = {"timezone": "EST", "start": self.stamps[-1], "end": self.stamps[-1] + 23_400, "gmtoffset": -18_000}
        result = {
            "meta": {
                "currency": "USD",
                "symbol": ticker,
                "exchangeName": "NMS",
                "instrumentType": "EQUITY",
                "firstTradeDate": self.stamps[0],
                "regularMarketTime": self.stamps[self.shown - 1],
                "gmtoffset": -18_000,
                "timezone": "EST",
                "exchangeTimezoneName": "America/New_York",
                "regularMarketPrice": float(self.quote["close"][self.shown - 1]),
                "priceHint": 2,
                "currentTradingPeriod": {"pre": period, "regular": period, "post": period},
                "dataGranularity": "1d",
                "range": "",
                "validRanges": VALID_RANGES,
            },
            "timestamp": [self.stamps[i] for i in rows],
            "indicators": {
                "quote": [{name: [float(x[i]) for i in rows] for name, x in self.quote.items()}],
                "adjclose": [{"adjclose": [float(self.quote["close"][i]) for i in rows]}],
            },
        }
        return {"chart": {"result": [result | ({"events": events} if events else {})], "error": None}}


class Yahoo:
    """What the server knows, and what was asked.

    Attributes:
        stocks: by ticker.
        faults: by ticker, statuses that the next requests for its bars get instead.
        asked: number of requests for bars by ticker.
    """

    def __init__(self) -> None:
        self.stocks: dict[str, Stock] = {}
        self.faults: dict[str, list[int]] = {}
        self.asked: Counter[str] = Counter()
        self.url = ""

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        if path.endswith("getcrumb"):
            return 200, "crumb"
        ticker = path.rsplit("/", 1)[-1]
        if "/quoteSummary/" in path:
            sector = getattr(self.stocks.get(ticker), "sector", None)
            profile = {"symbol": ticker, "sector": sector} if sector else {"symbol": ticker}
            return 200, json.dumps({"quoteSummary": {"result": [{"assetProfile": profile}], "error": None}})
        if "/v7/finance/quote" in path:
            return 200, json.dumps({"quoteResponse": {"result": [{"symbol": query.get("symbols")}], "error": None}})
        if "fundamentals-timeseries" in path:
            return 200, json.dumps({"timeseries": {"result": [], "error": None}})
        if "/chart/" not in path:
            return 200, ""
        self.asked[ticker] += 1
        if self.faults.get(ticker):
            return self.faults[ticker].pop(0), "<html>busy</html>"
        if ticker not in self.stocks:
            error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
            return 404, json.dumps({"chart": {"result": None, "error": error}})
        first, last = int(query.get("period1", 0)), int(query.get("period2", 2**40))
        return 200, json.dumps(self.stocks[ticker].answer(ticker, first, last))


@contextlib.contextmanager
def serve(yahoo: Yahoo, files: dict[str, str] | None = None) -> Iterator[Yahoo]:
    """Serve until the block ends; `files` are served by their path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
            if files and parts.path in files:
                status, text = 200, files[parts.path]
            else:
                status, text = yahoo.answer(urllib.parse.unquote(parts.path), query)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yahoo.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield yahoo
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
