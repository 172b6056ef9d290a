"""Splits: which rows of a history train, which choose and which test, so that a test is one.

Every function takes the bars and returns a `Plan` of row windows; nothing here reads a price. Two leaks are closed:

* **Purging.** What was learnt at row t rests on the bars t to t + `label_bars`. No such span of a training row touches
  a window that chooses or tests.
* **Embargo.** Rows that follow a test see it: their features look back into it. So many rows after a test are left out
  of training, in walk-forward plans between training and what follows too.

Source: López de Prado, "Advances in Financial Machine Learning" (2018), chapters 7 and 12.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.market.calendar import runs_all_week
from ploutos_jax.market.experts.table import PREFIX
from ploutos_jax.market.features.catalog import FEATURES
from ploutos_jax.market.panel import Market

Span = int | str
"""A number of bars, or a number of calendar years, months, weeks or days such as "5y", "6m", "2w", "10d"."""

_YEAR = 252
"""Daily bars that experts look back."""
_LEAST_EMBARGO = 0.01


@dataclasses.dataclass(frozen=True)
class Window:
    """Rows `start` to `stop - 1`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def rows(self) -> np.ndarray:
        return np.arange(self.start, self.stop)


@dataclasses.dataclass(frozen=True)
class Split:
    """One fold.

    Attributes:
        train: windows to train on, in order of time; holes between them are never crossed.
        validation: rows to choose checkpoint and seed on; None in plans that choose nothing.
        test: windows whose bars are scored, in order of time.
    """

    train: tuple[Window, ...]
    validation: Window | None
    test: tuple[Window, ...]

    @property
    def train_rows(self) -> np.ndarray:
        return _rows_of(self.train)

    @property
    def test_rows(self) -> np.ndarray:
        return _rows_of(self.test)


@dataclasses.dataclass(frozen=True)
class Segment:
    """Rows of a path, and the split whose agent plays them."""

    split: int
    window: Window


@dataclasses.dataclass(frozen=True)
class Plan:
    """All folds of a validation.

    Attributes:
        scheme: `walk-forward`, `k-fold` or `combinatorial`.
        splits: the folds.
        paths: ways through history, each a sequence of segments without a gap that together test every row once. One,
            unless the plan is combinatorial.
        label_bars, embargo: as they were applied, in bars.
    """

    scheme: str
    splits: tuple[Split, ...]
    paths: tuple[tuple[Segment, ...], ...]
    label_bars: int
    embargo: int


def walk_forward(
    times: np.ndarray | int,
    *,
    train: Span,
    validation: Span,
    test: Span,
    step: Span | None = None,
    expanding: bool = False,
    label_bars: int = 1,
    embargo: int = 0,
) -> Plan:
    """Return folds that train on the past, choose on what follows and test on what follows that.

    The plan takes as many whole folds as there are; bars left over at the end are not used.

    Args:
        times: `[T]` dates of the bars, or their number T where no span is one of the calendar.
        train, validation, test: length of each window.
        step: how far each fold lies after the one before; the length of the test without it, so that the tests lie
            end to end.
        expanding: begin every training window at the first bar.
        label_bars: bars after a row that what is learnt at it rests on.
        embargo: further bars left out between training and validation, and between validation and test.

    Raises:
        ValueError: if a span is none, no fold fits in, or the tests would overlap or leave gaps.
    """
    num_bars = times if isinstance(times, int) else len(times)
    _check_counts(num_bars, label_bars, embargo)
    step = test if step is None else step
    _check_step(test, step)
    splits: list[Split] = []
    for fold in itertools.count():
        begin, chosen, tested, end = (
            _row_after(times, step, fold, spans)
            for spans in ((), (train,), (train, validation), (train, validation, test))
        )
        if end > num_bars:
            break
        first = 0 if expanding else begin
        trained = Window(first, chosen - label_bars - embargo)
        choosing = Window(chosen, tested - embargo)
        if trained.size < 2 or choosing.size < 2:
            raise ValueError(
                f"train={train} or validation={validation} leaves fewer than two bars after label_bars={label_bars} and"
                f" embargo={embargo}; make it longer."
            )
        splits.append(Split((trained,), choosing, (Window(tested, end),)))
    if not splits:
        raise ValueError(
            f"No fold fits in: train={train}, validation={validation} and test={test} take more than the {num_bars}"
            " bars that there are. Make them shorter."
        )
    path = tuple(Segment(i, split.test[0]) for i, split in enumerate(splits))
    return Plan("walk-forward", tuple(splits), (path,), label_bars, embargo)


