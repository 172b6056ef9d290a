"""Intervals and tests by resampling blocks of returns, which keeps the dependence of neighbouring days.

Indices of the stationary bootstrap, the choice of block length and the test of superior ability are those of the
library `arch`, imported when called.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.metrics.returns import NAN, ROUNDING, sharpe

RESAMPLES = 5000
FEWEST = 8
"""Returns below which nothing is resampled."""


class Interval(NamedTuple):
    """A confidence interval, the figure it belongs to, and the mean block length it was made with."""

    low: float
    high: float
    estimate: float
    block_length: float


class SharpeDifference(NamedTuple):
    """A test of two Sharpe ratios for a difference.

    Attributes:
        difference: of the annual Sharpe ratios, strategy minus benchmark.
        p_value: two-sided, for no difference.
        low, high: interval of the difference.
        block_length: bars in a block.
    """

    difference: float
    p_value: float
    low: float
    high: float
    block_length: int


def block_length(returns: Float[np.ndarray, " N"], *, circular: bool = False) -> float:
    """Return the block length that suits a series, at least 1: the mean one of the stationary bootstrap.

    Args:
        returns: `[N]`; their squares or products can be given too, and want longer blocks.
        circular: the length for blocks of one length instead.

    Source: Politis and White (2004), with the correction of 2009, as `arch.bootstrap.optimal_block_length` has it.
    """
    from arch.bootstrap import optimal_block_length

    known = _known(returns)
    if known.size < FEWEST or known.std() < ROUNDING:
        return 1.0
    length = float(optimal_block_length(known)["circular" if circular else "stationary"].iloc[0])
    return float(np.clip(length, 1.0, max(1.0, known.size / 3))) if np.isfinite(length) else 1.0


def usual_block(returns: Float[np.ndarray, " N"]) -> float:
    """Return the mean block length of intervals: `block_length`, and not below N to the power of 1/3.

    The estimate falls to 1 where it sees no dependence, and a block of one return would keep none at all.
    """
    return max(block_length(returns), float(_known(returns).size) ** (1 / 3))


def bootstrap_interval(
    returns: Float[np.ndarray, " N"] | Float[np.ndarray, "N series"],
    statistic: Callable[[np.ndarray], float] = sharpe,
    *,
    level: float = 0.95,
    mean_block: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a figure under the stationary bootstrap.

    Args:
        returns: `[N]`, or `[N, series]` for a figure of several series that belong together bar by bar. Rows with NaN
            are left out.
        statistic: returns to a figure, such as one of `metrics`.
        level: probability inside.
        mean_block: bars in a block on average; `usual_block` of the returns without it (of several columns, the
            longest).
        resamples: how many.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ValueError: if `level` is not in (0, 1) or `resamples` below 1.
    """
    from arch.bootstrap import StationaryBootstrap

    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level={level} must lie in (0, 1) and resamples={resamples} be at least 1.")
    values = np.asarray(returns, np.float64)
    values = values[np.isfinite(values if values.ndim == 1 else values.sum(axis=1))]
    estimate = float(statistic(values)) if len(values) else NAN
    if mean_block is None:
        mean_block = max(usual_block(column) for column in (values[:, None] if values.ndim == 1 else values).T)
    if len(values) < FEWEST:
        return Interval(NAN, NAN, estimate, mean_block)
    source = StationaryBootstrap(mean_block, values, seed=np.random.default_rng(seed))  # type: ignore[arg-type]  # stub
    figures = np.array([statistic(np.asarray(sample[0])) for sample, _ in source.bootstrap(resamples)])
    figures = figures[np.isfinite(figures)]
    if not figures.size:
        return Interval(NAN, NAN, estimate, mean_block)
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), estimate, mean_block)


