"""Chances of regimes: the filter against a loop, what it may know, its fit, and networks that are told of it."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.acting import encode_market, path_starts
from ploutos_jax.agents.network import Network
from ploutos_jax.agents.regimes import COLUMNS, RegimeModel, columns_of, fit_regimes
from ploutos_jax.evaluate.backtest.oracles.promised import regime_chances
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted.hinted import hinted_panel
from ploutos_jax.market.synthetic.planted.regimes import Regimes
from ploutos_jax.policy.actor_critic import NUM_REGIMES, PolicyConfig
from tests.evaluate.backtest.worlds import COSTLY, make_agent
from tests.train.worlds import largest_difference, random_market

T, A, K = 60, 3, NUM_REGIMES
MODEL = RegimeModel(
    start=jnp.array([0.5, 0.3, 0.2]),
    transition=jnp.array([[0.9, 0.08, 0.02], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]]),
    mean=jnp.array([[-5.0], [-4.5], [-3.5]]),
    deviation=jnp.array([[0.3], [0.4], [0.5]]),
)
EVEN = jnp.full(K, 1 / K)
run = jax.jit(lambda *arguments: MODEL(*arguments))


def bars(seed: int = 0):
    """Return columns of two paths of 30 bars, assets with gaps, a bar that nobody has, and where paths begin."""
    rng = np.random.default_rng(seed)
    mask = rng.random((T, A)) > 0.2
    mask[11] = False
    moves = rng.normal(-4.3, 0.7, (T, 1))
    features = np.where(mask[..., None], moves[:, None, :], 0).astype(np.float32)
    return features, mask, np.arange(T) % 30 == 0


def by_loop(features, mask, reset):
    start, transition, mean, deviation = (np.asarray(x, np.float64) for x in jax.tree.leaves(MODEL))
    chances, before = np.zeros((T, K)), None
    for t in range(T):
        ahead = start if reset[t] else before @ transition
        if mask[t].any():
            seen = features[t, mask[t]][0]
            ahead = ahead * np.prod(np.exp(-0.5 * ((seen - mean) / deviation) ** 2) / deviation, axis=-1)
        before = chances[t] = ahead / ahead.sum()
    return chances


def test_the_filter_is_the_loop():
    found, last = run(*bars(), EVEN)
    np.testing.assert_allclose(found, by_loop(*bars()), atol=2e-6)
    np.testing.assert_array_equal(last, found[-1])


def test_a_path_knows_nothing_of_another_and_a_bar_nothing_of_later_ones():
    features, mask, reset = bars()
    whole, _ = run(features, mask, reset, EVEN)
    other = features.copy()
    other[:30] += 1.0
    np.testing.assert_allclose(run(other, mask, reset, EVEN)[0][30:], whole[30:], atol=1e-6)
    later = features.copy()
    later[25:] = -2.0
    np.testing.assert_array_equal(run(later, mask, reset, EVEN)[0][:25], whole[:25])


@pytest.mark.thorough
def test_the_fit_tells_regimes_of_bars_that_it_has_not_seen():
    """Nearly as well as the Bayes filter does, which knows the law and the hints besides."""
    market = build_market(hinted_panel(jax.random.key(1), Regimes(8, 0.3, "a"), 2400), COLUMNS)
    columns = np.asarray(market.features)[..., list(columns_of(market.feature_names))]
    mask = np.asarray(market.tradable)
    model = fit_regimes(columns[:1400], mask[:1400], np.full(1400, 1399))
    assert (np.diff(np.asarray(model.mean)[:, 0]) > 0).all(), "calmest first"
    chances, _ = jax.jit(lambda *x: model(*x))(columns, mask, np.arange(2400) == 0, EVEN)
    chances, truth = np.asarray(chances), market.labels.hint.state
    weight = np.linalg.lstsq(chances[:1400], truth[:1400], rcond=None)[0]
    told, best = (chances @ weight)[1400:], regime_chances(market)[1400:]
    assert np.corrcoef(told, best)[0, 1] > 0.95
    right, most = (((x > 0.5) == truth[1400:]).mean() for x in (told, best))
    assert right > most - 0.03 and right > 0.9


def test_too_few_rows_fit_nothing():
    features, mask, _ = bars()
    blank = fit_regimes(features, mask, np.full(T, T - 1))
    jax.tree.map(np.testing.assert_array_equal, blank, RegimeModel.blank())
    with pytest.raises(ValueError, match="lacks market_move"):
        columns_of(("rsi_14",))


# --- networks


def telling(policy: PolicyConfig, chunk_bytes: int = 2**20):
    """Return a market whose second feature is the size of moves, and an agent that is told of regimes by it."""
    market = random_market(0, num_bars=61, missing=0.2)
    features = np.array(market.features)
    features[..., 1] = np.where(market.tradable, np.random.default_rng(3).normal(-4.3, 0.7, (61, 1)), 0)
    market = market.replace(features=features, feature_names=("f0", COLUMNS[0], "f2", "f3"))
    agent = make_agent(market, COSTLY)
    network = Network.for_env(policy, COSTLY, 3, chunk_bytes, market.feature_names)
    weights = network.init(jax.random.key(4), market.num_features)
    rng = np.random.default_rng(5)
    weights = jax.tree.map(lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), weights)
    scaling = agent.params.scaling.replace(regimes=None if policy.regimes == "none" else MODEL)
    params = agent.params.replace(network=weights, scaling=scaling)
    return market, dataclasses.replace(agent, network=network, params=params, feature_names=market.feature_names)


def table_of(agent, market):
    return jax.jit(partial(encode_market, agent.network))(agent.params, jax.tree.map(jnp.asarray, market))


POLICIES = {
    "features": PolicyConfig(hidden=(8, 8), width=8, regimes="features"),
    "gates": PolicyConfig(hidden=(8, 8), width=8, regimes="gates", time="recurrent", time_width=6),
}


@pytest.mark.thorough
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_rows_in_chunks_one_by_one_and_scaled_ahead_are_the_table(policy):
    market, agent = telling(policy)
    table = table_of(agent, market)
    arrays = jax.tree.map(jnp.asarray, market)
    assert largest_difference(table_of(telling(policy, 4_000)[1], market), table) < 1e-5
    scaled = jax.jit(lambda x: encode_market(agent.network, *agent.network.scale_once(agent.params, x)))(arrays)
    assert largest_difference(scaled, table) < 1e-5
    state, rows, starts = agent.network.blank_state(), [], path_starts(market)
    step = jax.jit(partial(agent.network.encode_on, agent.params.network, agent.params.scaling))
    for t in range(12):
        one = slice(t, t + 1)
        row, state = step(*(jnp.asarray(x[one]) for x in (market.features, market.tradable, starts)), state)
        rows.append(row)
    joined = jax.tree.map(lambda *x: np.concatenate(x), *rows)
    assert largest_difference(joined, jax.tree.map(lambda x: x[:12], table)) < 1e-5
    np.testing.assert_allclose(state[1] if isinstance(state, tuple) else state, agent.regimes(market)[11], atol=1e-5)


@pytest.mark.thorough
def test_gates_mix_layers_and_scale_what_is_made_of_the_account():
    """The mixture of layers that are all one is that layer, and gates of nothing leave the account as it was."""
    market, agent = telling(POLICIES["gates"])
    weights = jax.tree.map(jnp.asarray, agent.params.network)
    torso = weights["params"]["torso"]
    torso = {**torso, **{f"other_layers_{k}": torso["market_layers_1"] for k in range(K - 1)}}
    same = {"params": {**weights["params"], "torso": torso}}
    moved = {"params": {**same["params"], "gate": jax.tree.map(lambda x: -3 * x, weights["params"]["gate"])}}
    tables = [
        table_of(dataclasses.replace(agent, params=agent.params.replace(network=each)), market)
        for each in (same, moved)
    ]
    np.testing.assert_allclose(tables[0]["actor"], tables[1]["actor"], atol=1e-5)
    assert np.abs(tables[0]["film"] - tables[1]["film"]).max() > 0.1
    fresh = agent.network.init(jax.random.key(0), market.num_features)
    table = table_of(dataclasses.replace(agent, params=agent.params.replace(network=fresh)), market)
    np.testing.assert_array_equal(table["film"], 0)


def test_without_them_nothing_is_there():
    market, agent = telling(PolicyConfig(hidden=(8, 8), width=8))
    assert agent.network.warm_up == 0 and "film" not in table_of(agent, market)
    with pytest.raises(ValueError, match="mixes layers of a market stage"):
        PolicyConfig(torso="flat", regimes="gates")
