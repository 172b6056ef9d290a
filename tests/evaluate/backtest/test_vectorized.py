"""Backtests side by side are those played one by one."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import equal_weight
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.evaluate.backtest.vectorized import backtest_many, play_decisions
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import COSTLY, NUM_ASSETS, NUM_BARS, make_agent, make_panel

STARTS, LENGTH, SEEDS, LEVELS = (0, 25, 40), 45, (3, 8), (0.0, 1.0, 3.0)


@pytest.fixture(scope="module")
def market():
    return build_market(make_panel(), "minimal")


@pytest.fixture(scope="module")
def agents(market):
    first = make_agent(market, COSTLY)
    return [first, dataclasses.replace(first, params=jax.tree.map(lambda x: 0.7 * x, first.params))]


@pytest.mark.thorough
def test_each_result_is_that_of_a_backtest_of_its_own(agents, market):
    batch = backtest_many(agents, market, STARTS, LENGTH, seeds=SEEDS, cost_levels=LEVELS)
    assert batch.equity.shape == (2, 3, 3, 2, LENGTH + 1)
    assert batch.cost.shape == batch.turnover.shape == batch.num_trades.shape == (2, 3, 3, 2)
    np.testing.assert_array_equal(batch.starts, STARTS)
    for p, s, k in ((0, 0, 0), (1, 2, 1), (0, 1, 1)):
        ledger = backtest(agents[p], market, STARTS[s], STARTS[s] + LENGTH + 1, seed=SEEDS[k])
        np.testing.assert_allclose(batch.equity[p, 1, s, k], ledger.equity, rtol=2e-6)
        np.testing.assert_allclose(batch.cost[p, 1, s, k], ledger.cost.sum(), rtol=1e-5)
        np.testing.assert_allclose(batch.turnover[p, 1, s, k], ledger.turnover.sum(), rtol=1e-5)
        assert batch.num_trades[p, 1, s, k] == len(ledger.fills)
    assert (batch.cost[:, 0] == 0).all() and (batch.cost[:, 2] > batch.cost[:, 1]).all()
    dear = dataclasses.replace(COSTLY, spread_bps=30, slippage_bps=9, commission_bps=6, commission_per_share=0.015)
    ledger = backtest(agents[0], market, 0, LENGTH + 1, env=TradingEnv(dear), seed=SEEDS[0])
    np.testing.assert_allclose(batch.equity[0, 2, 0, 0], ledger.equity, rtol=1e-5)


@pytest.mark.thorough
def test_without_seeds_the_likeliest_actions_are_played(agents, market):
    batch = backtest_many(agents[0], market)
    assert batch.equity.shape == (1, 1, 1, 1, NUM_BARS)
    np.testing.assert_allclose(batch.equity[0, 0, 0, 0], backtest(agents[0], market).equity, rtol=2e-6)


@pytest.mark.thorough
def test_tables_of_decisions_are_played_side_by_side(market):
    config = COSTLY.without_strategy_rules()
    start, bars = 10, 60
    targets = np.stack(
        [equal_weight(market, start)[:bars], np.zeros((bars, NUM_ASSETS)), np.full((bars, NUM_ASSETS), 0.3)], axis=1
    )
    batch = play_decisions(targets, market, TradingEnv(config), start, cost_levels=(1.0, 0.0))
    assert batch.equity.shape == (3, 2, 1, 1, bars + 1)
    rules = {str(p): lambda market, first, p=p: np.append(targets[:, p], targets[:1, p], axis=0) for p in range(3)}
    for name, ledger in baselines_by_rule(market, COSTLY, rules, start, start + bars + 1).items():
        np.testing.assert_allclose(batch.equity[int(name), 0, 0, 0], ledger.equity, rtol=2e-6)
    assert (batch.equity[2, 1] >= batch.equity[2, 0]).all() and (batch.equity[1] == 100_000).all()


def test_what_does_not_fit_is_refused(agents, market):
    with pytest.raises(ValueError, match="A span of 60 bars from row 40 does not fit: 49 bars follow it"):
        backtest_many(agents, market, STARTS, 60)
    with pytest.raises(ValueError, match="agents of one network"):
        backtest_many([agents[0], make_agent(market, COSTLY, torso="flat")], market)
    with pytest.raises(ValueError, match=r"decisions have shape \(5, 2, 9\)"):
        play_decisions(np.zeros((5, 2, 9)), market, TradingEnv(COSTLY))
    with pytest.raises(ValueError, match="does not fit"):
        play_decisions(np.zeros((NUM_BARS, 1, NUM_ASSETS)), market, TradingEnv(COSTLY))
