"""Agents whose market has experts for its first features: what they hold untrained, what they learn to follow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.ensemble import ensemble
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments
from ploutos_jax.datasets.config import DataConfig, default_features
from ploutos_jax.datasets.samplers import bootstrap_stream
from ploutos_jax.datasets.splits import longest_window
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest, baselines
from ploutos_jax.market.experts.table import table
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.catalog import FEATURE_SETS
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel
from ploutos_jax.market.sectors import NO_SECTOR
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.checkpoints.export import load_agent
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train

pytestmark = pytest.mark.thorough

NAMES = ["expert_equal_weight", "expert_minimum_variance", "expert_momentum", "log_return_1", "volatility_20"]
CONFIG = EnvConfig(action="bands", stop_loss=None, take_profit=None, max_position_pct=0.2, decide_every=21)


@pytest.fixture(scope="module")
def market():
    return build_market(synthetic_panel(jax.random.key(5), 10, 420), NAMES)


def agent_of(market, config, shares) -> Agent:
    """Return an agent whose network says nothing but shares of equal parts, of each expert and of cash."""
    policy = PolicyConfig(hidden=(8,), width=4)
    network = Network.for_env(policy, config, market.num_assets, 2**20, market.feature_names)
    network = dataclasses.replace(network, head=dataclasses.replace(network.head, width=1e-5))
    params = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), market.num_features))
    wanted = np.log(np.maximum(shares, 1e-12)) / 6
    wanted[0] -= np.log(0.98 / 0.02 * (len(shares) - 1)) / 6
    params["params"]["allocator"]["Dense_0"]["bias"] = jnp.asarray(wanted, jnp.float32)
    scaling = ObservationScaling(
        features=network.fit_scaling(market.features, market.tradable),
        assets=RunningMoments.create(len(ASSET_FIELDS)),
        account=RunningMoments.create(len(ACCOUNT_FIELDS)),
    )
    return Agent(
        params=AgentParams(network=params, scaling=scaling),
        network=network,
        env_config=config,
        feature_names=tuple(market.feature_names),
        symbols=tuple(market.symbols),
        sectors=(NO_SECTOR,) * market.num_assets,
        trained_from="",
        trained_to="",
        step=0,
    )


def test_all_of_it_in_equal_parts_is_the_account_of_equal_weight(market):
    """With ten assets under a cap of a fifth a tenth is half of the cap, which half precision holds exactly."""
    agent = agent_of(market, CONFIG, np.array([1.0, 0, 0, 0, 0]))
    first = 300
    ours = backtest(agent, market, first)
    rule = baselines(market, CONFIG, first)["equal weight"]
    np.testing.assert_allclose(ours.equity, rule.equity, rtol=1e-6)


def test_all_of_it_with_an_expert_is_the_account_of_its_rule(market):
    """To what half precision makes of the middle of a band, and where no weight is above what a prior may give."""
    config = dataclasses.replace(CONFIG, max_position_pct=1.0)
    agent = agent_of(market, config, np.array([0, 0, 1.0, 0, 0]))
    ours = backtest(agent, market, 300)
    rule = baselines(market, config, 300)["minimum variance"]
    np.testing.assert_allclose(ours.equity, rule.equity, rtol=5e-3)


TRAINING = TrainConfig(
    num_envs=8,
    rollout_length=16,
    total_timesteps=256,
    advantage="position",
    average=0.9,
    policy=PolicyConfig(hidden=(8,), width=4, forecast="only", hold_cash=False, sees_account=False),
)


def test_an_agent_with_experts_is_saved_and_restored(market, tmp_path):
    agent = train(TRAINING, market, TradingEnv(CONFIG), output=tmp_path / "run")
    again = load_agent(tmp_path / "run")
    assert again.network.model.num_experts == 3
    np.testing.assert_array_equal(backtest(agent, market, 300).equity, backtest(again, market, 300).equity)
    shares = again.allocation(market)
    assert [*shares] == ["equal parts", "equal weight", "minimum variance", "momentum", "cash"]
    np.testing.assert_allclose(sum(shares.values()), 1, rtol=1e-5)
    assert 0.9 < float(shares["equal parts"].mean()) < 1
    together = ensemble([agent, again]).allocation(market)
    for name in shares:
        np.testing.assert_allclose(together[name], shares[name], rtol=1e-5)


def test_paths_that_are_drawn_have_experts_of_their_own():
    """The columns of a market drawn inside a compiled program are those of its bars, path by path."""
    panel = synthetic_panel(jax.random.key(6), 4, 600)
    stream = bootstrap_stream(jax.random.key(0), panel, tuple(NAMES[1:]), num_bars=300, num_paths=2, mean_block=20.0)
    drawn = stream.first()
    assert drawn.feature_names[:2] == ("expert_minimum_variance", "expert_momentum")
    for path in range(2):
        alone = drawn.window(300 * path, 300 * (path + 1))
        weights = table(alone, ["minimum_variance", "momentum"], panel.calendar)
        np.testing.assert_allclose(
            alone.features[..., :2], np.moveaxis(np.asarray(weights), 1, -1), atol=2e-6, err_msg=f"path {path}"
        )
    assert np.asarray(drawn.features[..., 0]).any() and np.asarray(drawn.features[..., 1]).any()


def test_experts_of_a_run_come_before_its_features():
    assert default_features(DataConfig(experts=("momentum, equal_weight",), features="minimal")) == (
        "expert_momentum",
        "expert_equal_weight",
        *FEATURE_SETS["minimal"],
    )
    assert longest_window(("expert_momentum", "log_return_1")) == 252
    with pytest.raises(ValueError, match="'momentun' is unknown; did you mean 'momentum'"):
        DataConfig(experts=("momentun",))
    with pytest.raises(ValueError, match="names one twice"):
        DataConfig(experts=("momentum", "momentum"))


STAY, NUM_BARS, NUM_ASSETS = 59 / 60, 4000, 12


def two_states() -> tuple[Panel, np.ndarray]:
    """Return bars that go on in one hidden state and turn round in the other, and what a filter knows of the second."""
    rng = np.random.default_rng(0)
    state = np.cumsum(rng.random(NUM_BARS) > STAY) % 2
    returns = np.zeros((NUM_BARS, NUM_ASSETS))
    for t in range(1, NUM_BARS):
        returns[t] = 0.3 * (1 - 2 * state[t]) * returns[t - 1] + 0.01 * rng.normal(size=NUM_ASSETS)
    seen = 2 * state - 1 + rng.normal(size=NUM_BARS)
    filtered, known = np.zeros(NUM_BARS), 0.5
    for t in range(NUM_BARS):
        known = known * STAY + (1 - known) * (1 - STAY)
        odds = known / (1 - known) * np.exp(2 * seen[t])
        known = filtered[t] = odds / (1 + odds)
    close = 100 * np.exp(np.cumsum(returns, axis=0))
    opens = np.vstack([close[:1], close[:-1]])
    times = np.datetime64("2000-01-03") + np.arange(NUM_BARS).astype("timedelta64[D]")
    panel = Panel(
        open=opens,
        high=np.maximum(opens, close) * 1.001,
        low=np.minimum(opens, close) * 0.999,
        close=close,
        volume=np.full(close.shape, 1e9),
        tradable=np.ones(close.shape, bool),
        sessions=np.arange(NUM_BARS, dtype=np.int32),
        signals={"filter": np.repeat(2 * filtered[:, None] - 1, NUM_ASSETS, axis=1)},
        labels=Labels(tuple(f"A{i}" for i in range(NUM_ASSETS)), ("",) * NUM_ASSETS, times),
    )
    return panel, filtered


def best_third(score: np.ndarray) -> np.ndarray:
    weights = np.zeros(score.shape)
    np.put_along_axis(weights, np.argsort(-score, axis=1)[:, : NUM_ASSETS // 3], 3 / NUM_ASSETS, axis=1)
    return weights


def last_returns(panel: Panel) -> np.ndarray:
    close = np.asarray(panel.close)
    return np.vstack([np.zeros((1, NUM_ASSETS)), close[1:] / close[:-1] - 1])


def expert_winners(panel: Panel) -> np.ndarray:
    return best_third(last_returns(panel))


def expert_losers(panel: Panel) -> np.ndarray:
    return best_third(-last_returns(panel))


def expert_of_chance(panel: Panel) -> np.ndarray:
    return best_third(np.random.default_rng(1).normal(size=panel.close.shape))


def expert_of_other_chance(panel: Panel) -> np.ndarray:
    return best_third(np.random.default_rng(2).normal(size=panel.close.shape))


@pytest.mark.slow
def test_the_mix_follows_the_expert_that_pays_in_the_state_that_the_filter_tells():
    panel, filtered = two_states()
    market = build_market(panel, [expert_winners, expert_losers, expert_of_chance, expert_of_other_chance])
    config = EnvConfig(
        action="bands", stop_loss=None, take_profit=None, spread_bps=0.0, slippage_bps=1.0, max_position_pct=0.4
    )
    policy = PolicyConfig(hidden=(16,), width=8, hold_cash=False, sees_account=False)
    training = TrainConfig(
        num_envs=64,
        rollout_length=32,
        total_timesteps=200_000,
        advantage="position",
        gae_lambda=0.95,
        learning_rate=2e-3,
        entropy_coef=0.0,
        clip_range=0.3,
        average=0.99,
        policy=policy,
    )
    agent = train(training, market, TradingEnv(config))
    shares = np.asarray(agent.network.allocation(agent.params, market.features, market.tradable))
    assert shares[:, 3:].mean(axis=0).max() < 0.1
    # From ten bars after the filter has gone over to a state until it leaves it, the mix follows the expert of it.
    for sure, expert in ((filtered < 0.1, 1), (filtered > 0.9, 2)):
        settled = np.convolve(sure, np.ones(11), mode="full")[:NUM_BARS] == 11
        assert settled.sum() > 300
        assert shares[settled, expert].mean() > 0.8
        assert np.mean(shares[settled, expert] > 0.8) > 0.9
