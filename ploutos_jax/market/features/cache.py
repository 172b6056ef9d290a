"""Feature cache: the table of features of one panel, computed once and read again.

An entry is one file. Its name is the fingerprint of everything that the table depends on: the bars to the last bit,
the names of the features, the source of the code that computes them, the version of JAX, device and precision. The
fingerprint also stands inside, and the file carries checksums; an entry that does not hold what it should is computed
and rewritten. Entries are written next to their place and moved there, so that none is ever half there.
"""

import functools
import hashlib
import os
import tempfile
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.compute import MASKS, compute_features
from ploutos_jax.market.features.definitions.feature import Feature
from ploutos_jax.market.panel import Panel

MIN_BYTES = 16 * 2**20
"""Smaller tables are computed as fast as they are found."""
MAX_BYTES = 4 * 2**30
"""Of all entries of a folder; those not used for longest make room."""

_MARKET = Path(__file__).parents[1]
_SOURCES = (
    "adjust.py",
    "features/compacted.py",
    "features/compute.py",
    "features/indicators/*.py",
    "features/definitions/*.py",
)
_INPUTS = ("open", "high", "low", "close", "volume", "sessions", "dividend", "split")
_ABANDONED_SECONDS = 3600


def default_folder() -> Path:
    """Return the place in the user's cache folder, `$XDG_CACHE_HOME` or `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ploutos_jax" / "features"


def cached_features(
    panel: Panel, features: tuple[Feature, ...], num_paths: int, folder: str | Path
) -> Float[jax.Array, "T A F"]:
    """Return the table of some features of prices as traded, from the cache if it is there.

    Args:
        panel: prices as traded, not traced.
        features: F definitions.
        num_paths: number of paths of equal length lying end to end along T.
        folder: of the cache, made if missing; see `default_folder`.

    Returns:
        `[T, A, F + 2]`; see `feature_table.compute_features`.
    """
    shape = (panel.num_bars, panel.num_assets, len(features) + len(MASKS))
    dtype = jnp.zeros(()).dtype
    if np.prod(shape, dtype=np.int64) * dtype.itemsize < MIN_BYTES:
        return compute_features(total_return(panel, num_paths), features, num_paths)
    folder = Path(folder)
    key = fingerprint(panel, features, num_paths)
    path = folder / f"features-{key}.npz"
    table = _read(path, key)
    if table is not None and table.shape == shape and table.dtype == dtype:
        return jnp.asarray(table)
    computed = compute_features(total_return(panel, num_paths), features, num_paths)
    try:
        _write(path, key, np.asarray(computed))
        _make_room(folder, path)
    except OSError as error:
        warnings.warn(f"The features could not be kept for the next time: {error}", stacklevel=2)
    return computed


def fingerprint(panel: Panel, features: tuple[Feature, ...], num_paths: int = 1) -> str:
    """Return a number, in hexadecimal digits, of all that decides what the table of some features is."""
    digest = hashlib.blake2b(digest_size=20)
    names = [feature.name for feature in features]
    system = [code_version(), jax.__version__, jax.default_backend(), str(jnp.zeros(()).dtype)]
    digest.update(repr((names, num_paths, system)).encode())
    for name in _INPUTS:
        value = getattr(panel, name)
        array = None if value is None else np.ascontiguousarray(value)
        digest.update(repr((name, None if array is None else (array.shape, array.dtype.str))).encode())
        if array is not None:
            digest.update(array.data)
    return digest.hexdigest()


@functools.cache
def code_version() -> str:
    """Return a number of the source of everything that turns bars into features."""
    digest = hashlib.blake2b(digest_size=20)
    for path in sorted(path for pattern in _SOURCES for path in _MARKET.glob(pattern)):
        digest.update(repr((path.name, path.parent.name)).encode() + path.read_bytes())
    return digest.hexdigest()


def _read(path: Path, key: str) -> np.ndarray | None:
    """Return the table of an entry, or None if there is none that can be trusted."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as entry:
            # Reading a member to its end checks its sum.
            table = entry["table"] if str(entry["key"]) == key else None
        os.utime(path)
    except Exception:  # there is no telling how a damaged file fails
        return None
    return table


def _write(path: Path, key: str, table: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix="features-", suffix=".part", delete=False) as file:
        try:
            np.savez(file, key=np.array(key), table=table)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _make_room(folder: Path, newest: Path) -> None:
    """Remove what was not used for longest until all entries fit, and what a killed process left."""
    now, room = time.time(), MAX_BYTES - newest.stat().st_size
    entries = sorted((path for path in folder.glob("features-*.npz") if path != newest), key=_last_used, reverse=True)
    for path in entries:
        room -= path.stat().st_size
        if room < 0:
            path.unlink(missing_ok=True)
    for path in folder.glob("features-*.part"):
        if now - _last_used(path) > _ABANDONED_SECONDS:
            path.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    return path.stat().st_mtime
