"""Size and initialisation of the network, and the checks of its configuration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.policy.actor_critic import ActorCritic, PolicyConfig

F, K, G = 6, 3, 4


def make_model(torso, num_assets, hidden=(16, 16)):
    inputs = (
        jnp.zeros((1, num_assets, F)),
        jnp.ones((1, num_assets), bool),
        jnp.zeros((1, num_assets, K)),
        jnp.zeros((1, G)),
    )
    return ActorCritic(PolicyConfig(torso=torso, hidden=hidden, width=8), num_assets, 3), inputs


@functools.cache
def fresh_params(torso):
    model, inputs = make_model(torso, 4)
    return model, jax.jit(model.init)(jax.random.key(0), *inputs)


def count_params(torso, num_assets):
    model, inputs = make_model(torso, num_assets)
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), *inputs)))


def test_parameters_of_the_shared_torso_do_not_grow_with_the_assets():
    assert count_params("shared", 2) == count_params("shared", 50)


def test_parameters_of_the_flat_torso_grow_with_the_assets():
    assert count_params("flat", 5) - count_params("flat", 2) == 3 * (2 * 16 * (F + K) + 17 * 4)


@pytest.mark.parametrize("torso", ["shared", "flat"])
def test_layers_start_orthogonal_with_their_gain_and_no_bias(torso):
    params = fresh_params(torso)[1]["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        name, x = jax.tree_util.keystr(path), np.asarray(leaf, np.float64)
        if "bias" in name:
            assert (x == 0).all(), name
            continue
        gain = 0.01 if "actor_head" in name else 1.0 if "critic_head" in name else 2**0.5
        gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-5 * gain**2, err_msg=name)


@pytest.mark.parametrize("torso", ["shared", "flat"])
def test_a_fresh_policy_is_nearly_indifferent(torso):
    model, params = fresh_params(torso)
    rng = np.random.default_rng(0)
    features, assets, account = (
        jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((50, 4, F), (50, 4, K), (50, G))
    )
    outputs, value = model.apply(params, features, jnp.ones((50, 4), bool), assets, account)
    assert np.abs(outputs).max() < 0.1
    assert 0.05 < np.asarray(value).std() < 10


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"torso": "lstm"}, r"torso='lstm' .* 'shared' or 'flat'"),
        ({"hidden": ()}, r"hidden=\(\) .* at least 1"),
        ({"hidden": (64, 0)}, r"hidden=\(64, 0\) .* at least 1"),
        ({"width": 0}, r"width=0 .* at least 1"),
    ],
)
def test_a_wrong_shape_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        PolicyConfig(**changes)


def test_widths_may_be_given_as_a_list():
    config = PolicyConfig(hidden=[8, 4])  # type: ignore[arg-type]
    assert config == PolicyConfig(hidden=(8, 4)) and hash(config) == hash(PolicyConfig(hidden=(8, 4)))


@pytest.mark.parametrize("torso", ["shared", "flat"])
def test_a_single_hidden_layer_works(torso):
    model, inputs = make_model(torso, 2, hidden=(8,))
    shapes = jax.eval_shape(lambda *x: model.init_with_output(jax.random.key(0), *x)[0], *inputs)
    assert [x.shape for x in shapes] == [(1, 2, 3), (1, 2)]
