"""Which column of a file plays which role: by name, or as the user says.

Names are matched without regard to case, blanks and what vendors put around them: `<CLOSE>`, `$close`, `4. close`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ploutos_jax.market.io.align import PRICES
from ploutos_jax.market.io.guess import guess_columns
from ploutos_jax.market.io.universe import TICKER_NAMES

ACCEPTED_NAMES = {
    "ticker": (*TICKER_NAMES, "instrument", "ts_code"),
    "date": ("date", "datetime", "timestamp", "time", "open_time", "trade_date", "gmt_time", "unix"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close", "close/last"),
    "volume": ("volume", "vol"),
    "adj_close": ("adj_close", "adjclose", "adjusted_close", "close_adj", "close_adjusted"),
    "dividend": ("dividend", "dividends", "ex_dividend", "dividend_amount", "div_cash", "divcash", "cash_dividend"),
    "split": ("split", "splits", "stock_splits", "split_ratio", "split_factor", "splitfactor", "split_coefficient"),
    "capital_gain": ("capital_gain", "capital_gains"),
    "sector": ("sector",),
}
ROLES = {name: role for role, names in ACCEPTED_NAMES.items() for name in names}
LETTERS = {"T": "ticker", "S": "ticker", "t": "date", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume"}
"""Names of one letter, as vendors' JSON has them, where a file has all four prices so."""
CLOCK = "time"
"""The role of a column of clock times beside one of dates."""
FORMS = ("decimal", "date_format")
"""What a mapping may also say: how numbers and dates are written."""
GIVABLE = (*ACCEPTED_NAMES, CLOCK, *FORMS)
_MOST_SHOWN, _LONGEST_NAME = 20, 60


@dataclass(frozen=True)
class Source:
    """A file, or a table in memory, in messages.

    Attributes:
        name: its path, or what a table is called.
        header_lines: lines above its first row; 0 where rows have no lines.
        sample: its first rows as texts, by which columns are guessed in a refusal.
        has_header: False where the first line holds numbers.
        is_file: False of a table in memory, which no command reads.
    """

    name: str
    header_lines: int = 0
    sample: Sequence[Sequence[str]] = ()
    has_header: bool = True
    is_file: bool = True

    def place(self, column: str, row: Any) -> str:
        line = f" (line {row + 1 + self.header_lines})" if self.header_lines or not self.has_header else ""
        return f"{self.name}, column {column!r}, row {row + 1}{line}"

    def say(self, mapping: str) -> str:
        """Return how to type a mapping of columns, as a flag and in Python."""
        return f'--columns "{mapping}" (columns=... in Python)' if self.is_file else f'columns="{mapping}"'


def find_first(column: Any, bad: np.ndarray, source: Source) -> str:
    """Return where the first of the rows of a pandas Series that are marked `[N]` stands, and what it holds."""
    first = int(np.argmax(bad))
    text = str(column.iloc[first])
    shown = text if len(text) <= 80 else text[:79] + "…"
    return f"{source.place(str(column.name), column.index[first])}: {shown!r}"


def normalize(name: str) -> str:
    """Return a column name in lower case with `_` between words, without `<>`, `$` and a number in front."""
    bare = re.sub(r"^(<(.*)>|\$|\d+\. )", r"\2", name.strip())
    return re.sub(r"[\s._-]+", "_", bare.strip().lower()).rstrip("_")


def is_adjusted(name: str) -> bool:
    """Return whether a column is named as one of prices, volume or factors adjusted for what comes later."""
    found = normalize(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()))
    return bool(
        re.search(r"(^|_|\W)adj(usted|ustment|ust)?(_|$|\W)", found)
        or re.match(r"adj(open|high|low|close|volume|price|factor)", found)
        or found in ("cfacpr", "cfacshr", "facpr", "facshr")
    )


def read_mapping(given: str | Mapping[str, str] | None) -> dict[str, str]:
    """Return which column is said to play which role.

    Args:
        given: `{"close": "Close/Last"}`, or the same as a text: `close=Close/Last,date=Date`.

    Raises:
        ValueError: if it is no such text, or names a role that there is not.
    """
    if given is None or given == "":
        return {}
    if isinstance(given, str):
        # A name may itself hold commas and equal signs: only a role begins another entry.
        parts = [part.partition("=") for part in re.split(rf",(?=\s*(?:{'|'.join(GIVABLE)})\s*=)", given.strip())]
        if not all(equals for _, equals, _ in parts):
            raise ValueError(f"columns={given!r} is no mapping; write it like close=Close/Last,date=Date.")
        names = [role.strip() for role, _, _ in parts]
        twice = next((role for role in names if names.count(role) > 1), None)
        if twice:
            raise ValueError(f"columns={given!r} names {twice} twice; name it once.")
        given = {role.strip(): name.strip() for role, _, name in parts}
    for role, name in given.items():
        if role not in GIVABLE:
            near = difflib.get_close_matches(str(role), GIVABLE, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(GIVABLE)}."
            raise ValueError(f"columns: {role!r} is no role of a column; {hint}")
        if not isinstance(name, str) or not name:
            raise ValueError(f"columns: {role}={name!r} names no column; write it like close=Close/Last,date=Date.")
    if given.get("decimal", "point") not in ("point", "comma"):
        raise ValueError(f"columns: decimal={given['decimal']!r} is unknown; write decimal=point or decimal=comma.")
    if "%" not in given.get("date_format", "%"):
        raise ValueError(
            f"columns: date_format={given['date_format']!r} is no form of a date; write it like date_format=%d/%m/%Y."
        )
    return dict(given)


