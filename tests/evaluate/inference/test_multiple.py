"""Family-wise p-values against a definition written out, and what a family of true nulls is called."""

import numpy as np
import pytest

from ploutos_jax.evaluate.inference.multiple import adjust_family, holm
from ploutos_jax.evaluate.inference.sharpe import sharpe_difference
from ploutos_jax.evaluate.report.verdict import is_ahead


@pytest.mark.parametrize("size", [1, 2, 7, 12])
def test_holm_by_its_definition(size: int):
    p = np.random.default_rng(size).uniform(0, 0.2, size)
    adjusted = holm(p)
    for alpha in np.linspace(0.001, 0.999, 200):
        # Step down: reject the smallest while it lies below alpha over the number of tests that are left.
        order, rejected = np.argsort(p), set()
        for place, i in enumerate(order):
            if p[i] >= alpha / (size - place):
                break
            rejected.add(int(i))
        assert rejected == set(np.flatnonzero(adjusted < alpha).tolist())


def test_what_is_no_test_is_not_counted():
    np.testing.assert_allclose(holm(np.array([0.02, np.nan, 0.01])), [0.02, np.nan, 0.02])
    assert holm(np.zeros(0)).shape == (0,)
    family = adjust_family({"a": {"p_value": 0.03, "difference": 1.0}, "b": {"p_value": 0.04, "difference": 1.0}})
    assert [test["p_value_adjusted"] for test in family.values()] == [0.06, 0.06]
    assert not any(map(is_ahead, family.values()))


@pytest.mark.thorough
@pytest.mark.parametrize(("days", "rivals", "correlation"), [(90, 5, 0.3), (120, 9, 0.9)])
def test_equal_rivals_are_seldom_called_beaten(days: int, rivals: int, correlation: float):
    rng, named, draws = np.random.default_rng(5), 0, 60
    for draw in range(draws):
        own, common = rng.standard_normal((days, rivals + 1)), rng.standard_normal((days, 1))
        returns = 0.01 * (np.sqrt(1 - correlation) * own + np.sqrt(correlation) * common)
        tests = {
            str(j): sharpe_difference(returns[:, 0], returns[:, j], resamples=399, seed=draw)._asdict()
            for j in range(1, rivals + 1)
        }
        named += any(map(is_ahead, adjust_family(tests).values()))
    assert named <= 0.1 * draws
