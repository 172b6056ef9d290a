"""A hint that lasts: whether trading on it pays depends on what trading costs, and how much is known exactly."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.synthetic.hint_series import draw_persistent
from ploutos_jax.market.synthetic.planted.bars import around_promise, check_numbers
from ploutos_jax.market.synthetic.planted.hinted import Drawn


@dataclasses.dataclass(frozen=True)
class Persistent:
    """Hints that are a stationary standard normal AR(1) of each asset, independent of all others.

        E[simple return of bar t + 1 | hint_t, everything before] = strength · volatility · hint_t

    The rest is Student-t and a martingale difference, scaled so that `strength` is the correlation of hint and return.

    Attributes:
        num_assets: A.
        strength: in [0, 1].
        persistence: φ, in [0, 1): correlation of a hint with the one before.
        volatility: standard deviation of a bar's return.
        tail: degrees of freedom of the rest.
        num_noise: signals beside the hint that tell nothing.
    """

    num_assets: int = 30
    strength: float = 0.1
    persistence: float = 0.9
    volatility: float = 0.01
    tail: float = 5.0
    num_noise: int = 3

    def __post_init__(self) -> None:
        check_numbers(self.num_assets, 1, self.strength, self.num_noise, self.volatility, self.tail)
        if not 0 <= self.persistence < 1:
            raise ValueError(f"persistence={self.persistence} must lie in [0, 1): it is that of a stationary AR(1).")

    @property
    def note(self) -> str:
        return (
            f"The signal {HINT!r} tells the next bar's return on purpose, with correlation {self.strength:g}, and lasts"
            f" with persistence {self.persistence:g}, as no real column does."
        )

    def draw(self, key: PRNGKeyArray, num_bars: int) -> Drawn:
        """Draw bars and hints; row t of the hints is known at close t."""
        hint_key, bar_key = jax.random.split(key)
        # One hint more than bars: the first return, too, had one.
        hints = draw_persistent(hint_key, self.persistence, num_bars + 1, self.num_assets)
        promised = self.strength * self.volatility * hints[:-1]
        deviation = jnp.full_like(promised, self.volatility * np.sqrt(1 - self.strength**2))
        return Drawn(around_promise(bar_key, promised, deviation, self.tail), hints[1:])

    def law(self, num_bars: int, state: np.ndarray | None = None) -> HintLaw:
        """Return what the hint tells."""
        volatility = np.full((1, self.num_assets), self.volatility)
        path = np.zeros(num_bars, np.int32)
        return HintLaw("persistent", self.strength, volatility, path, self.persistence, tail=self.tail)
