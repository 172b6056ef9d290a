"""Sizes that are measured: what is tried, what is taken, and that a table says why others were not."""

import dataclasses

import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.probe import Measured, Probe
from tests.train.worlds import SHARED, random_market

CONFIG = TrainConfig(rollout_length=8, total_timesteps=100_000, num_minibatches=4, policy=SHARED)


class Timed(Probe):
    """A probe of a machine that is a formula: faster up to a best number of environments, slower with minibatches."""

    best = 256

    def _timer(self, config):
        envs = config.num_envs
        speed = 1000 * min(envs, self.best**2 / envs) / (1 + 0.1 * config.num_minibatches)
        return lambda: speed, 123


def timed(config=CONFIG, **more):
    return Timed(config, random_market(), TradingEnv(EnvConfig(episode_length=12)), **more)


def test_the_fastest_sizes_are_found():
    told = []
    probe = timed(tell=told.append)
    chosen = probe.choose(("num_envs", "num_minibatches"))
    assert (chosen.num_envs, chosen.num_minibatches) == (256, 1)
    assert told[: len(probe.rows)] == list(probe.rows) and set(told) == set(probe.rows)
    assert {row.num_envs for row in probe.rows} >= {64, 128, 256, 512, 1024}
    assert chosen.rollout_length == 8 and dataclasses.replace(
        chosen, num_envs=256, num_minibatches=4
    ) == dataclasses.replace(CONFIG, num_envs=256), "nothing else of the settings is changed"


class Disturbed(Timed):
    """The same machine, on which other work stretches the first timing of its best number of environments."""

    def _timer(self, config):
        speed, size = super()._timer(config)
        calls = []

        def timed():
            calls.append(None)
            return speed() * (0.5 if config.num_envs == self.best and len(calls) == 1 else 1)

        return timed, size


def test_what_lies_around_the_fastest_is_tried_when_it_is_known():
    probe = Disturbed(CONFIG, random_market(), TradingEnv(EnvConfig(episode_length=12)))
    chosen = probe.choose(("num_envs", "num_minibatches"))
    assert (chosen.num_envs, chosen.num_minibatches) == (256, 1)


def test_where_time_is_over_sizes_are_timed_in_turns_once(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Slow(Timed):
        def _timer(self, config):
            speed, size = super()._timer(config)

            def timed():
                now[0] += 100.0
                calls.append(config.num_envs)
                return speed()

            return timed, size

    probe = Slow(CONFIG, random_market(), TradingEnv(EnvConfig(episode_length=12)), seconds=250.0)
    assert probe.choose(("num_envs",)).num_envs == 256
    assert calls == [16, 64, 256, 256], "the last one is far ahead of the others: it alone is timed again"


def test_sizes_between_two_steps_are_tried_too():
    probe = timed()
    probe.best = 128
    assert probe.choose(("num_envs",)).num_envs == 128


def test_a_run_keeps_enough_updates():
    probe = timed(dataclasses.replace(CONFIG, total_timesteps=16 * 8 * 20))
    assert probe.choose(("num_envs",)).num_envs == 16
    assert [row.why for row in probe.rows if row.num_envs == 64] == ["leaves fewer than 20 updates"]


def test_a_given_size_of_minibatches_stays():
    config = dataclasses.replace(CONFIG, num_envs=64, batch_size=128)
    assert timed(config).choose(("num_minibatches",)).num_minibatches == config.num_minibatches


def test_what_cannot_be_measured_is_said():
    config = dataclasses.replace(CONFIG, total_timesteps=100)
    with pytest.raises(ValueError, match=r"No size could be measured \(num_envs=16: leaves fewer than 20 updates"):
        timed(config).choose(("num_envs",))


@pytest.mark.thorough
def test_a_real_training_is_timed():
    probe = Probe(CONFIG, random_market(), TradingEnv(EnvConfig(episode_length=12)))
    found = probe.measure(8, 2)
    assert isinstance(found, Measured) and found.updates == -(-100_000 // 64)
    assert found.steps_per_second is not None and found.steps_per_second > 10
    market = random_market()
    arrays = sum(leaf.nbytes for leaf in (market.features, market.close, market.open))
    assert found.bytes > arrays
    assert probe.measure(8, 2) is found
