"""Provenance: how the bars that an agent is scored on relate to those that it was trained and chosen on."""

import dataclasses
from typing import Any, Literal

import numpy as np

Sample = Literal["in_sample", "out_of_sample", "unknown"]

Relation = Literal[
    "unknown", "after_training", "before_training", "overlaps_training", "overlaps_selection", "cross_validated"
]

DateSpan = tuple[str, str]
"""First and last bar: a date YYYY-MM-DD, or for intraday bars a moment in UTC, YYYY-MM-DD HH:MM."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What is known of the bars behind a result. Facts only: the report makes sentences of them.

    Attributes:
        relation: of the scored bars to training: `after_training` and `before_training` share no bar with it,
            `overlaps_training` does, `overlaps_selection` shares bars with those by whose score the agent was chosen
            among the agents of its run, `cross_validated` scores each bar by an agent that neither trained nor was
            chosen on it; `unknown` says nothing.
        trained_on: dates of the training bars, if they are known and are the same for every scored bar.
        chosen_on: dates of the bars by whose score the agent was chosen, if it was; of `cross_validated` accounts, of
            those by which the tickers of all folds were chosen, where folds test some of them.
        update: of training after which the agent was taken, if there is one agent.
        other_bars: lengths of the bars of training and of those scored, such as "daily bars" and "intraday bars, 24 a
            session", where they differ; None where they do not, or that is not known.
    """

    relation: Relation = "unknown"
    trained_on: DateSpan | None = None
    chosen_on: DateSpan | None = None
    update: int | None = None
    other_bars: tuple[str, str] | None = None

    @property
    def sample(self) -> Sample:
        """Whether the scored bars lie outside those of training.

        `unknown` too where the agent was chosen on them, or where they are of another length than it was trained on.
        """
        if self.other_bars is not None and self.relation != "overlaps_training":
            return "unknown"
        if self.relation == "cross_validated" and self.chosen_on is not None:
            return "unknown"
        if self.relation in ("after_training", "before_training", "cross_validated"):
            return "out_of_sample"
        return "in_sample" if self.relation == "overlaps_training" else "unknown"


def relate(scored: tuple[Any, Any], trained_on: DateSpan | None, chosen_on: DateSpan | None) -> Relation:
    """Return how scored bars relate to those of training.

    The first scored bar is where the first decision is made: it may be the last training bar, as it earns nothing.

    Args:
        scored: times of the first and the last bar.
        trained_on, chosen_on: see `Provenance`. A date without a time of day is the whole day where the scored bars
            have times of day.
    """
    if trained_on is None:
        return "unknown"
    begin, end = (np.datetime64(time).astype("datetime64[ns]") for time in scored)
    if chosen_on is not None and begin < _last_moment(chosen_on[1], begin) and end > _first_moment(chosen_on[0]):
        return "overlaps_selection"
    if begin >= _last_moment(trained_on[1], begin):
        return "after_training"
    return "before_training" if end <= _first_moment(trained_on[0]) else "overlaps_training"


def _first_moment(text: str) -> np.datetime64:
    return np.datetime64(text.replace(" ", "T")).astype("datetime64[ns]")


def _last_moment(text: str, begin: np.datetime64) -> np.datetime64:
    """Return the last moment of a bar's text: that of its day, where only a date is known of an intraday bar."""
    moment = _first_moment(text)
    is_intraday = begin != begin.astype("datetime64[D]")
    return moment + np.timedelta64(1, "D") if len(text) == 10 and is_intraday else moment


UNKNOWN = Provenance()
