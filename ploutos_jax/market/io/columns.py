"""Which column of a file plays which role, by name; names are matched without regard to case and blanks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ploutos_jax.market.io.align import PRICES
from ploutos_jax.market.io.universe import TICKER_NAMES

ACCEPTED_NAMES = {
    "ticker": TICKER_NAMES,
    "date": ("date", "datetime", "timestamp", "time"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
    "adj_close": ("adj_close", "adjclose", "adjusted_close", "close_adj", "close_adjusted"),
    "dividend": ("dividend", "dividends", "ex_dividend", "dividend_amount", "div_cash", "divcash", "cash_dividend"),
    "split": ("split", "splits", "stock_splits", "split_ratio", "split_factor", "splitfactor", "split_coefficient"),
    "capital_gain": ("capital_gain", "capital_gains"),
    "sector": ("sector",),
}
ROLES = {name: role for role, names in ACCEPTED_NAMES.items() for name in names}
REQUIRED = ("date", *PRICES, "volume")


@dataclass(frozen=True)
class Source:
    """A file, in messages."""

    name: str
    header_lines: int = 0

    def place(self, column: str, row: Any) -> str:
        line = f" (line {row + 1 + self.header_lines})" if self.header_lines else ""
        return f"{self.name}, column {column!r}, row {row + 1}{line}"


def find_first(column: Any, bad: np.ndarray, source: Source) -> str:
    """Return where the first of the rows of a pandas Series that are marked `[N]` stands, and what it holds."""
    first = int(np.argmax(bad))
    return f"{source.place(str(column.name), column.index[first])}: {str(column.iloc[first])!r}"


def normalize(name: str) -> str:
    """Return a column name in lower case with `_` between words."""
    return re.sub(r"[\s._-]+", "_", name.strip().lower())


def is_adjusted(name: str) -> bool:
    """Return whether a column is named as one of prices, volume or factors adjusted for what comes later."""
    found = normalize(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()))
    return bool(
        re.search(r"(^|_|\W)adj(usted|ustment|ust)?(_|$|\W)", found)
        or re.match(r"adj(open|high|low|close|volume|price|factor)", found)
        or found in ("cfacpr", "cfacshr", "facpr", "facshr")
    )


def find_columns(header: Sequence[str], source: Source) -> dict[str, str]:
    """Return the column of each role that the file has."""
    named: dict[str, str] = {}
    for column in header:
        name = normalize(column)
        if name in named and (name in ROLES or column == named[name]):
            raise ValueError(f"{source.name} has two columns named {column.strip()!r}; rename or remove one.")
        named[name] = column
    columns = {}
    for role, names in ACCEPTED_NAMES.items():
        found = [named[name] for name in names if name in named]
        if found:
            columns[role] = found[0]
        elif role in REQUIRED:
            listed = ", ".join(repr(column) for column in islice(header, 20))
            raise ValueError(f"{source.name} has no {role} column: found {listed}. Accepted names: {', '.join(names)}.")
    return columns
