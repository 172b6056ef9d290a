"""The fit of the ridge regression: what features of the table told of the returns that followed; on the host.

The target is cross-sectional: which assets do better than the others, over a day, a week and a month at once. A linear
model of the agent's own features is what a network has to beat before it can be said to have learnt anything.
"""

import itertools
import typing
from collections.abc import Iterator, Sequence

import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from ploutos_jax.market.panel import Market

HORIZONS = (1, 5, 21)
"""Bars over which returns are told of: a day, a week and a month of daily bars."""
CLIP_SCORES = 3.0
"""Bound of a label, in cross-sectional deviations."""
CLIP_FEATURES = 5.0
"""Bound of a standardised feature, as in the agent's own scaling."""
NUM_BLOCKS = 5
PENALTIES = tuple(float(x) for x in np.logspace(-4, 2, 13))
"""Candidates for λ, in variances of a feature: 1e-4 changes next to nothing, 100 leaves marginal correlations."""
_VALUES_AT_ONCE = 4_000_000
"""Features that are turned into float64 at a time; threads of a product wait for each other, so not too few."""


@typing.no_type_check
class RidgeFit(struct.PyTreeNode):
    """A fitted regression: `score = clip((x − centre) / spread, ±CLIP_FEATURES) · coefficients`; `[F]` each.

    Attributes:
        centre, spread: mean and standard deviation of each feature over the rows fitted on; spread 1 without any.
        coefficients: what a deviation of a feature adds to the score, in cross-sectional deviations of returns.
        penalty: the λ chosen, see `fit_ridge`.
    """

    centre: Float[Array | np.ndarray, " F"]
    spread: Float[Array | np.ndarray, " F"]
    coefficients: Float[Array | np.ndarray, " F"]
    penalty: float = struct.field(pytree_node=False, default=0.0)

    def standardise(self, features: Float[np.ndarray, "*batch F"]) -> Float[np.ndarray, "*batch F"]:
        """Return features in deviations, within ±CLIP_FEATURES, in float64."""
        deviations = features.astype(np.float64)
        deviations -= self.centre
        deviations /= self.spread
        return np.clip(deviations, -CLIP_FEATURES, CLIP_FEATURES, out=deviations)

    def predict(self, features: Float[Array | np.ndarray, "T A F"]) -> Float[np.ndarray, "T A"]:
        """Return the scores `[T, A]` of features `[T, A, F]`, known when these are."""
        table = np.asarray(features)
        scores = np.empty(table.shape[:2])
        for rows in _few_rows(0, table.shape):
            scores[rows] = self.standardise(table[rows]) @ self.coefficients
        return scores


def forward_scores(market: Market, horizons: Sequence[int] = HORIZONS) -> Float[np.ndarray, "T A"]:
    """Return `[T, A]` labels: how assets did after each row, against each other; known k + 1 bars later only.

    For each horizon k, with the total return r from the open of bar t + 1 to the close of bar t + 1 + k:

        y_k = clip((r − mean r) / deviation of r, ±CLIP_SCORES)

    mean and deviation over the assets that count in row t (of a market of one asset over its rows, as there is nothing
    to compare it with); the label is the mean of y_k over the horizons. An asset
    counts that trades in bar t, belongs to the universe there, and trades in bar t + 1, or nobody could have bought
    it. Later bars that are missing leave its value as it is; what ends is worth its last close.

    NaN where an asset does not count, where the longest horizon ends beyond the path, and in rows whose assets do not
    differ.
    """
    tradable, close = np.asarray(market.tradable), np.asarray(market.close, np.float64)
    allowed = tradable if market.buyable is None else tradable & np.asarray(market.buyable)
    bars, longest = len(close), max(horizons)
    labels = np.full(close.shape, np.nan)
    stop = bars - 1 - longest
    if stop < 1:
        return labels
    rows = np.arange(stop)
    inside = np.asarray(market.path_end)[:stop] > rows + longest
    counts = allowed[:stop] & tradable[1 : stop + 1] & inside[:, None]
    bought = np.where(counts, np.asarray(market.open, np.float64)[1 : stop + 1], 1.0)
    first_bar = np.log(np.where(counts, close[1 : stop + 1], 1.0) / bought)
    value = _log_value(market, close)
    total = np.zeros(counts.shape)
    for k in horizons:
        gain = np.expm1(first_bar + value[1 + k : 1 + k + stop] - value[1 : stop + 1])
        total += _standardised(np.where(counts, gain, np.nan), axis=0 if close.shape[1] == 1 else 1)
    labels[:stop] = total / len(horizons)
    return labels


