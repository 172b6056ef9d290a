"""The recurrence over time, against a loop in NumPy and finite differences; the block, bar by bar."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from ploutos_jax.policy import recurrent
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.policy.recurrent import Recurrent, linear_recurrence, lstm
from tests.shapes import with_jax_arrays

SIZES = (37, 2, 3)


def drawn(seed: int = 0, kind: str = "real") -> tuple[np.ndarray, ...]:
    """Return decays, what is added and a first state; some decays are 0 and some 1, as at starts and missing bars."""
    rng = np.random.default_rng(seed)

    def normal(*size: int) -> np.ndarray:
        return rng.normal(size=size) + (1j * rng.normal(size=size) if kind == "complex" else 0)

    decay = rng.uniform(0.2, 1, SIZES)
    if kind == "complex":
        decay = decay * np.exp(1j * rng.uniform(0, np.pi, SIZES))
    decay[rng.random(SIZES) < 0.1] = 0.0
    decay[rng.random(SIZES) < 0.1] = 1.0
    return decay, normal(*SIZES), normal(*SIZES[1:])


def loop(decay: np.ndarray, added: np.ndarray, first: np.ndarray) -> np.ndarray:
    states, state = [], first
    for a, b in zip(decay, added, strict=True):
        state = a * state + b
        states.append(state)
    return np.stack(states)


@pytest.fixture(params=["by rows", "scan"])
def way(request, monkeypatch) -> str:
    """How states are worked out: as on a CPU, or as on an accelerator."""
    monkeypatch.setattr(recurrent, "_goes_by_rows", lambda: request.param == "by rows")
    return request.param


def states(*inputs: np.ndarray) -> jax.Array:
    """Return the states by a program of its own."""
    return jax.jit(lambda *x: linear_recurrence(*x))(*inputs)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_states_are_those_of_the_loop(kind: str, way: str):
    with jax.enable_x64(True):
        inputs = drawn(0, kind)
        np.testing.assert_allclose(states(*inputs), loop(*inputs), rtol=1e-12, atol=1e-12)
    inputs = tuple(x.astype(np.float32 if kind == "real" else np.complex64) for x in drawn(1, kind))
    np.testing.assert_allclose(states(*inputs), loop(*inputs), rtol=1e-5, atol=2e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gradients_are_those_of_finite_differences(kind: str, way: str):
    rng = np.random.default_rng(3)
    weight = rng.normal(size=SIZES) + (1j * rng.normal(size=SIZES) if kind == "complex" else 0)

    def total(found):
        return (weight * found).sum().real

    with jax.enable_x64(True):
        inputs = drawn(2, kind)
        found = jax.grad(lambda *x: total(linear_recurrence(*x)), argnums=(0, 1, 2))(*map(jnp.asarray, inputs))
    for place, gradient in enumerate(found):
        for number in range(6):
            # JAX's gradient of a complex number is the derivative by its real part, less i times that by its other.
            direction = rng.normal(size=inputs[place].shape) * (1j if kind == "complex" and number % 2 else 1)
            values = []
            for step in (-1e-6, 1e-6):
                moved = list(inputs)
                moved[place] = inputs[place] + step * direction
                values.append(total(loop(*moved)))
            slope = (values[1] - values[0]) / 2e-6
            assert float((np.asarray(gradient) * direction).sum().real) == pytest.approx(slope, rel=1e-6, abs=1e-6)


MODELS = {cell: Recurrent(width=6, layers=2, cell=cell) for cell in ("mingru", "lru")}
World = tuple[dict, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@functools.cache
def program(cell: str):
    return jax.jit(with_jax_arrays(MODELS[cell].apply))


def run(*world) -> tuple[jax.Array, jax.Array]:
    return program("mingru" if "gates_0" in world[0]["params"] else "lru")(*world)


@pytest.fixture(scope="module", params=MODELS)
def world(request) -> World:
    """Return parameters with numbers of their own, features, which assets have bars, path starts and a first state."""
    model = MODELS[request.param]
    rng = np.random.default_rng(5)
    features, mask = rng.normal(size=(40, 3, 4)).astype(np.float32), rng.random((40, 3)) > 0.2
    reset = np.zeros(40, bool)
    reset[[0, 17]] = True
    state = rng.normal(size=(2, 3, model.kept())).astype(np.float32)
    params = with_jax_arrays(model.init)(jax.random.key(0), features, mask, reset, state)
    params = jax.tree.map(lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params)
    return params, features, mask, reset, state


def by_hand(params: dict, features: np.ndarray, mask: np.ndarray, reset: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Return what is made of every row, in float64, bar after bar and asset after asset."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])

    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return x @ p[name]["kernel"] + p[name]["bias"]

    out, states = np.zeros((*features.shape[:2], 6)), state.astype(np.float64).copy()
    for t in range(len(features)):
        if reset[t]:
            states[:] = 0
        for asset in range(features.shape[1]):
            x = layer("entry", features[t, asset].astype(np.float64))
            for number in range(2):
                norm = p[f"norms_{number}"]
                seen = (x - x.mean()) / np.sqrt(x.var() + 1e-6) * norm["scale"] + norm["bias"]
                if mask[t, asset] and "gates_0" not in p:
                    rate = np.exp(p[f"fading_{number}"])
                    turn = np.pi / 6 * (np.arange(6) + 0.5 + p[f"turning_{number}"])
                    real, other = np.split(layer(f"candidates_{number}", seen), 2)
                    before = states[number, asset, :6] + 1j * states[number, asset, 6:]
                    size = np.sqrt(1 - np.exp(-2 * rate))
                    after = np.exp(-rate) * (np.cos(turn) + 1j * np.sin(turn)) * before + size * (real + 1j * other)
                    states[number, asset] = np.concatenate([after.real, after.imag])
                elif mask[t, asset]:
                    z = scipy.special.expit(layer(f"gates_{number}", seen))
                    candidate = layer(f"candidates_{number}", seen)
                    states[number, asset] = (1 - z) * states[number, asset] + z * candidate
                value, gate = np.split(layer(f"outputs_{number}", states[number, asset]), 2)
                x = x + value * scipy.special.expit(gate)
            out[t, asset] = x
    return out


@pytest.mark.thorough
def test_the_block_is_what_its_formula_says(world: World):
    out, last = run(*world)
    np.testing.assert_allclose(out, by_hand(*world), rtol=2e-4, atol=2e-5)
    # The state handed on is the last one: more rows go on from it as from all rows at once.
    params, features, mask, _, _ = world
    again, _ = run(params, features, mask, np.zeros(40, bool), last)
    whole, _ = run(
        params, *(np.concatenate(x) for x in ([features] * 2, [mask] * 2, [world[3], np.zeros(40, bool)])), world[4]
    )
    np.testing.assert_allclose(again, whole[40:], rtol=1e-4, atol=1e-5)


def test_later_rows_change_no_earlier_one(world: World):
    params, features, mask, reset, state = world
    changed = features.copy()
    changed[25:] += 3
    before = run(params, features, mask, reset, state)[0]
    after = run(params, changed, np.concatenate([mask[:25], ~mask[25:]]), reset, state)[0]
    np.testing.assert_array_equal(before[:25], after[:25])
    assert (np.asarray(before[25:]) != np.asarray(after[25:])).any()


def test_an_asset_without_a_bar_keeps_its_state_and_a_path_begins_with_none(world: World):
    params, features, mask, reset, state = world
    nobody = np.zeros_like(mask)
    _, kept = run(params, features, nobody, np.zeros(40, bool), state)
    np.testing.assert_array_equal(kept, state)
    _, blank = run(params, features, nobody, reset, state)
    np.testing.assert_array_equal(blank, np.zeros_like(state))
    other = run(params, features, mask, reset, state * 5 + 1)[0]
    np.testing.assert_array_equal(other, run(params, features, mask, reset, state)[0])


@pytest.mark.thorough
def test_an_untrained_unit_forgets_half_in_its_half_life():
    model = Recurrent(width=4, layers=1)
    features, one = np.zeros((200, 1, 3), np.float32), np.ones((200, 1), bool)
    first = jax.random.key(0), features, one, np.zeros(200, bool), np.zeros((1, 1, 4), np.float32)
    params = with_jax_arrays(model.init)(*first)
    for half_life, unit in ((2, 0), (126, 3)):
        rows = features[:half_life], one[:half_life], np.zeros(half_life, bool)
        _, after = with_jax_arrays(model.apply)(params, *rows, np.ones((1, 1, 4), np.float32))
        assert float(after[0, 0, unit]) == pytest.approx(0.5, rel=0.02)


@pytest.mark.thorough
def test_units_that_turn_find_a_bar_of_long_ago():
    """What untrained units of the default size hold tells bars of 20 and of 60 bars ago from all others."""
    model, ago = Recurrent(layers=1, cell="lru"), np.arange(400)
    width = model.width
    angle = np.pi * (np.arange(width) + 0.5) / width
    unit = 2 ** (-2 / width) * np.exp(1j * angle)
    inputs = jnp.ones((1, 1, 3)), jnp.ones((1, 1), bool), jnp.ones(1, bool), jnp.zeros((1, 1, model.kept()))
    fresh = with_jax_arrays(model.init)(jax.random.key(0), *inputs)["params"]
    np.testing.assert_allclose(np.exp(-np.exp(fresh["fading_0"])), np.abs(unit), rtol=1e-5)
    assert not fresh["turning_0"].any()
    # Of a hint that is white noise, a sum of what units hold is this sum of its bars.
    held = unit ** ago[:, None]
    held = np.concatenate([held.real, held.imag], axis=1)
    target = np.isin(ago, [20, 60]).astype(float)
    sums = held @ np.linalg.lstsq(held, target, rcond=1e-3)[0]
    assert sums @ target / np.linalg.norm(sums) / np.linalg.norm(target) > 0.99
    faded = 2 ** (-ago[:, None] / np.geomspace(2, 126, 2 * width))
    sums = faded @ np.linalg.lstsq(faded, target, rcond=1e-6)[0]
    assert sums @ target / np.linalg.norm(sums) / np.linalg.norm(target) < 0.35, "averages that fade do not"


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="time='gru' is unknown"):
        PolicyConfig(time="gru")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use torso='shared', or time='none'"):
        PolicyConfig(time="recurrent", torso="flat")
    with pytest.raises(ValueError, match="time_layers=0"):
        PolicyConfig(time="recurrent", time_layers=0)


def test_an_lstm_is_the_loop_begins_anew_and_keeps_its_state_without_a_bar():
    rng = np.random.default_rng(6)
    num_rows, num_assets, width = 23, 2, 3
    seen, own = rng.normal(size=(num_rows, num_assets, 4 * width)), rng.normal(size=(width, 4 * width))
    mask, reset = rng.random((num_rows, num_assets)) > 0.2, np.arange(num_rows) == 11
    first = rng.normal(size=(num_assets, 2 * width))
    expected, before = [], first
    for t in range(num_rows):
        before = before * (not reset[t])
        output, cell = before[:, :width], before[:, width:]
        take, keep, new, give = np.split(seen[t] + output @ own, 4, axis=-1)
        after = scipy.special.expit(keep) * cell + scipy.special.expit(take) * np.tanh(new)
        now = np.concatenate([scipy.special.expit(give) * np.tanh(after), after], axis=-1)
        before = np.where(mask[t][:, None], now, before)
        expected.append(before)
    with jax.enable_x64(True):
        found = jax.jit(lstm)(*map(jnp.asarray, (seen, own, mask, reset, first)))
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-11, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("cell", ["lstm", "lru"])
def test_bar_by_bar_is_all_of_them_at_once(cell):
    block = Recurrent(width=4, layers=2, cell=cell)
    rng = np.random.default_rng(7)
    inputs = rng.normal(size=(9, 2, 3)).astype(np.float32), rng.random((9, 2)) > 0.2, np.arange(9) == 0
    inputs = [jnp.asarray(x) for x in inputs]
    state = jnp.zeros((2, 2, 8))
    weights = block.init(jax.random.key(0), *inputs, state)
    whole, last = jax.jit(block.apply)(weights, *inputs, state)
    step, rows = jax.jit(block.apply), []
    for t in range(9):
        row, state = step(weights, *(x[t : t + 1] for x in inputs), state)
        rows.append(row)
    np.testing.assert_allclose(np.concatenate(rows), whole, atol=1e-5)
    np.testing.assert_allclose(state, last, atol=1e-5)
