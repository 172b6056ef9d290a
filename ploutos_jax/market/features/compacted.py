"""Bars: each asset's own existing bars, moved together so that no indicator meets a gap."""

import dataclasses
import typing
from functools import cached_property, partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ploutos_jax.market.features.indicators import levels, momentum, statistics, trend, volatility
from ploutos_jax.market.features.indicators.recursion import ema_offset, hold, scan_rows, wilder
from ploutos_jax.market.features.indicators.rolling import log_ratio, rolling_moments, shift


@typing.no_type_check
@partial(
    jax.tree_util.register_dataclass,
    data_fields=["open", "high", "low", "close", "volume", "sessions", "is_intraday", "rows", "num_seen"],
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
        is_intraday: bool, whether two bars of the panel share a session.
        rows: `[T, A]` int32 panel row of own bar i, T after the last.
        num_seen: `[T, A]` int32 number of own bars up to panel row t.
    """

    open: Float[Array, "T A"]
    high: Float[Array, "T A"]
    low: Float[Array, "T A"]
    close: Float[Array, "T A"]
    volume: Float[Array, "T A"]
    sessions: Int[Array, "T A"]
    is_intraday: Bool[Array, ""]
    rows: Int[Array, "T A"]
    num_seen: Int[Array, "T A"]

    # Shared by several features; traced once.

    @cached_property
    def returns(self) -> Float[Array, "T A"]:
        """`[T, A]` log returns over one own bar."""
        return momentum.log_return(self.close, 1)

    @cached_property
    def market_returns(self) -> Float[Array, "T A"]:
        """`[T, A]` mean log return of all assets that have one in the same panel row."""
        mean = statistics.cross_sectional_mean(self.to_panel_rows(self.returns))
        return self.from_panel_rows(jnp.broadcast_to(mean, self.close.shape))

    @cached_property
    def atr_14(self) -> Float[Array, "T A"]:
        """`[T, A]` average true range."""
        return volatility.atr(self.high, self.low, self.close, 14)

    @cached_property
    def volatility_20(self) -> Float[Array, "T A"]:
        """`[T, A]` standard deviation of 20 log returns, per bar."""
        return volatility.volatility(self.close, 20)

    @cached_property
    def moments_20(self) -> tuple[Float[Array, "T A"], Float[Array, "T A"]]:
        """SMA20 less the close, and standard deviation (ddof 0) of 20 closes, each `[T, A]`."""
        return rolling_moments(self.close, 20)

    @cached_property
    def keltner(self) -> tuple[Float[Array, "T A"], Float[Array, "T A"]]:
        """EMA20 (begun with the first close) less the close, and ATR10 (from bar 0), each `[T, A]`."""
        reach = wilder(volatility.first_true_range(self.high, self.low, self.close), 10)
        return ema_offset(self.close, 20, seed_bars=1), reach

    @cached_property
    def macd(self) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
        """Line, signal and histogram, each `[T, A]`."""
        return trend.macd(self.close)

    @cached_property
    def directional(self) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
        """+DI14, -DI14 and ADX14, each `[T, A]`."""
        return trend.directional(self.high, self.low, self.close, 14)

    # Sessions. Of daily bars each is a session of its own.

    @cached_property
    def session_starts(self) -> Bool[Array, "T A"]:
        """`[T, A]` bool, the asset's first bar of a session."""
        return levels.session_starts(self.sessions)

    @cached_property
    def session_open(self) -> Float[Array, "T A"]:
        """`[T, A]` open of the session's first bar."""
        return hold(self.open, self.session_starts)

    @cached_property
    def previous_session(self) -> tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]:
        """High, low and close of the asset's session before the present one, each `[T, A]`."""
        return levels.previous_session(self.high, self.low, self.close, self.session_starts)

    @cached_property
    def session_parts(self) -> tuple[Float[Array, "T A"], Float[Array, "T A"]]:
        """Log return from the close before into the session's first open, 0 in later bars, and the rest of the bar's.

        Each `[T, A]`; the two add up to `returns`.
        """
        overnight = log_ratio(self.open, shift(self.close, 1))
        inside = log_ratio(self.close, self.open) + 0 * self.returns
        starts = self.session_starts
        return jnp.where(starts, overnight, 0 * self.returns), jnp.where(starts, inside, self.returns)

    def take_assets(self, start: Int[Array, ""], count: int) -> "Bars":
        """Return the bars of `count` assets from number `start` on."""
        return jax.tree.map(lambda x: x if x.ndim < 2 else jax.lax.dynamic_slice_in_dim(x, start, count, axis=1), self)

    def from_panel_rows(self, x: Float[Array, "T A"]) -> Float[Array, "T A"]:
        """Take `x` `[T, A]` from panel rows to own bars; NaN after an asset's last bar."""
        return _take_rows(x, self.rows, self.rows < x.shape[0])

    def to_panel_rows(self, x: Float[Array, "T A"]) -> Float[Array, "T A"]:
        """Take `x` `[T, A]` from own bars to panel rows; NaN in a missing bar."""
        return _take_rows(x, self.num_seen - 1, jnp.diff(self.num_seen, axis=0, prepend=0) > 0)


def compacted_bars(
    opens: Float[Array, "T A"],
    high: Float[Array, "T A"],
    low: Float[Array, "T A"],
    close: Float[Array, "T A"],
    volume: Float[Array, "T A"],
    sessions: Int[Array, " T"],
) -> Bars:
    """Return the existing bars of one path.

    Args:
        opens, high, low, close: `[T, A]`, NaN where there is no bar.
        volume: `[T, A]`.
        sessions: `[T]` int32.
    """
    num_rows, num_assets = close.shape
    exists = bar_exists(opens, high, low, close)
    num_seen = scan_rows(jnp.add, exists.astype(jnp.int32), 0)
    place = jnp.where(exists, num_seen - 1, num_rows), jnp.arange(num_assets)
    row = jnp.broadcast_to(jnp.arange(num_rows, dtype=jnp.int32)[:, None], close.shape)
    rows = jnp.full(close.shape, num_rows, jnp.int32).at[place].set(row, mode="drop")
    own = [_take_rows(x, rows, rows < num_rows) for x in (opens, high, low, close, volume)]
    return Bars(
        *own,
        sessions=sessions.at[rows].get(mode="clip"),
        is_intraday=jnp.any(sessions[1:] == sessions[:-1]),
        rows=rows,
        num_seen=num_seen,
    )


def bar_exists(
    opens: Float[Array, "T A"], high: Float[Array, "T A"], low: Float[Array, "T A"], close: Float[Array, "T A"]
) -> Bool[Array, "T A"]:
    """Tell where an asset has a bar: all four prices finite and above 0."""
    return jnp.isfinite(opens) & jnp.isfinite(high) & jnp.isfinite(low) & jnp.isfinite(close) & (low > 0)


def _take_rows(x: jax.Array, rows: jax.Array, is_known: jax.Array) -> jax.Array:
    return jnp.where(is_known, x.at[rows, jnp.arange(x.shape[1])].get(mode="clip"), jnp.nan)
