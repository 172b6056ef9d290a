"""Steps saved before a field of the state was there are read; what they lack is as in the template."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from ploutos_jax.train.checkpoints.store import DamagedError, Steps


class Before(struct.PyTreeNode):
    cash: jnp.ndarray
    shares: tuple[jnp.ndarray, ...]


class Since(struct.PyTreeNode):
    cash: jnp.ndarray
    shares: tuple[jnp.ndarray, ...]
    waiting: jnp.ndarray | None = None
    rate: jnp.ndarray | None = None


class Now(struct.PyTreeNode):
    cash: jnp.ndarray
    shares: tuple[jnp.ndarray, ...]
    waiting: jnp.ndarray | None = None


def save(folder, state) -> None:
    with Steps(folder, keep=1, write=True) as steps:
        steps.save(3, {"training": {"state": state}}, {"format": 3})
        steps.wait()


def read(folder, state):
    with Steps(folder, keep=1, write=True) as steps:
        return steps.read(3, {"training": {"state": state}}, steps.read_meta(3))["training"]["state"]


@pytest.mark.parametrize("waiting", [None, jnp.full(4, -7, jnp.int8)])
def test_a_state_without_waiting_orders_is_read(tmp_path, waiting):
    cash, shares = jnp.float32(12.5), (jnp.arange(4.0), jnp.ones(2))
    save(tmp_path, Before(cash, shares))
    found = read(tmp_path, Now(jnp.zeros(()), (jnp.zeros(4), jnp.zeros(2)), waiting))
    assert isinstance(found, Now) and float(found.cash) == 12.5
    np.testing.assert_array_equal(found.shares[0], shares[0])
    assert found.waiting is None if waiting is None else (found.waiting == waiting).all()


def test_a_state_that_has_the_field_is_read_as_it_was_saved(tmp_path):
    state = Now(jnp.float32(1.0), (jnp.ones(4),), jnp.array([0, 1, 2, 0], jnp.int8))
    save(tmp_path, state)
    found = read(tmp_path, Now(jnp.zeros(()), (jnp.zeros(4),), jnp.zeros(4, jnp.int8)))
    np.testing.assert_array_equal(found.waiting, state.waiting)


@pytest.mark.parametrize("rate", [None, jnp.ones(())])
@pytest.mark.parametrize("waiting", [None, jnp.array([0, 1, 2, 0], jnp.int8)])
def test_a_state_of_either_age_is_read(tmp_path, waiting, rate):
    cash, shares = jnp.float32(12.5), (jnp.ones(4),)
    here = Since(jnp.zeros(()), (jnp.zeros(4),), None if waiting is None else jnp.zeros(4, jnp.int8), rate)
    for number, older in enumerate((Before(cash, shares), Now(cash, shares, waiting))):
        save(tmp_path / str(number), older)
        found = read(tmp_path / str(number), here)
        assert isinstance(found, Since) and float(found.cash) == 12.5
        assert found.rate is None if rate is None else float(found.rate) == 1
    assert found.waiting is None if waiting is None else (found.waiting == waiting).all()


def test_another_field_that_is_missing_is_damage(tmp_path):
    save(tmp_path, {"cash": jnp.ones(())})
    with pytest.raises(DamagedError):
        read(tmp_path, {"cash": jnp.zeros(()), "debt": jnp.zeros(())})
