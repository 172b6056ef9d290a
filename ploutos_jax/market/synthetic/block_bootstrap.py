"""Stationary block bootstrap: real bars, rearranged in blocks, as markets that never were.

Rows are resampled in blocks of random length, whole cross-section at a time, so that what assets do together on a day
stays together, and so does what follows it for a while: volatility clusters, missing bars, volume. What lasts longer
than a block is lost, and nothing is drawn that never happened.

Source: Politis & Romano 1994, the stationary bootstrap: a block begins at a uniform row and ends after each row with
probability 1 / mean length; rows after the last are the first again.
"""

import dataclasses
import typing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.compacted import bar_exists
from ploutos_jax.market.labels import UNKNOWN_SECTOR, Labels
from ploutos_jax.market.panel import Panel

_VOLUME_BARS = 20
_PRICES = ("open", "high", "low", "close")
_TICKER_STREAM, _VOLATILITY_STREAM = 1, 2
"""Folded into the key of a path, whose rows are the same with them and without."""


@typing.no_type_check
class Blocks(struct.PyTreeNode):
    """What is drawn: sessions of B bars (B = 1 for daily data) of A assets; `[sessions, B, A]` each, float32 or bool.

    Attributes:
        open, high, low, close: log prices less that of the asset's last close before, 0 where there is no bar.
        volume: dollars traded over the mean of the asset's last 20 bars, 0 where there is none.
        exists, tradable: which bars there are, and which of them trade (inside the universe, if there is one).
        price, traded_cash: `[A]` what a path begins with, and dollars traded in a usual bar.
    """

    open: Float[Array, "sessions B A"]
    high: Float[Array, "sessions B A"]
    low: Float[Array, "sessions B A"]
    close: Float[Array, "sessions B A"]
    volume: Float[Array, "sessions B A"]
    exists: Bool[Array, "sessions B A"]
    tradable: Bool[Array, "sessions B A"]
    price: Float[Array, " A"]
    traded_cash: Float[Array, " A"]

    @property
    def num_sessions(self) -> int:
        return self.close.shape[0]

    @property
    def session_bars(self) -> int:
        return self.close.shape[1]

    @property
    def num_assets(self) -> int:
        return self.close.shape[2]


@dataclasses.dataclass(frozen=True)
class BlockSource:
    """The bars of a panel, made ready to be drawn.

    Attributes:
        blocks: arrays.
        labels: of the panel; their times are those of the bars kept.
    """

    blocks: Blocks
    labels: Labels

    @property
    def first_day(self) -> str:
        """The day on which every path begins, that of the first bar that can be drawn: fees are those of the time."""
        return str(self.labels.times[0])[:10]

    def with_bars(self) -> "BlockSource":
        """Return the assets that trade in any bar that can be drawn, all others left out."""
        columns = np.flatnonzero(np.asarray(self.blocks.tradable).any(axis=(0, 1)))
        names, kinds = self.labels.symbols, self.labels.instruments
        labels = dataclasses.replace(
            self.labels,
            symbols=tuple(names[i] for i in columns),
            sectors=tuple(self.labels.sectors[i] for i in columns),
            instruments=None if kinds is None else tuple(kinds[i] for i in columns),
        )
        return BlockSource(_take_assets(self.blocks, jnp.asarray(columns)), labels)

    def drawn_labels(self, num_rows: int, path_tickers: int | None = None) -> Labels:
        """Return the labels of a drawn panel: its rows divide the span of the real bars evenly.

        So an agent trained on it says that it has seen that span, and a row's date says nothing else.

        Args:
            num_rows: of all paths.
            path_tickers: of each path; the columns then hold other tickers on each path and have names of places, no
                sectors, and no kind but that of all tickers. None for the assets of the source in their order.

        Raises:
            ValueError: if tickers drawn at random are of several kinds of instrument, whose costs differ.
        """
        first, last = (time.astype("datetime64[ns]").astype(np.int64) for time in self.labels.times[[0, -1]])
        times = np.linspace(0, float(last - first), num_rows).astype(np.int64) + first
        note = "These bars are resampled in blocks from real ones; their dates and prices mean nothing."
        labels = dataclasses.replace(self.labels, times=times.astype("datetime64[ns]"), notes=(note,))
        return labels if path_tickers is None else _labels_of_places(labels, path_tickers)


