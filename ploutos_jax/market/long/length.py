"""How large a slice may be."""

from typing import Literal

import jax

from ploutos_jax.market.io.sizes import free_memory
from ploutos_jax.market.long.device import device_bytes

_OF_DEVICE = 1 / 8
"""Share of a device's memory that a slice may take; two are there at a time, and the rest is the learner's."""
_MOST_ON_CPU = 2**30
"""Bytes of a slice where the device is the host: a larger one saves next to nothing."""


def slice_length(wanted: int | Literal["auto"], num_bars: int, row_bytes: int) -> int | None:
    """Return the bars of a slice, None where the whole history is one.

    Args:
        wanted: bars, or `auto` for as many as fit into an eighth of the device's memory: two slices are there at a
            time, and what the learner holds is a multiple of neither. On a CPU into an eighth of the memory that is
            free, and at most 1 GiB.
        num_bars: T.
        row_bytes: of a bar of all assets with its features.
    """
    if wanted == "auto":
        limit = device_bytes()
        if jax.default_backend() == "cpu":
            free = int(free_memory() * _OF_DEVICE)
            limit = min(_MOST_ON_CPU, free)
        else:
            limit = _MOST_ON_CPU if limit is None else int(limit * _OF_DEVICE)
        wanted = max(1, limit // row_bytes)
    return None if wanted >= num_bars else wanted
