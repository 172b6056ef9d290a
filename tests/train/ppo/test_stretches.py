"""Gradients of a network that remembers by stretches of bars, against those by every bar of the market, and a loop."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.acting import encode_market, started_warm
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.stretches import Remembered, encode_for, stretches_of
from ploutos_jax.train.ppo.gradients import minibatch_gradients
from tests.train.worlds import SHARED, largest_difference, make_learner, random_market

RECURRENT = dataclasses.replace(SHARED, time="recurrent", time_width=6, time_layers=2)
POLICIES = {
    "mingru": RECURRENT,
    "lstm": dataclasses.replace(RECURRENT, time_cell="lstm"),
    "attention": dataclasses.replace(SHARED, time="attention", time_width=8, time_layers=2, time_window=8),
}
CONFIG = TrainConfig(num_envs=6, rollout_length=16, total_timesteps=960, num_minibatches=2, num_epochs=2)
ENV = EnvConfig(episode_length=11)
NUM_BARS = 500


@functools.cache
def world(kind: str):
    """Return a learner on a market of two paths with gaps, numbers of the environment and a state."""
    market = random_market(num_bars=NUM_BARS, num_assets=2, missing=0.2)
    market = market.replace(path_end=np.repeat([439, NUM_BARS - 1], [440, NUM_BARS - 440]).astype(np.int32))
    learner, params, hyper = make_learner(dataclasses.replace(CONFIG, policy=POLICIES[kind]), market, ENV)
    params = started_warm(params, 40)
    state = learner.init(jax.random.key(3), params)
    state = state.replace(agent=state.agent.replace(network=jax.tree.map(lambda x: 2 * x, state.agent.network)))
    return learner, params, hyper, state


def rolled_out(learner, params, hyper, state):
    table = encode_market(learner.network, state.agent, params.market)
    runner, ends, (stored, _) = learner._rollout(state, params, table)
    return learner.samples(state, params, hyper, table, runner, ends, stored)[0]


@functools.cache
def gradients(kind: str, lead: int):
    """Return gradients by every bar and by stretches, and the losses of each, of the same pieces of a rollout."""
    learner, params, hyper, state = world(kind)
    config, market = dataclasses.replace(learner.config, time_gradient=lead), params.market
    stretches = stretches_of(config, NUM_BARS, ENV.episode_length)

    @jax.jit
    def both(state):
        samples = rolled_out(learner, params, hyper, state)
        states = encode_for(stretches, learner.network, state.agent, market, None)[1]
        scaled, inputs = learner.network.scale_once(state.agent, market)
        pieces = jnp.asarray([1, 4, 0])
        every = jnp.concatenate([2 * pieces // 2, pieces + config.num_envs])  # the same steps in chunks of eight
        plain = minibatch_gradients(learner.network, scaled, inputs, samples, every, hyper, config, "table")
        by_stretch = minibatch_gradients(
            learner.network,
            scaled,
            inputs,
            samples,
            pieces,
            hyper,
            config,
            "gather",
            remembered=Remembered(stretches, states),
        )
        return plain, by_stretch, samples.observation.t

    plain, by_stretch, t = both(state)
    assert stretches.length == 16 and stretches.windows.rows == 11
    assert (np.diff(np.asarray(t)[:, [1, 4, 0]], axis=0) != 1).any(), "an episode ends within"
    return plain, by_stretch


@pytest.mark.parametrize("kind", POLICIES)
def test_a_lead_as_long_as_the_past_gives_the_gradient_by_every_bar(kind: str):
    plain, by_stretch = gradients(kind, NUM_BARS)
    print(kind, largest_difference(*(x[0] for x in (by_stretch, plain))))
    print(jax.tree.map(lambda a, b: float(abs(a - b)), plain[1], by_stretch[1]))
    for lead in (0, 20, 60):
        print(lead, largest_difference(gradients(kind, lead)[1][0], plain[0]))
