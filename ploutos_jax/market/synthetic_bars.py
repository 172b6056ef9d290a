"""Bars of a synthetic market: a path through each day, then its open, high, low, close, volume and spread.

A day is a gap overnight, with all jumps in it, and a path from open to close through points between which it is a
Brownian bridge: two halves for daily bars, 390 minutes for intraday ones. Bars are always put together from these
pieces, never taken apart: five minutes are five one-minute pieces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.market.bridge import bridge_reach
from ploutos_jax.market.panel import Array
from ploutos_jax.market.skew_t import location_and_scale, steepness, stretched
from ploutos_jax.market.synthetic_model import Assets, Days
from ploutos_jax.market.synthetic_params import SyntheticParams

SESSION_MINUTES = 390
_LEAST_LOG_PRICE, _MOST_LOG_PRICE = np.log(15.0), np.log(300.0)
_REACH = 16.0
"""Of a log price around its start. No path of a few centuries gets there; one of a million days stays finite."""
_MEAN_SHOCK = 0.77
_MINUTE_VOLUME_NOISE = 0.35


class Bars(NamedTuple):
    """Bars of one path, `[T, A]` each; `spread_scale` as in `Panel`."""

    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array
    spread_scale: Array


class _Levels(NamedTuple):
    """Log prices of one day's bars against the close before, and the day's share of volume in each, `[B, A]`."""

    open: Array
    high: Array
    low: Array
    close: Array
    volume_share: Array


def bars_in_day(bar_minutes: int | None) -> int:
    """Return bars in a session; the last one is short where minutes do not divide it."""
    return 1 if bar_minutes is None else -(-SESSION_MINUTES // bar_minutes)


def intraday_variance() -> np.ndarray:
    """Return `[390]` share of the day's variance in each minute: high after the open and before the close."""
    tau = (np.arange(SESSION_MINUTES) + 0.5) / SESSION_MINUTES
    rate = 0.55 + 1.9 * np.exp(-tau / 0.04) + 0.35 * np.exp(-tau / 0.25) + 0.45 * np.exp(-(1 - tau) / 0.04)
    return rate / rate.sum()


def intraday_volume() -> np.ndarray:
    """Return `[390]` share of the day's volume in each minute: the first and last half hours have 15 % each."""
    tau = (np.arange(SESSION_MINUTES) + 0.5) / SESSION_MINUTES
    rate = 0.55 + 1.5 * np.exp(-tau / 0.04) + 0.5 * np.exp(-tau / 0.2) + 2.2 * np.exp(-(1 - tau) / 0.045)
    return rate / rate.sum()


def draw_path_bars(
    key: jax.Array, params: SyntheticParams, assets: Assets, days: Days, bar_minutes: int | None
) -> Bars:
    """Draw the bars of one path; `[D·B, A]` for B bars a day.

    Args:
        key: consumed.
        params: numbers of the generator.
        assets, days: see `synthetic_model`.
        bar_minutes: length of a bar, or None for a day.
    """
    price_key, day_key, volume_key, level_key, spread_key = jax.random.split(key, 5)
    shape = assets.beta.shape
    first = jnp.exp(jax.random.uniform(price_key, shape, minval=_LEAST_LOG_PRICE, maxval=_MOST_LOG_PRICE))
    gap, returns = _gap_and_return(params, assets, days)
    num_days = returns.shape[0]
    day_keys = jax.vmap(lambda day: jax.random.fold_in(day_key, day))(jnp.arange(num_days))

    def one_day(drawn: tuple[jax.Array, Days, Array]) -> _Levels:
        return _draw_day(drawn[0], params, assets, drawn[1], drawn[2], bar_minutes)

    in_day = (day_keys, days, gap)
    # A session of minutes is an array of its own size for each day; one at a time, only the bars are kept.
    levels = jax.vmap(one_day)(in_day) if bar_minutes is None else jax.lax.map(one_day, in_day)
    before = jnp.cumsum(returns, axis=0) - returns
    prices = [first * jnp.exp(jnp.clip(before[:, None] + level, -_REACH, _REACH)) for level in levels[:4]]
    opens, high, low, close = (price.reshape(-1, *shape) for price in prices)

    activity = _draw_activity(volume_key, params, assets, days, returns)
    usual_shares = params.cash_volume * jnp.exp(params.cash_volume_spread * jax.random.normal(level_key, shape)) / first
    of_day = usual_shares * jnp.exp(activity)
    volume = (of_day[:, None] * levels.volume_share).reshape(-1, *shape)
    level = jnp.exp(params.spread_spread * jax.random.normal(spread_key, shape) - jnp.square(params.spread_spread) / 2)
    moves, trades = _relative_curves(bar_minutes)
    depth = jnp.exp(activity)[:, None] * levels.volume_share / jnp.asarray(trades, activity.dtype)[:, None]
    unrest = days.relative[:, None, None] * jnp.asarray(moves, activity.dtype)[:, None]
    spread = level * unrest**params.spread_reaction * depth**-params.spread_depth
    return Bars(
        opens,
        jnp.maximum(high, jnp.maximum(opens, close)),
        jnp.minimum(low, jnp.minimum(opens, close)),
        close,
        jnp.maximum(jnp.round(volume), 1),
        spread.reshape(-1, *shape),
    )


