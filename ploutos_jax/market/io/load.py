"""Bars in CSV, Parquet and Feather files -> Panel.

Every file, whatever its layout, becomes one `Table` of rows; the tables are then laid out on one grid of all dates
and all tickers. No bar is ever filled in.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.market.instrument import describe_instruments, find_instruments
from ploutos_jax.market.io.align import Table, lay_out, name_few, relabel
from ploutos_jax.market.io.columns import read_mapping
from ploutos_jax.market.io.files import find_files
from ploutos_jax.market.io.markets_file import read_venues
from ploutos_jax.market.io.read import find_suffix, read_rows
from ploutos_jax.market.io.sizes import check_grid
from ploutos_jax.market.io.tables import understand
from ploutos_jax.market.io.times import Exchange, lay_out_sessions
from ploutos_jax.market.io.universe import keep_members, keep_tickers, load_sectors
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.tickers import show_marks


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
        path: a file ending in .csv, .csv.gz, .parquet or .feather, or a folder of such files. Parquet files also lie
            in folders in it, by year (`2024`) or by a key (`year=2024`, `ticker=AAPL`).
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
    place, given = Exchange.find(exchange_timezone, exchange), read_mapping(columns)
    files = find_files(Path(path))
    tables = [_read_table(file, place, given) for file in files]
    panel = assemble(
        tables,
        place,
        tickers=tickers,
        start=start,
        end=end,
        universe=universe,
        sectors=sectors,
        periods_per_year=periods_per_year,
    )
    venues = read_venues(files)
    if not venues:
        return panel
    kinds = (kind._replace(venue=venues.get(s)) for s, kind in zip(panel.symbols, panel.instruments, strict=True))
    return relabel(panel, instruments=tuple(kinds))


def assemble(
    tables: Sequence[Table],
    place: Exchange,
    *,
    tickers: Sequence[str] | None,
    start: Any,
    end: Any,
    universe: str | Path | None,
    sectors: str | Path | None,
    periods_per_year: float | None,
) -> Panel:
    """Return the panel of what was read; all arguments but the first two are those of `load_panel`.

    Args:
        tables: at least one.
        place: where the bars were traded, as far as the user says.

    Raises:
        ValueError: as `load_panel`.
    """
    if isinstance(tickers, str) or (tickers is not None and len(tickers) == 0):
        raise ValueError(f"tickers={tickers!r} is no list of tickers; write it like ['AAPL', 'MSFT'].")
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
    panel = relabel(panel, *(notes_on_costs(panel.labels) if panel.labels else ()))
    panel = relabel(panel, notes=tuple(map(show_marks, panel.notes)))
    return panel.validate()


def notes_on_costs(labels: Labels) -> list[str]:
    """Return what the default costs take the tickers for, where it is not US equities at prices as traded."""
    notes = [
        f"{who} are taken for {name}: costs that are left to the instrument (tick, fees) are those of {name}, not of US"
        " equities; the setting instrument overrides that."
        for name, who in describe_instruments(labels.symbols, labels.instruments or ()).items()
    ]
    adjusted = [symbol for symbol in labels.symbols if symbol in set(labels.adjusted)]
    if adjusted:
        notes.append(
            f"Prices of {name_few(adjusted)} are adjusted, not those that were traded: costs that are left to the"
            " instrument have no tick and no fee per share there."
        )
    return notes


def _read_table(path: Path, place: Exchange, given: Mapping[str, str]) -> Table:
    """Read one file of any accepted layout; without a column of tickers it holds the one it is named after."""
    ticker = path.name[: -len(find_suffix(path))].strip().upper()
    return understand(read_rows(path, given), path.name, ticker, place, given)
