"""Attention over bars and among assets, against what the formula says, one asset, bar and head after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.policy.attending import attend, hide
from ploutos_jax.policy.attention import HEADS, AcrossAssets, WindowedAttention
from ploutos_jax.policy.torsos import SharedTorso
from tests.marks import thorough_but
from tests.shapes import with_jax_arrays

T, A, D, L, W = 40, 3, 8, 2, 6
MODEL = WindowedAttention(width=D, layers=L, window=W)
run = jax.jit(with_jax_arrays(MODEL.apply))


def blank():
    return np.zeros((L, A, MODEL.kept()), np.float32)


@pytest.fixture(scope="module")
def world():
    """Parameters with numbers of their own, features, which assets have bars, and where paths start."""
    rng = np.random.default_rng(5)
    features, mask = rng.normal(size=(T, A, 4)).astype(np.float32), rng.random((T, A)) > 0.3
    reset = np.zeros(T, bool)
    reset[[0, 17]] = True
    params = with_jax_arrays(MODEL.init)(jax.random.key(0), features, mask, reset, blank())
    params = jax.tree.map(lambda x: x + 0.2 * rng.normal(size=x.shape).astype(np.float32), params)
    return params, features, mask, reset


def by_hand(params, features, mask, reset):
    """What is made of every row, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])

    def layer(name, x):
        return x @ p[name]["kernel"] + p[name].get("bias", 0.0)

    def norm(name, x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * p[name]["scale"] + p[name]["bias"]

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    size = D // HEADS
    start = np.maximum.accumulate(np.where(reset, np.arange(len(reset)), 0))
    x = layer("entry", features.astype(np.float64))
    for number in range(L):
        normed = np.array([[norm(f"norms_{number}", x[t, a]) for a in range(A)] for t in range(len(x))])
        after = x.copy()
        for t, a, head in np.ndindex(len(x), A, HEADS):
            part = slice(head * size, (head + 1) * size)
            keys = [s for s in range(max(start[t], t - W + 1), t + 1) if mask[s, a] or s == t]
            told = [layer(f"told_{number}", normed[s, a]) for s in keys]
            asked = layer(f"asked_{number}", normed[t, a])[part]
            slope = 2.0 ** (-8 * (head + 1) / HEADS)
            added = [8 * p[f"distances_{number}"][head, t - s] - slope * (t - s) for s in keys]
            logits = [asked @ k[:D][part] / np.sqrt(size) + x for k, x in zip(told, added, strict=True)]
            found = scipy.special.softmax(logits) @ np.array([k[D:][part] for k in told])
            after[t, a] += found @ p[f"joined_{number}"]["kernel"][part] + p[f"joined_{number}"]["bias"] / HEADS
        for t, a in np.ndindex(len(x), A):
            wide = gelu(layer(f"wide_{number}", norm(f"middle_norms_{number}", after[t, a])))
            after[t, a] += layer(f"narrow_{number}", wide)
        x = after
    return x


def test_the_gradient_of_the_product_is_that_of_its_formula():
    rng = np.random.default_rng(3)
    blocks, queries, keys, size = 2, 3, 5, 2
    of_queries, of_keys = (blocks, queries, A, HEADS, size), (blocks, keys, A, HEADS, size)
    shapes = of_queries, of_keys, of_keys, (HEADS, queries, keys)
    visible = rng.random((blocks, A, queries, keys)) > 0.4
    visible[..., 2] = True
    with jax.enable_x64(True):
        given = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
        pull = jnp.asarray(rng.normal(size=of_queries))

        def plain(asked, keys, values, added):
            logits = jnp.einsum("nqahd,nkahd->nahqk", asked, keys) / size**0.5 + added
            weights = jax.nn.softmax(jnp.where(visible[:, :, None], logits, -jnp.inf), axis=-1)
            return jnp.einsum("nahqk,nkahd->nqahd", weights, values)

        own = jax.vjp(lambda *x: attend(*x, hide(jnp.asarray(visible))), *given)
        expected = jax.vjp(plain, *given)
        np.testing.assert_allclose(own[0], expected[0], rtol=1e-10)
        for one, other in zip(own[1](pull), expected[1](pull), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("num_rows", thorough_but([W, 3], [T, W, 3]))
def test_it_is_what_its_formula_says(world, num_rows):
    params, *rows = world
    rows = [x[:num_rows] for x in rows]
    np.testing.assert_allclose(run(params, *rows, blank())[0], by_hand(params, *rows), rtol=2e-4, atol=2e-5)


OTHER_BLOCKS = [(6, 2, 2), (6, 3, 3), (7, 6, 7), (64, 32, 32)]


@pytest.mark.parametrize(
    ("window", "most", "block"), [(6, 4, 3), *(pytest.param(*x, marks=pytest.mark.thorough) for x in OTHER_BLOCKS)]
)
def test_blocks_of_any_size_are_the_same(world, window, most, block):
    params, *rows = world
    rng = np.random.default_rng(7)
    learnt = {f"distances_{layer}": rng.normal(size=(HEADS, window)).astype(np.float32) for layer in range(L)}
    params = {"params": params["params"] | learnt}
    one, other = (WindowedAttention(width=D, layers=L, window=window, most=x) for x in (most, 1000))
    assert one._block == block and other._block == window
    state = np.zeros((L, A, one.kept()), np.float32)
    first, second = (with_jax_arrays(model.apply)(params, *rows, state) for model in (one, other))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), first, second)