def sharpe_difference(
    returns: Float[np.ndarray, " N"],
    benchmark: Float[np.ndarray, " _"],
    *,
    periods: float = 252,
    level: float = 0.95,
    block: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SharpeDifference:
    """Test whether two strategies over the same bars have different Sharpe ratios (studentised circular bootstrap).

    With `d` the difference and `s` its standard error, a resample counts as extreme where `|d* - d| / s*` reaches
    `|d| / s`. `s` comes from the delta method over the moments (μ₁, μ₂, E r₁², E r₂²) and a kernel estimate
    (quadratic spectral, automatic bandwidth) of the long-run variance, `s*` from the variance of block means.

    Args:
        returns, benchmark: `[N]` each; bars where either is NaN are left out.
        periods: in a year.
        level: of the interval.
        block: bars in a block; without it the length that suits the bars' parts in `d`, which move like the returns
            and their squares.
        resamples, seed: of the bootstrap.

    Raises:
        ValueError: if the two differ in length.

    Source: Ledoit and Wolf (2008), "Robust performance hypothesis testing with the Sharpe ratio".
    """
    from arch.covariance.kernel import QuadraticSpectral

    pair = np.stack([np.asarray(x, np.float64).ravel() for x in _same_length(returns, benchmark)], axis=1)
    pair = pair[np.isfinite(pair).all(axis=1)]
    num, scale = len(pair), np.sqrt(periods)
    if num < FEWEST or (pair.std(axis=0) < ROUNDING).any():
        return SharpeDifference(NAN, NAN, NAN, NAN, 1)
    moments = np.concatenate([pair, pair**2], axis=1)
    estimate, gradient = _difference_of(moments.mean(axis=0), num)
    influence = (moments - moments.mean(axis=0)) @ gradient
    if np.std(influence) < ROUNDING:  # the same strategy twice
        return SharpeDifference(0.0, 1.0, 0.0, 0.0, 1)
    error = np.sqrt(float(np.squeeze(QuadraticSpectral(influence, df_adjust=0).cov.long_run)) / num)
    block = round(block_length(influence, circular=True)) if block is None else block
    if not 1 <= block <= num // 2:
        raise ValueError(f"block={block} must lie in 1 to half of the {num} bars.")

    differences, errors = _resample_differences(moments, block, resamples, seed)
    studentised = np.abs(differences - estimate) / np.maximum(errors, ROUNDING)
    p_value = (1 + np.sum(studentised >= abs(estimate) / error)) / (resamples + 1)
    reach = float(np.quantile(studentised, level)) * error
    low, high = (estimate - reach) * scale, (estimate + reach) * scale
    return SharpeDifference(float(estimate * scale), float(p_value), float(low), float(high), block)


def superior_ability(
    strategies: Mapping[str, Float[np.ndarray, " N"]] | Float[np.ndarray, "N strategies"],
    benchmark: Float[np.ndarray, " N"],
    *,
    studentised: bool = True,
    mean_block: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> float:
    """Return the p-value for "none of these strategies has a higher mean return than the benchmark".

    Args:
        strategies: returns `[N]` by name, or `[N, strategies]`.
        benchmark: `[N]` returns.
        studentised: Hansen's test of superior predictive ability (consistent p-value); without it White's reality
            check.
        mean_block: of the stationary bootstrap; `block_length` of the best strategy's lead without it.
        resamples, seed: of the bootstrap.

    Source: White (2000); Hansen (2005); resampled by `arch.bootstrap.SPA`.
    """
    from arch.bootstrap import SPA

    columns = list(strategies.values()) if isinstance(strategies, Mapping) else np.asarray(strategies).T
    lead = np.stack([np.asarray(x, np.float64) for x in columns], axis=1) - np.asarray(benchmark, np.float64)[:, None]
    lead = lead[np.isfinite(lead).all(axis=1)]
    if len(lead) < FEWEST:
        return NAN
    mean_block = block_length(lead[:, lead.mean(axis=0).argmax()]) if mean_block is None else mean_block
    lead = lead[:, lead.std(axis=0) > ROUNDING]  # a copy of the benchmark has no spread
    if not lead.shape[1]:
        return 1.0
    if studentised:  # here: `SPA` compares means as they are, whatever its argument `studentize` says
        lead = lead / np.array([np.sqrt(_bootstrap_variance(column, mean_block)) for column in lead.T])
    test = SPA(
        np.zeros(len(lead)),
        -lead,
        block_size=max(1, round(mean_block)),
        reps=resamples,
        seed=np.random.default_rng(seed),
    )
    test.compute()
    # By position: lower, consistent, upper.
    return float(np.asarray(test.pvalues)[1 if studentised else 2])


def _bootstrap_variance(values: np.ndarray, mean_block: float) -> float:
    """Return the variance of `√N` times the mean of `[N]` values under the stationary bootstrap, by its closed form.

    Source: Politis and Romano (1994), equation 7.
    """
    num, restart = len(values), 1 / mean_block
    centred = values - values.mean()
    lags = np.arange(1, num)
    weights = (1 - lags / num) * (1 - restart) ** lags + lags / num * (1 - restart) ** (num - lags)
    covariances = np.correlate(centred, centred, "full")[num:] / num
    return max(float(centred @ centred / num + 2 * weights @ covariances), ROUNDING**2)


def _difference_of(means: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the difference of Sharpe ratios per period and its gradient, from `[..., 4]` moments (μ₁, μ₂, γ₁, γ₂)."""
    mean, square = means[..., :2], means[..., 2:]
    variance = np.maximum(square - mean**2, ROUNDING**2)
    # Sharpe ratios have ddof 1, moments have not.
    shrink = np.sqrt((num - 1) / num)
    sign = np.array([1.0, -1.0])
    difference = (sign * mean / np.sqrt(variance)).sum(axis=-1) * shrink
    by_mean = sign * square / variance**1.5 * shrink
    by_square = -sign * mean / (2 * variance**1.5) * shrink
    return difference, np.concatenate([by_mean, by_square], axis=-1)


def _resample_differences(moments: np.ndarray, block: int, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences of resamples of blocks and their standard errors, `[resamples]` each.

    A resample enters through the sums of its blocks only, and those are looked up.
    """
    num, num_blocks = len(moments), len(moments) // block
    centre = moments.mean(axis=0)
    around = np.concatenate([moments, moments[: block - 1]]) - centre
    total = np.concatenate([np.zeros((1, 4)), np.cumsum(around, axis=0)])
    sums = total[block:] - total[:-block]
    starts = np.random.default_rng(seed).integers(0, num, (resamples, num_blocks))
    differences, errors = np.empty(resamples), np.empty(resamples)
    for rows in np.array_split(np.arange(resamples), max(1, resamples * num_blocks // 500_000)):
        drawn = sums[starts[rows]]
        means = drawn.mean(axis=1) / block
        differences[rows], gradient = _difference_of(means + centre, num)
        parts = np.einsum("rlk,rk->rl", drawn - block * means[:, None], gradient) / np.sqrt(block)
        errors[rows] = np.sqrt((parts**2).mean(axis=1) / (num_blocks * block))
    return differences, errors


def _same_length(returns: np.ndarray, benchmark: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.size(returns) != np.size(benchmark):
        raise ValueError(
            f"The strategy has {np.size(returns)} returns, the benchmark {np.size(benchmark)}: give both over the same"
            " bars."
        )
    return returns, benchmark


def _known(returns: np.ndarray) -> np.ndarray:
    returns = np.asarray(returns, np.float64)
    return returns[np.isfinite(returns)]
