"""Scaling of features, observations and rewards against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents import scaling as scaling_module
from ploutos_jax.agents.scaling import (
    FeatureScaling,
    ObservationScaling,
    ReturnScaling,
    RunningMoments,
    fit_features,
)
from ploutos_jax.env.types import Observation

ALL = np.ones((400, 3), bool)


def columns(*arrays):
    return np.stack(arrays, axis=-1).astype(np.float32)


def test_features_are_fitted_by_percentiles_of_tradable_bars():
    rng = np.random.default_rng(0)
    mask = rng.random((400, 3)) < 0.7
    features = columns(rng.normal(3, 0.5, (400, 3)), rng.standard_cauchy((400, 3)))
    features[~mask] = 1e9
    scaling = fit_features(features, mask)
    for i in range(2):
        low, middle, high = np.percentile(features[mask][:, i].astype(np.float64), [15.865525, 50, 84.134475])
        np.testing.assert_allclose(scaling.centre[i], middle, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(scaling.spread[i], (high - low) / 2, rtol=1e-5)
    np.testing.assert_allclose([scaling.centre[0], scaling.spread[0]], [3, 0.5], rtol=0.1)


def test_flags_stay_as_they_are_and_constants_are_harmless():
    rng = np.random.default_rng(0)
    rare, usual = rng.random((400, 3)) < 0.05, rng.random((400, 3)) < 0.97
    events = np.where(rare, 1e6 * rng.normal(size=(400, 3)), 0)
    features = columns(rare, usual, np.ones((400, 3)), np.zeros((400, 3)), np.full((400, 3), 0.1), events)
    scaled = np.asarray(fit_features(features, ALL)(features))
    np.testing.assert_array_equal(scaled[..., :4], features[..., :4])
    np.testing.assert_allclose(scaled[..., 4], 1.0, rtol=1e-6)
    assert (scaled[..., 5][~rare] == 0).all()
    np.testing.assert_allclose(np.sqrt(np.square(scaled[..., 5][rare]).mean()), 1.0, rtol=0.1)


def test_a_constant_over_many_rows_is_still_a_constant():
    scaled = fit_features(np.ones((200_000, 2, 1), np.float32), np.ones((200_000, 2), bool))(jnp.ones((1, 1, 1)))
    np.testing.assert_array_equal(scaled, 1.0)


def test_features_are_clipped():
    scaling = FeatureScaling(centre=jnp.array([1.0]), spread=jnp.array([2.0]))
    np.testing.assert_array_equal(scaling(jnp.array([[4.0], [1e6], [-1e6]])), [[1.5], [5.0], [-5.0]])


def test_a_fit_on_a_part_of_the_rows_meets_every_asset(monkeypatch):
    monkeypatch.setattr(scaling_module, "_MAX_FIT_VALUES", 300)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3, 1)).astype(np.float32) + np.float32([[-10], [0], [10]])
    scaling = fit_features(features, ALL)  # 1200 rows: every fourth would do, every third would see one asset
    assert abs(float(scaling.centre[0])) < 1 and 8 < float(scaling.spread[0]) < 11
    again = fit_features(features, ALL)
    np.testing.assert_array_equal(scaling.spread, again.spread)
    monkeypatch.setattr(scaling_module, "_MAX_FIT_VALUES", 400)
    assert abs(float(fit_features(features, ALL).centre[0])) < 1


def test_no_tradable_row_is_an_error():
    with pytest.raises(ValueError, match="No asset is tradable in the training rows; widen --start/--end"):
        fit_features(np.zeros((5, 2, 1)), np.zeros((5, 2), bool))


def merge_all(moments, batches):
    for batch in batches:
        batch = batch.astype(np.float64)
        moments = moments.merge(float(len(batch)), jnp.float32(batch.mean(0)), jnp.float32(batch.var(0)))
    return moments


def test_merged_moments_are_those_of_the_whole_stream():
    rng = np.random.default_rng(0)
    batches = [rng.normal([0, 5, -100], [1, 0.1, 30], (size, 3)) for size in (1, 7, 400, 33, 5000, 2)]
    batches[3] += 3
    moments = merge_all(RunningMoments.create(3), batches)
    stream = np.concatenate(batches)
    deviation = stream.std(0)
    np.testing.assert_allclose((moments.mean - stream.mean(0)) / deviation, 0, atol=1e-5)
    np.testing.assert_allclose(np.sqrt(moments.square / moments.count), deviation, rtol=1e-5)
    expected = np.clip((batches[3] - stream.mean(0)) / deviation, -5, 5)
    np.testing.assert_allclose(moments(jnp.float32(batches[3])), expected, atol=5e-5)


def test_fresh_moments_change_nothing():
    x = np.float32([[0.5, -0.25, 1.0]])
    np.testing.assert_allclose(RunningMoments.create(3)(x), x, rtol=1e-4)


@jax.jit
def merge_often(moments, size, mean, variance):
    return jax.lax.fori_loop(0, 100_000, lambda _, m: m.merge(size, mean, variance), moments)


@pytest.mark.parametrize("size", [2048.0, 1e6])
def test_moments_do_not_drift_and_still_move_after_very_many_samples(size):
    mean, variance = jnp.float32([3.0, -0.01]), jnp.float32([4.0, 1e-4])
    moments = merge_often(RunningMoments.create(2), size, mean, variance)
    assert float(moments.count) == 1e8, f"{100_000 * size:.0e} samples are beyond what is counted"
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-3)
    np.testing.assert_allclose(moments.square / moments.count, variance, rtol=1e-3)
    moved = merge_often(moments, size, mean + 1, variance)
    share = 1 - (1 - min(size / 1e8, 1.0)) ** 100_000
    np.testing.assert_allclose(moved.mean - mean, share, rtol=1e-3)
    assert float(moved.count) == 1e8 and bool(jnp.isfinite(moved.square).all())


def test_return_scale_is_the_deviation_of_discounted_sums():
    rng = np.random.default_rng(0)
    rewards = rng.normal(0.1, 1, (3, 20, 5, 2)).astype(np.float32)
    done = rng.random((3, 20, 5)) < 0.15
    scaling, gamma = ReturnScaling.create(5, 2), 0.9
    total, sums = np.zeros((5, 2)), []
    for rollout in range(3):
        scaling = scaling.observe(rewards[rollout], done[rollout], jnp.float32(gamma))
        for t in range(20):
            total = total * gamma + rewards[rollout, t]
            sums.append(total.copy())
            total[done[rollout, t]] = 0
        np.testing.assert_allclose(scaling.deviation, np.std(sums), rtol=1e-5)
        np.testing.assert_allclose(scaling.running, total, rtol=1e-5, atol=1e-6)


def test_a_reward_that_is_not_finite_does_not_spoil_the_scale():
    rewards = np.ones((4, 2, 1), np.float32)
    spoiled = rewards.copy()
    spoiled[1, 0], spoiled[2, 1] = np.nan, -np.inf
    done = np.zeros((4, 2), bool)
    scaling = ReturnScaling.create(2, 1).observe(spoiled, done, 0.9)
    expected = ReturnScaling.create(2, 1).observe(np.where(np.isfinite(spoiled), spoiled, 0), done, 0.9)
    assert np.isfinite(scaling.deviation) and scaling.deviation == expected.deviation
    np.testing.assert_array_equal(scaling.running, expected.running)


@pytest.mark.thorough
def test_statistics_of_large_half_precision_batches_are_exact():
    rng = np.random.default_rng(0)
    seen = Observation(
        t=np.zeros((100, 400), np.int32),
        positions=(0.9 + 0.05 * rng.standard_normal((100, 400, 60, 2), np.float32)).astype(np.float16),
        levels=rng.integers(0, 256, (100, 400, 60, 3), np.uint8),
        account=rng.normal(-0.5, 2.0, (100, 400, 4)).astype(np.float16),
    )
    assets = np.concatenate([seen.positions, seen.levels / 255], axis=-1)
    scaling = ObservationScaling(
        features=FeatureScaling(centre=jnp.zeros(1), spread=jnp.ones(1)),
        assets=RunningMoments.create(5),
        account=RunningMoments.create(4),
    )
    scaling = jax.jit(ObservationScaling.observe)(scaling, seen)
    for moments, batch in ((scaling.assets, assets), (scaling.account, seen.account)):
        stream = batch.reshape(-1, batch.shape[-1]).astype(np.float64)
        assert float(moments.count) == pytest.approx(len(stream))
        np.testing.assert_allclose((moments.mean - stream.mean(0)) / stream.std(0), 0, atol=1e-3)
        np.testing.assert_allclose(np.sqrt(moments.square / moments.count), stream.std(0), rtol=1e-3)
