"""One file to one table of rows as it stands in the file, whatever its layout."""

import csv
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from ploutos_jax.market.io.arrow import read_arrow
from ploutos_jax.market.io.cells import MISSING, Decimal, find_decimal
from ploutos_jax.market.io.columns import CLOCK, Source, find_columns
from ploutos_jax.market.io.head import Head, read_head
from ploutos_jax.market.io.sizes import check_table, text_size
from ploutos_jax.market.io.wide import find_wide_columns, to_long

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".feather")
_TEXT_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".txt")
READ = (*SUFFIXES, ".tsv", ".txt")
"""Suffixes of files that are read where they are named; a folder is searched for those of `SUFFIXES`."""
_TEXTS = ("ticker", "date", "sector", CLOCK)
_LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Rows:
    """The rows of a file before they are understood.

    Attributes:
        source: the file, for messages.
        frame: its columns.
        columns: the column of each role.
        decimal: whether its numbers have a decimal point or a comma.
        notes: what was left out or taken to be so.
    """

    source: Source
    frame: pd.DataFrame
    columns: Mapping[str, str]
    decimal: Decimal
    notes: tuple[str, ...]


def find_suffix(path: Path, among: Sequence[str] = READ) -> str:
    """Return the suffix that tells what kind of file this is; empty if it is none of those."""
    return next((suffix for suffix in among if path.name.lower().endswith(suffix)), "")


def read_rows(path: Path, given: Mapping[str, str]) -> Rows:
    """Return the rows of a file.

    Args:
        path: ending in one of `READ`.
        given: columns by role as the user says, from `columns.read_mapping`.

    Raises:
        ValueError: naming the file and what is wrong with it.
    """
    suffix = find_suffix(path)
    if not suffix:
        raise ValueError(f"{path} is of no known kind; its name must end in {', '.join(SUFFIXES)}.")
    if suffix in _TEXT_SUFFIXES:
        return _read_csv(path, given)
    with _reading(path):
        source, frame = read_arrow(path, given)
    return rows_of(frame, source, given)


def rows_of(frame: pd.DataFrame, source: Source, given: Mapping[str, str]) -> Rows:
    """Return a table of pandas with the column of each role; its index is a range.

    Raises:
        ValueError: if a column that is needed is missing, or the table does not tell how its numbers are written.
    """
    columns = find_columns(list(frame.columns), source, given)
    return Rows(source, frame, columns, _decimal(frame, columns, source, given), ())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Let whatever readers raise be one line that names the file."""
    try:
        with warnings.catch_warnings():
            # pandas only warns when a row has more cells than the header, and would shift the columns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            yield
    except (
        ValueError,
        OSError,
        EOFError,
        MemoryError,
        OverflowError,
        TypeError,
        KeyError,
        zlib.error,
        csv.Error,
        ArrowException,
        pd.errors.ParserWarning,
    ) as error:
        text = " ".join(str(error).split())
        if str(path) in text and isinstance(error, ValueError) and not isinstance(error, ArrowException):
            raise ValueError(text) from None
        if isinstance(error, UnicodeDecodeError):
            text += "; save it in UTF-8"
        text = text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
        raise ValueError(f"{path} cannot be read as {find_suffix(path)}: {text or type(error).__name__}") from None


def _read_csv(path: Path, given: Mapping[str, str]) -> Rows:
    with _reading(path):
        head = read_head(path, given)
    wide = find_wide_columns(head.lines, given)
    if wide:
        source = replace(head.source(path), header_lines=head.above + 2)
        names = range(len(wide) + 1)
        frame = to_long(_read_lines(path, head, names, [0], source.header_lines), wide, path)
        columns = find_columns(list(frame.columns), replace(source, sample=()), given)
        return Rows(source, frame, columns, _decimal(frame, columns, source, given), head.notes)
    source = head.source(path)
    columns = find_columns(head.names, source, given)
    texts = [columns[role] for role in _TEXTS if role in columns]
    frame = _read_lines(path, head, head.names, texts, head.skipped)
    decimal = _decimal(frame, columns, source, given)
    if decimal == "comma":
        # What was read as 1.234 is a thousand.
        frame = _read_lines(path, head, head.names, head.names, head.skipped)
    others = frame.drop(columns=texts)
    blank = frame[texts].isin(["", None]).all(axis=1) & (others.isna() | others.eq("")).all(axis=1)
    frame, notes = frame.loc[~blank], head.notes
    if not head.has_header:
        frame = frame[list(columns.values())]
        if given:
            which = ", ".join(f"{name} as {role}" for role, name in columns.items())
            notes = (*notes, f"there is no header: {which}; other columns are left out.")
    return Rows(source, frame, columns, decimal, notes)


def _decimal(frame: pd.DataFrame, columns: Mapping[str, str], source: Source, given: Mapping[str, str]) -> Decimal:
    if "decimal" in given:
        return "comma" if given["decimal"] == "comma" else "point"
    return find_decimal([pd.Series(frame[name]) for role, name in columns.items() if role not in _TEXTS], source)


def _read_lines(path: Path, head: Head, names: Sequence[Any], texts: Sequence[Any], skip: int) -> pd.DataFrame:
    """Read a CSV below its header; texts stay as written (a ticker may be NA or 000001), blank lines stay rows."""
    cells = [sum(map(len, line)) + len(line) for line in head.lines]
    check_table(text_size(path) * len(cells) // max(sum(cells), 1), len(names), Source(str(path)))
    with _reading(path):
        return pd.read_csv(
            path,
            header=None,
            skiprows=skip,
            names=names,
            index_col=False,
            dtype=dict.fromkeys(texts, str),
            na_values={name: list(MISSING) for name in names if name not in texts},
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            low_memory=False,
            encoding=head.encoding,
            sep=head.delimiter,
        )
