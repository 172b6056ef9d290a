"""Scores on bars kept out of training, taken while a run goes on, and the best agent so far."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from ploutos_jax.agents.agent import Agent

SCORE_KEY = "score"
HELD_OUT_PREFIX = "held_out_"
"""Of the scores among the figures of an update."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How a run is scored on bars that it does not train on.

    Attributes:
        score: from an agent to figures; `score` among them is what decides, more is better, and None or no finite
            number counts as no score.
        first, last: first and last of those bars, as `labels.name_moment` writes them.
        ends_training: whether the score decides when training ends; the last agent is then chosen by it, too.
    """

    score: Callable[[Agent], Mapping[str, float | None]]
    first: str = ""
    last: str = ""
    ends_training: bool = False

    def figures(self, agents: tuple[Agent, ...]) -> dict[str, float | None]:
        """Return the figures of one update: means over seeds, None where one of them has none."""
        scores = [self.score(agent) for agent in agents]
        if any(SCORE_KEY not in score for score in scores):
            raise ValueError(
                f"The held-out score returned {sorted(scores[0])}; a figure named {SCORE_KEY!r} is needed."
            )
        return {name: _mean([score.get(name) for score in scores]) for name in scores[0]}

    def described(self) -> dict[str, Any]:
        """Return what the description of an agent chosen by the score says of that."""
        return {"chosen_on": [self.first, self.last] if self.first else []}


def _mean(values: list[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if len(known) == len(values) else None
