"""Times to an event of which some are not seen to their end."""

import numpy as np
from jaxtyping import Bool, Float, Num


def kaplan_meier(
    durations: Num[np.ndarray, " cases"], observed: Bool[np.ndarray, " cases"]
) -> tuple[Float[np.ndarray, " events"], Float[np.ndarray, " events"]]:
    """Return the times at which events happened and the share that lasts longer than each.

    `S(t) = Π_{t_i ≤ t} (1 - d_i / n_i)` with d_i events at t_i and n_i cases that had lasted until then. A case that is
    censored at the time of an event counts as having lasted through it.

    Args:
        durations: `[cases]` time to the event, or to the end of what was seen.
        observed: `[cases]` bool, False where the event had not happened by then.

    Source: Kaplan and Meier (1958).
    """
    durations, observed = np.asarray(durations, np.float64), np.asarray(observed, bool)
    times, events = np.unique(durations[observed], return_counts=True)
    at_risk = (durations[None, :] >= times[:, None]).sum(axis=1)
    return times, np.cumprod(1 - events / np.maximum(at_risk, 1))


def median_time(durations: Num[np.ndarray, " cases"], observed: Bool[np.ndarray, " cases"]) -> float:
    """Return the time after which at most half are without the event, by Kaplan and Meier.

    Infinite where more than half may last beyond all that was seen; NaN without any case.
    """
    if np.size(durations) == 0:
        return float("nan")
    times, lasting = kaplan_meier(durations, observed)
    # A hair of tolerance: products of fractions miss one half by rounding.
    over = np.flatnonzero(lasting <= 0.5 + 1e-12)
    return float(times[over[0]]) if over.size else float("inf")
