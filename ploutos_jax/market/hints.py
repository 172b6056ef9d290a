"""What the column `hint` of a made market tells: its law, on the host, beside the labels of the bars that it made.

Rules that know the truth (oracles) and scores in expectation read it. No agent and no compiled program sees it.
"""

import dataclasses
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

HINT = "hint"
"""The signal of a made market that tells of returns; as a feature it is `signal_hint`."""

HINT_FEATURE = f"signal_{HINT}"

HintKind = Literal["planted", "persistent", "lag", "regimes", "edge"]


@dataclasses.dataclass(frozen=True, eq=False)
class HintLaw:
    """How returns follow from hints; P paths, A assets, T bars.

    Attributes:
        kind: which of the makers below `market.synthetic` made the bars.
        strength: promise for one unit of hint, in volatilities of a bar.
        volatility: `[P, A]` of a bar, the constant by which `strength` is scaled.
        path: `[T]` row of `volatility` that holds for a bar.
        persistence: of the hint from bar to bar, on its path.
        lags: how many bars before t the hints lie that tell, at close t, the return of bar t + 1; one each.
        stay: chance that the regime of a bar is that of the next, where there are two; 1 where there is one.
        sizes: factor on volatility in each regime; in the second one the hint tells the opposite.
        state: `[T]` regime that rules the return of bar t + 1, 0 or 1; None where there is one. Nobody can know it.
        tail: degrees of freedom of what the hint does not tell.
    """

    kind: HintKind
    strength: float
    volatility: Float[np.ndarray, "P A"]
    path: Int[np.ndarray, " T"]
    persistence: float = 0.0
    lags: tuple[int, ...] = (0,)
    stay: float = 1.0
    sizes: tuple[float, float] = (1.0, 1.0)
    state: Int[np.ndarray, " T"] | None = None
    tail: float = 5.0

    @property
    def volatility_by_bar(self) -> Float[np.ndarray, "T A"]:
        """`[T, A]` the volatility that holds for each bar."""
        return self.volatility[self.path]

    def rows(self, rows: Any) -> "HintLaw":
        """Return the law of some bars, given by a slice or by row numbers."""
        state = None if self.state is None else self.state[rows]
        return dataclasses.replace(self, path=self.path[rows], state=state)

    def columns(self, columns: Any) -> "HintLaw":
        """Return the law of some assets, given by their numbers."""
        return dataclasses.replace(self, volatility=self.volatility[:, columns])
