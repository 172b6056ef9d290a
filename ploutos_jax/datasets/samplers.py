"""Streams of markets by where they come from: synthetic ones, resampled ones, and history with stressed copies of it.

Each is a `DrawFunction`: a frozen dataclass of sizes, called with a key and arrays. With `stress_prob`, a share of the
paths is stressed before features are computed; without it nothing of that is in the program.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.features.build import build_market, feature_names
from ploutos_jax.market.panel import SCALES, Market, Panel
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.stress.apply import stress_some
from ploutos_jax.market.synthetic.block_bootstrap import (
    Blocks,
    bootstrap_panel,
    check_path_tickers,
    prepare_blocks,
    whole_sessions,
)
from ploutos_jax.market.synthetic.multi_path import MarketSpec, draw_bank, make_market


@dataclasses.dataclass(frozen=True)
class SyntheticSampler:
    """Draws banks of synthetic markets."""

    recipe: MarketSpec
    stress_prob: float = 0.0

    def __call__(self, key: jax.Array, source: None = None) -> Market:
        bank_key, stress_key = jax.random.split(key)
        panel = draw_bank(bank_key, self.recipe)
        if not self.stress_prob:
            # Every asset trades to the end.
            return make_market(panel, self.recipe).replace(delisted=None)
        panel, _ = stress_some(stress_key, panel, self.stress_prob, num_paths=self.recipe.num_paths)
        return make_market(panel, self.recipe)

    def stream(self, key: jax.Array) -> MarketDraw:
        """Return the stream of such markets."""
        return MarketDraw(self, None, key, self.recipe.labels, self.recipe.column_names)


@dataclasses.dataclass(frozen=True)
class BootstrapDraw:
    """Draws markets of real bars in blocks; see `bootstrap`.

    Attributes:
        num_bars: of a path, whole sessions.
        num_paths: of a market.
        mean_block: sessions of a block, on average.
        features: name of a feature set, or names.
        first_day: on which every path begins.
        stress_prob: of a path to be stressed.
        path_tickers: of each path, drawn at random; None for all of them on every path.
        volatility_jitter: how far a path's volatility is scaled, see `bootstrap_panel`; None for as it was.
        calendar: by which experts decide.
    """

    num_bars: int
    num_paths: int
    mean_block: float
    features: str | tuple[str, ...]
    first_day: str
    stress_prob: float = 0.0
    path_tickers: int | None = None
    volatility_jitter: float | None = None
    calendar: Calendar | None = None

    def __call__(self, key: jax.Array, source: Blocks) -> Market:
        rows_key, stress_key = jax.random.split(key)
        panel = bootstrap_panel(
            rows_key,
            source,
            self.num_bars,
            self.mean_block,
            num_paths=self.num_paths,
            first_day=self.first_day,
            path_tickers=self.path_tickers,
            volatility_jitter=self.volatility_jitter,
        )
        if self.stress_prob:
            panel, _ = stress_some(stress_key, panel, self.stress_prob, num_paths=self.num_paths)
        return build_market(panel, self.features, calendar=self.calendar)


def bootstrap_stream(
    key: jax.Array,
    panel: Panel,
    features: str | tuple[str, ...],
    *,
    num_bars: int,
    num_paths: int,
    mean_block: float,
    stress_prob: float = 0.0,
    path_tickers: int | None = None,
    volatility_jitter: float | None = None,
) -> MarketDraw:
    """Return the stream of markets drawn from the bars of a panel; see `BootstrapDraw` for the arguments.

    Raises:
        ValueError: if fewer tickers trade in these bars than a path is to hold, or they are of several kinds.
    """
    source = prepare_blocks(panel)
    if path_tickers is not None:
        source = source.with_bars()
        check_path_tickers(path_tickers, source.blocks.num_assets)
    bars = whole_sessions(num_bars, source.blocks)
    labels = source.drawn_labels(bars * num_paths, path_tickers)
    varied = {"path_tickers": path_tickers, "volatility_jitter": volatility_jitter, "calendar": panel.calendar}
    draw = BootstrapDraw(bars, num_paths, mean_block, features, source.first_day, stress_prob, **varied)
    return MarketDraw(draw, source.blocks, key, labels, feature_names(features))


@dataclasses.dataclass(frozen=True)
class HistoryDraw:
    """Draws history as it was, and stressed copies of it, end to end: one path of each.

    Attributes:
        num_copies: stressed copies.
        features: name of a feature set, or names.
        first: row of the panel at which every path begins; features and averages know the rows before it.
        calendar: by which experts decide.
    """

    num_copies: int
    features: str | tuple[str, ...]
    first: int
    calendar: Calendar | None = None

    def __call__(self, key: jax.Array, source: Panel) -> Market:
        num_paths, length = 1 + self.num_copies, source.num_bars
        ones = jnp.ones(source.close.shape)
        whole = source.replace(**{name: ones if (x := getattr(source, name)) is None else x for name in SCALES})
        copies = jax.tree.map(lambda x: jnp.concatenate([x] * self.num_copies), whole)
        between = (max(1, self.first + (length - self.first) // 8), length)
        copies, _ = stress_some(key, copies, 1.0, num_paths=self.num_copies, between=between)
        panel = jax.tree.map(lambda *x: jnp.concatenate(x), whole, copies)
        ends = np.repeat(length * np.arange(1, num_paths + 1) - 1, length)
        market = build_market(panel, self.features, path_end=ends, calendar=self.calendar)

        def cut(x: jax.Array) -> jax.Array:
            return x.reshape(num_paths, length, *x.shape[1:])[:, self.first :].reshape(-1, *x.shape[1:])

        kept = length - self.first
        ends = np.repeat(kept * np.arange(1, num_paths + 1) - 1, kept).astype(np.int32)
        return jax.tree.map(cut, market).replace(path_end=jnp.asarray(ends))


def history_stream(
    key: jax.Array, panel: Panel, features: str | tuple[str, ...], rows: slice, *, num_copies: int
) -> MarketDraw:
    """Return the stream of a panel's rows together with stressed copies of them.

    Dates of copies divide the span of the rows, as no two rows may have the same; sessions are the real ones.

    Args:
        key: of the stream.
        panel: the whole history; rows after the span are not read.
        features: name of a feature set, or names.
        rows: of the panel, to train on.
        num_copies: stressed copies.
    """
    labels = panel.labels
    if labels is None:
        raise ValueError("The panel has no labels; a stream of markets needs the names of its assets.")
    source = panel.window(0, rows.stop).replace(labels=None)
    source = jax.tree.map(lambda x: jnp.asarray(x) if x.dtype.kind in "bi" else jnp.asarray(x, float), source)
    draw = HistoryDraw(num_copies, features, rows.start, panel.calendar)
    first, last = (time.astype("datetime64[ns]").astype(np.int64) for time in labels.times[[rows.start, rows.stop - 1]])
    num_rows = (rows.stop - rows.start) * (1 + num_copies)
    times = (np.linspace(0, float(last - first), num_rows).astype(np.int64) + first).astype("datetime64[ns]")
    names = feature_names(features, panel)
    return MarketDraw(draw, source, key, dataclasses.replace(labels, times=times, calendar=panel.calendar), names)


def weigh_starts(starts: jax.Array, num_first: int, share: float) -> np.ndarray:
    """Return the rows at which episodes may start, repeated so that a share of the draws lies beyond a row.

    Args:
        starts: `[N]` rows, each drawn as often as any other.
        num_first: row that divides them: those below it are of history as it was.
        share: of the draws that are to lie at or beyond it.

    Returns:
        `[drawn]` rows, at most some ten times as many.
    """
    rows = np.asarray(starts)
    first, later = rows[rows < num_first], rows[rows >= num_first]
    if share >= 1 or not len(first):
        return later
    # Repetitions a of the first and b of the later rows, b L / (a F + b L) near the share.
    ratio = share / (1 - share) * len(first) / len(later)
    pairs = [(a, max(1, round(ratio * a))) for a in range(1, 11)] + [
        (max(1, round(b / ratio)), b) for b in range(1, 11)
    ]
    a, b = min(pairs, key=lambda p: abs(p[1] * len(later) / (p[0] * len(first) + p[1] * len(later)) - share))
    return np.concatenate([np.tile(first, a), np.tile(later, b)])
