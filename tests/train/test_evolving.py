"""Population-based training: who is copied by whom, and a run that goes on as if nothing had been."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.evolution_config import EvolutionConfig
from ploutos_jax.train.evolving import Member, best_member, first_members, select
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.loop import train_seeds
from ploutos_jax.train.run.figures import read_figures
from tests.train.worlds import SHARED, assert_identical, random_market

EVOLUTION = EvolutionConfig(population=8, population_numbers=("learning_rate", "gamma"), population_every=2)
CONFIG = TrainConfig(
    num_envs=4,
    rollout_length=8,
    total_timesteps=4 * 8 * 6,
    num_minibatches=1,
    num_epochs=1,
    policy=SHARED,
    gamma=0.9,
    evolution=dataclasses.replace(EVOLUTION, population=4),
)
ENV = TradingEnv(EnvConfig(episode_length=12))


def stacked(config):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *first_members(config))


def test_first_numbers_cover_their_range():
    """Each eighth of a range, in logarithms, holds the number of one member."""
    config = TrainConfig(learning_rate=1e-3, gamma=0.99, evolution=EVOLUTION)
    members = stacked(config)
    assert config.num_seeds == 8 and set(members.numbers) == {"learning_rate", "gamma"}
    for name, middle in (("learning_rate", 1e-3), ("gamma", 0.01)):
        values = np.asarray(members.numbers[name], np.float64)
        scale = 1 - values if name == "gamma" else values
        eighths = np.floor((np.log10(scale / middle) + 1) / 2 * 8)
        assert sorted(eighths) == list(range(8)), name
    other = stacked(dataclasses.replace(config, seed=1))
    assert not np.array_equal(other.numbers["gamma"], members.numbers["gamma"])


def test_the_worst_become_altered_copies_of_the_best():
    config = TrainConfig(learning_rate=1e-3, gamma=0.99, evolution=EVOLUTION)
    rewards = jnp.float32([3, 8, -jnp.inf, 5, 7, 1, 4, 2])  # best 1 and 4, worst 2 and 5
    members = stacked(config).replace(reward=rewards)
    own = jnp.arange(8.0)
    same = {name: None for name in ("average", "critic", "rate", "tail")}
    whole = {name: own for name in ("agent", "optimizer", "returns", "runner", "key", "update", "skipped")}
    state = TrainState(**whole, **same, skipped_in_row=own, fault=own, members=members)
    seen = set()
    for seed in range(20):
        key = jnp.broadcast_to(jax.random.key(seed), (8,))
        after = select(config, state.replace(members=members.replace(key=key)))
        parent = np.asarray(after.members.parent)
        assert set(parent[[2, 5]]) <= {1, 4} and np.array_equal(parent[[0, 1, 3, 4, 6, 7]], [0, 1, 3, 4, 6, 7])
        seen |= set(parent[[2, 5]].tolist())
        np.testing.assert_array_equal(after.agent, parent)
        np.testing.assert_array_equal(after.runner, own)  # accounts stay a member's own
        assert not after.members.reward.any()
        np.testing.assert_array_equal(after.members.score, rewards / 2)
        for name in ("learning_rate", "gamma"):
            before, now = (np.asarray(x.numbers[name], np.float64) for x in (members, after.members))
            before, now = (1 - before, 1 - now) if name == "gamma" else (before, now)
            middle = 0.01 if name == "gamma" else 1e-3
            kept = parent == np.arange(8)
            np.testing.assert_array_equal(now[kept], before[kept])
            for place in (2, 5):
                steps = np.clip(before[parent[place]] * np.array([1.25, 0.8]), middle / 10, middle * 10)
                assert np.abs(now[place] / steps - 1).min() < 1e-4
    assert seen == {1, 4}


def test_the_best_member_is_that_of_the_last_selection():
    assert best_member({"score_by_seed": [0.1, None, 0.3, 0.2]}) == 2
    assert best_member({"score_by_seed": [None, None]}) is None and best_member({}) is None


def test_what_no_population_can_be_is_refused():
    for changes, message in (
        ({"population": 2}, "population=2"),
        ({"population_share": 0.6}, "population_share=0.6"),
        ({"population_numbers": ("num_envs",)}, "population_numbers=num_envs cannot be searched"),
        ({"population_numbers": ()}, "names nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(EVOLUTION, **changes)
    with pytest.raises(ValueError, match="num_seeds=3 beside population=8"):
        TrainConfig(num_seeds=3, evolution=EVOLUTION)
    with pytest.raises(ValueError, match="entropy_coef: it is 0"):
        first_members(TrainConfig(entropy_coef=0.0, evolution=EvolutionConfig(4, ("entropy_coef",))))
    train = parse_settings(["--population", "16", "--population-numbers", "learning_rate,gae_lambda"]).train
    assert train.num_seeds == 16 and train.evolution.population_numbers == ("learning_rate", "gae_lambda")


@pytest.mark.thorough
def test_a_resumed_population_is_the_same_to_the_bit(tmp_path):
    """Stopped after update 3, between two selections, whose sums and key a checkpoint has to hold."""
    market, told = random_market(), []
    whole = train_seeds(CONFIG, market, ENV, output=tmp_path / "whole", max_updates_per_call=1)
    stop = {"should_stop": lambda: len(told) >= 3, "observers": [told.append], "max_updates_per_call": 1}
    train_seeds(CONFIG, market, ENV, output=tmp_path / "parts", **stop)
    assert len(read_figures(tmp_path / "parts")) == 3
    parts = train_seeds(CONFIG, market, ENV, output=tmp_path / "parts", resume=True)
    for one, other in zip(whole, parts, strict=True):
        assert_identical(one.params, other.params)
    rows, again = (read_figures(tmp_path / name) for name in ("whole", "parts"))
    names = [name for name in rows[0] if name.endswith("_by_seed")]
    assert {"learning_rate_by_seed", "gamma_by_seed", "score_by_seed", "parent_by_seed"} <= set(names)
    for row, other in zip(rows, again, strict=True):
        assert {name: row[name] for name in names} == {name: other[name] for name in names}
    rewards = np.mean([row["reward_per_step"] for row in rows[:2]])
    assert np.mean(rows[1]["score_by_seed"]) == pytest.approx(rewards, rel=1e-4)
    assert any(row["parent_by_seed"] != [0, 1, 2, 3] for row in rows)
    # A member trains with its own number: the rate that an update reports is the mean of theirs, times the schedule.
    for row in rows:
        done = 1 - (row["update"] - 1) / 6
        assert row["learning_rate"] == pytest.approx(done * np.mean(row["learning_rate_by_seed"]), rel=1e-4)


def test_a_member_is_a_tree():
    assert len(jax.tree.leaves(Member({"gamma": 1.0}, 0.0, 0.0, 0, 1))) == 5
