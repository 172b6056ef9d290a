"""Action distributions against formulas of SciPy, sampling against probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from ploutos_jax.policy.distributions import DiscreteHead, WeightsHead, head_for

HEADS = {"discrete": DiscreteHead(), "weights": WeightsHead()}


def random_outputs(head, shape=(5, 4), seed=0, scale=2.0):
    return np.random.default_rng(seed).normal(0, scale, (*shape, head.num_outputs)).astype(np.float32)


def test_head_for_each_action_form():
    assert isinstance(head_for("discrete"), DiscreteHead)
    assert isinstance(head_for("weights"), WeightsHead)


def test_discrete_log_prob_and_entropy_are_those_of_a_softmax():
    head = HEADS["discrete"]
    logits = random_outputs(head)
    log_p = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    for action in range(3):
        actions = np.full(logits.shape[:-1], action, np.int8)
        np.testing.assert_allclose(
            head.log_prob(jnp.asarray(logits), jnp.asarray(actions)), log_p[..., action], rtol=1e-5, atol=1e-6
        )
    np.testing.assert_allclose(
        head.entropy(jnp.asarray(logits)), -(np.exp(log_p) * log_p).sum(-1), rtol=1e-5, atol=1e-6
    )


def test_discrete_log_prob_stays_finite_for_extreme_logits():
    head = HEADS["discrete"]
    logits = jnp.array([[300.0, 0.0, -300.0]])
    assert np.isfinite(head.log_prob(logits, jnp.array([2], jnp.int8))).all()
    np.testing.assert_allclose(head.entropy(logits), 0, atol=1e-6)
    gradient = jax.grad(lambda x: head.log_prob(x, jnp.array([2], jnp.int8)).sum() + head.entropy(x).sum())(logits)
    assert np.isfinite(gradient).all()


def test_discrete_frequencies_follow_the_probabilities():
    head, draws = HEADS["discrete"], 40_000
    logits = jnp.array([[0.0, 0.0, 0.0], [2.0, -1.0, 0.5], [-3.0, 0.0, 3.0]])
    actions = np.asarray(head.sample(jax.random.key(3), jnp.broadcast_to(logits, (draws, 3, 3))))
    assert actions.dtype == np.int8 and actions.min() == 0 and actions.max() == 2
    p = scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)
    seen = np.stack([(actions == a).mean(axis=0) for a in range(3)], axis=-1)
    assert (np.abs(seen - p) < 4.5 * np.sqrt(p * (1 - p) / draws) + 1e-9).all()


def test_weights_log_prob_and_entropy_are_those_of_a_normal_with_bounded_deviation():
    head = HEADS["weights"]
    outputs = random_outputs(head, scale=4.0)
    assert (outputs[..., 1] > 1).any() and (outputs[..., 1] < -5).any(), "the test should reach both bounds"
    normal = scipy.stats.norm(outputs[..., 0], np.exp(np.clip(outputs[..., 1].astype(np.float64), -5, 1)))
    scores = np.random.default_rng(1).normal(size=outputs.shape[:-1]).astype(np.float32)
    np.testing.assert_allclose(
        head.log_prob(jnp.asarray(outputs), jnp.asarray(scores)), normal.logpdf(scores), rtol=1e-4
    )
    np.testing.assert_allclose(head.entropy(jnp.asarray(outputs)), normal.entropy(), rtol=1e-5, atol=1e-5)


def test_weights_samples_are_normal():
    head, draws = HEADS["weights"], 20_000
    outputs = jnp.array([[0.0, 0.0], [1.5, -2.0], [-2.0, 1.0]])
    scores = np.asarray(head.sample(jax.random.key(5), jnp.broadcast_to(outputs, (draws, 3, 2))), np.float64)
    for asset, (mean, log_deviation) in enumerate(np.asarray(outputs)):
        standard = (scores[:, asset] - mean) / np.exp(log_deviation)
        assert scipy.stats.kstest(standard, "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(scores.T) - np.eye(3)).max() < 4.5 / np.sqrt(draws)


@pytest.mark.parametrize("kind", HEADS)
def test_sample_depends_on_the_key_and_the_own_outputs_only(kind):
    head = HEADS[kind]
    outputs = jnp.asarray(random_outputs(head, shape=(6, 50)))
    keys = jax.random.split(jax.random.key(0), 6)
    batch = jax.vmap(head.sample)(keys, outputs)
    alone = np.stack([head.sample(key, own) for key, own in zip(keys, outputs, strict=True)])
    np.testing.assert_array_equal(batch, alone)
    np.testing.assert_array_equal(head.sample(keys[0], outputs[0]), head.sample(keys[0], outputs[0]))
    assert (np.asarray(head.sample(keys[0], outputs[0])) != np.asarray(head.sample(keys[1], outputs[0]))).any()


def test_modes():
    logits = random_outputs(HEADS["discrete"])
    np.testing.assert_array_equal(HEADS["discrete"].mode(jnp.asarray(logits)), logits.argmax(-1))
    assert HEADS["discrete"].mode(jnp.asarray(logits)).dtype == jnp.int8
    outputs = random_outputs(HEADS["weights"])
    np.testing.assert_array_equal(HEADS["weights"].mode(jnp.asarray(outputs)), outputs[..., 0])


def test_discrete_actions_go_to_the_environment_as_they_are():
    action = jnp.array([0, 1, 2], jnp.int8)
    assert HEADS["discrete"].to_env(action) is action


def test_weights_leave_a_share_for_cash():
    head = HEADS["weights"]
    scores = np.random.default_rng(2).normal(0, 2, (200, 7)).astype(np.float32)
    weights = np.asarray(head.to_env(jnp.asarray(scores)))
    expected = np.exp(scores.astype(np.float64)) / (1 + np.exp(scores.astype(np.float64)).sum(-1, keepdims=True))
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert (weights >= 0).all() and (weights.sum(-1) < 1).all()


def test_weights_stay_within_the_account_for_extreme_scores():
    scores = np.float32([[200, -200, 0], [90, 90, 90], [-90, -90, -90], [1e30, 0, -1e30]])
    weights = np.asarray(HEADS["weights"].to_env(jnp.asarray(scores)))
    assert np.isfinite(weights).all() and (weights >= 0).all()
    assert (weights.sum(-1) <= 1 + 1e-6).all()
