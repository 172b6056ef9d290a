"""Bars: each asset's own existing bars, moved together so that no indicator meets a gap."""

import dataclasses
from functools import cached_property, partial

import jax
import jax.numpy as jnp

from ploutos_jax.market import indicators


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["open", "high", "low", "close", "volume", "sessions", "rows", "num_seen"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Bars:
    """The existing bars of each asset, moved together: row i is an asset's own i-th bar, NaN after its last.

    A function of several assets at one moment goes through the panel's rows: `to_panel_rows`, the function,
    `from_panel_rows`.

    Attributes:
        open, high, low, close: `[T, A]` total-return prices.
        volume: `[T, A]` shares of the first day (adjusted for splits).
        sessions: `[T, A]` int32 trading day of the bar; meaningless after an asset's last bar.
        rows: `[T, A]` int32 panel row of own bar i, T after the last.
        num_seen: `[T, A]` int32 number of own bars up to panel row t.
    """

    open: jax.Array
    high: jax.Array
    low: jax.Array
    close: jax.Array
    volume: jax.Array
    sessions: jax.Array
    rows: jax.Array
    num_seen: jax.Array

    # Shared by several features; traced once.

    @cached_property
    def atr_14(self) -> jax.Array:
        """`[T, A]` average true range."""
        return indicators.atr(self.high, self.low, self.close, 14)

    @cached_property
    def volatility_20(self) -> jax.Array:
        """`[T, A]` standard deviation of 20 log returns, per bar."""
        return indicators.realised_volatility(self.close, 20)

    @cached_property
    def macd(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Line, signal and histogram, each `[T, A]`."""
        return indicators.macd(self.close)

    def from_panel_rows(self, x: jax.Array) -> jax.Array:
        """Take `x` `[T, A, ...]` from panel rows to own bars; NaN after an asset's last bar."""
        return _take_rows(x, self.rows, self.rows < x.shape[0])

    def to_panel_rows(self, x: jax.Array) -> jax.Array:
        """Take `x` `[T, A, ...]` from own bars to panel rows; NaN in a missing bar."""
        return _take_rows(x, self.num_seen - 1, jnp.diff(self.num_seen, axis=0, prepend=0) > 0)


def own_bars(
    opens: jax.Array, high: jax.Array, low: jax.Array, close: jax.Array, volume: jax.Array, sessions: jax.Array
) -> Bars:
    """Return the existing bars of one path.

    Args:
        opens, high, low, close: `[T, A]`, NaN where there is no bar.
        volume: `[T, A]`.
        sessions: `[T]` int32.
    """
    num_rows, num_assets = close.shape
    exists = bar_exists(opens, high, low, close)
    num_seen = jnp.cumsum(exists, axis=0, dtype=jnp.int32)
    place = jnp.where(exists, num_seen - 1, num_rows), jnp.arange(num_assets)
    row = jnp.broadcast_to(jnp.arange(num_rows, dtype=jnp.int32)[:, None], close.shape)
    rows = jnp.full(close.shape, num_rows, jnp.int32).at[place].set(row, mode="drop")
    own = [_take_rows(x, rows, rows < num_rows) for x in (opens, high, low, close, volume)]
    return Bars(*own, sessions=sessions.at[rows].get(mode="clip"), rows=rows, num_seen=num_seen)


def bar_exists(opens: jax.Array, high: jax.Array, low: jax.Array, close: jax.Array) -> jax.Array:
    """Tell where an asset has a bar: all four prices finite and above 0."""
    return jnp.isfinite(opens) & jnp.isfinite(high) & jnp.isfinite(low) & jnp.isfinite(close) & (low > 0)


def _take_rows(x: jax.Array, rows: jax.Array, is_known: jax.Array) -> jax.Array:
    taken = x.at[rows, jnp.arange(x.shape[1])].get(mode="clip")
    return jnp.where(is_known.reshape(is_known.shape + (1,) * (x.ndim - 2)), taken, jnp.nan)
