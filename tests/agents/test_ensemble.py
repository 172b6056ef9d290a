"""Ensembles: the mean of targets before trading, wherever an agent acts; on the disk one agent."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ploutos_jax as pj
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.ensemble import members_of_ensemble
from ploutos_jax.agents.members import Members, choose_of
from ploutos_jax.agents.network import Network
from ploutos_jax.evaluate.backtest.vectorized import backtest_many
from ploutos_jax.evaluate.stress.table import stress_table
from ploutos_jax.policy.distributions import DiscreteHead, WeightsHead
from ploutos_jax.train.checkpoints.checkpoint import restore_seeds
from ploutos_jax.train.checkpoints.export import DESCRIPTION_FILE, load_agent, load_ensemble
from ploutos_jax.train.loop import train_seeds
from tests.evaluate.backtest import worlds
from tests.evaluate.backtest.worlds import make_agent, make_market, make_panel
from tests.train.worlds import assert_identical

COSTLY = dataclasses.replace(worlds.COSTLY, episode_length=60)
WEIGHTS = dataclasses.replace(COSTLY, action="weights")
BARS = 30


@pytest.fixture(scope="module")
def market():
    return make_market()


def members(market, config=WEIGHTS, num=3, **changes):
    """Return agents of one shape that know nothing, each with numbers of its own."""
    first = make_agent(market, config)
    made = []
    for seed in range(num):
        weights = first.network.init(jax.random.key(seed), market.num_features)
        params = first.params.replace(network=jax.tree.map(lambda x: 4 * x, weights))
        made.append(dataclasses.replace(first, params=params, step=10 + seed, **changes))
    return made


def observation_of(agent: Agent, market):
    env = pj.TradingEnv(agent.env_config)
    params = env.default_params(market)
    return env.reset_at(5, 60, params)[0], params


@pytest.mark.thorough
@pytest.mark.parametrize("config", [COSTLY, WEIGHTS], ids=["discrete", "weights"])
def test_copies_of_an_agent_are_that_agent(market, config):
    agent = make_agent(market, config)
    several = pj.ensemble([agent] * 3)
    assert isinstance(several.network, Members) and several.network.num_members == 3
    assert_identical(pj.ensemble([agent]).params, agent.params)
    observation, params = observation_of(agent, market)
    np.testing.assert_allclose(several.act(observation, params), agent.act(observation, params), rtol=1e-5, atol=1e-6)
    one, all_of_them = (pj.backtest(each, market, 0, BARS) for each in (agent, several))
    np.testing.assert_allclose(all_of_them.equity, one.equity, rtol=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("config", [COSTLY, WEIGHTS], ids=["discrete", "weights"])
def test_one_action_is_made_of_what_each_member_says(market, config):
    """Member by member through its own network, then put together here, at every bar of a batch."""
    agents = members(market, config)
    env = pj.TradingEnv(config)
    params = env.default_params(market)
    batch, _ = jax.vmap(lambda row: env.reset_at(row, 80, params))(jnp.arange(4, 24))
    found = np.asarray(pj.ensemble(agents).act_batch(batch, params))
    if config.action == "weights":
        expected = np.mean([agent.act_batch(batch, params) for agent in agents], axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert np.ptp(expected) > 0.01
        return
    chances = np.mean([_probabilities(agent, market, batch) for agent in agents], axis=0)
    best = np.sort(chances, axis=-1)
    is_clear = best[..., -1] - best[..., -2] > 1e-4
    np.testing.assert_array_equal(found[is_clear], chances.argmax(axis=-1)[is_clear])
    assert len(np.unique(found)) > 1 and is_clear.mean() > 0.9


def _probabilities(agent, market, batch):
    network: Network = agent.network
    features, tradable = np.asarray(market.features)[batch.t], np.asarray(market.tradable)[batch.t]
    row = network.encode(agent.params.network, agent.params.scaling, jnp.asarray(features), jnp.asarray(tradable))
    inputs = (row, jnp.asarray(tradable), batch.assets, batch.account)
    outputs, _ = network.act(agent.params.network, agent.params.scaling, *inputs)
    return jax.nn.softmax(outputs, axis=-1)


ALL = jnp.ones(2, bool)


def test_opposite_weights_make_their_mean():
    outputs = jnp.array([[[9.0, 0.0], [-9.0, 0.0]], [[-9.0, 0.0], [9.0, 0.0]]])
    np.testing.assert_allclose(choose_of(WeightsHead(), outputs, ALL, None, None), [0.5, 0.5], atol=1e-3)
    drawn = choose_of(WeightsHead(), outputs.at[..., 1].set(-5.0), ALL, None, jax.random.key(0))
    np.testing.assert_allclose(drawn, [0.5, 0.5], atol=1e-2)


def test_choices_are_weighed_by_their_chances():
    """Two members lean to hold, one is sure to sell: the mean chances are .4, 0, .6."""
    logits = jnp.log(jnp.array([[[0.6, 1e-9, 0.4]], [[0.6, 1e-9, 0.4]], [[1e-9, 1e-9, 1.0]]]))
    assert choose_of(DiscreteHead(), logits, ALL[:1], None, None).tolist() == [2]
    drawn = jax.vmap(lambda key: choose_of(DiscreteHead(), logits, ALL[:1], None, key))(
        jax.random.split(jax.random.key(0), 4000)
    )
    assert np.mean(np.asarray(drawn) == 2) == pytest.approx(0.6, abs=0.03)


@pytest.mark.thorough
def test_costs_net_out(market):
    agents = members(market)
    single = [pj.summarize(pj.backtest(agent, market)) for agent in agents]
    together = pj.summarize(pj.backtest(pj.ensemble(agents), market))
    assert 0 < together["turnover"] <= np.mean([figures["turnover"] for figures in single])
    assert 0 < together["total_cost"] <= np.mean([figures["total_cost"] for figures in single])


@pytest.mark.thorough
def test_many_backtests_and_stress_take_an_ensemble(market):
    several = pj.ensemble(members(market))
    batch = backtest_many([several, several], market, num_bars=BARS - 1)
    one = pj.backtest(several, market, 0, BARS)
    np.testing.assert_allclose(batch.equity[0, 0, 0, 0], one.equity, rtol=1e-5)
    np.testing.assert_array_equal(batch.equity[0], batch.equity[1])
    assert len(stress_table(several, make_panel(), start=30, end=80, draws=1, scenarios=("gap_down",)))


def test_spans_and_tickers_are_those_of_all(market):
    one, two = members(market, num=2)
    one = dataclasses.replace(one, trained_from="2010-01-04", trained_to="2012-12-31", chosen_on=("2013", "2014"))
    two = dataclasses.replace(
        two, trained_from="2011-01-03", trained_to="2013-12-31", symbols=("A", "B", "X"), sectors=(-1, -1, 4)
    )
    both = pj.ensemble([one, two], ["seed 0", "seed 1"])
    assert (both.trained_from, both.trained_to, both.chosen_on) == ("2010-01-04", "2013-12-31", ("2013", "2014"))
    assert both.symbols == ("A", "B", "C", "X") and both.sectors == (-1, -1, -1, 4)
    assert both.members == ("seed 0", "seed 1") and both.step == 11
    assert pj.ensemble([one, dataclasses.replace(two, trained_to="")]).trained_to == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda a: dataclasses.replace(a, env_config=dataclasses.replace(a.env_config, spread_bps=7.0)),
            "spread_bps=10",
        ),
        (lambda a: dataclasses.replace(a, feature_names=("other", *a.feature_names[1:])), "features: .*other"),
        (
            lambda a: dataclasses.replace(a, network=make_agent(make_market(), WEIGHTS, "flat").network),
            "torso='shared'",
        ),
        (lambda a: dataclasses.replace(a, sectors=(3, -1, -1)), "A in sector 3"),
        (lambda a: pj.ensemble([a, a]), "is an ensemble of 2 itself"),
    ],
)
def test_an_odd_member_is_refused(market, change, words):
    one, two = members(market, num=2)
    with pytest.raises(ValueError, match=f"Member 1 .*{words}"):
        pj.ensemble([one, change(two)])


def test_none_and_wrong_names_are_refused(market):
    with pytest.raises(ValueError, match="needs agents"):
        pj.ensemble([])
    with pytest.raises(ValueError, match="1 names of 2"):
        pj.ensemble(members(market, num=2), ["one"])


@pytest.mark.thorough
def test_an_export_holds_all_members(market, tmp_path):
    several = pj.ensemble(members(market), ["seed 0", "seed 1", "seed 2"])
    folder = pj.export_policy(several, tmp_path / "policy")
    again = load_agent(folder, all_seeds=True)
    assert_identical(again.params, several.params)
    for field in dataclasses.fields(Agent):
        if field.name != "params":
            assert getattr(again, field.name) == getattr(several, field.name), field.name
    observation, params = observation_of(several, market)
    np.testing.assert_array_equal(again.act(observation, params), several.act(observation, params))
    description = json.loads((folder / DESCRIPTION_FILE).read_text())
    for wrong in (["one"], "text", [1, 2], ["x"] * 10_001):
        (folder / DESCRIPTION_FILE).write_text(json.dumps(description | {"members": wrong}))
        with pytest.raises(ValueError, match="members must be a list"):
            pj.load_policy(folder)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description | {"members": ["a", "b"]}))
    with pytest.raises(ValueError, match="but the network described beside it"):
        pj.load_policy(folder)
    alone = pj.export_policy(members(market)[0], tmp_path / "alone")
    with pytest.raises(ValueError, match="no ensemble"):
        load_agent(alone, all_seeds=True)


@pytest.mark.thorough
def test_the_seeds_of_a_run_are_an_ensemble(market, tmp_path):
    config = pj.TrainConfig(
        num_envs=4, rollout_length=8, total_timesteps=64, num_epochs=1, num_minibatches=1, num_seeds=2, seed=5,
        policy=pj.PolicyConfig(hidden=(4, 4), width=4),
    )  # fmt: skip
    env = pj.TradingEnv(dataclasses.replace(WEIGHTS, episode_length=20))
    agents = train_seeds(config, market, env, output=tmp_path / "run")
    assert list(restore_seeds(tmp_path / "run")) == ["seed 5", "seed 6"]
    several = load_ensemble(tmp_path / "run")
    assert several.members == ("seed 5, update 2", "seed 6, update 2")
    assert_identical(several.params, pj.ensemble(agents).params)
    for one, agent in zip(members_of_ensemble(several), agents, strict=True):
        assert_identical(one.params, agent.params)
        assert one.network == agent.network and one.members == ()
    assert members_of_ensemble(agents[0]) == (agents[0],)
    assert load_ensemble([tmp_path / "run"] * 2).members[0] == "run, seed 5, update 2"
    with pytest.raises(ValueError, match="leave one of them out"):
        load_agent(tmp_path / "run", seed=1, all_seeds=True)


def test_an_agent_shows_what_it_is(market):
    alone, several = members(market)[0], pj.ensemble(members(market))
    weights = sum(leaf.size for leaf in jax.tree.leaves(alone.params.network))
    assert repr(alone).startswith("Agent(weights actions, 3 tickers, ") and repr(alone).endswith("update 10)")
    assert repr(several).startswith("Agent(ensemble of 3, ")
    said = str(alone)
    assert f"{weights:,} parameters" in said and "3: A, B, C" in said and "EnvConfig(" in said
    assert len(said.splitlines()) < 12 and len(alone._repr_html_()) < 6_000
