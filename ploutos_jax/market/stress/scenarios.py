"""Stress overlays: what each scenario does to the bars of one path, from its first row on.

An overlay moves prices by a factor that is 1 before the shock and stays what it was at its end, so that returns after
the shock are those of the path. Each takes what is left of luck from its key, and how bad it is from `severity`, which
runs through the ranges of the table from the mildest, 0, to the worst, 1. All of it is arrays, and free to run inside
`jit`.

Source: the ranges are those of the specification of this project; what it leaves open is said at each overlay.
Anchors: 1987-10-19 (-20.5 %), 2010-05-06 (-9 % inside the day), 2020-03-16 (-12 %), 2007-09 (-57 %).
"""

import typing
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ploutos_jax.market.stress.decompose import Moves, Prices

SESSION_MINUTES = 390.0
"""Of a trading day in New York: what turns a number of bars per session into minutes per bar."""

USUAL_DRIFT = 3e-4
"""Log return of a session that a bear market takes the place of, about 8 % a year."""

_JUMPS_PER_SESSION = 3 / 252
_JUMP_MEAN, _JUMP_DEVIATION = -0.005, 0.012
_RALLY_SESSIONS, _RALLY_EVERY = 20, 100
_MOST_RALLIES = 7


@typing.no_type_check
class Scene(struct.PyTreeNode):
    """A path and where on it the shock lies.

    Attributes:
        moves: the path's bars, taken apart.
        row: `[T, 1]` int32.
        first, last: int32 rows of the shock, both included.
        bars_per_session: how many bars a session has, on average.
        severity: 0 to 1.
        alive: `[A]` bool, assets that have a bar where the shock begins and one before.
        sector: `[A]` int32, negative where not known.
    """

    moves: Moves
    row: Int[Array, "T 1"]
    first: Int[Array, ""]
    last: Int[Array, ""]
    bars_per_session: Float[Array, ""]
    severity: Float[Array, ""]
    alive: Bool[Array, " A"]
    sector: Int[Array, " A"]

    @property
    def inside(self) -> Bool[Array, "T 1"]:
        """`[T, 1]` bool, rows of the shock."""
        return (self.row >= self.first) & (self.row <= self.last)

    def range(self, mildest: float, worst: float) -> Float[Array, ""]:
        """Return the number of a range that the severity stands for."""
        return mildest + (worst - mildest) * self.severity


class Change(NamedTuple):
    """What an overlay did; None where it leaves things as they are.

    Attributes:
        prices: open, high, low, close, `[T, A]` each.
        volume, spread, impact: `[T, A]` or `[T, 1]` factors.
        halted: `[T, A]` bool, bars in which nothing trades.
        assets: `[A]` bool, assets hit; None for all alive.
    """

    prices: Prices | None = None
    volume: Float[Array, "#T #A"] | None = None
    spread: Float[Array, "#T #A"] | None = None
    impact: Float[Array, "#T #A"] | None = None
    halted: Bool[Array, "T A"] | None = None
    assets: Bool[Array, " A"] | None = None


class Overlay(NamedTuple):
    """A scenario.

    Attributes:
        length: `(severity, bars per session) -> bars` of the shock.
        apply: `(key, scene) -> Change`.
        at_session_start: whether it begins with a session.
        scales: names of the costs that it multiplies.
        participation: largest share of a bar's volume that fills under it, where the rules have no cap: what volume
            is left would otherwise not matter.
    """

    length: Callable[[Array, Array], Array]
    apply: Callable[[PRNGKeyArray, Scene], Change]
    at_session_start: bool = False
    scales: tuple[str, ...] = ()
    participation: float | None = None


def _sessions(mildest: float, worst: float) -> Callable[[Array, Array], Array]:
    return lambda severity, per_session: (mildest + (worst - mildest) * severity) * per_session


def flash_crash(key: PRNGKeyArray, scene: Scene) -> Change:
    """All prices drop by 5-20 % within 1-30 minutes and win back 100-50 % of it in 5-60.

    Spread x 5-50, volume x 3-10 in the bars that it touches. In daily bars all of it lies inside one bar: its low
    drops, its close by what is not won back (0-10 %). There are no price bands (LULD) here, for the broker has none.
    """
    depth, kept = jnp.log1p(-scene.range(0.05, 0.20)), scene.range(0.0, 0.5)
    down, up = _crash_minutes(scene.severity)
    minutes = SESSION_MINUTES / scene.bars_per_session

    def level(minute: Array) -> Array:
        regained = (1 - kept) * jnp.clip((minute - down) / up, 0, 1)
        return depth * (jnp.clip(minute / down, 0, 1) - regained)

    begins = (scene.row - scene.first) * minutes
    ends = begins + minutes
    at_open, at_close = level(begins), level(ends)
    has_bottom = (begins <= down) & (down <= ends)
    lowest = jnp.where(has_bottom, depth, jnp.minimum(at_open, at_close))
    prices = scene.moves.shift(at_open, jnp.maximum(at_open, at_close), lowest, at_close)
    spread = jnp.where(scene.inside, scene.range(5, 50), 1)
    return Change(prices=prices, spread=spread, volume=jnp.where(scene.inside, scene.range(3, 10), 1))


