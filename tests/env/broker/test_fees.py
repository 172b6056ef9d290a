"""Fee schedules: every rate at its dates, the named schedules, rounding, caps, commissions, and what is refused."""

import json
from dataclasses import asdict, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.broker.fees import (
    ALPACA,
    CAT,
    SEC,
    TAF,
    FeeKind,
    FeeSchedule,
    resolve_schedule,
    round_up,
    schedule_cash,
)
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from tests.env.scenes import BUY_BOTH, BUY_ONE, FLAT, NUM_BARS, SELL_BOTH, SELL_ONE, WAIT, fees, near, trade
from tests.env.worlds import random_market

RATES: dict[str, list[tuple[str, float]]] = {
    "SEC": [
        ("2017-07-04", 23.10),
        ("2018-05-22", 13.00),
        ("2019-04-16", 20.70),
        ("2020-02-18", 22.10),
        ("2021-02-25", 5.10),
        ("2022-05-14", 22.90),
        ("2023-02-27", 8.00),
        ("2024-05-22", 27.80),
        ("2025-05-14", 0.00),
        ("2026-04-04", 20.60),
    ],
    "TAF": [
        ("2012-07-01", 119),
        ("2022-01-01", 130),
        ("2023-01-01", 145),
        ("2024-01-01", 166),
        ("2026-01-01", 195),
        ("2026-10-01", 0),
        ("2027-01-01", 195),
    ],
    "CAT": [("2024-09-01", 46), ("2025-01-01", 53), ("2025-07-01", 26.5), ("2025-12-01", 0), ("2026-05-01", 3)],
}
"""Millionths of a dollar or of a share, by the day they began."""

TAF_CAPS = {119: 5.95, 130: 6.49, 145: 7.27, 166: 8.30, 195: 9.79, 0: 0.0}


def day(text: str) -> int:
    return int(np.datetime64(text, "D").astype(int))


