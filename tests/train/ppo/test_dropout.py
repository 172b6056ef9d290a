"""Dropout: rollout and loss see the same thinned network, acting sees the whole one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.policy.layers import drop_units
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.looking import drop_key_of, table_of
from ploutos_jax.train.ppo.gradients import minibatch_gradients
from tests.train.worlds import LITTLE_OPTIMISED, TORSOS, make_learner, random_market

ENV = EnvConfig(episode_length=20)
CONFIG = TrainConfig(num_envs=8, rollout_length=16, num_minibatches=2, num_epochs=1)
OTHER_KEY = jax.random.key(99)


def test_units_are_left_out_at_the_rate_and_the_mean_stays():
    keys = jax.random.split(jax.random.key(0), 400)
    x = jnp.ones((400, 5, 20))
    out = np.asarray(drop_units(x, 0.25, keys, 0))
    assert set(np.unique(out)) == {0, np.float32(1 / 0.75)}
    # 40,000 draws: five standard errors.
    assert abs((out == 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / out.size)
    assert abs(out.mean() - 1) < 0.02


def test_units_depend_on_key_and_layer_alone():
    keys = jax.random.split(jax.random.key(0), 6).reshape(2, 3)
    x = jnp.ones((2, 3, 50))
    whole = np.asarray(drop_units(x, 0.5, keys, 1))
    np.testing.assert_array_equal(np.asarray(drop_units(x[1, 2], 0.5, keys[1, 2], 1)), whole[1, 2])
    assert (np.asarray(drop_units(x, 0.5, keys, 2)) != whole).any()
    assert len({row.tobytes() for row in whole.reshape(6, -1)}) == 6
    assert drop_units(x, 0.5, None, 1) is x and drop_units(x, 0.0, keys, 1) is x


def with_dropout(torso, rate, chunk_megabytes=CONFIG.chunk_megabytes):
    policy = dataclasses.replace(TORSOS[torso], dropout=rate)
    return dataclasses.replace(CONFIG, policy=policy, chunk_megabytes=chunk_megabytes)


def far_from_indifferent(state):
    """Return the state with parameters under which every unit matters: a fresh policy hardly listens to its input."""
    waves = jax.tree.map(
        lambda x: 0.4 * np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape), state.agent.network
    )
    return state.replace(agent=state.agent.replace(network=jax.tree.map(jnp.add, state.agent.network, waves)))


@pytest.mark.thorough
@pytest.mark.parametrize("torso", TORSOS)
def test_rollout_and_loss_see_the_same_units(torso):
    # Small chunks: the units must not depend on how the work is dealt out. 80 rows; half a rollout has 64 samples.
    config = with_dropout(torso, 0.3, chunk_megabytes=0.002)
    learner, params, hyper = make_learner(config, random_market(), ENV)
    pairs = jnp.arange(8)

    def run(state):
        table = table_of(
            learner.config, learner.network, state.agent, params.market, drop_key_of(learner.config, state)
        )
        runner, ends, (stored, _) = learner._rollout(state, params, table)
        samples, _ = learner.samples(state, params, hyper, table, runner, ends, stored)

        def kl(key, mode):
            inputs = (learner.network, state.agent, params.market, samples, pairs, hyper, config, mode, key)
            return minibatch_gradients(*inputs)[1].kl

        own = drop_key_of(learner.config, state)
        return kl(own, "table"), kl(own, "gather"), kl(OTHER_KEY, "table"), kl(None, "table")

    state = far_from_indifferent(learner.init(jax.random.key(0), params))
    in_table, gathered, other, none = map(float, jax.jit(run, compiler_options=LITTLE_OPTIMISED)(state))
    assert abs(in_table) < 1e-6 and abs(gathered) < 1e-6
    assert other > 1e-3 and none > 1e-4, "with other units, or all of them, the policy is another"


def test_each_update_has_units_of_its_own():
    learner, params, _ = make_learner(with_dropout("flat", 0.3), random_market(), ENV)
    state = learner.init(jax.random.key(0), params)
    later = state.replace(key=jax.random.split(state.key)[0])
    first, second = (jax.random.key_data(drop_key_of(learner.config, s)) for s in (state, later))
    assert (first != second).any()
    without, _, _ = make_learner(with_dropout("flat", 0.0), random_market(), ENV)
    assert drop_key_of(without.config, state) is None


@pytest.mark.parametrize("torso", TORSOS)
def test_acting_uses_the_whole_network(torso):
    market = random_market()
    thin, params, _ = make_learner(with_dropout(torso, 0.5), market, ENV)
    whole, _, _ = make_learner(with_dropout(torso, 0.0), market, ENV)
    agent = far_from_indifferent(thin.init(jax.random.key(0), params)).agent
    features, mask = params.market.features[:5], params.market.tradable[:5]
    rows = [learner.network.encode(agent.network, agent.scaling, features, mask) for learner in (thin, whole)]
    jax.tree.map(np.testing.assert_array_equal, *rows)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match=r"dropout=.* must lie in \[0, 1\)"):
        with_dropout("flat", rate)
