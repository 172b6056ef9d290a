"""Made markets: a random key becomes a panel with correlated returns, clustered volatility and consistent bars.

Log return of asset i: `β_i·market + sector + idiosyncratic`, each with Student-t shocks; the market's volatility
follows a persistent process that also moves the others'. There is no predictable part: what can be learned here is
exposure, risk and the saving of costs, never a price pattern.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from ploutos_jax.market.panel import Array, Labels, Panel

GICS_SECTORS = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Real Estate",
    "Utilities",
)

_FIRST_DATE = np.datetime64("2010-01-04")


class SyntheticParams(struct.PyTreeNode):
    """Numbers of the generator, per bar (a trading day); every field is a leaf.

    Attributes:
        drift: mean log return of the market.
        market_volatility, sector_volatility, asset_volatility: standard deviations of log returns.
        volatility_persistence, volatility_of_volatility: of the market's log volatility.
        beta_spread: standard deviation of betas around 1.
        tail: degrees of freedom of the shocks.
        overnight_share: share of a day's variance between close and open.
    """

    drift: float = 0.0003
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
    names = ("volatility", "market", "sector", "asset", "beta", "scale", "price", "overnight", "bridge", "volume")
    keys: dict[str, jax.Array] = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    num_sectors = len(GICS_SECTORS)

    def shocks(name: str, columns: int) -> Array:
        t = jax.random.t(keys[name], params.tail, (num_bars, columns))
        return t * jnp.sqrt((params.tail - 2) / params.tail)

    level = _volatility_level(keys["volatility"], params, num_bars)[:, None]
    beta = jnp.clip(1 + params.beta_spread * jax.random.normal(keys["beta"], (num_assets,)), 0.3, 2.0)
    market = params.market_volatility * level * shocks("market", 1)
    sector = params.sector_volatility * jnp.sqrt(level) * shocks("sector", num_sectors)
    scale = params.asset_volatility * jnp.exp(0.3 * jax.random.normal(keys["scale"], (num_assets,)))
    own = scale * jnp.sqrt(level) * shocks("asset", num_assets)
    returns = beta * (params.drift + market) + sector[:, jnp.arange(num_assets) % num_sectors] + own
    sigma = jnp.sqrt((beta * params.market_volatility) ** 2 + params.sector_volatility**2 + scale**2) * level
    return _bars(keys, params, returns, sigma)


def _volatility_level(key: jax.Array, params: SyntheticParams, num_bars: int) -> Array:
    """Return `[T]` volatility relative to its mean, from a stationary AR(1) of its logarithm."""
    noise = params.volatility_of_volatility * jax.random.normal(key, (num_bars + 1,))
    spread = 1 / jnp.sqrt(1 - params.volatility_persistence**2)

    def step(x: Array, e: Array) -> tuple[Array, Array]:
        x = params.volatility_persistence * x + e
        return x, x

    _, log_level = jax.lax.scan(step, noise[0] * spread, noise[1:])
    return jnp.exp(log_level - (params.volatility_of_volatility * spread) ** 2)


def _bars(keys: dict[str, jax.Array], params: SyntheticParams, returns: Array, sigma: Array) -> tuple[Array, ...]:
    """Return open, high, low, close and volume; extremes by the law of a Brownian bridge between open and close.

    Source: the maximum of a bridge from 0 to x with variance s² is `(x + √(x² − 2s²·ln U)) / 2`, U uniform
    (Karatzas & Shreve, section 4.3); the minimum mirrors it.
    """
    shape = returns.shape
    share = params.overnight_share
    overnight = share * returns + jnp.sqrt(share * (1 - share)) * sigma * jax.random.normal(keys["overnight"], shape)
    inside = returns - overnight
    first = jnp.exp(jax.random.uniform(keys["price"], shape[1:], minval=jnp.log(15.0), maxval=jnp.log(300.0)))
    log_close = jnp.log(first) + jnp.cumsum(returns, axis=0)
    log_open = log_close - inside
    tiny = jnp.finfo(returns.dtype).tiny
    uniform = jax.random.uniform(keys["bridge"], (2, *shape), minval=tiny)
    reach = jnp.sqrt(inside**2 - 2 * (1 - share) * sigma**2 * jnp.log(uniform))
    opens, close = jnp.exp(log_open), jnp.exp(log_close)
    high = jnp.maximum(jnp.exp(log_open + (inside + reach[0]) / 2), jnp.maximum(opens, close))
    low = jnp.minimum(jnp.exp(log_open + (inside - reach[1]) / 2), jnp.minimum(opens, close))
    activity = 0.35 * jax.random.normal(keys["volume"], shape) + 0.2 * (jnp.abs(returns) / sigma - 0.8)
    volume = jnp.round(jnp.exp(jnp.log(2e8 / first) + activity))
    return opens, high, low, close, volume
