"""`predict`, as Stable-Baselines3's models have it: the same actions as `act`, from flat vectors too."""

import dataclasses

import jax
import numpy as np
import pytest

import ploutos_jax as pj
from ploutos_jax.env.adapters.gymnasium import GymnasiumEnv, GymnasiumVectorEnv
from ploutos_jax.env.adapters.masks import action_masks
from tests.evaluate.backtest.worlds import COSTLY, make_agent, make_eventful_market, make_market

FORMS = ("discrete", "weights", "bands", "levels")
CONFIG = dataclasses.replace(COSTLY, episode_length=20)


def world(form, market=None):
    market = make_market() if market is None else market
    agent = make_agent(market, dataclasses.replace(CONFIG, action=form))
    env = pj.TradingEnv(agent.env_config)
    return agent, env, env.default_params(market)


def accounts(env, params, num=6):
    """Accounts that hold something, in the middle of episodes."""
    keys = jax.random.split(jax.random.key(1), num)
    observation, state = jax.vmap(env.reset_staggered, in_axes=(0, None))(keys, params)
    shape = params.market.close.shape[1]
    action = {
        "discrete": np.ones((num, shape), np.int32),
        "levels": np.full((num, shape), 3, np.int32),
        "weights": np.full((num, shape), 0.2, np.float32),
        "bands": np.full((num, shape, 2), 0.2, np.float32),
    }[env.config.action]
    for _ in range(4):
        observation, state, *_ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, action, params)
    return observation


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
def test_vectors_and_observations_give_the_action_of_act(form):
    agent, env, params = world(form)
    observation = accounts(env, params)
    expected = np.asarray(agent.act_batch(observation, params))
    vectors = np.asarray(jax.vmap(env.flatten, in_axes=(0, None))(observation, params))
    actions, state = agent.predict(vectors)
    of_observation, _ = agent.predict(observation, params=params)
    assert state is None and isinstance(actions, np.ndarray)
    np.testing.assert_array_equal(of_observation, expected)
    if form == "weights":
        np.testing.assert_allclose(actions.sum(axis=-1), 1, atol=1e-6)
        actions = actions[:, :-1]
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)
    one, _ = agent.predict(vectors[2])
    np.testing.assert_allclose(one[: expected.shape[1]], expected[2], rtol=1e-5, atol=1e-6)
    single = jax.tree.map(lambda x: x[2], observation)
    np.testing.assert_array_equal(
        agent.predict(single, params=params)[0], np.asarray(agent.act(single, params), expected.dtype)
    )


@pytest.mark.thorough
def test_missing_bars_are_known_from_a_vector():
    market = make_eventful_market()
    agent, env, params = world("weights", market)
    rows = np.flatnonzero(~np.asarray(market.tradable).all(axis=1))[:4]
    observation = jax.vmap(lambda row: env.reset_at(row, row + 20, params)[0])(rows)
    vectors = np.asarray(jax.vmap(env.flatten, in_axes=(0, None))(observation, params))
    actions, _ = agent.predict(vectors)
    np.testing.assert_allclose(actions[:, :-1], agent.act_batch(observation, params), rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
def test_drawn_actions_go_on_from_state_to_state():
    agent, env, params = world("discrete")
    vectors = np.asarray(jax.vmap(env.flatten, in_axes=(0, None))(accounts(env, params), params))

    def draw(state=None):
        drawn = []
        for _ in range(20):
            actions, state = agent.predict(vectors, state, deterministic=False)
            drawn.append(actions)
        return np.array(drawn)

    one = draw()
    np.testing.assert_array_equal(one, draw())
    assert len(np.unique(one, axis=0)) > 1 and not np.array_equal(one, draw(jax.random.key(5)))


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
def test_episodes_of_gymnasium_are_played(form):
    """The loop of `stable_baselines3.common.evaluation.evaluate_policy`, alone and side by side."""
    agent, env, params = world(form)
    alone = GymnasiumEnv(env, params, seed=1)
    vector, _ = alone.reset(seed=1)
    state, total, done = None, 0.0, False
    while not done:
        action, state = agent.predict(vector, state, np.array([True]), deterministic=True)
        vector, reward, terminated, truncated, info = alone.step(action)
        total, done = total + reward, terminated or truncated
    assert total == pytest.approx(info["episode_return"], rel=1e-4, abs=1e-6)
    several = GymnasiumVectorEnv(env, params, 4, seed=1)
    vectors, _ = several.reset(seed=1)
    actions, _ = agent.predict(vectors)
    assert several.step(actions)[1].shape == (4,)


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["discrete", "levels"])
def test_masks_of_vectors_are_those_of_their_observations(form):
    market = make_market()
    config = dataclasses.replace(CONFIG, action=form, action_masks="advised", decide_every=2)
    agent = make_agent(market, config)
    env = pj.TradingEnv(config)
    params = env.default_params(market)
    observation = accounts(env, params, 40)
    assert 0 < (np.asarray(observation.valid) == 0).mean() < 1
    vectors = np.asarray(jax.vmap(env.flatten, in_axes=(0, None))(observation, params))
    masks = np.stack(
        [action_masks(config, jax.tree.map(lambda x, i=i: x[i], observation)) for i in range(len(vectors))]
    )
    expected = np.asarray(agent.act_batch(observation, params))
    np.testing.assert_array_equal(agent.predict(vectors, action_masks=masks)[0], expected)
    assert (agent.predict(vectors)[0] != expected).any(), "without them, what there is not is taken too"
    np.testing.assert_array_equal(agent.predict(vectors[3], action_masks=masks[3])[0], expected[3])
    with pytest.raises(ValueError, match="action_masks of shape \\(4,\\) are none of"):
        agent.predict(vectors[3], action_masks=masks[3, :4])


@pytest.mark.thorough
def test_what_is_refused():
    agent, env, params = world("discrete")
    observation = accounts(env, params)
    with pytest.raises(ValueError, match=r"Observations of shape \(1, 7\) are none of this agent's: a vector of A"):
        agent.predict(np.zeros(7))
    with pytest.raises(ValueError, match="An Observation is an index into a market: give its params="):
        agent.predict(observation)
