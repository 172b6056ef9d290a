"""How sure a Sharpe ratio is: probabilistic and deflated Sharpe ratio, track record, serial correlation.

Resampling, tests of differences, backtest overfitting and the count of trials have files of their own and are named
here too. Conventions are those of `metrics`: `returns` is `[N]` simple returns per period, NaN is left out, and what is
not defined is NaN. **Sharpe ratios are per period**, not annual: divide an annual one by the root of the periods in a
year.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from ploutos_jax.evaluate.inference.bootstrap import Interval as Interval
from ploutos_jax.evaluate.inference.bootstrap import SharpeDifference as SharpeDifference
from ploutos_jax.evaluate.inference.bootstrap import block_length as block_length
from ploutos_jax.evaluate.inference.bootstrap import bootstrap_interval as bootstrap_interval
from ploutos_jax.evaluate.inference.bootstrap import sharpe_difference as sharpe_difference
from ploutos_jax.evaluate.inference.bootstrap import superior_ability as superior_ability
from ploutos_jax.evaluate.inference.pbo import overfitting_logits as overfitting_logits
from ploutos_jax.evaluate.inference.pbo import overfitting_probability as overfitting_probability
from ploutos_jax.evaluate.inference.trials import Trials as Trials
from ploutos_jax.evaluate.inference.trials import count_trials as count_trials
from ploutos_jax.evaluate.inference.trials import read_trials as read_trials
from ploutos_jax.evaluate.metrics.returns import NAN, kurtosis, sharpe, skew

EULER = 0.5772156649015329


def probabilistic_sharpe(returns: Float[np.ndarray, " N"], benchmark_sharpe: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above `benchmark_sharpe` (per period).

    `Φ((SR - SR*) √(n - 1) / √(1 - γ₃ SR + (γ₄ - 1)/4 SR²))` with skewness γ₃ and raw kurtosis γ₄. Dependence between
    returns is not in it.

    Source: Bailey and López de Prado (2012), "The Sharpe ratio efficient frontier".
    """
    return probabilistic_sharpe_of(*_moments(returns), benchmark_sharpe=benchmark_sharpe)


def probabilistic_sharpe_of(
    sharpe_ratio: float, num_returns: int, skewness: float = 0.0, kurtosis: float = 3.0, benchmark_sharpe: float = 0.0
) -> float:
    """Return `probabilistic_sharpe` from moments; `kurtosis` is the raw one, 3 for a normal law."""
    error = _standard_error(sharpe_ratio, num_returns, skewness, kurtosis)
    return float(ndtr((sharpe_ratio - benchmark_sharpe) / error)) if error > 0 else NAN


def expected_maximum_sharpe(variance: float, num_trials: float) -> float:
    """Return the Sharpe ratio (per period) to be expected of the best of N trials without skill.

    `√V ((1 - g) Φ⁻¹(1 - 1/N) + g Φ⁻¹(1 - 1/(N e)))`, g being Euler's constant; 0 for one trial.

    Args:
        variance: V, of the trials' Sharpe ratios per period.
        num_trials: N, independent ones; see `effective_trials`.

    Raises:
        ValueError: if there is less than one trial or the variance is negative.
    """
    if not num_trials >= 1 or not variance >= 0:
        raise ValueError(
            f"num_trials={num_trials} must be at least 1 and the variance of their Sharpe ratios, {variance}, not"
            " negative."
        )
    if num_trials == 1:
        return 0.0
    quantiles = (1 - EULER) * ndtri(1 - 1 / num_trials) + EULER * ndtri(1 - 1 / (num_trials * np.e))
    return float(np.sqrt(variance) * max(quantiles, 0.0))


def deflated_sharpe(
    returns: Float[np.ndarray, " N"],
    trial_sharpes: Sequence[float] | Float[np.ndarray, " trials"],
    num_trials: float | None = None,
) -> float:
    """Return the probability that the true Sharpe ratio is above what the best of all trials shows by luck.

    It is `probabilistic_sharpe` against `expected_maximum_sharpe`. Seeds, checkpoints and settings that were tried
    are trials; `count_trials` counts them.

    Args:
        returns: those of the strategy that was chosen.
        trial_sharpes: Sharpe ratio per period of every trial that is known, the chosen one too; they give the variance
            (ddof 1). With fewer than two the sampling variance of a Sharpe ratio of 0, `1 / (n - 1)`, stands in.
        num_trials: how many trials there were, if more than are listed, or `effective_trials` if they are correlated.

    Source: Bailey and López de Prado (2014), "The deflated Sharpe ratio".
    """
    known = np.asarray(trial_sharpes, np.float64).ravel()
    known = known[np.isfinite(known)]
    own, num_returns, skewness, kurtosis = _moments(returns)
    if num_returns < 2:
        return NAN
    variance = float(known.var(ddof=1)) if known.size > 1 else 1 / (num_returns - 1)
    number = max(known.size, 1) if num_trials is None else num_trials
    return probabilistic_sharpe_of(own, num_returns, skewness, kurtosis, expected_maximum_sharpe(variance, number))


