"""The oracle itself, proved on cases worked out by hand: fills, cash, sizes of orders, weights.

Most cases use a full spread of 20 bps, so that a buy at an open of 100 fills at 100.1 and a stop or sell at P fills at
0.999 P. A first buy of 10 % of 100,000 is then 10,000 / 100.1 = 99.9000999 shares, and whatever they are sold for at a
price p brings 10,000 p / 100.1.
"""

import numpy as np
import pytest

from tests.reference.scenes import FIRST, QUIET, column, make, near

SHARES = 10_000 / 100.1
UNLIMITED = {"spread_bps": 0.0, "stop_loss": None, "take_profit": None, "max_position_pct": 1.0}


def test_a_buy_and_a_sell_pay_half_the_spread_each():
    broker = make([FIRST, QUIET, (101.0, 101.5, 100.5, 101.0)])
    step = broker.step([1])
    # 10 % of 100,000 at 100 * 1.001; the spread costs 0.1 a share; marked at 100.
    assert step["fills"] == [(0, 1, near(99.90009990009990), near(100.1), 100.0, 0.0, "order")]
    assert step["cost"] == near(9.990009990009990)
    assert step["turnover"] == near(0.1)
    assert (broker.cash, broker.equity) == (near(90_000), near(99_990.00999000999))
    assert step["profit"] == near([-9.99000999000999])
    assert (broker.entry_price[0], broker.entry_bar[0], broker.t) == (near(100.1), 1, 1)

    step = broker.step([2])
    # Sold at 101 * 0.999 = 100.899: 10,000 * 100.899 / 100.1 = 10,079.820179820180; the spread costs 0.101 a share.
    assert step["fills"] == [(0, -1, near(SHARES), near(100.899), 101.0, 0.0, "order")]
    assert step["cost"] == near(10.08991008991009)
    assert (broker.cash, broker.equity) == (near(100_079.82017982018), broker.cash)
    assert (broker.shares[0], broker.entry_price[0], broker.entry_bar[0]) == (0, 0, -1)
    assert (broker.num_trades, broker.rejected_orders, broker.cost) == (2, 0, near(20.07992007992008))


def test_slippage_adds_to_half_the_spread():
    broker = make([FIRST, QUIET], spread_bps=4.0, slippage_bps=3.0)
    assert broker.step([1])["fills"][0].price == near(100.05)  # 2 + 3 bps


def test_buys_are_cut_in_proportion_to_the_cash():
    flat = [FIRST] * 3
    broker = make(flat, flat, spread_bps=0.0, buy_pct=0.6, max_position_pct=0.8)
    broker.step([1, 0])
    # Asset 0 has room for 80,000 - 60,000 = 20,000, asset 1 wants 60,000; 40,000 pay for half of each.
    step = broker.step([1, 1])
    assert [fill.shares for fill in step["fills"]] == [near(100), near(300)]
    assert broker.shares == near([700, 300])
    assert 0 <= broker.cash < 1e-9


def test_buys_are_cut_with_their_fees():
    settings = {"spread_bps": 0.0, "buy_pct": 0.8, "max_position_pct": 0.8}
    broker = make([FIRST] * 2, [FIRST] * 2, **settings, commission_bps=100.0, commission_per_share=1.0)
    step = broker.step([1, 1])
    # At 100 a share both fees are 1 % of notional: 80,000 needs 81,600, and half the cash buys 50,000 / 1.02.
    assert [fill.shares for fill in step["fills"]] == [near(490.1960784313725)] * 2
    assert [fill.fee for fill in step["fills"]] == [near(980.3921568627451)] * 2
    assert 0 <= broker.cash < 1e-9


def test_buys_without_any_cash_are_rejected():
    flat = [FIRST] * 3
    broker = make(flat, flat, spread_bps=0.0, buy_pct=1.0, max_position_pct=1.0)
    broker.step([1, 0])
    assert broker.cash == 0
    assert broker.step([0, 1])["fills"] == []
    assert broker.rejected_orders == 1


@pytest.mark.parametrize(("sold", "bought"), [(0, 1), (1, 0)])
def test_sells_come_before_buys(sold: int, bought: int):
    flat = [FIRST] * 3
    broker = make(flat, flat, spread_bps=0.0, buy_pct=1.0, max_position_pct=1.0)
    broker.step([1 if a == sold else 0 for a in (0, 1)])
    step = broker.step([2 if a == sold else 1 for a in (0, 1)])
    assert [(fill.asset, fill.side, fill.shares) for fill in step["fills"]] == [(sold, -1, 1000), (bought, 1, 1000)]
    assert step["turnover"] == near(2.0)


