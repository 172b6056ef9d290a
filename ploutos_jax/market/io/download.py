"""Vendor to file: bars of many tickers into one Parquet file that `load_panel` reads, or new ones joined to it.

The file is written next to its place and moved there, so that it is whole whenever the download ends.
"""

import dataclasses
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ploutos_jax.market.io.vendors import COLUMNS, NoBarsError, Vendor
from ploutos_jax.market.labels import read_date

INTERVALS = (
    "1m",
    "2m",
    "3m",
    "5m",
    "15m",
    "30m",
    "60m",
    "90m",
    "1h",
    "2h",
    "4h",
    "6h",
    "8h",
    "12h",
    "1d",
    "5d",
    "1wk",
    "1mo",
    "3mo",
)
_PERIOD = re.compile(r"([1-9]\d*)(d|wk|mo|y)|max|ytd")
_SIDECAR = b"ploutos_jax"
_OVERLAP_ROWS = 10
"""Known bars that are fetched again, to see whether history has changed. The last one may have been unfinished."""
_SAME = 1e-4
_LONGEST_WAIT = 60.0


@dataclasses.dataclass(frozen=True)
class Request:
    """What to download.

    Attributes:
        tickers: as the vendor writes them.
        output: the Parquet file; one that exists is updated, its other tickers stay.
        period: how far back new tickers go, such as `5y`, `18mo`, `ytd` or `max`.
        start: the first date of new tickers, instead of a period.
        interval: of a bar, such as `1d`.
        retries: further attempts for a ticker that fails.
        wait: seconds before the first of them; twice as long before each next one.
        sectors: sectors of tickers, where they are known.
    """

    tickers: tuple[str, ...]
    output: Path
    period: str = "5y"
    start: str | None = None
    interval: str = "1d"
    retries: int = 4
    wait: float = 1.0
    sectors: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tickers or not all(self.tickers):
            raise ValueError("tickers names none; write SP500, or tickers with commas between them, such as AAPL,MSFT.")
        if self.output.suffix != ".parquet":
            raise ValueError(f"output={self.output} must end in .parquet.")
        if self.interval not in INTERVALS:
            raise ValueError(f"interval={self.interval!r} is unknown; use one of {', '.join(INTERVALS)}.")
        if not _PERIOD.fullmatch(self.period):
            raise ValueError(f"period={self.period!r} is unknown; write such as 60d, 18mo, 5y, ytd or max.")
        if self.start is not None:
            read_date(self.start, "start")
        if self.retries < 0 or not self.wait >= 0:
            raise ValueError(f"retries={self.retries} and wait={self.wait} must not be negative.")


@dataclasses.dataclass
class Outcome:
    """What became of a download.

    Attributes:
        rows: of the file.
        added: rows that are new, by ticker.
        rewritten: tickers whose known bars were served with other prices, and were refetched in full.
        failed: why, by ticker; what the file held of them stays.
        interrupted: whether it was stopped before the last ticker.
    """

    rows: int = 0
    added: dict[str, int] = dataclasses.field(default_factory=dict)
    rewritten: list[str] = dataclasses.field(default_factory=list)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    interrupted: bool = False


