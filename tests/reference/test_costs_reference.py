"""Prices and fees of the oracle, worked out by hand."""

from typing import Any

import numpy as np
import pytest

from tests.reference.scenes import FIRST, PLAIN, column, make, near
from tests.reference.settings import FeeKind, fee_kind

SMALL = [(0.5, 0.5, 0.5, 0.5)] * 3


def price_of_a_buy(bars: list = [FIRST] * 2, noise: Any = None, **settings: Any) -> float:
    return make(bars, **{**PLAIN, **settings}).step([1], noise)["fills"][0].price


def test_the_spread_is_at_least_a_tick():
    # Half a tick of $0.10 is 5 bps of $100; half the spread of 8 bps is 4, of 20 is 10.
    assert price_of_a_buy(spread_bps=8.0, tick_size=0.10) == near(100.05)
    assert price_of_a_buy(spread_bps=20.0, tick_size=0.10) == near(100.10)
    # A sale gives the half tick away, too.
    broker = make([FIRST] * 3, **{**PLAIN, "tick_size": 0.10})
    broker.step([1])
    assert broker.step([2])["fills"][0].price == near(99.95)


def test_the_tick_is_a_hundredth_below_a_dollar():
    assert price_of_a_buy(SMALL, tick_size=0.10) == near(0.5005)  # 0.001 / (2 * 0.5) = 10 bps
    at_a_dollar = [(1.0, 1.0, 1.0, 1.0)] * 2
    assert price_of_a_buy(at_a_dollar, tick_size=0.10) == near(1.05)


def test_spread_and_impact_are_multiplied_in_their_bar():
    # Half of 3 x 20 bps is 30; slippage is no part of the spread.
    assert price_of_a_buy(spread_bps=20.0, spread_scale=3.0, slippage_bps=5.0) == near(100.35)
    # A tenth of 20 bps is less than a tick of $0.10, which is not scaled.
    assert price_of_a_buy(spread_bps=20.0, spread_scale=0.1, tick_size=0.10) == near(100.05)
    ones, scale = np.ones((3, 1)), column(1.0, 1.0, 4.0)
    broker = make([FIRST] * 3, **PLAIN | {"spread_bps": 20.0}, spread_scale=scale, impact_scale=ones)
    assert broker.step([1])["fills"][0].price == near(100.1)
    assert broker.step([2])["fills"][0].price == near(99.6)
    usual = {"impact": 1.0, "volatility": 0.02, "adv": 1e6}
    once, twice = (price_of_a_buy(**usual, impact_scale=scale) for scale in (1.0, 2.0))
    # A larger impact buys fewer shares, whose impact is a little less than twice as large.
    assert 1.99 < (twice - 100) / (once - 100) < 2


def test_slippage_adds_up_and_is_moved_by_luck_together():
    # 10 bps + 0.5 * 2 % + 0.1 * 1 % = 0.001 + 0.01 + 0.001 = 0.012
    slippage = {"slippage_bps": 10.0, "slippage_atr": 0.5, "slippage_volatility": 0.1, "atr": 0.02, "volatility": 0.01}
    assert price_of_a_buy(**slippage) == near(101.2)
    # exp(0.5 * ln 4) = 2 doubles it; the spread of 20 bps stays.
    luck = {"noise": [1.3862943611198906], "slippage_noise": 0.5, "spread_bps": 20.0}
    assert price_of_a_buy(**slippage, **luck) == near(102.5)
    assert price_of_a_buy(**slippage, noise=[1.0]) == near(101.2)


@pytest.mark.parametrize(
    ("adv", "bps"),
    [
        (1_000_000, 20.0),  # 1 % of a usual day at a volatility of 2 %: 0.02 * sqrt(0.01) = 20 bps
        (10_000_000, 6.324555320336759),  # 0.1 %: 0.02 * sqrt(0.001), where the two branches meet
        (20_000_000, 3.1622776601683795),  # 0.05 %: half of that
        (0, 0.0),
    ],
)
def test_impact_grows_with_the_share_of_a_usual_day(adv: float, bps: float):
    # A buy of 10,000 is sized with the impact of 10,000, and pays that of its shares at 100.
    broker = make([FIRST] * 2, **PLAIN, impact=1.0, volatility=0.02, adv=adv)
    fill = broker.step([1])["fills"][0]
    assert fill.shares == near(100 / (1 + bps / 1e4))
    x = 1e4 / (1 + bps / 1e4) / max(adv, 1)
    share_of_it = 1 / (1 + bps / 1e4) ** (0.5 if x >= 0.001 else 1)
    assert fill.price == near(100 * (1 + bps / 1e4 * share_of_it))


def test_stops_have_impact_and_targets_have_none():
    settings = {"spread_bps": 0.0, "impact": 1.0, "volatility": 0.02, "adv": column(0, 980_000, 0)}
    for bar, price in (((100.0, 101.0, 98.0, 100.0), 97.804), ((100.0, 104.0, 99.0, 100.0), 104.0)):
        broker = make([FIRST, FIRST, bar], **settings)
        broker.step([1])
        # 100 shares at 98 are 1 % of a usual day: 98 * (1 - 0.002).
        assert broker.step([0])["fills"][0].price == near(price)


