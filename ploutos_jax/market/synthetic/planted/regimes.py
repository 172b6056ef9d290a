"""A hint whose meaning turns round: in a hidden regime of the whole market it tells the opposite."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.synthetic.planted.bars import around_promise, check_numbers
from ploutos_jax.market.synthetic.planted.hinted import Drawn

STAY = 0.98
"""Chance that the regime of a bar is that of the next: it lasts 50 bars on average."""

Variant = Literal["a", "b"]
_SIZES: dict[str, tuple[float, float]] = {"a": (1.0, 2.0), "b": (1.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class Regimes:
    """Standard normal hints, independent of each other, whose sign is right in regime 0 and wrong in regime 1.

        E[simple return of bar t + 1 | hint_t, regime z_t] = ± strength · volatility · size(z_t) · hint_t

    z is one Markov chain for all assets with `STAY` on its diagonal; `z_t` rules the return of bar t + 1. The rest is
    Student-t with the volatility `volatility · size(z)`. In variant `a` sizes are 1 and 2, so that the range of past
    bars tells the regime; in `b` both are 1, and only hints together with the returns that followed them tell it.

    Attributes:
        num_assets: A.
        strength: in [0, 1], correlation of hint and return within a regime, up to its sign.
        variant: `a` or `b`.
        volatility: standard deviation of a bar's return in regime 0.
        tail: degrees of freedom of the rest.
        num_noise: signals beside the hint that tell nothing.
    """

    num_assets: int = 30
    strength: float = 0.3
    variant: Variant = "a"
    volatility: float = 0.01
    tail: float = 5.0
    num_noise: int = 3

    def __post_init__(self) -> None:
        check_numbers(self.num_assets, 1, self.strength, self.num_noise, self.volatility, self.tail)
        if self.variant not in _SIZES:
            raise ValueError(f"variant={self.variant!r} must be one of {', '.join(_SIZES)}.")

    @property
    def note(self) -> str:
        return (
            f"The signal {HINT!r} tells the next bar's return on purpose, with correlation {self.strength:g} whose sign"
            " depends on a hidden regime, as no real column does."
        )

    def draw(self, key: PRNGKeyArray, num_bars: int) -> Drawn:
        """Draw bars, hints and regimes; hints are known at close t, the regime of row t rules the bar after it."""
        hint_key, first_key, turn_key, bar_key = jax.random.split(key, 4)
        hints = jax.random.normal(hint_key, (num_bars + 1, self.num_assets))
        turns = jax.random.bernoulli(turn_key, 1 - STAY, (num_bars + 1,)).astype(jnp.int32)
        turns = turns.at[0].set(jax.random.bernoulli(first_key).astype(jnp.int32))
        state = jnp.cumsum(turns) % 2
        size = jnp.asarray(_SIZES[self.variant], hints.dtype)[state[:-1], None] * self.volatility
        promised = self.strength * size * (1 - 2 * state[:-1, None]) * hints[:-1]
        deviation = jnp.broadcast_to(size * np.sqrt(1 - self.strength**2), promised.shape)
        return Drawn(around_promise(bar_key, promised, deviation, self.tail), hints[1:], state[1:])

    def law(self, num_bars: int, state: np.ndarray | None = None) -> HintLaw:
        """Return what the hint tells."""
        return HintLaw(
            "regimes",
            self.strength,
            np.full((1, self.num_assets), self.volatility),
            np.zeros(num_bars, np.int32),
            stay=STAY,
            sizes=_SIZES[self.variant],
            state=state,
            tail=self.tail,
        )
