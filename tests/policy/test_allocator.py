"""The mix of experts: equal parts until something is learned, shares that are the row's own, one way of all markets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.network import Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.policy.actor_critic import ActorCritic, PolicyConfig
from ploutos_jax.policy.allocator import START, Allocator

ROWS, ASSETS, EXPERTS, FEATURES = 7, 5, 3, 4


def inputs(seed: int = 0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, ASSETS, FEATURES)).astype(np.float32)
    experts = rng.dirichlet(np.ones(ASSETS), size=(ROWS, EXPERTS)).transpose(0, 2, 1).astype(np.float32)
    mask = rng.random((ROWS, ASSETS)) > 0.3
    mask[0] = True
    return jnp.asarray(features), jnp.asarray(experts), jnp.asarray(mask)


def mixed(params, features, experts, mask):
    allocator = Allocator(EXPERTS)
    shares = allocator.apply(params, features, mask)
    return np.asarray(shares), np.asarray(allocator.mix(shares, experts, mask))


def test_untrained_it_is_equal_weight_to_a_fiftieth():
    features, experts, mask = inputs()
    params = Allocator(EXPERTS).init(jax.random.key(0), features, mask)
    shares, weights = mixed(params, features, experts, mask)
    np.testing.assert_allclose(shares[:, 0], START, rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    equal = np.asarray(mask) / np.asarray(mask).sum(axis=1, keepdims=True)
    assert np.abs(weights - equal).sum(axis=1).max() < 2 * (1 - START)


def test_shares_and_weights_are_those_of_numpy():
    features, experts, mask = inputs(1)
    params = Allocator(EXPERTS).init(jax.random.key(0), features, mask)
    rng = np.random.default_rng(2)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(scale=0.3, size=x.shape), x.dtype), params)
    shares, weights = mixed(params, features, experts, mask)
    dense = params["params"]["Dense_0"]
    for row in range(ROWS):
        on = np.flatnonzero(np.asarray(mask)[row])
        x = np.asarray(features, np.float64)[row, on]
        summary = np.concatenate([x.mean(axis=0), x.std(axis=0)])
        logits = 6 * (summary @ np.asarray(dense["kernel"], np.float64) + np.asarray(dense["bias"], np.float64))
        logits[0] += np.log(START / ((1 - START) / (EXPERTS + 1)))
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        np.testing.assert_allclose(shares[row], expected, rtol=2e-4, atol=1e-7)
        target = np.asarray(experts, np.float64)[row] @ expected[1:-1]
        target[on] += expected[0] / len(on)
        np.testing.assert_allclose(weights[row], target, rtol=2e-4, atol=1e-7)


@pytest.mark.thorough
def test_gradients_are_finite_where_assets_do_not_differ_and_where_none_trades():
    features, experts, mask = inputs(3)
    features, mask = features.at[1].set(1.0), mask.at[2].set(False)
    params = Allocator(EXPERTS).init(jax.random.key(0), features, mask)

    def loss(params, features):
        allocator = Allocator(EXPERTS)
        return jnp.square(allocator.mix(allocator.apply(params, features, mask), experts, mask)).sum()

    for gradient in jax.grad(loss, argnums=(0, 1))(params, features):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.thorough
@pytest.mark.parametrize("forecast", ["none", "add", "only"])
def test_the_torso_is_given_no_weights_of_experts(forecast):
    """Other weights of experts move the middle of bands alone; what the torso makes of the rest stays."""
    features, experts, mask = inputs(4)
    model = ActorCritic(PolicyConfig(hidden=(8,), width=4, forecast=forecast), ASSETS, 4, cap=0.4, num_experts=EXPERTS)
    told = () if forecast == "none" else (features[..., :1],)
    columns = jnp.concatenate([experts, features, *told], axis=-1)
    assert columns.shape[-1] == model.num_inputs(EXPERTS + FEATURES)
    params = model.init(jax.random.key(0), columns[:1], mask[:1], jnp.zeros((1, ASSETS, 3)), jnp.zeros((1, 2)))
    other = jnp.concatenate([experts[::-1], *(x for x in (features, *told))], axis=-1)
    one, two = (model.apply(params, x, mask, method="encode") for x in (columns, other))
    assert {name for name in one if not np.array_equal(one[name], two[name])} == {"prior"}
    shares = model.apply(params, columns, mask, method="allocation")
    assert shares.shape == (ROWS, EXPERTS + 2)


def test_experts_are_for_bands():
    with pytest.raises(ValueError, match="mixed into the middle of bands; action='discrete' has none"):
        Network.for_env(PolicyConfig(), EnvConfig(), 5, 2**20, ("expert_momentum", "return_1"))
    network = Network.for_env(PolicyConfig(), EnvConfig(action="bands"), 5, 2**20, ("expert_a", "expert_b", "known"))
    assert network.model.num_experts == 2
