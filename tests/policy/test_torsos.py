"""The two stages against one dense network written in NumPy, and the symmetries of the shared torso."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.policy.actor_critic import ActorCritic, PolicyConfig
from ploutos_jax.policy.layers import masked_mean

A, F, K, G, N = 5, 4, 3, 4, 6


def make_model(torso, credit="joint", num_assets=A, num_outputs=3, hidden=(16, 8), precision="float32"):
    config = PolicyConfig(torso=torso, hidden=hidden, width=8, credit=credit, precision=precision)
    model = ActorCritic(config, num_assets, num_outputs)
    shapes = jax.eval_shape(model.init, jax.random.key(1), *make_inputs(num_assets, 1))
    # Fresh biases are 0 and the actor's head is tiny: random numbers everywhere test more.
    rng = np.random.default_rng(2)
    return model, jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), x.dtype), shapes)


def make_inputs(num_assets=A, num_samples=N, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((num_samples, num_assets)) < 0.7
    mask[:, 0] = True
    features = rng.normal(size=(num_samples, num_assets, F)) * mask[..., None]
    assets, account = rng.normal(size=(num_samples, num_assets, K)), rng.normal(size=(num_samples, G))
    return tuple(jnp.asarray(x, x.dtype if x.dtype == bool else np.float32) for x in (features, mask, assets, account))


def two_stages(model, params, features, mask, assets, account):
    row = model.apply(params, features, mask, method="encode")
    return model.apply(params, row, mask, assets, account, method="act")


def unsplit_dense_network(params, features, assets, account, num_outputs):
    """Run one dense network per head on `[market; assets; account]`, in float64, with the weights joined."""
    weights = jax.tree.map(lambda x: np.asarray(x, np.float64), params)["params"]
    torso = weights["torso"]
    inputs = np.concatenate([features.reshape(N, -1), assets.reshape(N, -1), account], axis=-1).astype(np.float64)
    outputs = {}
    for name in ("actor", "critic"):
        market, own = torso[f"market_in_{name}"], torso[f"account_in_{name}"]
        joined = np.vstack([market["kernel"], own["kernel"]])
        assert joined.shape == (A * F + A * K + G, 16)
        hidden = np.tanh(inputs @ joined + market["bias"])
        second = torso[f"layers_{name}_0"]
        hidden = np.tanh(hidden @ second["kernel"] + second["bias"])
        head = weights[f"{name}_head"]
        outputs[name] = hidden @ head["kernel"] + head["bias"]
    return outputs["actor"].reshape(N, A, num_outputs), outputs["critic"]


@pytest.mark.parametrize(("x64", "tolerance"), [(False, 1e-5), (True, 1e-10)])
def test_flat_torso_is_one_dense_network_over_the_whole_observation(x64, tolerance):
    model, params = make_model("flat")
    inputs = make_inputs()
    with jax.enable_x64(x64):
        dtype = np.float64 if x64 else np.float32
        cast = lambda x: x if x.dtype == bool else jnp.asarray(np.asarray(x), dtype)  # noqa: E731
        params, inputs = jax.tree.map(cast, params), jax.tree.map(cast, inputs)
        outputs, value = two_stages(model, params, *inputs)
        assert outputs.dtype == value.dtype == dtype
        features, _, assets, account = (np.asarray(x) for x in inputs)
        expected, expected_value = unsplit_dense_network(params, features, assets, account, 3)
    np.testing.assert_allclose(outputs, expected, atol=tolerance * np.abs(expected).max())
    np.testing.assert_allclose(value, expected_value, atol=tolerance * np.abs(expected_value).max())


@pytest.mark.parametrize(("credit", "num_values"), [("joint", 1), ("per_asset", A)])
@pytest.mark.parametrize("torso", ["flat", "shared"])
def test_call_joins_the_two_stages(torso, credit, num_values):
    model, params = make_model(torso, credit)
    inputs = make_inputs()
    joined = model.apply(params, *inputs)
    np.testing.assert_allclose(joined[0], two_stages(model, params, *inputs)[0], rtol=1e-6)
    assert joined[0].shape == (N, A, 3) and joined[1].shape == (N, num_values)
    np.testing.assert_allclose(joined[1], two_stages(model, params, *inputs)[1], rtol=1e-6)


@pytest.mark.parametrize("credit", ["joint", "per_asset"])
@pytest.mark.parametrize("torso", ["flat", "shared"])
def test_rows_do_not_mix(torso, credit):
    model, params = make_model(torso, credit)
    features, mask, assets, account = make_inputs()
    table = model.apply(params, features, mask, method="encode")
    changed = model.apply(params, features.at[2].add(1.0), mask, method="encode")
    for name in table:
        same = np.isclose(table[name], changed[name], rtol=0, atol=1e-6).reshape(N, -1).all(axis=-1)
        np.testing.assert_array_equal(same, np.arange(N) != 2)
    outputs, value = model.apply(params, table, mask, assets, account, method="act")
    moved, moved_value = model.apply(params, table, mask, assets.at[3].add(1.0), account, method="act")
    np.testing.assert_array_equal(np.abs(outputs - moved).max((1, 2)) > 1e-5, np.arange(N) == 3)
    np.testing.assert_array_equal(np.abs(value - moved_value).max(1) > 1e-5, np.arange(N) == 3)


@pytest.mark.parametrize("credit", ["joint", "per_asset"])
def test_shared_torso_follows_a_permutation_of_assets(credit):
    model, params = make_model("shared", credit)
    features, mask, assets, account = make_inputs()
    order = np.array([3, 0, 4, 2, 1])
    outputs, value = two_stages(model, params, features, mask, assets, account)
    permuted, permuted_value = two_stages(model, params, features[:, order], mask[:, order], assets[:, order], account)
    np.testing.assert_allclose(permuted, outputs[:, order], atol=1e-5)
    np.testing.assert_allclose(permuted_value, value[:, order] if credit == "per_asset" else value, atol=1e-5)
    assert np.abs(outputs - outputs[:, order]).max() > 0.01, "assets should differ, or the test shows nothing"


def test_shared_torso_hides_untradable_assets_from_the_others():
    model, params = make_model("shared")
    features, mask, assets, account = make_inputs()
    assert not mask.all()
    hidden = ~mask[..., None]
    outputs, value = two_stages(model, params, features, mask, assets, account)
    other, other_value = two_stages(
        model, params, jnp.where(hidden, 9.0, features), mask, jnp.where(hidden, 9.0, assets), account
    )
    np.testing.assert_allclose(np.asarray(other)[mask], np.asarray(outputs)[mask], atol=1e-5)
    np.testing.assert_allclose(other_value, value, atol=1e-5)


def test_shared_torso_sees_the_cross_section():
    model, params = make_model("shared")
    features, mask, assets, account = make_inputs()
    outputs, _ = two_stages(model, params, features, mask, assets, account)
    moved, _ = two_stages(model, params, features.at[:, 0].add(1.0), mask, assets, account)
    assert (np.abs(outputs - moved)[:, 1:].max((1, 2)) > 1e-4).all()


def test_masked_mean():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    mask = jnp.array([[True, False, True], [False, False, False]])
    np.testing.assert_allclose(masked_mean(x, mask), [[2.0, 3.0], [0.0, 0.0]])


@pytest.mark.thorough
@pytest.mark.parametrize("torso", ["flat", "shared"])
def test_bfloat16_is_for_products_of_the_torso_only(torso):
    inputs = make_inputs()
    exact, params = make_model(torso, "per_asset")
    rough, same_params = make_model(torso, "per_asset", precision="bfloat16")
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, same_params))
    for found, expected in zip(two_stages(rough, params, *inputs), two_stages(exact, params, *inputs), strict=True):
        assert found.dtype == jnp.float32
        difference = np.abs(found - expected).max() / np.abs(expected).max()
        assert 1e-5 < difference < 0.03

    def loss(params):
        outputs, values = two_stages(rough, params, *inputs)
        return outputs.sum() + values.sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params).jaxpr
    products = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
    in_float32 = [e for e in products if all(x.aval.dtype == jnp.float32 for x in e.invars)]
    assert len(products) > 3 * len(in_float32) > 0
    assert all(e.invars[0].aval.dtype == e.invars[1].aval.dtype for e in products), "a mixed product would be slow"
    gradients = jax.grad(loss)(params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradients))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision='float16' is unknown; use 'float32' or 'bfloat16'"):
        PolicyConfig(precision="float16")  # type: ignore[arg-type]
