"""Several paths in one table: what happens on one leaves accounts, observations and encodings of the others alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.network import Network
from ploutos_jax.agents.scaling import FeatureScaling, ObservationScaling, RunningMoments
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from tests.train.worlds import TORSOS, assert_identical, random_market

NUM_PATHS, LENGTH, NUM_ASSETS = 3, 30, 3
MIDDLE = slice(LENGTH, 2 * LENGTH)
RULES = {"impact": 0.5, "slippage_atr": 0.1, "trailing_stop": 0.05, "settlement_days": 1, "cash_rate": 0.03}


@pytest.fixture(scope="module")
def markets():
    """A market of three paths, and the same with another middle one; every field of it differs there."""
    made = []
    for seed in (0, 1):
        market = random_market(seed, NUM_PATHS * LENGTH, NUM_ASSETS)
        rng = np.random.default_rng([seed, 9])
        shape = market.close.shape
        drawn = {name: rng.uniform(0.5, 2, shape).astype(np.float32) for name in ("spread_scale", "impact_scale")}
        drawn |= {name: rng.uniform(0.01, 0.05, shape).astype(np.float32) for name in ("atr", "volatility")}
        drawn |= {"adv": rng.uniform(1e5, 1e8, shape).astype(np.float32), "delisted": rng.random(shape) < 0.01}
        ends = np.repeat(LENGTH * np.arange(1, NUM_PATHS + 1) - 1, LENGTH).astype(np.int32)
        made.append(market.replace(**drawn, path_end=ends))
    first, second = made
    row = np.arange(NUM_PATHS * LENGTH) // LENGTH == 1

    def mix(a, b):
        return np.where(row.reshape(-1, *[1] * (a.ndim - 1)), b, a)

    mixed = jax.tree.map(mix, first, second)
    assert (mixed.sessions[MIDDLE] == first.sessions[MIDDLE]).all()
    return first, mixed.replace(sessions=np.where(row, first.sessions // 5 * 5, first.sessions).astype(np.int32))


@pytest.mark.thorough
def test_accounts_of_a_path_see_no_other(markets):
    env = TradingEnv(EnvConfig(episode_length=LENGTH - 1, **RULES))
    results = []
    for market in markets:
        params = env.default_params(market)
        assert sorted(np.asarray(params.starts).tolist()) == [0, LENGTH, 2 * LENGTH], "an episode ends with its path"

        def run(params, start):
            obs, state = env.reset_at(start, start + LENGTH - 1, params)

            def step(carry, key):
                state, _ = carry
                action = jax.random.randint(key, (NUM_ASSETS,), 0, 3)
                obs, state, reward, terminated, truncated, info = env.step_env(key, state, action, params)
                return (state, obs), (obs, reward, terminated, truncated, info)

            return jax.lax.scan(step, (state, obs), jax.random.split(jax.random.key(5), LENGTH - 1))

        results.append([jax.jit(run)(params, jnp.int32(start)) for start in (0, LENGTH, 2 * LENGTH)])
    for path in (0, 2):
        assert_identical(results[0][path], results[1][path])
    rewards = [result[1][1][1] for result in results]
    assert (np.asarray(rewards[0]) != np.asarray(rewards[1])).any()
    assert bool(results[0][0][1][3][-1]), "truncated at the last row of the path"


@pytest.mark.parametrize("torso", TORSOS)
def test_encodings_of_a_path_see_no_other(markets, torso):
    network = Network.create(TORSOS[torso], "discrete", NUM_ASSETS, 2**20)
    num_features = markets[0].num_features
    weights = network.init(jax.random.key(0), num_features)
    scaling = ObservationScaling(
        features=FeatureScaling(centre=jnp.zeros(num_features), spread=jnp.ones(num_features)),
        assets=RunningMoments.create(1),
        account=RunningMoments.create(1),
    )
    encode = jax.jit(lambda features, mask: network.encode(weights, scaling, features, mask))
    tables = [encode(jnp.asarray(market.features), jnp.asarray(market.tradable)) for market in markets]
    for x, y in zip(*map(jax.tree.leaves, tables), strict=True):
        for rows in (slice(0, LENGTH), slice(2 * LENGTH, 3 * LENGTH)):
            np.testing.assert_array_equal(x[rows], y[rows])
        assert (np.asarray(x)[MIDDLE] != np.asarray(y)[MIDDLE]).any()
