"""The head of a CSV: its encoding, what parts its cells, and which line names the columns, if any does."""

import codecs
import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ploutos_jax.market.io.columns import LETTERS, ROLES, Source, normalize
from ploutos_jax.market.io.guess import CLOCK, DATE
from ploutos_jax.market.io.sizes import LONGEST_HEADER, check_columns
from ploutos_jax.market.io.wide import find_wide_columns

_DELIMITERS = (",", ";", "\t", "|")
_LINES = 24
_MOST_ABOVE = 10
"""Lines that may stand above the header: a vendor's address, a title."""
_BINANCE = ("open_time", "open", "high", "low", "close", "volume")
"""The first of the twelve columns that this exchange writes without their names; the seventh is the time of close."""


@dataclass(frozen=True)
class Head:
    """How a CSV is written.

    Attributes:
        encoding: of its letters.
        delimiter: between cells.
        lines: its first lines as cells, from the header on, or from the first row where there is no header.
        above: lines before those.
        has_header: whether the first of `lines` names the columns.
        names: the columns.
        notes: what is left out or known without being written.
    """

    encoding: str
    delimiter: str
    lines: list[list[str]]
    above: int
    has_header: bool
    names: list[str]
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Lines before the first row."""
        return self.above + int(self.has_header)

    def source(self, path: Path) -> Source:
        """Return the file as messages name it."""
        rows = self.lines[int(self.has_header) :]
        return Source(str(path), self.skipped, [*map(tuple, rows)], self.has_header)


def read_head(path: Path, given: Mapping[str, str]) -> Head:
    """Return how a CSV is written.

    Args:
        path: of a CSV, perhaps gzipped.
        given: columns by role as the user says; the line that holds their names is the header.

    Raises:
        ValueError: if it is empty, or its lines are longer than any header.
    """
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as raw:
        encoding = _find_encoding(raw.read(4))
    texts: list[str] = []
    with opener(path, "rt", encoding=encoding, newline="") as stream:
        while len(texts) < _LINES and (line := stream.readline(LONGEST_HEADER)):
            if len(line) == LONGEST_HEADER:
                raise ValueError(f"a line has more than {LONGEST_HEADER:,} characters; is it a table of bars?")
            texts.append(line)
    # Before a name is looked at: of a million that would take long.
    check_columns(max((text.count(mark) + 1 for text in texts for mark in _DELIMITERS), default=0), Source(str(path)))
    readings = [_read(texts, delimiter) for delimiter in _DELIMITERS]
    best = max(
        range(len(_DELIMITERS)),
        key=lambda i: (max(map(_count_roles, readings[i][:_MOST_ABOVE]), default=0), _width(readings[i])),
    )
    lines, delimiter = readings[best], _DELIMITERS[best]
    if not lines or not any(any(line) for line in lines):
        raise ValueError(f"{path} is empty: its first line must name the columns.")
    if _width(lines) == 1 and lines[0] and len(lines[0][0].split()) >= 4:
        raise ValueError(
            f"{path} has blanks between its cells; write it with commas (pandas: pd.read_csv(path, sep=r'\\s+'), then"
            " to_csv)."
        )
    above = 0 if find_wide_columns(lines, given) else _find_header(lines, given)
    notes = []
    if above:
        notes.append(
            f"{above} line{'' if above == 1 else 's'} above the header left out: {delimiter.join(lines[0])[:80]!r}."
        )
    lines = lines[above:]
    if not _is_row(lines[0]):
        names = [cell or f"Unnamed: column {place + 1}" for place, cell in enumerate(lines[0])]
        return Head(encoding, delimiter, lines, above, True, names, tuple(notes))
    names = [f"column {place + 1}" for place in range(len(lines[0]))]
    if _is_binance(lines) and not given:
        names[: len(_BINANCE)] = _BINANCE
        notes.append(
            "there is no header; the twelve columns are those of Binance's klines, of which time of open, four prices"
            " and volume are read, the others left out."
        )
    return Head(encoding, delimiter, lines, above, False, names, tuple(notes))


def _find_encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def _read(texts: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return lines as cells; nothing where this delimiter leaves cells that are longer than any."""
    try:
        rows = list(csv.reader(texts, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return []
    return [[cell.strip() for cell in line] for line in rows]


def _width(lines: Sequence[Sequence[str]]) -> int:
    """Return how many cells most lines have; 0 where they differ much, as they do at a mark that parts no cells."""
    counts = sorted(len(line) for line in lines if line)
    return counts[len(counts) // 2] if counts else 0


def _count_roles(cells: Sequence[str]) -> int:
    return sum(normalize(cell) in ROLES for cell in cells) or sum(cell in LETTERS for cell in cells)


def _find_header(lines: Sequence[Sequence[str]], given: Mapping[str, str]) -> int:
    """Return which line names the columns: the first, unless only a later one does."""
    first = lines[:_MOST_ABOVE]
    names = {name for name in given.values() if not name.isdecimal()}
    for place, cells in enumerate(first):
        if names and len(names & set(cells)) == len(names & {cell for line in first for cell in line}) > 0:
            return place
    if _count_roles(lines[0]) >= 2 or (len(lines[0]) > 1 and _is_row(lines[0])):
        return 0
    return next((place for place, cells in enumerate(first) if _count_roles(cells) >= 3), 0)


def _is_row(cells: Sequence[str]) -> bool:
    """Return whether a line holds a bar and no names: a date and numbers, perhaps a ticker."""
    numbers = sum(_is_number(cell) for cell in cells)
    dates = sum(bool(DATE.fullmatch(cell) or CLOCK.fullmatch(cell)) for cell in cells)
    return _count_roles(cells) == 0 and dates >= 1 and numbers + dates >= 3


def _is_number(text: str) -> bool:
    try:
        float(text.lstrip("$€£¥").replace(",", "."))
    except ValueError:
        return False
    return True


def _is_binance(lines: Sequence[Sequence[str]]) -> bool:
    rows = [line for line in lines if any(line)]
    return all(
        len(row) == 12
        and row[0].isdecimal()
        and row[6].isdecimal()
        and len(row[0]) == len(row[6]) in (13, 16)
        and int(row[0]) < int(row[6])
        for row in rows
    )
