"""Which orders come first, against a sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.broker.ranking import largest_first


def sorted_first(candidates: np.ndarray, value: np.ndarray, adv: np.ndarray | None, allowed: int) -> np.ndarray:
    """Return what `largest_first` returns, by sorting."""
    adv = np.zeros(len(value)) if adv is None else adv
    order = sorted(np.flatnonzero(candidates), key=lambda place: (-value[place], -adv[place], place))
    kept = np.zeros(len(value), bool)
    kept[order[: max(allowed, 0)]] = True
    return kept


@pytest.mark.parametrize(("num_assets", "most"), [(1, 1), (6, 3), (6, 20), (40, 3), (40, 12)])
@pytest.mark.parametrize("knows_volume", [True, False])
def test_the_first_are_those_that_a_sort_puts_first(num_assets: int, most: int, knows_volume: bool):
    rng = np.random.default_rng(num_assets + most)
    draws = 200
    # Few values, so that many are equal; some are 0 or infinite.
    value = rng.choice([0.0, 1.0, 2.0, np.inf], (draws, num_assets)) * rng.integers(1, 4, (draws, num_assets))
    adv = rng.integers(0, 3, (draws, num_assets)).astype(float)
    candidates = rng.random((draws, num_assets)) < rng.random((draws, 1))
    allowed = rng.integers(-2, most + 1, draws)

    def keep(candidates: jax.Array, value: jax.Array, adv: jax.Array, allowed: jax.Array) -> jax.Array:
        return largest_first(candidates, value, adv if knows_volume else None, allowed, most)

    kept = jax.jit(jax.vmap(keep))(candidates, value, adv, allowed)
    for i in range(draws):
        expected = sorted_first(candidates[i], value[i], adv[i] if knows_volume else None, allowed[i])
        np.testing.assert_array_equal(kept[i], expected)


def test_nothing_is_kept_where_nothing_is_allowed_or_asked_for():
    some, value = jnp.array([True, False, True]), jnp.array([1.0, 9.0, 2.0])
    assert largest_first(some, value, None, jnp.int32(0), 3).tolist() == [False] * 3
    assert largest_first(some, value, None, jnp.int32(-5), 3).tolist() == [False] * 3
    assert largest_first(~some & some, value, None, jnp.int32(3), 3).tolist() == [False] * 3
    assert largest_first(some, value, None, jnp.int32(1), 3).tolist() == [False, False, True]


def test_precedence_has_no_slope():
    def kept_value(value: jax.Array) -> jax.Array:
        kept = largest_first(jnp.ones(3, bool), value, None, jnp.int32(2), 3)
        return jnp.where(kept, value, 0).sum()

    assert jax.grad(kept_value)(jnp.array([1.0, 3.0, 2.0])).tolist() == [0, 1, 1]
