"""Returns to numbers: one pure NumPy function per metric.

Conventions, the same everywhere:

- `returns` is `[N]` simple returns per period; wealth starts at 1 before the first of them.
- `periods` is the number of return periods in a year (252 for daily returns).
- NaN in `returns` is a period whose return is not known: wealth stays where it is, moments and quantiles leave it out.
- What is not defined (too few returns, a denominator of zero) is NaN, never a warning or an exception.

Source: formulas as in empyrical, which the tests hold them to.
"""

import numpy as np
from jaxtyping import Float, Int

NAN = float("nan")

ROUNDING = 1e-13
"""A spread of returns below this is rounding: returns are differences of float64 numbers near 1."""


def total_return(returns: Float[np.ndarray, " N"]) -> float:
    """Return `Π(1 + r) - 1`."""
    return float(wealth_of(returns)[-1] - 1.0) if np.size(returns) else NAN


def annual_return(returns: Float[np.ndarray, " N"], periods: float = 252) -> float:
    """Return the geometric return per year, `Π(1 + r)^(periods / N) - 1`."""
    if not np.size(returns):
        return NAN
    with np.errstate(all="ignore"):
        return float(np.float64(wealth_of(returns)[-1]) ** (periods / np.size(returns)) - 1.0)


def annual_volatility(returns: Float[np.ndarray, " N"], periods: float = 252) -> float:
    """Return `std(r, ddof=1) * √periods`."""
    known = known_of(returns)
    return float(known.std(ddof=1) * np.sqrt(periods)) if known.size > 1 else NAN


def sharpe(returns: Float[np.ndarray, " N"], periods: float = 252, risk_free: float = 0.0) -> float:
    """Return `mean(r - risk_free) / std(r, ddof=1) * √periods`; `risk_free` is a return per period."""
    excess = known_of(returns) - risk_free
    if excess.size < 2:
        return NAN
    return ratio_of(excess.mean() * np.sqrt(periods), excess.std(ddof=1))


def sortino(returns: Float[np.ndarray, " N"], periods: float = 252, required: float = 0.0) -> float:
    """Return `mean(x) / √mean(min(x, 0)²) * √periods`, `x = r - required`; the lower mean is over all N periods."""
    excess = known_of(returns) - required
    if excess.size < 2:
        return NAN
    return ratio_of(excess.mean() * np.sqrt(periods), np.sqrt(np.mean(np.minimum(excess, 0.0) ** 2)))


def calmar(returns: Float[np.ndarray, " N"], periods: float = 252) -> float:
    """Return the annual return over the size of the largest drawdown."""
    return ratio_of(annual_return(returns, periods), -max_drawdown(returns))


def max_drawdown(returns: Float[np.ndarray, " N"]) -> float:
    """Return the largest fall of wealth from its highest value so far, as a fraction at or below 0."""
    if not np.size(returns):
        return NAN
    wealth = wealth_of(returns)
    return float(np.min(wealth / np.maximum.accumulate(wealth)) - 1.0)


def max_drawdown_bars(returns: Float[np.ndarray, " N"]) -> float:
    """Return the most periods from a peak of wealth until it is reached again, or until the end; 0 without a fall."""
    if not np.size(returns):
        return NAN
    peaks, recoveries = drawdown_spells(wealth_of(returns))
    return float(np.max(recoveries - peaks, initial=0))


def recovery_bars(returns: Float[np.ndarray, " N"]) -> float:
    """Return the periods from the bottom of the largest drawdown until its peak is reached again.

    NaN if there was no drawdown or it has not recovered by the end.
    """
    if not np.size(returns):
        return NAN
    wealth = wealth_of(returns)
    peaks = np.maximum.accumulate(wealth)
    bottom = int(np.argmin(wealth / peaks))
    back = np.flatnonzero(wealth[bottom:] >= peaks[bottom] * (1.0 - ROUNDING))
    return float(back[0]) if wealth[bottom] < peaks[bottom] * (1.0 - ROUNDING) and back.size else NAN


def drawdown_spells(
    wealth: Float[np.ndarray, " rows"],
) -> tuple[Int[np.ndarray, " spells"], Int[np.ndarray, " spells"]]:
    """Return the row of the peak and the row of the recovery of every drawdown, in order.

    Args:
        wealth: `[N+1]` wealth by bar.

    Returns:
        Two int arrays of one length; the last spell ends in row N if it has not recovered by then (wealth there is
        below the peak).
    """
    at_high = np.flatnonzero(wealth >= np.maximum.accumulate(wealth) * (1.0 - ROUNDING))
    next_high = np.append(at_high[1:], wealth.size)
    fell = next_high - at_high > 1
    return at_high[fell], np.minimum(next_high[fell], wealth.size - 1)


def var_95(returns: Float[np.ndarray, " N"]) -> float:
    """Return the historical 5 % quantile of the returns (linear interpolation), a loss below 0."""
    known = known_of(returns)
    return float(np.percentile(known, 5)) if known.size else NAN


def cvar_95(returns: Float[np.ndarray, " N"]) -> float:
    """Return the mean of the `int((N - 1) * 0.05) + 1` lowest returns."""
    known = known_of(returns)
    if not known.size:
        return NAN
    cutoff = int((known.size - 1) * 0.05)
    return float(np.mean(np.partition(known, cutoff)[: cutoff + 1]))


def omega(returns: Float[np.ndarray, " N"], periods: float = 252, required: float = 0.0) -> float:
    """Return gains over losses around a required return per year: `Σ(r - θ)⁺ / Σ(θ - r)⁺`, `θ` per period."""
    known = known_of(returns)
    if np.size(returns) < 2 or required <= -1:
        return NAN
    excess = known - ((1.0 + required) ** (1.0 / periods) - 1.0)
    return ratio_of(np.maximum(excess, 0.0).sum(), np.maximum(-excess, 0.0).sum())


def tail_ratio(returns: Float[np.ndarray, " N"]) -> float:
    """Return `|95 % quantile| / |5 % quantile|` of the returns."""
    known = known_of(returns)
    if not known.size:
        return NAN
    low, high = np.percentile(known, [5, 95])
    return ratio_of(abs(high), abs(low))


def skew(returns: Float[np.ndarray, " N"]) -> float:
    """Return the third standardised moment (population form)."""
    return _moment(returns, 3)


def kurtosis(returns: Float[np.ndarray, " N"]) -> float:
    """Return the fourth standardised moment minus 3 (population form; 0 for a normal law)."""
    return _moment(returns, 4) - 3.0


def known_of(returns: Float[np.ndarray, " N"]) -> Float[np.ndarray, " known"]:
    """Return the returns that are known, as float64."""
    returns = np.asarray(returns, np.float64)
    return returns[np.isfinite(returns)]


def wealth_of(returns: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N+1"]:
    """Return `[N+1]` wealth by period, 1 before the first return; it stays where it is where a return is not known."""
    returns = np.asarray(returns, np.float64)
    with np.errstate(all="ignore"):
        return np.cumprod(np.append(1.0, 1.0 + np.where(np.isfinite(returns), returns, 0.0)))


def ratio_of(numerator: float, denominator: float) -> float:
    """Return a quotient, NaN where the denominator is not above rounding."""
    return float(numerator / denominator) if denominator > ROUNDING else NAN


def _moment(returns: np.ndarray, power: int) -> float:
    known = known_of(returns)
    if not known.size:
        return NAN
    centred = known - known.mean()
    spread = centred.std()
    return float(np.mean((centred / spread) ** power)) if spread > ROUNDING else NAN