def test_money_from_an_exit_at_the_open_pays_for_buys_but_not_money_from_inside_the_bar():
    settings = {"spread_bps": 0.0, "buy_pct": 1.0, "max_position_pct": 1.0}
    flat = [FIRST] * 3
    broker = make([FIRST, FIRST, (90.0, 100.0, 90.0, 100.0)], flat, **settings)
    broker.step([1, 0])
    assert [fill[:3] for fill in broker.step([0, 1])["fills"]] == [(0, -1, 1000), (1, 1, near(900))]

    broker = make([FIRST, FIRST, (100.0, 100.0, 90.0, 100.0)], flat, **settings)
    broker.step([1, 0])
    assert [fill[:3] for fill in broker.step([0, 1])["fills"]] == [(0, -1, 1000)]
    assert (broker.cash, broker.rejected_orders) == (near(98_000), 1)


def test_a_position_grows_up_to_its_limit():
    broker = make([FIRST] * 5, spread_bps=0.0)
    held = []
    for _ in range(4):
        broker.step([1])
        held.append(broker.shares[0])
    assert held == near([100, 200, 250, 250])  # 10 %, 20 %, then only 5 % more of 100,000, then nothing
    assert (broker.num_trades, broker.rejected_orders) == (3, 1)


def test_the_limit_values_what_is_held_at_the_open_and_equity_at_the_close_before():
    broker = make([FIRST, FIRST, (103.0, 103.5, 102.0, 102.0)], spread_bps=0.0, buy_pct=0.2)
    broker.step([1])
    broker.step([1])
    # 25 % of 100,000 less 200 * 103 = 4,400, at 103.
    assert broker.shares[0] == near(200 + 42.71844660194175)


def test_the_size_of_a_buy_follows_equity_at_the_close_before():
    other = [FIRST, (100.0, 103.0, 99.0, 102.0), (50.0, 120.0, 40.0, 100.0)]
    broker = make(other, [FIRST] * 3, spread_bps=0.0, stop_loss=None, take_profit=None)
    broker.step([1, 0])
    # 100 shares marked at 102: equity 100,200, whatever the next open is.
    assert broker.step([0, 1])["fills"][0].shares == near(100.2)


def test_fees_per_share_and_per_notional_are_paid_on_both_sides():
    broker = make([FIRST] * 3, spread_bps=0.0, commission_per_share=0.005)
    broker.step([1])
    assert (broker.cash, broker.equity) == (near(89_999.5), near(99_999.5))  # 100 shares * 0.005
    assert broker.entry_price[0] == 100.0
    broker.step([2])
    assert (broker.cash, broker.cost) == (near(99_999.0), near(1.0))

    broker = make([FIRST] * 3, spread_bps=0.0, commission_per_share=0.005, commission_bps=10.0)
    assert broker.step([1])["fills"][0].fee == near(10.5)
    assert broker.step([2])["fills"][0].fee == near(10.5)


def test_stops_and_targets_pay_commission():
    for bar, fee in (((100.0, 101.0, 97.0, 100.0), 9.8), ((100.0, 105.0, 99.0, 100.0), 10.4)):
        broker = make([FIRST, QUIET, bar], spread_bps=0.0, commission_bps=10.0)
        broker.step([1])
        step = broker.step([0])
        assert (step["fills"][0].fee, step["cost"]) == (near(fee), near(fee))


def test_selling_nothing_is_rejected_and_holding_is_no_order():
    broker = make([FIRST] * 3)
    broker.step([2])
    broker.step([0])
    assert (broker.rejected_orders, broker.num_trades) == (1, 0)


def test_weights_rebalance_towards_their_targets():
    first = [FIRST, (100.0, 111.0, 99.0, 110.0), (112.0, 113.0, 111.0, 112.0)]
    second = [FIRST, (100.0, 101.0, 89.0, 90.0), (88.0, 89.0, 87.0, 88.0)]
    broker = make(first, second, action="weights", **UNLIMITED)
    broker.step([0.5, 0.3])
    assert (broker.shares, broker.equity) == (near([500, 300]), near(102_000))
    step = broker.step([0.25, 0.5])
    # Wanted 25,500 and 51,000; held at the open 56,000 and 26,400: sell 30,500 / 112, buy 24,600 / 88.
    assert [fill.side * fill.shares for fill in step["fills"]] == near([-272.3214285714286, 279.5454545454545])
    assert (broker.cash, step["turnover"]) == (near(25_900), near(55_100 / 102_000))
    # A sale leaves the average alone; (300 * 100 + 24,600) / 579.5454... = 94.21176470588235.
    assert broker.entry_price == near([100, 94.21176470588235])
    # 500 * 112 - 500 * 110; 300 * (88 - 90): both trades were marked where they were done.
    assert step["profit"] == near([1_000, -600])


