"""Actions as bands and as levels, worked out by hand and held against weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.trading import TradingEnv
from tests.env.scenes import fills, near, trade
from tests.env.worlds import calm_market, make_config, random_actions, random_market, random_numbers, simulate

NAN = np.nan
KEEP = (NAN, NAN)
AT_100 = (100.0, 100.0, 100.0, 100.0)
AT_110 = (110.0, 110.0, 110.0, 110.0)
AT_50 = (50.0, 50.0, 50.0, 50.0)
HALF = {"max_position_pct": 0.5}
ALL = {"max_position_pct": 1.0}


@pytest.mark.thorough
def test_a_position_within_its_band_is_not_traded():
    trace = trade([AT_100], [[(0.1, 0.1), KEEP], [(0.05, 0.15), KEEP], [(0.1, 0.4), KEEP], [(0.0, 0.1), KEEP]], **HALF)
    assert fills(trace, 0) == [(near(100), 100)]
    assert [fills(trace, step) for step in (1, 2, 3)] == [[], [], []]
    assert trace.info["rejected_orders"].tolist() == [0] * 7, "an asset within its band asks for nothing"


def test_a_position_outside_is_traded_to_the_edge_and_not_to_the_middle():
    trace = trade([AT_100], [[(0.1, 0.3), KEEP], [(0.25, 0.35), KEEP], [(0.05, 0.15), KEEP]], **HALF)
    assert [fills(trace, step) for step in range(3)] == [[(near(100), 100)], [(near(150), 100)], [(near(-100), 100)]]
    assert trace.state.shares[2, 0] == near(150)


def test_a_band_follows_the_weight_and_not_the_shares():
    # 500 shares at 100; at 110 they are 55,000 of 105,000: 52.4 %. The upper edge of 40 % is 42,000.
    trace = trade([AT_100, AT_100, AT_110, AT_110], [[(0.5, 0.5), KEEP], [KEEP, KEEP], [(0.2, 0.4), KEEP]], **HALF)
    assert fills(trace, 2) == [(near((42_000 - 55_000) / 110), 110)]


def test_from_nothing_to_all_holds_whatever_is_held():
    trace = trade([AT_100, AT_100, AT_50, AT_110], [[(0.3, 0.3), (0.2, 0.2)], *[[(0.0, 1.0)] * 2] * 6], **ALL)
    assert trace.state.shares[:, 0] == near([300] * 7)
    assert trace.info["num_trades"].tolist() == [2, 0, 0, 0, 0, 0, 0]
    capped = trade([AT_100], [[(0.3, 0.3), KEEP], *[[(0.0, 1.0)] * 2] * 6], max_position_pct=0.3)
    assert capped.info["num_trades"].tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_the_cap_is_one_of_buys_and_cuts_back_no_position_that_has_risen():
    # 300 shares of 100; at 110 they are 33,000 of 103,000: 32 %.
    bars = [AT_100, AT_100, AT_110]
    for band, sold in (((0.0, 1.0), 0), ((0.3, 1.0), 0), ((0.3, 5.0), 0), ((0.3, 0.9), 3_000), ((0.3, 0.3), 3_000)):
        trace = trade(bars, [[(0.3, 0.3), KEEP], [band, KEEP]], max_position_pct=0.3)
        assert trace.state.shares[1, 0] * 110 == near(33_000 - sold), band
    # In a drawdown everything is cut, what has no upper edge too: 60 % of an account that halves, scale 0.4.
    fallen = [AT_100, AT_100, AT_50, AT_50]
    actions = [[(0.6, 0.6), KEEP], [KEEP, KEEP], [(0.5, 1.0), KEEP]]
    trace = trade(fallen, actions, drawdown_scaling=0.5, max_position_pct=0.6)
    assert fills(trace, 2) == [(near((0.4 * 70_000 - 30_000) / 50), 50)]


@pytest.mark.parametrize(
    ("band", "sold"), [((0.0, 1.0), 0), ((0.9, 1.0), 0), ((0.0, 0.99), 100), ((1.0, 1.0), 1e4 / 110)]
)
def test_from_nothing_to_all_holds_an_account_that_has_risen_overnight(band: tuple[float, float], sold: float):
    # All of 100,000 in one asset, which opens 10 % higher: 110 % of the equity that was seen, and still all there is.
    trace = trade([AT_100, AT_100, AT_110], [[(1.0, 1.0), KEEP], [band, KEEP]], **ALL)
    assert trace.state.shares[1, 0] == near(1_000 - sold)


def test_nan_in_either_edge_keeps_a_position():
    kept = [(NAN, 0.0), (0.4, NAN)], [KEEP, KEEP], [(0.9, NAN), (NAN, NAN)]
    trace = trade([AT_100], [[(0.1, 0.1), (0.2, 0.2)], *kept], **HALF)
    assert trace.info["num_trades"].tolist() == [2, 0, 0, 0, 0, 0, 0]
    # What is kept takes no part in the sum of the lower edges.
    trade_beside = trade([AT_100], [[(0.9, 0.9), (0.9, NAN)]], **ALL)
    assert fills(trade_beside, 0) == [(near(900), 100)]


def test_lower_edges_above_the_account_scale_both_edges():
    # 0.8 and 1.2 become 0.4 and 0.6, the upper ones 0.45 and 1.
    trace = trade([AT_100], [[(0.8, 0.9), (1.2, 2.0)], [(0.1, 0.9), (1.9, 2.0)]], **ALL)
    assert trace.state.shares[0] == near([400, 600])
    # 0.05 to 0.45 of the first, 0.95 to 1 of the second: the first is within, the second wants 350 more than there is.
    assert trace.state.shares[1] == near([400, 600])
    assert trace.info["rejected_orders"][1] == 1
    # Upper edges may add up to more: they are no wish to hold.
    free = trade([AT_100], [[(0.1, 1.0), (0.2, 1.0)]], **ALL)
    assert free.state.shares[0] == near([100, 200])


def test_an_upper_edge_of_nothing_closes_everything_down_to_the_last_share():
    bars = [AT_100, AT_100, (100.3, 100.3, 100.3, 100.3)]
    trace = trade(bars, [[(0.1, 0.1), (0.2, 0.2)], [(0.0, 0.0), (-0.3, -0.1)]], no_trade_band=0.5, **HALF)
    assert not trace.state.shares[0].any(), "a change of 20 % is below the band of 50 %"
    trace = trade(bars, [[(0.1, 0.1), (0.2, 0.2)], [(0.0, 0.0), (-0.3, -0.1)]], **HALF)
    assert (trace.state.shares[0] > 0).all() and not trace.state.shares[1].any()
    assert trace.state.cash[1] + trace.state.cash_low[1] == trace.state.equity[1]
    # What is worth less than the smallest order is closed all the same.
    tiny = [[(0.001, 0.001), KEEP], [(0.0, 0.0), KEEP]]
    trace = trade([AT_100, AT_100, (0.01, 0.01, 0.01, 0.01)], tiny, min_order_cash=50.0, **HALF)
    assert trace.state.shares[0, 0] == near(1) and not trace.state.shares[1].any()


def test_edges_upside_down_are_the_lower_one_and_negative_ones_nothing():
    trace = trade([AT_100], [[(0.2, 0.1), (-0.5, 0.3)]], **HALF)
    assert trace.state.shares[0] == near([200, 0])


def test_a_trade_to_the_edge_obeys_the_no_trade_band_and_the_cap():
    trace = trade(
        [AT_100], [[(0.3, 0.4), (0.009, 0.5)], [(0.315, 0.4), KEEP]], no_trade_band=0.02, max_position_pct=0.25
    )
    assert trace.state.shares[0] == near([250, 0])
    assert fills(trace, 1) == [], "1.5 % short of its edge"


def test_drawdown_moves_both_edges():
    # 60 % in an asset that falls by half: equity 70,000, drawdown 30 %, scale 0.4; the position is 42.9 %.
    bars = [AT_100, AT_100, AT_50, AT_50]
    trace = trade(bars, [[(0.6, 0.6), KEEP], [KEEP, KEEP], [(0.5, 0.9), KEEP]], drawdown_scaling=0.5, **ALL)
    assert trace.state.equity[1] == near(70_000)
    assert fills(trace, 2) == [(near((0.9 * 0.4 * 70_000 - 30_000) / 50), 50)]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "rules", [{}, {"drawdown_scaling": 0.3, "max_sector_pct": 0.6, "no_trade_band": 0.01}], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bands_without_width_are_weights_to_the_last_bit(rules: dict[str, Any], dtype: Any):
    market, numbers = random_market(5, dtype=dtype), random_numbers(5)
    weights = random_actions(5, "weights")
    total = np.where(np.isnan(weights), 0, np.maximum(weights, 0)).sum(axis=-1)
    assert (total > 1).any() and (total < 1).any()
    ours = simulate(make_config("bands", **rules), market, numbers, np.stack([weights, weights], axis=-1))
    theirs = simulate(make_config("weights", **rules), market, numbers, weights)
    assert ours.info["num_trades"].sum() > 1_000
    drop = lambda trace: (trace.state.replace(waiting=None), trace.reward, trace.info)  # noqa: E731  # of another shape
    jax.tree.map(np.testing.assert_array_equal, drop(ours), drop(theirs))


@pytest.mark.thorough
def test_levels_are_shares_of_the_largest_position_and_0_keeps():
    levels = [[1, 2], [3, 0], [4, 4], [0, 0], [2, 1]]
    trace = trade([AT_100], levels, kind="levels", max_position_pct=0.4)
    assert trace.state.shares[:5] == near(np.array([[0, 100], [200, 100], [400, 400], [400, 400], [100, 0]]))
    assert trace.info["num_trades"].tolist() == [1, 1, 2, 0, 2, 0, 0]
    assert trace.info["rejected_orders"].tolist() == [0] * 7


def test_numbers_that_are_no_level_keep_a_position():
    trace = trade([AT_100], [[4, 2], [5, -1], [127, -128], [6, 0]], kind="levels", max_position_pct=0.4)
    assert trace.state.shares[3] == near([400, 100]) and trace.info["num_trades"].tolist() == [2] + [0] * 6


def test_levels_above_the_account_are_scaled_to_it():
    trace = trade([AT_100], [[4, 3]], kind="levels", **ALL)
    assert trace.state.shares[0] == near([1_000 / 1.5, 500 / 1.5])


@pytest.mark.parametrize("kind", ["bands", "levels", "weights"])
def test_a_market_of_few_assets_has_three_equal_parts_in_one_unless_set(kind: str):
    for num_assets, parts, of_weights in ((2, 1.0, 1.0), (4, 0.75, 0.75), (30, 0.1, 0.25)):
        market = calm_market(np.full((9, num_assets), 100.0))
        env = TradingEnv(make_config(kind, 9, max_position_pct=None, stop_loss=None, take_profit=None))
        cap = of_weights if kind == "weights" else parts
        assert float(env.default_params(market).max_position_pct) == pytest.approx(cap)


@pytest.mark.parametrize(("kind", "shape"), [("bands", "(4, 2)"), ("levels", "(4,)")])
def test_actions_of_another_shape_are_refused(kind: str, shape: str):
    env = TradingEnv(make_config(kind))
    params = env.default_params(random_market(1))
    _, state = env.reset_at(0, 5, params)
    for bad in ((4, 3), (5,), (2, 4), (8,), (1,)):
        with pytest.raises(ValueError, match=f"takes {kind} actions of shape \\{shape[:-1]}\\)"):
            jax.eval_shape(env.step_env, jax.random.key(0), state, jnp.zeros(bad, jnp.int32), params)


@pytest.mark.thorough
def test_an_order_to_an_edge_waits_for_its_bar_and_a_half_written_one_takes_no_part():
    gap = {(bar, 0): False for bar in (1, 2)}
    # Decided at bar 0, no bar in 1 and 2, filled in 3 by the account of then; what is said in between is not heard.
    trace = trade([AT_100], [[(0.2, 0.3), KEEP], [(0.4, 0.4), KEEP], [(0.4, 0.4), KEEP]], tradable=gap, **HALF)
    assert [fills(trace, step) for step in range(4)] == [[], [], [(near(200), 100)], []]
    assert trace.state.waiting[1, 0] == near([0.2, 0.3]) and np.isnan(trace.state.waiting[2, 0]).all()
    half = trade([AT_100], [[(0.2, NAN), KEEP]], tradable=gap, **HALF)
    assert np.isnan(half.state.waiting).all() and not half.info["num_trades"].any()