@pytest.mark.parametrize("kind", [SEC, TAF, CAT], ids=lambda kind: kind.name)
def test_every_rate_holds_from_its_day_to_the_day_before_the_next(kind: FeeKind):
    table = RATES[kind.name]
    for place, (start, rate) in enumerate(table):
        last = day(table[place + 1][0]) - 1 if place + 1 < len(table) else day("2035-01-01")
        found, caps = kind.resolve(np.array([day(start), (day(start) + last) // 2, last]))
        assert found == pytest.approx([rate * 1e-6] * 3, rel=1e-12), start
        assert caps.tolist() == [TAF_CAPS[int(rate)] if kind is TAF else np.inf] * 3


def test_before_the_first_day_the_first_rate_holds():
    assert SEC.resolve(np.array([day("1990-01-02"), day("2017-07-03")]))[0] == pytest.approx([23.1e-6] * 2)
    assert TAF.resolve(np.array([day("2000-01-03")]))[1] == [5.95]
    assert not CAT.resolve(np.array([day("2010-01-04"), day("2024-08-31")]))[0].any()


def test_fees_are_charged_on_the_side_and_in_the_unit_of_their_kind():
    assert [(kind.name, kind.unit, kind.sides) for kind in ALPACA.kinds] == [
        ("SEC", "notional", "sell"),
        ("TAF", "share", "sell"),
        ("CAT", "share", "both"),
    ]
    assert (ALPACA.rounding, resolve_schedule("conservative").rounding) == ("day", "day")


def test_the_rates_of_a_market_are_those_of_its_sessions():
    days = np.array([day("2025-05-13"), day("2025-05-14"), day("2026-09-30"), day("2026-10-01")])
    market = random_market(0, dtype=np.float64).replace(sessions=np.repeat(days, 16).astype(np.int32))
    rates = np.asarray(TradingEnv(EnvConfig(episode_length=5)).default_params(market).fee_rates)
    expected = [[27.8e-6, 0, 20.6e-6, 20.6e-6], [166e-6, 166e-6, 195e-6, 0], [53e-6, 53e-6, 3e-6, 3e-6]]
    assert rates[:, ::16] == pytest.approx(np.array(expected))
    frozen = TradingEnv(EnvConfig(episode_length=5, fees="alpaca@2024-06-03")).default_params(market)
    assert np.asarray(frozen.fee_rates) == pytest.approx(np.repeat([[27.8e-6], [166e-6], [0]], 64, axis=1))
    assert np.asarray(frozen.fee_caps)[:, 0].tolist() == pytest.approx([np.inf, 8.30, np.inf])


def charged(fees: str | FeeSchedule, shares: float, price: float, when: str, *, is_sale: bool = True) -> list[float]:
    """Return what each kind charges on one fill."""
    schedule = resolve_schedule(fees)
    rates, caps = schedule.resolve(np.array([day(when)]))
    cash = schedule_cash(
        jnp.array([shares * price]), jnp.array([float(shares)]), rates[:, 0], caps[:, 0], schedule, is_sale=is_sale
    )
    return [0.0 if fee is None else float(fee[0]) for fee in cash]


def test_named_schedules_charge_what_they_say():
    sale = (200, 50.0, "2023-06-01")
    assert charged("doc_compat", *sale) == pytest.approx([0.221, 1.45])  # per cent of the value
    assert charged("alpaca", *sale) == pytest.approx([0.08, 0.029, 0])  # dollars per share
    assert charged("conservative", *sale) == pytest.approx([0.278, 0.039, 0.0106])
    assert charged("percent", *sale) == pytest.approx([10.0])
    assert charged("none", *sale) == []
    assert charged("alpaca@2025-02-03", *sale) == pytest.approx([0.278, 0.0332, 0.0106])
    assert charged("doc_compat@2024-06-03", *sale) == pytest.approx([0.221, 1.45])


def test_only_fees_of_both_sides_are_charged_on_buys():
    buy = (200, 50.0, "2025-02-03")
    assert charged("alpaca", *buy, is_sale=False) == pytest.approx([0, 0, 0.0106])
    assert charged("doc_compat", *buy, is_sale=False) == [0, 0]
    assert charged("percent", *buy, is_sale=False) == pytest.approx([10.0])


def test_a_cap_holds_per_fill():
    assert charged("alpaca", 50_000, 1.0, "2024-03-01")[1] == pytest.approx(8.30)
    assert charged("alpaca", 49_999, 1.0, "2024-03-01")[1] == pytest.approx(49_999 * 166e-6)
    assert charged("alpaca", 1e6, 1.0, "2026-11-02")[1] == 0


def test_rounding_goes_up_to_the_cent_but_not_for_rounding_errors():
    dollars = [0.0, 0.0001, 0.01, 0.010000001, 0.0101, 0.29 + 1e-12, 0.1 + 0.2, 1.005]
    assert round_up(jnp.array(dollars)) == pytest.approx([0, 0.01, 0.01, 0.01, 0.02, 0.29, 0.30, 1.01])


DAYS = [0, 1, 1, 1, 2, 2, 3, 3]
YEAR_2026 = {"fee_rates": np.repeat([[20.6e-6], [195e-6], [3e-6]], NUM_BARS, axis=1)}
YEAR_2026 |= {"fee_caps": np.repeat([[np.inf], [9.79], [np.inf]], NUM_BARS, axis=1)}
SALE = 10_000 * 20.6e-6 + 100 * 195e-6
CAT_FEE = 100 * 3e-6


def test_without_rounding_a_fill_pays_exactly():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], sessions=DAYS, **YEAR_2026)
    assert (fees(trace, 0), fees(trace, 1)) == (near(CAT_FEE), near(SALE + CAT_FEE))
    assert not trace.info["fee_rounding"].any()
    assert trace.state.equity[-1] == near(100_000 - SALE - 2 * CAT_FEE)


def test_rounding_by_fill_rounds_each_kind_of_each_fill():
    trace = trade([FLAT], [BUY_BOTH, SELL_BOTH], sessions=DAYS, compiled=rounded("fill"), **YEAR_2026)
    assert [fees(trace, 0, asset) for asset in (0, 1)] == near([0.01, 0.01])
    assert [fees(trace, 1, asset) for asset in (0, 1)] == near([0.21 + 0.02 + 0.01] * 2)
    assert not trace.info["fee_rounding"].any()
    assert trace.state.equity[-1] == near(100_000 - 0.5)


def test_rounding_by_day_rounds_the_sum_of_each_kind_at_the_end_of_the_session():
    trace = trade([FLAT], [BUY_BOTH, SELL_BOTH], sessions=DAYS, compiled=rounded("day"), **YEAR_2026)
    exact = [2 * 0.206, 2 * 0.0195, 4 * CAT_FEE]  # to 0.42, 0.04, 0.01
    assert sum(fees(trace, 1, asset) for asset in (0, 1)) == near(2 * (SALE + CAT_FEE))
    assert trace.state.fee_day_cash[1] == near(exact)
    # The session has one more bar, without a trade; the rounding is charged there.
    assert trace.info["fee_rounding"] == near([0, 0, 0.47 - sum(exact), 0, 0, 0, 0])
    assert trace.info["cost"][2] == near(0.47 - sum(exact))
    assert trace.state.equity[2:] == near([100_000 - 0.47] * 5)
    assert not trace.state.fee_day_cash[2:].any()


def test_a_day_of_one_small_sale_costs_three_cents():
    trace = trade([FLAT], [BUY_ONE, SELL_ONE], compiled=rounded("day"), buy_pct=2e-5, **YEAR_2026)
    assert trace.state.shares[0, 0] == near(0.02)
    assert trace.state.equity[:3] == near([99_999.99, 99_999.96, 99_999.96])


def test_a_day_without_trades_costs_nothing():
    trace = trade([FLAT], [WAIT], sessions=DAYS, compiled=rounded("day"), **YEAR_2026)
    assert (trace.state.equity == 100_000).all()


def test_an_account_that_buys_with_all_it_has_still_pays_the_rounding():
    everything = {"buy_pct": 1.0, "max_position_pct": 1.0, "commission": 0.001}
    for rounding, reserve in (("day", 0.03), ("fill", 0.02)):
        trace = trade([FLAT], [BUY_BOTH, WAIT, SELL_BOTH], compiled=rounded(rounding), **YEAR_2026, **everything)
        assert 0 <= trace.info["cash"][0] <= reserve
        assert trace.state.cost[0] == pytest.approx(trace.state.shares[0].sum() * 0.1 + reserve / 2, abs=0.02)


def rounded(how: str) -> dict[str, Any]:
    return {"fees": "alpaca", "fee_rounding": how}


def test_commission_is_the_larger_of_its_parts_and_the_minimum_on_both_sides():
    parts = {"commission": 1e-4, "commission_per_share_cash": 0.02, "commission_per_order_cash": 0.5}
    for least, expected in ((0.0, 3.5), (3.4, 3.5), (5.0, 5.0)):
        trace = trade([FLAT], [BUY_ONE, SELL_ONE], commission_min_cash=least, **parts)
        assert [fees(trace, step) for step in (0, 1)] == near([expected] * 2)
        assert fees(trace, 0, 1) == 0
    penny = trade([(0.01,) * 4], [BUY_ONE, SELL_ONE], commission_per_share_cash=0.02)
    assert penny.state.shares[0, 0] == near(1e6)
    assert fees(penny, 1) == near(10_000)  # never more than the sale brings


def test_a_schedule_survives_json():
    for schedule in (*map(resolve_schedule, ("alpaca", "none", "percent", "alpaca@2024-05-22")),):
        assert FeeSchedule.from_plain(json.loads(json.dumps(asdict(schedule)))) == schedule
    own = FeeSchedule((FeeKind("tax", "notional", "both", (("2019-01-01", 0.001, 5.0),)),), "fill")
    config = EnvConfig(fees=own, fee_rounding="day")
    assert EnvConfig.from_plain(json.loads(json.dumps(config.to_plain()))) == config
    assert config.schedule == replace(own, rounding="day")
    assert EnvConfig().schedule == ALPACA


ROW = ("2020-01-01", 0.001, None)
GOOD: dict[str, Any] = {"name": "tax", "unit": "notional", "sides": "sell", "rows": (ROW,)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "dollar"}, "Fee 'tax': unit is 'notional' or 'share'.*'dollar'"),
        ({"sides": "buy"}, "Fee 'tax': .*sides 'sell' or 'both'.*'buy'"),
        ({"rows": ()}, "Fee 'tax' has no rate"),
        ({"rows": (ROW, ROW)}, "Fee 'tax': the days of its rates must ascend.*2020-01-01"),
        ({"rows": (("2021-01-01", 0.1, None), ROW)}, "must ascend"),
        ({"rows": (("2020-01-01", -0.1, None),)}, "Fee 'tax' from 2020-01-01: rate -0.1"),
        ({"rows": (("2020-01-01", float("nan"), None),)}, "Fee 'tax' from 2020-01-01: rate nan"),
        ({"rows": (("2020-01-01", 0.1, -1.0),)}, "cap -1.0"),
        ({"rows": (("next year", 0.1, None),)}, "Fee 'tax': day='next year' is not a date"),
    ],
)
def test_a_bad_kind_of_fee_is_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        FeeKind(**(GOOD | change))


def test_an_unknown_rounding_is_refused():
    with pytest.raises(ValueError, match="rounding='cent'"):
        FeeSchedule((), "cent")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fees", "message"),
    [
        ("alpacca", "fees='alpacca' is unknown; use auto, none, alpaca, "),
        ("", "fees='' is unknown"),
        ("alpaca@2024-13-01", "fees='alpaca@2024-13-01': '2024-13-01' is not a date; write it as YYYY-MM-DD"),
        ("alpaca@yesterday", "'yesterday' is not a date"),
        ("alpaca@20240522", "'20240522' is not a date"),
        ("alpaca@", "'' is not a date"),
    ],
)
def test_bad_names_of_schedules_are_refused(fees: str, message: str):
    with pytest.raises(ValueError, match=message):
        EnvConfig(fees=fees)