def purged_k_fold(num_bars: int, num_folds: int = 5, *, label_bars: int = 1, embargo: int = 0) -> Plan:
    """Return K folds that test one block each and train on the others, before and after it.

    Args:
        num_bars: T.
        num_folds: K blocks, equal but for one bar.
        label_bars: bars after a row that what is learnt at it rests on.
        embargo: bars left out after each test; at least 1 % of all and `label_bars`. Should be no shorter than the
            longest window of a feature, see `longest_window`.

    Raises:
        ValueError: if there are fewer than two folds, or one of them leaves nothing to train on.
    """
    plan = combinatorial_purged(num_bars, num_folds, 1, label_bars=label_bars, embargo=embargo)
    return dataclasses.replace(plan, scheme="k-fold")


def combinatorial_purged(
    num_bars: int, num_groups: int = 6, num_tests: int = 2, *, label_bars: int = 1, embargo: int = 0
) -> Plan:
    """Return a fold for every choice of k among N blocks to test, and the paths that can be put together from them.

    There are C(N, k) folds and C(N, k) k / N = C(N - 1, k - 1) paths: each block is tested in so many folds, and path p
    takes the p-th of them for every block.

    Args:
        num_bars: T.
        num_groups: N blocks, equal but for one bar.
        num_tests: k.
        label_bars, embargo: as in `purged_k_fold`.

    Raises:
        ValueError: if N and k do not fit together, or a fold has nothing to train on.
    """
    _check_counts(num_bars, label_bars, embargo)
    if not 2 <= num_groups <= num_bars or not 1 <= num_tests < num_groups:
        raise ValueError(
            f"{num_groups} blocks with {num_tests} of them tested do not work for {num_bars} bars: take at least two"
            " blocks, no more than bars, and test at least one but not all."
        )
    embargo = max(embargo, label_bars, math.ceil(_LEAST_EMBARGO * num_bars))
    edges = np.linspace(0, num_bars, num_groups + 1).round().astype(int)
    blocks = [Window(int(a), int(b)) for a, b in itertools.pairwise(edges)]
    splits = []
    for chosen in itertools.combinations(range(num_groups), num_tests):
        test = tuple(blocks[i] for i in chosen)
        train = _purged(num_bars, test, label_bars, embargo)
        if not train:
            raise ValueError(
                f"The fold that tests block(s) {', '.join(str(i + 1) for i in chosen)} of {num_groups} leaves nothing"
                f" to train on after an embargo of {embargo} bars; take fewer blocks or a shorter embargo."
            )
        splits.append(Split(train, None, test))
    testers = [[i for i, split in enumerate(splits) if block in split.test] for block in blocks]
    paths = tuple(
        tuple(Segment(folds[p], block) for block, folds in zip(blocks, testers, strict=True))
        for p in range(len(testers[0]))
    )
    return Plan("combinatorial", tuple(splits), paths, label_bars, embargo)


def longest_window(feature_names: Sequence[str]) -> int:
    """Return how many bars the built-in features among some names look back, at least; 0 without any.

    Averages that decay have no end; theirs counts as their warm-up.
    """
    names = set(feature_names)
    year = _YEAR if any(name.startswith(PREFIX) for name in names) else 0
    return max([year, *(feature.warm_up + 1 for feature in FEATURES if feature.name in names)])


def cut(market: Market, windows: Sequence[Window]) -> Market:
    """Return the rows of some windows, in order of time, each window a path of its own that no episode leaves.

    Features are as they were computed on the whole history.

    Raises:
        ValueError: if the windows are none, overlap or lie outside the market.
    """
    edges = [edge for window in windows for edge in (window.start, window.stop)]
    if not windows or edges != sorted(edges) or edges[0] < 0 or edges[-1] > market.num_bars:
        raise ValueError(
            f"The windows {[(w.start, w.stop) for w in windows]} must lie one after the other within the"
            f" {market.num_bars} bars of the market."
        )
    pieces = [market.window(window.start, window.stop) for window in windows]
    offsets = np.cumsum([0, *(piece.num_bars for piece in pieces[:-1])])
    shifted = [
        piece.replace(sector=None, path_end=piece.path_end + int(offset))
        for piece, offset in zip(pieces, offsets, strict=True)
    ]
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *shifted)
    labels = market.labels
    if labels is not None:
        rows = _rows_of(windows)
        hint = None if labels.hint is None else labels.hint.rows(rows)
        labels = dataclasses.replace(labels, times=labels.times[rows], hint=hint)
    return joined.replace(sector=market.sector, labels=labels, feature_names=market.feature_names)


