"""The table of features `[T, A, F]` of a panel, a block of assets at a time."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ploutos_jax.market.bars import Bars, own_bars
from ploutos_jax.market.families.feature import Feature
from ploutos_jax.market.panel import Panel

CLIP = 10.0
MASKS = ("warm", "known")
"""The last columns of every table."""

_CPU_BLOCK_BYTES, _BLOCK_BYTES = 32 * 2**20, 512 * 2**20
"""Of the columns that exist beside the table at a time: what a processor's caches like, and what fills a GPU."""
_MIN_BLOCK_ASSETS = 32


def compute_features(panel: Panel, features: tuple[Feature, ...], num_paths: int = 1) -> jax.Array:
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
    close = prices[3]
    num_rows, num_assets = close.shape
    column_bytes = num_rows * (len(features) + len(MASKS)) * close.dtype.itemsize
    budget = _CPU_BLOCK_BYTES if jax.default_backend() == "cpu" else _BLOCK_BYTES
    count = min(num_assets, max(_MIN_BLOCK_ASSETS, budget // column_bytes))
    # True, but not known to the compiler.
    always = sessions[0] > jnp.iinfo(sessions.dtype).min
    compute = partial(_compute_path, features=features, count=count, always=always)
    if num_paths == 1:
        return compute(prices, sessions)
    return jax.vmap(compute)(*split_paths((prices, sessions), num_paths)).reshape(num_rows, num_assets, -1)


def _compute_path(
    prices: tuple[jax.Array, ...], sessions: jax.Array, features: tuple[Feature, ...], count: int, always: jax.Array
) -> jax.Array:
    bars = own_bars(*prices, sessions=sessions)
    num_rows, num_assets = bars.close.shape
    of_others = {feature.name: feature.function(bars) for feature in features if feature.across_assets}
    of_itself = [feature for feature in features if not feature.across_assets]

    def compute_columns(part: Bars) -> list[jax.Array]:
        return [feature.function(part) for feature in of_itself]

    def skip_columns(part: Bars) -> list[jax.Array]:
        return [jnp.zeros_like(part.close) for _ in of_itself]

    def write_block(block: jax.Array, table: jax.Array) -> jax.Array:
        # The last block overlaps the one before, so that all have one size.
        start = jnp.minimum(block * count, num_assets - count)
        part = bars.take_assets(start, count)
        columns = {name: jax.lax.dynamic_slice_in_dim(x, start, count, axis=1) for name, x in of_others.items()}
        # The compiler puts what is cheap into its readers, and takes the lags of a window for cheap: each reader of a
        # column would compute it again. It does so across no branch; this one is always taken.
        values = jax.lax.cond(always, compute_columns, skip_columns, part)
        columns |= {feature.name: x for feature, x in zip(of_itself, values, strict=True)}
        return jax.lax.dynamic_update_slice_in_dim(
            table, _join_columns(part, [columns[feature.name] for feature in features]), start, axis=1
        )

    table = jnp.zeros((num_rows, num_assets, len(features) + len(MASKS)), bars.close.dtype)
    return jax.lax.fori_loop(0, -(-num_assets // count), write_block, table)


def _join_columns(bars: Bars, columns: list[jax.Array]) -> jax.Array:
    """Return `[T, A, F + 2]` over panel rows of F columns over own bars."""
    ones = jnp.ones_like(bars.close)
    known = [(~jnp.isnan(x)).astype(ones.dtype) for x in columns]
    columns = [*columns, sum(known, jnp.zeros_like(ones)) / len(known) if known else ones, ones]
    return jnp.stack([jnp.clip(jnp.nan_to_num(bars.to_panel_rows(x)), -CLIP, CLIP) for x in columns], axis=-1)
