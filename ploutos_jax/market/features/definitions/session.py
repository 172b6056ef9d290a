"""Features of the trading session: where in it a bar stands."""

from ploutos_jax.market.features.definitions.feature import Feature
from ploutos_jax.market.features.indicators.levels import session_progress

FEATURES = (
    Feature(
        "session_progress",
        lambda b: session_progress(b.session_starts),
        "bars of the session so far / those of the longest session before it, at most 1",
        1,
        0,
        1,
    ),
)
"""Of daily bars it is always 1."""
