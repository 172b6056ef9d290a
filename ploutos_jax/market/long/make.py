"""From a Parquet data set to a store: features of one piece of the history after the other.

A piece is worked on together with the bars before it, the warm-up. Windows are then whole, and what an indicator that
remembers without end has forgotten is below the rounding of its numbers: the slowest, Wilder's average of 14 bars,
keeps exp(-2048 / 14) of what lies a warm-up back. What is carried from piece to piece beside the warm-up: the last
known price of each asset, what the broker knows of it, and the longest session so far.

Letters: T bars, A assets, W bars of the warm-up.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.market.features.build import build_market, feature_names
from ploutos_jax.market.features.cache import code_version
from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.features.compute import MASKS
from ploutos_jax.market.instrument import find_instruments
from ploutos_jax.market.io.align import Table, count, lay_out, name_few
from ploutos_jax.market.io.dataset import ParquetBars, Survey
from ploutos_jax.market.io.load import notes_on_costs
from ploutos_jax.market.io.sizes import free_memory
from ploutos_jax.market.io.times import lay_out_sessions
from ploutos_jax.market.io.universe import load_sectors
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels
from ploutos_jax.market.long.session import NAME, SessionClock
from ploutos_jax.market.long.store import ACTIVITY, PRICES, Writer, bytes_per_row, place_of, read_store, writing
from ploutos_jax.market.panel import Market, Panel

WARM_UP = 2_048
"""Bars before a piece that its features see, at least."""
_PIECE_CELLS = 4_000_000
"""Bars times assets that are laid out and computed at a time, the warm-up among them."""
_BYTES_PER_CELL = 500
"""Most memory for each of them: what is read, laid out and computed, beside the features themselves."""
_SETTLED = 512
"""Own bars beyond its warm-up after which a feature that remembers has forgotten how it began."""
_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class Source:
    """What a store is made of.

    Attributes:
        bars: the data set.
        features: names, see `named_columns`.
        sectors: CSV with ticker and sector.
        periods_per_year: overrides the count found.
    """

    bars: ParquetBars
    features: tuple[str, ...]
    sectors: str | None = None
    periods_per_year: float | None = None

    def key(self) -> str:
        """Return a number, in hexadecimal digits, of all that decides what the store holds.

        Files count by name, size and time of the last change: to read them all would take as long as the store.
        """
        files = [(str(file), (s := file.stat()).st_size, s.st_mtime_ns) for file in self.bars.files]
        given = (
            self.features,
            self.sectors,
            self.periods_per_year,
            self.bars.given,
            self.bars.tickers,
            self.bars.place,
        )
        kept = None if self.sectors is None else Path(self.sectors).read_bytes()
        system = (_version(), code_version(), jax.__version__, str(jnp.zeros(()).dtype), WARM_UP)
        return hashlib.blake2b(repr((files, given, kept, system)).encode(), digest_size=20).hexdigest()


def _version() -> str:
    """Return a number of the source of everything that turns files into bars."""
    digest = hashlib.blake2b(digest_size=20)
    market = Path(__file__).parents[1]
    for path in sorted([*market.glob("io/*.py"), *market.glob("long/*.py"), market / "features" / "build.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def open_long(
    source: Source, folder: Path, device_bars: int | None = None, tell: Callable[[str], None] = lambda _: None
) -> Market:
    """Return the market of a source, its arrays mapped; its store is made first where it is not there.

    Args:
        source: what it is made of.
        folder: of stores.
        device_bars: see `Labels`.
        tell: is told what is being done, a line each.

    Raises:
        ValueError: as `load_panel`, or if the disk or the memory has no room.
    """
    place = place_of(folder, source.key())
    market = read_store(place, device_bars)
    if market is None:
        _make(source, place, tell)
        market = read_store(place, device_bars)
    if market is None:
        raise ValueError(f"{place} cannot be read after it was written; is another process at it?")
    return market


def _make(source: Source, place: Path, tell: Callable[[str], None]) -> None:
    tell(f"Reading the dates of {source.bars.path}")
    survey = source.bars.survey()
    work = _Work.begin(source, survey)
    needed = memory_of_making(work.num_assets, work.num_features)
    if needed > free_memory():
        raise ValueError(
            f"{source.bars.path}: to compute the features of {work.num_assets:,} tickers takes about"
            f" {needed / 2**30:.1f} GiB of memory at a time, and {free_memory() / 2**30:.1f} GiB are free. Name fewer"
            " tickers or features."
        )
    size = len(survey.times) * bytes_per_row(work.num_assets, work.num_features)
    with writing(place, size) as folder:
        work.run(folder, tell)


def memory_of_making(num_assets: int, num_features: int) -> int:
    """Return the bytes that making a store takes at its peak, estimated."""
    rows = max(2 * WARM_UP, _PIECE_CELLS // num_assets)
    return rows * num_assets * (_BYTES_PER_CELL + 2 * 4 * num_features)


@dataclasses.dataclass
class _Carried:
    """What is known of each asset, `[A]`, up to the end of the piece before."""

    values: dict[str, np.ndarray]
    last_row: np.ndarray
    own_bars: np.ndarray
    has_traded: np.ndarray
    clock: SessionClock


@dataclasses.dataclass
class _Work:
    """The making of a store."""

    source: Source
    survey: Survey
    sessions: np.ndarray
    labels: Labels
    warm_up: int
    piece: int
    num_features: int

    @classmethod
    def begin(cls, source: Source, survey: Survey) -> "_Work":
        bars, times, symbols = source.bars, survey.times, survey.symbols
        stub = _empty_table(bars, survey)
        sessions, calendar, notes = lay_out_sessions(
            [dataclasses.replace(stub, times=times)], times, bars.place, source.periods_per_year
        )
        labels = Labels(symbols, (UNKNOWN_SECTOR,) * len(symbols), times, tuple(notes), calendar=calendar)
        longest = int(np.unique(sessions, return_counts=True)[1].max())
        warm_up = max(WARM_UP, _settled_after(source.features) if len(times) > WARM_UP else 0, 3 * longest)
        piece = max(warm_up, _PIECE_CELLS // len(symbols) - warm_up)
        # A history that is shorter is one piece; its own length, and no more, is then compiled for.
        piece = min(piece, len(times))
        num_features = len(source.features) + len(MASKS)
        return cls(source, survey, sessions, labels, warm_up, piece, num_features)

    @property
    def num_assets(self) -> int:
        return len(self.survey.symbols)

    @property
    def is_one_piece(self) -> bool:
        return self.piece == len(self.survey.times)

    def run(self, folder: Path, tell: Callable[[str], None]) -> None:
        num_bars, num_assets = len(self.survey.times), self.num_assets
        writer = Writer(folder, num_bars, num_assets, self.num_features, jnp.zeros(()).dtype)
        carried = _Carried(
            {name: np.zeros(num_assets) for name in ("close", *ACTIVITY)},
            np.full(num_assets, -1),
            np.zeros(num_assets, np.int64),
            np.zeros(num_assets, bool),
            SessionClock.begin(num_assets),
        )
        notes: dict[str, None] = dict.fromkeys(self.labels.notes)
        sectors: dict[str, str] = {}
        before, sparse, names = self._blank(self.warm_up, 0), np.zeros(num_assets, bool), ()
        starts = range(0, num_bars, self.piece)
        for number, first in enumerate(starts):
            tell(f"Features of bars {first:,} to {min(first + self.piece, num_bars):,} of {num_bars:,}")
            panel = self._read(first)
            notes |= dict.fromkeys(panel.notes)
            named = zip(panel.symbols, panel.sectors, strict=True)
            sectors |= {symbol: name for symbol, name in named if name != UNKNOWN_SECTOR}
            adjusted = dict.fromkeys([*self.labels.adjusted, *(panel.labels.adjusted if panel.labels else ())])
            self.labels = dataclasses.replace(self.labels, adjusted=tuple(adjusted))
            padded = panel if self.is_one_piece else self._joined(before, panel, first)
            market = build_market(padded, self.source.features)
            names = market.feature_names
            lead = 0 if self.is_one_piece else self.warm_up
            arrays = self._arrays_of(market, lead, panel.num_bars, first, carried)
            if number:
                sparse |= self._is_sparse(before, carried) & arrays["known"].any(axis=0)
            del market
            writer.write(first, arrays)
            self._carry(arrays, first, carried)
            if not self.is_one_piece:
                before = jax.tree.map(lambda x, n=panel.num_bars: x[n : n + self.warm_up], padded.replace(labels=None))
        self._finish(writer, carried, list(notes), sectors, names, sparse)

    def _read(self, first: int) -> Panel:
        """Return the bars of a piece, all assets of the data set, as `load_panel` would lay them out."""
        last = min(first + self.piece, len(self.survey.times)) - 1
        rows = slice(first, last + 1)
        table = self.source.bars.read(self.survey, first, last)
        kept = {name: table.signals[name] for name in self.source.bars.signals if name in table.signals}
        tables = [dataclasses.replace(table, signals=kept), _empty_table(self.source.bars, self.survey)]
        panel, _ = lay_out(tables, self.survey.times[rows], self.sessions[rows])
        if panel.dividend is not None or panel.split is not None:
            raise ValueError(f"{self.source.bars.path} lists dividends or splits, which --device-bars cannot judge.")
        panel = panel.select(self.survey.symbols) if panel.symbols != self.survey.symbols else panel
        # Whether a ticker has no volume anywhere is seen by the whole data set alone.
        idle = self.survey.traded & ~(np.asarray(panel.volume) > 0)
        return panel.replace(tradable=np.asarray(panel.tradable) & ~idle)

    def _blank(self, num_bars: int, first: int) -> Panel:
        """Return bars in which nothing exists, in sessions of their own before (0) or after the data."""
        shape = (num_bars, self.num_assets)
        days = np.arange(num_bars, dtype=np.int32)
        sessions = self.sessions[0] - num_bars + days if first == 0 else self.sessions[-1] + 1 + days
        return Panel(
            *(np.full(shape, np.nan) for _ in PRICES[:4]),
            volume=np.zeros(shape),
            tradable=np.zeros(shape, bool),
            sessions=sessions.astype(np.int32),
            signals={name: np.full(shape, np.nan) for name in self.source.bars.signals},
        )

    def _joined(self, before: Panel, panel: Panel, first: int) -> Panel:
        """Return a piece between the warm-up before it and, if it is the last, bars without anything after it."""
        parts = [before, panel.replace(labels=None)]
        if panel.num_bars < self.piece:
            parts.append(self._blank(self.piece - panel.num_bars, first + panel.num_bars))
        joined = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        times = np.arange(joined.num_bars).astype("datetime64[s]").astype("datetime64[ns]")
        labels = dataclasses.replace(self.labels, times=times, instruments=None)
        return joined.replace(labels=labels)

    def _arrays_of(
        self, market: Market, lead: int, num_bars: int, first: int, carried: _Carried
    ) -> dict[str, np.ndarray]:
        """Return the rows of a piece, with what was known before it where its own bars do not tell."""
        rows = slice(lead, lead + num_bars)
        arrays = {name: np.array(getattr(market, name)[rows]) for name in (*PRICES, *ACTIVITY, "tradable", "features")}
        known = np.asarray(market.features[: rows.stop, :, -1]) > 0
        arrays["known"] = known[rows]
        seen = np.maximum.accumulate(known, axis=0)[rows]
        if NAME in market.feature_names and not self.is_one_piece:
            progress = carried.clock.progress(arrays["known"], self.sessions[first : first + num_bars])
            arrays["features"][..., market.feature_names.index(NAME)] = progress
        if first:
            for name in PRICES[:4]:
                arrays[name] = np.where(seen, arrays[name], carried.values["close"].astype(arrays[name].dtype))
            for name in ACTIVITY:
                arrays[name] = np.where(seen, arrays[name], carried.values[name].astype(arrays[name].dtype))
        return arrays

    def _carry(self, arrays: dict[str, np.ndarray], first: int, carried: _Carried) -> None:
        known = arrays["known"]
        carried.values = {name: arrays[name][-1] for name in ("close", *ACTIVITY)}
        rows = first + np.arange(len(known))[:, None]
        carried.last_row = np.maximum(carried.last_row, np.where(known, rows, -1).max(axis=0))
        carried.own_bars = carried.own_bars + known.sum(axis=0)
        carried.has_traded = carried.has_traded | arrays["tradable"].any(axis=0)

    def _is_sparse(self, before: Panel, carried: _Carried) -> np.ndarray:
        """Return `[A]` bool, assets of which the warm-up holds too few of the bars that there were."""
        own = np.isfinite(np.asarray(before.close)).sum(axis=0)
        return (own < carried.own_bars) & (own < _settled_after(self.source.features))

    def _finish(
        self,
        writer: Writer,
        carried: _Carried,
        notes: list[str],
        sectors: dict[str, str],
        names: tuple[str, ...],
        sparse: np.ndarray,
    ) -> None:
        symbols, bars, times = self.survey.symbols, self.source.bars, self.survey.times
        if sparse.any():
            few = name_few([symbols[place] for place in np.flatnonzero(sparse)])
            notes.append(
                f"{count(int(sparse.sum()), 'ticker')} with few bars among the {self.warm_up:,} before a piece of the"
                f" history, {few}: their features there are those of a history that begins with it."
            )
        sectors |= load_sectors(self.source.sectors) if self.source.sectors is not None else {}
        kinds = []
        for begin in range(0, len(symbols), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            close = np.where(writer.column("known", block), writer.column("close", block).astype(np.float64), np.nan)
            kinds += find_instruments(
                symbols[block], times, self.sessions, close, exchange=bars.place.code, zone=bars.place.zone
            )
        labels = dataclasses.replace(
            self.labels,
            sectors=tuple(sectors.get(symbol, UNKNOWN_SECTOR) for symbol in symbols),
            notes=tuple(notes),
            instruments=tuple(kinds),
        )
        labels = dataclasses.replace(labels, notes=(*labels.notes, *notes_on_costs(labels)))
        ends = (carried.last_row + 1 < len(times)) & carried.has_traded
        delisted = np.stack([carried.last_row[ends] + 1, np.flatnonzero(ends)], axis=1) if ends.any() else None
        writer.finish(labels, self.sessions, delisted, {"feature_names": list(names)})


def _empty_table(bars: ParquetBars, survey: Survey) -> Table:
    """Return a table without rows that knows all tickers and signals of a data set."""
    none = np.zeros(0)
    return Table(
        bars.path.name,
        survey.times[:0],
        none.astype(np.int64),
        survey.symbols,
        none.astype(np.int64),
        {},
        dict.fromkeys(bars.signals, none),
        (),
        none.astype(np.int64),
        (),
    )


def named_columns(features: str | Sequence[str], signals: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the columns that a choice of features makes with some signals, masks left out."""
    blank, one = np.zeros((1, 1)), np.zeros(1, np.int32)
    prices = dict.fromkeys(PRICES, blank)
    panel = Panel(**prices, tradable=blank > 0, sessions=one, signals=dict.fromkeys(signals, blank))
    return tuple(name for name in feature_names(features, panel) if name not in MASKS)


def _settled_after(features: tuple[str, ...]) -> int:
    """Return the own bars after which features know no longer how they began."""
    names = set(features)
    return _SETTLED + max((feature.warm_up for feature in FEATURES if feature.name in names), default=0)
