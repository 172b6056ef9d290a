"""Splits against counts from the literature, dates worked out by hand, and what must hold for every one of them."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos_jax.datasets.splits import (
    Window,
    combinatorial_purged,
    cut,
    longest_window,
    purged_k_fold,
    walk_forward,
)
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel

FEW = settings(max_examples=60, deadline=None)


def test_six_blocks_two_tested_are_fifteen_folds_and_five_paths():
    plan = combinatorial_purged(600, 6, 2)
    assert len(plan.splits) == 15 and len(plan.paths) == 5
    assert {tuple(window.start // 100 for window in split.test) for split in plan.splits} == set(
        itertools.combinations(range(6), 2)
    )
    # Every fold serves each of its blocks on exactly one path.
    served = [(segment.split, segment.window) for path in plan.paths for segment in path]
    assert len(served) == len(set(served)) == 30


def test_training_rows_around_a_test_worked_out_by_hand():
    """Ten rows in five blocks, label of one bar, no wish for an embargo: one bar before and one after go."""
    plan = purged_k_fold(10, 5)
    assert [split.test for split in plan.splits] == [(Window(2 * i, 2 * i + 2),) for i in range(5)]
    assert [split.train for split in plan.splits] == [
        (Window(3, 10),),
        (Window(5, 10),),  # row 0 alone is no window that anything can be learnt in
        (Window(0, 3), Window(7, 10)),
        (Window(0, 5),),
        (Window(0, 7),),
    ]


def test_walk_forward_by_hand():
    plan = walk_forward(26, train=10, validation=4, test=4, label_bars=2, embargo=1)
    first, second, third = plan.splits
    assert (first.train, first.validation, first.test) == ((Window(0, 7),), Window(10, 13), (Window(14, 18),))
    assert (second.train, second.validation, second.test) == ((Window(4, 11),), Window(14, 17), (Window(18, 22),))
    assert third.test == (Window(22, 26),)
    wide = walk_forward(26, train=10, validation=4, test=4, expanding=True)
    assert [split.train[0] for split in wide.splits] == [Window(0, 9), Window(0, 13), Window(0, 17)]


def test_walk_forward_by_the_calendar():
    days = np.arange("2005-01-03", "2013-01-01", dtype="datetime64[D]")
    days = days[np.is_busday(days)]
    plan = walk_forward(days, train="5y", validation="1y", test="1y")
    assert len(plan.splits) == 2  # the second ends on 2012-12-31, the last day there is
    for i, split in enumerate(plan.splits):
        assert (
            days[split.train[0].start] == np.datetime64("2005-01-03")
            if i == 0
            else days[split.train[0].start].astype("datetime64[Y]") == np.datetime64("2006")
        )
        assert days[split.validation.start].astype("datetime64[M]") == np.datetime64(f"{2010 + i}-01")
        assert days[split.test[0].start].astype("datetime64[M]") == np.datetime64(f"{2011 + i}-01")
    months = walk_forward(days, train="18m", validation="6m", test="30d")
    assert all((days[s.test[0].stop - 1] - days[s.test[0].start]).astype(int) <= 30 for s in months.splits)
    assert months.splits[-1].test[0].stop > len(days) - 31


@FEW
@given(
    num_bars=st.integers(60, 900),
    groups=st.integers(2, 7),
    tests=st.integers(1, 3),
    label_bars=st.integers(0, 12),
    embargo=st.integers(0, 30),
)
def test_combinatorial_plans_keep_their_promises(num_bars, groups, tests, label_bars, embargo):
    tests = min(tests, groups - 1)
    try:
        plan = combinatorial_purged(num_bars, groups, tests, label_bars=label_bars, embargo=embargo)
    except ValueError as error:
        assert "leaves nothing to train on" in str(error)
        return
    assert len(plan.splits) == math.comb(groups, tests)
    assert len(plan.paths) == math.comb(groups, tests) * tests // groups
    assert plan.embargo >= max(embargo, math.ceil(0.01 * num_bars))
    for split in plan.splits:
        check_no_leak(split, label_bars, plan.embargo)
    covered = np.bincount(np.concatenate([split.test_rows for split in plan.splits]), minlength=num_bars)
    assert (covered == math.comb(groups - 1, tests - 1)).all()
    for path in plan.paths:
        rows = np.concatenate([segment.window.rows for segment in path])
        np.testing.assert_array_equal(rows, np.arange(num_bars))
        assert all(segment.window in plan.splits[segment.split].test for segment in path)
    if tests == 1:
        kept = purged_k_fold(num_bars, groups, label_bars=label_bars, embargo=embargo)
        assert kept == dataclasses.replace(plan, scheme="k-fold")


@FEW
@given(
    num_bars=st.integers(30, 900),
    sizes=st.tuples(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60)),
    expanding=st.booleans(),
    label_bars=st.integers(0, 12),
    embargo=st.integers(0, 30),
)
def test_walk_forward_plans_keep_their_promises(num_bars, sizes, expanding, label_bars, embargo):
    train, validation, test = sizes
    try:
        plan = walk_forward(
            num_bars,
            train=train,
            validation=validation,
            test=test,
            expanding=expanding,
            label_bars=label_bars,
            embargo=embargo,
        )
    except ValueError as error:
        assert "fewer than two bars" in str(error) or "No fold fits in" in str(error)
        return
    tested = np.concatenate([split.test_rows for split in plan.splits])
    first = train + validation
    np.testing.assert_array_equal(tested, np.arange(first, first + test * len(plan.splits)))
    assert num_bars - test < tested[-1] + 1 <= num_bars
    for i, split in enumerate(plan.splits):
        check_no_leak(split, label_bars, embargo)
        assert split.train_rows.max() + label_bars + embargo < split.validation.start
        assert split.validation.stop + embargo <= split.test[0].start
        assert split.train[0].start == (0 if expanding else i * test)
    assert [segment.window for segment in plan.paths[0]] == [split.test[0] for split in plan.splits]


def check_no_leak(split, label_bars, embargo):
    """No bar that a training row's label rests on is tested; no training row follows a test too closely."""
    tested, trained = set(split.test_rows.tolist()), split.train_rows
    for row in trained:
        assert tested.isdisjoint(range(row, row + label_bars + 1))
    for window in split.test:
        assert not ((trained >= window.stop) & (trained < window.stop + embargo)).any()
    assert all(a.stop < b.start for a, b in itertools.pairwise(split.train))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: walk_forward(100, train=80, validation=20, test=20), "take more than the 100 bars"),
        (lambda: walk_forward(100, train=3, validation=20, test=20, embargo=5), "fewer than two bars"),
        (lambda: walk_forward(100, train=30, validation=20, test=20, step=10), "step=10 must be as long as test=20"),
        (lambda: walk_forward(100, train="5y", validation="1y", test="1y"), "need the dates of the bars"),
        (lambda: walk_forward(100, train="five", validation=1, test=1), "'five' is no span"),
        (lambda: walk_forward(100, train=0, validation=1, test=1), "A window of 0 bars is none"),
        (
            lambda: walk_forward(np.arange(9).astype("datetime64[D]"), train="3d", validation=2, test=2),
            "in bars, or all",
        ),
        (lambda: walk_forward(100, train=9, validation=9, test=9, label_bars=-1), "not negative"),
        (lambda: purged_k_fold(100, 1), "at least two blocks"),
        (lambda: combinatorial_purged(100, 4, 4), "test at least one but not all"),
        (lambda: purged_k_fold(100, 2, embargo=60), "leaves nothing to train on"),
    ],
)
def test_what_does_not_work_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_as_text_are_bars():
    assert walk_forward(60, train="20", validation="10", test="10") == walk_forward(
        60, train=20, validation=10, test=10
    )