def find_columns(header: Sequence[str], source: Source, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the column of each role that the file has.

    Args:
        header: its columns.
        source: the file, for messages.
        given: columns by role as the user says, which go before all others.

    Raises:
        ValueError: if two columns have the same name, or one that is needed is missing; it then says what to type.
    """
    given = {role: name for role, name in (given or {}).items() if role not in FORMS}
    columns = {role: _locate(header, name, role, source) for role, name in given.items()}
    own = {LETTERS[name.strip()]: name for name in header if name.strip() in LETTERS}
    if not {name.strip() for name in header}.issuperset("ohlc"):
        own = {}
    named: dict[str, str] = {}
    for column in header:
        name = normalize(column)
        if column in columns.values() or column in own.values():
            continue
        if name in named and (name in ROLES or column == named[name]):
            raise ValueError(f"{source.name} has two columns named {column.strip()!r}; rename or remove one.")
        named[name] = column
    for role, names in ACCEPTED_NAMES.items():
        found = [named[name] for name in names if name in named]
        if role not in columns and (found or role in own):
            columns[role] = found[0] if found else own[role]
    if CLOCK not in columns and CLOCK in named and columns.get("date") != named[CLOCK]:
        columns[CLOCK] = named[CLOCK]
    _add_lesser_names(header, columns, named, source)
    has_prices = sum(role in columns for role in PRICES[:3])
    missing = [role for role in ("date", *PRICES) if role not in columns]
    if has_prices == 0:
        # Closes alone are bars, too.
        missing = [role for role in ("date", "close") if role not in columns]
    if missing:
        raise ValueError(_refuse(header, columns, missing[0], source))
    return columns


def _locate(header: Sequence[str], name: str, role: str, source: Source) -> str:
    """Return the column that the user names: as written, else without regard to case, else by its place from 1."""
    for found in ([c for c in header if c.strip() == name], [c for c in header if normalize(c) == normalize(name)]):
        if len(found) == 1:
            return found[0]
    if name.isdecimal() and 1 <= int(name) <= len(header):
        return header[int(name) - 1]
    taken_back = '; --columns "" takes back what a run had' if source.is_file else ""
    raise ValueError(
        f"{source.name} has no column {name!r}, which columns gives for {role}: found {_list(header)}."
        f" A column without a name is given by its place, from 1{taken_back}."
    )


def _add_lesser_names(header: Sequence[str], columns: dict[str, str], named: dict[str, str], source: Source) -> None:
    """Add columns whose name says less: `Price` beside open, high and low; `Volume BTC`; an index without a name."""
    if "close" not in columns and columns.keys() >= set(PRICES[:3]):
        found = next((named[name] for name in ("price", "last") if name in named), None)
        columns.update({} if found is None else {"close": found})
    if "date" not in columns and header and is_unnamed(header[0]):
        sample = [row[0] for row in source.sample if row]
        if not source.sample or guess_columns([""], [[cell] for cell in sample], {"date"}):
            columns["date"] = header[0]
    if "volume" in columns or not columns.keys() >= set(PRICES):
        return
    found = [column for name, column in named.items() if re.match(r"volume\W|volume_|vol_", name)]
    if len(found) == 1:
        columns["volume"] = found[0]
    elif found:
        raise ValueError(
            f"{source.name} has {len(found)} columns that may be the volume ({_list(found)}); say which one:"
            f" {source.say(f'volume={found[0].strip()}')}."
        )


def is_unnamed(column: str) -> bool:
    """Return whether a column has no name of its own, as an index that pandas has written."""
    return bool(re.fullmatch(r"(unnamed: .*|__index_level_\d+__|)", column.strip().lower()))


def _can_be_typed(column: str) -> bool:
    return not is_unnamed(column) and len(column) <= _LONGEST_NAME and column.strip().isprintable()


def _list(header: Sequence[str]) -> str:
    listed = ", ".join(repr(column.strip()[:_LONGEST_NAME]) for column in islice(header, _MOST_SHOWN))
    return listed if len(header) <= _MOST_SHOWN else f"{listed}, … ({len(header):,} in all)"


def _refuse(header: Sequence[str], columns: Mapping[str, str], role: str, source: Source) -> str:
    """Return the refusal of a file that lacks a column, with the mapping that would read it, as far as it tells."""
    needed = [one for one in ("ticker", "date", CLOCK, *PRICES, "volume") if one not in columns]
    free = [place for place, column in enumerate(header) if column not in columns.values()]
    rows = [[row[place] if place < len(row) else "" for place in free] for row in source.sample]
    places = guess_columns([normalize(header[place]) for place in free], rows, set(needed))
    found = {one: free[place] for one, place in places.items()}
    number = source.has_header and len({column.strip() for column in header}) == len(header)
    says = {
        one: header[place].strip() if number and _can_be_typed(header[place]) else str(place + 1)
        for one, place in found.items()
    }
    if role not in says:
        says = {**says, role: "NAME"}
    words = ",".join(f"{one}={says[one]}" for one in GIVABLE if one in says)
    what = f"has no {role} column" if source.has_header else "has no header line, so that no column has a name"
    others = sum(one not in places.values() for one in range(len(free)))
    melted = ""
    if source.has_header and role == "close" and not found.keys() & {"open", "high", "low"} and others:
        melted = (
            " A table with a column of closes for each ticker is made long first (pandas: frame.melt('Date',"
            " var_name='ticker', value_name='close'))."
            if source.is_file
            else " A table with a column of closes for each ticker, dates as index, says that its columns are tickers:"
            " frame.rename_axis(columns='ticker')."
        )
    accepted = f" Accepted names: {', '.join(ACCEPTED_NAMES[role])}." if source.has_header else ""
    return f"{source.name} {what}: found {_list(header)}.{accepted} Or say which is which: {source.say(words)}.{melted}"
