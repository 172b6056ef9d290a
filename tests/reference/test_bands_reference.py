"""Bands, levels and bars between decisions in the oracle, worked out by hand."""

import numpy as np
import pytest

from tests.reference.scenes import FIRST, PLAIN, make, near, signed

FLAT = [FIRST] * 7
BANDS = {**PLAIN, "action": "bands"}
NAN = float("nan")
KEEP = (NAN, NAN)


def test_a_trade_goes_to_the_nearer_edge_of_a_band():
    broker = make(FLAT, FLAT, **BANDS)
    assert signed(broker.step([(0.2, 0.3), (0.0, 0.5)])) == [(0, 200)]
    assert signed(broker.step([(0.1, 0.4), (0.1, 0.1)])) == [(1, 100)]
    assert signed(broker.step([(0.05, 0.15), (NAN, 0.0)])) == [(0, -50)]
    assert signed(broker.step([KEEP, (0.0, 0.0)])) == [(1, -100)]
    assert (broker.rejected_orders, broker.events["held within its band"]) == (0, 1)


def test_lower_edges_are_scaled_to_the_account_and_edges_to_the_cap():
    broker = make(FLAT, FLAT, **BANDS)
    broker.step([(1.0, 1.0), (3.0, 2.0)])
    assert broker.shares == near([250, 750])
    broker = make(FLAT, FLAT, **{**BANDS, "max_position_pct": 0.4})
    broker.step([(0.9, 1.0), KEEP])
    assert broker.shares == near([400, 0])


def test_from_nothing_to_all_holds_an_account_that_has_risen_overnight():
    rises = [FIRST, FIRST, (110.0, 110.0, 110.0, 110.0), (110.0, 110.0, 110.0, 110.0)]
    for band, sold in (((0.0, 1.0), []), ((0.0, 0.99), [(0, -100)]), ((1.0, 1.0), [(0, near(-1e4 / 110))])):
        broker = make(rises, **BANDS)
        broker.step([(1.0, 1.0)])
        assert signed(broker.step([band])) == sold


def test_what_has_risen_beyond_the_cap_is_sold_by_an_edge_and_not_by_the_cap():
    rises = [FIRST, FIRST, (110.0, 110.0, 110.0, 110.0), (110.0, 110.0, 110.0, 110.0)]
    # 300 shares at 110 are 33,000 of the 100,000 known of: above a cap of 30 %, to which 0 to 1 does not cut them back.
    for band, sold in (((0.0, 1.0), []), ((0.3, 1.0), []), ((0.3, 0.9), [(0, near(-3_000 / 110))])):
        broker = make(rises, **{**BANDS, "max_position_pct": 0.3})
        broker.step([(0.3, 0.3)])
        assert signed(broker.step([band])) == sold


def test_levels_are_quarters_of_the_cap():
    broker = make(FLAT, FLAT, **{**PLAIN, "action": "levels", "max_position_pct": 0.4})
    assert signed(broker.step([2, 3])) == [(0, 100), (1, 200)]
    assert signed(broker.step([0, 4])) == [(1, 200)]
    assert signed(broker.step([1, 0])) == [(0, -100)]


def test_nothing_is_ordered_between_decisions():
    broker = make(FLAT, FLAT, **PLAIN, decide_every=3)
    bought = [signed(broker.step([1, 1])) for _ in range(6)]
    assert bought == [[(0, 100), (1, 100)], [], [], [(0, 100), (1, 100)], [], []]
    assert (broker.rejected_orders, broker.events["order between decisions"]) == (0, 8)
    later = make(FLAT, **{**PLAIN, "decide_every": 3}, phase=2)
    assert [len(later.step([1])["fills"]) for _ in range(6)] == [0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("kind", "action"),
    [("bands", [0.1, 0.2]), ("bands", [(0.1, np.inf), KEEP]), ("levels", [5, 0]), ("levels", [0.5, 0])],
)
def test_malformed_actions_are_refused(kind: str, action: list):
    with pytest.raises(ValueError, match="Bands are 2 pairs|An edge of a band|An action of levels"):
        make(FLAT, FLAT, **{**PLAIN, "action": kind}).step(action)
