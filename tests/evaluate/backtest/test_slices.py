"""Backtests that go through a market a slice at a time, against those of the whole."""

import dataclasses

import numpy as np
import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import buy_and_hold, cash, equal_weight
from ploutos_jax.evaluate.backtest.run import RANDOM, backtest, baselines
from ploutos_jax.evaluate.backtest.slices import _go_on, is_sliced
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train
from tests.train.worlds import SHARED, random_market

pytestmark = pytest.mark.thorough

COLUMNS = ("equity", "cash", "gross_exposure", "turnover", "cost", "fee_rounding", "interest")
BARS = ("times", "sessions", "close", "open", "high", "low")
ENVS = {
    "default": EnvConfig(episode_length=20),
    "intraday rules": EnvConfig(
        episode_length=20,
        action="bands",
        fill="same_close",
        stop_loss=0.03,
        max_holding_bars=5,
        decide_every=3,
        settlement_days=1,
    ),
    "close": EnvConfig(
        episode_length=20, fill="next_close", day_trade_rule="pdt_2001", initial_cash=20_000.0, trailing_stop=0.05
    ),
}


def world(num_bars: int = 240) -> Market:
    """Four bars a session."""
    market = random_market(num_bars=num_bars, num_assets=3)
    return market.replace(sessions=(18_000 + np.arange(num_bars) // 4).astype(np.int32))


def in_files(market: Market, device_bars: int) -> Market:
    assert market.labels is not None
    return market.replace(labels=dataclasses.replace(market.labels, device_bars=device_bars))


def an_agent(config: EnvConfig, policy: PolicyConfig = SHARED) -> Agent:
    sizes = TrainConfig(
        num_envs=8, rollout_length=8, total_timesteps=64, num_minibatches=1, num_epochs=1, policy=policy
    )
    return train(sizes, world(600 if policy.time else 240), TradingEnv(config))


def assert_same(mine, whole, exactly=True):
    for name in (*COLUMNS, *BARS):
        ours, theirs = getattr(mine, name), getattr(whole, name)
        if exactly or name in BARS:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3, err_msg=name)
    assert mine.fills["bar"].tolist() == whole.fills["bar"].tolist()
    if exactly:
        assert mine.fills.equals(whole.fills)


@pytest.mark.parametrize("name", ENVS)
def test_an_account_handed_on_is_that_of_the_whole(name):
    agent, market = an_agent(ENVS[name]), world()
    whole = backtest(agent, market, 30, None, seed=5)
    assert len(whole.fills) > 50
    for device_bars in (43, 207) if name == "default" else (43,):
        sliced = in_files(market, device_bars)
        assert is_sliced(sliced.window(30))
        mine = backtest(agent, sliced, 30, None, seed=5)
        assert_same(mine, whole)
        assert mine.provenance == whole.provenance and mine.role == whole.role


def test_greedy_actions_are_those_of_the_whole():
    agent, market = an_agent(ENVS["default"]), world()
    assert_same(backtest(agent, in_files(market, 43), 30, None), backtest(agent, market, 30, None))


def test_a_memory_is_handed_on():
    policy = PolicyConfig(torso="shared", width=8, hidden=(8,), time="recurrent")
    agent, market = an_agent(ENVS["default"], policy), world(600)
    whole = backtest(agent, market, 400, None, seed=5)
    assert len(whole.fills) > 20
    assert_same(backtest(agent, in_files(market, 50), 400, None, seed=5), whole, exactly=False)


def test_rules_and_random_actions_are_played_in_slices_too():
    market, config = world(), ENVS["default"]
    whole, mine = baselines(market, config, 30), baselines(in_files(market, 40), config, 30)
    assert set(mine) == {"cash", "buy and hold", "equal weight", RANDOM}
    for name in mine:
        assert_same(mine[name], whole[name])
        assert mine[name].role == whole[name].role
    assert [rule.__name__ for rule in (cash, buy_and_hold, equal_weight)] == [
        n.replace(" ", "_") for n in list(mine)[:3]
    ]


def test_one_program_plays_all_slices():
    agent, market = an_agent(ENVS["default"]), in_files(world(), 53)
    before = _go_on._cache_size()
    backtest(agent, market.window(0, 151))
    assert _go_on._cache_size() == before + 1
