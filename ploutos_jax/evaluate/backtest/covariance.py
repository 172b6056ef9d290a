"""Covariance of returns from few bars, and the portfolio of least variance that it tells."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve

PATIENCE = 3
"""Exchanges of whole blocks that may bring no progress before single ones take over."""


def shrunk_covariance(returns: Float[np.ndarray, "N A"]) -> Float[np.ndarray, "A A"]:
    """Return the covariance `[A, A]` of returns `[N, A]`, drawn towards equal variances without correlation.

    The weight of that target, `mean variance * identity`, is the one of least expected squared error.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    centred = returns - returns.mean(axis=0)
    num, size = centred.shape
    sample = centred.T @ centred / num
    scale = np.trace(sample) / size
    distance = (sample**2).sum() - size * scale**2
    # Σ_t |x_t x_t' - S|² over N², without forming a matrix for each bar.
    error = ((centred**2).sum(axis=1) ** 2).sum() / num**2 - (sample**2).sum() / num
    weight = 1.0 if distance <= 0 else min(max(error, 0.0) / distance, 1.0)
    return weight * scale * np.eye(size) + (1 - weight) * sample


def minimum_variance_weights(covariance: Float[np.ndarray, "A A"]) -> Float[np.ndarray, " A"]:
    """Return the weights `[A]` of least variance that are not negative and add up to 1; equal ones without variance.

    The least of `½ v'Σv - 1'v` over `v ≥ 0` points the same way. It is found by block principal pivoting: guess which
    weights are above 0, solve for them, and exchange all that came out on the wrong side.

    Args:
        covariance: `[A, A]`, positive definite but for rounding.

    Source: Júdice and Pires (1994), "A block principal pivoting algorithm for large-scale strictly monotone linear
    complementarity problems".
    """
    size = len(covariance)
    scale = np.trace(covariance) / size
    if not scale > 0:
        return np.full(size, 1 / size)
    matrix = covariance / scale + 1e-10 * np.eye(size)
    held = np.ones(size, bool)
    fewest, patience = size + 1, PATIENCE
    while True:
        direction, slope = np.zeros(size), np.zeros(size)
        direction[held] = cho_solve(cho_factor(matrix[np.ix_(held, held)]), np.ones(held.sum()))
        slope[~held] = matrix[np.ix_(~held, held)] @ direction[held] - 1
        wrong = np.flatnonzero(np.where(held, direction, slope) < -1e-12)
        if not wrong.size:
            return np.maximum(direction, 0) / np.maximum(direction, 0).sum()
        if wrong.size < fewest:
            fewest, patience = wrong.size, PATIENCE
        elif patience > 0:
            patience -= 1
        else:
            wrong = wrong[-1:]  # one at a time ends for sure (Murty)
        held[wrong] = ~held[wrong]
