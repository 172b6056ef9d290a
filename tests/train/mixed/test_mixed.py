"""The mix of PPO and derivatives: without any of the path it is PPO, and each estimate counts by how sure it is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.network import Network
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.loop import train
from ploutos_jax.train.mixed.learner import MixedLearner
from ploutos_jax.train.mixed.weighing import groups_of, share_of_path
from ploutos_jax.train.ppo.learner import Learner
from tests.train import planted
from tests.train.pathwise.test_learner import CONFIG, ENV
from tests.train.worlds import assert_identical

pytestmark = pytest.mark.thorough

MIXED = dataclasses.replace(
    CONFIG, algorithm="mixed", advantage="position", gae_lambda=0.9, total_timesteps=16 * 32 * 8, checkpoint_every=None
)
STOPS = TradingEnv(dataclasses.replace(ENV.config, stop_loss=0.01, take_profit=0.02))


def trained(config, env=ENV):
    rows = []
    agent = train(config, planted.seen(), env, observers=[lambda progress: rows.extend(progress.rows)])
    return agent, rows


def test_without_any_of_the_path_it_is_ppo_to_the_last_bit():
    none, rows = trained(dataclasses.replace(MIXED, mix=0.0))
    ppo, plain = trained(dataclasses.replace(MIXED, algorithm="ppo"))
    assert_identical(none.params, ppo.params)
    assert [row["loss"] for row in rows] == [row["loss"] for row in plain]
    network = Network.for_env(MIXED.policy, ENV.config, planted.NUM_ASSETS, 2**20)
    assert isinstance(learner_of(dataclasses.replace(MIXED, mix=0.0), ENV, network), Learner)
    assert isinstance(learner_of(MIXED, ENV, network), MixedLearner)


def test_it_learns_and_tells_how_it_was_mixed():
    _, rows = trained(MIXED)
    assert all(0 <= row["mix"] <= 1 for row in rows) and max(row["mix"] for row in rows) > 0.05
    assert all(np.isfinite(row[name]) for row in rows for name in ("loss", "approx_kl", "clip_fraction", "objective"))


def test_stops_are_learnt_with_the_advantages_of_whatever_happened():
    agent, rows = trained(dataclasses.replace(MIXED, advantage="gae", total_timesteps=16 * 32 * 4), STOPS)
    assert sum(row["exit_stop_per_step"] for row in rows) > 0
    assert all(0 <= row["mix"] <= 1 for row in rows)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(agent.params.network))


@pytest.mark.parametrize("num_envs", [8, 16, 12, 6, 7])
def test_groups_hold_each_pair_once_and_whole_environments(num_envs):
    groups = np.asarray(groups_of(num_envs, 3))
    assert len(groups) == {8: 8, 16: 8, 12: 6, 6: 6, 7: 7}[num_envs]
    assert sorted(groups.ravel()) == list(range(3 * num_envs))
    envs = [set(group % num_envs) for group in groups]
    assert sum(map(len, envs)) == num_envs, "no environment is in two groups"


def estimates(path, ppo):
    return lambda pairs: ({"w": path[pairs[0]]}, {"w": ppo[pairs[0]]})


def test_shares_against_numpy():
    rng = np.random.default_rng(0)
    path, ppo = rng.normal(1, 0.5, (8, 5)), rng.normal(1, 2.0, (8, 5))
    groups = jnp.arange(8)[:, None]
    found = share_of_path(groups, estimates(jnp.asarray(path), jnp.asarray(ppo)), is_exact=True)["w"]
    sure, unsure = (x.var(axis=0, ddof=1).sum() / 8 for x in (path, ppo))
    assert float(found) == pytest.approx(unsure / (sure + unsure), rel=1e-5)
    assert float(found) > 0.8


def test_a_sure_estimate_that_is_wrong_counts_little():
    rng = np.random.default_rng(0)
    path, ppo = rng.normal(1, 0.01, (8, 5)), rng.normal(-1, 0.5, (8, 5))
    given = jnp.arange(8)[:, None], estimates(jnp.asarray(path), jnp.asarray(ppo))
    assert float(share_of_path(*given, is_exact=True)["w"]) > 0.99
    assert float(share_of_path(*given, is_exact=False)["w"]) < 0.05


def test_what_says_nothing_has_no_share():
    none = jnp.zeros((8, 3))
    assert float(share_of_path(jnp.arange(8)[:, None], estimates(none, none), is_exact=True)["w"]) == 0
