"""Stores: the arrays of a market as files that are mapped into memory, and read where they are looked at.

A store is a folder with one `.npy` of each array and `market.json` with everything else. It is written next to its
place and moved there, so that none is ever half there.

Letters: T bars, A assets, F features.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.instrument import Instrument, Venue
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.long.mapped import release
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import sector_columns

PRICES = ("open", "high", "low", "close", "volume")
ACTIVITY = ("atr", "volatility", "adv")
_META, _TIMES, _SESSIONS, _DELISTED = "market.json", "times", "sessions", "delisted"
_PREFIX = "market-"
_SPARE = 2**30
"""Bytes of a disk that a store leaves free."""
_ABANDONED_SECONDS = 24 * 3600


def bytes_per_row(num_assets: int, num_features: int) -> int:
    """Return the bytes of one bar of a store, on disk and, in a slice, on a device."""
    return num_assets * (4 * (num_features + len(PRICES) + len(ACTIVITY)) + 2) + 12


class Writer:
    """A store that is being written, a stretch of rows at a time.

    Args:
        folder: where its files lie.
        num_bars, num_assets, num_features: T, A and F.
        dtype: of prices and features.
    """

    def __init__(self, folder: Path, num_bars: int, num_assets: int, num_features: int, dtype: Any) -> None:
        self._folder = folder
        grid = (num_bars, num_assets)
        shapes = {name: (grid, dtype) for name in (*PRICES, *ACTIVITY)}
        shapes |= {"tradable": (grid, np.bool_), "known": (grid, np.bool_), "features": ((*grid, num_features), dtype)}
        self._arrays = {
            name: np.lib.format.open_memmap(self._file(name), mode="w+", dtype=kind, shape=shape)
            for name, (shape, kind) in shapes.items()
        }

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.npy"

    def write(self, first: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the rows of all arrays from a row on, and let go of them; `known` is where an asset has a bar."""
        for name, rows in arrays.items():
            self._arrays[name][first : first + len(rows)] = rows
            self._arrays[name].flush()
        release(self._arrays)

    def column(self, name: str, columns: slice) -> np.ndarray:
        """Return some assets of an array of bars, `[T, columns]`, as written."""
        taken = np.array(self._arrays[name][:, columns])
        release(self._arrays)
        return taken

    def finish(
        self, labels: Labels, sessions: np.ndarray, delisted: np.ndarray | None, about: Mapping[str, Any]
    ) -> None:
        """Write what is known when all rows are there.

        Args:
            labels: of the market.
            sessions: `[T]` int32.
            delisted: `[number, 2]` row and asset of those that end early; None where none does.
            about: further facts, for JSON.
        """
        if delisted is not None:
            file = np.lib.format.open_memmap(
                self._file(_DELISTED), mode="w+", dtype=np.bool_, shape=self._arrays["tradable"].shape
            )
            file[delisted[:, 0], delisted[:, 1]] = True
            file.flush()
        np.save(self._file(_TIMES), labels.times.astype("datetime64[ns]").astype(np.int64))
        np.save(self._file(_SESSIONS), sessions.astype(np.int32))
        named = {name: getattr(labels, name) for name in ("symbols", "sectors", "notes", "adjusted")}
        named |= {"calendar": None if labels.calendar is None else dataclasses.asdict(labels.calendar)}
        kinds = labels.instruments or ()
        named |= {"instruments": [[kind.name, kind.why, kind.venue] for kind in kinds]}
        text = json.dumps({"labels": named, **about})
        (self._folder / _META).write_text(text, encoding="utf-8")
        self._arrays.clear()


@contextmanager
def writing(place: Path, size: int) -> Iterator[Path]:
    """Give a folder to write a store in, which is moved to its place at the end; removed if that is not reached.

    Args:
        place: where the store is to be.
        size: bytes that it will take. Stores beside it that were not used for longest make room.

    Raises:
        ValueError: if the disk has no room for it.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _make_room(place.parent, size)
    folder = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{place.name}-", suffix=".part"))
    try:
        yield folder
        try:
            os.rename(folder, place)
        except OSError:
            # Another process was faster, and wrote the same.
            if not (place / _META).exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place_of(folder: Path, key: str) -> Path:
    """Return where the store of a key lies in a folder of stores."""
    return folder / f"{_PREFIX}{key}"


def read_store(place: Path, device_bars: int | None) -> Market | None:
    """Return the market of a store, its arrays mapped; None if it is not there or not whole.

    Args:
        place: its folder.
        device_bars: see `Labels`.
    """
    try:
        about = json.loads((place / _META).read_text(encoding="utf-8"))
        names = [*PRICES, *ACTIVITY, "tradable", "features"]
        names += [_DELISTED] if (place / f"{_DELISTED}.npy").exists() else []
        arrays: dict[str, Any] = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in names}
        times, sessions = (np.load(place / f"{name}.npy") for name in (_TIMES, _SESSIONS))
        os.utime(place)
    except (OSError, ValueError):
        return None
    num_bars = len(times)
    named = about["labels"]
    calendar = None if named["calendar"] is None else Calendar(**named["calendar"])
    kinds = tuple(
        Instrument(name, why, None if venue is None else Venue(*venue)) for name, why, venue in named["instruments"]
    )
    labels = Labels(
        tuple(named["symbols"]),
        tuple(named["sectors"]),
        times.astype("datetime64[ns]"),
        tuple(named["notes"]),
        calendar=calendar,
        instruments=kinds or None,
        adjusted=tuple(named["adjusted"]),
        device_bars=device_bars,
    )
    arrays = {_DELISTED: None, **arrays, "sessions": sessions}
    arrays |= {"path_end": np.full(num_bars, num_bars - 1, np.int32), "sector": sector_columns(labels.sectors)}
    return Market(
        **arrays,
        labels=labels,
        feature_names=tuple(about["feature_names"]),
    )


def _make_room(folder: Path, size: int) -> None:
    for part in folder.glob(f"{_PREFIX}*.part"):
        if _is_abandoned(part):
            shutil.rmtree(part, ignore_errors=True)
    stores = sorted(folder.glob(f"{_PREFIX}*"), key=lambda path: path.stat().st_mtime)
    for store in stores:
        if shutil.disk_usage(folder).free >= size + _SPARE:
            break
        if not store.name.endswith(".part"):
            shutil.rmtree(store, ignore_errors=True)
    free = shutil.disk_usage(folder).free
    if free < size + _SPARE:
        raise ValueError(
            f"The features of these bars take {size / 2**30:.1f} GiB in {folder}, which has {free / 2**30:.1f} GiB"
            " left. Make room, give another folder ($XDG_CACHE_HOME), or choose fewer features or tickers."
        )


def _is_abandoned(part: Path) -> bool:
    newest = max((file.stat().st_mtime for file in part.iterdir()), default=part.stat().st_mtime)
    return time.time() - newest > _ABANDONED_SECONDS
