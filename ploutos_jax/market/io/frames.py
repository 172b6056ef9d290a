"""Tables in memory -> Panel, and back: pandas, and whatever hands over an Arrow stream (polars, DuckDB, pyarrow).

A table is read as a file of the same content is: by the same names, with the same repairs, notes and refusals.

Letters: T bars, A assets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ploutos_jax.market.io.align import PRICES, Table
from ploutos_jax.market.io.arrow import take_table
from ploutos_jax.market.io.columns import ROLES, Source, normalize, read_mapping
from ploutos_jax.market.io.load import assemble
from ploutos_jax.market.io.read import Rows, rows_of
from ploutos_jax.market.io.tables import understand
from ploutos_jax.market.io.times import Exchange
from ploutos_jax.market.io.universe import TICKER_NAMES
from ploutos_jax.market.io.wide import Pair, to_long, turn_pairs
from ploutos_jax.market.labels import UNKNOWN_SECTOR
from ploutos_jax.market.panel import Panel

_NAME = "the frame"
_SAMPLE = 20
_ACCEPTED = (
    "a pandas DataFrame, a dictionary of one for each ticker, or a table with __arrow_c_stream__ (polars, DuckDB,"
    " pyarrow; collect a lazy one first)"
)


def panel_from_frame(
    frame: Any,
    *,
    columns: str | Mapping[str, str] | None,
    ticker: str,
    tickers: Sequence[str] | None,
    start: Any,
    end: Any,
    universe: str | Path | None,
    sectors: str | Path | None,
    exchange_timezone: str | None,
    exchange: str | None,
    periods_per_year: float | None,
) -> Panel:
    """Return the bars of a table; see `Panel.from_frame`."""
    place, given = Exchange.find(exchange_timezone, exchange), read_mapping(columns)
    if isinstance(frame, Mapping):
        if not frame:
            raise ValueError("The dictionary of frames is empty; give one frame for each ticker.")
        tables = [_read_frame(one, f"the frame {str(name)!r}", str(name), place, given) for name, one in frame.items()]
    else:
        tables = [_read_frame(frame, _NAME, ticker, place, given)]
    return assemble(
        tables,
        place,
        tickers=tickers,
        start=start,
        end=end,
        universe=universe,
        sectors=sectors,
        periods_per_year=periods_per_year,
    )


def _read_frame(frame: Any, name: str, ticker: str, place: Exchange, given: Mapping[str, str]) -> Table:
    source = Source(name, is_file=False)
    if isinstance(frame, pd.DataFrame):
        rows = _rows_of_pandas(frame, source, given)
    elif hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pd.Series):
        rows = _rows_of_arrow(frame, source, given)
    else:
        raise ValueError(f"{name} is of the type {type(frame).__name__}; give {_ACCEPTED}.")
    return understand(rows, name, ticker, place, given)


def _rows_of_arrow(frame: Any, source: Source, given: Mapping[str, str]) -> Rows:
    try:
        table = pa.table(frame)
        source, taken = take_table(table, source, given)
    except (pa.ArrowException, TypeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{source.name}, a {type(frame).__name__}, is no table that Arrow reads: {text}") from None
    return rows_of(taken, source, given)


def _rows_of_pandas(frame: pd.DataFrame, source: Source, given: Mapping[str, str]) -> Rows:
    levels = frame.index.nlevels, frame.columns.nlevels
    if max(levels) > 2 or sum(levels) > 3:
        raise ValueError(
            f"{source.name} has {levels[0]} levels of rows and {levels[1]} of columns; two of one of them are read:"
            " rows of date and ticker, or columns of field and ticker. Make one level a column with reset_index, or a"
            " row with stack."
        )
    given = _name_levels(frame.index, given)
    flat = _with_index(frame, given)
    pairs = _find_pairs(frame, given, source)
    if not pairs:
        head = flat.head(_SAMPLE).astype(object)
        cells = head.where(head.notna(), "").to_numpy()
        return rows_of(flat, replace(source, sample=[tuple(map(str, row)) for row in cells]), given)
    is_field = np.array([name in pairs for name in flat.columns])
    dates = list(flat.columns[~is_field])
    if len(dates) != 1:
        raise ValueError(f"{source.name} has {len(dates)} columns that may be the date, {dates}; keep one.")
    ordered = flat.iloc[:, [*np.flatnonzero(~is_field), *np.flatnonzero(is_field)]]
    fields = [pairs[name] for name in ordered.columns[1:]]
    ordered.columns = np.arange(len(fields) + 1)
    return rows_of(to_long(ordered, fields, source.name), source, given)


def _name_levels(index: pd.Index, given: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping with the two levels of rows as date and ticker, whatever they are called."""
    if index.nlevels != 2:
        return dict(given)
    names = _names_of(index)
    roles = [ROLES.get(normalize(name)) for name in names]
    levels = [index.get_level_values(place) for place in (0, 1)]
    moments = [isinstance(level, pd.DatetimeIndex | pd.PeriodIndex) for level in levels]
    is_second = roles[1] == "date" or (roles[0] != "date" and moments[1] and not moments[0])
    return {"date": names[is_second], "ticker": names[not is_second], **given}


