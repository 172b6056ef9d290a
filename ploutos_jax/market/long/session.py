"""The one feature that remembers its whole past: how much of a session is over, by the longest session before it.

Letters: T bars, A assets.
"""

import dataclasses

import numpy as np

NAME = "session_progress"


@dataclasses.dataclass
class SessionClock:
    """Counts sessions of each asset from piece to piece; see `features.indicators.levels.session_progress`.

    Attributes:
        session: `[A]` of the asset's last own bar.
        count: `[A]` its own bars in that session so far, 0 before the first.
        longest: `[A]` own bars of its longest session that is over.
    """

    session: np.ndarray
    count: np.ndarray
    longest: np.ndarray

    @classmethod
    def begin(cls, num_assets: int) -> "SessionClock":
        zeros = np.zeros(num_assets, np.int64)
        return cls(zeros, zeros, zeros)

    def progress(self, known: np.ndarray, sessions: np.ndarray) -> np.ndarray:
        """Return `[T, A]` the feature of the next T bars, 0 where an asset has no bar or no session before.

        Args:
            known: `[T, A]` bool, where an asset has a bar.
            sessions: `[T]` trading days.
        """
        found = np.zeros(known.shape, np.float32)
        for row, own in enumerate(known):
            starts = own & (self.count > 0) & (self.session != sessions[row])
            self.longest = np.where(starts, np.maximum(self.longest, self.count), self.longest)
            self.count = np.where(starts, 1, self.count + own)
            self.session = np.where(own, sessions[row], self.session)
            of_longest = self.count.astype(np.float32) / np.maximum(self.longest, 1).astype(np.float32)
            found[row] = np.where(own & (self.longest > 0), np.minimum(of_longest, 1), 0)
        return found
