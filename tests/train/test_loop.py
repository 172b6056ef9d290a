"""The run: repeatable to the bit, compiled once, however its updates are dealt out to calls."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.rewards import log_return
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train import calls as host_side
from ploutos_jax.train.loop import train
from ploutos_jax.train.ppo.learner import Learner
from ploutos_jax.train.run.folder import read_figures
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.train import planted
from tests.train.worlds import assert_identical

TIMES = MACHINE_FIGURES
NUM_UPDATES = planted.CONFIG.num_updates
PROMISED = {
    "update",
    "timesteps",
    "loss",
    *({*TIMES} - {"data_wait_share"}),  # of markets in files
    "episode_return_mean",
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
}
PROMISED |= {"clip_fraction", "explained_variance", "learning_rate", "grad_norm", "loss"}
PROMISED |= {"equity", "total_return_mean", "trades", "sharpe", "drawdown_mean", "drawdown_max", "cost_per_step"}


def without_times(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def run(config=planted.CONFIG, env=planted.ENV, **arguments):
    """Train on the planted market; return the agent and the rows of each call."""
    calls = []
    agent = train(config, planted.seen(), env, observers=[lambda progress: calls.append(progress.rows)], **arguments)
    return agent, calls


def test_rows_hold_the_figures_of_every_update(finished_run):
    rows = finished_run.rows
    assert [row["update"] for row in rows] == list(range(1, NUM_UPDATES + 1))
    assert [row["timesteps"] for row in rows] == [2048 * (i + 1) for i in range(NUM_UPDATES)]
    assert set(rows[0]) >= PROMISED
    assert all(type(value) in (int, float, type(None)) for row in rows for value in row.values())
    assert np.all(np.diff([row["seconds"] for row in rows]) >= 0) and rows[0]["steps_per_second"] > 0


def test_learning_rate_falls_to_zero_over_the_run(finished_run):
    expected = planted.CONFIG.learning_rate * (1 - np.arange(NUM_UPDATES) / NUM_UPDATES)
    np.testing.assert_allclose([row["learning_rate"] for row in finished_run.rows], expected, rtol=1e-5)


@pytest.mark.slow
def test_same_seed_gives_the_same_bits_whatever_a_call_holds(finished_run, monkeypatch):
    for size in (1, 1000):
        monkeypatch.setattr(host_side, "_calls_for", lambda count, seconds, size=size: size)
        agent, calls = run()
        most = max(len(rows) for rows in calls)
        assert most == 1 if size == 1 else most == NUM_UPDATES // 10, "a call ends at each checkpoint"
        assert_identical(agent.params, finished_run.agent.params)
        rows = [row for rows in calls for row in rows]
        assert without_times(rows) == without_times(finished_run.rows)


def test_another_seed_gives_another_agent_and_a_request_to_stop_is_answered(finished_run):
    answers = iter([False, True])
    agent, calls = run(dataclasses.replace(planted.CONFIG, seed=1), should_stop=lambda: next(answers))
    assert len(calls) == 2 and agent.step == sum(map(len, calls)) < NUM_UPDATES
    pairs = zip(jax.tree.leaves(agent.params.network), jax.tree.leaves(finished_run.agent.params.network), strict=True)
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in pairs)
    assert calls[0][0]["reward_per_step"] != finished_run.rows[0]["reward_per_step"]


class Watched:
    """The compiled updates, with a note of each call: whether the state that it was given is gone."""

    def __init__(self, jitted):
        self.jitted, self.num_programs, self.donated = jitted, 0, []

    def lower(self, update, num_rows, learner, states, *rest):
        assert not any(leaf.aval.weak_type for leaf in jax.tree.leaves((states, *rest)))
        program = self.jitted.lower(update, num_rows, learner, states, *rest).compile()
        self.num_programs += 1

        def call(states, *rest):
            result = program(states, *rest)
            self.donated.append(all(leaf.is_deleted() for leaf in jax.tree.leaves(states)))
            return result

        return SimpleNamespace(compile=lambda: call)


@pytest.mark.thorough
def test_one_compilation_and_donated_buffers(monkeypatch):
    traces, updates, seen = [], [], []
    watched = Watched(host_side.run_updates)
    monkeypatch.setattr(host_side, "run_updates", watched)
    update = Learner.update
    monkeypatch.setattr(Learner, "update", lambda *arguments: (updates.append(1), update(*arguments))[1])

    def counting_reward(before, after):
        traces.append(1)
        return log_return(before, after)

    env = TradingEnv(dataclasses.replace(planted.ENV.config, reward=counting_reward))
    weak = env.default_params(planted.seen()).replace(commission=jnp.asarray(0.001))
    assert weak.commission.aval.weak_type
    agent = train(
        planted.CONFIG,
        planted.seen(),
        env,
        params=weak,
        observers=[lambda _: seen.append(len(traces))],
        should_stop=lambda: len(seen) == 4,
    )
    assert len(seen) == 4 and len(set(seen)) == 1, f"the step was traced again between calls: {seen}"
    assert seen[0] <= 4
    assert len(updates) == 1, "for the shapes of its figures and for the program"
    assert watched.num_programs == 1 and watched.donated == [True] * 4
    assert agent.env_config.reward is counting_reward


def test_observers_are_told_how_far_the_run_is(finished_run):
    told = []
    train(planted.CONFIG, planted.seen(), planted.ENV, observers=[told.append], should_stop=lambda: len(told) == 2)
    total = NUM_UPDATES * planted.CONFIG.timesteps_per_update
    assert all(progress.total_timesteps == total for progress in told)
    assert [progress.done_timesteps for progress in told] == [progress.rows[-1]["timesteps"] for progress in told]


@pytest.mark.thorough
def test_loggers_get_the_rows_of_the_run_folder(tmp_path):
    class Kept:
        def __init__(self):
            self.rows, self.done = [], []

        def write(self, rows):
            self.rows += rows

        def cut_back(self, update, timesteps):
            self.rows = [row for row in self.rows if row["update"] <= update]

        def flush(self):
            self.done.append("flushed")

        def close(self):
            self.done.append("closed")

    kept = Kept()
    stop = iter((True, True)).__next__
    run(output=tmp_path / "run", loggers=[kept], should_stop=stop)
    assert [row["update"] for row in kept.rows] == [1] and kept.done[-1] == "closed" and "flushed" in kept.done
    kept.rows.append({"update": 2})  # lost with a crash, so the resumed run makes it again
    run(output=tmp_path / "run", loggers=[kept], resume=True)
    assert kept.rows == read_figures(tmp_path / "run")
    assert [row["update"] for row in kept.rows] == list(range(1, NUM_UPDATES + 1))
    with pytest.raises(ValueError, match="give output="):
        run(loggers=[kept])


def test_an_agent_knows_where_it_comes_from(finished_run):
    agent = finished_run.agent
    assert agent.step == NUM_UPDATES and agent.symbols == planted.panel().symbols
    assert (agent.trained_from, agent.trained_to) == ("2010-01-04", str(planted.seen().times[-1])[:10])
    assert agent.feature_names == ("signal_hint", "signal_noise_0", "signal_noise_1", "signal_noise_2", "warm", "known")
    assert agent.env_config == planted.ENV.config


def test_an_episode_that_does_not_fit_is_refused():
    env = TradingEnv(dataclasses.replace(planted.ENV.config, episode_length=1000))
    with pytest.raises(ValueError, match="episode of 1000 bars does not fit .* at most 999"):
        train(planted.CONFIG, planted.seen(), env)


def test_numbers_of_the_environment_can_be_given(finished_run):
    params = planted.ENV.default_params(planted.seen())
    costly = params.replace(commission=jnp.full_like(params.commission, 0.01))
    told = []
    train(
        planted.CONFIG,
        planted.seen(),
        planted.ENV,
        params=costly,
        observers=[told.append],
        should_stop=lambda: True,
    )
    assert told[0].rows[0]["cost_per_step"] > 10 * finished_run.rows[0]["cost_per_step"] + 1e-4


@pytest.mark.parametrize(
    ("seconds", "count", "expected"), [(1.0, 1, 2), (0.5, 4, 16), (100.0, 3, 1), (1e-9, 1, 64), (0.0, 1, 64)]
)
def test_calls_take_about_two_seconds(seconds, count, expected):
    assert host_side._calls_for(count, seconds) == expected
