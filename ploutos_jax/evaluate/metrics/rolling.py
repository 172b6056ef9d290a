"""Metrics over a moving window of returns, known at the close of the window's last period.

Each returns `[N]`: row i is over `returns[i - window + 1 : i + 1]`, NaN before the first whole window. NaN inside a
window is left out, as in `return_metrics`, whose formulas these are; a figure that is not defined is NaN.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.metrics.returns import ROUNDING

BLOCK = 4096
"""Windows worked on at once: a window of a year on a million returns would be two gigabytes."""

Windows = Float[np.ndarray, "rows window"]


def rolling_sharpe(
    returns: Float[np.ndarray, " N"], window: int, periods: float = 252, risk_free: float = 0.0
) -> Float[np.ndarray, " N"]:
    """Return the Sharpe ratio of each window, annual; `risk_free` is a return per period."""

    def figure(windows: Windows) -> np.ndarray:
        return _quotient((_mean(windows) - risk_free) * np.sqrt(periods), _std(windows))

    return _roll(figure, window, returns)


def rolling_volatility(returns: Float[np.ndarray, " N"], window: int, periods: float = 252) -> Float[np.ndarray, " N"]:
    """Return the volatility of each window, annual."""
    return _roll(lambda windows: _std(windows) * np.sqrt(periods), window, returns)


def rolling_beta(
    returns: Float[np.ndarray, " N"], benchmark: Float[np.ndarray, " _"], window: int
) -> Float[np.ndarray, " N"]:
    """Return the beta of each window against a benchmark over the same periods."""

    def figure(own: Windows, other: Windows) -> np.ndarray:
        known = np.isfinite(own) & np.isfinite(other)
        own, other = np.where(known, own, np.nan), np.where(known, other, np.nan)
        centred = other - _mean(other)[:, None]
        variance = _mean(centred**2)
        return np.where(variance > ROUNDING**2, _quotient(_mean(centred * own), variance, 0.0), np.nan)

    if np.shape(returns) != np.shape(benchmark):
        raise ValueError(f"returns have shape {np.shape(returns)}, the benchmark {np.shape(benchmark)}.")
    return _roll(figure, window, returns, benchmark)


def rolling_drawdown(returns: Float[np.ndarray, " N"], window: int) -> Float[np.ndarray, " N"]:
    """Return the largest fall inside each window, from a peak inside it (its start too), at or below 0."""

    def figure(windows: Windows) -> np.ndarray:
        grown = np.cumprod(1.0 + np.nan_to_num(windows), axis=1)
        wealth = np.concatenate([np.ones((len(grown), 1)), grown], axis=1)
        return (wealth / np.maximum.accumulate(wealth, axis=1)).min(axis=1) - 1.0

    return _roll(figure, window, returns)


def rolling_var(returns: Float[np.ndarray, " N"], window: int, level: float = 0.05) -> Float[np.ndarray, " N"]:
    """Return the historical quantile `level` of each window, a loss below 0."""

    def figure(windows: Windows) -> np.ndarray:
        if np.isfinite(windows).all():
            return np.percentile(windows, 100 * level, axis=1)
        known = np.asarray(np.isfinite(windows).any(axis=1))
        quantiles = np.nanpercentile(np.where(known[:, None], windows, 0.0), 100 * level, axis=1)
        return np.where(known, quantiles, np.nan)

    return _roll(figure, window, returns)


def rolling_cvar(returns: Float[np.ndarray, " N"], window: int, level: float = 0.05) -> Float[np.ndarray, " N"]:
    """Return the mean of the `int((n - 1) * level) + 1` lowest of the n returns known in each window."""

    def figure(windows: Windows) -> np.ndarray:
        ordered = np.sort(np.where(np.isfinite(windows), windows, np.inf), axis=1)
        known = np.isfinite(windows).sum(axis=1)
        count = np.where(known > 0, ((known - 1) * level).astype(int) + 1, 0)
        taken = np.arange(windows.shape[1]) < count[:, None]
        return _quotient(np.where(taken, ordered, 0.0).sum(axis=1), count.astype(float), 0.5)

    return _roll(figure, window, returns)


def _roll(figure: Callable[..., np.ndarray], window: int, *series: np.ndarray) -> np.ndarray:
    if window < 2:
        raise ValueError(f"A rolling window of {window} returns has no spread; give 2 or more.")
    columns = [np.asarray(x, np.float64) for x in series]
    out = np.full(columns[0].shape, np.nan)
    if out.size < window:
        return out
    views = [np.lib.stride_tricks.sliding_window_view(x, window) for x in columns]
    for first in range(0, len(views[0]), BLOCK):
        rows = slice(first, first + BLOCK)
        values = figure(*(view[rows] for view in views))
        out[window - 1 + first : window - 1 + first + len(values)] = values
    return out


def _mean(windows: Windows) -> np.ndarray:
    known = np.isfinite(windows)
    return _quotient(np.where(known, windows, 0.0).sum(axis=1), known.sum(axis=1).astype(float), 0.5)


def _std(windows: Windows) -> np.ndarray:
    known = np.isfinite(windows)
    centred = np.where(known, windows - _mean(windows)[:, None], 0.0)
    return np.sqrt(_quotient((centred**2).sum(axis=1), known.sum(axis=1) - 1.0, 0.5))


def _quotient(above: np.ndarray, below: np.ndarray, least: float = ROUNDING) -> np.ndarray:
    return np.where(below > least, above / np.where(below > least, below, 1.0), np.nan)
