"""Probability of backtest overfitting by combinatorially symmetric cross-validation.

Source: Bailey, Borwein, López de Prado and Zhu (2017), "The probability of backtest overfitting".
"""

import itertools

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.metrics.returns import ROUNDING


def overfitting_probability(matrix: Float[np.ndarray, " periods *strategies"], num_blocks: int = 16) -> float:
    """Return how often the strategy that is best on half of the time is below the median on the other half.

    Near 0 the choice carries over; 0.5 and more means that it was a choice of luck.

    Args:
        matrix: `[periods, strategies]` returns of strategies (seeds, checkpoints, settings) over the same periods,
            without gaps.
        num_blocks: even; time is cut into as many blocks, and all ways to halve them are tried (12,870 for 16).

    Raises:
        ValueError: if there are fewer than two strategies, `num_blocks` is not an even number of at least 2, a block
            would hold fewer than two periods, or a return is not finite.
    """
    return float(np.mean(overfitting_logits(matrix, num_blocks) <= 0))


def overfitting_logits(
    matrix: Float[np.ndarray, " periods *strategies"], num_blocks: int = 16
) -> Float[np.ndarray, " splits"]:
    """Return `ln(ω / (1 - ω))` of every split, ω the rank out of sample, over their number + 1, of the best in sample.

    Strategies are ranked by their Sharpe ratio; equals share the mean of their ranks. Of several best in sample the
    first counts. A strategy without spread has a Sharpe ratio of 0. Blocks differ by one period at most where their
    number does not divide that of all. Arguments and errors are those of `overfitting_probability`.
    """
    matrix = np.asarray(matrix, np.float64)
    _check(matrix, num_blocks)
    edges = np.linspace(0, len(matrix), num_blocks + 1).round().astype(int)
    # Centred first: a difference of large sums of squares would lose digits.
    centre = matrix.mean(axis=0)
    shifted = matrix - centre
    sums, squares = (np.add.reduceat(x, edges[:-1], axis=0) for x in (shifted, shifted**2))
    counts = np.diff(edges).astype(np.float64)
    chosen = np.array(list(itertools.combinations(range(num_blocks), num_blocks // 2)))
    inside = np.zeros((len(chosen), num_blocks))
    inside[np.arange(len(chosen))[:, None], chosen] = 1.0

    def sharpes(picked: np.ndarray) -> np.ndarray:
        """Return `[splits, strategies]` from 0-or-1 weights of the blocks."""
        number = (picked @ counts)[:, None]
        mean = picked @ sums / number
        variance = (picked @ squares / number - mean**2) * number / (number - 1)
        spread = np.sqrt(np.maximum(variance, 0.0))
        return np.where(spread > ROUNDING, (mean + centre) / np.where(spread > ROUNDING, spread, 1.0), 0.0)

    best = sharpes(inside).argmax(axis=1)
    outside = sharpes(1.0 - inside)
    own = outside[np.arange(len(best)), best][:, None]
    rank = (outside < own).sum(axis=1) + ((outside == own).sum(axis=1) + 1) / 2
    share = rank / (matrix.shape[1] + 1)
    return np.log(share / (1 - share))


def _check(matrix: np.ndarray, num_blocks: int) -> None:
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise ValueError(
            f"The matrix has shape {matrix.shape}; it needs (periods, strategies) with at least two strategies to"
            " choose from."
        )
    if num_blocks < 2 or num_blocks % 2:
        raise ValueError(f"num_blocks={num_blocks} must be an even number of at least 2.")
    if len(matrix) < 2 * num_blocks:
        raise ValueError(f"{len(matrix)} periods are too few for num_blocks={num_blocks}: a block needs at least two.")
    if not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"The matrix holds {matrix[row, column]} in period {row} of strategy {column}.")