def _gap_and_return(params: SyntheticParams, assets: Assets, days: Days) -> tuple[Array, Array]:
    """Return log returns overnight and of the whole day, `[D, A]`."""
    share = jnp.asarray(params.overnight_share, days.relative.dtype)
    shift = _market_shift(params, days)
    ends = []
    for motion, time in ((jnp.sqrt(share) * days.market.night, share), (_total(days.market, share), 1.0)):
        ends.append(days.market.scale * stretched(motion, time, params.market_skew) - shift)
    # What chance moves is the same in the mean whatever the market did before; drift and jumps come on top.
    jump = days.market_jump[:, None] * assets.beta + days.own_jump
    common = [(end + part * days.drift)[:, None] * assets.beta for end, part in zip(ends, (share, 1.0), strict=True)]
    sectors = [days.sectors.scale * x for x in (jnp.sqrt(share) * days.sectors.night, _total(days.sectors, share))]
    own = [days.own.scale * x for x in (jnp.sqrt(share) * days.own.night, _total(days.own, share))]
    variance = _variance(assets, days)
    taken = params.fairness * (_mean_of_jumps(params, assets, days))
    gap, whole = (
        common[i] + sectors[i][:, assets.sector] + own[i] + jump - taken - params.fairness * part * variance / 2
        for i, part in enumerate((share, 1.0))
    )
    return gap, whole


def _draw_day(
    key: jax.Array, params: SyntheticParams, assets: Assets, day: Days, gap: Array, bar_minutes: int | None
) -> _Levels:
    """Return the bars of one day from its overnight gap `[A]` and the moves inside it."""
    move_key, reach_key, volume_key = jax.random.split(key, 3)
    share = jnp.asarray(params.overnight_share, gap.dtype)
    steps = jnp.full(2, 0.5, gap.dtype) if bar_minutes is None else jnp.asarray(intraday_variance(), gap.dtype)
    clock = jnp.cumsum(steps)[:, None].at[-1].set(1.0)
    keys = jax.random.split(move_key, 3)
    market, sectors, own = (
        _bridge(key, jnp.atleast_1d(motion.day), steps, clock)
        for key, motion in zip(keys, (day.market, day.sectors, day.own), strict=True)
    )
    time = share + (1 - share) * clock
    motion = jnp.sqrt(share) * day.market.night + jnp.sqrt(1 - share) * market
    start = jnp.sqrt(share) * day.market.night[None, None]
    way = stretched(jnp.concatenate([start, motion]), jnp.concatenate([share[None, None], time]), params.market_skew)
    common = day.market.scale * (way[1:] - way[0]) + (1 - share) * clock * day.drift
    rest = day.sectors.scale * sectors
    variance = _variance(assets, day)
    levels = (
        assets.beta * common
        + jnp.sqrt(1 - share) * (rest[:, assets.sector] + day.own.scale * own)
        - params.fairness * (1 - share) * clock * variance / 2
    )
    levels = jnp.concatenate([jnp.zeros_like(levels[:1]), levels])
    slope = steepness(jnp.concatenate([start, motion]), jnp.concatenate([share[None, None], time]), params.market_skew)
    slope = (slope[1:] + slope[:-1]) / 2
    pieces = (1 - share) * steps[:, None] * _variance(assets, day, slope)
    above, below = bridge_reach(reach_key, levels[1:] - levels[:-1], pieces)
    highest, lowest = levels[:-1] + above, levels[:-1] + below

    size = steps.shape[0] if bar_minutes is None else bar_minutes
    count = bars_in_day(bar_minutes)
    last = np.minimum(np.arange(1, count + 1) * size, steps.shape[0])
    return _Levels(
        open=gap + levels[:-1][::size],
        high=gap + _grouped(highest, size, count, -jnp.inf).max(axis=1),
        low=gap + _grouped(lowest, size, count, jnp.inf).min(axis=1),
        close=gap + levels[last],
        volume_share=_volume_share(volume_key, gap, size, count, bar_minutes),
    )


