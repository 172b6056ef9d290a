"""Stress test of an agent against backtests of each stressed path alone, and against vectors worked out by hand."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.inference.survival import kaplan_meier, median_time
from ploutos_jax.evaluate.stress.table import NO_SHOCK, _Test, recovery, stress_table, stress_test
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.stress.apply import SCENARIOS
from tests.evaluate.backtest.worlds import NUM_BARS, make_agent, make_panel

pytestmark = pytest.mark.thorough

RULES = EnvConfig(
    episode_length=50,
    max_participation=1e-3,
    slippage_noise=0.5,
    fees="none",
    instrument="us-equity",
    max_position_pct=0.25,
)
DRAWS, FIRST = 4, 30
SOME = ("low_liquidity", "gap_down")


@pytest.fixture(scope="module")
def panel():
    return make_panel(seed=2)


@pytest.fixture(scope="module")
def agent(panel):
    return make_agent(build_market(panel, "minimal"), RULES)


@pytest.fixture(scope="module")
def table(agent, panel):
    return stress_table(agent, panel, start=FIRST, scenarios=SOME, draws=DRAWS, severity=1.0)


@pytest.fixture(scope="module")
def case(agent, panel):
    return _Test(agent, panel, RULES, FIRST, 0)


def check_rows(table, scenarios):
    assert list(table.index) == [NO_SHOCK, *scenarios]
    usual = table.loc[NO_SHOCK]
    assert usual["return_change"] == usual["cvar_change"] == usual["drawdown_change"] == 0
    assert np.isnan(usual["recovery_bars"]) and np.isnan(usual["censored_share"])
    shares = table[["survival_rate", "filled_share", "stops_beyond_atr_share"]]
    assert ((shares >= 0) & (shares <= 1 + 1e-6)).all(axis=None)
    assert (table["worst_drawdown"] < 0).all() and (table["draws"] == DRAWS).all()


def test_each_scenario_has_a_row_and_the_usual_span_one(table):
    check_rows(table, SOME)


@pytest.mark.slow
def test_all_scenarios_run(agent, panel):
    table = stress_table(agent, panel, start=FIRST, draws=DRAWS)
    check_rows(table, SCENARIOS)
    assert table.loc["prolonged_bear", "return_change"] < table.loc["low_liquidity", "return_change"]
    assert table.loc["halt_and_delist", "filled_share"] < table.loc[NO_SHOCK, "filled_share"]


def test_the_worst_shocks_hurt(table):
    """At full severity, and an agent that holds much of its money in stocks."""
    assert table.loc["gap_down", "return_change"] < -0.01
    assert table.loc["gap_down", "worst_drawdown"] < table.loc[NO_SHOCK, "worst_drawdown"]
    thin, usual = table.loc["low_liquidity"], table.loc[NO_SHOCK]
    assert thin["filled_share"] < usual["filled_share"] - 0.05
    assert thin["shortfall_bps"] > 1.2 * usual["shortfall_bps"]
    assert table.loc["gap_down", "stops_beyond_atr_share"] > usual["stops_beyond_atr_share"]


def test_each_draw_is_a_backtest_of_its_path(agent, panel, case):
    """The paths laid end to end do not see each other; prices, features and costs are those of the path alone."""
    calm = EnvConfig(episode_length=50, max_participation=1e-3, fees="none")
    case = dataclasses.replace(case, config=calm)
    stressed, shock = case.shocked("gap_down", 0, 3, 1.0)
    equity = case.play(case.market(stressed), 3).equity
    for draw in range(3):
        rows = slice(draw * panel.num_bars, (draw + 1) * panel.num_bars)
        alone = jax.tree.map(lambda x, rows=rows: x[rows], stressed.replace(labels=None)).replace(labels=panel.labels)
        market = build_market(alone, list(agent.feature_names))
        ledger = backtest(dataclasses.replace(agent, env_config=calm), market, FIRST)
        np.testing.assert_allclose(equity[:, draw], ledger.equity, rtol=1e-5)
    first = np.asarray(shock.first) - np.arange(3) * panel.num_bars
    assert ((first > FIRST) & (first <= FIRST + (panel.num_bars - FIRST) // 2 + 1)).all()
    assert len(set(equity[-1].tolist())) == 3


def test_draws_share_their_random_numbers_with_the_usual_ones(case):
    usual = case.play(case.market(), DRAWS).equity
    outcomes, shocks = case.stressed("gap_down", DRAWS, 1.0)
    for draw, first in enumerate(shocks.first):
        np.testing.assert_allclose(outcomes.equity[:first, draw], usual[:first, draw], rtol=1e-6)
    assert not np.allclose(outcomes.equity, usual)
    assert len(set(usual[-1].tolist())) == DRAWS, "slippage is random here, so draws differ without a shock too"


def test_draws_to_look_at_are_the_median_and_the_worst(agent, panel, case):
    found = stress_test(agent, panel, start=FIRST, scenarios=("gap_down",), draws=DRAWS, severity=1.0)
    (path,) = found.paths
    outcomes, shocks = case.stressed("gap_down", DRAWS, 1.0)
    usual = case.play(case.market(), DRAWS).equity
    change = outcomes.equity[-1] / outcomes.equity[0] - usual[-1] / usual[0]
    assert path.scenario == "gap_down" and path.draws == DRAWS and (path.times == panel.times[FIRST:]).all()
    for draw, at in ((path.worst, np.argmin(change)), (path.median, np.argsort(change)[(DRAWS - 1) // 2])):
        np.testing.assert_array_equal(draw.equity, outcomes.equity[:, at])
        np.testing.assert_array_equal(draw.without, usual[:, at])
        assert draw.change == pytest.approx(change[at]) and draw.first == shocks.first[at] <= draw.last
        np.testing.assert_allclose(draw.equity[: draw.first], draw.without[: draw.first], rtol=1e-6)
        assert draw.equity[draw.first] != draw.without[draw.first]
    assert found.table.loc["gap_down", "return_change"] == pytest.approx(change.mean())


def test_an_unknown_scenario_is_named_with_the_nearest(agent, panel):
    with pytest.raises(ValueError, match="Unknown scenario 'gap_dwn'; did you mean 'gap_down'"):
        stress_test(agent, panel, start=FIRST, scenarios=("gap_dwn",))


@pytest.mark.slow
def test_execution_is_what_the_fills_say(agent, panel, case):
    """Without noise and with room for every order: sums over the ledger of a backtest, in NumPy."""
    calm = EnvConfig(episode_length=50, spread_bps=20, commission_bps=3, fees="none")
    one = dataclasses.replace(case, config=calm)
    market = one.market()
    sums = {name: float(value[0]) for name, value in vars(one.play(market, 1).execution).items()}
    fills = backtest(dataclasses.replace(agent, env_config=calm), market, FIRST).fills
    value = fills["shares"] * fills["reference_price"]
    is_stop, is_order = fills["reason"] == "stop", fills["reason"] == "order"
    assert is_stop.sum() > 3 and is_order.sum() > 10
    assert sums["filled_cash"] == pytest.approx(value[is_order].sum(), rel=1e-4)
    assert sums["stops"] == is_stop.sum()
    assert sums["traded_cash"] == pytest.approx(value[is_stop | is_order].sum(), rel=1e-4)
    side = np.where(fills["side"] == "buy", 1, -1)
    lost = side * (fills["price"] - fills["reference_price"]) * fills["shares"] + fills["fee"]
    # Stops that a gap jumped lost more than that against their level.
    assert sums["shortfall_cash"] >= lost[is_stop | is_order].sum() * (1 - 1e-3)
    # All that could be paid for was filled, but for what the costs of cash-bound buys took.
    assert 0.995 < sums["filled_cash"] / sums["ordered_cash"] <= 1 + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("settlement_days", [0, 1])
@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close"])
def test_no_more_is_filled_than_ordered(case, fill, settlement_days):
    """An account short of cash that stops out often: what stops paid before the orders buys with them."""
    config = EnvConfig(
        episode_length=50, fill=fill, settlement_days=settlement_days, buy_pct=0.6, max_position_pct=0.9,
        stop_loss=0.005, take_profit=0.01, fees="none",
    )  # fmt: skip
    one = dataclasses.replace(case, config=config)
    sums = {name: float(value[0]) for name, value in vars(one.play(one.market(), 1).execution).items()}
    assert sums["stops"] > 10 and sums["filled_cash"] > 0
    assert 0.97 < sums["filled_cash"] / sums["ordered_cash"] <= 1 + 1e-5


def test_limit_orders_fill_in_part(case):
    """What is ordered counts whether or not the bar reaches it; the nearer the limit, the more fills."""
    shares = []
    for offset in (10.0, 150.0):
        config = EnvConfig(episode_length=50, order_type="limit", limit_offset_bps=offset, fees="none")
        one = dataclasses.replace(case, config=config)
        sums = one.play(one.market(), 1).execution
        shares.append(float(sums.filled_cash[0]) / float(sums.ordered_cash[0]))
    assert 0.05 < shares[1] < shares[0] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenarios": ["flash_crush"]}, "Unknown scenario 'flash_crush'"),
        ({"draws": 0}, "draws=0 must be at least 1"),
        ({"start": 85}, "holds 5 bars"),
    ],
)
def test_what_does_not_work_is_refused(agent, panel, arguments, message):
    with pytest.raises(ValueError, match=message):
        stress_table(agent, panel, **arguments)


def test_several_paths_are_refused_and_one_of_them_is_as_if_it_were_alone(agent, panel):
    ends = np.repeat(np.array([44, NUM_BARS - 1], np.int32), [45, NUM_BARS - 45])
    paths = panel.replace(path_end=ends)
    with pytest.raises(ValueError, match="rows 30 to 45"):
        stress_table(agent, paths, start=FIRST)
    few = {"scenarios": ["gap_down"], "draws": 2}
    alone = panel.window(45, NUM_BARS)
    expected = stress_table(agent, alone, start=15, **few)
    pd.testing.assert_frame_equal(stress_table(agent, paths, start=60, **few), expected)


@pytest.mark.parametrize(
    ("equity", "first", "last", "expected"),
    [
        ([100, 101, 90, 95, 101, 99], 2, 2, (2, True)),  # the low of bar 2 is made up for in bar 4
        ([100, 101, 90, 80, 95, 102], 2, 2, (2, True)),  # falls on after the shock
        ([100, 101, 90, 95, 96, 97], 2, 3, (3, False)),
        ([100, 101, 102, 103, 104, 105], 2, 4, (0, True)),
        ([100, 101, 90, 101, 70, 101], 2, 4, (1, True)),  # the deepest fall within the shock counts
        ([100, 101, 101, 101], 2, 2, (0, True)),
    ],
)
def test_recovery_by_hand(equity, first, last, expected):
    assert recovery(np.array(equity, float), first, last) == expected


def test_kaplan_meier_of_remissions_of_leukaemia():
    """Freireich et al. (1963), the 21 patients given 6-MP, as tabulated in every textbook; the median is 23 weeks."""
    seen = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    durations = np.array(seen + censored)
    observed = np.arange(21) < len(seen)
    times, lasting = kaplan_meier(durations, observed)
    assert times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(lasting, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4)
    assert median_time(durations, observed) == 23


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=40))
def test_kaplan_meier_agrees_with_statsmodels(cases):
    survfunc = pytest.importorskip("statsmodels.duration.survfunc")
    durations, observed = (np.array(x) for x in zip(*cases, strict=True))
    times, lasting = kaplan_meier(durations, observed)
    oracle = survfunc.SurvfuncRight(durations.astype(float), observed.astype(int))
    np.testing.assert_array_equal(times, oracle.surv_times[oracle.n_events > 0])
    np.testing.assert_allclose(lasting, oracle.surv_prob[oracle.n_events > 0], atol=1e-12)
    # Where exactly half last beyond a time, statsmodels waits for the next event.
    if not np.isclose(lasting, 0.5).any():
        median = oracle.quantile(0.5) if observed.any() else np.nan
        mine = median_time(durations, observed)
        assert mine == median or (np.isinf(mine) and np.isnan(median))


def test_no_case_has_no_median():
    assert np.isnan(median_time(np.zeros(0), np.zeros(0, bool)))
    assert median_time(np.array([2.0, 5.0]), np.array([True, True])) == 2
    assert median_time(np.array([3.0, 4.0]), np.array([False, False])) == np.inf
