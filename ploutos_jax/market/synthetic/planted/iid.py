"""The simplest planted market: one column tells the next bar's return, each hint on its own."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.compute import MASKS
from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.panel import Array, Market, Panel
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.synthetic.brownian_bridge import draw_bars
from ploutos_jax.market.synthetic.planted.bars import (
    FIRST_PRICE,
    NUM_BARS,
    business_days,
    check_numbers,
    noise_names,
    planted_labels,
    to_panel,
)


def planted_panel(
    key: PRNGKeyArray,
    num_assets: int = 30,
    num_bars: int = NUM_BARS,
    strength: float = 0.3,
    *,
    num_noise: int = 3,
    volatility: float = 0.01,
    tail: float = 5.0,
) -> Panel:
    """Draw a daily panel whose signal `hint`, at close t, correlates with the return of bar t + 1.

    Per asset, independent of all others, with n and e standard normal:

        v_t    = volatility² · (tail/2 − 1) / Gamma(tail/2)
        return = √v_t · n_t − v_t / 2                                (of the logarithm, close t − 1 to close t)
        hint_t = strength · √v_(t+1) · n_(t+1) / volatility + √(1 − strength²) · e_t

    √v·n is Student-t; −v/2 makes the price a martingale to whoever does not read the hint, inside a bar too. A bar
    opens where the one before closed, so that an order decided at close t and filled at the next open earns, to the
    next close, the very return that the hint tells of. The signals `noise_0` … are standard normal and tell nothing.

    Args:
        key: consumed; the same key gives the same panel.
        num_assets: A.
        num_bars: T.
        strength: correlation of hint and next return, from 0 (no signal: nothing here can be predicted) to 1 (the
            leaked future).
        num_noise: signals in addition to the hint.
        volatility: standard deviation of a bar's log return.
        tail: degrees of freedom of the returns.

    Returns:
        A `Panel` of float arrays on the device, all bars tradable, with volume beyond any order, without splits and
        dividends; symbols `P001` …, business days as dates, and a note that says what it is.

    Raises:
        ValueError: if a size is below 1, `strength` lies outside [0, 1], `num_noise` is negative, `volatility` is not
            above 0, or `tail` not above 2 (no variance to scale by).

    Source: a normal with inverse-gamma variance is Student-t (Gelman et al., Bayesian Data Analysis, 3rd ed., section
    17.2); extremes of a bar as in `bridge.draw_bars`.
    """
    check_numbers(num_assets, num_bars, strength, num_noise, volatility, tail)
    law = planted_law(num_assets, num_bars, strength, volatility, tail)
    return _make_panel(key, strength, volatility, tail, num_assets, num_bars, num_noise).replace(
        labels=planted_labels(num_bars, law)
    )


@dataclasses.dataclass(frozen=True)
class PlantedDraw:
    """Draws planted markets of several paths; a `DrawFunction`. Hint and noise are all their features.

    The signal is the same on every path: only hints tell of returns, and what else a path holds, its noise and its
    prices, is its own. Fields are those of `planted_panel`, `num_bars` of each path.
    """

    num_assets: int = 30
    num_bars: int = 1260
    num_paths: int = 16
    strength: float = 0.3
    num_noise: int = 3
    volatility: float = 0.01
    tail: float = 5.0

    def __call__(self, key: PRNGKeyArray, source: None = None) -> Market:
        numbers = (self.strength, self.volatility, self.tail, self.num_assets, self.num_bars, self.num_noise)
        panel = jax.vmap(lambda key: _make_panel(key, *numbers))(jax.random.split(key, self.num_paths))
        panel = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), panel)
        row = np.arange(self.num_paths * self.num_bars)
        sessions = jnp.asarray(business_days(len(row)).astype(np.int64), jnp.int32)
        return build_market(
            panel.replace(sessions=sessions), (), row // self.num_bars * self.num_bars + self.num_bars - 1
        )

    def stream(self, key: PRNGKeyArray) -> MarketDraw:
        """Return the stream of such markets."""
        names = (*(f"signal_{name}" for name in (HINT, *noise_names(self.num_noise))), *MASKS)
        num_rows = self.num_paths * self.num_bars
        law = planted_law(self.num_assets, num_rows, self.strength, self.volatility, self.tail)
        return MarketDraw(self, None, key, planted_labels(num_rows, law), names)


def planted_law(num_assets: int, num_bars: int, strength: float, volatility: float, tail: float) -> HintLaw:
    """Return what the hint of `planted_panel` tells: the best linear prediction, exact but for the tails."""
    shape = (1, num_assets)
    return HintLaw("planted", strength, np.full(shape, volatility), np.zeros(num_bars, np.int32), tail=tail)


def _make_panel(
    key: jax.Array, strength: float, volatility: float, tail: float, num_assets: int, num_bars: int, num_noise: int
) -> Panel:
    opens, high, low, close, hint, noise = _draw(key, strength, volatility, tail, num_assets, num_bars, num_noise)
    return to_panel((opens, high, low, close), {HINT: hint, **dict(zip(noise_names(num_noise), noise, strict=True))})


@partial(jax.jit, static_argnums=(4, 5, 6))
def _draw(
    key: jax.Array, strength: float, volatility: float, tail: float, num_assets: int, num_bars: int, num_noise: int
) -> tuple[Array, ...]:
    """Return open, high, low, close and hint `[T, A]`, and the noise signals `[num_noise, T, A]`."""
    variance_key, move_key, error_key, noise_key, middle_key, bridge_key = jax.random.split(key, 6)
    shape = (num_bars, num_assets)
    # One return more than bars: the last hint has something to tell, too.
    returns_shape = (num_bars + 1, num_assets)
    variance = volatility**2 * (tail / 2 - 1) / jax.random.gamma(variance_key, tail / 2, returns_shape)
    move = jnp.sqrt(variance) * jax.random.normal(move_key, returns_shape)
    hint = strength * move[1:] / volatility + jnp.sqrt(1 - strength**2) * jax.random.normal(error_key, shape)
    inside = (move - variance / 2)[:num_bars]
    first = jnp.full(num_assets, FIRST_PRICE)
    bars = draw_bars(middle_key, bridge_key, first, jnp.zeros(shape), inside, variance[:num_bars])
    opens, high, low, close = (jnp.asarray(prices) for prices in bars)
    # Rounding must not come between a close and the open after it, which are one price.
    opens = opens.at[1:].set(close[:-1])
    noise = jax.random.normal(noise_key, (num_noise, *shape))
    return opens, jnp.maximum(high, opens), jnp.minimum(low, opens), close, hint, noise
