"""Bars of a synthetic market: a path through each day, then its open, high, low, close, volume and spread.

A day is a gap overnight, with all jumps in it, and a path from open to close through points between which it is a
Brownian bridge: two halves for daily bars, 390 minutes for intraday ones. Bars are always put together from these
pieces, never taken apart: a bar of five minutes is made of five one-minute pieces.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ploutos_jax.market.synthetic.brownian_bridge import bridge_reach
from ploutos_jax.market.synthetic.params import SyntheticParams
from ploutos_jax.market.synthetic.returns import FIRST_ASSET, Assets, Days, mean_of_jumps, whole_day
from ploutos_jax.market.synthetic.skewed_t import steepness, stretched

SESSION_MINUTES = 390
_REACH = 16.0
"""Of a log price around its start. No path of a few centuries gets there; one of a million days stays finite."""
_MEAN_SHOCK, _SHOCK_VARIANCE = 0.77, 0.4
_MINUTE_VOLUME_NOISE = 0.35


class Bars(NamedTuple):
    """Bars of one path, `[T, A]` each; `spread_scale` as in `Panel`."""

    open: Float[Array, "*P T A"]
    high: Float[Array, "*P T A"]
    low: Float[Array, "*P T A"]
    close: Float[Array, "*P T A"]
    volume: Float[Array, "*P T A"]
    spread_scale: Float[Array, "*P T A"]


class _Levels(NamedTuple):
    """Bars of a day in log prices against the close before, and each one's share of the day's volume, `[B, A]`."""

    open: Float[Array, "B A"]
    high: Float[Array, "B A"]
    low: Float[Array, "B A"]
    close: Float[Array, "B A"]
    volume_share: Float[Array, "B A"]


class _Way(NamedTuple):
    """The market's way through days of some pieces.

    Attributes:
        level: `[D, pieces + 1]` log return since the close before at the open and after each piece, jumps apart.
        slope: `[D, pieces]` how far it moves in a piece against a Brownian motion.
    """

    level: Float[Array, "D points"]
    slope: Float[Array, "D pieces"]


def bars_in_day(bar_minutes: int | None) -> int:
    """Return bars in a session; the last one is short where minutes do not divide it."""
    return 1 if bar_minutes is None else -(-SESSION_MINUTES // bar_minutes)


def intraday_variance() -> Float[np.ndarray, " 390"]:
    """Return `[390]` share of the day's variance in each minute: high after the open and before the close."""
    tau = (np.arange(SESSION_MINUTES) + 0.5) / SESSION_MINUTES
    rate = 0.55 + 1.9 * np.exp(-tau / 0.04) + 0.35 * np.exp(-tau / 0.25) + 0.45 * np.exp(-(1 - tau) / 0.04)
    return rate / rate.sum()


def intraday_volume() -> Float[np.ndarray, " 390"]:
    """Return `[390]` share of the day's volume in each minute: the first and last half hours have 15 % each."""
    tau = (np.arange(SESSION_MINUTES) + 0.5) / SESSION_MINUTES
    rate = 0.55 + 1.5 * np.exp(-tau / 0.04) + 0.5 * np.exp(-tau / 0.2) + 2.2 * np.exp(-(1 - tau) / 0.045)
    return rate / rate.sum()


