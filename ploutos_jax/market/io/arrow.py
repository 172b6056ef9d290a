"""Parquet and Feather files to tables: checked before anything of them is used, since Arrow trusts what it reads."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from ploutos_jax.market.io.columns import ROLES, Source, find_columns, normalize
from ploutos_jax.market.io.keys import keys_of
from ploutos_jax.market.io.sizes import check_columns, check_table
from ploutos_jax.market.io.wide import find_wide_names, to_long

_SAMPLE = 20


def read_arrow(path: Path, given: Mapping[str, str]) -> tuple[Source, pd.DataFrame]:
    """Return the table of a Parquet or Feather file.

    Args:
        path: ending in .parquet or .feather.
        given: columns by role as the user says.

    Raises:
        ValueError: if it is damaged, does not fit into memory, or a column that has a role holds lists or the like.
        pyarrow.ArrowException, OSError: if it is no such file.
    """
    source = Source(str(path))
    is_parquet = path.name.lower().endswith(".parquet")
    table = _with_keys(_read_parquet(path, source), path) if is_parquet else _read_feather(path, source)
    return take_table(table, source, given)


def _with_keys(table: pa.Table, path: Path) -> pa.Table:
    """Return a table with the ticker that a folder above its file names, `ticker=AAPL`, where it has none itself."""
    if any(ROLES.get(normalize(name)) == "ticker" for name in table.column_names):
        return table
    for key, value in keys_of(path).items():
        if ROLES.get(normalize(key)) == "ticker":
            return table.append_column(key, pa.array([value] * table.num_rows))
    return table


def take_table(table: pa.Table, source: Source, given: Mapping[str, str]) -> tuple[Source, pd.DataFrame]:
    """Return an Arrow table as one of pandas, long if it was wide, and its source with a sample of rows.

    Args:
        table: as it was read, or handed over.
        source: it, in messages.
        given: columns by role as the user says.

    Raises:
        ValueError: if a column that has a role holds lists or the like, or several columns may be the date.
        pyarrow.ArrowException: if it is damaged.
    """
    # A bad offset into the texts of a column would end the process as soon as they are looked at.
    table.validate(full=True)
    names = table.column_names
    check_columns(len(names), source)
    wide = find_wide_names(names, given)
    used = names if wide else list(find_columns(names, _with_sample(source, table), given).values())
    for name in dict.fromkeys(used):
        _refuse_nested(table, name, source)
    # The metadata would turn a saved date or ticker index back into an index; here it is a column like any other.
    frame = table.replace_schema_metadata(None).to_pandas(ignore_metadata=True)
    if not wide:
        return _with_sample(source, table), frame
    dates = [name for name in names if name not in wide]
    if len(dates) != 1:
        raise ValueError(f"{source.name} has {len(dates)} columns that may be the date, {dates}; keep one.")
    frame = frame[[*dates, *wide]]
    frame.columns = np.arange(frame.shape[1])
    return source, to_long(frame, list(wide.values()), source.name)


def _read_parquet(path: Path, source: Source) -> pa.Table:
    with pyarrow.parquet.ParquetFile(path) as file:
        check_columns(file.metadata.num_columns, source)
        check_table(file.metadata.num_rows, file.metadata.num_columns, source)
        _check_metadata(file.schema_arrow, source)
        return file.read()


def _read_feather(path: Path, source: Source) -> pa.Table:
    with path.open("rb") as file:
        if file.read(4) == b"FEA1":
            # Its reader dies of a changed byte before there is a table to check, and Arrow is about to drop it.
            raise ValueError(
                f"{source.name} is a Feather file of version 1, which cannot be checked; write it again, with pandas:"
                " frame.to_feather(path)."
            )
    table = pyarrow.feather.read_table(path, memory_map=False)
    _check_metadata(table.schema, source)
    return table


def _check_metadata(schema: pa.Schema, source: Source) -> None:
    """Make sure that what pandas has noted is text: where it is not, the file is damaged, and so may its numbers be."""
    try:
        (schema.metadata or {}).get(b"pandas", b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source.name} is damaged: its metadata holds bytes that are no text ({error.reason} at"
            f" {error.start}). Fetch or write the file again."
        ) from None


def _with_sample(source: Source, table: pa.Table) -> Source:
    head = table.slice(0, _SAMPLE)
    columns = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in head.columns]
    return replace(source, sample=list(zip(*columns, strict=True)))


def _refuse_nested(table: pa.Table, name: str, source: Source) -> None:
    kind = table.schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        words = "lists" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else f"values of type {kind}"
        raise ValueError(
            f"{source.name}, column {name!r} holds {words[:80]}; give one date, text or number in each row"
            " (pandas: frame.explode, or write that column again)."
        )