def _crash_minutes(severity: Array) -> tuple[Array, Array]:
    """Return the minutes of the way down and of the way up."""
    return 1 + 29 * severity, 5 + 55 * severity


def _crash_length(severity: Array, per_session: Array) -> Array:
    return sum(_crash_minutes(severity)) * per_session / SESSION_MINUTES


def low_liquidity(key: PRNGKeyArray, scene: Scene) -> Change:
    """For 20-120 sessions volume x 0.3-0.05, spread x 3-10, market impact x 2; prices stay."""
    spread = jnp.where(scene.inside, scene.range(3, 10), 1)
    volume = jnp.where(scene.inside, scene.range(0.3, 0.05), 1)
    return Change(volume=volume, spread=spread, impact=jnp.where(scene.inside, 2.0, 1.0))


def extreme_volatility(key: PRNGKeyArray, scene: Scene) -> Change:
    """For 10-60 sessions the market's moves x k = 2-4, the rest of each return x √k, and five times as many jumps.

    Simple returns are multiplied, so that what could be predicted of a return grows no more than its deviation. Jumps
    of the market come overnight (inside bars between sessions there are none), 3 a year and asset's beta times
    N(-0.5 %, 1.2 %); four times as many are added.
    """
    k = scene.range(2, 4)
    beta, market_square, own_square = scene.moves.market_model(scene.first)
    market, own = scene.moves.split_by_market(beta)
    hit_key, size_key = jax.random.split(key)
    rate = 4 * _JUMPS_PER_SESSION
    jump = _JUMP_MEAN + _JUMP_DEVIATION * jax.random.normal(size_key, scene.row.shape)
    jump = jnp.where(jax.random.bernoulli(hit_key, rate, scene.row.shape) & scene.moves.starts_session, jump, 0)
    gap = k * market[0] + jnp.sqrt(k) * own[0] + beta * jump
    body = k * market[1] + jnp.sqrt(k) * own[1]
    usual = beta**2 * market_square + own_square
    wicks = jnp.sqrt((k**2 * beta**2 * market_square + k * own_square) / usual)
    return Change(prices=scene.moves.replace_moves(gap, body, wicks, scene.inside))


def all_correlated(key: PRNGKeyArray, scene: Scene) -> Change:
    """For 20-120 sessions everything moves as one: the market's moves x √2, the rest of each return x 0.3."""
    beta, market_square, own_square = scene.moves.market_model(scene.first)
    market, own = scene.moves.split_by_market(beta)
    gap, body = (2**0.5 * m + 0.3 * e for m, e in zip(market, own, strict=True))
    new = 2 * beta**2 * market_square + 0.09 * own_square
    wicks = jnp.sqrt(new / (beta**2 * market_square + own_square))
    return Change(prices=scene.moves.replace_moves(gap, body, wicks, scene.inside))


def correlation_breakdown(key: PRNGKeyArray, scene: Scene) -> Change:
    """For 20-120 sessions assets have each other's betas, and half of the sectors move against the market.

    Assets of no known sector are each a sector of their own.
    """
    beta_key, sign_key, own_key = jax.random.split(key, 3)
    beta, _, _ = scene.moves.market_model(scene.first)
    market, own = scene.moves.split_by_market(beta)
    num_assets = beta.shape[-1]
    by_sector = _half_of(sign_key, 11)[jnp.clip(scene.sector, 0, 10)]
    sign = jnp.where(scene.sector >= 0, by_sector, _half_of(own_key, num_assets))
    other = sign * jax.random.permutation(beta_key, beta.reshape(-1)) / beta
    gap, body = (other * m + e for m, e in zip(market, own, strict=True))
    return Change(prices=scene.moves.replace_moves(gap, body, jnp.ones_like(beta), scene.inside))


