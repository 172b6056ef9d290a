"""Returns compounded over days, weeks, months, quarters and years: their quantiles, and the best and worst of them."""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from ploutos_jax.market.calendar import Calendar

Length = Literal["day", "week", "month", "quarter", "year"]

LENGTHS: tuple[Length, ...] = ("day", "week", "month", "quarter", "year")
"""Shortest first."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Those of `return_quantiles`: lowest, 5 %, the quartiles, 95 %, highest."""


def lengths_of(calendar: Calendar) -> tuple[Length, ...]:
    """Return the lengths over which returns can be compounded: none that is shorter than a bar."""
    shortest = next((i for i, length in enumerate(LENGTHS) if length == calendar.period), 0)
    return LENGTHS[shortest:]


def returns_by(days: Shaped[np.ndarray, " _"], returns: Float[np.ndarray, " N"], length: Length) -> pd.Series:
    """Return the compounded return of each day, ISO week, calendar month, quarter or year that has a known return.

    The first and the last may be parts of one. NaN in `returns` is a return that is not known, and left out.

    Args:
        days: `[N]` dates of the returns (the sessions in which they were earned).
        returns: `[N]` simple returns per bar.
        length: of a period.

    Returns:
        The index is the last of each period's days that has a known return, ascending.

    Raises:
        ValueError: if there is not one date for each return.
    """
    days, returns = np.asarray(days).astype("datetime64[D]"), np.asarray(returns, np.float64)
    if days.shape != returns.shape:
        raise ValueError(f"There are {days.size} dates for {returns.size} returns; give one for each.")
    known = np.isfinite(returns)
    days, returns = days[known], returns[known]
    groups = pd.Series(1.0 + returns).groupby(_period_of(days, length))
    last = pd.Series(days.astype("datetime64[ns]")).groupby(_period_of(days, length)).max()
    return pd.Series((groups.prod() - 1.0).to_numpy(), index=pd.DatetimeIndex(last, name=length))


def return_quantiles(returns: Float[np.ndarray, " N"]) -> Float[np.ndarray, "7"]:
    """Return `QUANTILES` of the known returns, linear between neighbours; NaN without any."""
    known = np.asarray(returns, np.float64)
    known = known[np.isfinite(known)]
    return np.quantile(known, QUANTILES) if known.size else np.full(len(QUANTILES), np.nan)


def extremes(returns: pd.Series, number: int) -> tuple[pd.Series, pd.Series]:
    """Return the highest and the lowest returns, the most extreme first; of equals, the earlier one.

    Args:
        returns: by date, as from `returns_by`.
        number: of each; fewer where there are fewer, and none is in both.
    """
    number = min(number, len(returns) // 2)
    best = returns.sort_values(ascending=False, kind="stable").iloc[:number]
    return best, returns.sort_values(kind="stable").iloc[:number]


def _period_of(days: np.ndarray, length: Length) -> np.ndarray:
    """Return a number for the period that each day lies in."""
    if length in ("day", "week"):
        numbers = days.astype(np.int64)
        return numbers if length == "day" else (numbers + 3) // 7  # 1970-01-01 was a Thursday, weeks begin on Monday
    months = days.astype("datetime64[M]").astype(np.int64)
    return months // {"month": 1, "quarter": 3, "year": 12}[length]
