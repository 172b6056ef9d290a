"""Advantages against a loop over time in float64 NumPy."""

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ploutos_jax.train.ppo import advantages
from tests.shapes import with_jax_arrays

gae, next_values = map(with_jax_arrays, (advantages.gae, advantages.next_values))
S, E, K = 12, 4, 2


@jax.jit
def estimate(rewards, values, last_value, terminated, truncated, boundary, gamma, gae_lambda):
    following = next_values(values, last_value, truncated, boundary)
    return gae(rewards, values, following, terminated, truncated, gamma, gae_lambda)


def loop_over_time(rewards, values, last_value, terminated, truncated, boundary, gamma, gae_lambda):
    floats = [x.astype(np.float64) for x in (rewards, values, last_value, boundary)]
    ends = terminated, truncated, float(gamma), float(gae_lambda)
    return np.stack([one_value_over_time(*(x[..., k] for x in floats), *ends) for k in range(K)], axis=-1)


def one_value_over_time(rewards, values, last_value, boundary, terminated, truncated, gamma, gae_lambda):
    advantages = np.zeros((S, E))
    for env in range(E):
        bootstraps = iter(boundary[env])
        following = []
        for t in range(S):
            after = values[t + 1, env] if t + 1 < S else last_value[env]
            if truncated[t, env]:
                after = next(bootstraps)
            following.append(0.0 if terminated[t, env] else after)
        trace = 0.0
        for t in reversed(range(S)):
            if terminated[t, env] or truncated[t, env]:
                trace = 0.0
            trace = rewards[t, env] + gamma * following[t] - values[t, env] + gamma * gae_lambda * trace
            advantages[t, env] = trace
    return advantages


def draw(seed, p_terminated, p_truncated):
    rng = np.random.default_rng(seed)
    kind = rng.random((S, E))
    floats = {"rewards": (S, E, K), "values": (S, E, K), "last_value": (E, K), "boundary": (E, S, K)}
    return {
        **{name: rng.normal(size=shape).astype(np.float32) for name, shape in floats.items()},
        "terminated": kind < p_terminated,
        "truncated": (kind >= p_terminated) & (kind < p_terminated + p_truncated),
    }


share = st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), share, share, share, share)
@example(0, 0.0, 0.0, 0.99, 0.95)
@example(1, 1.0, 0.0, 0.99, 0.95)
@example(2, 0.0, 1.0, 0.99, 0.95)
@example(3, 0.3, 0.3, 1.0, 1.0)
@example(4, 0.3, 0.3, 0.0, 0.5)
def test_advantages_equal_a_loop_over_time(seed, p_terminated, p_truncated, gamma, gae_lambda):
    inputs = draw(seed, p_terminated, p_truncated) | {"gamma": np.float32(gamma), "gae_lambda": np.float32(gae_lambda)}
    np.testing.assert_allclose(estimate(**inputs), loop_over_time(**inputs), rtol=1e-4, atol=2e-5)


def test_a_truncation_bootstraps_and_a_termination_does_not():
    inputs = draw(0, 0, 0) | {"gamma": np.float32(0.9), "gae_lambda": np.float32(0.8)}
    inputs["terminated"][3, 0] = inputs["truncated"][3, 1] = True
    inputs["boundary"][:] = 7.0
    advantages = np.asarray(estimate(**inputs))
    rewards, values = inputs["rewards"], inputs["values"]
    np.testing.assert_allclose(advantages[3, 0], rewards[3, 0] - values[3, 0], rtol=1e-5)
    np.testing.assert_allclose(advantages[3, 1], rewards[3, 1] + 0.9 * 7.0 - values[3, 1], rtol=1e-5)


def test_both_ends_cut_the_trace():
    inputs = draw(1, 0, 0) | {"gamma": np.float32(0.9), "gae_lambda": np.float32(0.8)}
    inputs["terminated"][5, 0] = inputs["truncated"][5, 1] = True
    before = np.asarray(estimate(**inputs))
    inputs["rewards"][6:] += 10
    after = np.asarray(estimate(**inputs))
    np.testing.assert_array_equal(after[:6, :2], before[:6, :2])
    assert (after[:6, 2:] > before[:6, 2:]).all()


def test_each_truncation_takes_its_own_slot():
    values, last_value = np.arange(S * E * K, dtype=np.float32).reshape(S, E, K), np.full((E, K), -1, np.float32)
    boundary = 100 + np.arange(E * 3 * K, dtype=np.float32).reshape(E, 3, K)
    truncated = np.zeros((S, E), bool)
    truncated[[0, 5, S - 1], 0] = truncated[[2, 3], 1] = truncated[S - 1, 2] = True
    following = np.asarray(next_values(values, last_value, truncated, boundary))
    expected = np.concatenate([values[1:], last_value[None]])
    expected[[0, 5, S - 1], 0] = boundary[0]
    expected[[2, 3], 1] = boundary[1, :2]
    expected[S - 1, 2] = boundary[2, 0]
    np.testing.assert_array_equal(following, expected)


@pytest.mark.parametrize("ended", [False, True])
def test_a_rollout_of_one_step(ended):
    one = np.float32([[[2.0]]])
    advantage = gae(one, one, 3 * one, np.array([[ended]]), np.array([[False]]), np.float32(0.5), np.float32(0.9))
    assert float(advantage[0, 0, 0]) == (0.0 if ended else 3.0)
