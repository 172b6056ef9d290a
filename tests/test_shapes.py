"""The shapes in annotations are checked in tests: a wrong one raises, and says which argument it was."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Float, TypeCheckError

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.metrics.returns import sharpe
from ploutos_jax.evaluate.metrics.trades import exposure
from ploutos_jax.market.features.indicators.volatility import atr
from ploutos_jax.policy.actor_critic import ActorCritic, PolicyConfig
from ploutos_jax.train.ppo.advantages import gae
from tests.shapes import check_shapes
from tests.train.worlds import random_market

T, A, F, H, G = 30, 3, 5, 4, 2


@pytest.mark.thorough
def test_a_step_refuses_actions_of_another_shape():
    env = TradingEnv(EnvConfig(episode_length=10))
    params = env.default_params(random_market())
    _, state = env.reset(jax.random.key(0), params)
    num_assets = params.market.num_assets
    env.step(jax.random.key(1), state, jnp.zeros(num_assets, jnp.int32), params)
    # One number would be broadcast to all assets without a word.
    for shape in ((1,), (num_assets + 1,), (num_assets, 1)):
        with pytest.raises(ValueError, match=rf"shape {re.escape(str(shape))}, but .* \({num_assets},\)"):
            env.step(jax.random.key(1), state, jnp.zeros(shape, jnp.int32), params)
    with pytest.raises(TypeCheckError, match="'action'"):
        env.step(jax.random.key(1), state, jnp.zeros((), jnp.int32), params)
    weights = TradingEnv(EnvConfig(episode_length=10, action="weights"))
    _, state = weights.reset(jax.random.key(0), params)
    weights.step(jax.random.key(1), state, jnp.zeros(num_assets + 1), params)
    with pytest.raises(ValueError, match=rf"\({num_assets},\) or \({num_assets + 1},\)"):
        jax.jit(weights.step)(jax.random.key(1), state, jnp.zeros(num_assets + 2), params)


def test_an_indicator_refuses_prices_of_different_shapes():
    prices = jnp.ones((T, A))
    atr(prices, prices, prices)
    with pytest.raises(TypeCheckError, match="'close'"):
        atr(prices, prices, prices[:, :1])


def test_a_policy_refuses_observations_of_different_batches():
    model = ActorCritic(PolicyConfig(hidden=(4,), width=4), A, 3)
    features, mask = jnp.ones((2, A, F)), jnp.ones((2, A), bool)
    assets, account = jnp.ones((2, A, H)), jnp.ones((2, G))
    params = model.init(jax.random.key(0), features, mask, assets, account)
    model.apply(params, features, mask, assets, account)
    with pytest.raises(TypeCheckError, match="'account'"):
        model.apply(params, features, mask, assets, account[:1])


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["called", "compiled"])
def test_advantages_refuse_ends_of_another_shape(transform):
    x, ended = jnp.ones((4, 2, 1)), jnp.zeros((4, 2), bool)
    estimate = transform(gae)
    estimate(x, x, x, ended, ended, 0.99, 0.95)
    with pytest.raises(TypeCheckError, match="'terminated'"):
        estimate(x, x, x, ended[:, :1], ended, 0.99, 0.95)


def test_metrics_refuse_columns_and_rows_that_do_not_belong_together():
    sharpe(np.full(5, 0.01), 252)
    with pytest.raises(TypeCheckError, match="'returns'"):
        sharpe(np.full((5, 1), 0.01), 252)
    with pytest.raises(TypeCheckError, match="'equity'"):
        exposure(np.ones(5), np.ones(4))


@pytest.mark.thorough
def test_only_what_states_a_shape_is_checked():
    def plain(x: int) -> int:
        return x

    def shaped(x: Float[np.ndarray, " N"], name: str) -> str:
        return name

    assert check_shapes(plain) is plain
    checked = check_shapes(shaped)
    assert checked(np.ones(2), 3) == 3
    assert checked.__annotations__ == shaped.__annotations__ and "name" in checked.__annotations__
    with pytest.raises(TypeCheckError):
        checked(np.ones((2, 2)), "a")
