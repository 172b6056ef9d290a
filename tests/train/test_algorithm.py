"""A second learner is a file: the loop, checkpoints and the run folder work with one that is not PPO."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.network import Network
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.algorithm import Algorithm
from ploutos_jax.train.checkpoints.checkpoint import restore
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train
from ploutos_jax.train.ppo.learner import Learner
from ploutos_jax.train.run.folder import read_figures
from tests.train import planted


@dataclasses.dataclass(frozen=True)
class RandomWalk:
    """Moves the parameters at random: no rollout, no gradient."""

    config: TrainConfig
    env: TradingEnv
    network: Network

    def init(self, key, params, features=None) -> Any:
        return Learner(self.config, self.env, self.network).init(key, params, features)

    def update(self, state, params, hyper) -> Any:
        del params
        leaves, tree = jax.tree.flatten(state.agent.network)
        keys = jax.random.split(jax.random.fold_in(state.key, state.update), len(leaves))
        moved = [x + hyper.learning_rate * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
        agent = state.agent.replace(network=jax.tree.unflatten(tree, moved))
        zero = jnp.int32(0)
        metrics = {"episode_return_mean": jnp.float32(0), "skipped_in_row": zero, "fault": zero}
        return state.replace(agent=agent, update=state.update + 1), metrics


def test_the_loop_runs_another_learner(tmp_path):
    made: list[Algorithm] = []

    def make(config, env, network):
        made.append(RandomWalk(config, env, network))
        return made[-1]

    config = dataclasses.replace(planted.CONFIG, total_timesteps=3 * planted.CONFIG.timesteps_per_update)
    agent = train(config, planted.seen(), planted.ENV, output=tmp_path / "run", algorithm=make)
    assert len(made) == 1 and agent.step == 3
    assert [row["update"] for row in read_figures(tmp_path / "run")] == [1, 2, 3]
    for restored, trained in zip(
        jax.tree.leaves(restore(tmp_path / "run").params), jax.tree.leaves(agent.params), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(restored), np.asarray(trained))
