"""Returns by calendar month, and what they come to over the trading days of one."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from ploutos_jax.evaluate.metrics.returns import NAN, total_return

TRADING_DAYS = (21, 22)
"""Trading days of a month, by the two counts in use."""


def monthly_returns(times: Shaped[np.ndarray, " _"], returns: Float[np.ndarray, " N"]) -> pd.DataFrame:
    """Return the compounded return of every calendar month, a row per year, and of the year.

    The first and the last month may be parts of one. NaN is a month without a return.

    Args:
        times: `[N]` dates of the returns (when each became known).
        returns: `[N]` simple returns.

    Returns:
        Index: years, ascending. Columns: 1 to 12, and `year`.
    """
    times, returns = np.asarray(times), np.asarray(returns, np.float64)
    if times.shape != returns.shape:
        raise ValueError(f"There are {times.size} dates for {returns.size} returns; give one for each.")
    months = times.astype("datetime64[M]").astype(np.int64)
    grown = pd.Series(np.where(np.isfinite(returns), returns, 0.0) + 1.0).groupby(months).prod() - 1.0
    years = 1970 + np.asarray(grown.index) // 12
    table = pd.DataFrame(np.nan, index=pd.Index(np.unique(years), name="year"), columns=list(range(1, 13)))
    for month, value in zip(np.asarray(grown.index), grown, strict=True):
        table.loc[1970 + int(month) // 12, int(month) % 12 + 1] = value
    table["year"] = (table.fillna(0.0) + 1.0).prod(axis=1) - 1.0
    return table


def projected_return(returns: Float[np.ndarray, " N"], days: int, periods_per_day: float = 1.0) -> float:
    """Return what the mean growth per period comes to over trading days: `Π(1 + r)^(days · periods_per_day / N) - 1`.

    It is arithmetic on returns that were had, not a forecast.

    Args:
        returns: `[N]` simple returns.
        days: trading days.
        periods_per_day: periods of return in one, below 1 for bars longer than a day.
    """
    with np.errstate(all="ignore"):
        growth = np.float64(1.0 + total_return(returns))
        return float(growth ** (days * periods_per_day / np.size(returns)) - 1.0) if np.size(returns) else NAN
