"""How a history is cut into slices, and in which order they come."""

import numpy as np
import pytest

from ploutos_jax.market.long.plan import Plan


@pytest.mark.parametrize(("num_bars", "length", "overlap"), [(100, 30, 11), (100, 99, 50), (1000, 21, 20), (64, 32, 1)])
def test_every_bar_that_may_begin_an_episode_does_so_in_one_slice_and_in_the_last_perhaps_again(
    num_bars, length, overlap
):
    plan = Plan.of(num_bars, length, overlap)
    assert list(plan.first) == sorted(set(plan.first))
    assert plan.first[0] == 0 and plan.first[-1] + length == num_bars
    begins = np.zeros(num_bars, int)
    for first in plan.first:
        begins[first : first + length - overlap] += 1
    inside = begins[: num_bars - overlap]
    assert (inside >= 1).all() and (begins[num_bars - overlap :] == 0).all()
    assert (inside[: plan.first[-1]] == 1).all()


def test_a_round_takes_each_slice_once_and_rounds_differ():
    plan = Plan.of(10_000, 100, 50)
    rounds = [[plan.turn(7, turn) for turn in range(n * plan.number, (n + 1) * plan.number)] for n in range(3)]
    for order in rounds:
        assert sorted(order) == list(range(plan.number))
    assert rounds[0] != rounds[1] != rounds[2]
    assert rounds[0] != [plan.turn(8, turn) for turn in range(plan.number)]


def test_a_slice_without_room_for_an_episode_is_refused():
    with pytest.raises(ValueError, match=r"device_bars=50 is too short: .* 50 bars, .* Give at least 100"):
        Plan.of(1000, 50, 50)
