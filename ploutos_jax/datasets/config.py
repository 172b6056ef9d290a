"""From one description of the data to the market: a file, a folder, or synthetic data."""

import dataclasses
import difflib
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from ploutos_jax.datasets.kinds import check_draws, check_edge_of, check_long, read_experts
from ploutos_jax.datasets.planted import is_planted_name, read_planted
from ploutos_jax.datasets.selection import expand_tickers, most_traded, read_spans, training_rows
from ploutos_jax.datasets.splits import Window, cut
from ploutos_jax.env.bounds import Bound, check_bounds, check_kinds, share, whole
from ploutos_jax.market.experts.table import PREFIX
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.cache import default_folder
from ploutos_jax.market.features.catalog import FEATURE_SETS, FEATURES
from ploutos_jax.market.io.columns import read_mapping
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.labels import name_moment, read_date
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.synthetic.generate import synthetic_panel

SYNTHETIC = "synthetic"
BOOTSTRAP = "bootstrap:"
_DEFAULT_FEATURES = "core"
_MIN_HELD_OUT_BARS = 20


DATA_BOUNDS = {
    "paths": whole(1, 100_000),
    "edge": share(),
    "holdout": share(below=True),
    "liquid": whole(1, 1_000_000),
    "periods_per_year": Bound(0, 1e8, above=True),
    "stress_prob": share(),
    "bank_paths": whole(1, 100_000),
    "bank_bars": whole(2, 10_000_000),
    "block_sessions": Bound(1, 1e6),
    "path_tickers": whole(1, 1_000_000),
    "volatility_jitter": share(below=True),
}
"""Numbers of `DataConfig`."""
LONG_BOUNDS = {"device_bars": whole(2, 1_000_000_000)}
"""Those that may be a word."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which bars to use.

    Attributes:
        data: a CSV, Parquet or Feather file, a folder of them, `synthetic` (30 made assets that move as the S&P 500
            does; `synthetic:503` for 503), or made assets with a column that tells the next bar's return, to see
            whether a learner learns: `planted` (`planted:100:0.3` for 100 assets and a correlation of 0.3; 1 is the
            leaked future), `planted_persistent:30:0.1:0.9` with a hint that lasts (0.9 from bar to bar),
            `planted_lag:30:0.3` with one that tells late, `planted_regimes:30:0.3:a` with one whose meaning turns
            round in a hidden regime (`a`: its volatility is double; `b`: nothing else tells it).
        paths: independent histories of ten years that `synthetic` lays end to end; no episode and no feature reaches
            from one into the next, and the last of them are kept for scoring. In [1, 100,000].
        edge: of `synthetic`: a column that tells a known part of the next day's return, so many of an asset's usual
            daily volatilities for a hint of 1; 0.05 is weak and survives costs, 0 is a column that tells nothing.
            Without it there is no such column. In [0, 1].
        start: first date to train on.
        end: last date to train on; later bars are kept for scoring.
        spans: several spans to train on instead of `start` and `end`, such as
            2019-01-01..2021-12-31,2023-01-01..2024-12-31; no episode reaches from one into the next, and the bars after
            the last are kept for scoring.
        holdout: share of the last bars kept for scoring when neither `end` nor `spans` is given. In [0, 1).
        eval_start: first date of the bars that the agent is scored on during training; by default those kept for
            scoring.
        eval_end: last date of them.
        tickers: use these only; `momentum`, `tech`, `indices` and `sectors` stand for the lists of docs/presets.md.
        liquid: use only so many tickers, those that traded most dollars (median of a bar) on the training bars. In [1,
            1e6].
        columns: which column of the file plays which role, where its names do not tell, such as
            close=Close/Last,date=Date; a file that is not read is refused with the one that reads it.
        universe: CSV of ticker, start, end: a ticker trades only while it is a member.
        sectors: CSV of ticker and sector.
        features: name of the feature set; `standard` is all of them, three times as many as `core`. Without it
            `core`, and on planted data the signals alone.
        experts: strategies without learning whose weights the agent mixes into the middle of its bands, such as
            equal_weight minimum_variance momentum: see docs/concepts.md. For `--action bands`.
        exchange_timezone: whose calendar day is the trading day of intraday bars; without it UTC for bars on all days
            of the week, else New York.
        exchange: code of the exchange in the library exchange_calendars, such as XNYS or XASX, whose time zone and
            sessions are then used.
        periods_per_year: sessions in a year, by which everything is annualised; found from the bars without it. In (0,
            1e8].
        stress_prob: share of training that happens under stress: of the paths of drawn markets, or of the episodes on a
            file's bars, which are then joined by stressed copies. Bars held out are never stressed. In [0, 1].
        bank_paths: paths of a drawn market, laid end to end. In [1, 100,000].
        bank_bars: bars of each. In [2, 1e7].
        block_sessions: mean length of the blocks of `bootstrap:FILE`, in sessions. In [1, 1e6].
        path_tickers: each path drawn by `bootstrap:FILE` holds only so many tickers, drawn at random from those that
            trade in the training bars, their sectors unknown; bars held out keep all of them, and so the network must
            be of one asset for all (torso `shared`). In [1, 1e6].
        volatility_jitter: the returns of each drawn path, about their mean, are multiplied by one number drawn from 1 -
            jitter to 1 + jitter, such as 0.3. In [0, 1).
        feature_cache: keep the features of large files in the user's cache folder and read them from there.
        device_bars: of Parquet files that do not fit into memory: so many bars of all tickers are on the device at a
            time, the next ones are copied there while these are trained on; `auto` for as many as an eighth of its
            memory holds (docs/long_bars.md). In [2, 1e9].
    """

    data: str = SYNTHETIC
    paths: int = 1
    edge: float | None = None
    start: str | None = None
    end: str | None = None
    spans: str | None = None
    holdout: float = 0.2
    eval_start: str | None = None
    eval_end: str | None = None
    tickers: tuple[str, ...] = ()
    liquid: int | None = None
    columns: str | None = None
    universe: str | None = None
    sectors: str | None = None
    features: str | None = None
    experts: tuple[str, ...] = ()
    exchange_timezone: str | None = None
    exchange: str | None = None
    periods_per_year: float | None = None
    stress_prob: float = 0.0
    bank_paths: int = 16
    bank_bars: int = 1260
    block_sessions: float = 20.0
    path_tickers: int | None = None
    volatility_jitter: float | None = None
    feature_cache: bool = True
    device_bars: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_kinds(self, DATA_BOUNDS)
        check_kinds(self, LONG_BOUNDS, (None, "auto"))
        _check_span(self, "start", "end")
        _check_span(self, "eval_start", "eval_end")
        object.__setattr__(self, "tickers", expand_tickers(self.tickers))
        read_mapping(self.columns)
        if self.liquid is not None and self.liquid < 1:
            raise ValueError(f"liquid={self.liquid} must be at least 1 ticker.")
        if self.liquid is not None and self.file is None:
            raise ValueError(f"liquid={self.liquid} needs tickers of a file; {self.data} makes as many as are wanted.")
        if self.spans is not None:
            read_spans(self.spans)
            if self.start is not None or self.end is not None:
                raise ValueError("spans take the place of start and end: give one or the other.")
            if self.is_bootstrap or self.stress_prob:
                raise ValueError(
                    f"spans={self.spans!r}: bars are resampled and stressed from one stretch of a history; give start"
                    " and end instead."
                )
        if not 0 <= self.holdout < 1:
            raise ValueError(f"holdout={self.holdout} must lie in [0, 1): it is the share of bars kept for scoring.")
        if not 0 <= self.stress_prob <= 1:
            raise ValueError(f"stress_prob={self.stress_prob} must lie in [0, 1]: it is a probability.")
        if self.bank_paths < 1 or self.bank_bars < 2 or not self.block_sessions >= 1:
            raise ValueError(
                f"bank_paths={self.bank_paths} and block_sessions={self.block_sessions} must be at least 1, and"
                f" bank_bars={self.bank_bars} at least 2."
            )
        if self.data == BOOTSTRAP:
            raise ValueError("data='bootstrap:' names no file; write bootstrap:FILE.")
        if self.features is not None and self.features not in FEATURE_SETS:
            near = difflib.get_close_matches(self.features, FEATURE_SETS, n=1, cutoff=0)[0]
            raise ValueError(f"features={self.features!r} is unknown; did you mean {near!r}?")
        object.__setattr__(self, "experts", read_experts(self.experts))
        if self.paths < 1:
            raise ValueError(f"paths={self.paths} must be at least 1: it is the number of synthetic histories.")
        if self.is_synthetic:
            num_synthetic_assets(self.data)
        elif self.paths > 1:
            raise ValueError(
                f"paths={self.paths} needs synthetic data, such as --data synthetic; {self.data!r} is one history."
            )
        if self.is_planted:
            read_planted(self.data)
        check_edge_of(self)
        check_draws(self)
        check_bounds(self, DATA_BOUNDS)
        check_bounds(self, LONG_BOUNDS, (None, "auto"))
        check_long(self)

    @property
    def cache_folder(self) -> Path | None:
        """Where features are kept, or None where they are not: not asked for, or no home folder to keep them in."""
        try:
            return default_folder() if self.feature_cache else None
        except RuntimeError:
            return None

    @property
    def file(self) -> Path | None:
        """The file or folder that bars are read from, or None where they are made."""
        return None if self.is_synthetic or self.is_planted else Path(self.data.removeprefix(BOOTSTRAP))

    def may_be_moved(self, before: "DataConfig") -> bool:
        """Return whether this may be the same data at another place: both are files, read in the same way."""
        return None not in (self.file, before.file) and self.is_bootstrap == before.is_bootstrap

    @property
    def is_bootstrap(self) -> bool:
        return self.data.startswith(BOOTSTRAP)

    @property
    def is_synthetic(self) -> bool:
        return self.data == SYNTHETIC or self.data.startswith(SYNTHETIC + ":")

    @property
    def is_planted(self) -> bool:
        return is_planted_name(self.data)


