"""Splits, dividends, delistings and bars without trading in the oracle, by hand.

Numbers as in `test_broker_reference.py`: a buy at an open of 100 fills at 100.1, a sale at P at 0.999 P.
"""

import numpy as np

from tests.reference.scenes import FIRST, QUIET, column, make, near

SHARES = 10_000 / 100.1

UNLIMITED = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None, "max_position_pct": 1.0}


def test_a_split_moves_shares_entry_and_stop():
    bars = [FIRST, QUIET, (25.2, 25.3, 24.6, 25.0), (25.0, 25.1, 24.5, 24.8)]
    broker = make(bars, spread_bps=0.0, split=column(1, 1, 4, 1))
    broker.step([1])
    step = broker.step([0])
    assert (broker.shares[0], broker.entry_price[0], broker.entry_bar[0]) == (400, 25, 1)
    assert (step["fills"], step["profit"][0], broker.equity) == ([], near(0), near(100_000))
    # The stop is 24.5 now, and the low is just there: 400 * 24.5.
    assert broker.step([0])["fills"][0][:4] == (0, -1, 400, 24.5)
    assert broker.cash == near(99_800)


def test_a_reverse_split_keeps_value():
    broker = make([FIRST, QUIET, (400.0, 401.0, 399.0, 400.0)], spread_bps=0.0, split=column(1, 1, 0.25))
    broker.step([1])
    assert broker.step([0])["fills"] == []
    assert (broker.shares[0], broker.entry_price[0], broker.equity) == (25, 400, near(100_000))


def test_a_dividend_goes_to_holders_over_the_open_per_new_share():
    bars = [FIRST, QUIET, (50.0, 50.5, 49.5, 50.0), (50.0, 50.5, 49.5, 50.0)]
    broker = make(bars, spread_bps=0.0, split=column(1, 1, 2, 1), dividend=column(0, 7, 1.5, 2))
    assert broker.step([1])["profit"][0] == near(0)  # bought at the open of the ex-date: nothing
    step = broker.step([0])
    assert (broker.cash, step["profit"][0]) == (near(90_300), near(300))  # 200 new shares * 1.5
    assert broker.entry_price[0] == 50.0
    step = broker.step([2])  # sold at the open of the ex-date: paid
    assert (broker.cash, step["profit"][0]) == (near(100_700), near(400))


def test_corporate_actions_do_not_wait_for_trading():
    halted = column(1, 1, 0).astype(bool)
    bars = [FIRST, QUIET, (50.0, 50.0, 50.0, 50.0)]
    broker = make(bars, spread_bps=0.0, tradable=halted, split=column(1, 1, 2), dividend=column(0, 0, 1))
    broker.step([1])
    broker.step([0])
    assert (broker.shares[0], broker.cash, broker.equity) == (200, near(90_200), near(100_200))


def test_a_delisting_closes_the_position_at_the_last_close_times_recovery():
    gone = column(0, 0, 1, 0).astype(bool)
    dead = (50.0, 50.0, 50.0, 50.0)
    broker = make(
        [FIRST, QUIET, dead, dead],
        tradable=~gone,
        delisted=gone,
        split=column(1, 1, 2, 1),
        delisting_recovery=0.3,
        spread_bps=0.0,
    )
    broker.step([1])
    step = broker.step([2])
    # 200 new shares at 100 / 2 * 0.3 = 15: no spread, no fee; what is lost is not a cost of trading.
    assert step["fills"] == [(0, -1, 200, near(15), near(15), 0.0, "delisted")]
    assert (broker.cash, broker.equity, step["profit"][0]) == (near(93_000), near(93_000), near(-7_000))
    assert (step["cost"], broker.num_trades, broker.rejected_orders) == (0, 1, 1)  # a payout is no trade
    assert (broker.exits["stop"], broker.exits["target"], step["turnover"]) == (0, 0, near(0.03))


def test_a_delisting_takes_no_fee_and_no_buy_even_in_a_bar_that_traded():
    gone = column(0, 0, 1).astype(bool)
    broker = make([FIRST] * 3, delisted=gone, commission_bps=50.0, commission_per_share=1.0)
    broker.step([1])
    cash = broker.cash
    assert broker.step([1])["fills"][0].fee == 0
    assert (broker.cash, broker.rejected_orders) == (near(cash + 100 * SHARES), 1)


def test_a_halt_stops_orders_and_stops_alike():
    halted = column(1, 1, 0, 0, 1).astype(bool)
    bars = [FIRST, QUIET, (80.0, 120.0, 70.0, 90.0), (90.0, 90.0, 90.0, 90.0), (85.0, 86.0, 84.0, 85.0)]
    broker = make(bars, tradable=halted, spread_bps=0.0)
    broker.step([1])
    for order in (1, 2):
        assert broker.step([order])["fills"] == []
    assert (broker.rejected_orders, broker.shares[0], broker.equity) == (0, 100, near(99_000))
    # Trading resumes below the stop of 98: out at the open.
    assert broker.step([0])["fills"] == [(0, -1, 100, 85.0, 85.0, 0.0, "stop")]
    assert broker.rejected_orders == 1, "the buy of before the halt, which waited"


def test_an_asset_not_observed_yet_takes_no_order():
    none = (0.0, 0.0, 0.0, 0.0)
    for action, settings in (([1], {}), ([0.2], {"action": "weights"})):
        broker = make([none, none, FIRST, FIRST], tradable=column(0, 0, 1, 1).astype(bool), spread_bps=0.0, **settings)
        assert broker.step(action)["fills"] == broker.step(action)["fills"] == []
        assert broker.rejected_orders == 0
        assert len(broker.step(action)["fills"]) == 1


def test_an_order_waits_for_the_next_bar_and_a_newer_one_takes_its_place():
    gap = column(1, 0, 0, 1, 1).astype(bool)
    for kind, buy, hold in (("discrete", [1], [0]), ("weights", [0.1], [np.nan])):
        broker = make([FIRST] * 5, tradable=gap, spread_bps=0.0, action=kind)
        # Bought at bar 0, which trades; what is done while nothing is seen of the asset changes nothing.
        assert [len(broker.step(action)["fills"]) for action in (buy, hold, [0], hold)] == [0, 0, 1, 0]
        assert (broker.shares[0] > 0, broker.rejected_orders) == (True, 0)
