"""Moves: the bars of one path as moves overnight and inside a bar, to be changed and put together again."""

import typing

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from ploutos_jax.market.panel import Panel

Prices = tuple[Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"], Float[Array, "T A"]]

LEAST_FACTOR = 0.05
"""No changed move takes more than 95 % of a price: what is multiplied could otherwise fall below 0."""

_PRIOR_BARS = 20.0
"""Bars for which a beta of 1 counts."""


@typing.no_type_check
class Moves(struct.PyTreeNode):
    """Bars of A assets, and what moved them.

    Attributes:
        open, high, low, close: `[T, A]` prices, NaN where there is no bar.
        exists: `[T, A]` bool.
        gap: `[T, A]` simple return from the asset's close before to the open, dividends and splits counted in; 0
            where there is no bar or none before.
        body: `[T, A]` simple return from open to close, 0 where there is no bar.
        starts_session: `[T, 1]` bool.
    """

    open: Float[Array, "T A"]
    high: Float[Array, "T A"]
    low: Float[Array, "T A"]
    close: Float[Array, "T A"]
    exists: Bool[Array, "T A"]
    gap: Float[Array, "T A"]
    body: Float[Array, "T A"]
    starts_session: Bool[Array, "T 1"]

    @classmethod
    def of(cls, prices: Prices, exists: Bool[Array, "T A"], path: Panel) -> "Moves":
        """Take bars apart.

        Args:
            prices: open, high, low, close of the path, `[T, A]`.
            exists: `[T, A]` bool.
            path: its dividends, splits and sessions.
        """
        opens, high, low, close = prices
        row = jnp.arange(close.shape[0])[:, None]
        last = jax.lax.cummax(jnp.where(exists, row, -1))
        before = jnp.concatenate([jnp.full_like(last[:1], -1), last[:-1]])
        shares = jnp.ones_like(close) if path.split is None else jnp.cumprod(path.split, axis=0)
        new_per_old = shares / jnp.take_along_axis(shares, jnp.maximum(before, 0), axis=0)
        paid = opens if path.dividend is None else opens + path.dividend
        ratio = paid * new_per_old / jnp.take_along_axis(close, jnp.maximum(before, 0), axis=0)
        return cls(
            open=opens,
            high=high,
            low=low,
            close=close,
            exists=exists,
            gap=jnp.where(exists & (before >= 0), ratio - 1, 0),
            body=jnp.where(exists, close / opens - 1, 0),
            starts_session=jnp.diff(jnp.asarray(path.sessions), prepend=path.sessions[:1] - 1)[:, None] != 0,
        )

    def shift(
        self,
        at_open: Float[Array, "#T #A"],
        highest: Float[Array, "#T #A"],
        lowest: Float[Array, "#T #A"],
        at_close: Float[Array, "#T #A"],
    ) -> Prices:
        """Return the prices moved by levels of the logarithm, those of the high and low beyond those of the others."""
        shifts = (at_open, highest, lowest, at_close)
        prices = zip((self.open, self.high, self.low, self.close), shifts, strict=True)
        return _ordered(*(price * jnp.exp(shift) for price, shift in prices))

    def replace_moves(
        self,
        gap: Float[Array, "T A"],
        body: Float[Array, "T A"],
        wicks: Float[Array, " A"] | Float[Array, "1 A"],
        rows: Bool[Array, "T 1"],
    ) -> Prices:
        """Return the prices that other moves make.

        Args:
            gap, body: `[T, A]` simple returns in place of those of the path.
            wicks: `[A]` or `[1, A]` factor of how far high and low lie outside open and close.
            rows: `[T, 1]` bool, bars that get new moves; after the last of them prices differ by one factor.
        """
        changed = rows & self.exists
        grown = [
            jnp.where(changed, jnp.log(jnp.maximum(1 + new, LEAST_FACTOR) / (1 + old)), 0)
            for new, old in ((gap, self.gap), (body, self.body))
        ]
        at_close = jnp.cumsum(grown[0] + grown[1], axis=0)
        at_open = at_close - grown[1]
        factor, closing = jnp.exp(at_open), jnp.exp(at_close)
        opens, close = self.open * factor, self.close * closing
        above, below = jnp.maximum(self.open, self.close), jnp.minimum(self.open, self.close)
        wicks = jnp.where(changed, wicks, 1)
        up, down = self.high / above - 1, 1 - self.low / below
        high = jnp.maximum(opens, close) * (1 + wicks * up)
        low = jnp.minimum(opens, close) * jnp.maximum(1 - wicks * down, LEAST_FACTOR)
        return _ordered(opens, high, low, close)

    def market_model(
        self, first: Int[Array, ""]
    ) -> tuple[Float[Array, "1 A"], Float[Array, "1 A"], Float[Array, "1 A"]]:
        """Return beta, squared market return and squared residual return, `[1, A]` each, from rows before `first`.

        The market is the mean over assets. A few bars say little about a beta: it is drawn towards 1.
        """
        known = self.exists & (jnp.arange(self.exists.shape[0])[:, None] < first)
        total = jnp.where(known, self.gap + self.body, 0)
        market = total.sum(axis=1, keepdims=True) / jnp.maximum(known.sum(axis=1, keepdims=True), 1)
        count = known.sum(axis=0, keepdims=True)
        square = jnp.where(known, market**2, 0).sum(axis=0, keepdims=True)
        prior = _PRIOR_BARS * (market**2).sum() / jnp.maximum(known.any(axis=1).sum(), 1) + 1e-12
        beta = ((market * total).sum(axis=0, keepdims=True) + prior) / (square + prior)
        beta = jnp.clip(beta, 0.3, 2.0)
        own = jnp.where(known, total - beta * market, 0)
        per_bar = 1 / jnp.maximum(count, 1)
        return beta, square * per_bar + 1e-12, (own**2).sum(axis=0, keepdims=True) * per_bar + 1e-12

    def split_by_market(
        self, beta: Float[Array, "1 A"]
    ) -> tuple[tuple[Float[Array, "T A"], Float[Array, "T A"]], tuple[Float[Array, "T A"], Float[Array, "T A"]]]:
        """Return what the market moved and the rest, overnight and inside bars: `(gap, body)` of each, `[T, A]`."""
        count = jnp.maximum(self.exists.sum(axis=1, keepdims=True), 1)
        gap, body = (beta * (x.sum(axis=1, keepdims=True) / count) for x in (self.gap, self.body))
        return (gap, body), (self.gap - gap, self.body - body)


def _ordered(opens: Array, high: Array, low: Array, close: Array) -> Prices:
    """Return the prices; rounding may have left an extreme an ulp inside open or close."""
    return opens, jnp.maximum(high, jnp.maximum(opens, close)), jnp.minimum(low, jnp.minimum(opens, close)), close
