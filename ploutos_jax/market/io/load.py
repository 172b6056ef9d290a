"""Bars in CSV, Parquet and Feather files -> Panel.

Every file, whatever its layout, becomes one `Table` of rows; the tables are then laid out on one grid of all dates
and all tickers. No bar is ever filled in.
"""

import csv
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.feather
import pyarrow.parquet
from pyarrow import ArrowException

from ploutos_jax.market.instrument import describe_instruments, find_instruments
from ploutos_jax.market.io.align import PRICES, Table, lay_out, name_few, relabel
from ploutos_jax.market.io.columns import ROLES, Source, find_columns, find_first, is_adjusted, normalize
from ploutos_jax.market.io.times import Exchange, lay_out_sessions, parse_times
from ploutos_jax.market.io.universe import keep_members, keep_tickers, load_sectors
from ploutos_jax.market.panel import Panel

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".feather")
TEXTS = ("ticker", "date", "sector")
NUMBERS = (*PRICES, "volume", "adj_close", "dividend", "split", "capital_gain")
WIDE_CORNERS = ("", "price", "ticker", "attributes", "symbols")
MISSING = ("", "-", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "none")


def load_panel(
    path: str | Path,
    *,
    tickers: Sequence[str] | None = None,
    start: Any = None,
    end: Any = None,
    universe: str | Path | None = None,
    sectors: str | Path | None = None,
    exchange_timezone: str | None = None,
    exchange: str | None = None,
    periods_per_year: float | None = None,
) -> Panel:
    """Return the bars of one file, or of all data files of a folder.

    Accepted are long tables (one row per date and ticker; a file without a ticker column holds one ticker and is
    named after it) and the wide CSV of yfinance (two header rows, in either order). Column names are matched without
    regard to case and surrounding blanks: date (datetime, timestamp, time), open, high, low, close and volume are
    required; ticker (symbol, name, tic), adj_close, dividend, split and sector are optional; any other numeric
    column becomes a signal, named in lower case with `_` for whatever is no letter or digit.

    The grid is the union of all dates. A missing bar, and a row whose prices are missing, not above 0 or have high
    below low, is NaN in the prices, 0 in volume and not tradable. A bar without volume keeps its prices and is not
    tradable, except for a ticker that has no volume anywhere (an index). `panel.labels.notes` counts all repairs.

    Prices stay as traded where the file lists dividends or splits. Each split is held against the prices up to its day:
    one that is in them already is ignored, one listed upside down is turned; dividends that the prices do not fall by,
    and jumps that look like a split which no column tells, are noted (see `market.io.actions`). A file with adj_close
    but neither of them yields total-return prices: all four scaled by adj_close / close. Other columns of adjusted
    values are left out. What the default costs take a ticker for (see `market.instrument`) is noted where it is not a
    US equity at prices as traded.

    Args:
        path: a file ending in .csv, .csv.gz, .parquet or .feather, or a folder of such files.
        tickers: the tickers to keep, in this order; all, sorted, if None.
        start, end: first and last date to keep, both included; see `Panel.window`.
        universe: CSV with ticker, start and end; outside these spans (last day included, blank end: still a member)
            a ticker is not tradable. Tickers that this file does not know are left out.
        sectors: CSV with ticker and sector; it goes before a sector column of the data.
        exchange_timezone: the IANA zone whose calendar day is the trading day of intraday bars. Without it, UTC for
            bars on all seven days of the week, else New York. Intraday times without a zone are UTC; those with one
            are converted to UTC.
        exchange: code of an exchange in the library exchange_calendars, such as XNYS, XASX or CMES (extra
            `calendars`): its zone, its sessions over midnight, its number of sessions in a year.
        periods_per_year: sessions in a year (bars, if they are longer than a day), by which everything is annualised;
            found from the times without it, see `market.calendar.find_calendar`.

    Returns:
        A validated panel of NumPy arrays: float64 prices, bool `tradable`, int32 `sessions`.

    Raises:
        ValueError: naming file, column, row and value of what cannot be read, the first repeated bar, an unknown
            ticker, an empty span, or a universe that shares no ticker with the data.
    """
    if isinstance(tickers, str) or (tickers is not None and len(tickers) == 0):
        raise ValueError(f"tickers={tickers!r} is no list of tickers; write it like ['AAPL', 'MSFT'].")
    place = Exchange.find(exchange_timezone, exchange)
    tables = [_read_table(file, place) for file in _find_files(Path(path))]
    times = np.unique(np.concatenate([table.times for table in tables]))
    sessions, calendar, notes = lay_out_sessions(tables, times, place, periods_per_year)
    panel, present = lay_out(tables, times, sessions)
    kinds = find_instruments(
        panel.symbols, times, sessions, np.asarray(panel.close), exchange=place.code, zone=place.zone
    )
    panel = relabel(panel, *notes, calendar=calendar, instruments=kinds)
    if sectors is not None:
        known = load_sectors(sectors)
        named = tuple(known.get(symbol, own) for symbol, own in zip(panel.symbols, panel.sectors, strict=True))
        panel = relabel(panel, sectors=named)
    if tickers is not None:
        panel, present = keep_tickers(panel, present, list(dict.fromkeys(tickers)))
    if universe is not None:
        panel = keep_members(panel, present, universe)
    if start is not None or end is not None:
        panel = panel.window(start, end)
    panel = relabel(panel, *_notes_on_costs(panel))
    return panel.validate()


