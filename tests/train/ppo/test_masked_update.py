"""Updates with bands, levels and bars between decisions: the first gradient step sees the rollout's own policy."""

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.train.config import TrainConfig
from tests.train.worlds import SHARED, compiled_update, make_learner, random_market

CONFIG = TrainConfig(
    num_envs=8, rollout_length=16, total_timesteps=8 * 16 * 10, num_minibatches=2, num_epochs=2, policy=SHARED
)


@pytest.mark.parametrize("decide_every", [None, 3])
@pytest.mark.parametrize("action", ["discrete", "bands", "levels"])
def test_the_first_step_of_an_update_moves_nothing_yet(action: str, decide_every: int | None):
    if action == "discrete" and decide_every is None:
        pytest.skip("is tested with every ratio")
    env = EnvConfig(episode_length=12, action=action, decide_every=decide_every)  # type: ignore[arg-type]
    learner, params, hyper = make_learner(CONFIG, random_market(), env)
    state = learner.init(jax.random.key(3), params)
    for _ in range(2):
        state, metrics = compiled_update(learner)(state, params, hyper)
        assert 0 <= float(metrics["first_kl"]) < 1e-6
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.agent, metrics["loss"], metrics["entropy"])))
    assert float(metrics["approx_kl"]) > 0, "later steps see another policy"
