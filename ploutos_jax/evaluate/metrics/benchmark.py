"""A strategy's returns against a benchmark's: alpha, beta, information ratio; conventions as in `return_metrics`.

`returns` and `benchmark` are `[N]` over the same periods; periods where either is NaN are left out.
"""

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.metrics.returns import NAN, ROUNDING, ratio_of


def beta(returns: Float[np.ndarray, " N"], benchmark: Float[np.ndarray, " _"]) -> float:
    """Return `cov(r, b) / var(b)`."""
    own, other = _pair(returns, benchmark)
    if own.size < 2 or other.std() < ROUNDING:
        return NAN
    centred = other - other.mean()
    return float((centred * own).mean() / (centred**2).mean())


def alpha(
    returns: Float[np.ndarray, " N"], benchmark: Float[np.ndarray, " _"], periods: float = 252, risk_free: float = 0.0
) -> float:
    """Return what the benchmark does not explain, a year: `(1 + mean(r - rf - β (b - rf)))^periods - 1`.

    `risk_free` is a return per period.
    """
    own, other = _pair(returns, benchmark)
    slope = beta(own, other)
    return float((1 + (own - risk_free - slope * (other - risk_free)).mean()) ** periods - 1) if own.size else NAN


def tracking_error(returns: Float[np.ndarray, " N"], benchmark: Float[np.ndarray, " _"], periods: float = 252) -> float:
    """Return `std(r - b, ddof=1) * √periods`."""
    own, other = _pair(returns, benchmark)
    return float((own - other).std(ddof=1) * np.sqrt(periods)) if own.size > 1 else NAN


def information_ratio(
    returns: Float[np.ndarray, " N"], benchmark: Float[np.ndarray, " _"], periods: float = 252
) -> float:
    """Return `mean(r - b) / std(r - b, ddof=1) * √periods`."""
    own, other = _pair(returns, benchmark)
    if own.size < 2:
        return NAN
    lead = own - other
    return ratio_of(lead.mean() * np.sqrt(periods), lead.std(ddof=1))


def correlation(returns: Float[np.ndarray, " N"], benchmark: Float[np.ndarray, " _"]) -> float:
    """Return Pearson's correlation of the two."""
    own, other = _pair(returns, benchmark)
    if own.size < 2:
        return NAN
    return ratio_of(((own - own.mean()) * (other - other.mean())).mean(), own.std() * other.std())


def _pair(returns: np.ndarray, benchmark: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    own, other = np.asarray(returns, np.float64), np.asarray(benchmark, np.float64)
    if own.shape != other.shape:
        raise ValueError(
            f"The strategy has {own.size} returns, the benchmark {other.size}: give both over the same periods."
        )
    known = np.isfinite(own) & np.isfinite(other)
    return own[known], other[known]
