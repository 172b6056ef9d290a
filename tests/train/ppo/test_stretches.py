"""Gradients of a network that remembers by stretches of bars, against those by every bar, loop, finite differences."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.acting import encode_market, path_starts, started_warm
from ploutos_jax.agents.windows import Windows, encode_keeping, encode_windows
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.stretches import Remembered, Stretches, cut, encode_for, stretches_of
from ploutos_jax.train.ppo.gradients import minibatch_gradients
from tests.train.worlds import (
    LITTLE_OPTIMISED,
    SHARED,
    compiled_update,
    largest_difference,
    make_learner,
    random_market,
)

RECURRENT = dataclasses.replace(SHARED, time="recurrent", time_width=6, time_layers=2)
POLICIES = {
    "mingru": RECURRENT,
    "lru": dataclasses.replace(RECURRENT, time_cell="lru"),
    "lstm": dataclasses.replace(RECURRENT, time_cell="lstm"),
    "attention": dataclasses.replace(SHARED, time="attention", time_width=8, time_layers=2, time_window=8),
}
CONFIG = TrainConfig(num_envs=6, rollout_length=16, total_timesteps=960, num_minibatches=2, num_epochs=2)
ENV = EnvConfig(episode_length=11)
NUM_BARS, PATH = 210, 150


@functools.cache
def world(kind: str):
    """Return a learner on a market of two paths with gaps, numbers of the environment and a state."""
    market = random_market(num_bars=NUM_BARS, num_assets=2, missing=0.2)
    market = market.replace(path_end=np.repeat([PATH - 1, NUM_BARS - 1], [PATH, NUM_BARS - PATH]).astype(np.int32))
    learner, params, hyper = make_learner(dataclasses.replace(CONFIG, policy=POLICIES[kind]), market, ENV)
    params = started_warm(params, 40)
    state = learner.init(jax.random.key(3), params)
    return learner, params, hyper, state.replace(agent=larger(state.agent))


def larger(agent):
    return agent.replace(network=jax.tree.map(lambda x: 2 * x, agent.network))


def compiled(function):
    return jax.jit(function, compiler_options=LITTLE_OPTIMISED)


# --- where stretches begin


def test_a_minibatch_is_cut_where_pieces_and_episodes_end_and_after_so_many_bars():
    rng = np.random.default_rng(0)
    t = np.cumsum(np.where(rng.random((7, 24)) < 0.15, rng.integers(2, 9, (7, 24)), 1), axis=1)
    t[2, 5:] = t[2, 4]  # again and again at the same bar
    weight = np.array([1, 1, 1, 0, 1, 1, 0], np.float32)
    expected = []
    for piece in np.flatnonzero(weight):
        for step in range(24):
            place = piece * 24 + step
            goes_on = step > 0 and t[piece, step] == t[piece, step - 1] + 1 and expected[-1][1] < 6
            expected[-1:] = [[expected[-1][0], expected[-1][1] + 1]] if goes_on else [*expected[-1:], [place, 1]]
    places, lengths, number = jax.jit(cut, static_argnums=2)(jnp.asarray(t, jnp.int32), jnp.asarray(weight), 6)
    assert int(number) == len(expected) < places.shape[0]
    np.testing.assert_array_equal(np.stack([places, lengths], axis=1)[: len(expected)], expected)
    assert int(lengths[len(expected) :].sum()) == 0 and int(lengths.sum()) == 24 * 5


def test_stretches_are_for_markets_that_are_long_beside_them():
    policy = dataclasses.replace(RECURRENT, time_layers=1)
    config = TrainConfig(num_envs=8, rollout_length=32, num_minibatches=4, policy=policy)
    # Two accounts of a minibatch: 2 · (32 + 378 + 63) rows, of which the market has to have twice as many.
    assert stretches_of(config, 1891) is None
    found = stretches_of(config, 1892)
    assert found == Stretches(32, Windows(rows=32, lead=378, every=64)) and found.windows.before == 441
    assert stretches_of(config, 10**5, episode_length=20).windows.rows == 20
    whole, told = (dataclasses.replace(config, time_gradient=x) for x in ("whole", 5))
    assert len({each.of_program() for each in (config, whole, told)}) == 3
    assert stretches_of(whole, 10**6) is None and stretches_of(told, 500).windows.lead == 5
    # Twelve accounts do not fill eight minibatches: each rollout is cut in two.
    odd = dataclasses.replace(config, num_envs=12, num_minibatches=8)
    assert stretches_of(odd, 10**6).length == 16
    seeing = dataclasses.replace(config, policy=POLICIES["attention"])
    assert stretches_of(seeing, 10**5).windows == Windows(rows=32, lead=14, every=0)
    told_regimes = dataclasses.replace(config, policy=dataclasses.replace(SHARED, regimes="gates"))
    assert stretches_of(told_regimes, 10**5) == Stretches(8, Windows(rows=8, lead=0, every=0))
    assert stretches_of(dataclasses.replace(config, policy=SHARED), 10**6) is None


def test_what_is_no_reach_of_gradients_is_refused():
    for wrong in ("all", -1, 2.5, 10**7):
        with pytest.raises(ValueError, match="time_gradient="):
            TrainConfig(time_gradient=wrong)
    with pytest.raises(ValueError, match="time_gradient=378 is of PPO's gradient steps"):
        TrainConfig(algorithm="pathwise", time_gradient=378)


# --- rows


@pytest.mark.parametrize(
    "kind", ["mingru", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("lru", "lstm", "attention"))]
)
def test_rows_of_windows_are_those_of_the_market(kind: str):
    learner, params, _, state = world(kind)
    network, market, agent = learner.network, params.market, state.agent
    windows = Windows.of(POLICIES[kind], rows=9, lead=4, num_bars=NUM_BARS)
    # At the beginning, across a path's first bar, just after it, and beyond the last bar.
    first = jnp.asarray([0, 3, PATH - 5, PATH, PATH + 2, 97, NUM_BARS - 4])

    @compiled
    def both(agent):
        table, states = encode_for(Stretches(9, windows), network, agent, market, None)
        scaled, inputs = network.scale_once(agent, market)
        return (
            encode_market(network, agent, market),
            table,
            encode_windows(network, scaled, inputs, windows, states, first, None),
        )

    whole, table, found = both(agent)
    rows = np.minimum(np.asarray(first)[:, None] + np.arange(9), NUM_BARS - 1)
    inside = np.asarray(first)[:, None] + np.arange(9) < NUM_BARS
    for name, of_whole in whole.items():
        np.testing.assert_allclose(table[name], of_whole, rtol=1e-5, atol=1e-5)
        # Blocks of other lengths add up in another order: some millionths of the largest number, which is 4.
        np.testing.assert_allclose(found[name][inside], of_whole[rows][inside], rtol=1e-5, atol=2e-5)


def bar_after_bar(network, agent, older, market, begins, weight, first: int, lead_begin: int) -> float:
    """Return the weighted sum of a window's rows, bar after bar, from the state that older parameters leave."""
    state, total = network.blank_state(), 0.0
    inputs = [np.asarray(x) for x in (market.features, market.tradable, begins)]
    step = jax.jit(network.encode_on)
    for t in range(first + weight.shape[0]):
        params = older if t < lead_begin else agent
        row, state = step(params.network, params.scaling, *(jnp.asarray(x[t : t + 1]) for x in inputs), state)
        if t >= first:
            total += float((weight[t - first] * np.asarray(row["actor"][0])).sum())
    return total


