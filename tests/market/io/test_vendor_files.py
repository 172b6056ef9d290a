"""Files as vendors and peers write them: read as they are, or refused with the exact `--columns` that reads them.

Made here in each one's format, with the same four bars, so that every price is known. docs/data.md has a row for each.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.io.load import load_panel

ROOT = Path(__file__).resolve().parents[3]
DAYS = ("2024-01-29", "2024-01-30", "2024-01-31", "2024-02-01")
MINUTES = tuple(f"2024-01-29 14:{minute}:00" for minute in (30, 31, 32, 33))
BARS = (
    (100.5, 103.25, 99.75, 101.0),
    (101.0, 102.5, 100.25, 100.75),
    (100.5, 105.0, 100.0, 104.5),
    (104.0, 104.75, 98.5, 99.0),
)
VOLUME = (1200000, 980000, 1310000, 2050000)
NEW_YORK = "America/New_York"


def lines(head: str, row: Callable[[int], str], newest_first: bool = False, above: str = "") -> str:
    """The text of a file: a header (or none), and a line for each bar."""
    rows = [row(i) for i in range(4)]
    rows = rows[::-1] if newest_first else rows
    return above + "\n".join([*([head] if head else []), *rows]) + "\n"


def form(i: int, pattern: str) -> str:
    return pd.Timestamp(DAYS[i]).strftime(pattern)


def epoch(i: int, times: tuple[str, ...] = DAYS, scale: int = 1) -> int:
    return int(pd.Timestamp(times[i]).timestamp()) * scale


def ohlc(i: int, mark: str = ",", before: str = "") -> str:
    return mark.join(f"{before}{price:.2f}" for price in BARS[i])


def binance(i: int, scale: int) -> str:
    start = epoch(i, MINUTES, scale)
    end = start + 60 * scale - 1
    return f"{start},{ohlc(i)},{VOLUME[i]}.5,{end},9.1,77,3.3,4.4,0"


class File(NamedTuple):
    """One vendor's file.

    Attributes:
        name: of the file.
        text: of it.
        columns: what must be typed; None where it is read as it is.
        symbols: tickers it holds.
        times: of its bars.
        has_volume: whether it tells volume, and that in shares.
    """

    name: str
    text: str
    columns: str | None = None
    symbols: tuple[str, ...] = ("X",)
    times: tuple[str, ...] = DAYS
    scale: float = 1.0
    has_volume: bool = True


BINANCE_HEAD = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
MT5_HEAD = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
WIKI_HEAD = (
    "ticker,date,open,high,low,close,volume,ex-dividend,split_ratio,adj_open,adj_high,adj_low,adj_close,adj_volume"
)
FILES = {
    "Yahoo download": File(
        "X.csv",
        lines("Date,Open,High,Low,Close,Adj Close,Volume", lambda i: f"{DAYS[i]},{ohlc(i)},{BARS[i][3]},{VOLUME[i]}"),
    ),
    "yfinance, two header lines": File(
        "many.csv",
        lines(
            "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\nTicker,NVDA,ON,NVDA,ON,NVDA,ON,NVDA,ON,NVDA,ON\nDate,,,,,,,,,,",
            lambda i: ",".join(
                [DAYS[i], *(f"{BARS[i][k]:.2f},{BARS[i][k]:.2f}" for k in (3, 1, 2, 0)), *[str(VOLUME[i])] * 2]
            ),
        ),
        symbols=("NVDA", "ON"),
    ),
    "Stooq": File("x.csv", lines("Date,Open,High,Low,Close,Volume", lambda i: f"{DAYS[i]},{ohlc(i)},{VOLUME[i]}")),
    "Stooq, bulk": File(
        "aapl.us.txt",
        lines(
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            lambda i: f"AAPL.US,D,{form(i, '%Y%m%d')},000000,{ohlc(i)},{VOLUME[i]},0",
        ),
        symbols=("AAPL.US",),
    ),
    "Binance klines, no header": File("X.csv", lines("", lambda i: binance(i, 1000)), times=MINUTES),
    "Binance klines, header": File("X.csv", lines(BINANCE_HEAD, lambda i: binance(i, 1000)), times=MINUTES),
    "Binance Vision, microseconds": File("X.csv", lines("", lambda i: binance(i, 1000000)), times=MINUTES),
    "Alpaca": File(
        "bars.csv",
        lines(
            "symbol,timestamp,open,high,low,close,volume,trade_count,vwap",
            lambda i: f"SPY,{MINUTES[i]}+00:00,{ohlc(i)},{VOLUME[i]}.0,512.0,{BARS[i][3]}",
        ),
        symbols=("SPY",),
        times=MINUTES,
    ),
    "Alpaca, letters": File(
        "bars.csv",
        lines("S,t,o,h,l,c,v,n,vw", lambda i: f"SPY,{DAYS[i]}T05:00:00Z,{ohlc(i)},{VOLUME[i]},512,{BARS[i][3]}"),
        symbols=("SPY",),
    ),
    "nasdaq.com": File(
        "X.csv",
        lines(
            "Date,Close/Last,Volume,Open,High,Low",
            lambda i: (
                f"{form(i, '%m/%d/%Y')},${BARS[i][3]:.2f},{VOLUME[i]},$" + ",$".join(f"{p:.2f}" for p in BARS[i][:3])
            ),
            newest_first=True,
        ),
    ),
    "investing.com": File(
        "X.csv",
        lines(
            '"Date","Price","Open","High","Low","Vol.","Change %"',
            lambda i: ",".join(
                f'"{cell}"'
                for cell in (
                    form(i, "%m/%d/%Y"),
                    f"{1000 + BARS[i][3]:,.2f}",
                    *(f"{1000 + p:,.2f}" for p in BARS[i][:3]),
                    f"{VOLUME[i] / 1e6:.2f}M",
                    "0.52%",
                )
            ),
            newest_first=True,
            above="\ufeff",
        ),
        scale=10.0,
    ),
    "MetaTrader 4": File(
        "X.csv",
        lines("", lambda i: f"2024.01.29,{MINUTES[i][11:16]},{ohlc(i)},{VOLUME[i]}"),
        columns="date=1,open=3,high=4,low=5,close=6,volume=7,time=2",
        times=MINUTES,
    ),
    "MetaTrader 5": File(
        "X.csv",
        lines(MT5_HEAD, lambda i: f"2024.01.29\t{MINUTES[i][11:]}\t{ohlc(i, chr(9))}\t77\t{VOLUME[i]}\t2"),
        times=MINUTES,
    ),
    "backtesting.py": File(
        "GOOG.csv",
        lines(",Open,High,Low,Close,Volume", lambda i: f"{DAYS[i]},{ohlc(i)},{VOLUME[i]}"),
        symbols=("GOOG",),
    ),
    "FinRL": File(
        "train.csv",
        lines("date,open,high,low,close,volume,tic,day", lambda i: f"{DAYS[i]},{ohlc(i)},{VOLUME[i]},AXP,{i % 5}"),
        symbols=("AXP",),
    ),
    "qlib": File(
        "SH600000.csv",
        lines("date,open,high,low,close,volume,factor,change", lambda i: f"{DAYS[i]},{ohlc(i)},{VOLUME[i]},0.25,0.01"),
        symbols=("SH600000",),
    ),
    "qlib, dollar names": File(
        "all.csv",
        lines(
            "instrument,datetime,$open,$high,$low,$close,$volume,$factor",
            lambda i: f"SH600519,{DAYS[i]},{ohlc(i)},{VOLUME[i]},0.25",
        ),
        symbols=("SH600519",),
    ),
    "Kaggle all_stocks_5yr": File(
        "all_stocks_5yr.csv",
        lines("date,open,high,low,close,volume,Name", lambda i: f"{DAYS[i]},{ohlc(i)},{VOLUME[i]},AAL"),
        symbols=("AAL",),
    ),
    "Kraken OHLCVT": File(
        "XBTUSD_1440.csv",
        lines("", lambda i: f"{epoch(i)},{ohlc(i)},{VOLUME[i]},17"),
        columns="date=1,open=2,high=3,low=4,close=5,volume=6",
        symbols=("XBTUSD_1440",),
    ),
    "CryptoDataDownload": File(
        "d.csv",
        lines(
            "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
            lambda i: f"{epoch(i, scale=1000)},{DAYS[i]} 00:00:00,BTC/USD,{ohlc(i)},{VOLUME[i]},{VOLUME[i] * 9}",
            newest_first=True,
            above="https://www.CryptoDataDownload.com\n",
        ),
        columns="volume=Volume BTC",
        symbols=("BTC/USD",),
    ),
    "Alpha Vantage": File(
        "X.csv",
        lines(
            "timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient",
            lambda i: f"{DAYS[i]},{ohlc(i)},{BARS[i][3] / 2},{VOLUME[i]},0.0000,1.0",
            newest_first=True,
        ),
    ),
    "Alpha Vantage, numbered names": File(
        "X.csv",
        lines(
            ",1. open,2. high,3. low,4. close,5. adjusted close,6. volume,7. dividend amount,8. split coefficient",
            lambda i: f"{DAYS[i]},{ohlc(i)},{BARS[i][3] / 2},{VOLUME[i]},0.0000,1.0",
        ),
    ),
    "Tiingo": File(
        "X.csv",
        lines(
            "date,close,high,low,open,volume,adjClose,adjHigh,adjLow,adjOpen,adjVolume,divCash,splitFactor",
            lambda i: (
                f"{DAYS[i]},{BARS[i][3]},{BARS[i][1]},{BARS[i][2]},{BARS[i][0]},{VOLUME[i]},50,51,49,50,9,0.0,1.0"
            ),
        ),
    ),
    "Polygon": File(
        "X.csv",
        lines(
            "v,vw,o,c,h,l,t,n",
            lambda i: (
                f"{VOLUME[i]},1.5,{BARS[i][0]},{BARS[i][3]},{BARS[i][1]},{BARS[i][2]},{epoch(i, MINUTES, 1000)},77"
            ),
        ),
        times=MINUTES,
    ),
    "Polygon, grouped": File(
        "X.csv",
        lines(
            "T,v,o,c,h,l,t",
            lambda i: f"MSFT,{VOLUME[i]},{BARS[i][0]},{BARS[i][3]},{BARS[i][1]},{BARS[i][2]},{epoch(i, scale=1000)}",
        ),
        symbols=("MSFT",),
    ),
    "EODHD": File(
        "X.csv",
        lines(
            "Date,Open,High,Low,Close,Adjusted_close,Volume", lambda i: f"{DAYS[i]},{ohlc(i)},{BARS[i][3]},{VOLUME[i]}"
        ),
    ),
    "Interactive Brokers, days": File(
        "X.csv",
        lines(
            "date,open,high,low,close,volume,average,barCount",
            lambda i: f"{form(i, '%Y%m%d')},{ohlc(i)},{VOLUME[i]},100.1,9",
        ),
    ),
    "Interactive Brokers, minutes": File(
        "X.csv",
        lines(
            "date,open,high,low,close,volume,average,barCount",
            lambda i: f"20240129  09:3{i}:00 US/Eastern,{ohlc(i)},{VOLUME[i]},100.1,9",
        ),
        times=MINUTES,
    ),
    "Quandl WIKI": File(
        "WIKI.csv",
        lines(WIKI_HEAD, lambda i: f"AAPL,{DAYS[i]},{ohlc(i)},{VOLUME[i]},0.0,1.0,25,26,24,25,9"),
        symbols=("AAPL",),
    ),
    "Dukascopy": File(
        "X.csv",
        lines("Gmt time,Open,High,Low,Close,Volume", lambda i: f"29.01.2024 14:3{i}:00.000,{ohlc(i)},{VOLUME[i]}"),
        times=MINUTES,
    ),
    "Tushare": File(
        "X.csv",
        lines(
            "ts_code,trade_date,open,high,low,close,vol",
            lambda i: f"600519.SH,{form(i, '%Y%m%d')},{ohlc(i)},{VOLUME[i]}",
        ),
        symbols=("600519.SH",),
    ),
    "a German bank": File(
        "X.csv",
        lines(
            "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
            lambda i: f"{form(i, '%d.%m.%Y')};{ohlc(i, ';').replace('.', ',')};{VOLUME[i]:,}".replace(
                f"{VOLUME[i]:,}", f"{VOLUME[i]:,}".replace(",", ".")
            ),
        ),
        columns="date=Datum,open=Eröffnung,high=Hoch,low=Tief,close=Schluss,volume=Volumen",
    ),
}


def check(file: File, path: Path, columns: str | None) -> None:
    """Every time, price and volume is the one written."""
    panel = load_panel(path, columns=columns)
    assert panel.symbols == file.symbols
    assert [str(time)[:19].replace("T", " ") for time in panel.times] == [
        time if " " in time else f"{time} 00:00:00" for time in file.times
    ]
    offset = 1000.0 if file.scale != 1 else 0.0
    for column in range(len(file.symbols)):
        for place, name in enumerate(("open", "high", "low", "close")):
            right = [bar[place] + offset for bar in BARS]
            np.testing.assert_array_equal(getattr(panel, name)[:, column], right, err_msg=name)
        volume = np.asarray(panel.volume)[:, column]
        np.testing.assert_allclose(volume, VOLUME, atol=0.5)
    assert panel.tradable.all()
    assert not {name for name in panel.signals if "time" in name or "adj" in name or "factor" in name}


@pytest.mark.parametrize("vendor", FILES)
def test_a_vendors_file_is_read_or_refused_with_what_reads_it(tmp_path, vendor):
    file = FILES[vendor]
    path = tmp_path / file.name
    path.write_text(file.text, encoding="utf-8")
    if file.columns is None:
        return check(file, path, None)
    with pytest.raises(ValueError) as caught:
        load_panel(path)
    said = str(caught.value)
    assert file.name in said and "\n" not in said
    (typed,) = re.findall(r'--columns "([^"]+)"', said)
    assert typed == file.columns
    check(file, path, typed)


def test_yfinance_in_parquet_has_two_levels(tmp_path):
    names = ("Open", "High", "Low", "Close")
    index = pd.DatetimeIndex(DAYS, name="Date")
    parts = {
        (name, ticker): [bar[place] for bar in BARS] for place, name in enumerate(names) for ticker in ("NA", "MSFT")
    }
    parts |= {("Volume", ticker): VOLUME for ticker in ("NA", "MSFT")}
    frame = pd.DataFrame(parts, index=index)
    file = File("x.parquet", "", symbols=("MSFT", "NA"))
    for way in (frame, frame.swaplevel(axis=1), frame.reset_index(), frame.rename_axis(index=None)):
        way.to_parquet(tmp_path / file.name)
        check(file, tmp_path / file.name, None)


def test_alpaca_in_parquet_has_both_in_the_index(tmp_path):
    frame = pd.DataFrame(BARS, columns=["open", "high", "low", "close"]).assign(volume=VOLUME, vwap=100.0)
    frame.index = pd.MultiIndex.from_arrays(
        [["SPY"] * 4, pd.DatetimeIndex(MINUTES, tz="UTC")], names=["symbol", "timestamp"]
    )
    frame.to_parquet(tmp_path / "bars.parquet")
    check(File("", "", symbols=("SPY",), times=MINUTES), tmp_path / "bars.parquet", None)


def test_metatrader_writes_utf16(tmp_path):
    file = FILES["MetaTrader 5"]
    (tmp_path / "X.csv").write_text(file.text, encoding="utf-16")
    check(file, tmp_path / "X.csv", None)


def test_the_page_has_a_row_for_each_vendor():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| (.*) \|$", page, re.MULTILINE))
    for vendor, file in FILES.items():
        assert vendor in rows, vendor
        assert file.columns is None or f'`--columns "{file.columns}"`' in rows[vendor], vendor
