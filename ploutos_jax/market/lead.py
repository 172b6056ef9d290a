"""Lead: what is kept of the bars before a span, for networks that remember.

Letters: T bars, A assets, F features.
"""

import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Int


@typing.no_type_check
class Lead(struct.PyTreeNode):
    """The bars before a market's first, on its path: features `[lead, A, F]` and which assets traded, `[lead, A]`."""

    features: Float[jax.Array, "lead A F"]
    tradable: Bool[jax.Array, "lead A"]


def begins_path(path_end: Int[jax.Array | np.ndarray, " T"]) -> Bool[jax.Array, " T"]:
    """Return `[T]` whether a row is the first of its path, from the last rows of paths."""
    ends = jnp.asarray(path_end)
    return jnp.concatenate([jnp.ones(1, bool), ends[1:] != ends[:-1]])


def lead_of(market: Any, row: int, length: int) -> Lead | None:
    """Return up to `length` bars before a row of a market, of the row's path; None where there are none.

    Args:
        market: with `features`, `tradable`, `path_end`, and perhaps a `lead` of its own.
        row: of the first bar that is not among them.
        length: of the lead at most.
    """
    ends = np.asarray(market.path_end)
    start = int(np.searchsorted(ends, ends[row]))
    before = [market.lead] if start == 0 and market.lead is not None else []
    own = Lead(market.features[max(start, row - length) : row], market.tradable[max(start, row - length) : row])
    joined = jax.tree.map(lambda *x: np.concatenate([np.asarray(part) for part in x])[-length:], *before, own)
    return joined if length and joined.tradable.shape[0] else None