def _notes_on_costs(panel: Panel) -> list[str]:
    """Return what the default costs take the tickers for, where it is not US equities at prices as traded."""
    notes = [
        f"{who} are taken for {name}: costs that are left to the instrument (tick, fees) are those of {name}, not of US"
        " equities; the setting instrument overrides that."
        for name, who in describe_instruments(panel.symbols, panel.instruments).items()
    ]
    adjusted = [symbol for symbol in panel.symbols if symbol in set(panel.labels.adjusted if panel.labels else ())]
    if adjusted:
        notes.append(
            f"Prices of {name_few(adjusted)} are adjusted, not those that were traded: costs that are left to the"
            " instrument have no tick and no fee per share there."
        )
    return notes


def _find_files(path: Path) -> list[Path]:
    accepted = ", ".join(SUFFIXES)
    if not path.exists():
        raise ValueError(f"No such file or folder: {path}; give a file ending in {accepted}, or a folder.")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if _find_suffix(file) and file.is_file() and file.name[0] != ".")
    if not files:
        raise ValueError(f"The folder {path} holds no data file; accepted are files ending in {accepted}.")
    return files


def _find_suffix(path: Path) -> str:
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # pandas only warns when a row has more cells than the header, and would shift the columns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except (ValueError, OSError, EOFError, zlib.error, csv.Error, ArrowException, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path} cannot be read as {_find_suffix(path)}: {error}") from None


def _read_table(path: Path, exchange: Exchange) -> Table:
    """Read one file of any accepted layout."""
    suffix = _find_suffix(path)
    if not suffix:
        raise ValueError(f"{path} is of no known kind; its name must end in {', '.join(SUFFIXES)}.")
    source, frame = _read_csv(path) if ".csv" in suffix else _read_arrow(path)
    columns = find_columns(list(frame.columns), source)
    if frame.empty:
        raise ValueError(f"{path} holds no rows below its header.")
    cells = {role: pd.Series(frame[column]) for role, column in columns.items()}
    symbols, symbol_codes = [path.name[: -len(suffix)].strip().upper()], np.zeros(len(frame), np.int64)
    if "ticker" in cells:
        symbols, symbol_codes = _parse_symbols(cells["ticker"], source)
    times, time_codes, stamps = parse_times(cells["date"], symbol_codes, source, exchange)
    sectors, sector_codes = [], np.full(len(frame), -1)
    if "sector" in cells:
        sectors, sector_codes = _parse_sectors(cells["sector"])
    numbers = {role: _parse_numbers(cells[role], source) for role in NUMBERS if role in cells}
    scaled, notes = _scale_to_total_return(numbers)
    notes = stamps + notes
    signals = _parse_signals(frame, columns, source, notes)
    return Table(
        name=path.name,
        times=times,
        time_codes=time_codes,
        symbols=symbols,
        symbol_codes=symbol_codes,
        columns=numbers,
        signals=signals,
        sectors=sectors,
        sector_codes=sector_codes,
        notes=notes,
        adjusted=frozenset(symbols[code] for code in np.unique(symbol_codes[scaled])),
    )