def fit_ridge(market: Market, stop: int | None = None, horizons: Sequence[int] = HORIZONS) -> RidgeFit | None:
    """Return the ridge regression of `forward_scores` on the features of a market, or None with nothing to fit.

    The coefficients are the least of `|y − Z w|² + n λ |w|²` over the n labelled bars of all assets, Z the features
    standardised over these bars. There is no intercept: labels are centred in each row. λ is the one of `PENALTIES`
    with the least squared error over `NUM_BLOCKS` blocks of time, each told by the bars outside it but for those whose
    labels overlap with it (k + 1 rows on either side).

    Args:
        market: bars and features; what lies after row `stop` is not looked at.
        stop: the row at whose close the fit is made: labels end at it or before. The last one without it.
        horizons: bars, see `forward_scores`.
    """
    if stop is not None:
        market = market.window(None, stop + 1)
    labels = forward_scores(market, horizons)
    counts = np.isfinite(labels)
    labelled = np.flatnonzero(counts.any(axis=1))
    table = np.asarray(market.features)
    if not labelled.size or not table.shape[2]:
        return None
    centre, spread = _moments(table, counts)
    if not (spread > 0).any():
        return None
    unfit = RidgeFit(centre=centre, spread=np.where(spread > 0, spread, 1.0), coefficients=np.zeros(len(centre)))
    sums = _sums_by_segment(unfit, table, labels, labelled, 1 + max(horizons))
    penalty = _choose_penalty(sums)
    return unfit.replace(coefficients=_solve(_total(sums.values()), penalty), penalty=penalty)


