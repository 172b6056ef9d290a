"""Updates of a network that remembers: every row is encoded, and the first gradient step sees the rollout's policy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.policy.recurrent import WARM_UP
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.cross_validation import FoldTrainer
from ploutos_jax.train.learning.looking import table_of
from ploutos_jax.train.learning.steps import table_mode
from ploutos_jax.train.loop import train_seeds
from ploutos_jax.train.ppo.gradients import minibatch_gradients
from tests.train.worlds import SHARED, compiled_update, largest_difference, make_learner, random_market

POLICY = dataclasses.replace(SHARED, time="recurrent", time_width=6, time_layers=1)
CONFIG = TrainConfig(
    num_envs=8, rollout_length=8, total_timesteps=8 * 8 * 10, num_minibatches=2, num_epochs=2, policy=POLICY
)
ENV = EnvConfig(episode_length=12)


@pytest.fixture(scope="module")
def world():
    learner, params, hyper = make_learner(CONFIG, random_market(num_bars=420, num_assets=2), ENV)
    return learner, started_warm(params, POLICY.warm_up), hyper


@pytest.mark.thorough
def test_the_first_step_of_an_update_moves_nothing_yet(world):
    learner, params, hyper = world
    market = params.market
    assert market.num_bars > CONFIG.timesteps_per_update, "rows of their own would be gathered, without memory"
    assert table_mode(CONFIG, market) == "table"
    state = learner.init(jax.random.key(3), params)
    for _ in range(2):
        state, metrics = compiled_update(learner)(state, params, hyper)
        assert (np.asarray(state.runner.observation.t) >= WARM_UP).all()
        assert 0 <= float(metrics["first_kl"]) < 1e-6 < float(metrics["approx_kl"])
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.agent, metrics["loss"])))
    before = learner.init(jax.random.key(3), params).agent.network["params"]["recurrent"]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, state.agent.network["params"]["recurrent"])
    assert min(jax.tree.leaves(moved)) > 0, "every weight of the recurrence learns"


@pytest.mark.thorough
def test_gradients_of_chunks_are_those_of_the_whole(world):
    learner, params, hyper = world
    state = learner.init(jax.random.key(3), params)
    grown = jax.tree.map(lambda x: 3 * x, state.agent.network)
    state = state.replace(agent=state.agent.replace(network=grown))
    small = dataclasses.replace(learner.network, chunk_bytes=6_000)

    @jax.jit
    def gradients(state):
        table = table_of(CONFIG, learner.network, state.agent, params.market)
        runner, ends, (stored, _) = learner._rollout(state, params, table)
        samples, _ = learner.samples(state, params, hyper, table, runner, ends, stored)
        pairs = jnp.arange(4)
        one, two = (
            minibatch_gradients(network, state.agent, params.market, samples, pairs, hyper, CONFIG, "table")[0]
            for network in (learner.network, small)
        )
        return one, two

    one, two = gradients(state)
    assert largest_difference(one, two) < 1e-4
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(one["params"]["recurrent"])) > 1e-5


def test_folds_begin_where_enough_bars_were_seen():
    markets = [random_market(num_bars=bars, num_assets=2) for bars in (420, 410)]
    trainer = FoldTrainer(CONFIG, TradingEnv(ENV), markets)
    for market in markets:
        starts = np.asarray(trainer.params_of(market).starts)
        assert len(starts) == 410 - WARM_UP - ENV.episode_length
        assert starts.min() == WARM_UP and starts.max() == market.num_bars - 1 - ENV.episode_length


def test_a_history_that_is_too_short_is_refused_before_anything_is_compiled():
    with pytest.raises(ValueError, match="A network that remembers sees 378 bars of a path before an episode begins"):
        train_seeds(CONFIG, random_market(num_bars=380, num_assets=2), TradingEnv(ENV))