def download(
    vendor: Vendor,
    request: Request,
    *,
    on_ticker: Callable[[str], None] = lambda ticker: None,
    should_stop: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Fetch bars and write the file; a ticker that fails is left out and named.

    Args:
        vendor: whom to ask.
        request: what for.
        on_ticker: called after each ticker.
        should_stop: asked before each ticker; True ends the download, what was fetched is written.
        sleep: waits between attempts.

    Raises:
        ValueError: if the file that is there cannot be updated with these bars, or not a single bar was served.
    """
    known = read_known(request, vendor.name)
    frames, outcome = dict(known), Outcome()
    for ticker in dict.fromkeys(request.tickers):
        if should_stop():
            outcome.interrupted = True
            break
        ask = _Asking(vendor, request, ticker, should_stop, sleep)
        try:
            frames[ticker] = _updated(ask, known.get(ticker), outcome)
        except Exception as error:  # whatever a vendor's library raises, the other tickers go on
            outcome.failed[ticker] = _first_line(error)
        else:
            outcome.added[ticker] = len(frames[ticker]) - len(known.get(ticker, ()))
        on_ticker(ticker)
    if not frames:
        if outcome.interrupted:
            return outcome
        reasons = "; ".join(f"{ticker}: {reason}" for ticker, reason in list(outcome.failed.items())[:3])
        raise ValueError(f"Not a single bar was served, nothing is written. {reasons}")
    outcome.rows = _write(frames, request, vendor.name)
    return outcome


def read_known(request: Request, vendor: str) -> dict[str, pd.DataFrame]:
    """Return what the file holds already, by ticker; nothing if there is none.

    Raises:
        ValueError: if it is no file that a download wrote, or holds bars of another interval or vendor.
    """
    path = request.output
    if not path.exists():
        return {}
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}. Give another output.") from None
    sidecar = (table.schema.metadata or {}).get(_SIDECAR)
    if sidecar is None:
        raise ValueError(f"{path} was not written by a download, so it is left alone; give another output.")
    made = json.loads(sidecar)
    for name, now in (("interval", request.interval), ("vendor", vendor)):
        if made[name] != now:
            raise ValueError(f"{path} holds bars of {name}={made[name]!r}, not {now!r}; give another output.")
    frame = table.to_pandas()
    return {str(ticker): part.reset_index(drop=True) for ticker, part in frame.groupby("ticker", sort=False)}


@dataclasses.dataclass
class _Asking:
    """One ticker's questions to the vendor, repeated with growing pauses while they fail."""

    vendor: Vendor
    request: Request
    ticker: str
    should_stop: Callable[[], bool]
    sleep: Callable[[float], None]

    def bars(self, *, start: Any = None) -> pd.DataFrame:
        start = self.request.start if start is None else start
        period = self.request.period if start is None else None
        for attempt in range(self.request.retries + 1):
            try:
                return self.vendor.fetch(self.ticker, self.request.interval, period=period, start=start)
            except NoBarsError:
                raise
            except Exception:
                if attempt == self.request.retries or self.should_stop():
                    raise
                self.sleep(min(self.request.wait * 2**attempt, _LONGEST_WAIT))
        raise AssertionError("not reached")

    def sector(self) -> str:
        """Return the sector, empty where it is not known: bars are worth having without."""
        if self.ticker in self.request.sectors:
            return self.request.sectors[self.ticker]
        try:
            return self.vendor.sector(self.ticker) or ""
        except Exception:
            return ""


def _updated(ask: _Asking, old: pd.DataFrame | None, outcome: Outcome) -> pd.DataFrame:
    """Return the bars of a ticker: all of them, or those known with the new ones joined."""
    if old is None:
        return ask.bars()[list(COLUMNS)].assign(ticker=ask.ticker, sector=ask.sector())
    labels = {name: old[name].iloc[0] for name in ("ticker", "sector")}
    new = ask.bars(start=_start(old, -min(_OVERLAP_ROWS, len(old))))
    if not _has_changed(old, new):
        return _join(old, new.assign(**labels))
    whole = ask.bars(start=_start(old, 0))
    if whole["date"].iloc[0] > old["date"].iloc[0]:
        raise ValueError(
            f"its known prices have changed (a split?), and the vendor serves none before {whole['date'].iloc[0]}; the"
            " file keeps what it holds. Download it into another file"
        )
    outcome.rewritten.append(ask.ticker)
    return whole[list(COLUMNS)].assign(**labels)


def _start(old: pd.DataFrame, row: int) -> Any:
    return old["date"].iloc[row].to_pydatetime()


def _has_changed(old: pd.DataFrame, new: pd.DataFrame) -> bool:
    """Return whether known bars are served with other closes, the last one left out, or not at all any more."""
    finished = old.iloc[-_OVERLAP_ROWS:-1]
    both = finished.merge(new, on="date", suffixes=("_old", "_new"))
    if len(finished) and both.empty:
        return True
    ratio = both["close_new"].to_numpy() / both["close_old"].to_numpy()
    return bool((np.abs(ratio - 1) > _SAME).any())


def _join(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    # The first bar served again has none before it, by which a vendor's dividends are judged: the known one stays.
    first = new["date"].iloc[0]
    is_known = len(new) > 1 and bool((old["date"].iloc[:-1] == first).any())
    before = old.loc[old["date"] <= first if is_known else old["date"] < first, :]
    return pd.concat([before, new.loc[:, list(old.columns)].iloc[int(is_known) :]], ignore_index=True)


def _write(frames: Mapping[str, pd.DataFrame], request: Request, vendor: str) -> int:
    order = ["date", "ticker", *COLUMNS[1:], "sector"]
    whole = pd.concat([frames[ticker][order] for ticker in sorted(frames)], ignore_index=True)
    table = pa.Table.from_pandas(whole, preserve_index=False)
    sidecar = json.dumps({"interval": request.interval, "vendor": vendor}).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), _SIDECAR: sidecar})
    request.output.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=request.output.parent, prefix=f".{request.output.name}.")
    os.close(handle)
    try:
        pq.write_table(table, name)
        with open(name, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, request.output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return len(whole)


def _first_line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 200 else text[:199] + "…"


def split_tickers(text: str) -> Sequence[str]:
    """Return the tickers of a list with commas or blanks between them, in upper case."""
    return [word.upper() for word in re.split(r"[,\s]+", text.strip()) if word]