def draw_path_bars(
    key: PRNGKeyArray,
    params: SyntheticParams,
    assets: Assets,
    days: Days,
    bar_minutes: int | None,
    told: Float[Array, "D A"] | None = None,
) -> Bars:
    """Draw the bars of one path; `[D·B, A]` for B bars a day.

    Args:
        key: consumed.
        params: numbers of the generator.
        assets, days: see `synthetic_model`.
        bar_minutes: length of a bar, or None for a day.
        told: log return of each day, evenly from open to close, that was known before it; None for none.
    """
    market_key, day_key, volume_key = jax.random.split(key, 3)
    steps = np.full(2, 0.5) if bar_minutes is None else intraday_variance()
    way = _market_way(market_key, params, days, jnp.asarray(steps, days.scale.dtype))
    keys = jax.vmap(lambda day: jax.random.fold_in(day_key, day))(jnp.arange(days.scale.shape[0]))

    def draw_day(drawn: tuple[jax.Array, Days, _Way, Array | None]) -> _Levels:
        key, day, way, told = drawn
        return _draw_day(key, params, assets, day, way, jnp.asarray(steps, days.scale.dtype), bar_minutes, told)

    in_day = (keys, days, way, told)
    # A session of minutes is an array of its own size for each day; one at a time, only the bars are kept.
    levels = jax.vmap(draw_day)(in_day) if bar_minutes is None else jax.lax.map(draw_day, in_day)
    gap, inside = _gaps_and_moves(params, assets, days, way)
    inside = inside if told is None else inside + told
    before, activity = _scan_days(volume_key, params, gap + inside, _usual_deviation(assets, days))
    start = (before + gap)[:, None]
    prices = [assets.price * jnp.exp(jnp.clip(start + level, -_REACH, _REACH)) for level in levels[:4]]
    opens, high, low, close = (_as_rows(price) for price in prices)

    traded = jnp.exp(activity)[:, None] * levels.volume_share
    unrest, usual_share = (jnp.asarray(x, traded.dtype)[:, None] for x in _usual_course(bar_minutes))
    spread = (days.relative[:, None, None] * unrest) ** params.spread_reaction
    spread = assets.spread * spread * (traded / usual_share) ** -params.spread_depth
    return Bars(
        open=opens,
        high=jnp.maximum(high, jnp.maximum(opens, close)),
        low=jnp.minimum(low, jnp.minimum(opens, close)),
        close=close,
        volume=jnp.maximum(jnp.round(_as_rows(assets.volume * traded)), 1),
        spread_scale=_as_rows(spread),
    )


def _market_way(key: jax.Array, params: SyntheticParams, days: Days, steps: Array) -> _Way:
    share = jnp.asarray(params.overnight_share, steps.dtype)
    inside = _bridge(key, days.day[:, 0], steps)
    inside = jnp.concatenate([jnp.zeros_like(inside[:1]), inside]).T
    motion = whole_day(params, days.night[:, :1], inside)
    clock = jnp.concatenate([jnp.zeros(1, steps.dtype), _clock(steps)])
    time = share + (1 - share) * clock
    level = days.scale[:, :1] * stretched(motion, time, params.market_skew) - days.shift[:, None]
    slope = steepness(motion, time, params.market_skew)
    return _Way(level + time * days.drift[:, None], (slope[:, 1:] + slope[:, :-1]) / 2)


def _gaps_and_moves(params: SyntheticParams, assets: Assets, days: Days, way: _Way) -> tuple[Array, Array]:
    """Return log returns overnight and from open to close, `[D, A]`."""
    share = jnp.asarray(params.overnight_share, days.scale.dtype)
    half = params.fairness * _variance(assets, days.scale) / 2
    gap = assets.beta * (way.level[:, 0] + days.jump)[:, None] + days.own_jump
    gap = gap + jnp.sqrt(share) * _without_market(assets, days.scale * days.night)
    gap = gap - params.fairness * mean_of_jumps(params, assets, days) - share * half
    inside = assets.beta * (way.level[:, -1] - way.level[:, 0])[:, None]
    inside = inside + jnp.sqrt(1 - share) * _without_market(assets, days.scale * days.day)
    return gap, inside - (1 - share) * half


def _draw_day(
    key: jax.Array,
    params: SyntheticParams,
    assets: Assets,
    day: Days,
    way: _Way,
    steps: Array,
    bar_minutes: int | None,
    told: Array | None,
) -> _Levels:
    """Return the bars of one day, in log prices against its open."""
    move_key, reach_key, volume_key = jax.random.split(key, 3)
    share = jnp.asarray(params.overnight_share, steps.dtype)
    # Market and sectors move, too, in columns of their own; the market's way is known already.
    moves = day.scale * _bridge(move_key, day.day, steps)
    level = assets.beta * (way.level[1:] - way.level[0])[:, None] + jnp.sqrt(1 - share) * _without_market(assets, moves)
    level = level - params.fairness * (1 - share) * _clock(steps)[:, None] * _variance(assets, day.scale) / 2
    level = level if told is None else level + _clock(steps)[:, None] * told
    level = jnp.concatenate([jnp.zeros_like(level[:1]), level])
    variance = (1 - share) * steps[:, None] * _variance(assets, day.scale, way.slope[:, None])
    above, below = bridge_reach(reach_key, level[1:] - level[:-1], variance)

    num_pieces = steps.shape[0]
    size, count = bar_minutes or num_pieces, bars_in_day(bar_minutes)
    last = np.minimum(np.arange(1, count + 1) * size, num_pieces)
    return _Levels(
        open=level[:-1][::size],
        high=_grouped(level[:-1] + above, size, count, -jnp.inf).max(axis=1),
        low=_grouped(level[:-1] + below, size, count, jnp.inf).min(axis=1),
        close=level[last],
        volume_share=_volume_share(volume_key, level[0], size, count, bar_minutes),
    )