def test_the_longest_window_of_the_features():
    assert longest_window(["momentum_252_21", "rsi_14", "known"]) == 253
    assert longest_window(["signal_mine", "known"]) == 0


@pytest.fixture(scope="module")
def market():
    import jax

    return build_market(synthetic_panel(jax.random.key(0), num_assets=2, num_bars=90), "minimal")


@pytest.mark.thorough
def test_windows_cut_from_a_market_are_paths_of_their_own(market):
    windows = (Window(3, 20), Window(40, 41), Window(60, 90))
    whole = cut(market, windows)
    rows = np.concatenate([window.rows for window in windows])
    assert whole.num_bars == len(rows) == 48
    for name in ("open", "close", "features", "tradable", "sessions"):
        np.testing.assert_array_equal(getattr(whole, name), np.asarray(getattr(market, name))[rows])
    np.testing.assert_array_equal(whole.path_end, [16] * 17 + [17] + [47] * 30)
    np.testing.assert_array_equal(whole.times, market.times[rows])
    assert whole.symbols == market.symbols and whole.feature_names == market.feature_names
    np.testing.assert_array_equal(whole.sector, market.sector)


@pytest.mark.parametrize("windows", [(), (Window(10, 30), Window(20, 40)), (Window(80, 91),)])
def test_windows_that_do_not_fit_are_refused(market, windows):
    with pytest.raises(ValueError, match="one after the other within the 90 bars"):
        cut(market, windows)
