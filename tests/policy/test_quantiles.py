"""Quantiles: order, loss, mean of the tail, against plain NumPy and known distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ploutos_jax.policy.quantiles import first_bias, levels, quantile_loss, tail_mean, to_quantiles

N = 64


def test_quantiles_ascend_and_begin_around_nothing():
    outputs = np.random.default_rng(0).normal(0, 3, (7, N)).astype(np.float32)
    assert (np.diff(np.asarray(to_quantiles(jnp.asarray(outputs)))) >= 0).all()
    first = np.asarray(to_quantiles(jnp.asarray(first_bias(N))))
    assert first[0] == -2 and first[-1] == pytest.approx(2 - 4 / N, abs=1e-4)


def test_the_loss_is_that_of_the_page():
    rng = np.random.default_rng(1)
    ours, targets, kappa = np.sort(rng.normal(size=5)), rng.normal(size=9), 0.5
    expected = 0.0
    for tau, quantile in zip((np.arange(5) + 0.5) / 5, ours, strict=True):
        terms = []
        for target in targets:
            u = target - quantile
            huber = u * u / 2 if abs(u) <= kappa else kappa * (abs(u) - kappa / 2)
            terms.append(abs(tau - (u < 0)) * huber / kappa)
        expected += np.mean(terms)
    assert float(quantile_loss(jnp.asarray(ours), jnp.asarray(targets), kappa)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("number", "expected"), [(32, -1.9746), (64, -2.0271), (128, -2.0458)])
def test_the_mean_of_the_worst_twentieth_of_a_normal(number, expected):
    quantiles = jnp.asarray(stats.norm.ppf(levels(number)), jnp.float32)
    assert float(tail_mean(quantiles, 0.05)) == pytest.approx(expected, abs=2e-4)
    assert float(tail_mean(quantiles, 1.0)) == pytest.approx(0, abs=1e-5)


def test_where_the_loss_is_least_there_are_the_quantiles():
    draws = jnp.asarray(np.random.default_rng(2).exponential(size=4001), jnp.float32)
    true = np.quantile(draws, levels(8))
    gradient = jax.jit(jax.grad(lambda x: quantile_loss(x, draws, 1e-4)))(jnp.asarray(true, jnp.float32))
    assert np.abs(gradient).max() < 2e-3
