"""Tables with a column for each price of each ticker, as yfinance makes them: found by two header lines, made long."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ploutos_jax.market.io.align import PRICES
from ploutos_jax.market.io.cells import MISSING
from ploutos_jax.market.io.columns import normalize

_CORNERS = ("", "price", "ticker", "attributes", "symbols")

Pair = tuple[str, str]
"""Field and ticker of a column."""


def find_wide_columns(lines: Sequence[Sequence[str]], given: Mapping[str, str]) -> list[Pair]:
    """Return field and ticker of each column after the first if these are two header lines of a wide CSV.

    Args:
        lines: the first lines as cells.
        given: fields by role as the user says.
    """
    if len(lines) < 2 or len(lines[0]) != len(lines[1]) or not lines[1] or lines[1][0].lower() not in _CORNERS:
        return []
    for fields, tickers in ((lines[0], lines[1]), (lines[1], lines[0])):
        pairs = list(zip(fields[1:], tickers[1:], strict=True))
        # Numbers may be tickers (600519), and NAN and INF too, but not in a line of bars: there, each price would have
        # to stand in all four columns.
        are_tickers = not any(map(_is_number, tickers[1:])) or _is_whole(pairs, given)
        # Closes alone are taken for such a table only where its corners say so.
        is_known = _has_prices(fields[1:], given) and (
            _names_all(fields[1:], given) or bool(lines[0][0] and lines[1][0])
        )
        if all(tickers[1:]) and are_tickers and is_known:
            return pairs
    return []


def find_wide_names(names: Sequence[str], given: Mapping[str, str]) -> dict[str, Pair]:
    """Return field and ticker of the columns of a table whose names are pairs as texts, as pandas writes two levels.

    Args:
        names: such as "('Close', 'AAPL')", and that of the index.
        given: fields by role as the user says.
    """
    pairs = {name: pair for name in names if (pair := _read_pair(name)) is not None}
    if not pairs or len(pairs) < len(names) - 1:
        return {}
    return turn_pairs(pairs, given)


def turn_pairs(pairs: Mapping[str, Pair], given: Mapping[str, str]) -> dict[str, Pair]:
    """Return columns as field and ticker, whichever of the two their names have first.

    Args:
        pairs: two texts by the name of each column; those of which one is empty name the date, and are left out.
        given: fields by role as the user says.

    Returns:
        Empty where neither order names prices.
    """
    full = {name: pair for name, pair in pairs.items() if all(pair)}
    for way in (1, -1):
        turned = {name: (pair[::way][0], pair[::way][1]) for name, pair in full.items()}
        if _has_prices([field for field, _ in turned.values()], given):
            return turned
    return {}


def _read_pair(name: str) -> Pair | None:
    if not name.startswith("("):
        return None
    try:
        pair = ast.literal_eval(name)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    is_pair = isinstance(pair, tuple) and len(pair) == 2
    return (str(pair[0]).strip(), str(pair[1]).strip()) if is_pair else None


def _has_prices(fields: Sequence[str], given: Mapping[str, str]) -> bool:
    """Return whether fields hold all four prices, or closes alone."""
    named = _roles(fields, given) & set(PRICES)
    return named in ({*PRICES}, {"close"})


def _names_all(fields: Sequence[str], given: Mapping[str, str]) -> bool:
    return _roles(fields, given).issuperset(PRICES)


def _roles(fields: Sequence[str], given: Mapping[str, str]) -> set[str]:
    return {normalize(field) for field in fields} | {role for role, name in given.items() if name in fields}


def _is_whole(pairs: Sequence[Pair], given: Mapping[str, str]) -> bool:
    fields: dict[str, list[str]] = {}
    for field, ticker in pairs:
        fields.setdefault(ticker, []).append(field)
    return all(_has_prices(own, given) for own in fields.values())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in MISSING
    return True


def to_long(frame: pd.DataFrame, columns: Sequence[Pair], name: str | Path) -> pd.DataFrame:
    """Return a wide table as a long one; the index stays the row of the file.

    Args:
        frame: its columns are numbers from 0, of which 0 is the date and the others those of `columns`.
        columns: field and ticker of each column after the first.
        name: of the file or table, for messages.

    Raises:
        ValueError: if a column occurs twice.
    """
    place = {pair: number for number, pair in enumerate(columns, start=1)}
    repeated = [pair for number, pair in enumerate(columns, start=1) if place[pair] != number]
    if repeated:
        raise ValueError(f"{name} has two columns {' of '.join(repeated[0])}; remove one.")
    # Drops the line "Date,,," below the headers, and blank lines.
    frame = frame.loc[frame.iloc[:, 1:].notna().any(axis=1), :]
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
