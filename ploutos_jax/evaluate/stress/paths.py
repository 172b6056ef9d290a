"""The draws of a stress scenario that are worth looking at: the one in the middle, and the worst."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped


@dataclasses.dataclass(frozen=True, eq=False)
class StressedDraw:
    """One draw of a scenario.

    Attributes:
        equity: `[N+1]` dollars at the close of each bar of the span.
        without: `[N+1]` of the same draw, the same random numbers, without the shock.
        first, last: rows of the shock.
        change: total return less that without the shock.
    """

    equity: Float[np.ndarray, " rows"]
    without: Float[np.ndarray, " rows"]
    first: int
    last: int
    change: float


@dataclasses.dataclass(frozen=True, eq=False)
class StressPath:
    """What a scenario did to the account, in two draws.

    Attributes:
        scenario: its name.
        times: `[N+1]` of the bars of the span.
        median: the draw whose total return the shock changed by the median (the lower of the two in the middle).
        worst: the draw whose total return it lowered most.
        draws: how many there were.
    """

    scenario: str
    times: Shaped[np.ndarray, " rows"]
    median: StressedDraw
    worst: StressedDraw
    draws: int


def choose_path(
    scenario: str,
    times: Shaped[np.ndarray, " rows"],
    equity: Float[np.ndarray, "rows draws"],
    without: Float[np.ndarray, "rows draws"],
    first: Int[np.ndarray, " draws"],
    last: Int[np.ndarray, " draws"],
) -> StressPath:
    """Return the median and the worst draw of a scenario.

    Args:
        scenario: its name.
        times: of the bars of the span.
        equity: by bar and draw; `without` the same draws without the shock.
        first, last: rows of each draw's shock; the last is cut to the span.
    """
    change = equity[-1] / equity[0] - without[-1] / without[0]
    order = np.argsort(change, kind="stable")

    def draw(place: int) -> StressedDraw:
        at = int(order[place])
        end = min(int(last[at]), len(times) - 1)
        return StressedDraw(equity[:, at], without[:, at], int(first[at]), end, float(change[at]))

    return StressPath(scenario, times, draw((len(order) - 1) // 2), draw(0), len(order))
