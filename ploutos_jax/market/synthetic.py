"""Made markets: a random key becomes a panel with correlated returns, clustered volatility and consistent bars.

Log return of asset i: `β_i·market + sector + idiosyncratic`, each with Student-t shocks; the market's volatility
follows a persistent process that also moves the others'. But for the drift, prices are a martingale, inside a bar
too, so that no rule earns anything before costs, a stop or a target no more than a pattern: what can be learned here
is exposure, risk and the saving of costs.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ploutos_jax.market.panel import Array, Labels, Panel
from ploutos_jax.market.sectors import GICS_SECTORS

_FIRST_DATE = np.datetime64("2010-01-04")


class SyntheticParams(struct.PyTreeNode):
    """Numbers of the generator, per bar (a trading day); every field is a leaf.

    Attributes:
        drift: mean simple return of the market; an asset's is beta times this.
        market_volatility, sector_volatility, asset_volatility: standard deviations of log returns.
        volatility_persistence, volatility_of_volatility: of the market's log volatility.
        beta_spread: standard deviation of betas around 1.
        tail: degrees of freedom of the shocks.
        overnight_share: share of a day's drift and variance between close and open.
    """

    drift: float = 0.0004
    market_volatility: float = 0.0095
    sector_volatility: float = 0.006
    asset_volatility: float = 0.012
    volatility_persistence: float = 0.97
    volatility_of_volatility: float = 0.10
    beta_spread: float = 0.3
    tail: float = 5.0
    overnight_share: float = 0.25


def synthetic_panel(
    key: jax.Array, num_assets: int = 30, num_bars: int = 2520, params: SyntheticParams | None = None
) -> Panel:
    """Draw a daily panel.

    Args:
        key: consumed; the same key gives the same panel.
        num_assets: A, assets dealt out over the 11 GICS sectors in turn.
        num_bars: T.
        params: numbers of the generator.

    Returns:
        A `Panel` of float arrays on the device, all bars tradable, with symbols `S001` … and business days as dates.

    Raises:
        ValueError: if a size is below 1.
    """
    if num_assets < 1 or num_bars < 1:
        raise ValueError(f"A synthetic panel needs at least 1 asset and 1 bar, not {num_assets} and {num_bars}.")
    arrays = _draw(key, params or SyntheticParams(), num_assets, num_bars)
    times = np.busday_offset(_FIRST_DATE, np.arange(num_bars), roll="forward")
    labels = Labels(
        symbols=tuple(f"S{i + 1:03d}" for i in range(num_assets)),
        sectors=tuple(GICS_SECTORS[i % len(GICS_SECTORS)] for i in range(num_assets)),
        times=times.astype("datetime64[ns]"),
    )
    opens, high, low, close, volume = arrays
    return Panel(
        open=opens,
        high=high,
        low=low,
        close=close,
        volume=volume,
        tradable=jnp.ones(close.shape, bool),
        sessions=jnp.asarray(times.astype("datetime64[D]").astype(np.int64), jnp.int32),
        labels=labels,
    )


@partial(jax.jit, static_argnums=(2, 3))
def _draw(key: jax.Array, params: SyntheticParams, num_assets: int, num_bars: int) -> tuple[Array, ...]:
    names = ("volatility", "moves", "beta", "scale", "price", "middle", "bridge", "volume")
    keys: dict[str, jax.Array] = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    num_sectors = len(GICS_SECTORS)
    sector_of = jnp.arange(num_assets) % num_sectors
    level = _volatility_level(keys["volatility"], params, num_bars)[:, None]
    beta = jnp.clip(1 + params.beta_spread * jax.random.normal(keys["beta"], (num_assets,)), 0.3, 2.0)
    scale = params.asset_volatility * jnp.exp(0.3 * jax.random.normal(keys["scale"], (num_assets,)))

    others = jnp.concatenate([jnp.full(num_sectors, params.sector_volatility), scale]) * jnp.sqrt(level)
    moves, variances = _moves(
        keys["moves"], params, jnp.concatenate([params.market_volatility * level, others], axis=1)
    )
    market, sector, own = jnp.split(moves, (1, 1 + num_sectors), axis=2)
    of_market, of_sector, of_own = jnp.split(variances, (1, 1 + num_sectors), axis=1)
    variance = beta**2 * of_market + of_sector[:, sector_of] + of_own
    # Half the variance is what the logarithm of a price loses against the price.
    trend = _day_parts(params) * (beta * params.drift - variance / 2)
    overnight, inside = trend + beta * market + sector[..., sector_of] + own

    first = jnp.exp(jax.random.uniform(keys["price"], (num_assets,), minval=jnp.log(15.0), maxval=jnp.log(300.0)))
    inside_variance = (1 - params.overnight_share) * variance
    opens, high, low, close = draw_bars(keys["middle"], keys["bridge"], first, overnight, inside, inside_variance)
    usual = (beta * params.market_volatility) ** 2 + params.sector_volatility**2 + scale**2
    activity = 0.35 * jax.random.normal(keys["volume"], close.shape) + 0.25 * jnp.log(variance / usual)
    return opens, high, low, close, jnp.round(2e8 / close[0] * jnp.exp(activity))


def _moves(key: jax.Array, params: SyntheticParams, volatility: Array) -> tuple[Array, Array]:
    """Return `[2, T, N]` log moves overnight and inside the bar, and the bar's variance `[T, N]`.

    The variance is drawn, inverse gamma around `volatility**2`, which makes the sum of the moves Student-t. Given the
    variance they are normal and independent: a path inside the bar can then be a Brownian one, which says nothing of
    its own future. Around a Student-t return drawn at once it could not be, and stops would pay or cost for nothing.
    """
    variance_key, key = jax.random.split(key)
    shape = params.tail / 2
    variance = volatility**2 * (shape - 1) / jax.random.gamma(variance_key, shape, volatility.shape)
    return jnp.sqrt(_day_parts(params) * variance) * jax.random.normal(key, (2, *volatility.shape)), variance


def _day_parts(params: SyntheticParams) -> Array:
    """Return `[2, 1, 1]` shares of the day overnight and inside the bar."""
    return jnp.stack([params.overnight_share, 1 - params.overnight_share])[:, None, None]


def _volatility_level(key: jax.Array, params: SyntheticParams, num_bars: int) -> Array:
    """Return `[T]` volatility relative to its mean, from a stationary AR(1) of its logarithm."""
    noise = params.volatility_of_volatility * jax.random.normal(key, (num_bars + 1,))
    spread = 1 / jnp.sqrt(1 - params.volatility_persistence**2)

    def step(x: Array, e: Array) -> tuple[Array, Array]:
        x = params.volatility_persistence * x + e
        return x, x

    _, log_level = jax.lax.scan(step, noise[0] * spread, noise[1:])
    return jnp.exp(log_level - (params.volatility_of_volatility * spread) ** 2)


def draw_bars(
    middle_key: jax.Array,
    bridge_key: jax.Array,
    first: Array,
    overnight: Array,
    inside: Array,
    inside_variance: Array,
) -> tuple[Array, ...]:
    """Return open, high, low and close `[T, A]`; extremes by the law of a Brownian bridge between open and close.

    The bridge is drawn in two halves. Over a whole bar high and low depend on each other: drawn apart, one bar would
    reach a stop and a target two or three times too often.

    Args:
        middle_key, bridge_key: of the point half way through a bar, and of the extremes of the halves.
        first: `[A]` price before the first bar.
        overnight, inside: `[T, A]` log moves from close to open and from open to close.
        inside_variance: `[T, A]` variance from which `inside` was drawn.

    Source: the maximum of a bridge from 0 to x with variance s² is `(x + √(x² − 2s²·ln U)) / 2`, U uniform
    (Karatzas & Shreve, section 4.3); the minimum mirrors it.
    """
    log_close = jnp.log(first) + jnp.cumsum(overnight + inside, axis=0)
    log_open = log_close - inside
    middle = inside / 2 + jnp.sqrt(inside_variance) / 2 * jax.random.normal(middle_key, inside.shape)
    starts, moves = jnp.stack([jnp.zeros_like(middle), middle]), jnp.stack([middle, inside - middle])
    tiny = jnp.finfo(inside.dtype).tiny
    uniform = jax.random.uniform(bridge_key, (2, *moves.shape), minval=tiny)
    reach = jnp.sqrt(moves**2 - inside_variance * jnp.log(uniform))
    highest = (starts + (moves + reach[0]) / 2).max(axis=0)
    lowest = (starts + (moves - reach[1]) / 2).min(axis=0)
    opens, close = jnp.exp(log_open), jnp.exp(log_close)
    # Rounding may leave an extreme an ulp inside the open or the close.
    high = jnp.maximum(jnp.exp(log_open + highest), jnp.maximum(opens, close))
    low = jnp.minimum(jnp.exp(log_open + lowest), jnp.minimum(opens, close))
    return opens, high, low, close
