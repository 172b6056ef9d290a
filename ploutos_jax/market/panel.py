"""Panel and Market: what prices did, as arrays on one grid of bars and assets.

Letters: T bars, A assets, F features; time comes first. Both classes are pytrees of arrays only. Symbols, sectors
and dates are host-side `labels` next to the arrays: JAX drops them when an object passes through a transformation, so
they can neither cause a recompilation nor come back stale from a compiled function's cache.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ploutos_jax.market.display import Card
from ploutos_jax.market.labels import Labelled, Labels
from ploutos_jax.market.late import late
from ploutos_jax.market.lead import Lead, lead_of

Array = jax.Array | np.ndarray

SCALES = ("spread_scale", "impact_scale")
"""Fields of a panel and a market that multiply costs of the broker."""


@typing.no_type_check
@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "open",
        "high",
        "low",
        "close",
        "volume",
        "tradable",
        "sessions",
        "dividend",
        "split",
        "signals",
        "spread_scale",
        "impact_scale",
        "buyable",
        "path_end",
    ],
    meta_fields=[],
    drop_fields=["labels"],
)
@dataclasses.dataclass(frozen=True, repr=False)
class Panel(Labelled):
    """Bars of A assets on one time grid, as a file or a generator gives them.

    A missing bar (not listed yet, delisted, halted, no print) is NaN in the four prices, 0 in volume and False in
    `tradable`: it is never filled from another time or another asset. Row t is known at the close of bar t, except
    `open[t]`, known at its open.

    Attributes:
        open, high, low, close: `[T, A]` prices as traded (dollars per share), NaN where there is no bar.
        volume: `[T, A]` shares traded in the bar.
        tradable: `[T, A]` bool; False means that nothing fills in this bar: no bar, no volume, or halted.
        sessions: `[T]` int32, the bar's trading day as days since 1970-01-01 in the exchange's time zone.
        dividend: `[T, A]` cash per share paid to holders over the open of bar t (its ex-date), or None for none.
        split: `[T, A]` new shares per old share at the open of bar t (1 = no split), or None for none.
        signals: extra columns of the user's file by name, each `[T, A]`, NaN where missing; known at close t.
        spread_scale, impact_scale: `[T, A]` multiples of the configured spread and market impact of fills in bar t,
            or None for 1 everywhere. The broker charges by them as it fills; no feature and no observation holds them.
        buyable: `[T, A]` bool, False where a position may be sold but not bought: outside the universe. Known before
            the open of bar t. None where whatever trades may be bought.
        path_end: `[T]` int32, the last row of the path that row t belongs to, where several paths of equal length lie
            end to end along T, or None for one path. Nothing that looks along time crosses it.
        labels: symbols, sectors and dates (host only).
    """

    open: Float[Array, "T A"]
    high: Float[Array, "T A"]
    low: Float[Array, "T A"]
    close: Float[Array, "T A"]
    volume: Float[Array, "T A"]
    tradable: Bool[Array, "T A"]
    sessions: Int[Array, " T"]
    dividend: Float[Array, "T A"] | None = None
    split: Float[Array, "T A"] | None = None
    signals: Mapping[str, Float[Array, "T A"]] = dataclasses.field(default_factory=dict)
    spread_scale: Float[Array, "T A"] | None = None
    impact_scale: Float[Array, "T A"] | None = None
    buyable: Bool[Array, "T A"] | None = None
    path_end: Int[Array, " T"] | None = None
    labels: Labels | None = None

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        columns: str | Mapping[str, str] | None = None,
        ticker: str = "ASSET",
        tickers: Sequence[str] | None = None,
        start: Any = None,
        end: Any = None,
        universe: str | Path | None = None,
        sectors: str | Path | None = None,
        exchange_timezone: str | None = None,
        exchange: str | None = None,
        periods_per_year: float | None = None,
    ) -> "Panel":
        """Return the bars of a table in memory, read as `load_panel` reads a file of the same content.

        Accepted are pandas DataFrames: long (one row per date and ticker, both as columns or as two levels of rows, in
        either order), wide with two levels of columns (field and ticker, in either order, as yfinance makes them), one
        ticker's bars with the dates as index, and a table of closes whose columns have the name `ticker`; a dictionary
        of such frames by ticker; and any table that hands over an Arrow stream (`__arrow_c_stream__`: polars, DuckDB,
        pyarrow), long, or wide with names such as "('Close', 'AAPL')". Names of columns, missing bars, repairs, notes
        and refusals are those of `load_panel`. The frame is not changed.

        Args:
            frame: the table.
            columns: which column plays which role, where names do not tell: `{"close": "Close/Last"}`.
            ticker: what the bars are of where no column and no level tells.
            tickers, start, end, universe, sectors, exchange_timezone, exchange, periods_per_year: see `load_panel`.

        Raises:
            ValueError: naming column, row and value of what cannot be read, and the `columns` that would read it; or if
                the frame is no table.
        """
        return late("market.io.frames").panel_from_frame(
            frame,
            columns=columns,
            ticker=ticker,
            tickers=tickers,
            start=start,
            end=end,
            universe=universe,
            sectors=sectors,
            exchange_timezone=exchange_timezone,
            exchange=exchange,
            periods_per_year=periods_per_year,
        )

    def to_frame(self, *, wide: bool = False) -> Any:
        """Return the bars as a pandas DataFrame, which `from_frame` reads back.

        Columns are `date`, `ticker`, the prices as traded, `volume`, `dividend` and `split` where the panel has them,
        the signals by name, and `sector` where one is known. A missing bar is no row. Dates are those of
        `panel.times`: midnight of daily bars, UTC of intraday ones. What only a panel holds is left out: a bar that
        has volume and is not tradable, the universe, scales of costs, the notes.

        Args:
            wide: a column for each field of each ticker instead, in two levels (`field`, `ticker`), dates as index.
        """
        return late("market.io.frames").frame_of(self, wide=wide)

    @property
    def num_bars(self) -> int:
        return self.close.shape[0]

    @property
    def num_assets(self) -> int:
        return self.close.shape[1]

    def _card(self) -> Card:
        return late("market.cards").card_of_panel(self)

    def window(self, start: Any = None, end: Any = None) -> "Panel":
        """Return the rows of a span; see `find_rows` for the arguments."""
        rows = self.find_rows(start, end)
        labels = self.labels.rows(rows) if self.labels is not None else None
        cut = jax.tree.map(lambda x: x[rows], self)
        return cut.replace(path_end=_cut_path_end(cut.path_end, rows), labels=labels)

    def select(self, symbols: list[str] | tuple[str, ...]) -> "Panel":
        """Return the panel of some tickers, in the order given.

        Raises:
            ValueError: if a ticker is not in the panel or is given twice; the message names it.
        """
        place = {symbol: i for i, symbol in enumerate(self.symbols)}
        missing = [symbol for symbol in symbols if symbol not in place]
        if missing:
            shown = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
            raise ValueError(f"Unknown ticker: {shown}. The data has {len(place)} tickers, such as {_few(place)}.")
        if len(set(symbols)) < len(symbols):
            twice = next(symbol for symbol in symbols if list(symbols).count(symbol) > 1)
            raise ValueError(f"The ticker {twice} is given twice; name each once.")
        columns = np.array([place[symbol] for symbol in symbols], np.int64)
        labels = dataclasses.replace(
            self._known_labels(),
            symbols=tuple(symbols),
            sectors=tuple(self.sectors[i] for i in columns),
            instruments=None
            if (kinds := self._known_labels().instruments) is None
            else tuple(kinds[i] for i in columns),
            hint=None if (law := self._known_labels().hint) is None else law.columns(columns),
        )
        picked = jax.tree.map(lambda x: x[:, columns] if x.ndim == 2 else x, self)
        return picked.replace(labels=labels)

    def validate(self) -> "Panel":
        """Return the panel if it is consistent.

        Raises:
            ValueError: naming the field, date and ticker of the first inconsistency.
        """
        shape = self.close.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"A panel needs at least one bar and one asset; close has shape {shape}.")
        for name in ("open", "high", "low", "volume", "tradable", "dividend", "split", "buyable", *SCALES):
            field = getattr(self, name)
            if field is not None and field.shape != shape:
                raise ValueError(f"panel.{name} has shape {field.shape}, but panel.close has {shape}.")
        for name, signal in self.signals.items():
            if signal.shape != shape:
                raise ValueError(f"Signal {name!r} has shape {signal.shape}, but panel.close has {shape}.")
        if self.path_end is not None and self.path_end.shape != shape[:1]:
            raise ValueError(f"panel.path_end has shape {self.path_end.shape}, expected {shape[:1]}.")
        if self.sessions.shape != shape[:1]:
            raise ValueError(f"panel.sessions has shape {self.sessions.shape}, expected {shape[:1]}.")
        if self.labels is not None:
            self._validate_labels(self.labels)
        self._validate_prices()
        return self

    def _validate_labels(self, labels: Labels) -> None:
        for name, size in (("symbols", self.num_assets), ("sectors", self.num_assets), ("times", self.num_bars)):
            if len(getattr(labels, name)) != size:
                raise ValueError(f"labels.{name} holds {len(getattr(labels, name))} entries, but the panel has {size}.")
        if len(set(labels.symbols)) < len(labels.symbols):
            twice = next(symbol for symbol in labels.symbols if labels.symbols.count(symbol) > 1)
            raise ValueError(f"labels.symbols holds {twice!r} twice; each ticker needs a name of its own.")
        backward = np.flatnonzero(~(np.diff(labels.times) > np.timedelta64(0, "ns")))
        if backward.size:
            before, after = labels.times[backward[0] : backward[0] + 2]
            raise ValueError(f"labels.times must ascend: bar {backward[0] + 1} at {after} follows {before}.")

    def _validate_prices(self) -> None:
        opens, high, low, close = (np.asarray(x) for x in (self.open, self.high, self.low, self.close))
        tradable = np.asarray(self.tradable)
        with np.errstate(invalid="ignore"):
            bad_price = ~(np.isfinite(opens) & np.isfinite(high) & np.isfinite(low) & np.isfinite(close) & (low > 0))
            bad_range = (low > np.minimum(opens, close)) | (high < np.maximum(opens, close))
            bad_volume = ~((np.asarray(self.volume) >= 0) & np.isfinite(np.asarray(self.volume)))
        self._reject(bad_price & tradable, "a price that is missing or not above 0 in a tradable bar")
        self._reject(bad_range, "open or close outside [low, high]")
        self._reject(bad_volume, "a volume that is negative or not finite")
        if self.split is not None:
            self._reject(~(np.asarray(self.split) > 0), "a split ratio that is not above 0")
        if self.dividend is not None:
            self._reject(~np.isfinite(np.asarray(self.dividend)), "a dividend that is not finite")
        for name in SCALES:
            scale = getattr(self, name)
            if scale is not None:
                scale = np.asarray(scale)
                self._reject(~((scale >= 0) & np.isfinite(scale)), f"a {name} that is negative or not finite")

    def _reject(self, bad: np.ndarray, what: str) -> None:
        if not bad.any():
            return
        t, a = (int(i[0]) for i in np.nonzero(bad))
        where = f"bar {t}, asset {a}" if self.labels is None else f"{self.times[t]} {self.symbols[a]}"
        values = {n: float(np.asarray(getattr(self, n))[t, a]) for n in ("open", "high", "low", "close", "volume")}
        raise ValueError(f"The panel has {what} at {where}: {values} ({int(bad.sum())} such bars in all).")


@typing.no_type_check
@partial(
    jax.tree_util.register_dataclass,
    data_fields=[
        "open",
        "high",
        "low",
        "close",
        "volume",
        "tradable",
        "delisted",
        "sessions",
        "path_end",
        "features",
        "dividend",
        "split",
        "atr",
        "volatility",
        "adv",
        "sector",
        "spread_scale",
        "impact_scale",
        "buyable",
        "lead",
    ],
    meta_fields=[],
    drop_fields=["labels", "feature_names"],
)
@dataclasses.dataclass(frozen=True, repr=False)
class Market(Labelled):
    """A panel made ready for the simulator: broker-ready prices and the table of causal features.

    Row t is known at the close of bar t, except `open[t]`, known at its open. Several paths may lie end to end
    along T; nothing that looks along time crosses `path_end`.

    Attributes:
        open, high, low, close: `[T, A]` prices as traded; a missing bar carries the last close known, and a bar
            before the first listing 0: such bars are never tradable, the price only marks positions.
        volume: `[T, A]` shares, 0 where there is no bar; infinite in the bars of an asset whose volume is not known
            (none in the whole panel), so that a cap on the share of it does not bind.
        tradable: `[T, A]` bool; see `Panel`.
        delisted: `[T, A]` bool, True in the one bar in which the broker closes what is left of an asset (at the last
            close): the first row after its last own bar on its path, with volume or without. None where no asset ends
            early. An asset that leaves a universe but has bars does not end.
        sessions: `[T]` int32 trading days since 1970-01-01.
        path_end: `[T]` int32, the last row of the path that row t belongs to.
        features: `[T, A, F]` in network form (scale-free), finite everywhere; 0 where not known yet, which the
            `known` feature tells apart.
        dividend, split: see `Panel`; None where there is none.
        atr, volatility, adv: `[T, A]` what the broker knows of an asset's usual movement and trading at close t, see
            `activity`: average true range as a fraction of the close, volatility of a bar's log return, dollars
            traded in a bar; 0 where not known. None where nobody asks.
        sector: `[A]` int32 column of each asset's sector, see `sector_columns`; None where no labels are.
        spread_scale, impact_scale: see `Panel`; None where costs are the usual ones in every bar.
        buyable: see `Panel`; None where whatever trades may be bought.
        lead: what networks that remember see of the bars before the first row; None where there are none.
        labels: symbols, sectors and dates (host only).
        feature_names: F names (host only).
    """

    open: Float[jax.Array, "T A"]
    high: Float[jax.Array, "T A"]
    low: Float[jax.Array, "T A"]
    close: Float[jax.Array, "T A"]
    volume: Float[jax.Array, "T A"]
    tradable: Bool[jax.Array, "T A"]
    delisted: Bool[jax.Array, "T A"] | None
    sessions: Int[jax.Array, " T"]
    path_end: Int[jax.Array, " T"]
    features: Float[jax.Array, "T A F"]
    dividend: Float[jax.Array, "T A"] | None = None
    split: Float[jax.Array, "T A"] | None = None
    atr: Float[jax.Array, "T A"] | None = None
    volatility: Float[jax.Array, "T A"] | None = None
    adv: Float[jax.Array, "T A"] | None = None
    sector: Int[jax.Array, " A"] | None = None
    spread_scale: Float[jax.Array, "T A"] | None = None
    impact_scale: Float[jax.Array, "T A"] | None = None
    buyable: Bool[jax.Array, "T A"] | None = None
    lead: Lead | None = None
    labels: Labels | None = None
    feature_names: tuple[str, ...] = ()

    @property
    def num_bars(self) -> int:
        return self.close.shape[0]

    @property
    def num_assets(self) -> int:
        return self.close.shape[1]

    @property
    def num_features(self) -> int:
        return self.features.shape[2]

    def _card(self) -> Card:
        return late("market.cards").card_of_market(self)

    def window(self, start: Any = None, end: Any = None, *, lead: int = 0) -> "Market":
        """Return the rows of a span, features as computed on the whole history; see `find_rows`.

        With `lead`, up to so many bars before the span, of its first row's path, come along as `Market.lead`.
        """
        rows = self.find_rows(start, end)
        labels = self.labels.rows(rows) if self.labels is not None else None
        before = lead_of(self, rows.start, lead) if lead else None
        cut = jax.tree.map(lambda x: x[rows], self.replace(sector=None, lead=None))
        path_end = _cut_path_end(cut.path_end, rows)
        named = {"labels": labels, "feature_names": self.feature_names}
        return cut.replace(path_end=path_end, sector=self.sector, lead=before, **named)


def _cut_path_end(path_end: Any, rows: slice) -> Any:
    """Return the last rows of paths, counted from the first row of a window and not beyond its last."""
    return None if path_end is None else (path_end - rows.start).clip(0, rows.stop - rows.start - 1)


def _few(names: Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:5])
