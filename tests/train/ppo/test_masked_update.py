"""Updates with bands, levels, masks, bars between decisions: the first gradient step sees the rollout's own policy."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import BUY, MAY_BUY, MAY_SELL, SELL
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.looking import table_of
from ploutos_jax.train.learning.state import TrainState
from tests.train.worlds import SHARED, compiled_update, make_learner, random_market

CONFIG = TrainConfig(
    num_envs=8, rollout_length=16, total_timesteps=8 * 16 * 10, num_minibatches=2, num_epochs=2, policy=SHARED
)


@pytest.mark.thorough
@pytest.mark.parametrize("decide_every", [None, 3])
@pytest.mark.parametrize("action", ["discrete", "bands", "levels"])
def test_the_first_step_of_an_update_moves_nothing_yet(action: str, decide_every: int | None):
    if action == "discrete" and decide_every is None:
        pytest.skip("is tested with every ratio")
    first_steps(CONFIG, EnvConfig(episode_length=12, action=action, decide_every=decide_every))  # type: ignore[arg-type]


JOINT = dataclasses.replace(CONFIG, ratio="joint", policy=dataclasses.replace(SHARED, credit="joint"))


@pytest.mark.thorough
@pytest.mark.parametrize("config", [CONFIG, JOINT], ids=["per asset", "joint"])
def test_the_same_with_masks_by_the_rules(config: TrainConfig):
    state = first_steps(config, MASKED)
    assert set(np.unique(state.runner.observation.valid)) == {0, MAY_BUY, MAY_SELL, MAY_BUY | MAY_SELL}


MASKED = EnvConfig(episode_length=12, action_masks="advised", min_holding_bars=2, buy_pct=0.3, max_position_pct=0.5)


@pytest.mark.thorough
def test_an_asset_that_can_only_be_held_is_held_and_counts_for_nothing():
    """Actions are what is there; of the loss, the number of choices is what it is averaged over."""
    learner, params, _ = make_learner(CONFIG, random_market(), MASKED)
    state = learner.init(jax.random.key(3), params)
    table = table_of(CONFIG, learner.network, state.agent, params.market, None)
    _, _, (stored, _) = jax.jit(learner._rollout)(state, params, table)
    valid, action = np.asarray(stored.observation.valid), np.asarray(stored.action)
    assert (
        not ((action == BUY) & (valid & MAY_BUY == 0)).any() and not ((action == SELL) & (valid & MAY_SELL == 0)).any()
    )
    assert not action[~np.asarray(params.market.tradable)[stored.observation.t]].any(), "unseen assets are held"
    assert (np.asarray(stored.log_prob)[valid == 0] == 0).all() and (valid == 0).any()
    assert {0, BUY, SELL} <= set(np.unique(action))


def first_steps(config: TrainConfig, env: EnvConfig) -> TrainState:
    """Make sure that the first step of an update sees the rollout's own policy; return the state after two updates."""
    learner, params, hyper = make_learner(config, random_market(), env)
    state = learner.init(jax.random.key(3), params)
    for _ in range(2):
        state, metrics = compiled_update(learner)(state, params, hyper)
        assert 0 <= float(metrics["first_kl"]) < 1e-6
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((state.agent, metrics["loss"], metrics["entropy"])))
    assert float(metrics["approx_kl"]) > 0, "later steps see another policy"
    return state