@pytest.mark.parametrize("cut", thorough_but([4, W], [1, 4, W - 1, W, 20, 33]))
def test_in_two_parts_it_is_the_whole(world, cut):
    params, *rows = world
    whole, last = run(params, *rows, blank())
    first, state = run(params, *(x[:cut] for x in rows), blank())
    second, after = run(params, *(x[cut:] for x in rows), state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after, last, rtol=1e-4, atol=1e-5)


def test_bar_after_bar_it_is_the_whole(world):
    params, *rows = world
    whole, state, found = run(params, *rows, blank())[0], blank(), []
    for t in range(T):
        row, state = run(params, *(x[t : t + 1] for x in rows), state)
        found.append(row)
    np.testing.assert_allclose(np.concatenate(found), whole, rtol=1e-4, atol=1e-5)


def test_rows_that_fill_up_leave_the_state_as_it_is(world):
    params, *rows = world
    _, last = run(params, *(x[:25] for x in rows), blank())
    filled = [np.concatenate([x[:25], x[25:33]]) for x in rows]
    filled[1][25:] = False
    filled[2][25:] = False
    _, state = run(params, *filled, blank(), np.arange(33) < 25)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-6)


def test_later_rows_change_no_earlier_one_and_those_out_of_reach_no_later_one(world):
    params, features, mask, reset = world
    changed = features.copy()
    changed[25:] += 3
    before, after = (run(params, x, mask, reset, blank())[0] for x in (features, changed))
    np.testing.assert_array_equal(before[:25], after[:25])
    assert (np.abs(before[25:] - after[25:]).max(axis=(1, 2)) > 1e-4).all()
    first = features.copy()
    first[17] += 3  # the first bar of its path
    moved = np.abs(run(params, first, mask, reset, blank())[0] - before).max(axis=2)
    assert moved[:17].max() == 0 and moved[17 + L * (W - 1) + 1 :].max() == 0
    assert moved[17].min() > 1e-3


def test_a_path_knows_nothing_of_the_one_before_nor_an_asset_of_another(world):
    params, features, mask, reset = world
    other = features.copy()
    other[:17] -= 2
    np.testing.assert_array_equal(
        run(params, other, mask, reset, blank())[0][17:], run(params, features, mask, reset, blank())[0][17:]
    )
    noise = np.random.default_rng(1).normal(size=blank().shape).astype(np.float32)
    np.testing.assert_array_equal(
        run(params, features, mask, reset, noise)[0], run(params, features, mask, reset, blank())[0]
    )
    other = features.copy()
    other[:, 1] += 1
    moved = np.abs(run(params, other, mask, reset, blank())[0] - run(params, features, mask, reset, blank())[0])
    assert moved[:, [0, 2]].max() == 0 and moved[:, 1].min() > 0