def _volume_share(key: jax.Array, like: Array, size: int, count: int, bar_minutes: int | None) -> Array:
    if bar_minutes is None:
        return jnp.ones((1, *like.shape), like.dtype)
    noise = jax.random.normal(key, (SESSION_MINUTES, *like.shape))
    shares = jnp.asarray(intraday_volume(), like.dtype)[:, None] * jnp.exp(_MINUTE_VOLUME_NOISE * noise)
    return _grouped(shares / shares.sum(axis=0), size, count, 0.0).sum(axis=1)


def _grouped(pieces: Array, size: int, count: int, fill: float) -> Array:
    """Return the pieces of a day `[K, A]` as `[count, size, A]`."""
    padding = ((0, count * size - pieces.shape[0]), (0, 0))
    return jnp.pad(pieces, padding, constant_values=fill).reshape(count, size, -1)


def _relative_curves(bar_minutes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `[B]` rate of variance over its mean, and share of the day's volume, by bar of the day."""
    if bar_minutes is None:
        return np.ones(1), np.ones(1)
    count = bars_in_day(bar_minutes)
    starts = np.arange(count) * bar_minutes
    minutes = np.diff(np.append(starts, SESSION_MINUTES))
    variance, volume = (np.add.reduceat(curve, starts) for curve in (intraday_variance(), intraday_volume()))
    return variance / minutes * SESSION_MINUTES, volume


def _bridge(key: jax.Array, end: Array, steps: Array, clock: Array) -> Array:
    """Return `[K, N]` a Brownian motion at the times of `clock` that ends at `end`."""
    noise = jnp.sqrt(steps)[:, None] * jax.random.normal(key, (*steps.shape, *end.shape))
    free = jnp.cumsum(noise, axis=0)
    return (free + clock * (end - free[-1])).at[-1].set(end)


def _draw_activity(key: jax.Array, params: SyntheticParams, assets: Assets, days: Days, returns: Array) -> Array:
    """Return log volume against its level, `[D, A]`: it decays, and rises with the size of the day's return."""
    usual = (
        (assets.beta * days.market_usual[:, None]) ** 2 + days.sectors_usual[:, assets.sector] ** 2 + days.own_usual**2
    )
    shock = jnp.abs(returns) / jnp.sqrt(usual)
    first_key, noise_key = jax.random.split(key)
    noise = params.volume_noise * jax.random.normal(noise_key, returns.shape)
    news = params.volume_reaction * (shock - _MEAN_SHOCK) + noise
    spread = jnp.sqrt((params.volume_noise**2 + 0.4 * params.volume_reaction**2) / (1 - params.volume_persistence**2))

    def step(activity: Array, news: Array) -> tuple[Array, Array]:
        activity = params.volume_persistence * activity + news
        return activity, activity

    _, activity = jax.lax.scan(step, spread * jax.random.normal(first_key, assets.beta.shape), news)
    return activity


def _variance(assets: Assets, days: Days, slope: Array | float = 1.0) -> Array:
    """Return the variance of each asset's log return, jumps apart, with what was drawn of it; `[..., A]`."""
    of_market = (days.market.scale[..., None] * slope) ** 2 * assets.beta**2
    return of_market + (days.sectors.scale**2)[..., assets.sector] + days.own.scale**2


def _mean_of_jumps(params: SyntheticParams, assets: Assets, days: Days) -> Array:
    """Return `[D, A]` what jumps add to the mean of simple returns."""
    rate = jnp.stack(list(map(jnp.asarray, params.jump_rate)))[days.regime][:, None]
    grown = jnp.expm1(assets.beta * params.jump_mean + (assets.beta * params.jump_volatility) ** 2 / 2)
    return rate * grown + params.asset_jump_rate * jnp.expm1(jnp.square(params.asset_jump_volatility) / 2)


def _market_shift(params: SyntheticParams, days: Days) -> Array:
    """Return `[D]` what the mean of the market's shock is moved by to be 0."""
    shift, scale = location_and_scale(params.market_tail, params.market_skew)
    return days.market_usual * shift / scale


def _total(motion: object, share: Array) -> Array:
    return jnp.sqrt(share) * motion.night + jnp.sqrt(1 - share) * motion.day  # type: ignore[attr-defined]
