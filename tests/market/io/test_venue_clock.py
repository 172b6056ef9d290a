"""A venue's clock is never taken to be ahead of what it is, however long an answer takes and which way."""

import itertools

import pytest

from ploutos_jax.market.io.venue_clock import VenueClock


@pytest.mark.parametrize(("there", "back"), [(0.01, 0.01), (0.01, 20.0), (20.0, 0.01)])
def test_a_slow_answer_makes_the_clock_late_and_never_early(there, back):
    passed = 1000.0

    def ask():
        nonlocal passed
        passed += there
        told = passed + 300.0  # the venue's clock is five minutes ahead of this machine's
        passed += back
        return told

    clock = VenueClock(ask, lambda: passed)
    for _ in range(5):
        now = clock.now()
        assert now <= passed + 300.0 and now == pytest.approx(passed + 300.0 - back)
        passed += 250.0


def test_an_absent_venue_leaves_the_clock_as_it_was():
    answers = itertools.chain([1300.0], itertools.repeat(None))

    def ask():
        told = next(answers)
        if told is None:
            raise OSError("away")
        return told

    passed = 1000.0
    clock = VenueClock(ask, lambda: passed)
    assert clock.now() == 1300.0
    passed = 1700.0
    assert clock.now() == 2000.0
