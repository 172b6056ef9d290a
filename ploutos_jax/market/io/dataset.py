"""Parquet files that are larger than memory: what is in them, and the rows of a span of time without the rest.

A file, or a folder of files (by year, by ticker, or with folders named `KEY=VALUE`), is one data set. Row groups whose
statistics say that they lie outside a span are not read.

Letters: T bars, A assets.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet

from ploutos_jax.market.io.align import Table, name_few
from ploutos_jax.market.io.arrow import take_table
from ploutos_jax.market.io.columns import ROLES, Source, find_columns, normalize, read_mapping
from ploutos_jax.market.io.files import find_parquet
from ploutos_jax.market.io.read import rows_of
from ploutos_jax.market.io.tables import understand
from ploutos_jax.market.io.times import Exchange, parse_times

_SAMPLE = 4_096
_READAHEAD = {"batch_readahead": 2, "fragment_readahead": 2}
"""Batches and files that Arrow reads before they are asked for; its own numbers are made for memory without end."""
_ACTIONS = ("dividend", "split", "capital_gain")


@dataclass(frozen=True)
class Survey:
    """What is in a data set, without its prices.

    Attributes:
        times: `[T]` datetime64[ns] ascending union of the times of all rows.
        moments: `[T]` the same as the column of dates has them.
        symbols: A tickers.
        traded: `[A]` bool, whether any row of the ticker has a volume.
        num_rows: rows in all.
    """

    times: np.ndarray
    moments: pa.Array
    symbols: tuple[str, ...]
    traded: np.ndarray
    num_rows: int


class ParquetBars:
    """The bars of a Parquet file or folder, read a span at a time.

    Args:
        path: a file ending in .parquet, or a folder of such files.
        place: where the bars were traded, as far as the user says.
        columns: which column plays which role, where names do not tell; see `load_panel`.
        tickers: those to keep, in this order; all, sorted, if None.

    Raises:
        ValueError: if there is no such file, a column that is needed is missing, dates are texts, or there are
            dividends or splits.
    """

    def __init__(
        self,
        path: str | Path,
        place: Exchange,
        columns: str | Mapping[str, str] | None = None,
        tickers: Sequence[str] | None = None,
    ) -> None:
        self.path, self.place, self.given = Path(path), place, read_mapping(columns)
        self.files = find_parquet(self.path)
        self.tickers = None if not tickers else tuple(dict.fromkeys(tickers))
        base = str(self.path) if self.path.is_dir() else None
        hive = pyarrow.dataset.HivePartitioning.discover()
        try:
            self._data = pyarrow.dataset.dataset(
                [str(file) for file in self.files], format="parquet", partitioning=hive, partition_base_dir=base
            )
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.path} cannot be read as .parquet: {' '.join(str(error).split())}") from None
        own = set(self._data.files and pyarrow.parquet.read_schema(self.files[0]).names)
        roles = {ROLES.get(normalize(name)) for name in own}
        # What only names of folders say is a column where it names tickers, and else no more than where a file lies.
        self._names = [
            name
            for name in self._data.schema.names
            if name in own or (ROLES.get(normalize(name)) == "ticker" and "ticker" not in roles)
        ]
        self.source = self._with_sample()
        self.columns = find_columns(self._names, self.source, self.given)
        self._check()

    def _head(self, number: int) -> pa.Table:
        """Return the first rows, and read no row group beyond those that hold them."""
        parts, found = [], 0
        # A scanner's own head() may have begun with the row groups after them by the time that it stops.
        groups = (group for fragment in self._data.get_fragments() for group in fragment.split_by_row_group())
        while found < number and (group := next(groups, None)) is not None:
            scanner = group.scanner(schema=self._data.schema, columns=self._names, batch_size=number)
            parts.append(scanner.head(number - found))
            found += parts[-1].num_rows
        return pa.concat_tables(parts) if parts else self._data.schema.empty_table().select(self._names)

    def _with_sample(self) -> Source:
        head = self._head(20)
        cells = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in head.columns]
        return Source(str(self.path), sample=list(zip(*cells, strict=True)))

    def _check(self) -> None:
        date = self._data.schema.field(self.columns["date"])
        if not (pa.types.is_timestamp(date.type) or pa.types.is_date(date.type)):
            raise ValueError(
                f"{self.path}, column {date.name!r} holds {date.type}: a span of dates can be read alone where they are"
                " timestamps or dates. Write the column again (pandas: pd.to_datetime)."
            )
        acted = [self.columns[role] for role in _ACTIONS if role in self.columns]
        if acted:
            raise ValueError(
                f"{self.path} has the column {acted[0]!r}: dividends and splits are judged over a whole history, which"
                " is not in memory here. Give adjusted prices without that column, or leave out --device-bars."
            )

    @property
    def is_named_by_file(self) -> bool:
        """Whether a file without a column of tickers holds the one that it is named after."""
        return "ticker" not in self.columns

    def survey(self) -> Survey:
        """Return what is in the data set; its dates, tickers and volumes are read once, a batch at a time.

        Raises:
            ValueError: if a row has no date or ticker, a ticker that is asked for is not there, or dates are those of
                daily bars that carry a time of day.
        """
        date, ticker, volume = (self.columns.get(role) for role in ("date", "ticker", "volume"))
        kind = self._data.schema.field(date).type
        moments: list[np.ndarray] = []
        traded: dict[str, bool] = {}
        num_rows = 0
        for name, batch in self._batches([one for one in (date, ticker, volume) if one is not None]):
            if batch.num_rows == 0:
                continue
            column = batch.column(batch.schema.names.index(date))
            if column.null_count:
                raise ValueError(f"{self.path}, column {date!r} lacks a date in {column.null_count:,} rows.")
            moments = _merged(moments, np.unique(_as_numbers(column)))
            num_rows += batch.num_rows
            sold = np.zeros(batch.num_rows, bool)
            if volume is not None:
                numbers = pc.cast(batch.column(batch.schema.names.index(volume)), pa.float64())
                sold = np.nan_to_num(numbers.to_numpy(zero_copy_only=False)) > 0
            symbols, codes = ([name], np.zeros(batch.num_rows, np.int64))
            if ticker is not None:
                symbols, codes = self._tickers_of(batch.column(batch.schema.names.index(ticker)))
            counts = np.bincount(codes, weights=sold, minlength=len(symbols))
            for symbol, number in zip(symbols, counts, strict=True):
                traded[symbol] = traded.get(symbol, False) or bool(number > 0)
        if num_rows == 0:
            raise ValueError(f"{self.path} holds no rows{'' if self.tickers is None else ' of these tickers'}.")
        numbers = np.concatenate(moments) if len(moments) > 1 else moments[0]
        raw = pa.array(np.unique(numbers)).view(kind) if not pa.types.is_date32(kind) else _as_days(numbers)
        return Survey(self._times_of(raw), raw, *self._ordered(traded), num_rows)

    def _tickers_of(self, column: Any) -> tuple[list[str], np.ndarray]:
        if column.null_count:
            raise ValueError(f"{self.path}, column {self.columns['ticker']!r} lacks a ticker in some rows.")
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        symbols = [str(value).strip() for value in coded.dictionary.to_pylist()]
        return symbols, coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)

    def _times_of(self, moments: pa.Array) -> np.ndarray:
        column = pd.Series(moments.to_pandas(), name=self.columns["date"])
        owners = np.zeros(len(column), np.int64)
        times, codes, _ = parse_times(column, owners, self.source, self.place, self.given.get("date_format"))
        times = times[codes]
        if len(times) > 1 and not (np.diff(times) > np.timedelta64(0, "ns")).all():
            raise ValueError(
                f"{self.path}, column {column.name!r}: daily bars carry several times of one day. Write dates alone."
            )
        return times

    def _ordered(self, traded: Mapping[str, bool]) -> tuple[tuple[str, ...], np.ndarray]:
        symbols = tuple(sorted(traded)) if self.tickers is None else self.tickers
        if missing := [symbol for symbol in symbols if symbol not in traded]:
            raise ValueError(f"Unknown ticker: {name_few(missing)}. {self.path} does not have it.")
        return symbols, np.array([traded[symbol] for symbol in symbols])

    def _batches(self, names: list[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield batches of some columns with the ticker that their file is named after."""
        for fragment, keep in self._fragments():
            scanner = fragment.scanner(schema=self._data.schema, columns=names, filter=keep, **_READAHEAD)
            for batch in scanner.to_batches():
                yield _stem(fragment.path), batch

    def _fragments(self) -> Iterator[tuple[Any, Any]]:
        keep = None
        if self.tickers is not None and not self.is_named_by_file:
            keep = pc.field(self.columns["ticker"]).isin(list(self.tickers))
        for fragment in self._data.get_fragments(filter=keep):
            if self.tickers is None or not self.is_named_by_file or _stem(fragment.path) in self.tickers:
                yield fragment, keep

    def read(self, survey: Survey, first: int, last: int) -> Table:
        """Return the rows of bars number `first` to `last`, both included, understood as `load_panel` does.

        Args:
            survey: of this data set.
            first, last: places in its times.
        """
        date = pc.field(self.columns["date"])
        within = (date >= survey.moments[first]) & (date <= survey.moments[last])
        parts = []
        for fragment, keep in self._fragments():
            wanted = within if keep is None else within & keep
            names = [name for name in self._names if name in self._data.schema.names]
            table = fragment.to_table(schema=self._data.schema, columns=names, filter=wanted, **_READAHEAD)
            if not table.num_rows:
                continue
            if self.is_named_by_file:
                table = table.append_column("ticker", pa.array([_stem(fragment.path)] * table.num_rows))
            parts.append(table)
        return self._understood(pa.concat_tables(parts))

    def _understood(self, table: pa.Table) -> Table:
        source, frame = take_table(table, replace(self.source, sample=()), self.given)
        return understand(rows_of(frame, source, self.given), self.path.name, "", self.place, self.given)

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Names of the columns that become signals, as the first rows tell."""
        head = self._head(_SAMPLE)
        if self.is_named_by_file:
            head = head.append_column("ticker", pa.array(["A"] * head.num_rows))
        found = set(self._understood(head).signals)
        for name in self._names:
            blank = head.column(name).null_count == head.num_rows
            if blank and name not in self.columns.values() and _is_number(self._data.schema.field(name).type):
                found.add(re.sub(r"\W", "_", name.strip().lower()))
        return tuple(sorted(found))


def _stem(path: str) -> str:
    return Path(path).name[: -len(".parquet")].strip().upper()


def _as_numbers(column: Any) -> np.ndarray:
    kind = pa.int32() if pa.types.is_date32(column.type) else pa.int64()
    return column.view(kind).to_numpy(zero_copy_only=False).astype(np.int64)


def _as_days(numbers: np.ndarray) -> pa.Array:
    return pa.array(np.unique(numbers).astype(np.int32)).view(pa.date32())


def _merged(known: list[np.ndarray], more: np.ndarray) -> list[np.ndarray]:
    """Return one ascending array of all numbers, without looking at those that are there already."""
    if not known:
        return [more]
    place = np.searchsorted(known[0], more)
    new = more[(place == len(known[0])) | (known[0][np.minimum(place, len(known[0]) - 1)] != more)]
    return [np.union1d(known[0], new)] if new.size else known


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)
