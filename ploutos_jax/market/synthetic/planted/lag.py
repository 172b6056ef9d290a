"""A hint that tells late: only who remembers it for weeks earns from it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ploutos_jax.market.hints import HINT, HintLaw
from ploutos_jax.market.synthetic.planted.bars import around_promise, check_numbers
from ploutos_jax.market.synthetic.planted.hinted import Drawn

LAGS = (20, 60)


@dataclasses.dataclass(frozen=True)
class Lag:
    """Hints, standard normal and independent of each other, of which two of the past tell the next return.

        E[simple return of bar t + 1 | everything up to t] = strength · volatility · (hint_(t−20) + hint_(t−60)) / √2

    The rest is Student-t and a martingale difference. The hint of bar t itself says nothing of the return after it, so
    that a network which sees bar t alone finds nothing.

    Attributes:
        num_assets: A.
        strength: in [0, 1], correlation of the two hints' sum and the return.
        volatility: standard deviation of a bar's return.
        tail: degrees of freedom of the rest.
        num_noise: signals beside the hint that tell nothing.
    """

    num_assets: int = 30
    strength: float = 0.3
    volatility: float = 0.01
    tail: float = 5.0
    num_noise: int = 3

    def __post_init__(self) -> None:
        check_numbers(self.num_assets, 1, self.strength, self.num_noise, self.volatility, self.tail)

    @property
    def note(self) -> str:
        return (
            f"The signal {HINT!r} of {LAGS[0]} and of {LAGS[1]} bars ago tells the next bar's return on purpose, with"
            f" correlation {self.strength:g}, as no real column does."
        )

    def draw(self, key: PRNGKeyArray, num_bars: int) -> Drawn:
        """Draw bars and hints; row t of the hints is known at close t."""
        hint_key, bar_key = jax.random.split(key)
        before = max(LAGS) + 1
        # Returns of the first bars were told of before the first bar.
        hints = jax.random.normal(hint_key, (before + num_bars, self.num_assets))
        told = sum(hints[before - 1 - lag : before - 1 - lag + num_bars] for lag in LAGS)
        promised = self.strength * self.volatility * told / np.sqrt(len(LAGS))
        deviation = jnp.full_like(promised, self.volatility * np.sqrt(1 - self.strength**2))
        return Drawn(around_promise(bar_key, promised, deviation, self.tail), hints[before:])

    def law(self, num_bars: int, state: np.ndarray | None = None) -> HintLaw:
        """Return what the hint tells."""
        volatility = np.full((1, self.num_assets), self.volatility)
        return HintLaw("lag", self.strength, volatility, np.zeros(num_bars, np.int32), lags=LAGS, tail=self.tail)