def _purged(num_bars: int, test: Sequence[Window], label_bars: int, embargo: int) -> tuple[Window, ...]:
    """Return the windows of rows whose labels end before every later test, and that lie beyond every embargo."""
    free = np.ones(num_bars, bool)
    for window in test:
        free[max(0, window.start - label_bars) : window.stop + embargo] = False
    changes = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    windows = (Window(int(a), int(b)) for a, b in changes.reshape(-1, 2))
    return tuple(window for window in windows if window.size > 1)


def _rows_of(windows: Sequence[Window]) -> np.ndarray:
    return np.concatenate([window.rows for window in windows])


def _check_counts(num_bars: int, label_bars: int, embargo: int) -> None:
    if num_bars < 1 or label_bars < 0 or embargo < 0:
        raise ValueError(
            f"num_bars={num_bars} must be at least 1, label_bars={label_bars} and embargo={embargo} not negative."
        )


def _check_step(test: Span, step: Span) -> None:
    if isinstance(step, int) != isinstance(test, int):
        raise ValueError(f"step={step} and test={test} must both be bars, or both spans of the calendar.")
    if _amount(step) != _amount(test):
        raise ValueError(
            f"step={step} must be as long as test={test}: with another, tests overlap or leave bars that nobody tests."
        )


def _amount(span: Span) -> tuple[int, str]:
    """Return number and unit of a span; the unit is one of NumPy's, or "bars"."""
    if isinstance(span, int | np.integer):
        if span < 1:
            raise ValueError(f"A window of {span} bars is none; give at least 1.")
        return int(span), "bars"
    match = re.fullmatch(r"\s*(\d+)\s*([ymwd])?\s*", span)
    if match is None or int(match[1]) < 1:
        raise ValueError(f"{span!r} is no span: give a number of bars such as 252, or 5y, 6m, 2w, 10d.")
    number, unit = int(match[1]), match[2]
    if unit is None:
        return number, "bars"
    return {"y": (12 * number, "M"), "m": (number, "M"), "w": (7 * number, "D"), "d": (number, "D")}[unit]


def _row_after(times: np.ndarray | int, step: Span, fold: int, spans: Sequence[Span]) -> int:
    """Return the first row after `fold` steps and some spans, all counted from the first bar.

    A row past the last bar comes out as one more than the number of bars, if that is how far spans of the calendar go.
    """
    shifts = [_amount(step)] * fold + [_amount(span) for span in spans]
    if all(unit == "bars" for _, unit in shifts):
        return sum(number for number, _ in shifts)
    if any(unit == "bars" for _, unit in shifts):
        raise ValueError("Give all windows and the step in bars, or all of them as spans of the calendar such as 5y.")
    if isinstance(times, int):
        raise ValueError("Spans of the calendar need the dates of the bars, not their number alone.")
    days = np.asarray(times).astype("datetime64[D]")
    totals = {unit: sum(number for number, each in shifts if each == unit) for unit in ("M", "D")}
    moment = _months_after(days[0], totals["M"]) + np.timedelta64(totals["D"], "D")
    # A window has room if it ends before the bar that would come after the last one; a long one may lack a few days at
    # its end, as the first bar of a year is not its first day.
    if moment > _next_day(days) + min(5, _days_of(spans) // 20):
        return len(days) + 1
    return int(np.searchsorted(days, moment))


def _days_of(spans: Sequence[Span]) -> int:
    """Return about how many days the last of some spans of the calendar has; 0 for none."""
    if not spans:
        return 0
    number, unit = _amount(spans[-1])
    return 30 * number if unit == "M" else number


def _next_day(days: np.ndarray) -> np.datetime64:
    """Return the first date after ascending days on which another bar can be expected."""
    different = np.unique(days)
    gap = int(np.median(np.diff(different).astype(np.int64))) if different.size > 1 else 1
    if gap > 1 or runs_all_week(different.astype(np.int64)):
        return days[-1] + gap
    return np.busday_offset(days[-1], 1, roll="backward")


def _months_after(day: np.datetime64, number: int) -> np.datetime64:
    """Return the same day so many months later, or the last day of a month that is too short."""
    month = day.astype("datetime64[M]")
    later = month + np.timedelta64(number, "M")
    last = (later + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    return min(later.astype("datetime64[D]") + (day - month.astype("datetime64[D]")), last)
