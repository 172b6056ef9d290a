"""A weak edge in the synthetic market: a column that tells a known part of the next day's return.

On each path, for each asset, hints are a stationary standard normal AR(1) of persistence `EDGE_PERSISTENCE`, apart from
all that moves prices. The hint of day t multiplies the price between open and close of day t + 1 by

    1 + edge · volatility · hint_t

volatility the asset's usual one, a constant of the generator (`returns.usual_volatility`). So an order that is decided
at close t and fills at the next open earns it, and on average over hints the factor is 1: whoever does not read the
column earns what he would without. With an edge of 0 the column tells nothing, and prices are those of no edge.

Everything comes from keys of its own: with and without an edge, the same key draws the same market otherwise.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.synthetic.hint_series import draw_persistent
from ploutos_jax.market.synthetic.params import SyntheticParams
from ploutos_jax.market.synthetic.returns import draw_numbers, usual_volatility

EDGE_PERSISTENCE = 0.97
"""Of a hint from day to day: half of it is gone after 23 days, long enough to outlast what a trade costs."""

_HINT_STREAM = 0x48494E54
"""Folded into the key of a path; far from the small numbers that its other keys are counted with."""
_MOST_FALL = -0.9
"""Of the part that is told; edges and volatilities that reach it have no market's size."""


def check_edge(edge: float) -> None:
    """Raise ValueError unless an edge lies in [0, 1]."""
    if not 0 <= edge <= 1:
        raise ValueError(
            f"edge={edge} must lie in [0, 1]: it is what a hint of 1 adds to the next day, in volatilities of a day."
        )


def edge_note(edge: float) -> str:
    """Return what the labels of such a market say."""
    if edge == 0:
        return (
            f"These bars are made up. The signal {HINT!r} tells nothing (edge 0): nothing can be earned by reading it."
        )
    return (
        f"These bars are made up. The signal {HINT!r} tells a part of the next day's return on purpose: a hint of 1"
        f" adds {edge:g} of the asset's usual daily volatility. No real column is known to do so."
    )


@partial(jax.jit, static_argnames=("num_assets", "num_bars", "num_paths"))
def draw_edge(
    key: PRNGKeyArray,
    params: SyntheticParams,
    jitter: Float[Array, ""] | float,
    edge: Float[Array, ""] | float,
    *,
    num_assets: int,
    num_bars: int,
    num_paths: int,
) -> tuple[Float[Array, "P T A"], Float[Array, "P T A"]]:
    """Return hints, known at close t, and what they add to the log return from open to close of each row's own day.

    Args:
        key: of the panel, as `draw_bars_of_paths` takes it.
        params, jitter, num_assets, num_bars, num_paths: see `synthetic_panel`.
        edge: in [0, 1].
    """

    def draw(path: Array) -> tuple[Array, Array]:
        own_key = jax.random.fold_in(key, path)
        own, assets, _, _ = draw_numbers(own_key, params, jitter, num_assets)
        # One hint more than days: the first day, too, had one.
        hints = draw_persistent(jax.random.fold_in(own_key, _HINT_STREAM), EDGE_PERSISTENCE, num_bars + 1, num_assets)
        part = edge * usual_volatility(own, assets) * hints[:-1]
        return hints[1:], jnp.log1p(jnp.maximum(part, _MOST_FALL))

    return jax.vmap(draw)(jnp.arange(num_paths))


@partial(jax.jit, static_argnames=("num_assets", "num_paths"))
def usual_volatilities(
    key: PRNGKeyArray,
    params: SyntheticParams,
    jitter: Float[Array, ""] | float,
    *,
    num_assets: int,
    num_paths: int,
) -> Float[Array, "P A"]:
    """Return the usual volatility of a day of each path's assets; arguments as in `draw_edge`."""

    def draw(path: Array) -> Array:
        own, assets, _, _ = draw_numbers(jax.random.fold_in(key, path), params, jitter, num_assets)
        return usual_volatility(own, assets)

    return jax.vmap(draw)(jnp.arange(num_paths))


def edge_law(
    key: PRNGKeyArray,
    params: SyntheticParams | None,
    jitter: float,
    edge: float,
    *,
    num_assets: int,
    num_bars: int,
    num_paths: int,
) -> HintLaw:
    """Return what the hint of a panel tells; arguments as in `draw_edge`."""
    numbers = SyntheticParams() if params is None else params
    volatility = usual_volatilities(key, numbers, jitter, num_assets=num_assets, num_paths=num_paths)
    path = np.repeat(np.arange(num_paths, dtype=np.int32), num_bars)
    return HintLaw("edge", float(edge), np.asarray(volatility, np.float64), path, EDGE_PERSISTENCE)
