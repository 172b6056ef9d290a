"""Days of a synthetic market: regimes, variances, and what moves market, sectors and assets overnight and by day.

Write z, y, n for shocks of market, sectors and assets with mean 0 and variance 1, and h, k, g for their variances of
mean 1, each at most 20 and moved by its own shocks as in a GARCH model with an asymmetry. On a day in regime s

    m   = drift[s] + volatility[s]·√h·z + J              z Hansen's skewed t
    rel = volatility[s]²·h / E[volatility²]
    f   = sector_volatility·rel^¼·√k·y                   one for each of 11 sectors, y Student-t
    e   = asset_volatility·rel^¼·√g·n + J'               one for each asset, n Student-t
    r   = β·m + f + e

is an asset's log return. Student-t shocks are normal ones with a drawn variance. That variance is known before the
day begins, so that the way through the day can be a Brownian one, which says nothing of its own end. All random
numbers are drawn before the scan over days; it carries the regime and the variances only.

Source of the numbers: `SyntheticParams`, calibrated on the S&P 500 of 1999 to 2018; benchmarks/SYNTHETIC.md.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ploutos_jax.market.panel import Array
from ploutos_jax.market.sectors import NUM_SECTORS
from ploutos_jax.market.skew_t import draw_variance, location_and_scale, lower_second_moment, stretched
from ploutos_jax.market.synthetic_params import SyntheticParams, stationary_share, transition_matrix

BURN_IN_DAYS = 300
"""Days before the first one, in which variances find their usual spread."""
MAX_VARIANCE = 20.0


class Assets(NamedTuple):
    """What does not change along a path: `beta [A]`, `volatility [A]` of own returns, `sector [A]` column."""

    beta: Array
    volatility: Array
    sector: Array


class Motion(NamedTuple):
    """Brownian moves of a day over night and inside, and what a unit of them is worth; each `[D, ...]`.

    Night and day are standard normal. A day's move is `scale·(√w·night + √(1 − w)·day)`, w the overnight share.
    """

    night: Array
    day: Array
    scale: Array


class Days(NamedTuple):
    """One path of D days.

    Attributes:
        regime: `[D]` int32.
        relative: `[D]` the market's variance over its mean.
        market: `Motion` `[D]`; its sum is stretched by the skew, see `skew_t`.
        market_usual: `[D]` standard deviation of the market's return, the variance of its shock not drawn yet.
        drift, market_jump: `[D]` log returns of the market.
        sectors, own: `Motion` `[D, 11]` and `[D, A]`.
        own_jump: `[D, A]` log returns.
        sectors_usual, own_usual: `[D, 11]` and `[D, A]` as `market_usual`.
    """

    regime: Array
    relative: Array
    market: Motion
    market_usual: Array
    drift: Array
    market_jump: Array
    sectors: Motion
    sectors_usual: Array
    own: Motion
    own_usual: Array
    own_jump: Array


class _Variances(NamedTuple):
    regime: Array
    market: Array
    sectors: Array
    own: Array


def draw_assets(key: jax.Array, params: SyntheticParams, num_assets: int) -> Assets:
    """Draw betas and volatilities of assets dealt out over the sectors in turn."""
    beta_key, volatility_key = jax.random.split(key)
    beta = jnp.clip(1 + params.beta_spread * jax.random.normal(beta_key, (num_assets,)), 0.3, 2.0)
    spread = params.asset_volatility_spread * jax.random.normal(volatility_key, (num_assets,))
    return Assets(
        beta=beta + 1 - beta.mean(),
        volatility=params.asset_volatility * jnp.exp(spread),
        sector=jnp.arange(num_assets) % NUM_SECTORS,
    )


def draw_days(key: jax.Array, params: SyntheticParams, assets: Assets, num_days: int) -> Days:
    """Draw the days of one path; pure, to be mapped over paths."""
    market_key, jump_key, sector_key, own_key, own_jump_key, regime_key, start_key = jax.random.split(key, 7)
    num_rows, num_assets = BURN_IN_DAYS + num_days, assets.beta.shape[0]
    market, sectors, own = (
        _draw_motion(*drawn)
        for drawn in (
            (market_key, params.market_tail, (num_rows,)),
            (sector_key, params.sector_tail, (num_rows, NUM_SECTORS)),
            (own_key, params.asset_tail, (num_rows, num_assets)),
        )
    )
    share = jnp.asarray(params.overnight_share, market.day.dtype)
    shift, scale = location_and_scale(params.market_tail, params.market_skew)
    # At time 1 nothing of the way is left, and `stretched` is the whole of the shock.
    shock = (market.scale * stretched(_whole(market, share), 1.0, params.market_skew) - shift) / scale
    shocks = (shock, *(each.scale * _whole(each, share) for each in (sectors, own)))

    usual = stationary_share(params)
    first = jnp.searchsorted(jnp.cumsum(usual), jax.random.uniform(start_key)).clip(0, 2).astype(jnp.int32)
    before = _scan_variances(params, first, jax.random.uniform(regime_key, (num_rows,)), shocks)
    regime, h, k, g = (x[BURN_IN_DAYS:] for x in before)
    market, sectors, own = jax.tree.map(lambda x: x[BURN_IN_DAYS:], (market, sectors, own))

    volatility = jnp.stack(list(map(jnp.asarray, params.volatility)))
    relative = volatility[regime] ** 2 * h / (usual * volatility**2).sum()
    coupled = (relative**params.coupling)[:, None]
    market_usual = volatility[regime] * jnp.sqrt(h)
    sectors_usual = params.sector_volatility * coupled * jnp.sqrt(k)
    own_usual = assets.volatility * coupled * jnp.sqrt(g)
    return Days(
        regime=regime,
        relative=relative,
        market=market._replace(scale=market_usual * market.scale / scale),
        market_usual=market_usual,
        drift=jnp.stack(list(map(jnp.asarray, params.drift)))[regime],
        market_jump=_draw_jumps(
            jump_key,
            jnp.stack(list(map(jnp.asarray, params.jump_rate)))[regime],
            params.jump_mean,
            params.jump_volatility,
        ),
        sectors=sectors._replace(scale=sectors_usual * sectors.scale),
        sectors_usual=sectors_usual,
        own=own._replace(scale=own_usual * own.scale),
        own_usual=own_usual,
        own_jump=_draw_jumps(
            own_jump_key, jnp.full(own_usual.shape, params.asset_jump_rate), 0.0, params.asset_jump_volatility
        ),
    )


def _draw_motion(key: jax.Array, tail: Array | float, shape: tuple[int, ...]) -> Motion:
    variance_key, night_key, day_key = jax.random.split(key, 3)
    variance = draw_variance(variance_key, tail, shape)
    return Motion(jax.random.normal(night_key, shape), jax.random.normal(day_key, shape), jnp.sqrt(variance))


def _whole(motion: Motion, overnight_share: Array) -> Array:
    return jnp.sqrt(overnight_share) * motion.night + jnp.sqrt(1 - overnight_share) * motion.day


def _draw_jumps(key: jax.Array, rate: Array, mean: Array | float, volatility: Array | float) -> Array:
    when_key, size_key = jax.random.split(key)
    size = mean + volatility * jax.random.normal(size_key, rate.shape)
    return jnp.where(jax.random.uniform(when_key, rate.shape) < rate, size, 0)


def _scan_variances(
    params: SyntheticParams, first: Array, uniform: Array, shocks: tuple[Array, Array, Array]
) -> _Variances:
    """Return regime and variances of each day, known before the day begins; `[D]`, `[D]`, `[D, 11]`, `[D, A]`."""
    limits = jnp.cumsum(transition_matrix(params), axis=1)
    lower = lower_second_moment(params.market_tail, params.market_skew)
    idle = (
        1 - params.market_persistence - params.market_asymmetry * lower,
        1 - params.sector_persistence - params.sector_reaction,
        1 - params.asset_persistence - params.asset_reaction - params.asset_asymmetry / 2,
    )

    def step(carry: _Variances, drawn: tuple[Array, ...]) -> tuple[_Variances, _Variances]:
        uniform, z, y, n = drawn
        regime = (uniform > limits[carry.regime]).sum().clip(0, 2).astype(jnp.int32)
        now = carry._replace(regime=regime)
        of_market = params.market_persistence + params.market_asymmetry * (z < 0) * z**2
        of_sectors = params.sector_persistence + params.sector_reaction * y**2
        of_own = params.asset_persistence + (params.asset_reaction + params.asset_asymmetry * (n < 0)) * n**2
        after = (
            idle[0] + now.market * of_market,
            idle[1] + now.sectors * of_sectors,
            idle[2] + now.own * of_own,
        )
        return _Variances(regime, *(jnp.minimum(x, MAX_VARIANCE) for x in after)), now

    ones = (jnp.ones_like(x[0]) for x in shocks)
    _, before = jax.lax.scan(step, _Variances(first, *ones), (uniform, *shocks))
    return before
