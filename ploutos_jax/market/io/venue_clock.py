"""A venue's clock: this machine's, put right by what the venue says now and then, and never ahead of the venue's."""

from collections.abc import Callable

_AGAIN_SECONDS = 600.0
"""How long a comparison of the two clocks holds."""


class VenueClock:
    """Tells what time it is at a venue.

    The venue's word is as old as the answer took at most, so that it is taken for that old: a bar that is over by this
    clock is over at the venue.

    Args:
        ask: what the venue says, seconds since 1970; any error means that it is away, and the old comparison holds.
        own: seconds since 1970 by this machine.
    """

    def __init__(self, ask: Callable[[], float], own: Callable[[], float]) -> None:
        self._ask, self._own = ask, own
        self._skew, self._compared = 0.0, float("-inf")

    def now(self) -> float:
        """Return the time at the venue, seconds since 1970."""
        own = self._own()
        if own - self._compared <= _AGAIN_SECONDS:
            return own + self._skew
        self._compared = own
        try:
            told = self._ask()
        except ValueError:  # keys that are refused, say
            raise
        except Exception:
            return own + self._skew
        own = self._own()
        self._skew = told - own
        return told