def test_a_price_never_falls_below_zero():
    broker = make([FIRST] * 3, **PLAIN, impact=1.0, volatility=column(0, 90, 0), adv=column(0, 1e4, 0))
    broker.step([1])
    step = broker.step([2])
    assert (step["fills"][0].price, step["fills"][0].fee, broker.cash) == (0.0, 0.0, near(90_000))


def test_a_commission_has_a_part_per_order_and_a_least():
    settings = {"commission_bps": 10.0, "commission_per_share": 0.01, "commission_per_order": 2.0}
    for least, fee in ((0.0, 13.0), (13.5, 13.5)):  # 10 + 1 + 2
        broker = make([FIRST] * 2, **PLAIN, **settings, commission_min=least)
        assert broker.step([1])["fills"][0].fee == near(fee)


def test_a_commission_never_exceeds_what_is_traded():
    broker = make([FIRST] * 3, **PLAIN, commission_min=7_000.0, buy_pct=0.05)
    step = broker.step([1])
    assert (step["fills"][0].fee, broker.cash) == (near(5_000), near(90_000))
    assert broker.step([2])["fills"][0].fee == near(5_000)
    assert broker.cash == near(90_000)


def test_each_kind_of_fee_has_its_side_its_unit_and_its_cap():
    kinds = [
        fee_kind("notional", "sell", 2e-5, 3),
        fee_kind("share", "sell", 0.0002, 3, cap=0.015),
        fee_kind("share", "both", 0.0001, 3),
    ]
    broker = make([FIRST] * 3, **PLAIN, fees=kinds)
    assert broker.step([1])["fills"][0].fee == near(0.01)  # 100 * 0.0001
    # 10,000 * 2e-5 + min(100 * 0.0002, 0.015) + 0.01
    assert broker.step([2])["fills"][0].fee == near(0.225)


def test_rates_are_those_of_the_bar_of_the_fill():
    kinds = [FeeKind("notional", "both", [0.0, 1e-4, 2e-4], [1e9, 1e9, 1.5])]
    for fill, fees in (("next_open", [1.0, 1.5]), ("same_close", [0.0, 1.0])):
        broker = make([FIRST] * 3, **PLAIN, fees=kinds, fill=fill)
        assert [broker.step([order])["fills"][0].fee for order in (1, 2)] == near(fees)


def test_rounding_by_fill_takes_each_kind_up_to_the_cent():
    # 100 shares: 0.0166 -> 0.02 and 0.0200 -> 0.02, which is a whole number of cents already.
    kinds = [fee_kind("share", "both", 0.000166, 3), fee_kind("notional", "both", 2e-6, 3)]
    broker = make([FIRST] * 3, **PLAIN, fees=kinds, fee_rounding="fill")
    assert broker.step([1])["fills"][0].fee == near(0.04)


def test_rounding_by_day_tops_up_the_sum_of_the_day():
    kinds = [fee_kind("share", "both", 0.000166, 5), fee_kind("share", "sell", 0.0001, 5)]
    broker = make([FIRST] * 5, **PLAIN, fees=kinds, fee_rounding="day", sessions=[0, 1, 1, 1, 2])
    step = broker.step([1])
    assert (step["fills"][0].fee, step["fee_rounding"], broker.fee_day) == (near(0.0166), 0, near([0.0166, 0]))
    assert broker.step([2])["fills"][0].fee == near(0.0266)
    step = broker.step([1])
    # Two buys and a sale: 0.0498 and 0.01 in all, less a hair because equity shrank by the fees; topped up to 0.05.
    assert broker.fee_day == [0, 0]
    assert step["fee_rounding"] == pytest.approx(0.0002, abs=1e-7)
    assert broker.cash == pytest.approx(90_000 - 0.06, abs=0.01)
    assert step["cost"] == pytest.approx(0.0168, abs=1e-6)
    assert sum(step["profit"]) - step["fee_rounding"] == near(-step["cost"])


def test_the_rounding_of_a_day_takes_no_more_than_the_cash():
    kinds = [fee_kind("share", "sell", 0.00015, 3)]
    broker = make([FIRST] * 3, **{**PLAIN, "buy_pct": 1.0}, initial_cash=100.0, fees=kinds, fee_rounding="day")
    broker.step([1])
    # A cent is kept back: 99.99 dollars buy 0.9999 shares.
    assert (broker.cash, broker.shares[0]) == (near(0.01), near(0.9999))
    broker.cash = 0.0
    broker.fee_day = [0.002]
    assert (broker.step([0])["fee_rounding"], broker.cash) == (0.0, 0.0)


def test_buys_leave_room_for_what_is_fixed():
    kinds = [fee_kind("share", "both", 0.00015, 2), fee_kind("share", "sell", 0.1, 2)]
    settings = {**PLAIN, "buy_pct": 0.5, "commission_bps": 100.0, "commission_per_order": 20.0, "commission_min": 30.0}
    broker = make([FIRST] * 2, [FIRST] * 2, **settings, fees=kinds, fee_rounding="fill")
    step = broker.step([1, 1])
    # Two of 50,000 with fees of 1 % and 20 dollars are too much. Kept free: 2 * (20 + 30 + 0.01). A share costs
    # 100 + 1 + 0.00015.
    shares = (100_000 - 100.02) / 2 / 101.00015
    assert [fill.shares for fill in step["fills"]] == near([shares] * 2)
    assert step["fills"][0].fee == near(shares + 20 + 0.08)  # 0.0742 up to the cent
    assert broker.cash == near(100.02 - 40.16 + 2 * shares * 0.00015)
