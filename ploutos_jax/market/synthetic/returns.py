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

Market, sectors and assets are the columns of one array `[D, columns]`, in this order, `1 + 11 + A` of them.

Source of the numbers: `SyntheticParams`, calibrated on the S&P 500 of 1999 to 2018; benchmarks/SYNTHETIC.md.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ploutos_jax.market.sectors import NUM_SECTORS
from ploutos_jax.market.synthetic.params import (
    SyntheticParams,
    jitter_params,
    scale_volatility,
    stationary_share,
    transition_matrix,
)
from ploutos_jax.market.synthetic.skewed_t import draw_variance, location_and_scale, lower_second_moment, stretch

FIRST_ASSET = 1 + NUM_SECTORS
"""Column of the first asset; the market's is 0."""
BURN_IN_DAYS = 300
"""Days before the first one, in which variances find their usual spread."""
MAX_VARIANCE = 20.0
_VOLATILITY_STREAM = 0x564F4C
"""Folded into the key of a path; far from the small numbers that its other keys are counted with."""
_LEAST_LOG_PRICE, _MOST_LOG_PRICE = 2.7, 5.7  # $15 to $300


class Assets(NamedTuple):
    """What does not change along a path, `[A]` each.

    Attributes:
        beta: exposure to the market.
        volatility: usual standard deviation of the own return.
        sector: column 0 to 10.
        price: dollars before the first bar.
        volume: usual shares traded a day.
        spread: half spread against that of others, mean 1.
    """

    beta: Float[Array, " A"]
    volatility: Float[Array, " A"]
    sector: Int[Array, " A"]
    price: Float[Array, " A"]
    volume: Float[Array, " A"]
    spread: Float[Array, " A"]


class Days(NamedTuple):
    """One path of D days; what was drawn for a day is known before it begins.

    A column moves by `scale·(√w·night + √(1 − w)·day)`, w the overnight share; the market's sum is stretched by the
    skew, see `skew_t`, less `shift`.

    Attributes:
        regime: `[D]` int32.
        relative: `[D]` the market's variance over its mean.
        night, day: `[D, columns]` standard normal.
        scale: `[D, columns]` standard deviation of a move, the variance of its shock drawn.
        usual: `[D, columns]` the same over all shocks.
        shift: `[D]` mean of the market's stretched shock.
        drift, jump: `[D]` log returns of the market.
        own_jump: `[D, A]` log returns.
    """

    regime: Int[Array, " D"]
    relative: Float[Array, " D"]
    night: Float[Array, "D columns"]
    day: Float[Array, "D columns"]
    scale: Float[Array, "D columns"]
    usual: Float[Array, "D columns"]
    shift: Float[Array, " D"]
    drift: Float[Array, " D"]
    jump: Float[Array, " D"]
    own_jump: Float[Array, "D A"]


def draw_assets(key: PRNGKeyArray, params: SyntheticParams, num_assets: int) -> Assets:
    """Draw what does not change, for assets dealt out over the sectors in turn."""
    normal_key, price_key = jax.random.split(key)
    normal = jax.random.normal(normal_key, (4, num_assets))
    beta = jnp.clip(1 + params.beta_spread * normal[0], 0.3, 2.0)
    price = jax.random.uniform(price_key, (num_assets,), minval=_LEAST_LOG_PRICE, maxval=_MOST_LOG_PRICE)
    spread = params.spread_spread * normal[3] - jnp.square(params.spread_spread) / 2
    return Assets(
        beta=beta + 1 - beta.mean(),
        volatility=params.asset_volatility * jnp.exp(params.asset_volatility_spread * normal[1]),
        sector=jnp.arange(num_assets) % NUM_SECTORS,
        price=jnp.exp(price),
        volume=params.cash_volume * jnp.exp(params.cash_volume_spread * normal[2] - price),
        spread=jnp.exp(spread),
    )


def draw_numbers(
    key: PRNGKeyArray, params: SyntheticParams, jitter: Float[Array, ""] | float, num_assets: int
) -> tuple[SyntheticParams, Assets, Array, Array]:
    """Return the numbers of one path, its assets, and the keys of its days and of its bars.

    Args:
        key: of the path, consumed.
        params, jitter, num_assets: see `synthetic_panel`.
    """
    jitter_key, asset_key, day_key, bar_key = jax.random.split(key, 4)
    own = jitter_params(jitter_key, params, jitter)
    if (spread := params.volatility_jitter) is not None:
        own = scale_volatility(own, 1 + spread * jax.random.uniform(_volatility_key(key), minval=-1.0, maxval=1.0))
    return own, draw_assets(asset_key, own, num_assets), day_key, bar_key


def _volatility_key(key: PRNGKeyArray) -> PRNGKeyArray:
    return jax.random.fold_in(key, _VOLATILITY_STREAM)


def usual_volatility(params: SyntheticParams, assets: Assets) -> Float[Array, " A"]:
    """Return `[A]` the usual standard deviation of a day's log return, a constant of each asset on its path.

    All variances at their long-run means, and those of sectors and assets as if the market's were: what `coupling`
    takes off them is left out.
    """
    rate, volatility = _stack(params.jump_rate), _stack(params.volatility)
    jump = jnp.square(params.jump_mean) + jnp.square(params.jump_volatility)
    of_market = (stationary_share(params) * (volatility**2 + rate * jump)).sum()
    own_jump = params.asset_jump_rate * jnp.square(params.asset_jump_volatility)
    variance = assets.beta**2 * of_market + jnp.square(params.sector_volatility) + assets.volatility**2 + own_jump
    return jnp.sqrt(variance)


