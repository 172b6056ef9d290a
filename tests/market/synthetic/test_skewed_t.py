"""Shocks of the market factor against SciPy and quadrature: law, moments, and a path that foretells nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from ploutos_jax.market.synthetic import skewed_t

TAIL, SKEW = 9.0, -0.1


def hansen_density(z, tail, skew):
    """Density of Hansen (1994), equations 10 to 13."""
    c = special.gamma((tail + 1) / 2) / (np.sqrt(np.pi * (tail - 2)) * special.gamma(tail / 2))
    a = 4 * skew * c * (tail - 2) / (tail - 1)
    b = np.sqrt(1 + 3 * skew**2 - a**2)
    side = np.where(z < -a / b, 1 - skew, 1 + skew)
    return b * c * (1 + ((b * z + a) / side) ** 2 / (tail - 2)) ** (-(tail + 1) / 2)


@pytest.mark.parametrize(("tail", "skew"), [(9.0, -0.1), (5.0, 0.4), (6.0, 0.0)])
def test_mean_variance_and_lower_moment_by_quadrature(tail, skew):
    a, b = (float(x) for x in skewed_t.location_and_scale(tail, skew))
    moments = [
        integrate.quad(lambda z, k=k: z**k * hansen_density(z, tail, skew), -np.inf, np.inf, limit=200)[0]
        for k in range(3)
    ]
    np.testing.assert_allclose(moments, [1, 0, 1], atol=2e-3)
    assert a**2 + b**2 == pytest.approx(1 + 3 * skew**2, rel=1e-5)
    below = integrate.quad(lambda z: z**2 * hansen_density(z, tail, skew), -np.inf, 0, limit=200)[0]
    assert float(skewed_t.lower_second_moment(tail, skew)) == pytest.approx(below, rel=1e-3)


@pytest.mark.thorough
def test_shocks_have_hansens_law():
    variance_key, normal_key = jax.random.split(jax.random.key(0))
    variance = skewed_t.draw_variance(variance_key, TAIL, (200_000,))
    normal = jax.random.normal(normal_key, variance.shape)
    a, b = skewed_t.location_and_scale(TAIL, SKEW)
    z = np.asarray((jnp.sqrt(variance) * skewed_t.stretch(normal, SKEW) - a) / b, np.float64)
    grid = np.linspace(-60, 60, 400_001)
    share = integrate.cumulative_trapezoid(hansen_density(grid, TAIL, SKEW), grid, initial=0)
    assert stats.kstest(z, lambda x: np.interp(x, grid, share)).pvalue > 1e-3
    assert z.mean() == pytest.approx(0, abs=0.01) and z.std() == pytest.approx(1, abs=0.015)


@pytest.mark.parametrize("tail", [4.5, 6.0, 9.0])
def test_a_normal_with_the_drawn_variance_is_student_t(tail):
    variance_key, normal_key = jax.random.split(jax.random.key(1))
    variance = np.asarray(skewed_t.draw_variance(variance_key, jnp.full(4, tail), (50_000, 4)), np.float64).ravel()
    assert (variance > 0).all()
    # V = (tail/2 - 1)/Gamma(tail/2) is inverse gamma.
    assert stats.kstest(variance, stats.invgamma(tail / 2, scale=tail / 2 - 1).cdf).pvalue > 1e-3
    shock = np.sqrt(variance) * np.asarray(jax.random.normal(normal_key, variance.shape))
    scale = np.sqrt((tail - 2) / tail)
    assert stats.kstest(shock, stats.t(tail, scale=scale).cdf).pvalue > 1e-3


@pytest.mark.parametrize("time", [0.25, 0.6])
def test_the_way_to_a_shock_is_a_martingale(time):
    """At every point reached, the mean of the end is where the path is."""
    reached = np.linspace(-2.5, 2.5, 11)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    ends = reached[:, None] + np.sqrt(1 - time) * nodes
    wanted = stretched_exactly(ends, SKEW) @ (weights / weights.sum())
    got = skewed_t.stretched(jnp.asarray(reached, jnp.float32), time, SKEW)
    np.testing.assert_allclose(got, wanted, atol=3e-3)
    slope = np.gradient(wanted, reached)
    np.testing.assert_allclose(skewed_t.steepness(jnp.asarray(reached, jnp.float32), time, SKEW), slope, atol=0.05)


def stretched_exactly(normal, skew):
    """Quantile of the two-sided variable at the level of a normal one, by SciPy."""
    level = stats.norm.cdf(normal)
    left = (1 - skew) * stats.norm.ppf(np.minimum(level / (1 - skew), 0.5))
    right = -(1 + skew) * stats.norm.ppf(np.minimum(stats.norm.sf(normal) / (1 + skew), 0.5))
    return np.where(level < (1 - skew) / 2, left, right)
