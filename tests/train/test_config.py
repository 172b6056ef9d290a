"""Checks and derived numbers of the learner's settings."""

import dataclasses

import pytest

from ploutos_jax.train.config import Hyper, TrainConfig


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        *((name, 0, "must be at least 1") for name in ("num_envs", "total_timesteps", "num_minibatches", "num_epochs")),
        ("rollout_length", 0, "must be at least 1, or None"),
        *((name, 0.0, "must be above 0") for name in ("learning_rate", "max_grad_norm", "clip_range")),
        ("learning_rate", float("nan"), "must be above 0"),
        ("chunk_megabytes", -1.0, "must be above 0"),
        ("gamma", 1.01, r"must lie in \[0, 1\]"),
        ("gamma", float("nan"), r"must lie in \[0, 1\]"),
        ("gae_lambda", -0.1, r"must lie in \[0, 1\]"),
        ("entropy_coef", -0.01, "must not be negative"),
        ("value_coef", -1.0, "must not be negative"),
        ("target_kl", 0.0, "must be above 0, such as 0.02, or None"),
        ("ratio", "both", "'joint' or 'per_asset'"),
        ("value_clip", 0.0, "must be above 0, such as 0.2, or None"),
        ("learning_rate_schedule", "step", "'linear', 'cosine', 'constant' or 'adaptive'"),
        ("entropy_schedule", "cosine", "'linear' or 'constant'"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_fix(name, value, fix):
    with pytest.raises(ValueError, match=f"^{name}={value!r} .*{fix}"):
        TrainConfig(**{name: value})


def test_minibatches_must_divide_the_rollout():
    with pytest.raises(ValueError, match=r"num_minibatches=4 .* 6 pieces .*num_envs=3 x 2 .* multiple of 4"):
        TrainConfig(num_envs=3, rollout_length=16, num_minibatches=4)
    assert TrainConfig(num_envs=4, rollout_length=16, num_minibatches=4).steps_per_chunk == 8


@pytest.mark.parametrize("limits", [{"gamma": 0.0, "gae_lambda": 1.0}, {"entropy_coef": 0.0, "value_coef": 0.0}])
def test_the_ends_of_a_range_belong_to_it(limits):
    TrainConfig(**limits)


@pytest.mark.parametrize(
    ("num_envs", "total_timesteps", "steps"),
    [(256, 2_000_000, 128), (64, 100_000, 16), (256, 1, 8), (16, 16 * 50 * 63, 32), (4096, 100_000_000, 128)],
)
def test_rollout_length_by_itself(num_envs, total_timesteps, steps):
    config = TrainConfig(num_envs=num_envs, total_timesteps=total_timesteps)
    assert config.steps_per_rollout == steps
    assert config.timesteps_per_update == num_envs * steps
    assert (config.num_updates - 1) * config.timesteps_per_update < total_timesteps
    assert config.num_updates * config.timesteps_per_update >= total_timesteps


@pytest.mark.parametrize(("rollout_length", "chunk"), [(1, 1), (2, 2), (6, 2), (12, 4), (7, 1), (64, 8)])
def test_stretches_divide_the_rollout(rollout_length, chunk):
    assert TrainConfig(rollout_length=rollout_length).steps_per_chunk == chunk


def test_hyper_holds_the_numbers():
    config = TrainConfig(learning_rate=0.5, learning_rate_schedule="constant", target_kl=None, gamma=0.25)
    hyper = config.hyper()
    assert (hyper.learning_rate, hyper.decay, hyper.gamma) == (0.5, 0.0, 0.25)
    assert hyper.target_kl == float("inf") and hyper.num_updates == config.num_updates
    assert TrainConfig(target_kl=0.1).hyper().target_kl == 0.1 and TrainConfig().hyper().decay == 1.0
    assert (hyper.cosine_decay, hyper.entropy_decay, hyper.value_clip) == (0.0, 0.0, float("inf"))
    cosine = TrainConfig(learning_rate_schedule="cosine", entropy_schedule="linear", value_clip=0.2).hyper()
    assert (cosine.decay, cosine.cosine_decay, cosine.entropy_decay, cosine.value_clip) == (0.0, 1.0, 1.0, 0.2)
    derived = {"decay", "cosine_decay", "entropy_decay", "num_updates"}
    names = {field.name for field in dataclasses.fields(Hyper)} - derived
    assert names <= {field.name for field in dataclasses.fields(TrainConfig)}


def test_a_batch_size_sets_the_number_of_minibatches():
    config = TrainConfig(num_envs=32, rollout_length=2048, batch_size=2048)
    assert config.num_minibatches == 32
    assert dataclasses.replace(config, num_envs=16).num_minibatches == 16
    assert TrainConfig(num_envs=4, rollout_length=4, batch_size=16).num_minibatches == 1


@pytest.mark.parametrize(
    ("settings", "near"),
    [
        ({"batch_size": 1000}, "nearest size that does is 1024"),
        ({"batch_size": 100_000}, "nearest size that does is 8192"),
        ({"batch_size": 1}, "nearest size that does is 8"),
        ({"num_minibatches": 5}, "Use 4, or a num_envs"),
    ],
)
def test_the_nearest_size_that_divides_is_named(settings, near):
    with pytest.raises(ValueError, match=near):
        TrainConfig(num_envs=256, rollout_length=32, **settings)