def prepare_blocks(panel: Panel) -> BlockSource:
    """Take a panel's bars apart, on the host and once.

    Dividends and splits go into the returns: what is drawn has none. Sessions of another number of bars than most have
    (half days of intraday data) are left out, as is the first session, which has no close before it.

    Args:
        panel: real bars.

    Raises:
        ValueError: if fewer than two sessions are left.
    """
    labels = panel.labels
    if labels is None:
        raise ValueError("The panel has no labels; a bootstrap needs the names of its assets.")
    adjusted = total_return(panel)
    prices = {name: np.asarray(getattr(adjusted, name), np.float64) for name in _PRICES}
    exists = np.asarray(bar_exists(*map(jnp.asarray, prices.values())))
    before = _last_close(prices["close"], exists)
    with np.errstate(divide="ignore", invalid="ignore"):
        # An asset's first bar moved from its own open.
        base = np.log(np.where(np.isnan(before), prices["open"], before))
        logs = {name: np.where(exists, np.log(x) - base, 0.0) for name, x in prices.items()}
        cash = np.where(exists, np.asarray(panel.close, np.float64) * np.asarray(panel.volume), 0.0)
    sessions = np.asarray(panel.sessions)
    starts = np.flatnonzero(np.diff(sessions, prepend=sessions[0] - 1))
    lengths = np.diff(np.append(starts, len(sessions)))
    usual = int(np.bincount(lengths).argmax())
    starts = starts[(lengths == usual) & (starts > 0)]
    if len(starts) < 2:
        raise ValueError(f"The data has {len(starts)} sessions to draw from; a bootstrap needs at least 2.")
    rows = starts[:, None] + np.arange(usual)
    close = np.asarray(panel.close, np.float64)
    number = exists.sum(axis=0)
    fields = {**logs, "volume": _relative_volume(cash, exists)}
    arrays = {name: jnp.asarray(x[rows], float) for name, x in fields.items()}
    blocks = Blocks(
        **arrays,
        exists=jnp.asarray(exists[rows]),
        tradable=jnp.asarray((_member_bars(panel) & exists)[rows]),
        price=jnp.asarray(_last_known(close, exists), float),
        traded_cash=jnp.asarray(cash.sum(axis=0) / np.maximum(number, 1), float),
    )
    kept = dataclasses.replace(
        labels, times=labels.times[rows.reshape(-1)], calendar=panel.calendar, instruments=panel.instruments
    )
    return BlockSource(blocks, kept)


def _member_bars(panel: Panel) -> np.ndarray:
    """Return `[T, A]` the bars that trade and may be bought: rows that are shuffled have no day on which to leave."""
    tradable = np.asarray(panel.tradable)
    return tradable if panel.buyable is None else tradable & np.asarray(panel.buyable)


def draw_rows(
    key: PRNGKeyArray, num_rows: int, num_drawn: int, mean_block: Float[Array, ""] | float
) -> Int[Array, " drawn"]:
    """Return `[drawn]` int32 row numbers below `num_rows`, in blocks of geometric length."""
    start_key, end_key = jax.random.split(key)
    begins = jax.random.bernoulli(end_key, 1 / mean_block, (num_drawn,)).at[0].set(True)
    starts = jax.random.randint(start_key, (num_drawn,), 0, num_rows)
    place = jnp.arange(num_drawn)
    began = jax.lax.cummax(jnp.where(begins, place, 0))
    return (starts[began] + place - began) % num_rows


