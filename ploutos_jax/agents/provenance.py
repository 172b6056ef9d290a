"""Provenance: how the bars that an agent is scored on relate to those that it was trained and chosen on."""

import dataclasses
from typing import Literal

Sample = Literal["in_sample", "out_of_sample", "unknown"]

Relation = Literal[
    "unknown", "after_training", "before_training", "overlaps_training", "overlaps_selection", "cross_validated"
]

DateSpan = tuple[str, str]
"""First and last date, YYYY-MM-DD."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What is known of the bars behind a result. Facts only: the report makes sentences of them.

    Attributes:
        relation: of the scored bars to training: `after_training` and `before_training` share no bar with it,
            `overlaps_training` does, `overlaps_selection` shares bars with those by whose score the agent was chosen
            among the agents of its run, `cross_validated` scores each bar by an agent that neither trained nor was
            chosen on it; `unknown` says nothing.
        trained_on: dates of the training bars, if they are known and are the same for every scored bar.
        chosen_on: dates of the bars by whose score the agent was chosen, if it was.
        update: of training after which the agent was taken, if there is one agent.
    """

    relation: Relation = "unknown"
    trained_on: DateSpan | None = None
    chosen_on: DateSpan | None = None
    update: int | None = None

    @property
    def sample(self) -> Sample:
        """Whether the scored bars lie outside those of training; `unknown` too where the agent was chosen on them."""
        if self.relation in ("after_training", "before_training", "cross_validated"):
            return "out_of_sample"
        return "in_sample" if self.relation == "overlaps_training" else "unknown"


UNKNOWN = Provenance()
