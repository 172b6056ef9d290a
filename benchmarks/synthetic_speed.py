"""Speed of drawing whole markets: bars alone, and bars with all 85 features. Part of scripts/benchmark.py."""

import resource
import time
from typing import Any

import jax
from rich.table import Table

from ploutos_jax.market.synthetic.multi_path import MarketSpec, draw_bank, draw_market

SIZES = (MarketSpec(30, 1260, 16, "standard"), MarketSpec(503, 2520, 4, "standard"))
QUICK_SIZES = (MarketSpec(30, 252, 2, "core"),)


def measure_synthetic(quick: bool) -> list[dict[str, Any]]:
    """Return a row for each size: seconds to compile and to draw, bytes of the market, peak memory so far."""
    return [_measure(recipe) for recipe in (QUICK_SIZES if quick else SIZES)]


def _measure(recipe: MarketSpec) -> dict[str, Any]:
    key = jax.random.key(0)
    bars = jax.jit(lambda key: draw_bank(key, recipe))
    bars_compile, bars_seconds, _ = _time(bars, key)
    market = jax.jit(lambda key: draw_market(key, recipe))
    compile_seconds, seconds, drawn = _time(market, key)
    return {
        "assets": recipe.num_assets,
        "bars": recipe.num_bars,
        "paths": recipe.num_paths,
        "features": drawn.num_features,
        "bars_compile_seconds": bars_compile,
        "bars_seconds": bars_seconds,
        "compile_seconds": compile_seconds,
        "seconds": seconds,
        "market_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(drawn)),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def _time(function: Any, key: jax.Array) -> tuple[float, float, Any]:
    """Return seconds to compile, seconds of a run after the first, and what it returned."""
    start = time.perf_counter()
    compiled = function.lower(key).compile()
    ready = time.perf_counter()
    jax.block_until_ready(compiled(key))
    again = time.perf_counter()
    drawn = jax.block_until_ready(compiled(jax.random.fold_in(key, 1)))
    return ready - start, time.perf_counter() - again, drawn


def synthetic_table(rows: list[dict[str, Any]]) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(title="Drawing synthetic markets")
    for name in ("assets", "bars", "paths", "features", "bars alone", "with features", "compile", "market", "peak"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *(f"{row[name]:,}" for name in ("assets", "bars", "paths", "features")),
            f"{row['bars_seconds']:.2f} s",
            f"{row['seconds']:.2f} s",
            f"{row['compile_seconds']:.1f} s",
            f"{row['market_bytes'] / 2**20:,.0f} MiB",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB",
        )
    return table