def read_panel(config: DataConfig) -> Panel:
    """Return the whole panel of a description, spans not applied, so that features have their history.

    Raises:
        ValueError: naming what cannot be read; see `files.load_panel`.
    """
    if config.device_bars is not None:
        raise ValueError(
            f"device_bars={config.device_bars}: this needs all bars at once. Bars that lie in files are trained on"
            " (train) and played (evaluate); leave it out for anything else."
        )
    if config.is_synthetic or config.is_planted:
        panel = _made_panel(config)
        panel = panel.select(config.tickers) if config.tickers else panel
    else:
        panel = load_panel(
            config.data.removeprefix(BOOTSTRAP),
            tickers=config.tickers or None,
            columns=config.columns,
            universe=config.universe,
            sectors=config.sectors,
            exchange_timezone=config.exchange_timezone,
            exchange=config.exchange,
            periods_per_year=config.periods_per_year,
        )
    return panel if config.liquid is None else _liquid(panel, config, config.liquid)


def read_market(config: DataConfig, features: Any = None) -> Market:
    """Return the market of a description over its whole history.

    Args:
        config: the description.
        features: feature names instead of `config.features`, those of an agent say.
    """
    chosen = features if features is not None else default_features(config)
    return build_market(read_panel(config), chosen, cache=config.cache_folder)


