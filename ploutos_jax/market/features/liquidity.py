"""What a broker knows of an asset at close t: how much it moves and how much of it trades."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from ploutos_jax.market.features.compacted import compacted_bars

ATR_BARS, VOLATILITY_BARS, VOLUME_BARS = 14, 20, 20


@partial(jax.jit, static_argnames="num_paths")
def measure_activity(
    prices: tuple[Float[jax.Array, "T A"], ...],
    cash_volume: Float[jax.Array, "T A"],
    sessions: Int[jax.Array, " T"],
    num_paths: int,
) -> dict[str, Float[jax.Array, "T A"]]:
    """Return usual range, volatility and trading of each asset over its last bars, as many as there are.

    Args:
        prices: open, high, low, close (total return) and volume, `[T, A]` each, NaN where there is no bar.
        cash_volume: `[T, A]` dollars traded.
        sessions: `[T]` int32.
        num_paths: paths of equal length lying end to end along T.

    Returns:
        `atr`: mean true range of 14 bars over the close; `volatility`: root of the mean squared log return of 20 bars;
        `adv`: mean dollars traded of 20 bars. Each `[T, A]`, known at close t, carried through missing bars, 0 before
        the first bar (`volatility` in it too).
    """

    def by_path(x: jax.Array) -> jax.Array:
        return x.reshape(num_paths, x.shape[0] // num_paths, *x.shape[1:])

    measured = jax.vmap(_measure_path)(tuple(map(by_path, prices)), by_path(cash_volume), by_path(sessions))
    return {name: value.reshape(cash_volume.shape) for name, value in measured.items()}


def _measure_path(prices: tuple[jax.Array, ...], cash_volume: jax.Array, sessions: jax.Array) -> dict[str, jax.Array]:
    bars = compacted_bars(*prices, sessions=sessions)
    before = jnp.concatenate([jnp.full_like(bars.close[:1], jnp.nan), bars.close[:-1]])
    true_range = jnp.fmax(bars.high, before) - jnp.fmin(bars.low, before)
    squared = jnp.concatenate([jnp.zeros_like(before[:1]), jnp.log(bars.close / before)[1:] ** 2])
    number = jnp.arange(before.shape[0])[:, None]
    own = {
        "atr": _mean(true_range, ATR_BARS, number + 1) / bars.close,
        "volatility": jnp.sqrt(_mean(squared, VOLATILITY_BARS, number)),
        "adv": _mean(bars.from_panel_rows(cash_volume), VOLUME_BARS, number + 1),
    }
    seen = bars.num_seen - 1
    return {name: jnp.where(seen >= 0, _at(value, seen), 0) for name, value in own.items()}


def _mean(values: jax.Array, length: int, number: jax.Array) -> jax.Array:
    """Return the mean of the last `length` rows, or of the `number` that there are."""
    padding = ((length - 1, 0), (0, 0))
    total = jax.lax.reduce_window(values, 0.0, jax.lax.add, (length, 1), (1, 1), padding)
    return total / jnp.clip(number, 1, length)


def _at(own: jax.Array, number: jax.Array) -> jax.Array:
    return jnp.take_along_axis(own, jnp.maximum(number, 0), axis=0)
