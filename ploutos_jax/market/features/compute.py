"""The table of features `[T, A, F]` of a panel, a block of assets at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.market.features.compacted import Bars, compacted_bars
from ploutos_jax.market.features.definitions.feature import Feature
from ploutos_jax.market.panel import Panel

CLIP = 10.0
MASKS = ("warm", "known")
"""The last columns of every table."""

_CPU_BLOCK_BYTES, _BLOCK_BYTES = 32 * 2**20, 512 * 2**20
"""Of the columns that exist next to the table at a time: what a processor's caches like, and what fills a GPU."""
_MIN_BLOCK_ASSETS = 32


def compute_features(panel: Panel, features: tuple[Feature, ...], num_paths: int = 1) -> Float[Array, "T A _"]:
    """Return the table of some features and the two masks; pure, hence free to use inside `jit`.

    Args:
        panel: total-return prices; see `total_return`.
        features: F definitions.
        num_paths: number of paths of equal length lying end to end along T, each computed on its own.

    Returns:
        `[T, A, F + 2]` in network form, clipped to ±10, 0 where not known, the last columns `warm` and `known`; known
        at close t.
    """
    prices = tuple(jnp.asarray(getattr(panel, name), float) for name in ("open", "high", "low", "close", "volume"))
    return _compute_table(prices, jnp.asarray(panel.sessions, jnp.int32), features, num_paths)


def split_paths(tree: Any, num_paths: int) -> Any:
    """Return the arrays `[T, ...]` of a pytree as `[num_paths, T / num_paths, ...]`."""
    return jax.tree.map(lambda x: x.reshape(num_paths, x.shape[0] // num_paths, *x.shape[1:]), tree)


@partial(jax.jit, static_argnames=("features", "num_paths"))
def _compute_table(
    prices: tuple[jax.Array, ...], sessions: jax.Array, features: tuple[Feature, ...], num_paths: int
) -> jax.Array:
    compute = partial(_compute_path, features=features)
    if num_paths == 1:
        return compute(prices, sessions)
    # One path after the other: mapped over, the branch in `compute_in_blocks` would be taken both ways.
    by_path = jax.lax.map(lambda path: compute(*path), split_paths((prices, sessions), num_paths))
    return by_path.reshape(*prices[0].shape, -1)


def _compute_path(prices: tuple[jax.Array, ...], sessions: jax.Array, features: tuple[Feature, ...]) -> jax.Array:
    bars = compacted_bars(*prices, sessions=sessions)
    of_others = {feature.name: feature.function(bars) for feature in features if feature.across_assets}
    of_itself = {feature.name: feature.function for feature in features if not feature.across_assets}

    def write(table: jax.Array, part: Bars, start: jax.Array, values: list[jax.Array]) -> jax.Array:
        count = part.close.shape[1]
        columns = {name: jax.lax.dynamic_slice_in_dim(x, start, count, axis=1) for name, x in of_others.items()}
        columns |= dict(zip(of_itself, values, strict=True))
        block = _join_columns(part, [columns[feature.name] for feature in features])
        return jax.lax.dynamic_update_slice_in_dim(table, block, start, axis=1)

    table = jnp.zeros((*bars.close.shape, len(features) + len(MASKS)), bars.close.dtype)
    return compute_in_blocks(bars, list(of_itself.values()), write, table)


def compute_in_blocks(
    bars: Bars,
    functions: Sequence[Callable[[Bars], jax.Array]],
    write: Callable[[Any, Bars, jax.Array, list[jax.Array]], Any],
    out: Any,
) -> Any:
    """Evaluate functions that look at no other asset, for a block of assets at a time, and return what was written.

    Args:
        bars: of all assets.
        functions: take the `Bars` of a block, return `[T, block]` over own bars.
        write: takes what was written so far, the bars of a block, the number of its first asset and the values of the
            functions; returns what is written now.
        out: what is written to.
    """
    num_rows, num_assets = bars.close.shape
    budget = _CPU_BLOCK_BYTES if jax.default_backend() == "cpu" else _BLOCK_BYTES
    column_bytes = num_rows * (len(functions) + len(MASKS)) * bars.close.dtype.itemsize
    count = min(num_assets, max(_MIN_BLOCK_ASSETS, budget // column_bytes))
    # True, but not known to the compiler.
    always = bars.sessions[0, 0] > jnp.iinfo(bars.sessions.dtype).min

    def evaluate(part: Bars) -> list[jax.Array]:
        return [function(part) for function in functions]

    def skip(part: Bars) -> list[jax.Array]:
        return [jnp.zeros_like(part.close) for _ in functions]

    def add_block(block: jax.Array, out: Any) -> Any:
        # The last block overlaps the one before, so that all have one size.
        start = jnp.minimum(block * count, num_assets - count)
        part = bars.take_assets(start, count)
        # The compiler puts what is cheap into its readers, and takes the lags of a window for cheap: each reader of a
        # column would compute it again. It does so across no branch; this one is always taken.
        return write(out, part, start, jax.lax.cond(always, evaluate, skip, part))

    return jax.lax.fori_loop(0, -(-num_assets // count), add_block, out)


def _join_columns(bars: Bars, columns: list[jax.Array]) -> jax.Array:
    """Return `[T, A, F + 2]` over panel rows of F columns over own bars."""
    ones = jnp.ones_like(bars.close)
    known = [(~jnp.isnan(x)).astype(ones.dtype) for x in columns]
    columns = [*columns, sum(known, jnp.zeros_like(ones)) / len(known) if known else ones, ones]
    return jnp.stack([jnp.clip(jnp.nan_to_num(bars.to_panel_rows(x)), -CLIP, CLIP) for x in columns], axis=-1)
