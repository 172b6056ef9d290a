"""Numbers of the synthetic market, and how they are shaken from path to path."""

import typing

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, PRNGKeyArray

YEAR_DAYS = 252

Number = float | Float[Array, ""]
Three = tuple[Number, Number, Number]


@typing.no_type_check
class SyntheticParams(struct.PyTreeNode):
    """Numbers of the generator, per trading day; every one is a leaf, so that each path may have its own.

    Regimes are calm, bear and crisis. A reaction is the weight of yesterday's squared shock in a variance of mean 1,
    an asymmetry what is added to it after a negative shock, a persistence the weight of yesterday's variance.

    Attributes:
        transition: chances of going over to the other two regimes at the next day: from calm to bear and crisis, from
            bear to calm and crisis, from crisis to calm and bear.
        drift: mean log return of the market by regime.
        volatility: standard deviation of its log return by regime.
        jump_rate: its jumps a day by regime.
        jump_mean, jump_volatility: of a jump of the market.
        market_tail, market_skew: degrees of freedom (above 4) and skew (in −1 to 1) of its shocks.
        market_asymmetry, market_persistence: of its variance.
        sector_volatility, sector_tail, sector_reaction, sector_persistence: of a sector's factor.
        asset_volatility, asset_volatility_spread: median over assets of the volatility of an asset's own return, and
            spread of its logarithm.
        asset_tail, asset_reaction, asset_asymmetry, asset_persistence: of an asset's own return.
        asset_jump_rate, asset_jump_volatility: of its own jumps, which have mean 0.
        beta_spread: standard deviation of betas, which have mean 1 and, before they are centred, lie in 0.3 to 2.
        coupling: power of the market's relative variance by which the volatilities of sectors and assets move.
        overnight_share: share of a day's variance, and of the market's drift, between close and open; jumps come
            between close and open, too.
        fairness: 0 for the log returns as calibrated. 1 takes off what their variance and jumps add to the mean of
            simple returns, so that with `drift` 0 every price is a martingale and no rule earns anything.
        cash_volume, cash_volume_spread: median over assets of dollars traded a day, and spread of its logarithm.
        volume_persistence, volume_reaction, volume_noise: of log volume around its level: weight of the day before,
            of the absolute shock of the day's return, and of chance.
        spread_reaction, spread_depth: powers of the market's relative variance and of relative volume (its inverse)
            by which spreads move.
        spread_spread: spread over assets of the logarithm of their spread.
        volatility_jitter: all volatilities of a path are multiplied by one number drawn for it from 1 − jitter to
            1 + jitter, see `scale_volatility`; below 1. None for none of it, which is another program than 0.
    """

    transition: tuple[tuple[Number, Number], ...] = ((0.0042, 0.0003), (0.0075, 0.0040), (0.0020, 0.0180))
    drift: Three = (0.0006, 0.0001, -0.0010)
    volatility: Three = (0.0070, 0.0122, 0.0240)
    jump_rate: Three = (1 / YEAR_DAYS, 3 / YEAR_DAYS, 8 / YEAR_DAYS)
    jump_mean: Number = -0.005
    jump_volatility: Number = 0.012
    market_tail: Number = 9.0
    market_skew: Number = -0.10
    market_asymmetry: Number = 0.15
    market_persistence: Number = 0.895
    sector_volatility: Number = 0.006
    sector_tail: Number = 6.0
    sector_reaction: Number = 0.05
    sector_persistence: Number = 0.92
    asset_volatility: Number = 0.012
    asset_volatility_spread: Number = 0.30
    asset_tail: Number = 4.5
    asset_reaction: Number = 0.04
    asset_asymmetry: Number = 0.03
    asset_persistence: Number = 0.92
    asset_jump_rate: Number = 6 / YEAR_DAYS
    asset_jump_volatility: Number = 0.045
    beta_spread: Number = 0.30
    coupling: Number = 0.25
    overnight_share: Number = 0.25
    fairness: Number = 0.0
    cash_volume: Number = 2e8
    cash_volume_spread: Number = 0.9
    volume_persistence: Number = 0.56
    volume_reaction: Number = 0.20
    volume_noise: Number = 0.34
    spread_reaction: Number = 0.35
    spread_depth: Number = 0.30
    spread_spread: Number = 0.30
    volatility_jitter: Number | None = None


def jitter_params(key: PRNGKeyArray, params: SyntheticParams, share: Float[Array, ""] | float) -> SyntheticParams:
    """Return the numbers with volatilities, jump rates and durations of regimes each redrawn around their values.

    Args:
        key: consumed.
        params: what is jittered: `volatility` and `jump_rate` by regime, `asset_volatility`, and the mean duration of
            each regime (through `transition`).
        share: each is multiplied by a uniform number between `1 − share` and `1 + share`; below 1.
    """
    factor = 1 + share * jax.random.uniform(key, (10,), minval=-1.0, maxval=1.0)
    return params.replace(
        volatility=_times(params.volatility, factor[:3]),
        jump_rate=_times(params.jump_rate, factor[3:6]),
        transition=tuple(_times(row, [1 / factor[6 + i]] * 2) for i, row in enumerate(params.transition)),
        asset_volatility=params.asset_volatility * factor[9],
    )


def scale_volatility(params: SyntheticParams, factor: Float[Array, ""]) -> SyntheticParams:
    """Return the numbers with every volatility multiplied by one number, jumps and factors included.

    With `fairness` 0 a log return on a day in a regime becomes `mean + factor · (return - mean)`, with mean that of the
    regime: what smaller or larger jumps would add to it, the drift takes off.
    """
    less = params.jump_mean * (1 - factor)
    drift = [mean + rate * less for mean, rate in zip(params.drift, params.jump_rate, strict=True)]
    return params.replace(
        drift=tuple(drift),
        volatility=_times(params.volatility, [factor] * 3),
        jump_mean=params.jump_mean * factor,
        jump_volatility=params.jump_volatility * factor,
        sector_volatility=params.sector_volatility * factor,
        asset_volatility=params.asset_volatility * factor,
        asset_jump_volatility=params.asset_jump_volatility * factor,
    )


def transition_matrix(params: SyntheticParams) -> Float[Array, "3 3"]:
    """Return `[3, 3]` chances from regime (row) to regime (column)."""
    (ab, ac), (ba, bc), (ca, cb) = params.transition
    rows = ((1 - ab - ac, ab, ac), (ba, 1 - ba - bc, bc), (ca, cb, 1 - ca - cb))
    return jnp.stack([jnp.stack([jnp.asarray(x, float) for x in row]) for row in rows])


def stationary_share(params: SyntheticParams) -> Float[Array, " 3"]:
    """Return `[3]` share of days in each regime in the long run."""
    matrix = transition_matrix(params)
    for _ in range(16):
        matrix = matrix @ matrix
        # Of a matrix squared again and again in float32, rows would drift away from a sum of 1.
        matrix = matrix / matrix.sum(axis=1, keepdims=True)
    return matrix[0]


def _times(values: tuple[float | Array, ...], factors: Array | list[Array]) -> tuple[float | Array, ...]:
    return tuple(value * factors[i] for i, value in enumerate(values))