def _read_arrow(path: Path) -> tuple[Source, pd.DataFrame]:
    source = Source(str(path))
    with _reading(path):
        if _find_suffix(path) == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                table = file.read()
        else:
            table = pyarrow.feather.read_table(path)
    find_columns(table.column_names, source)
    # The metadata would turn a saved date or ticker index back into an index; here it is a column like any other.
    return source, table.to_pandas(ignore_metadata=True)


def _read_csv(path: Path) -> tuple[Source, pd.DataFrame]:
    opener = gzip.open if _find_suffix(path) == ".csv.gz" else open
    with _reading(path), opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
        head = [[cell.strip() for cell in line] for line in islice(csv.reader(stream), 2)]
    if not head or not any(head[0]):
        raise ValueError(f"{path} is empty: its first line must name the columns.")
    wide = _find_wide_columns(head)
    if wide:
        return Source(str(path), header_lines=2), _read_wide(path, wide)
    header = [cell or f"Unnamed: column {place + 1}" for place, cell in enumerate(head[0])]
    source = Source(str(path), header_lines=1)
    columns = find_columns(header, source)
    texts = [columns[role] for role in TEXTS if role in columns]
    frame = _read_lines(path, header, texts, skip=1)
    blank = frame[texts].isin(["", None]).all(axis=1)
    return source, frame.loc[~(blank & frame.drop(columns=texts).isna().all(axis=1))]


def _read_lines(path: Path, header: Sequence[Any], texts: Sequence[Any], skip: int) -> pd.DataFrame:
    """Read a CSV below its header; texts stay as written (a ticker may be NA or 000001), blank lines stay rows."""
    with _reading(path):
        return pd.read_csv(
            path,
            header=None,
            skiprows=skip,
            names=header,
            index_col=False,
            dtype=dict.fromkeys(texts, str),
            na_values={name: list(MISSING) for name in header if name not in texts},
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
            encoding="utf-8-sig",
        )


def _find_wide_columns(head: list[list[str]]) -> list[tuple[str, str]]:
    """Return (field, ticker) of each column after the first if these are yfinance's two header lines, else nothing."""
    if len(head) < 2 or len(head[0]) != len(head[1]) or head[1][0].lower() not in WIDE_CORNERS:
        return []
    for fields, tickers in (head, reversed(head)):
        named = {normalize(field) for field in fields[1:]}
        if named.issuperset(PRICES) and all(cell and not _is_number(cell) for cell in tickers[1:]):
            return list(zip(fields[1:], tickers[1:], strict=True))
    return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in MISSING
    return True


def _read_wide(path: Path, columns: list[tuple[str, str]]) -> pd.DataFrame:
    """Return yfinance's wide CSV as a long table; the index stays the row of the file."""
    place = {pair: number for number, pair in enumerate(columns, start=1)}
    repeated = [pair for number, pair in enumerate(columns, start=1) if place[pair] != number]
    if repeated:
        raise ValueError(f"{path} has two columns {' of '.join(repeated[0])}; remove one.")
    frame = _read_lines(path, range(len(columns) + 1), [0], skip=2)
    # Drops the line "Date,,," below the headers, and blank lines.
    frame = frame[frame.iloc[:, 1:].notna().any(axis=1)]
    fields, tickers = (list(dict.fromkeys(names)) for names in zip(*columns, strict=True))
    absent = pd.Series(np.nan, index=frame.index)
    long = {"date": [frame[0]] * len(tickers), "ticker": [pd.Series(t, index=frame.index) for t in tickers]}
    for field in fields:
        long[field] = [frame[place[field, t]] if (field, t) in place else absent for t in tickers]
    table = pd.DataFrame({name: pd.concat(parts).array for name, parts in long.items()})
    table.index = np.tile(frame.index, len(tickers))
    # Where only other tickers have a bar, the cells are blank, or 0 for volume, dividends and splits.
    filled = (table[fields].notna() & table[fields].ne(0)).any(axis=1)
    known = list(set(table.loc[filled, "ticker"]))
    return table.loc[filled | ~table["ticker"].isin(known)]