def bootstrap_panel(
    key: PRNGKeyArray,
    blocks: Blocks,
    num_bars: int,
    mean_block: Float[Array, ""] | float = 20.0,
    *,
    num_paths: int = 1,
    first_day: str = "2010-01-04",
    path_tickers: int | None = None,
    volatility_jitter: float | None = None,
) -> Panel:
    """Draw paths of real bars in blocks; pure, free to run inside `jit`.

    Args:
        key: consumed.
        blocks: see `prepare_blocks`.
        num_bars: of a path; rounded down to whole sessions by the caller (see `whole_sessions`).
        mean_block: mean length of a block in sessions.
        num_paths: paths that lie end to end along T.
        first_day: on which every path begins; its sessions are the business days from there on.
        path_tickers: so many assets of the source, drawn for each path without replacement and in random order; None
            for all of them, in their order, on every path.
        volatility_jitter: log returns of a path about their mean over the source are multiplied by one number drawn
            for it from 1 − jitter to 1 + jitter, see `_scale`; below 1. None for returns as they were.

    Returns:
        A panel of `num_paths · num_bars` bars without labels, its `path_end` a NumPy array; an asset's bar is missing
        where it was in the row drawn. Every path of every draw has the same sessions. With the same key, neither the
        tickers nor the jitter changes the rows that are drawn.

    Raises:
        ValueError: if a path does not consist of whole sessions, or the source has fewer assets than are asked for.
    """
    if num_bars < blocks.session_bars or num_bars % blocks.session_bars:
        raise ValueError(
            f"num_bars={num_bars} of a path must be a multiple of the {blocks.session_bars} bars of a session."
        )
    check_path_tickers(path_tickers, blocks.num_assets)
    num_sessions = num_bars // blocks.session_bars
    sizes = {"num_sessions": num_sessions, "path_tickers": path_tickers, "jitter": volatility_jitter}
    one = partial(_draw_path, blocks=blocks, mean_block=mean_block, **sizes)
    drawn = jax.vmap(one)(jax.random.split(key, num_paths))
    fields: dict[str, Any] = {name: x.reshape(-1, x.shape[-1]) for name, x in drawn.items()}
    days = np.tile(_days(num_bars, blocks.session_bars, first_day).astype(np.int64), num_paths)
    path_end = np.repeat(num_bars * np.arange(1, num_paths + 1) - 1, num_bars).astype(np.int32)
    return Panel(**fields, sessions=jnp.asarray(days, jnp.int32), path_end=path_end)