def cross_fit(market: Market, horizons: Sequence[int] = HORIZONS) -> tuple[RidgeFit, Float[np.ndarray, "T A"]] | None:
    """Return `fit_ridge` of a market, and each row's score by the fit on the other blocks of time, `[T, A]`.

    Blocks are those by which λ is chosen; rows without a label belong to the block next to them. None with nothing to
    fit.
    """
    fit = fit_ridge(market, None, horizons)
    if fit is None:
        return None
    labels, table = forward_scores(market, horizons), np.asarray(market.features)
    labelled = np.flatnonzero(np.isfinite(labels).any(axis=1))
    sums = _sums_by_segment(fit, table, labels, labelled, 1 + max(horizons))
    edges = [0, *labelled[np.arange(1, NUM_BLOCKS) * len(labelled) // NUM_BLOCKS], len(table)]
    scores = np.zeros(labels.shape)
    for block, (begin, end) in enumerate(itertools.pairwise(edges)):
        others = [part for (_, _, apart), part in sums.items() if apart[block]]
        if others and _total(others)[0]:
            own = fit.replace(coefficients=_solve(_total(others), fit.penalty))
            scores[begin:end] = own.predict(table[begin:end])
    return fit, scores


_Sums = tuple[float, np.ndarray, np.ndarray, float]
"""Bars, `Z'Z`, `Z'y` and `y'y`."""
_Segment = tuple[int, tuple[bool, ...], tuple[bool, ...]]
"""First row; for each block, whether rows from there lie in it, and whether they may tell of it."""


def _log_value(market: Market, close: np.ndarray) -> np.ndarray:
    """Return `[T, A]` logarithms of what a share of the first bar has become, dividends put back into it."""
    before = np.concatenate([close[:1], close[:-1]])
    split = 1.0 if market.split is None else np.asarray(market.split, np.float64)
    dividend = 0.0 if market.dividend is None else np.asarray(market.dividend, np.float64)
    known = (before > 0) & (close > 0)
    grown = np.where(known, split * (close + dividend) / np.where(known, before, 1.0), 1.0)
    return np.cumsum(np.log(grown), axis=0)


def _standardised(gain: np.ndarray, axis: int) -> np.ndarray:
    counts = np.isfinite(gain)
    number = np.maximum(counts.sum(axis=axis, keepdims=True), 1)
    centred = gain - np.where(counts, gain, 0.0).sum(axis=axis, keepdims=True) / number
    deviation = np.sqrt(np.where(counts, centred**2, 0.0).sum(axis=axis, keepdims=True) / number)
    differ = deviation > 1e-9
    return np.where(differ, np.clip(centred / np.where(differ, deviation, 1.0), -CLIP_SCORES, CLIP_SCORES), np.nan)


def _few_rows(start: int, shape: Sequence[int]) -> Iterator[slice]:
    """Yield the rows from `start` to the last one, a few at a time."""
    step = max(1, _VALUES_AT_ONCE // max(int(np.prod(shape[1:])), 1))
    for begin in range(start, shape[0], step):
        yield slice(begin, min(begin + step, shape[0]))


def _moments(table: np.ndarray, counts: Bool[np.ndarray, "T A"]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each feature over the bars that count; 0 where it does not vary."""
    number, mean, square = 0, np.zeros(table.shape[2]), np.zeros(table.shape[2])
    for rows in _few_rows(0, table.shape):
        values = table[rows][counts[rows]].astype(np.float64)
        if len(values):
            own, together = values.mean(axis=0), number + len(values)
            delta = own - mean
            values -= own
            square += np.einsum("ij,ij->j", values, values) + delta**2 * number * len(values) / together
            mean, number = mean + delta * len(values) / together, together
    deviation = np.sqrt(square / number)
    return mean, np.where(deviation > 1e-9 * np.maximum(np.abs(mean), 1e-9), deviation, 0.0)


def _sums_by_segment(
    scaling: RidgeFit, table: np.ndarray, labels: np.ndarray, labelled: np.ndarray, margin: int
) -> dict[_Segment, _Sums]:
    """Return the sums of the normal equations, cut where a block begins or ends, or its margin does."""
    edges = [*labelled[np.arange(NUM_BLOCKS) * len(labelled) // NUM_BLOCKS], int(labelled[-1]) + 1]
    blocks = [(int(begin), int(end)) for begin, end in itertools.pairwise(edges)]
    cuts = {row for begin, end in blocks for row in (begin - margin, begin, end, end + margin)}
    cuts = sorted({int(np.clip(row, edges[0], edges[-1])) for row in cuts})
    sums = {}
    for begin, end in itertools.pairwise(cuts):
        inside = tuple(first <= begin < last for first, last in blocks)
        apart = tuple(end <= first - margin or begin >= last + margin for first, last in blocks)
        parts = []
        for rows in _few_rows(begin, (end, *table.shape[1:])):
            counts = np.isfinite(labels[rows])
            z, y = scaling.standardise(table[rows][counts]), labels[rows][counts]
            parts.append((float(len(y)), z.T @ z, z.T @ y, float(y @ y)))
        sums[begin, inside, apart] = _total(parts)
    return sums


def _total(parts: typing.Iterable[_Sums]) -> _Sums:
    number, gram, moment, square = (sum(each) for each in zip(*parts, strict=True))
    return typing.cast(_Sums, (number, gram, moment, square))


def _solve(sums: _Sums, penalty: float) -> np.ndarray:
    number, gram, moment, _ = sums
    return np.linalg.solve(gram / number + penalty * np.eye(len(gram)), moment / number)


def _choose_penalty(sums: dict[_Segment, _Sums]) -> float:
    """Return the penalty of least squared error out of block; the strongest where several are equally good."""
    errors = np.zeros(len(PENALTIES))
    for block in range(NUM_BLOCKS):
        told = [part for (_, inside, _), part in sums.items() if inside[block]]
        tell = [part for (_, _, apart), part in sums.items() if apart[block]]
        if not told or not tell or not _total(tell)[0]:
            continue
        _, gram, moment, square = _total(told)
        for i, penalty in enumerate(PENALTIES):
            w = _solve(_total(tell), penalty)
            errors[i] += square - 2 * w @ moment + w @ gram @ w
    return PENALTIES[len(errors) - 1 - int(np.argmin(errors[::-1]))]
