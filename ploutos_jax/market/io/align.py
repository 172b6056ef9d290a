"""Rows of files laid out on one grid of all dates and all tickers; faulty bars are masked, none is filled in.

Letters: T bars, A assets; `entries` are rows of one file.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ploutos_jax.market.io.actions import Actions, paid_per_share
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels, name_moment
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.tickers import show_marks

PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Table:
    """The rows of one file, one per date and ticker, in any order.

    Attributes:
        name: the file's name.
        times, time_codes: dates (datetime64[ns], any order) and each row's `[entries]` place in them.
        symbols, symbol_codes: tickers (may repeat) and each row's `[entries]` place in them.
        columns: `[entries]` float64 by name (prices, volume and perhaps dividend and split), NaN where missing.
        signals: `[entries]` float64 by name, NaN where missing.
        sectors, sector_codes: sectors and each row's `[entries]` place in them, -1 where missing.
        notes: what the reader changed or left out.
        adjusted: tickers whose prices the reader has scaled.
    """

    name: str
    times: np.ndarray
    time_codes: np.ndarray
    symbols: Sequence[str]
    symbol_codes: np.ndarray
    columns: Mapping[str, np.ndarray]
    signals: Mapping[str, np.ndarray]
    sectors: Sequence[str]
    sector_codes: np.ndarray
    notes: Sequence[str]
    adjusted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _Grid:
    """The common grid: T times, A symbols, and for each table the places of its rows in a flattened `[T, A]`."""

    times: np.ndarray
    symbols: tuple[str, ...]
    places: tuple[np.ndarray, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.times), len(self.symbols)

    def name_bar(self, place: int) -> str:
        row, column = divmod(int(place), len(self.symbols))
        return f"{show_marks(self.symbols[column])} {name_moment(self.times[row])}"

    def describe(self, mask: np.ndarray, unit: str, what: str) -> str:
        """Return a sentence that counts the bars of a `[T, A]` mask and names the first."""
        places = np.flatnonzero(mask)
        one = len(places) == 1
        words = {"s": "s", "have": "has", "are": "is"} if one else {"s": "", "have": "have", "are": "are"}
        return f"{count(len(places), unit)} {what.format(**words)} (first: {self.name_bar(places[0])})."


def lay_out(tables: Sequence[Table], times: np.ndarray, sessions: np.ndarray) -> tuple[Panel, np.ndarray]:
    """Return the panel of all rows, and `[T, A]` where there is a row, be its bar usable or not.

    Args:
        tables: what was read; no date and ticker may occur twice.
        times: `[T]` ascending union of all dates.
        sessions: `[T]` int32 trading days.

    Raises:
        ValueError: naming the first repeated bar, or if no row holds a usable bar.
    """
    symbols = tuple(sorted({symbol for table in tables for symbol in table.symbols}))
    grid = _Grid(times, symbols, tuple(_find_places(table, times, symbols) for table in tables))
    present = _find_rows(tables, grid)
    notes = _merge_notes(tables)
    prices = {name: _spread(tables, grid, name, np.nan) for name in PRICES}
    valid = _mask_bars(prices, present, grid, notes)
    if not valid.any():
        raise ValueError(f"No usable bar in {name_few([table.name for table in tables])}: {' '.join(notes)}")
    volume = _spread(tables, grid, "volume", 0.0)
    tradable = _mask_volume(volume, valid, present, grid, notes)
    actions = _settle_actions(tables, grid, prices, notes)
    adjusted = tuple(symbol for symbol, is_so in zip(symbols, actions.adjusted, strict=True) if is_so)
    signals = sorted({name for table in tables for name in table.signals})
    panel = Panel(
        **prices,
        volume=volume,
        tradable=tradable,
        sessions=sessions,
        dividend=actions.dividend if actions.dividend.any() else None,
        split=actions.split if (actions.split != 1).any() else None,
        signals={name: _spread(tables, grid, name, np.nan) for name in signals},
        labels=Labels(symbols, _last_sectors(tables, symbols), times, tuple(notes), adjusted=adjusted),
    )
    return panel, present


def _find_places(table: Table, times: np.ndarray, symbols: tuple[str, ...]) -> np.ndarray:
    columns = {symbol: column for column, symbol in enumerate(symbols)}
    column = np.array([columns[symbol] for symbol in table.symbols], np.int64)
    row = np.searchsorted(times, table.times)
    return row[table.time_codes] * len(symbols) + column[table.symbol_codes]


def _spread(tables: Sequence[Table], grid: _Grid, name: str, fill: float) -> np.ndarray:
    """Return a column as `[T, A]`, `fill` where no row has it."""
    spread = np.full(grid.shape, fill)
    for table, places in zip(tables, grid.places, strict=True):
        values = table.columns.get(name, table.signals.get(name))
        if values is not None:
            spread.reshape(-1)[places] = values
    return spread


def _find_rows(tables: Sequence[Table], grid: _Grid) -> np.ndarray:
    present = np.zeros(grid.shape, bool)
    for places in grid.places:
        present.reshape(-1)[places] = True
    if present.sum() == sum(len(places) for places in grid.places):
        return present
    places, repeats = np.unique(np.concatenate(grid.places), return_counts=True)
    first = places[np.argmax(repeats > 1)]
    files = [table.name for table, own in zip(tables, grid.places, strict=True) if (own == first).any()]
    raise ValueError(
        f"More than one row for {grid.name_bar(first)} in {name_few(files)};"
        f" {count(int((repeats > 1).sum()), 'bar')} in all repeat. Keep one row per date and ticker."
    )


def _mask_bars(prices: dict[str, np.ndarray], present: np.ndarray, grid: _Grid, notes: list[str]) -> np.ndarray:
    """Mask faulty bars and widen ranges, in place; return `[T, A]` where there is a bar."""
    opens, high, low, close = prices.values()
    missing = {name: present & ~np.isfinite(price) for name, price in prices.items()}
    lacked = " or ".join(", ".join(name for name, mask in missing.items() if mask.any()).rsplit(", ", 1))
    faults = {
        f"lack{{s}} {lacked} and count{{s}} as no bar": np.logical_or.reduce(list(missing.values())),
        "{have} a price that is not above 0 and count{s} as no bar": np.minimum.reduce([opens, high, low, close]) <= 0,
        "{have} high below low and count{s} as no bar": high < low,
    }
    valid = present.copy()
    for what, fault in faults.items():
        bad = valid & fault
        valid &= ~bad
        if bad.any():
            notes.append(grid.describe(bad, "row", what))
    for price in prices.values():
        price[~valid] = np.nan
    outside = (high < np.maximum(opens, close)) | (low > np.minimum(opens, close))
    if outside.any():
        what = "{have} open or close outside [low, high]; the range is widened to hold them"
        notes.append(grid.describe(outside, "bar", what))
    prices["high"] = np.maximum.reduce([high, opens, close])
    prices["low"] = np.minimum.reduce([low, opens, close])
    return valid


def _mask_volume(
    volume: np.ndarray, valid: np.ndarray, present: np.ndarray, grid: _Grid, notes: list[str]
) -> np.ndarray:
    """Set volume to 0 where nothing traded, in place; return `[T, A]` where orders can fill."""
    negative = present & (volume < 0)
    if negative.any():
        notes.append(grid.describe(negative, "row", "{have} a negative volume, which counts as none"))
    traded = present & np.isfinite(volume) & (volume > 0)
    volume[~(traded & valid)] = 0.0
    index = valid.any(axis=0) & ~traded.any(axis=0)
    if index.any():
        which = name_few([grid.symbols[column] for column in np.flatnonzero(index)])
        notes.append(
            f"{count(int(index.sum()), 'ticker')} without any volume kept tradable at volume 0: {which}. Features of"
            " volume are constant there, and a cap on the share of a bar's volume does not bind."
        )
    idle = valid & ~traded & ~index
    if idle.any():
        notes.append(grid.describe(idle, "bar", "{have} no volume and {are} not tradable"))
    return valid & ~idle


def _settle_actions(
    tables: Sequence[Table], grid: _Grid, prices: Mapping[str, np.ndarray], notes: list[str]
) -> Actions:
    """Lay out dividends and splits, judge them by the prices, and note what was found."""
    split, dividend, gain, adj_close = (
        _spread(tables, grid, name, fill)
        for name, fill in (("split", 1.0), ("dividend", 0.0), ("capital_gain", 0.0), ("adj_close", np.nan))
    )
    dividend[np.isnan(dividend)], gain[np.isnan(gain)] = 0.0, 0.0
    split[np.isnan(split) | (split == 0)] = 1.0
    owner = np.full(grid.shape, -1)
    adjusted = np.zeros(grid.shape[1], bool)
    for number, (table, places) in enumerate(zip(tables, grid.places, strict=True)):
        owner.reshape(-1)[places] = number
        adjusted |= np.isin(grid.symbols, sorted(table.adjusted))
    actions = Actions(split, dividend, prices["open"], prices["close"], adj_close, owner, adjusted)
    if gain.any():
        close = prices["close"]
        old = np.where(actions.before >= 0, np.take_along_axis(close, np.maximum(actions.before, 0), axis=0), np.nan)
        dividend[:] = paid_per_share(dividend, gain, old / split - close)
    actions.settle()
    notes.extend(_notes_on(actions, tables, grid))
    return actions


def _notes_on(actions: Actions, tables: Sequence[Table], grid: _Grid) -> list[str]:
    """Return what there is to tell of splits and dividends, a sentence or two for each kind, with the rows."""
    notes = []

    def rows(mask: np.ndarray) -> str:
        places = np.flatnonzero(mask)
        return ", ".join(grid.name_bar(place) for place in places[:5]) + (", …" if len(places) > 5 else "")

    if actions.ignored.any():
        files = [tables[number].name for number in np.unique(actions.owner[actions.ignored])]
        notes.append(
            f"{count(int(actions.ignored.sum()), 'split')} listed in {name_few(files)} ignored: the prices are already"
            f" adjusted for them ({rows(actions.ignored)}). Where such prices are adjusted for dividends too, listed"
            " dividends count twice."
        )
    if actions.inverted.any():
        notes.append(
            f"{count(int(actions.inverted.sum()), 'split')} listed upside down, as old shares per new one, and read as"
            f" 1/ratio, which is what the prices did ({rows(actions.inverted)})."
        )
    if actions.moved.any():
        notes.append(
            f"{count(int(actions.moved.sum()), 'split')} listed some bars before the price shows it, and moved there"
            f" ({rows(actions.moved)})."
        )
    close = actions.close
    old = np.take_along_axis(close, np.maximum(actions.before, 0), axis=0)
    with np.errstate(invalid="ignore"):
        beyond = (actions.before >= 0) & (actions.dividend * actions.split > old)
    if beyond.any():
        notes.append(
            f"{count(int(beyond.sum()), 'dividend')} above the price of the bar before, which no company can pay, kept"
            f" as listed ({rows(beyond)}): is the unit that of the prices?"
        )
    if actions.paid_in_price.any():
        notes.append(
            f"{count(int(actions.paid_in_price.sum()), 'dividend')} ignored: the prices are already adjusted for them"
            f" ({rows(actions.paid_in_price)})."
        )
    if actions.doubted.any():
        which = [grid.symbols[column] for column in np.flatnonzero(actions.doubted)]
        paid = (actions.dividend > 0) & actions.doubted
        notes.append(
            f"Dividends of {name_few(which)} count twice: the prices hardly fall on their days ({rows(paid)}), so they"
            " are adjusted for dividends already, or the dividends are those of other shares. Remove the column of"
            " dividends, or give prices as traded (yfinance: auto_adjust=False)."
        )
    found = actions.find_unlisted_splits()
    if found:
        shown = [f"{grid.name_bar(t * grid.shape[1] + a)} (price x {ratio:.4g})" for t, a, ratio in found[:10]]
        more = f", … ({len(found)} in all)" if len(found) > 10 else ""
        notes.append(
            f"Prices jump as at a split that no column tells: {', '.join(shown)}{more}. A holder gains or loses by it"
            " as if it were a return; add a column split (new shares per old one), or give adjusted prices."
        )
    return notes


def _last_sectors(tables: Sequence[Table], symbols: tuple[str, ...]) -> tuple[str, ...]:
    """Return for each ticker the last sector, by date, that any table gives it."""
    latest: dict[str, tuple[np.datetime64, str]] = {}
    for table in tables:
        given = np.flatnonzero(table.sector_codes >= 0)
        ordered = given[np.argsort(table.times[table.time_codes[given]], kind="stable")]
        last = np.full(len(table.symbols), -1)
        last[table.symbol_codes[ordered]] = ordered
        for symbol, row in zip(table.symbols, last.tolist(), strict=True):
            if row >= 0:
                entry = table.times[int(table.time_codes[row])], table.sectors[int(table.sector_codes[row])]
                latest[symbol] = max(entry, latest.get(symbol, entry))
    return tuple(latest[symbol][1] if symbol in latest else UNKNOWN_SECTOR for symbol in symbols)


def _merge_notes(tables: Sequence[Table]) -> list[str]:
    files: dict[str, list[str]] = {}
    for table in tables:
        for note in table.notes:
            files.setdefault(note, []).append(table.name)
    return [f"{name_few(names)}: {note}" for note, names in files.items()]


def count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def name_few(names: Collection[str]) -> str:
    """Return the first names of a collection, and how many there are if not all are named."""
    shown = show_marks(", ".join(list(names)[:5]))
    return shown if len(names) <= 5 else f"{shown}, … ({len(names)} in all)"


def relabel(panel: Panel, *notes: str, **changes: Any) -> Panel:
    """Return the panel with notes more and some of its labels changed."""
    old = panel.labels or Labels(panel.symbols, panel.sectors, panel.times)
    changes = {"notes": (*old.notes, *filter(None, notes)), **changes}
    return panel.replace(labels=replace(old, **changes))