def _names_of(index: pd.Index) -> list[str]:
    """Return what the columns are called that the levels of an index become."""
    if index.nlevels == 1:
        return ["date" if index.name is None else str(index.name)]
    return [f"level {place + 1} of rows" if name is None else str(name) for place, name in enumerate(index.names)]


def _with_index(frame: pd.DataFrame, given: Mapping[str, str]) -> pd.DataFrame:
    """Return the columns under names that are texts, before them those that the index makes, on a range of rows."""
    flat = frame.reset_index(drop=True)
    flat.columns = [str(name) for name in frame.columns]
    index, names = frame.index, _names_of(frame.index)
    if index.nlevels == 2 or _is_column(index, names[0], [_role_of(name, given) for name in frame.columns], given):
        for place, name in reversed(list(enumerate(names))):
            flat.insert(0, name, index.get_level_values(place), allow_duplicates=True)
    for place, kind in enumerate(flat.dtypes):
        if isinstance(kind, pd.PeriodDtype):
            flat.isetitem(place, flat.iloc[:, place].dt.to_timestamp())
    return flat


def _role_of(name: Any, given: Mapping[str, str]) -> str | None:
    """Return the role of a column by its name; of two levels with an empty one, by the other."""
    text = "".join(map(str, name)) if isinstance(name, tuple) and "" in name else str(name)
    told = {column: role for role, column in given.items()}
    return told.get(text, ROLES.get(normalize(text)))


def _is_column(index: pd.Index, name: str, roles: Sequence[str | None], given: Mapping[str, str]) -> bool:
    """Return whether an index of one level is a column of the table: the date, or another that the columns lack."""
    role = _role_of(name, given) if index.name is not None else None
    if role not in (None, "date"):
        return role not in roles
    if "date" in roles or ("date" in given and given["date"] != name):
        return False
    return role == "date" or not pd.api.types.is_numeric_dtype(index.dtype)


def _find_pairs(frame: pd.DataFrame, given: Mapping[str, str], source: Source) -> dict[str, Pair]:
    """Return field and ticker of the columns of a wide table by their names as texts; empty of a long one.

    Raises:
        ValueError: if there are two levels of columns, of which none names prices.
    """
    if frame.columns.nlevels == 1:
        # A table of closes is one only where it says that its columns are tickers, as yfinance's frame["Close"] does.
        is_closes = frame.columns.name is not None and normalize(str(frame.columns.name)) in TICKER_NAMES
        if not is_closes or any(_role_of(name, given) in PRICES for name in frame.columns):
            return {}
        return {str(name): ("close", str(name)) for name in frame.columns}
    named = {str(name): (_text(name[0]), _text(name[1])) for name in frame.columns}
    turned = turn_pairs(named, given)
    if not turned:
        few = [sorted(set(level))[:5] for level in zip(*named.values(), strict=True)]
        raise ValueError(
            f"{source.name} has two levels of columns, of which neither names open, high, low and close: found"
            f" {few[0]} and {few[1]}. Name one level after the fields, or say which field is which:"
            f" {source.say('close=NAME')}."
        )
    return turned


def _text(label: Any) -> str:
    return "" if label is None or label != label else str(label).strip()


def frame_of(panel: Panel, *, wide: bool) -> pd.DataFrame:
    """Return the bars as a table; see `Panel.to_frame`."""
    columns = {name: np.asarray(getattr(panel, name), np.float64) for name in (*PRICES, "volume")}
    for name in ("dividend", "split"):
        if getattr(panel, name) is not None:
            columns[name] = np.asarray(getattr(panel, name), np.float64)
    columns |= {name: np.asarray(signal, np.float64) for name, signal in panel.signals.items()}
    if wide:
        parts = {
            (name, symbol): values[:, a] for name, values in columns.items() for a, symbol in enumerate(panel.symbols)
        }
        names = pd.MultiIndex.from_tuples(list(parts), names=["field", "ticker"])
        table = np.stack(list(parts.values()), axis=1)
        return pd.DataFrame(table, index=pd.DatetimeIndex(panel.times, name="date"), columns=names)
    known = np.isfinite(columns["close"])
    for name, values in columns.items():
        known |= (values != 1) if name == "split" else np.isfinite(values) & (values != 0)
    row, asset = np.nonzero(known)
    frame = {"date": panel.times[row], "ticker": np.asarray(panel.symbols, object)[asset]}
    frame |= {name: values[row, asset] for name, values in columns.items()}
    if any(sector != UNKNOWN_SECTOR for sector in panel.sectors):
        frame["sector"] = np.asarray(panel.sectors, object)[asset]
    return pd.DataFrame(frame)
