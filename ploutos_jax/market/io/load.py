"""Bars in CSV, Parquet and Feather files -> Panel.

Every file, whatever its layout, becomes one `Table` of rows; the tables are then laid out on one grid of all dates
and all tickers. No bar is ever filled in.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.market.instrument import describe_instruments, find_instruments
from ploutos_jax.market.io.align import PRICES, Table, lay_out, name_few, relabel
from ploutos_jax.market.io.cells import MISSING, Decimal, parse_numbers, to_numbers
from ploutos_jax.market.io.columns import (
    CLOCK,
    ROLES,
    Source,
    find_first,
    is_adjusted,
    is_unnamed,
    normalize,
    read_mapping,
)
from ploutos_jax.market.io.dates import join_clock
from ploutos_jax.market.io.read import SUFFIXES, Rows, find_suffix, read_rows
from ploutos_jax.market.io.sizes import check_grid
from ploutos_jax.market.io.times import Exchange, lay_out_sessions, parse_times
from ploutos_jax.market.io.universe import keep_members, keep_tickers, load_sectors
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.tickers import find_control, has_marks, show_marks

NUMBERS = (*PRICES, "volume", "adj_close", "dividend", "split", "capital_gain")
_FIRST_MOMENT = 1e8
"""Counts of seconds, and of smaller units, since 1970 are above this."""


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
    columns: str | Mapping[str, str] | None = None,
) -> Panel:
    """Return the bars of one file, or of all data files of a folder.

    Accepted are long tables (one row per date and ticker; a file without a ticker column holds one ticker and is
    named after it) and the wide table of yfinance (two header rows, in either order; two levels of columns in
    Parquet). Column names are matched without regard to case and surrounding blanks: date (datetime, timestamp, time)
    and close are required; open, high and low belong together, and without them each bar is its close; ticker (symbol,
    name, tic), volume, adj_close, dividend, split and sector are optional; any other numeric column becomes a signal,
    named in lower case with `_` for whatever is no letter or digit. What else is known of names, dates and numbers
    stands in docs/data.md; a file that is not read is refused with the `columns` that would read it.

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
        columns: which column plays which role, where names do not tell: `{"close": "Close/Last"}`, or the same as a
            text, `close=Close/Last,date=Date`. A column without a name is given by its place, from 1. `decimal`
            (point, comma) and `date_format` (as `strptime` takes it) say how numbers and dates are written.

    Returns:
        A validated panel of NumPy arrays: float64 prices, bool `tradable`, int32 `sessions`.

    Raises:
        ValueError: naming file, column, row and value of what cannot be read, the first repeated bar, an unknown
            ticker, an empty span, a universe that shares no ticker with the data, or the memory that is missing.
    """
    if isinstance(tickers, str) or (tickers is not None and len(tickers) == 0):
        raise ValueError(f"tickers={tickers!r} is no list of tickers; write it like ['AAPL', 'MSFT'].")
    place = Exchange.find(exchange_timezone, exchange)
    given = read_mapping(columns)
    tables = [_read_table(file, place, given) for file in _find_files(Path(path))]
    times = np.unique(np.concatenate([table.times for table in tables]))
    num_symbols = len({symbol for table in tables for symbol in table.symbols})
    num_rows = sum(len(table.time_codes) for table in tables)
    check_grid(len(times), num_symbols, num_rows, len({name for table in tables for name in table.signals}))
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
    panel = relabel(panel, notes=tuple(map(show_marks, panel.notes)))
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
    files = sorted(path.iterdir())
    files = [file for file in files if find_suffix(file, SUFFIXES) and file.is_file() and file.name[0] != "."]
    if not files:
        raise ValueError(f"The folder {path} holds no data file; accepted are files ending in {accepted}.")
    return files


def _read_table(path: Path, exchange: Exchange, given: Mapping[str, str]) -> Table:
    """Read one file of any accepted layout."""
    rows = read_rows(path, given)
    source, frame = rows.source, rows.frame
    if frame.empty:
        raise ValueError(f"{path} holds no rows below its header.")
    cells = {role: pd.Series(frame[column]) for role, column in rows.columns.items()}
    notes = list(rows.notes)
    symbols, symbol_codes = [path.name[: -len(find_suffix(path))].strip().upper()], np.zeros(len(frame), np.int64)
    if "ticker" in cells:
        symbols, symbol_codes = _parse_symbols(cells["ticker"], source)
    _check_symbols(symbols, source, notes)
    dates, columns = cells["date"], dict(rows.columns)
    if CLOCK in cells and (joined := join_clock(dates, cells[CLOCK])) is not None:
        dates = joined
    elif CLOCK in cells and CLOCK in given:
        raise ValueError(f"{source.name}, column {columns[CLOCK]!r} holds no times of day; write them as HH:MM:SS.")
    else:
        columns.pop(CLOCK, None)
    form = given.get("date_format") or _form_of_vendor(columns, dates, notes)
    times, time_codes, stamps = parse_times(dates, symbol_codes, source, exchange, form)
    sectors, sector_codes = [], np.full(len(frame), -1)
    if "sector" in cells:
        sectors, sector_codes = _parse_sectors(cells["sector"])
    notes.extend(stamps)
    numbers = _parse_columns(cells, rows, notes)
    scaled, told = _scale_to_total_return(numbers)
    notes.extend(told)
    factored, factor = _take_factor(frame, columns, notes)
    frame = frame if factor is None else frame.drop(columns=factor)
    signals = _parse_signals(frame, columns, source, rows.decimal, notes)
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
        adjusted=frozenset(symbols[code] for code in np.unique(symbol_codes[scaled | factored])),
    )


def _form_of_vendor(columns: Mapping[str, str], dates: pd.Series, notes: list[str]) -> str | None:
    """Return the form of dates that the name of another column tells: nasdaq.com alone writes Close/Last."""
    is_known = normalize(columns["close"]) == "close/last" and dates.astype(str).str.fullmatch(r"\d\d/\d\d/\d{4}").all()
    if not is_known:
        return None
    notes.append(f"the column {columns['close']!r} is that of nasdaq.com, whose dates are read as month, day, year.")
    return "%m/%d/%Y"


def _parse_columns(cells: Mapping[str, pd.Series], rows: Rows, notes: list[str]) -> dict[str, np.ndarray]:
    """Return prices, volume and corporate actions, `[N]` each, and note what the file does not have."""
    numbers = {
        role: parse_numbers(cells[role], rows.source, rows.decimal, is_count=role == "volume")
        for role in NUMBERS
        if role in cells
    }
    for role in ("dividend", "capital_gain", "split"):
        if role in numbers:
            bad = (numbers[role] < 0) | np.isinf(numbers[role])
            if bad.any():
                what = "new shares per old one" if role == "split" else "cash per share"
                place = find_first(cells[role], bad, rows.source)
                raise ValueError(f"{place} is no {role}, which is {what} and not negative; correct or blank it.")
    if rows.decimal == "comma":
        notes.append("numbers are read with a decimal comma.")
    if "open" not in numbers:
        numbers = {name: numbers["close"].copy() for name in PRICES} | numbers
        notes.append(
            f"there are closes only (column {cells['close'].name!r}): open, high and low of each bar are taken from its"
            " close, so that no stop fills inside a bar and features of the range are 0."
        )
    if "volume" not in numbers:
        notes.append("there is no column of volume.")
    return numbers


def _parse_symbols(column: pd.Series, source: Source) -> tuple[list[str], np.ndarray]:
    codes, values = pd.factorize(column)
    symbols = [str(value).strip() for value in values]
    bad = ~np.array([*map(bool, symbols), False])[codes]
    if bad.any():
        raise ValueError(f"{find_first(column, bad, source)} is no ticker; fill it in or remove the row.")
    return symbols, codes


def _check_symbols(symbols: Sequence[str], source: Source, notes: list[str]) -> None:
    """Refuse tickers with characters that control a terminal or end a line, and note those with unseen ones."""
    for symbol in symbols:
        control = find_control(symbol)
        if control is not None:
            raise ValueError(
                f"{source.name}: the ticker {symbol[:80]!r} holds the control character {control!r}; correct it."
            )
    marked = [repr(symbol[:80]) for symbol in symbols if has_marks(symbol)]
    if marked:
        notes.append(
            f"tickers with characters that are not seen, such as marks of direction: {name_few(marked)}; reports show"
            " those as escapes."
        )


def _take_factor(frame: pd.DataFrame, columns: Mapping[str, str], notes: list[str]) -> tuple[np.ndarray, str | None]:
    """Return `[N]` bool, rows whose prices qlib's column of factors says to be adjusted, and that column.

    A column of that name is qlib's where names begin with `$`, or a column `change` is beside it; else it is a signal.
    """
    named = {normalize(one): one for one in frame.columns if one not in columns.values()}
    name = named.get("factor")
    if name is None or not (name.strip().startswith("$") or "change" in named):
        return np.zeros(len(frame), bool), None
    notes.append(f"column {name!r} is left out: prices are adjusted by it, also for what comes later.")
    factor, _ = to_numbers(pd.Series(frame[name]))
    return np.isfinite(factor) & (np.abs(factor - 1) > 1e-6), name


def _parse_sectors(column: pd.Series) -> tuple[list[str], np.ndarray]:
    codes, values = pd.factorize(column)
    sectors = [str(value).strip() for value in values]
    known = np.array([*(sector not in MISSING for sector in sectors), False])
    return sectors, np.where(known[codes], codes, -1)


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
    # A price that is infinite counts as missing, whatever it is scaled by.
    with np.errstate(invalid="ignore"):
        numbers.update({name: numbers[name] * scale for name in PRICES})
    return np.abs(scale - 1) > 1e-6, [
        "prices are scaled by adj_close / close (total return), as no dividends or splits are listed."
    ]


def _parse_signals(
    frame: pd.DataFrame, columns: Mapping[str, str], source: Source, decimal: Decimal, notes: list[str]
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
        if column in columns.values() or is_unnamed(column):
            continue
        if role is not None and role in columns:
            notes.append(f"column {column!r} is left out, as {columns[role]!r} holds the {role}.")
            continue
        numbers, bad = to_numbers(pd.Series(frame[column]), decimal)
        known = np.isfinite(numbers)
        if re.search(r"(^|_)(time|timestamp|unix)$", normalize(column)) and not (numbers[known] < _FIRST_MOMENT).any():
            notes.append(f"column {column!r} holds times and is left out.")
            continue
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