def default_features(config: DataConfig) -> str | tuple[str, ...]:
    """Return the features that a description asks for, or those of its kind of data; weights of experts come first."""
    # Of planted data no built-in feature at all: what is joined to them, signals and masks, is all that there is.
    chosen = config.features or (() if config.is_planted else _DEFAULT_FEATURES)
    if not config.experts:
        return chosen
    names = FEATURE_SETS[chosen] if isinstance(chosen, str) else chosen
    return (*(PREFIX + name for name in config.experts), *names)


def split_market(market: Market, config: DataConfig) -> tuple[Market, Market | None]:
    """Return the bars to train on and the later ones kept for scoring, or None where too few are left.

    The part kept for scoring begins at the last training bar: its close is when the first decision is made.

    Raises:
        ValueError: if no bar lies between `start` and `end`, or the features are past their warm-up in none of them.
    """
    rows = training_rows(market, config)
    stop = rows[-1].stop
    _check_warm_up(market, stop)
    if len(rows) == 1:
        return market.window(rows[0].start, stop), _from_row(market, stop - 1)
    return cut(market, [Window(each.start, each.stop) for each in rows]), _from_row(market, stop - 1)


def market_to_score(market: Market, config: DataConfig) -> Market | None:
    """Return the bars that an agent is scored on during training, or None where none are kept for that.

    Raises:
        ValueError: if those asked for with `eval_start` and `eval_end` are trained on, or too few.
    """
    training, held_out = split_market(market, config)
    if config.eval_start is None and config.eval_end is None:
        return held_out
    span = market.window(config.eval_start, config.eval_end)
    begin, end = (name_moment(training.times[row]) for row in (0, -1))
    if span.times[0] < training.times[-1] and span.times[-1] > training.times[0]:
        raise ValueError(
            f"eval_start={config.eval_start}, eval_end={config.eval_end} lies within the training bars, {begin} to"
            f" {end}: such a score would be in sample. Give dates outside, or end training earlier (end)."
        )
    if span.num_bars < _MIN_HELD_OUT_BARS:
        raise ValueError(
            f"eval_start={config.eval_start}, eval_end={config.eval_end} holds {span.num_bars} bars; give at least"
            f" {_MIN_HELD_OUT_BARS}."
        )
    return span