@pytest.mark.thorough
@pytest.mark.parametrize("first", [60, PATH + 7], ids=["in a path", "near its beginning"])
def test_the_gradient_is_that_of_a_loop_from_a_state_that_stays(first: int):
    """In double precision, by finite differences of a loop that knows nothing of windows."""
    rng = np.random.default_rng(1)
    learner, params, _, state = world("mingru")  # others read it in single precision
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, (params.market, state.agent))
        market, agent = wide
        network, windows = learner.network, Windows.of(RECURRENT, rows=5, lead=10, num_bars=NUM_BARS)
        weight = rng.normal(size=(5, 2, SHARED.width))
        _, states = encode_keeping(network, agent, market, windows, None)
        scaled, inputs = network.scale_once(agent, market)

        @jax.jit
        def gradient(weights):
            def loss(weights):
                made = scaled.replace(network=weights), inputs, windows, states, jnp.asarray([first]), None
                return (weight * encode_windows(network, *made)["actor"][0]).sum()

            return jax.grad(loss)(weights)

        found = gradient(agent.network)
        lead_begin = (first - 10) // windows.every * windows.every
        assert first - lead_begin <= windows.before
        ways = [jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), agent.network) for _ in range(3)]
        for way in ways:
            moved = [
                agent.replace(network=jax.tree.map(lambda x, w, s=size: x + s * w, agent.network, way))
                for size in (1e-5, -1e-5)
            ]
            fixed = market, path_starts(market), weight, first, lead_begin
            slope = np.subtract(*(bar_after_bar(network, each, agent, *fixed) for each in moved)) / 2e-5
            own = sum(float((g * w).sum()) for g, w in zip(*map(jax.tree.leaves, (found, way)), strict=True))
            assert own == pytest.approx(slope, rel=1e-6, abs=1e-8)


