"""Several seeds in one program: each is what it would be alone, and what they say together."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.checkpoints.checkpoint import restore
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.divergence import DivergedError
from ploutos_jax.train.loop import train, train_seeds
from ploutos_jax.train.population import mean_and_interval
from tests.train.worlds import SHARED, assert_identical, largest_difference, random_market

pytestmark = pytest.mark.thorough

ALONE = TrainConfig(
    num_envs=8, rollout_length=16, total_timesteps=8 * 16 * 2, num_minibatches=2, num_epochs=2, seed=4, policy=SHARED
)
TOGETHER = dataclasses.replace(ALONE, num_seeds=3)
ENV = TradingEnv(EnvConfig(episode_length=12))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three seeds with other learning rates: its folder, its agents and the rows of figures."""
    folder, told = tmp_path_factory.mktemp("seeds") / "run", []
    agents = train_seeds(TOGETHER, random_market(), ENV, output=folder, observers=[told.append])
    return folder, agents, [row for progress in told for row in progress.rows]


def test_a_seed_of_several_is_the_run_of_that_seed(run):
    """Matrix products round differently in a stack: 1e-4 of the largest weight after 8 gradient steps."""
    _, agents, _ = run
    assert TOGETHER.seeds == (4, 5, 6) and len(agents) == 3
    alone = train(dataclasses.replace(ALONE, seed=5), random_market(), ENV)
    assert largest_difference(agents[1].params, alone.params) < 1e-4
    assert largest_difference(agents[0].params.network, alone.params.network) > 0.05


def test_figures_are_means_and_returns_stand_by_seed(run):
    folder, _, rows = run
    assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == rows
    for row in rows:
        returns = [value for value in row["episode_return_mean_by_seed"] if value is not None]
        assert len(row["episode_return_mean_by_seed"]) == 3 and len(set(returns)) == len(returns)
        assert row["episode_return_mean"] == pytest.approx(np.mean(returns), rel=1e-5)
    assert rows[-1]["timesteps"] == ALONE.num_updates * ALONE.timesteps_per_update


def test_a_checkpoint_holds_all_seeds(run):
    folder, agents, _ = run
    for place, agent in enumerate(agents):
        assert_identical(restore(folder, seed=place).params, agent.params)
    assert_identical(restore(folder).params, agents[0].params)
    with pytest.raises(ValueError, match="No agent 3 in .*: the run has 3, numbered from 0"):
        restore(folder, seed=3)
    with pytest.raises(ValueError, match="has num_seeds=3, now it is 1"):
        train(ALONE, random_market(), ENV, output=folder, resume=True)
    again = train_seeds(TOGETHER, random_market(), ENV, output=folder, resume=True)
    assert_identical(again[2].params, agents[2].params)


@pytest.mark.slow
def test_every_seed_may_have_its_own_numbers():
    same = dataclasses.replace(TOGETHER, learning_rate_schedule="constant")
    rates = jnp.float32([0.0, 1e-3, 2e-3])
    told = []
    hyper = same.hyper().replace(learning_rate=rates)
    agents = train_seeds(same, random_market(), ENV, hyper=hyper, observers=[told.append])
    assert told[-1].rows[-1]["learning_rate"] == pytest.approx(1e-3)
    fresh = train_seeds(same, random_market(), ENV, hyper=hyper.replace(learning_rate=jnp.zeros(3)))
    assert_identical(agents[0].params.network, fresh[0].params.network)
    assert all(largest_difference(agents[i].params.network, fresh[i].params.network) > 1e-3 for i in (1, 2))
    with pytest.raises(ValueError, match=r"hyper.gamma has the shape \(2,\); .* num_seeds=3 seeds"):
        train_seeds(same, random_market(), ENV, hyper=hyper.replace(gamma=jnp.ones(2)))


def test_the_seed_that_fails_is_named_and_its_good_weights_are_kept(tmp_path):
    """The first gradient step ruins the weights, the five after it, of two updates, find them so."""
    hyper = TOGETHER.hyper().replace(learning_rate=jnp.float32([1e-3, 1e30, 1e-3]))
    with pytest.raises(
        DivergedError, match="Training of seed 5 stopped in update 2: .* because the value loss was not"
    ):
        train_seeds(TOGETHER, random_market(), ENV, hyper=hyper, output=tmp_path / "run")
    for place in range(3):
        agent = restore(tmp_path / "run", seed=place)
        assert agent.step == 0 and max(jnp.abs(x).max() for x in jax.tree.leaves(agent.params.network)) < 10


def test_the_chunk_budget_is_shared():
    assert TOGETHER.chunk_bytes == ALONE.chunk_bytes // 3 == 2 * 2**20 // 3


@pytest.mark.parametrize(
    ("given", "torso", "backend", "limit"),
    [
        (None, "shared", "cpu", 2),
        (None, "shared", "gpu", 256),
        (None, "flat", "cpu", 256),
        (7.5, "shared", "cpu", 7.5),
    ],
)
def test_the_chunk_budget_is_that_of_the_device(monkeypatch, given, torso, backend, limit):
    monkeypatch.setattr("jax.default_backend", lambda: backend)
    config = TrainConfig(chunk_megabytes=given, policy=PolicyConfig(torso=torso))
    assert config.chunk_limit == limit and config.chunk_bytes == limit * 2**20


def test_means_and_intervals():
    scores = [
        {"a": 1.0, "count": 3, "name": "x", "gap": None, "wild": float("nan")},
        {"a": 2.0, "count": 3, "name": "y", "gap": 1.0, "wild": 1.0},
        {"a": 6.0, "count": 3, "name": "z", "gap": 1.0, "wild": 2.0},
    ]
    mean, interval = mean_and_interval(scores)
    assert mean == {"a": 3.0, "count": 3.0, "gap": None, "wild": None}
    half = 4.302653 * np.sqrt(7 / 3)  # t of 2 degrees of freedom; variance 7
    np.testing.assert_allclose(interval["a"], [3 - half, 3 + half], rtol=1e-5)
    assert interval["count"] == [3.0, 3.0] and interval["gap"] is None and interval["wild"] is None
    for number, t in ((2, 12.7062), (5, 2.776445), (30, 2.045230)):
        values = [{"a": float(i)} for i in range(number)]
        (low, high) = mean_and_interval(values)[1]["a"]
        deviation = np.std(np.arange(number), ddof=1)
        assert (high - low) / 2 == pytest.approx(t * deviation / np.sqrt(number), rel=1e-4)