def draw_days(key: PRNGKeyArray, params: SyntheticParams, assets: Assets, num_days: int) -> Days:
    """Draw the days of one path; pure, to be mapped over paths."""
    variance_key, normal_key, regime_key, when_key, size_key = jax.random.split(key, 5)
    num_assets = assets.beta.shape[0]
    shape = (BURN_IN_DAYS + num_days, FIRST_ASSET + num_assets)
    tail = by_column(params.market_tail, params.sector_tail, params.asset_tail, num_assets)
    deviation = jnp.sqrt(draw_variance(variance_key, tail, shape))
    night, day = jax.random.normal(normal_key, (2, *shape))
    whole = whole_day(params, night, day)
    shift, scale = location_and_scale(params.market_tail, params.market_skew)
    market = (deviation[:, 0] * stretch(whole[:, 0], params.market_skew) - shift) / scale
    shocks = (deviation * whole).at[:, 0].set(market)

    usual_share = stationary_share(params)
    regime, variance = _scan_variances(params, usual_share, jax.random.uniform(regime_key, shape[:1]), shocks)
    deviation, night, day, regime, variance = (x[BURN_IN_DAYS:] for x in (deviation, night, day, regime, variance))
    volatility = _stack(params.volatility)
    of_market = volatility[regime] * jnp.sqrt(variance[:, 0])
    relative = of_market**2 / (usual_share * volatility**2).sum()
    level = jnp.concatenate([jnp.full(NUM_SECTORS, params.sector_volatility), assets.volatility])
    of_others = (relative**params.coupling)[:, None] * level * jnp.sqrt(variance[:, 1:])
    usual = jnp.concatenate([of_market[:, None], of_others], axis=1)

    rate = jnp.concatenate(
        [_stack(params.jump_rate)[regime][:, None], jnp.full((num_days, num_assets), params.asset_jump_rate)], axis=1
    )
    mean = jnp.zeros(rate.shape[1]).at[0].set(params.jump_mean)
    spread = jnp.full(rate.shape[1], params.asset_jump_volatility).at[0].set(params.jump_volatility)
    size = mean + spread * jax.random.normal(size_key, rate.shape)
    jumps = jnp.where(jax.random.uniform(when_key, rate.shape) < rate, size, 0)
    return Days(
        regime=regime,
        relative=relative,
        night=night,
        day=day,
        scale=(usual * deviation).at[:, 0].divide(scale),
        usual=usual,
        shift=of_market * shift / scale,
        drift=_stack(params.drift)[regime],
        jump=jumps[:, 0],
        own_jump=jumps[:, 1:],
    )


def whole_day(params: SyntheticParams, night: Float[Array, " ..."], day: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """Return the standard normal move of night and day together."""
    share = jnp.asarray(params.overnight_share, night.dtype)
    return jnp.sqrt(share) * night + jnp.sqrt(1 - share) * day


def market_returns(params: SyntheticParams, days: Days) -> Float[Array, " D"]:
    """Return `[D]` log returns of the market factor."""
    shock = stretch(whole_day(params, days.night[:, 0], days.day[:, 0]), params.market_skew)
    return days.drift + days.scale[:, 0] * shock - days.shift + days.jump


def by_column(
    market: Float[Array, ""] | float,
    sectors: Float[Array, ""] | float,
    assets: Float[Array, ""] | float,
    num_assets: int,
) -> Float[Array, " columns"]:
    """Return `[columns]` a number of the market, of all sectors and of all assets, by column."""
    numbers = (market, sectors, assets)
    sizes = (1, NUM_SECTORS, num_assets)
    return jnp.concatenate([jnp.full(size, number, float) for size, number in zip(sizes, numbers, strict=True)])


def mean_of_jumps(params: SyntheticParams, assets: Assets, days: Days) -> Float[Array, "D A"]:
    """Return `[D, A]` what jumps add to the mean of simple returns."""
    rate = _stack(params.jump_rate)[days.regime][:, None]
    grown = jnp.expm1(assets.beta * params.jump_mean + (assets.beta * params.jump_volatility) ** 2 / 2)
    return rate * grown + params.asset_jump_rate * jnp.expm1(jnp.square(params.asset_jump_volatility) / 2)


def _scan_variances(params: SyntheticParams, usual_share: Array, uniform: Array, shocks: Array) -> tuple[Array, Array]:
    """Return regime `[D]` and variances of mean 1 `[D, columns]` of each day, known before it begins."""
    num_assets = shocks.shape[1] - FIRST_ASSET
    limits = jnp.cumsum(transition_matrix(params), axis=1)
    lower = lower_second_moment(params.market_tail, params.market_skew)
    persistence = by_column(params.market_persistence, params.sector_persistence, params.asset_persistence, num_assets)
    reaction = by_column(0.0, params.sector_reaction, params.asset_reaction, num_assets)
    asymmetry = by_column(params.market_asymmetry, 0.0, params.asset_asymmetry, num_assets)
    idle = 1 - persistence - reaction - asymmetry * by_column(lower, 0.5, 0.5, num_assets)

    def step(carry: tuple[Array, Array], drawn: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (regime, variance), (uniform, shock) = carry, drawn
        regime = _place(uniform, limits[regime])
        news = (reaction + asymmetry * (shock < 0)) * shock**2
        after = jnp.minimum(idle + variance * (persistence + news), MAX_VARIANCE)
        return (regime, after), (regime, variance)

    first = _place(uniform[0], jnp.cumsum(usual_share))
    return jax.lax.scan(step, (first, jnp.ones_like(shocks[0])), (uniform, shocks))[1]


def _place(uniform: Array, limits: Array) -> Array:
    return (uniform > limits).sum().clip(0, 2).astype(jnp.int32)


def _stack(numbers: tuple[Array | float, ...]) -> Array:
    return jnp.stack([jnp.asarray(number, float) for number in numbers])
