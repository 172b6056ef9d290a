"""The features in their textbook form: for people, charts and comparison with other libraries, not for a network."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ploutos_jax.market.adjust import total_return
from ploutos_jax.market.features.catalog import FEATURE_SETS, FEATURES, suggest
from ploutos_jax.market.features.compacted import Bars, compacted_bars
from ploutos_jax.market.features.compute import compute_in_blocks
from ploutos_jax.market.features.definitions.feature import Feature, Raw
from ploutos_jax.market.panel import Panel


def raw_features(panel: Panel, features: str | Sequence[str] = "standard") -> dict[str, Float[jax.Array, "T A"]]:
    """Return indicators in their own units: an RSI of 0 to 100, a moving average in units of the price.

    They run over each asset's own bars at total-return prices, as the table of `build_market` does, but are neither
    scaled nor clipped. What is the same in both forms, such as a log return, is returned as it is.

    Args:
        panel: prices as traded, one path.
        features: a set's name, or feature names.

    Returns:
        By feature name `[T, A]`, NaN where not known; known at close t.

    Raises:
        ValueError: if a feature or set is unknown.
    """
    known = {feature.name: feature for feature in FEATURES}
    if isinstance(features, str):
        if features not in FEATURE_SETS:
            raise ValueError(f"Unknown feature set {features!r}; {suggest(features, FEATURE_SETS)}")
        features = FEATURE_SETS[features]
    for name in features:
        if name not in known:
            raise ValueError(f"Unknown feature {name!r}; {suggest(name, known)}")
    adjusted = total_return(panel)
    prices = tuple(jnp.asarray(getattr(adjusted, name), float) for name in ("open", "high", "low", "close", "volume"))
    chosen = tuple(known[name] for name in features)
    return dict(zip(features, _compute(prices, jnp.asarray(panel.sessions, jnp.int32), chosen), strict=True))


def raw_form(feature: Feature) -> Raw:
    """Return the textbook form of a feature: its own, or the network form where the two are one."""
    raw = Raw(feature.formula, feature.function) if feature.raw is None else feature.raw
    return Raw(raw.formula, raw.function, feature.warm_up if raw.warm_up is None else raw.warm_up)


@partial(jax.jit, static_argnames="features")
def _compute(prices: tuple[jax.Array, ...], sessions: jax.Array, features: tuple[Feature, ...]) -> list[jax.Array]:
    bars = compacted_bars(*prices, sessions=sessions)
    raw = [raw_form(feature).function for feature in features]
    alone = [i for i, feature in enumerate(features) if not feature.across_assets]
    columns = [
        bars.to_panel_rows(raw[i](bars)) if feature.across_assets else jnp.zeros_like(bars.close)
        for i, feature in enumerate(features)
    ]

    def write(out: list[jax.Array], part: Bars, start: jax.Array, values: list[jax.Array]) -> list[jax.Array]:
        return [
            jax.lax.dynamic_update_slice_in_dim(x, part.to_panel_rows(value), start, axis=1)
            for x, value in zip(out, values, strict=True)
        ]

    written = compute_in_blocks(bars, [raw[i] for i in alone], write, [columns[i] for i in alone])
    for i, column in zip(alone, written, strict=True):
        columns[i] = column
    return columns