def _parse_symbols(column: pd.Series, source: Source) -> tuple[list[str], np.ndarray]:
    codes, values = pd.factorize(column)
    symbols = [str(value).strip() for value in values]
    bad = ~np.array([*map(bool, symbols), False])[codes]
    if bad.any():
        raise ValueError(f"{find_first(column, bad, source)} is no ticker; fill it in or remove the row.")
    return symbols, codes


def _parse_sectors(column: pd.Series) -> tuple[list[str], np.ndarray]:
    codes, values = pd.factorize(column)
    sectors = [str(value).strip() for value in values]
    known = np.array([*(sector not in MISSING for sector in sectors), False])
    return sectors, np.where(known[codes], codes, -1)


def _parse_numbers(column: pd.Series, source: Source) -> np.ndarray:
    numbers, bad = _to_numbers(column)
    if bad.any():
        raise ValueError(f"{find_first(column, bad, source)} is not a number; correct it or leave it blank.")
    return numbers


def _to_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return `[N]` float64, NaN where missing, and `[N]` bool where there is something else than a number."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float64, na_value=np.nan), np.zeros(len(column), bool)
    texts = column.astype(object).where(column.notna(), "").map(str).str.strip()
    numbers = np.asarray(pd.to_numeric(texts, errors="coerce"), np.float64)
    return numbers, np.isnan(numbers) & ~texts.isin(MISSING).to_numpy(bool)


def _scale_to_total_return(numbers: dict[str, np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Scale the prices by adj_close, in place, where it alone knows of dividends and splits; then it is taken out.

    Returns:
        `[N]` bool, the rows whose prices have changed, and notes.
    """
    adjusted, nothing = numbers.get("adj_close"), np.zeros(len(numbers["close"]), bool)
    if adjusted is None or numbers.keys() & {"dividend", "split", "capital_gain"}:
        return nothing, []
    del numbers["adj_close"]
    close = numbers["close"]
    scale = np.divide(adjusted, close, out=np.ones_like(close), where=close > 0)
    for name in PRICES:
        numbers[name] = numbers[name] * scale
    return np.abs(scale - 1) > 1e-6, [
        "prices are scaled by adj_close / close (total return), as no dividends or splits are listed."
    ]


def _parse_signals(
    frame: pd.DataFrame, columns: dict[str, str], source: Source, notes: list[str]
) -> dict[str, np.ndarray]:
    """Return the numeric columns without a role by signal name; note what is left out."""
    signals: dict[str, np.ndarray] = {}
    for column in frame.columns:
        role = ROLES.get(normalize(column))
        if is_adjusted(column) and column not in columns.values():
            notes.append(
                f"column {column!r} is left out: adjusted values hold splits and dividends that come later, so they are"
                " no feature."
            )
            continue
        if column in columns.values() or re.fullmatch(r"(unnamed: .*|__index_level_\d+__|)", column.strip().lower()):
            continue
        if role:
            notes.append(f"column {column!r} is left out, as {columns[role]!r} holds the {role}.")
            continue
        numbers, bad = _to_numbers(pd.Series(frame[column]))
        known = np.isfinite(numbers)
        name = re.sub(r"\W", "_", column.strip().lower())
        if name in signals:
            raise ValueError(f"{source.name} has two columns that make a signal {name!r}; rename or remove one.")
        if bad.any():
            notes.append(f"column {column!r} is not numeric and left out.")
        elif not known.any():
            notes.append(f"column {column!r} holds no value and is left out.")
        else:
            signals[name] = np.where(known, numbers, np.nan)
    return signals