# --- updates


@functools.cache
def gradients(kind: str, lead: int):
    """Return gradients and losses by every bar and by stretches, of the same pieces of a rollout."""
    learner, params, hyper, state = world(kind)
    config, market = dataclasses.replace(learner.config, time_gradient=lead), params.market
    stretches = stretches_of(config, NUM_BARS, ENV.episode_length)
    assert stretches.length == 16 and stretches.windows.rows == 11

    @compiled
    def both(state):
        table = encode_market(learner.network, state.agent, market)
        runner, ends, (stored, _) = learner._rollout(state, params, table)
        samples = learner.samples(state, params, hyper, table, runner, ends, stored)[0]
        states = encode_for(stretches, learner.network, state.agent, market, None)[1]
        scaled, inputs = learner.network.scale_once(state.agent, market)
        pieces = jnp.asarray([1, 4, 0])
        in_eights = jnp.concatenate([pieces, pieces + config.num_envs])  # the same steps
        fixed = learner.network, scaled, inputs, samples
        plain = minibatch_gradients(*fixed, in_eights, hyper, config, "table")
        remembered = Remembered(stretches, states)
        others = minibatch_gradients(*fixed, pieces, hyper, config, "gather", remembered=remembered)
        return plain, others, samples.observation.t

    plain, others, t = both(state)
    assert (np.diff(np.asarray(t)[:, [1, 4, 0]], axis=0) != 1).any(), "an episode ends within"
    return plain, others


@pytest.mark.thorough
@pytest.mark.parametrize("kind", POLICIES)
def test_a_lead_as_long_as_the_past_gives_the_gradient_by_every_bar(kind: str):
    (plain, losses), (by_stretch, same) = gradients(kind, 0 if kind == "attention" else NUM_BARS)
    assert largest_difference(by_stretch, plain) < (2e-4 if kind in ("attention", "lru") else 2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), same, losses)
    if kind == "mingru":
        (cut_off, _), (nothing_lost, _) = gradients(kind, 0)[1], (plain, losses)
        assert largest_difference(cut_off, nothing_lost) > 1e-2, "without a lead something is cut off"


@pytest.mark.thorough
def test_the_first_step_of_an_update_moves_nothing_yet_and_all_is_learnt():
    """With all that such networks may have: dropout, chances of regimes, gates, quantiles, an auxiliary loss."""
    policy = dataclasses.replace(RECURRENT, dropout=0.2, regimes="gates", quantiles=8, return_loss=0.1, time_layers=1)
    config = dataclasses.replace(CONFIG, policy=policy, time_gradient=6)
    market = random_market(num_bars=420, num_assets=2)
    market = market.replace(feature_names=("market_move", *market.feature_names[1:]))
    learner, params, hyper = make_learner(config, market, ENV)
    learner = dataclasses.replace(learner, network=dataclasses.replace(learner.network, regime_columns=(0,)))
    params = started_warm(params, policy.warm_up)
    state = learner.init(jax.random.key(3), params)
    before = state.agent.network["params"]
    for _ in range(2):
        state, metrics = compiled_update(learner)(state, params, hyper)
        assert 0 <= float(metrics["first_kl"]) < 1e-6 < float(metrics["approx_kl"])
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.agent, metrics["loss"])))
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, state.agent.network["params"])
    assert min(jax.tree.leaves(moved["recurrent"])) > 0, "every weight of the recurrence learns"