def test_weights_buy_at_the_fill_price_and_sell_value_at_the_open():
    broker = make([FIRST] * 3, action="weights", **{**UNLIMITED, "spread_bps": 20.0})
    assert broker.step([0.5])["fills"][0][2:4] == (near(499.5004995004995), near(100.1))  # 50,000 / 100.1
    # Equity 99,950.04995; wanted 24,987.5124875; held 49,950.04995 at the open: the difference / 100 at 99.9.
    assert broker.step([0.25])["fills"][0][2:4] == (near(249.6253746253746), near(99.9))


def test_weight_nan_keeps_zero_closes_equal_does_nothing():
    flat = [FIRST] * 4
    broker = make(flat, flat, action="weights", **UNLIMITED)
    broker.step([0.5, 0.25])
    assert broker.step([0.5, 0.25])["fills"] == []
    step = broker.step([np.nan, 0.0])
    assert [fill[:3] for fill in step["fills"]] == [(1, -1, near(250))]
    assert (broker.shares[0], broker.shares[1], broker.entry_bar[1]) == (500, 0, -1)
    assert broker.rejected_orders == 0


@pytest.mark.parametrize(
    ("action", "shares"),
    [
        ([0.8, 0.8], [250, 250]),  # 0.5 each, capped at 0.25
        ([0.6, 0.2, 1.2], [250, 100]),  # over 2: 0.3, 0.1 and 0.6 in cash; capped at 0.25
        ([0.1, 0.2, 0.1], [100, 200]),  # below 1 nothing is scaled
        ([-1.0, 0.2], [0, 200]),
        ([-1.0, 0.2, -5.0], [0, 200]),
        ([np.nan, 0.2, np.nan], [0, 200]),
        ([0.9, 0.3], [250, 250]),  # 0.75 and 0.25
        ([np.nan, 2.0], [0, 250]),
    ],
)
def test_weights_are_made_admissible(action: list[float], shares: list[float]):
    broker = make([FIRST] * 2, [FIRST] * 2, action="weights", spread_bps=0.0)
    broker.step(action)
    assert broker.shares == near(shares)


def test_weights_on_an_asset_that_cannot_trade_wait():
    halted = np.array([[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]], bool)
    broker = make([FIRST] * 5, [FIRST] * 5, action="weights", tradable=halted, **UNLIMITED)
    broker.step([0.5, 0.0])
    for action in ([0.0, 0.1], [0.5, 0.0], [np.nan, np.nan]):
        assert broker.step(action)["rejected"] == []
    assert broker.waiting == [0.0, 0.1], "of the last moment at which both were seen"


def test_after_an_exit_at_the_open_only_a_target_above_zero_is_an_order():
    for weight, rejected in ((0.0, 0), (0.1, 1), (np.nan, 0)):
        broker = make([FIRST, QUIET, (90.0, 91.0, 89.0, 90.0)], action="weights", spread_bps=0.0)
        broker.step([0.1])
        assert broker.step([weight])["fills"][0].reason == "stop"
        assert (broker.rejected_orders, broker.shares[0]) == (rejected, 0)


def test_ruin_is_below_the_threshold_and_the_peak_stays():
    bars = [FIRST, (100.0, 110.0, 100.0, 110.0), (95.0, 96.0, 94.0, 95.0), (94.0, 95.0, 93.0, 94.0)]
    broker = make(bars, buy_pct=1.0, ruin_pct=0.95, **UNLIMITED)
    assert [broker.step([order])["terminated"] for order in (1, 0, 0)] == [False, False, True]
    assert (broker.equity, broker.peak_equity) == (near(94_000), near(110_000))


def test_an_account_can_start_anywhere():
    broker = make([(0.0, 0.0, 0.0, 0.0), FIRST, FIRST], tradable=column(0, 1, 1).astype(bool), start=1)
    broker.step([1])
    assert (broker.t, broker.entry_bar[0]) == (2, 2)


@pytest.mark.parametrize(
    ("settings", "action", "message"),
    [
        ({}, [3], "holds 0, 1 or 2"),
        ({}, [0, 1], "shape"),
        ({"action": "weights"}, [np.inf], "infinite"),
        ({"action": "weights"}, [0.1, 0.1, 0.1], "shape"),
        ({"action": "orders"}, [0], "choose"),
        ({"start": 2}, [0], "outside"),
        ({"start": 1}, [0], "last one"),
        ({"spread_bps": 20_000.0}, [0], "above 0"),
        ({"split": column(1, 0)}, [0], "split"),
        ({"dividend": column(1, np.nan)}, [0], "dividend"),
        ({"tradable": column(1)}, [0], "tradable"),
    ],
)
def test_bad_input_is_refused(settings: dict, action: list, message: str):
    with pytest.raises(ValueError, match=message):
        make([FIRST] * 2, **settings).step(action)
