"""Rows of one file or table, whatever it was, understood: dates, tickers, numbers, signals, and notes on all of it.

`entries` are the rows of the table.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ploutos_jax.market.io.align import PRICES, Table, name_few
from ploutos_jax.market.io.cells import MISSING, Decimal, parse_numbers, to_numbers
from ploutos_jax.market.io.columns import CLOCK, ROLES, Source, find_first, is_adjusted, is_unnamed, normalize
from ploutos_jax.market.io.dates import join_clock
from ploutos_jax.market.io.read import Rows
from ploutos_jax.market.io.times import Exchange, parse_times
from ploutos_jax.market.tickers import find_control, has_marks

NUMBERS = (*PRICES, "volume", "adj_close", "dividend", "split", "capital_gain")
_FIRST_MOMENT = 1e8
"""Counts of seconds, and of smaller units, since 1970 are above this."""


def understand(rows: Rows, name: str, ticker: str, exchange: Exchange, given: Mapping[str, str]) -> Table:
    """Return rows as dates, tickers and numbers.

    Args:
        rows: as they were read.
        name: of the file or table, in notes.
        ticker: of all rows where no column tells.
        exchange: whose midnight starts a day, as far as it is known.
        given: columns by role as the user says, and how numbers and dates are written.

    Raises:
        ValueError: naming column, row and value of the first that cannot be read.
    """
    source, frame = rows.source, rows.frame
    if frame.empty:
        raise ValueError(f"{source.name} holds no rows{' below its header' if source.is_file else ''}.")
    cells = {role: pd.Series(frame[column]) for role, column in rows.columns.items()}
    notes = list(rows.notes)
    symbols, symbol_codes = [ticker], np.zeros(len(frame), np.int64)
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
        name=name,
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
    """Return prices, volume and corporate actions, `[entries]` each, and note what the file does not have."""
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
    """Return `[entries]` bool, rows whose prices qlib's column of factors says to be adjusted, and that column.

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
        `[entries]` bool, the rows whose prices have changed, and notes.
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
