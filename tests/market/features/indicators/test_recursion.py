"""Recursions: both ways to scan, seeds, late listings and missing values."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.indicators import recursion


def in_order(earlier, later):
    return earlier[0] * later[0], later[0] * earlier[1] + later[1]


@pytest.mark.parametrize("num_rows", [1, 2, 3, 15, 16, 17, 50])
def test_both_ways_to_scan_agree(num_rows):
    rng = np.random.default_rng(num_rows)
    elements = {"decay": rng.uniform(0, 1, (num_rows, 3)), "x": rng.normal(size=(num_rows, 3))}
    elements = jax.tree.map(jnp.float32, elements)

    def lift(row):
        return row["decay"], 2 * row["x"]

    start = jnp.ones(3), jnp.zeros(3)
    in_turn = recursion.scan_in_turn(in_order, lift, elements, start)
    in_blocks = recursion.scan_in_blocks(in_order, lift, elements, start)
    for one, other in zip(in_turn, in_blocks, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    y = np.zeros(3)
    for t in range(num_rows):
        y = np.asarray(elements["decay"][t]) * y + 2 * np.asarray(elements["x"][t])
        np.testing.assert_allclose(in_turn[1][t], y, rtol=1e-5, atol=1e-6)


def test_scans_combine_in_order():
    """Keeping the last value is not commutative."""
    x = jnp.arange(40.0)[:, None] * jnp.ones(2)
    is_set = jnp.stack([jnp.arange(40) % 7 == 3, jnp.arange(40) == 20], axis=1)
    expected = pd.DataFrame(np.where(is_set, x, np.nan)).ffill()
    np.testing.assert_array_equal(recursion.hold(x, is_set), expected)
    in_blocks = recursion.scan_in_blocks(
        lambda earlier, later: jnp.where(later < 0, earlier, later),
        lambda row: row,
        jnp.where(is_set, x, -1),
        jnp.full(2, -1.0),
    )
    np.testing.assert_array_equal(in_blocks, expected.fillna(-1))


def test_a_decay_of_zero_starts_anew():
    x, starts = jnp.ones((12, 1)), jnp.arange(12)[:, None] % 5 == 0
    total = recursion.decaying_sum(x, jnp.where(starts, 0.0, 1.0))
    np.testing.assert_array_equal(total[:, 0], [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2])


@pytest.mark.parametrize("smooth", [recursion.ema, recursion.wilder, partial(recursion.ema, seed_bars=1)])
def test_a_late_listing_starts_its_own_recursion(smooth):
    x = 50 + np.cumsum(np.random.default_rng(0).normal(size=(80, 2)), axis=0).astype(np.float32)
    late = x.copy()
    late[:, 1] = np.concatenate([np.full(23, np.nan), x[:-23, 1]])
    run = jax.jit(partial(smooth, window=10))
    values, shifted = np.asarray(run(x)), np.asarray(run(late))
    np.testing.assert_array_equal(shifted[:, 0], values[:, 0])
    np.testing.assert_allclose(shifted[23:, 1], values[:-23, 1], rtol=1e-6)
    assert np.isnan(shifted[: 23 + 9, 1]).all()
    assert np.isfinite(shifted[23 + 9 :, 1]).all()


@pytest.mark.parametrize("smooth", [recursion.ema, recursion.wilder])
def test_a_missing_value_ends_its_asset_alone(smooth):
    x = np.random.default_rng(0).uniform(1, 2, (60, 3)).astype(np.float32)
    holed = x.copy()
    holed[30, 1], holed[:, 2] = np.nan, np.nan
    values, whole = np.asarray(smooth(jnp.asarray(holed), 10)), np.asarray(smooth(jnp.asarray(x), 10))
    np.testing.assert_array_equal(values[:, 0], whole[:, 0])
    np.testing.assert_array_equal(values[:30, 1], whole[:30, 1])
    assert np.isnan(values[30:, 1]).all()
    assert np.isnan(values[:, 2]).all()


def test_an_average_begun_with_the_first_value():
    x = np.random.default_rng(3).uniform(1, 2, (90, 1)).astype(np.float32)
    truth = pd.DataFrame(x.astype(float)).ewm(span=20, min_periods=20, adjust=False).mean()
    np.testing.assert_allclose(recursion.ema(jnp.asarray(x), 20, seed_bars=1), truth, rtol=1e-6)


def test_the_change_of_an_average():
    x = np.cumsum(np.random.default_rng(4).normal(size=(60, 1)), axis=0)
    offset = recursion.ema_offset(jnp.asarray(x, jnp.float32), 10)
    change = recursion.ema_change(offset, 10)
    np.testing.assert_allclose(change[10:], np.diff(x + np.asarray(offset), axis=0)[9:], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("function", [recursion.ema, recursion.wilder])
def test_a_window_without_bars_is_an_error(function):
    with pytest.raises(ValueError, match="at least 1 bar; got 0"):
        function(jnp.ones((5, 1)), 0)
