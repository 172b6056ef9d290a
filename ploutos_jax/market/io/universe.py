"""Which tickers are kept: by name, by membership in an index over time; and their sectors."""

import csv
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

import jax
import numpy as np

from ploutos_jax.market.io.align import count, name_few, relabel
from ploutos_jax.market.panel import Panel

TICKER_NAMES = ("ticker", "symbol", "name", "tic")

EPOCH = date(1970, 1, 1).toordinal()

Intervals = dict[str, list[tuple[int | None, int | None]]]


def keep_tickers(panel: Panel, present: np.ndarray, symbols: Sequence[str]) -> tuple[Panel, np.ndarray]:
    """Return some tickers in the order given, on the dates that one of them has a row for.

    Args:
        panel, present: from `lay_out`.
        symbols: the tickers to keep.

    Raises:
        ValueError: if a ticker is not in the panel.
    """
    columns = {symbol: column for column, symbol in enumerate(panel.symbols)}
    chosen = panel.select(list(symbols))
    present = present[:, [columns[symbol] for symbol in symbols]]
    rows = present.any(axis=1)
    cut = jax.tree.map(lambda x: x[rows], chosen).replace(labels=chosen.labels)
    return relabel(cut, times=panel.times[rows]), present[rows]


def keep_members(panel: Panel, present: np.ndarray, path: str | Path) -> Panel:
    """Return the tickers that a universe knows, to be bought only while they belong to it; bars and exits stay.

    Args:
        panel, present: from `lay_out`.
        path: see `load_membership`.

    Raises:
        ValueError: if the universe knows none of the tickers, or its file cannot be read.
    """
    intervals = load_membership(path)
    members = [symbol for symbol in panel.symbols if symbol in intervals]
    others = [symbol for symbol in panel.symbols if symbol not in intervals]
    if not members:
        raise ValueError(
            f"The universe {path} knows none of the tickers of the data: the data has {name_few(others)}, the"
            f" universe {name_few(intervals)}. Spell them alike in both."
        )
    if others:
        panel, _ = keep_tickers(panel, present, members)
        note = f"{count(len(others), 'ticker')} not in the universe {path} left out: {name_few(others)}."
        panel = relabel(panel, note)
    member = membership_mask(intervals, panel.symbols, np.asarray(panel.sessions))
    outside = np.asarray(panel.tradable) & ~member
    if not outside.any():
        return panel
    note = f"{count(int(outside.sum()), 'bar')} outside the universe {path}: positions can be sold there, not bought."
    return relabel(panel.replace(buyable=member), note)


def load_membership(path: str | Path) -> Intervals:
    """Return the spans in which each ticker belongs to a universe.

    Args:
        path: CSV with the columns ticker, start (or start_date) and end (or end_date), matched without regard to
            case; one row per span, several per ticker allowed. `start` is the first day as a member, `end` the last
            (inclusive). A blank start means since ever, a blank end still a member.

    Returns:
        For each ticker its spans (first day, last day) as days since 1970-01-01, None where the span is open.

    Raises:
        ValueError: naming file, row and column if the file or a column is missing, a ticker is blank, a date cannot
            be read, or a span ends before it starts.
    """
    intervals: Intervals = {}
    columns = TICKER_NAMES, ("start", "start_date"), ("end", "end_date")
    for place, (ticker, start, end) in _read_rows(Path(path), columns):
        first, last = _day(start, f"{place}, column 'start'"), _day(end, f"{place}, column 'end'")
        if first is not None and last is not None and last < first:
            raise ValueError(f"{place}: {ticker} leaves on {end}, before it joins on {start}; correct the dates.")
        intervals.setdefault(ticker, []).append((first, last))
    return intervals


def membership_mask(intervals: Intervals, symbols: Sequence[str], sessions: np.ndarray) -> np.ndarray:
    """Return where each asset belongs to the universe; known before the open of bar t.

    Args:
        intervals: spans by ticker, from `load_membership`; a ticker without any is nowhere a member.
        symbols: A tickers.
        sessions: `[T]` ascending trading days since 1970-01-01.

    Returns:
        `[T, A]` bool.
    """
    member = np.zeros((len(sessions), len(symbols)), bool)
    for column, symbol in enumerate(symbols):
        for first, last in intervals.get(symbol, ()):
            start = 0 if first is None else np.searchsorted(sessions, first, side="left")
            stop = len(sessions) if last is None else np.searchsorted(sessions, last, side="right")
            member[start:stop, column] = True
    return member


def load_sectors(path: str | Path) -> dict[str, str]:
    """Return the sector of each ticker.

    Args:
        path: CSV with the columns ticker and sector, matched without regard to case; further columns are ignored.
            Rows without a sector are left out; of several rows for a ticker the last one holds.

    Raises:
        ValueError: naming the file if it or a column is missing, or the row of a blank ticker.
    """
    rows = _read_rows(Path(path), (TICKER_NAMES, ("sector",)))
    return {ticker: sector for _, (ticker, sector) in rows if sector}


def _read_rows(path: Path, wanted: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield for each row its place in words and its cells under the wanted columns, the first of them a ticker."""
    if not path.is_file():
        raise ValueError(f"No such file: {path}; give a CSV with the columns {', '.join(n[0] for n in wanted)}.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.reader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV in UTF-8: {error}. Save it as a plain CSV.") from None
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    columns = [_find_column(header, names, path) for names in wanted]
    for number, line in enumerate(lines[1:], start=1):
        cells = [line[column].strip() if column < len(line) else "" for column in columns]
        place = f"{path}, row {number} (line {number + 1})"
        if cells[0]:
            yield place, cells
        elif any(cell.strip() for cell in line):
            raise ValueError(f"{place} has no ticker: {','.join(line)!r}; fill it in or remove the row.")


def _find_column(header: list[str], names: tuple[str, ...], path: Path) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise ValueError(f"{path} has no {names[0]} column: found {header}. Accepted names: {', '.join(names)}.")


def _day(text: str, place: str) -> int | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).toordinal() - EPOCH
    except ValueError:
        raise ValueError(f"{place}: {text!r} is not a date; write it as YYYY-MM-DD.") from None
