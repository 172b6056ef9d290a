"""The learning rate that follows the KL: its rule, and an update that uses it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.schedules import adapted_rate
from tests.train.worlds import compiled_update, make_learner, random_market


@pytest.mark.parametrize(
    ("rate", "kl", "after"),
    [
        (1.0, 0.0401, 1 / 1.5),
        (1.0, 0.0399, 1.0),
        (1.0, 0.0101, 1.0),
        (1.0, 0.0099, 1.5),
        (8.0, 0.0, 10.0),
        (0.012, 1.0, 0.01),
        (3.0, np.nan, 3.0),
    ],
)
def test_the_rate_aims_at_the_target(rate, kl, after):
    assert float(adapted_rate(jnp.float32(rate), jnp.float32(kl), 0.02)) == pytest.approx(after)


@pytest.mark.thorough
def test_an_update_hands_the_rate_to_the_next():
    """A step of nearly nothing moves the policy by nearly nothing, so the rate rises; the metrics say by how much."""
    config = TrainConfig(
        num_envs=4,
        rollout_length=8,
        num_minibatches=2,
        num_epochs=2,
        learning_rate=1e-7,
        learning_rate_schedule="adaptive",
        target_kl=0.02,
    )
    learner, params, hyper = make_learner(config, random_market(), EnvConfig(episode_length=10))
    state = learner.init(jax.random.key(0), params)
    assert float(state.rate) == 1.0
    update = compiled_update(learner)
    state, first = update(state, params, hyper)
    state, second = update(state, params, hyper)
    assert float(state.rate) == pytest.approx(1.5**2)
    assert float(second["learning_rate"]) == pytest.approx(1.5 * float(first["learning_rate"])) == pytest.approx(1.5e-7)


def test_it_is_a_program_of_its_own_of_ppo_alone():
    adaptive = TrainConfig(learning_rate_schedule="adaptive", target_kl=0.01)
    assert adaptive.of_program() != TrainConfig().of_program()
    assert float(adapted_rate(jnp.float32(1), jnp.float32(0.05), jnp.inf)) == pytest.approx(1 / 1.5)
    with pytest.raises(ValueError, match="follows the KL of PPO's updates"):
        dataclasses.replace(adaptive, algorithm="pathwise")
