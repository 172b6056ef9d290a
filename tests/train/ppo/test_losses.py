"""The clipped surrogate and its companions against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos_jax.train.ppo import losses as ppo_losses
from tests.shapes import with_jax_arrays

asset_mean, joined_log_prob, surrogate, value_squares = map(
    with_jax_arrays,
    (ppo_losses.asset_mean, ppo_losses.joined_log_prob, ppo_losses.surrogate, ppo_losses.value_squares),
)

CLIP = 0.2
ALL = np.ones((1, 1), bool)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "gradient"),
    [
        (1.0, 2.0, 2.0, 2.0),
        (1.1, -1.0, -1.1, -1.1),
        (1.5, 1.0, 1.2, 0.0),  # cut off: no reason to go further
        (1.5, -1.0, -1.5, -1.5),  # on the wrong side: not cut off
        (0.5, 1.0, 0.5, 0.5),
        (0.5, -1.0, -0.8, 0.0),
    ],
)
def test_surrogate_by_hand(ratio, advantage, objective, gradient):
    old = jnp.array([[-1.3]])
    new = old + np.log(ratio)

    def loss(new):
        return surrogate(new, old, jnp.array([[advantage]]), ALL, CLIP)[0].sum()

    policy, kl, clipped = surrogate(new, old, jnp.array([[advantage]]), ALL, CLIP)
    np.testing.assert_allclose(policy, [-objective], rtol=1e-5)
    np.testing.assert_allclose(kl, [ratio - 1 - np.log(ratio)], rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(clipped, [float(abs(ratio - 1) > CLIP)])
    np.testing.assert_allclose(jax.grad(loss)(new), [[-gradient]], rtol=1e-5)


def random_log_probs(n=8, num_assets=4, seed=0):
    rng = np.random.default_rng(seed)
    old = rng.normal(-1, 0.5, (n, num_assets)).astype(np.float32)
    new = old + rng.normal(0, 0.3, old.shape).astype(np.float32)
    return new, old, rng.normal(size=(n, 1)).astype(np.float32), rng.random((n, num_assets)) < 0.6


def test_per_asset_ratios_are_averaged_and_joint_ones_multiplied():
    new, old, advantage, mask = random_log_probs()
    ratio = np.exp(new.astype(np.float64) - old)

    def objective(ratio, gain):
        return np.minimum(ratio * gain, np.clip(ratio, 1 - CLIP, 1 + CLIP) * gain)

    gain = advantage.astype(np.float64)
    expected = -(objective(ratio, gain) * mask).sum(1) / np.maximum(mask.sum(1), 1)
    logs = [joined_log_prob(x, mask, "per_asset") for x in (new, old)]
    np.testing.assert_allclose(surrogate(*logs, advantage, mask, CLIP)[0], expected, rtol=1e-5, atol=1e-6)

    joint = np.where(mask, ratio, 1).prod(axis=1, keepdims=True)
    logs = [joined_log_prob(x, mask, "joint") for x in (new, old)]
    assert logs[0].shape == (8, 1)
    loss = surrogate(*logs, advantage, np.ones((8, 1), bool), CLIP)[0]
    np.testing.assert_allclose(loss, -objective(joint, gain)[:, 0], rtol=1e-5, atol=1e-6)


def test_credit_by_asset_weighs_each_ratio_by_its_own_advantage():
    new, old, _, mask = random_log_probs()
    advantage = np.random.default_rng(1).normal(size=new.shape).astype(np.float32)
    logs = [joined_log_prob(x, mask, "per_asset") for x in (new, old)]
    ratio, gain = np.exp(new.astype(np.float64) - old), advantage.astype(np.float64)
    terms = np.minimum(ratio * gain, np.clip(ratio, 1 - CLIP, 1 + CLIP) * gain)
    expected = -(terms * mask).sum(1) / np.maximum(mask.sum(1), 1)
    np.testing.assert_allclose(surrogate(*logs, advantage, mask, CLIP)[0], expected, rtol=1e-5, atol=1e-6)


def test_joint_and_per_asset_are_one_for_one_asset():
    new, old, advantage, _ = random_log_probs(num_assets=1)
    mask = np.ones((8, 1), bool)
    results = [
        surrogate(*(joined_log_prob(x, mask, ratio) for x in (new, old)), advantage, mask, CLIP)
        for ratio in ("joint", "per_asset")
    ]
    for joint, per_asset in zip(*results, strict=True):
        np.testing.assert_array_equal(joint, per_asset)


@pytest.mark.parametrize("ratio", ["joint", "per_asset"])
def test_untradable_assets_take_no_part(ratio):
    new, old, advantage, mask = random_log_probs()
    mask[0] = False
    counted = mask if ratio == "per_asset" else np.ones((8, 1), bool)

    def losses(new):
        logs = (joined_log_prob(jnp.asarray(x), mask, ratio) for x in (new, old))
        return surrogate(*logs, advantage, counted, CLIP)

    for before, after in zip(losses(new), losses(np.where(mask, new, 50.0)), strict=True):
        np.testing.assert_array_equal(before, after)
    gradient = np.asarray(jax.grad(lambda x: losses(x)[0].sum())(jnp.asarray(new)))
    assert (gradient[~mask] == 0).all() and np.isfinite(gradient).all() and (gradient[mask] != 0).any()


def test_a_sample_without_tradable_assets_weighs_nothing():
    np.testing.assert_array_equal(asset_mean(jnp.ones((2, 3)), np.array([[False] * 3, [True, True, False]])), [0, 1])


@settings(max_examples=100, deadline=None)
@given(st.floats(-20, 20), st.floats(-1e-3, 1e-3))
def test_kl_is_never_negative(old, change):
    for new in (old + change, old + 1000 * change):
        kl = surrogate(jnp.array([[new]]), jnp.array([[old]]), jnp.ones((1, 1)), ALL, CLIP)[1]
        assert float(kl[0]) >= 0


def test_kl_keeps_its_digits_near_zero():
    change = np.float32([1e-4, -1e-4, 1e-3, 1e-2])
    kl = surrogate(change[:, None], np.zeros((4, 1), np.float32), np.ones((4, 1)), np.ones((4, 1), bool), CLIP)[1]
    exact = np.expm1(change.astype(np.float64)) - change
    np.testing.assert_allclose(kl, exact, rtol=2e-3)


@pytest.mark.parametrize(
    ("old", "clip", "expected"),
    [
        (None, 0.1, [1.0, 4.0]),
        ([0.0, 0.0], 10.0, [1.0, 4.0]),
        ([1.5, 0.0], 0.1, [1.0, 4.0]),
        ([0.0, 4.0], 0.5, [2.25, 6.25]),
    ],
)
def test_clipped_values_take_the_larger_error(old, clip, expected):
    """Value 1 aims at 2, value 3 at 1."""
    old = None if old is None else np.float32(old)[:, None]
    squares = value_squares(np.float32([[1.0], [3.0]]), np.float32([[2.0], [1.0]]), old, clip)
    np.testing.assert_allclose(squares[:, 0], expected, rtol=1e-6)
