"""Which bars a sweep chooses on: the last of the training bars, apart from both training and test."""

import dataclasses
from typing import NamedTuple

from ploutos_jax.datasets.config import DataConfig, split_market
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market

_LABEL_BARS = 1
"""Bars after a row that what is learnt at it rests on."""
_FEWEST = 20


class Choosing(NamedTuple):
    """The bars of a sweep.

    Attributes:
        data: settings by which a run trains on the first bars and is scored on those to choose on.
        trained, chosen: first and last moment of either.
        tested_from: first moment of the bars held out, which nothing is chosen by; None where there are none.
        test: those bars.
    """

    data: DataConfig
    trained: tuple[str, str]
    chosen: tuple[str, str]
    tested_from: str | None
    test: Market | None


def choosing_bars(market: Market, data: DataConfig, share: float, embargo: int) -> Choosing:
    """Split the training bars of some settings into those to train on and, after a gap, those to choose on.

    Between the two lie `1 + embargo` bars, so that nothing that is learnt rests on a bar that is chosen by, and
    `embargo` bars before the test.

    Args:
        market: the whole history.
        data: what a run would train on, and hold out.
        share: of its training bars that are to choose on.
        embargo: bars left out.

    Raises:
        ValueError: if the data is not one stretch of time, or too few bars are left.
    """
    if data.spans is not None or data.paths > 1:
        raise ValueError("A sweep chooses on the last bars of one stretch of time: leave out spans and paths.")
    if data.eval_start is not None or data.eval_end is not None:
        raise ValueError("A sweep sets eval_start and eval_end itself, within the training bars: leave them out.")
    training, test = split_market(market, data)
    number = training.num_bars
    first = number - round(share * number)
    trained, chosen = first - _LABEL_BARS - embargo, number - embargo
    if trained < _FEWEST or chosen - first < _FEWEST:
        raise ValueError(
            f"choose={share:g} and embargo={embargo} leave {max(trained, 0)} bars to train on and"
            f" {max(chosen - first, 0)} to choose on, of {number}; at least {_FEWEST} of each are needed."
        )

    def moment(row: int) -> str:
        return name_moment(training.times[row])

    narrowed = dataclasses.replace(data, end=moment(trained - 1), eval_start=moment(first), eval_end=moment(chosen - 1))
    tested = None if test is None else name_moment(test.times[0])
    return Choosing(narrowed, (moment(0), moment(trained - 1)), (moment(first), moment(chosen - 1)), tested, test)
