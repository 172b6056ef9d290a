"""Digests of arrays: whether what is read is what was written, and whether a market is the one that was trained on."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.market.long.mapped import release
from ploutos_jax.market.panel import Market

_BARS = (
    *("open", "high", "low", "close", "volume", "tradable", "delisted", "sessions", "path_end", "dividend", "split"),
    *("spread_scale", "impact_scale", "buyable"),
)

_AT_ONCE = 2**28


def digest_of(tree: Any, without: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 of all leaves of a tree: their places, types, shapes and bytes.

    Args:
        tree: of arrays.
        without: names of fields that are left out, wherever they stand.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        if path and getattr(path[-1], "name", None) in without:
            continue
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape};".encode())
        flat = array.reshape(-1).view(np.uint8)
        for begin in range(0, flat.size, _AT_ONCE):
            digest.update(flat[begin : begin + _AT_ONCE].data)
            release(array)
    return digest.hexdigest()


def digest_of_bars(market: Market) -> str:
    """Return the SHA-256 of a market's bars. Features are not part of it: another device may round them otherwise."""
    return digest_of({name: getattr(market, name) for name in _BARS if getattr(market, name) is not None})
