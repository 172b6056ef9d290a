"""Derivatives of a rollout against central differences of one that is stepped through by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.marks import thorough_but
from tests.train.pathwise.cases import EPISODE, NUM_ASSETS, NUM_ENVS, NUM_STEPS, differentiated, judged, replayed, world

STEP = 1e-6


@pytest.fixture(autouse=True)
def in_double_precision():
    with jax.enable_x64(True):
        yield


def difference(step: int, of_weight: bool, way: np.ndarray, gamma: float, trace: float, worth: np.ndarray):
    """Return by how much J of a step `[E]` changes along a way of that step's outputs or weights alone."""
    values = []
    for sign in (1, -1):
        more = np.zeros((NUM_STEPS, NUM_ENVS, NUM_ASSETS, 4))
        shifted = np.zeros((NUM_STEPS, NUM_ENVS, NUM_ASSETS))
        (shifted if of_weight else more)[step] = sign * STEP * way
        values.append(judged(replayed()(jnp.asarray(more), jnp.asarray(shifted)), worth, gamma, trace)[step])
    return (values[0] - values[1]) / (2 * STEP)


pytestmark = pytest.mark.thorough


@pytest.mark.parametrize("of_weight", [False, True], ids=["outputs", "weights"])
@pytest.mark.parametrize("trace", thorough_but([0.7], [1.0, 0.7]))
def test_each_decision_is_judged_by_its_own_discounted_future(of_weight: bool, trace: float):
    gamma, worth = 0.9, np.asarray(world()[3])
    found = differentiated(gamma=gamma, trace=trace)
    slope = found.worth if of_weight else found.pull
    rng = np.random.default_rng(0)
    assert found.truncated.any(), "an episode is to end inside"
    for step in (0, 3, EPISODE, NUM_STEPS - 1):
        way = rng.normal(size=slope.shape[1:])
        expected = difference(step, of_weight, way, gamma, trace, worth)
        by_autodiff = (slope[step] * way).reshape(NUM_ENVS, -1).sum(axis=1)
        assert np.abs(expected).max() > 1e-5
        np.testing.assert_allclose(by_autodiff, expected, rtol=1e-5, atol=1e-8)


def test_nothing_reaches_back_over_the_end_of_an_episode():
    """With no beliefs, what a decision does to rewards of later episodes is nothing: bars there are other accounts'."""
    found = differentiated(gamma=1.0, trace=1.0, believes=False)
    seen = replayed()(jnp.zeros((NUM_STEPS, NUM_ENVS, NUM_ASSETS, 4)), jnp.zeros((NUM_STEPS, NUM_ENVS, NUM_ASSETS)))
    np.testing.assert_array_equal(seen["t"], found.observation.t)
    np.testing.assert_array_equal(seen["truncated"], found.truncated)
    for env in range(NUM_ENVS):
        for end in np.flatnonzero(found.truncated[:, env]):
            way = np.random.default_rng(1).normal(size=found.pull.shape[1:])
            own = judged(seen, np.zeros((60, NUM_ASSETS)), 1.0, 1.0)[end, env]
            assert own == pytest.approx(seen["reward"][end, env])
            expected = difference(end, False, way, 1.0, 1.0, np.zeros((60, NUM_ASSETS)))[env]
            assert (found.pull[end, env] * way[env]).sum() == pytest.approx(expected, rel=1e-5, abs=1e-9)