@pytest.mark.thorough
def test_gradients_are_those_of_finite_differences(world):
    params, features, mask, reset = world
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(T, A, D))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        rows = [jnp.asarray(x) for x in (features.astype(np.float64), mask, reset, blank().astype(np.float64))]

        def loss(params):
            return (weight * MODEL.apply(params, *rows)[0]).sum()

        way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), wide)
        slope = sum((g * w).sum() for g, w in zip(*map(jax.tree.leaves, (jax.grad(loss)(wide), way)), strict=True))
        moved = [jax.jit(loss)(jax.tree.map(lambda x, w, s=s: x + s * w, wide, way)) for s in (1e-6, -1e-6)]
    assert float(slope) == pytest.approx(float(moved[0] - moved[1]) / 2e-6, rel=1e-5)


# --- among assets


def test_what_an_asset_learns_of_the_others_is_the_formula_and_not_their_order():
    rng = np.random.default_rng(3)
    x, mask = rng.normal(size=(5, 6, D)).astype(np.float32), rng.random((5, 6)) > 0.3
    mask[0] = False
    model = AcrossAssets(width=7, size=5, queries=4)
    params = with_jax_arrays(model.init)(jax.random.key(0), x, mask)
    found = np.asarray(with_jax_arrays(model.apply)(params, x, mask))
    p = {name: np.asarray(v["kernel"], np.float64) for name, v in params["params"].items() if name != "asking"}
    queries = np.asarray(params["params"]["asking"], np.float64)
    for t in range(1, 5):
        keys, values, asked = np.split(x[t].astype(np.float64) @ p["of_assets"], 3, axis=-1)
        there = mask[t]
        weights = scipy.special.softmax(queries @ keys[there].T / np.sqrt(5), axis=-1)
        back_keys, back_values = np.split(weights @ values[there] @ p["of_queries"], 2, axis=-1)
        back = scipy.special.softmax(asked @ back_keys.T / np.sqrt(5), axis=-1)
        np.testing.assert_allclose(found[t], back @ back_values @ p["back"], rtol=1e-4, atol=1e-5)
    assert np.isfinite(found[0]).all()
    order = rng.permutation(6)
    again = with_jax_arrays(model.apply)(params, x[:, order], mask[:, order])
    np.testing.assert_allclose(again, found[:, order], rtol=1e-4, atol=1e-6)


def test_a_torso_that_attends_still_knows_no_asset_by_its_place():
    rng = np.random.default_rng(4)
    x, mask = rng.normal(size=(5, 6, 4)).astype(np.float32), rng.random((5, 6)) > 0.2
    torso = SharedTorso(hidden=(8, 8), width=8, values_by_asset=True, attends=True)
    account = rng.normal(size=(5, 6, 3)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)

    def both(module, x, mask, assets, account):
        return module.act(module.encode(x, mask), mask, assets, account)

    def looked(x, mask, assets, account):
        return with_jax_arrays(torso.apply)(params, x, mask, assets, account, method=both)

    params = torso.init(jax.random.key(0), *map(jnp.asarray, (x, mask, *account)), method=both)
    found, order = looked(x, mask, *account), rng.permutation(6)
    again = looked(x[:, order], mask[:, order], account[0][:, order], account[1])
    for one, other in zip(found, again, strict=True):
        np.testing.assert_allclose(other, one[:, order], rtol=1e-4, atol=1e-5)
    plain = SharedTorso(hidden=(8, 8), width=8, values_by_asset=True)
    of_plain = plain.init(jax.random.key(0), *map(jnp.asarray, (x, mask, *account)), method=both)
    assert set(params["params"]) - set(of_plain["params"]) == {"across"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"time": "attention", "time_width": 30}, "time_width=30 must be a multiple of 4 .* use 32"),
        ({"time": "attention", "time_window": 1}, "time_window=1 must be a whole number of at least 2 bars"),
        ({"time": "attention", "torso": "flat"}, "remembers each asset by itself"),
        ({"time": "transformer"}, "use 'none', 'recurrent' or 'attention'"),
        ({"across": "attention", "torso": "flat"}, "use torso='shared', or across='mean'"),
        ({"across": "all"}, "use 'mean' or 'attention'"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        PolicyConfig(**settings)


def test_the_warm_up_is_what_a_row_can_reach_back():
    assert PolicyConfig(time="attention").warm_up == 2 * 63
    assert PolicyConfig(time="attention", time_layers=3, time_window=W).warm_up == 3 * (W - 1)
