"""Recipes of planted markets to panels, and to streams of markets of several paths."""

import dataclasses
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.compute import MASKS
from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.synthetic.planted.bars import (
    NUM_BARS,
    business_days,
    check_numbers,
    noise_names,
    planted_labels,
    to_panel,
)


class Drawn(NamedTuple):
    """What a recipe draws.

    Attributes:
        bars: open, high, low and close, `[T, A]` each.
        hint: `[T, A]` known at close t.
        state: `[T]` int32 hidden regime that rules the bar after t; None where there is none.
    """

    bars: tuple[Array, ...]
    hint: Array
    state: Array | None = None


class Recipe(Protocol):
    """One kind of planted market: a frozen dataclass of numbers, part of a compiled program."""

    @property
    def num_assets(self) -> int: ...
    @property
    def num_noise(self) -> int: ...
    @property
    def note(self) -> str: ...
    def draw(self, key: PRNGKeyArray, num_bars: int) -> Drawn: ...
    def law(self, num_bars: int, state: np.ndarray | None = None) -> HintLaw: ...


def hinted_panel(key: PRNGKeyArray, recipe: Recipe, num_bars: int = NUM_BARS) -> Panel:
    """Draw a daily panel by a recipe: `Persistent`, `Lag` or `Regimes`.

    Args:
        key: consumed; the same key gives the same panel.
        recipe: kind and numbers.
        num_bars: T.

    Returns:
        A `Panel` of float arrays on the device, all bars tradable, with volume beyond any order, without splits and
        dividends; signals `hint` and `noise_0` …, symbols `P001` …, business days as dates, a note that says what it
        is, and the law of the hint among the labels.

    Raises:
        ValueError: if `num_bars` is below 1.
    """
    check_numbers(recipe.num_assets, num_bars, 0.0, recipe.num_noise, 1.0, 3.0)
    panel, state = _draw_panel(key, recipe, num_bars)
    law = recipe.law(num_bars, None if state is None else np.asarray(state))
    return panel.replace(labels=planted_labels(num_bars, law, recipe.note))


@dataclasses.dataclass(frozen=True)
class HintedDraw:
    """Draws planted markets of several paths by a recipe; a `DrawFunction`. Hint and noise are all their features.

    Attributes:
        recipe: kind and numbers, the same on every path.
        num_bars: of each path.
        num_paths: laid end to end.
    """

    recipe: Recipe
    num_bars: int = 1260
    num_paths: int = 16

    def __call__(self, key: jax.Array, source: None = None) -> Market:
        keys = jax.random.split(key, self.num_paths)
        panel = jax.vmap(lambda key: _draw_panel(key, self.recipe, self.num_bars)[0])(keys)
        panel = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), panel)
        row = np.arange(self.num_paths * self.num_bars)
        sessions = jnp.asarray(business_days(len(row)).astype(np.int64), jnp.int32)
        ends = row // self.num_bars * self.num_bars + self.num_bars - 1
        return build_market(panel.replace(sessions=sessions), (), ends)

    def stream(self, key: jax.Array) -> MarketDraw:
        """Return the stream of such markets; regimes of a drawn market are kept nowhere."""
        names = (*(f"signal_{name}" for name in (HINT, *noise_names(self.recipe.num_noise))), *MASKS)
        num_rows = self.num_paths * self.num_bars
        return MarketDraw(self, None, key, planted_labels(num_rows, self.recipe.law(num_rows), self.recipe.note), names)


@partial(jax.jit, static_argnums=(1, 2))
def _draw_panel(key: jax.Array, recipe: Recipe, num_bars: int) -> tuple[Panel, Array | None]:
    draw_key, noise_key = jax.random.split(key)
    drawn = recipe.draw(draw_key, num_bars)
    noise = jax.random.normal(noise_key, (recipe.num_noise, num_bars, recipe.num_assets))
    signals = {HINT: drawn.hint, **dict(zip(noise_names(recipe.num_noise), noise, strict=True))}
    return to_panel(drawn.bars, signals), drawn.state
