"""From one description of the data to a market that lies in files."""

import atexit
import functools
import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from ploutos_jax.market.io.dataset import ParquetBars
from ploutos_jax.market.io.times import Exchange
from ploutos_jax.market.long.length import slice_length
from ploutos_jax.market.long.make import Source, named_columns, open_long
from ploutos_jax.market.long.store import bytes_per_row
from ploutos_jax.market.panel import Market

_FOLDER = "long"
"""Of stores, beside the folder of the feature cache."""
_log = logging.getLogger(__name__)


class Described(Protocol):
    """What of a `DataConfig` says which bars a store is made of."""

    @property
    def data(self) -> str: ...
    @property
    def tickers(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> str | None: ...
    @property
    def sectors(self) -> str | None: ...
    @property
    def exchange_timezone(self) -> str | None: ...
    @property
    def exchange(self) -> str | None: ...
    @property
    def periods_per_year(self) -> float | None: ...
    @property
    def device_bars(self) -> int | Literal["auto"] | None: ...
    @property
    def cache_folder(self) -> Path | None: ...


def long_market(config: Described, features: Any, tickers: Sequence[str] | None = None) -> Market:
    """Return the market of a description, its arrays mapped from files that are made first where they are not there.

    Args:
        config: the description.
        features: a set's name, or names.
        tickers: instead of those of the description.
    """
    return load_long_market(
        config.data,
        features,
        device_bars=config.device_bars or "auto",
        tickers=(config.tickers if tickers is None else tickers) or None,
        sectors=config.sectors,
        exchange_timezone=config.exchange_timezone,
        exchange=config.exchange,
        periods_per_year=config.periods_per_year,
        columns=config.columns,
        cache=config.cache_folder,
    )


def load_long_market(
    path: str | Path,
    features: str | Sequence[str] = "core",
    *,
    device_bars: int | Literal["auto"] = "auto",
    tickers: Sequence[str] | None = None,
    sectors: str | Path | None = None,
    exchange_timezone: str | None = None,
    exchange: str | None = None,
    periods_per_year: float | None = None,
    columns: Any = None,
    cache: str | Path | None = None,
    tell: Callable[[str], None] | None = None,
) -> Market:
    """Return a market of Parquet files that do not fit into memory: its arrays lie in files, and are read when needed.

    Bars and features are those of `build_market(load_panel(path), features)`; docs/long_bars.md says how exactly. They
    are computed once, a piece of the history after the other, and kept. `pj.train` and `pj.backtest` put `device_bars`
    of them on the device at a time.

    Args:
        path: a Parquet file, or a folder of such files, also by year (`2024`) or by a key (`year=2024`, `ticker=AAPL`).
        features: a set's name, or names.
        device_bars: bars of all tickers on the device at a time; `auto` for an eighth of its memory.
        tickers, sectors, exchange_timezone, exchange, periods_per_year, columns: see `load_panel`.
        cache: folder of the feature cache, beside which the files are kept; a folder that goes with this process
            without it.
        tell: is told what is being done, a line each; the log without it.

    Raises:
        ValueError: as `load_panel`; or if a file is no Parquet, its dates are texts, it lists dividends or splits, or
            the disk or the memory has no room.
    """
    bars = ParquetBars(path, Exchange.find(exchange_timezone, exchange), columns, tickers)
    source = Source(
        bars, named_columns(features, bars.signals), None if sectors is None else str(sectors), periods_per_year
    )
    folder = _temporary() if cache is None else Path(cache).parent / _FOLDER
    market = open_long(source, folder, None, tell or _log.info)
    length = slice_length(device_bars, market.num_bars, bytes_per_row(market.num_assets, market.num_features))
    labels = market.labels
    return market if labels is None else market.replace(labels=labels.lying_in_files(length or market.num_bars))


@functools.cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ploutos-long-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