def _volume_share(key: jax.Array, like: Array, size: int, count: int, bar_minutes: int | None) -> Array:
    if bar_minutes is None:
        return jnp.ones((1, *like.shape), like.dtype)
    noise = jax.random.normal(key, (SESSION_MINUTES, *like.shape))
    shares = jnp.asarray(intraday_volume(), like.dtype)[:, None] * jnp.exp(_MINUTE_VOLUME_NOISE * noise)
    return _grouped(shares / shares.sum(axis=0), size, count, 0.0).sum(axis=1)


def _grouped(pieces: Array, size: int, count: int, fill: float) -> Array:
    """Return the pieces of a day `[pieces, A]` as `[count, size, A]`."""
    padding = ((0, count * size - pieces.shape[0]), (0, 0))
    return jnp.pad(pieces, padding, constant_values=fill).reshape(count, size, -1)


def _usual_course(bar_minutes: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return `[B]` rate of variance against the day's mean, and share of the day's volume, by bar of the day."""
    if bar_minutes is None:
        return np.ones(1), np.ones(1)
    starts = np.arange(bars_in_day(bar_minutes)) * bar_minutes
    minutes = np.diff(np.append(starts, SESSION_MINUTES))
    variance, volume = (np.add.reduceat(curve, starts) for curve in (intraday_variance(), intraday_volume()))
    return variance / minutes * SESSION_MINUTES, volume


def _bridge(key: jax.Array, end: Array, steps: Array) -> Array:
    """Return `[pieces, columns]` a Brownian motion after each step that ends at `end` `[columns]` at time 1."""
    noise = jnp.sqrt(steps)[:, None] * jax.random.normal(key, (*steps.shape, *end.shape))
    free = _running_sum(noise)
    bridge = jnp.asarray(free + _clock(steps)[:, None] * (end - free[-1]))
    return bridge.at[-1].set(end)


def _clock(steps: Array) -> Array:
    """Return `[pieces]` the time after each step; the last is 1, whatever rounding says."""
    return jnp.cumsum(steps).at[-1].set(1)


def _running_sum(x: Array) -> Array:
    """Return the sums of rows; a scan compiles much faster on a CPU than `cumsum`."""

    def add(total: Array, row: Array) -> tuple[Array, Array]:
        total = total + row
        return total, total

    return jax.lax.scan(add, jnp.zeros_like(x[0]), x)[1]


def _scan_days(key: jax.Array, params: SyntheticParams, returns: Array, usual: Array) -> tuple[Array, Array]:
    """Return the log price before each day against the first, and log volume against its level; `[D, A]` each.

    Volume decays, and rises with the size of the day's return.
    """
    noise = params.volume_noise * jax.random.normal(key, (returns.shape[0] + 1, returns.shape[1]))
    news = params.volume_reaction * (jnp.abs(returns) / usual - _MEAN_SHOCK) + noise[1:]
    # Of the news' variance, the noise's is volume_noise².
    wide = 1 + _SHOCK_VARIANCE * jnp.square(params.volume_reaction / params.volume_noise)
    first = noise[0] * jnp.sqrt(wide / (1 - jnp.square(params.volume_persistence)))

    def step(carry: tuple[Array, Array], row: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        (level, activity), (move, news) = carry, row
        activity = params.volume_persistence * activity + news
        return (level + move, activity), (level, activity)

    return jax.lax.scan(step, (jnp.zeros_like(first), first), (returns, news))[1]


def _usual_deviation(assets: Assets, days: Days) -> Array:
    """Return `[D, A]` standard deviation of the day's log return, jumps apart."""
    return jnp.sqrt(_variance(assets, days.usual))


def _variance(assets: Assets, scale: Array, slope: Array | float = 1.0) -> Array:
    """Return `[..., A]` the variance that standard deviations by column `[..., columns]` make."""
    of_market = jnp.square(assets.beta * slope * scale[..., :1])
    return of_market + _without_market(assets, scale**2)


def _without_market(assets: Assets, columns: Array) -> Array:
    """Return `[..., A]` each asset's own column of `[..., columns]` and that of its sector together."""
    return columns[..., 1:FIRST_ASSET][..., assets.sector] + columns[..., FIRST_ASSET:]


def _as_rows(x: Array) -> Array:
    """Return `[D, B, A]` as `[D·B, A]`."""
    return x.reshape(-1, x.shape[-1])
