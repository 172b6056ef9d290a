"""Slices: how a history that does not fit is cut, and in which order slices are trained on.

Letters: T bars.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """How the T bars of a history are cut into slices of one length.

    Attributes:
        length: bars of every slice.
        first: of each slice its first bar, ascending. Each begins where episodes of the one before may no longer begin;
            the last one ends with the history, and begins so much earlier.
    """

    length: int
    first: tuple[int, ...]

    @classmethod
    def of(cls, num_bars: int, length: int, overlap: int) -> "Plan":
        """Return the plan of a history.

        Args:
            num_bars: T, more than `length`.
            length: bars of a slice.
            overlap: bars that a slice shares with the next one: those that an episode and a memory need beyond the bar
                at which it may begin.

        Raises:
            ValueError: if no episode may begin in a slice of that length.
        """
        fresh = length - overlap
        if fresh < 1:
            raise ValueError(
                f"device_bars={length} is too short: an episode, what a network remembers before it and one bar more"
                f" are {overlap} bars, and some more have to be there to begin at. Give at least {2 * overlap}, or"
                " lower episode_length."
            )
        last = num_bars - length
        return cls(length, (*range(0, last, fresh), last))

    @property
    def number(self) -> int:
        """How many slices there are."""
        return len(self.first)

    def turn(self, seed: int, turn: int) -> int:
        """Return which slice is trained on in a turn, from 0: all of them in random order, then in another, and so on.

        Args:
            seed: of the run.
            turn: how many slices were trained on before.
        """
        round_number, place = divmod(turn, self.number)
        order = np.random.default_rng([seed, round_number]).permutation(self.number)
        return int(order[place])
