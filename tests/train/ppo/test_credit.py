"""Credit by asset: the parts add up to the reward whatever it is, and are the assets' own."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import rollout
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo.credit import credited
from tests.train.worlds import make_learner, random_market

OF_PLOUTOS = "differential_sharpe, 50*drawdown_increment, sortino_bonus"
NUM_ASSETS, LENGTH = 50, 70


def lead(reward: str, **settings: Any) -> dict[str, np.ndarray]:
    """Lead accounts of random orders through a market; return `[S, E, ...]` credits, rewards and what they are of."""
    config = TrainConfig(
        num_envs=16, rollout_length=96, total_timesteps=1, policy=PolicyConfig(hidden=(4,), width=4, credit="per_asset")
    )
    rules = {"fees": "none", "stop_loss": None, "take_profit": None, "buy_pct": 0.02, "cash_rate": 0.03, **settings}
    env = EnvConfig(episode_length=LENGTH, reward=reward, **rules)
    learner, params, _ = make_learner(config, random_market(1, num_bars=160, num_assets=NUM_ASSETS), env)
    trading = dataclasses.replace(learner.env, with_slope=True)  # as the learner's own rollout asks for it

    def policy(keys: Any, obs: Any) -> tuple[Any, Any]:
        del obs
        draw = jax.vmap(
            lambda key: jax.random.categorical(key, jnp.log(jnp.array([0.7, 0.2, 0.1])), shape=(NUM_ASSETS,))
        )
        return draw(keys).astype(jnp.int8), None

    def record(step: Any) -> dict[str, Any]:
        return {
            "credit": credited(step),
            "reward": step.reward,
            "slope": step.info["reward_slope"],
            "profit": step.info["profit"],
            "equity": step.info["equity"],
            "other": step.info["interest"] - step.info["fee_rounding"],
        }

    state = jax.jit(lambda key: learner.init(key, params).runner)(jax.random.key(0))
    run = jax.jit(lambda runner: rollout(trading, params, policy, runner, 96, record)[2])
    return {name: np.asarray(x, np.float64) for name, x in jax.device_get(run(state)).items()}


def own_parts(found: dict[str, np.ndarray], slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return `[S, E, A]` what each profit adds to the reward, and `[S, E]` what is divided up evenly to each asset."""
    profit = found["profit"]
    before = found["equity"] - profit.sum(axis=-1) - found["other"]
    own = profit / before[..., None] * slope[..., None]
    return own, (found["reward"] - own.sum(axis=-1)) / NUM_ASSETS


@pytest.mark.parametrize("reward", ["log_return", OF_PLOUTOS, "five_term", "log_return, -0.1*turnover"])
def test_credits_add_up_to_the_reward(reward: str):
    found = lead(reward)
    total = found["credit"].sum(axis=-1)
    scale = np.maximum(np.abs(found["credit"]).sum(axis=-1), np.abs(found["reward"]))
    assert (np.abs(total - found["reward"]) <= 1e-5 * np.maximum(scale, 1e-3)).all()
    own, shared = own_parts(found, found["slope"])
    np.testing.assert_allclose(found["credit"], own + shared[..., None], atol=1e-4 * np.abs(found["credit"]).max())


def test_the_reward_of_the_preset_is_the_one_tested():
    assert PRESETS["ploutos"]["env"]["reward"] == OF_PLOUTOS


def test_what_is_credited_to_an_asset_is_mostly_its_own(capsys: pytest.CaptureFixture[str]):
    found = lead(OF_PLOUTOS)
    shares = {}
    for name, slope in (("by the slope", found["slope"]), ("as if it were the return", np.ones_like(found["slope"]))):
        own, shared = own_parts(found, slope)
        shares[name] = own.var() / (own.var() + shared.var())
    with capsys.disabled():
        print(f"\nown part of the variance of a credit, {NUM_ASSETS} assets:", shares)
    assert shares["by the slope"] > 0.9
    assert shares["as if it were the return"] < 0.01