def effective_trials(returns: Float[np.ndarray, "N trials"]) -> float:
    """Return how many independent trials M correlated ones are worth, `ρ + (1 - ρ) M`, ρ their mean correlation.

    Args:
        returns: `[N, trials]` returns of the trials over the same periods.
    """
    returns = np.asarray(returns, np.float64)
    num_trials = returns.shape[1]
    if num_trials < 2:
        return float(num_trials)
    known = returns[np.isfinite(returns).all(axis=1)]
    with np.errstate(all="ignore"):
        correlation = np.corrcoef(known, rowvar=False)
    apart = correlation[~np.eye(num_trials, dtype=bool)]
    # A trial that never traded correlates with nothing.
    mean = float(np.clip(np.nan_to_num(apart).mean(), 0, 1))
    return mean + (1 - mean) * num_trials


def minimum_track_record(
    returns: Float[np.ndarray, " N"], benchmark_sharpe: float = 0.0, confidence: float = 0.95
) -> float:
    """Return how many returns it takes to tell the Sharpe ratio from `benchmark_sharpe`; infinite if it is not above.

    `1 + (1 - γ₃ SR + (γ₄ - 1)/4 SR²) (z / (SR - SR*))²`, z the one-sided quantile of `confidence`.
    """
    own, _, skewness, kurtosis = _moments(returns)
    return minimum_track_record_of(own, skewness, kurtosis, benchmark_sharpe, confidence)


def minimum_track_record_of(
    sharpe_ratio: float,
    skewness: float = 0.0,
    kurtosis: float = 3.0,
    benchmark_sharpe: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """Return `minimum_track_record` from moments; `kurtosis` is the raw one."""
    if np.isnan(sharpe_ratio):
        return NAN
    if sharpe_ratio <= benchmark_sharpe:
        return float("inf")
    spread = 1 - skewness * sharpe_ratio + (kurtosis - 1) / 4 * sharpe_ratio**2
    return float(1 + spread * (ndtri(confidence) / (sharpe_ratio - benchmark_sharpe)) ** 2)


def annual_factor(returns: Float[np.ndarray, " N"], periods: int = 252, num_lags: int | None = None) -> float:
    """Return the factor from the Sharpe ratio of a period to that of a year, serial correlation taken in.

    `P / √(P + 2 Σ_k (P - k) ρ_k)`; it is √P for returns without serial correlation. Worth the noise it brings where
    the first autocorrelation is beyond ±0.05.

    Args:
        returns: `[N]`.
        periods: P in a year.
        num_lags: autocorrelations to take in, 1 up to this; all below P without it.

    Source: Lo (2002), "The statistics of Sharpe ratios".
    """
    known = np.asarray(returns, np.float64)
    known = known[np.isfinite(known)]
    centred = known - known.mean() if known.size else known
    power = float(centred @ centred)
    if known.size < 2 or power == 0:
        return NAN
    lags = np.arange(1, min(periods - 1 if num_lags is None else num_lags, periods - 1, known.size - 1) + 1)
    correlation = np.array([centred[k:] @ centred[:-k] for k in lags]) / power
    variance = periods + 2 * float(((periods - lags) * correlation).sum())
    return float(periods / np.sqrt(variance)) if variance > 0 else NAN


def _moments(returns: np.ndarray) -> tuple[float, int, float, float]:
    """Return Sharpe ratio per period, number of returns, skewness and raw kurtosis."""
    return sharpe(returns, 1), int(np.isfinite(returns).sum()), skew(returns), kurtosis(returns) + 3.0


def _standard_error(sharpe_ratio: float, num_returns: int, skewness: float, kurtosis: float) -> float:
    variance = 1 - skewness * sharpe_ratio + (kurtosis - 1) / 4 * sharpe_ratio**2
    if num_returns < 2 or not variance > 0:
        return NAN
    return float(np.sqrt(variance / (num_returns - 1)))