def _half_of(key: Array, count: int) -> Array:
    """Return `[count]` signs, as many -1 as 1 or one more, in random order."""
    return jnp.where(jax.random.permutation(key, count) < (count + 1) // 2, 1.0, -1.0)


def gap_down(key: PRNGKeyArray, scene: Scene) -> Change:
    """Overnight the market drops by 3-12 %, each asset by its beta; one asset by 5-30 % more."""
    beta, _, _ = scene.moves.market_model(scene.first)
    luck = jnp.where(scene.alive, jax.random.uniform(key, scene.alive.shape), -1)
    named = jnp.arange(scene.alive.shape[0]) == jnp.argmax(luck)
    drop = beta * jnp.log1p(-scene.range(0.03, 0.12)) + named * jnp.log1p(-scene.range(0.05, 0.30))
    level = jnp.where(scene.row >= scene.first, drop, 0)
    return Change(prices=scene.moves.shift(level, level, level, level))


def prolonged_bear(key: PRNGKeyArray, scene: Scene) -> Change:
    """For 250-700 sessions the market drifts by -0.05 to -0.15 % a session in place of +0.03 %, each asset by its beta.

    In every 100 sessions, 20 in a row are a rally of 10-20 %, which the other sessions make up for. The path's own
    moves stay: it is a drift, and a path may rise in spite of it.
    """
    start_key, gain_key = jax.random.split(key)
    beta, _, _ = scene.moves.market_model(scene.first)
    per_session = scene.bars_per_session
    length = jnp.maximum(scene.last - scene.first + 1, 1) / per_session
    begins = jax.random.uniform(start_key, (_MOST_RALLIES,), maxval=_RALLY_EVERY - _RALLY_SESSIONS)
    begins = begins + _RALLY_EVERY * jnp.arange(_MOST_RALLIES)
    is_whole = begins + _RALLY_SESSIONS <= length
    gains = jnp.where(is_whole, jnp.log1p(jax.random.uniform(gain_key, begins.shape, minval=0.1, maxval=0.2)), 0)
    total = -(scene.range(5e-4, 15e-4) + USUAL_DRIFT) * length - gains.sum()
    outside = length - _RALLY_SESSIONS * is_whole.sum()
    session = (scene.row - scene.first) / per_session

    def level(session: Array) -> Array:
        of_rallies = jnp.clip(session - begins, 0, _RALLY_SESSIONS) * is_whole
        plain = jnp.clip(session, 0, length) - of_rallies.sum(axis=-1, keepdims=True)
        return total * plain / outside + (gains * of_rallies).sum(axis=-1, keepdims=True) / _RALLY_SESSIONS

    at_open, at_close = beta * level(session), beta * level(session + 1 / per_session)
    prices = scene.moves.shift(at_open, jnp.maximum(at_open, at_close), jnp.minimum(at_open, at_close), at_close)
    return Change(prices=prices)


def halt_and_delist(key: PRNGKeyArray, scene: Scene) -> Change:
    """5-20 % of the assets, at least one, do not trade for 1-20 bars and reopen 10-40 % higher or lower.

    Where more than one is hit, one of them never trades again: the broker pays it out (`delisting_recovery`).
    """
    order_key, sign_key = jax.random.split(key)
    luck = jnp.where(scene.alive, jax.random.uniform(order_key, scene.alive.shape), 2)
    place = jnp.argsort(jnp.argsort(luck))
    count = jnp.maximum(1, jnp.round(scene.range(0.05, 0.20) * scene.alive.sum()))
    hit = scene.alive & (place < count)
    ends = hit & (place == 1)
    move = scene.range(0.10, 0.40) * jax.random.rademacher(sign_key, hit.shape)
    level = jnp.where((scene.row > scene.last) & hit, jnp.log1p(move), 0)
    halted = (scene.inside & hit) | ((scene.row >= scene.first) & ends)
    return Change(prices=scene.moves.shift(level, level, level, level), halted=halted, assets=hit)


OVERLAYS: dict[str, Overlay] = {
    "flash_crash": Overlay(_crash_length, flash_crash, scales=("spread_scale",)),
    "low_liquidity": Overlay(
        _sessions(20, 120), low_liquidity, scales=("spread_scale", "impact_scale"), participation=0.1
    ),
    "extreme_volatility": Overlay(_sessions(10, 60), extreme_volatility),
    "all_correlated": Overlay(_sessions(20, 120), all_correlated),
    "correlation_breakdown": Overlay(_sessions(20, 120), correlation_breakdown),
    "gap_down": Overlay(lambda severity, per_session: jnp.ones(()), gap_down, at_session_start=True),
    "prolonged_bear": Overlay(_sessions(250, 700), prolonged_bear),
    "halt_and_delist": Overlay(lambda severity, per_session: 1 + 19 * severity, halt_and_delist),
}
"""The scenarios by name."""
