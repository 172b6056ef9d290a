"""Does a feature look ahead? Change the future and see whether the past moves."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURE_SETS
from ploutos_jax.market.panel import Panel


def check_causal(function: str | Callable[[Panel], Any], panel: Panel, *, num_checks: int = 4, seed: int = 0) -> None:
    """Return quietly if no value at or before bar t depends on the bars after t, as far as random changes can tell.

    Args:
        function: your function `(panel) -> [T, A]`, or the name of a built-in feature or set; judged by the table
            that `build_market` makes of it.
        panel: what to try it on; better with gaps, late listings and signals if yours has them.
        num_checks: how many t are tried, spread over the bars; besides them the first bar, where a filled warm-up
            shows, and one inside a gap, where a filled gap shows.
        seed: of the random changes.

    Raises:
        ValueError: naming the function and the first bar whose value changed at or before t; also whatever
            `build_market` raises.
    """
    if panel.num_bars < 2:
        raise ValueError(f"A check for look-ahead needs at least 2 bars; the panel has {panel.num_bars}.")
    features = function if isinstance(function, str) and function in FEATURE_SETS else [function]
    market = build_market(panel, features)
    reference = np.asarray(market.features)
    # What is a sum in another order may differ by rounding: of the value, or of terms that cancelled.
    rounding = 1e-9 * np.abs(reference).max(axis=(0, 1))
    rng = np.random.default_rng(seed)
    for t in _rows_to_try(panel, num_checks, rng):
        values = np.asarray(build_market(perturb_after(panel, t, rng), features).features)
        differs = ~np.isclose(values[: t + 1], reference[: t + 1], rtol=1e-5, atol=rounding)
        if differs.any():
            bar, asset, column = (int(place[0]) for place in np.nonzero(differs))
            where = f"bar {bar}, asset {asset}"
            where += "" if panel.labels is None else f" ({panel.times[bar]} {panel.symbols[asset]})"
            raise ValueError(
                f"The feature {market.feature_names[column]!r} looks ahead: its value at {where} changed when only bars"
                f" after {t} were changed. Let row t of the result read rows up to t alone."
            )


def _rows_to_try(panel: Panel, num_checks: int, rng: np.random.Generator) -> list[int]:
    last = panel.num_bars - 1
    edges = np.linspace(0, last, num_checks + 1).astype(int)
    spread = [int(rng.integers(lo, max(hi, lo + 1))) for lo, hi in itertools.pairwise(edges)]
    exists = np.isfinite(np.asarray(panel.close))
    has_later_bar = np.cumsum(exists[::-1], axis=0)[::-1] > 0
    gaps = np.flatnonzero((~exists & has_later_bar)[:last].any(axis=1))
    return [0, *([int(rng.choice(gaps))] if gaps.size else []), *spread]


def perturb_after(panel: Panel, t: int, rng: np.random.Generator) -> Panel:
    """Return the panel with every bar after row `t` changed at random: still valid, rows up to `t` untouched.

    Prices, volume, dividends and signals are scaled, some bars go missing, some are not tradable, some shares split.
    """
    shape = (panel.num_bars - t - 1, panel.num_assets)
    missing, idle = rng.random(shape) < 0.05, rng.random(shape) < 0.1
    factor = np.where(missing, np.nan, np.exp(rng.normal(0, 0.3, shape)))
    stretch = np.exp(np.abs(rng.normal(0, 0.05, shape)))
    volume_factor = np.where(missing, 0, np.exp(rng.normal(0, 1, shape)))
    noise = rng.normal(0, 1, shape)
    changes: dict[str, Any] = {
        "open": lambda x: x * factor,
        "high": lambda x: x * factor * stretch,
        "low": lambda x: x * factor / stretch,
        "close": lambda x: x * factor,
        "volume": lambda x: x * volume_factor,
        "tradable": lambda x: x & ~missing & ~idle,
    }
    if panel.dividend is not None:
        changes["dividend"] = lambda x: x * np.exp(noise) + np.where(noise > 2, 0.1, 0)
    if panel.split is not None:
        changes["split"] = lambda x: np.where(noise < -2, 2.0, x)
    later = {name: _change_after(getattr(panel, name), t, change) for name, change in changes.items()}
    signals = {
        name: _change_after(signal, t, lambda x: x * np.exp(noise) + noise) for name, signal in panel.signals.items()
    }
    return panel.replace(**later, signals=signals)


def _change_after(x: Any, t: int, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    host = np.asarray(x)
    changed = np.concatenate([host[: t + 1], change(host[t + 1 :]).astype(host.dtype)])
    return jnp.asarray(changed) if isinstance(x, jax.Array) else changed