def bars_after(market: Market, moment: str) -> Market | None:
    """Return the bars after the last training bar, or None where too few are left.

    They begin with the training bar itself, if the market has it: its close is when the first decision is made. Of an
    intraday market that is the last bar of the session, where only a date is known.

    Args:
        market: any bars.
        moment: of the last training bar, as `labels.name_moment` writes it.
    """
    time = read_date(moment, "date")
    row = int(np.searchsorted(market.times, time.astype("datetime64[ns]")))
    if len(moment) == len("2017-01-31"):
        day, sessions = time.astype("datetime64[D]").astype(np.int64), np.asarray(market.sessions)
        row = int(np.searchsorted(sessions, day))
        if row < len(sessions) and sessions[row] == day:
            row = int(np.searchsorted(sessions, day, side="right")) - 1
    return _from_row(market, row)


def _check_span(config: DataConfig, start: str, end: str) -> None:
    values = {name: getattr(config, name) for name in (start, end)}
    first, last = (None if value is None else read_date(value, name) for name, value in values.items())
    # In the unit of the end: an end of 2017 stands for the whole year.
    if first is not None and last is not None and first.astype(last.dtype) > last:
        raise ValueError(f"{start}={values[start]} lies after {end}={values[end]}; exchange them.")


def _check_warm_up(market: Market, stop: int) -> None:
    """Make sure that some asset has more own bars before row `stop` than its features need to warm up."""
    warm_ups = {feature.name: feature.warm_up for feature in FEATURES}
    slowest = max(market.feature_names, key=lambda name: warm_ups.get(name, 0))
    needed = warm_ups.get(slowest, 0) + 1
    if "known" not in market.feature_names or (market.labels is not None and market.labels.device_bars is not None):
        # There is no such column, or it lies in a file, between all others: bars that trade are next to all.
        known = market.tradable[:stop]
    else:
        known = market.features[:stop, :, market.feature_names.index("known")] > 0
    longest = int(np.asarray(known).sum(axis=0).max(initial=0))
    if longest >= needed:
        return
    fitting = [name for name, names in FEATURE_SETS.items() if max(map(warm_ups.__getitem__, names)) < longest]
    best = max(fitting, key=lambda name: len(FEATURE_SETS[name]), default=None)
    advice = "Give a longer history" + (f", or features={best}." if best else ".")
    raise ValueError(
        f"features: {slowest} needs {needed} bars to warm up, but up to the last training bar no asset has more than"
        f" {longest}, so the features would never be complete. {advice}"
    )


def _liquid(panel: Panel, config: DataConfig, count: int) -> Panel:
    """Return the panel of the tickers that traded most dollars on the training bars, with a note that says so."""
    if count >= panel.num_assets:
        return panel
    rows = training_rows(panel, config)
    symbols = most_traded(panel.window(rows[0].start, rows[-1].stop), count)
    first, last = (name_moment(panel.times[row]) for row in (rows[0].start, rows[-1].stop - 1))
    note = (
        f"Of {panel.num_assets} tickers the {len(symbols)} that traded most dollars from {first} to {last}, up to the"
        " last training bar."
    )
    chosen = panel.select(symbols)
    labels = chosen.labels
    return chosen if labels is None else chosen.replace(labels=dataclasses.replace(labels, notes=(*labels.notes, note)))


def _from_row(market: Market, row: int) -> Market | None:
    return market.window(row) if market.num_bars - row > _MIN_HELD_OUT_BARS else None


def _made_panel(config: DataConfig) -> Panel:
    if config.is_planted:
        return read_planted(config.data).panel(jax.random.key(0))
    num_assets = num_synthetic_assets(config.data)
    return synthetic_panel(jax.random.key(0), num_assets=num_assets, num_paths=config.paths, edge=config.edge)


def num_synthetic_assets(data: str) -> int:
    number = data.partition(":")[2]
    if number == "" and data == SYNTHETIC:
        return 30
    if not number.isdigit() or int(number) < 1:
        raise ValueError(f"data={data!r}: write synthetic:N with the number of assets, such as synthetic:100.")
    return int(number)