def whole_sessions(num_bars: int, blocks: Blocks) -> int:
    """Return the number of bars, rounded down to whole sessions but not below one."""
    return max(num_bars // blocks.session_bars, 1) * blocks.session_bars


def check_path_tickers(path_tickers: int | None, num_assets: int) -> None:
    """Raise ValueError unless so many tickers can be drawn for a path."""
    if path_tickers is not None and not 1 <= path_tickers <= num_assets:
        raise ValueError(
            f"path_tickers={path_tickers} must lie in [1, {num_assets}]: the bars hold {num_assets} tickers that trade,"
            " and each is drawn once at most on a path."
        )


def _draw_path(
    key: Array,
    blocks: Blocks,
    num_sessions: int,
    mean_block: Array | float,
    path_tickers: int | None,
    jitter: float | None,
) -> dict[str, Array]:
    if path_tickers is not None:
        ticker_key = jax.random.fold_in(key, _TICKER_STREAM)
        blocks = _take_assets(blocks, jax.random.permutation(ticker_key, blocks.num_assets)[:path_tickers])
    if jitter is not None:
        factor = jax.random.uniform(jax.random.fold_in(key, _VOLATILITY_STREAM), minval=1 - jitter, maxval=1 + jitter)
        blocks = _scale(blocks, factor)
    rows = draw_rows(key, blocks.num_sessions, num_sessions, mean_block)

    def take(name: str) -> Array:
        return getattr(blocks, name)[rows].reshape(-1, blocks.price.shape[0])

    exists, growth = take("exists"), take("close")
    last = jnp.log(blocks.price) + jnp.cumsum(growth, axis=0) - growth
    prices = {name: jnp.exp(last + take(name)) for name in _PRICES}
    volume = take("volume") * blocks.traded_cash / prices["close"]
    # Rounding may have left an extreme an ulp inside open or close.
    prices["high"] = jnp.maximum(prices["high"], jnp.maximum(prices["open"], prices["close"]))
    prices["low"] = jnp.minimum(prices["low"], jnp.minimum(prices["open"], prices["close"]))
    bars = {name: jnp.where(exists, x, jnp.nan) for name, x in prices.items()}
    return bars | {"volume": jnp.where(exists, jnp.round(volume), 0), "tradable": take("tradable")}


def _take_assets(blocks: Blocks, columns: Int[Array, " chosen"]) -> Blocks:
    """Return some assets of a source, in the order given."""
    return jax.tree.map(lambda x: x[..., columns], blocks)


def _scale(blocks: Blocks, factor: Float[Array, ""]) -> Blocks:
    """Return bars whose log returns from close to close are `mean + factor · (return - mean)`.

    The mean is that of each asset's own bars of the source, so that what it earns on average in log terms is kept, and
    the spread of its returns is multiplied over every horizon. Open, high and low move with the close: measured from
    the close before, all four become `factor · x + (1 - factor) · mean`. Volume is as it was.
    """
    number = jnp.maximum(blocks.exists.sum(axis=(0, 1)), 1)
    mean = jnp.where(blocks.exists, blocks.close, 0).sum(axis=(0, 1)) / number

    def scaled(x: Array) -> Array:
        return jnp.where(blocks.exists, mean + factor * (x - mean), 0)

    return blocks.replace(**{name: scaled(getattr(blocks, name)) for name in _PRICES})


def _labels_of_places(labels: Labels, count: int) -> Labels:
    """Return the labels of `count` columns that hold other tickers on each path."""
    kinds = labels.instruments
    if kinds is not None and len({kind.name for kind in kinds}) > 1:
        found = ", ".join(sorted({kind.name for kind in kinds}))
        raise ValueError(
            f"path_tickers={count}: the tickers are of several kinds ({found}), whose costs differ, and a column would"
            " hold another kind on each path. Name tickers of one kind."
        )
    names = tuple(f"any-{i + 1}" for i in range(count))
    adjusted = set(labels.symbols) & set(labels.adjusted)
    note = f"Each path holds {count} of {len(labels.symbols)} tickers, drawn at random; their sectors are not known."
    if adjusted and len(adjusted) < len(labels.symbols):
        note += f" {len(adjusted)} of them have adjusted prices, and so all are taken to: no tick, no fee per share."
    return dataclasses.replace(
        labels,
        symbols=names,
        sectors=(UNKNOWN_SECTOR,) * count,
        instruments=None if kinds is None else kinds[:1] * count,
        adjusted=names if adjusted else (),
        notes=(*labels.notes, note),
        hint=None,
        are_places=True,
    )


def _last_close(close: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the last close of each asset before each row, NaN where there is none."""
    row = np.maximum.accumulate(np.where(exists, np.arange(len(close))[:, None], -1))
    before = np.concatenate([np.full_like(row[:1], -1), row[:-1]])
    return np.where(before >= 0, np.take_along_axis(close, np.maximum(before, 0), axis=0), np.nan)


def _last_known(close: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return the last close of each asset, 1 where it has none."""
    row = np.max(np.where(exists, np.arange(len(close))[:, None], -1), axis=0)
    return np.where(row >= 0, close[np.maximum(row, 0), np.arange(close.shape[1])], 1.0)


def _relative_volume(cash: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Return dollars traded over the mean of the asset's last own bars before, 1 in its first bar."""
    relative = np.zeros_like(cash)
    for asset in range(cash.shape[1]):
        own = cash[exists[:, asset], asset]
        total = np.concatenate([[0.0], np.cumsum(own)])
        number = np.minimum(np.arange(len(own)), _VOLUME_BARS)
        mean = (total[: len(own)] - total[np.arange(len(own)) - number]) / np.maximum(number, 1)
        relative[exists[:, asset], asset] = np.where(mean > 0, own / np.where(mean > 0, mean, 1), 1.0)
    return relative


def _days(num_bars: int, session_bars: int, first_day: str) -> np.ndarray:
    """Return the day of each bar."""
    return np.busday_offset(first_day, np.arange(num_bars) // session_bars, roll="forward")
