"""What is said of losses that are not finite, and how a run gives up on them without losing what it has learned."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rewards import log_return
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.checkpoints.checkpoint import restore
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.divergence import FAULTS, MAX_SKIPPED_IN_ROW, DivergedError, rollout_fault, step_fault
from ploutos_jax.train.loop import train
from ploutos_jax.train.ppo.losses import LossSums
from tests.train.worlds import SHARED, random_market

BAD = [float("nan"), float("inf"), -float("inf")]


def named(code):
    return list(FAULTS)[int(code) - 1] if code else None


@pytest.mark.parametrize("bad", BAD)
def test_the_first_cause_is_named(bad):
    good = jnp.ones((2, 3))
    spoiled = good.at[1, 2].set(bad)
    assert named(rollout_fault(good, good, good)) is None
    assert named(rollout_fault(spoiled, spoiled, spoiled)) == "rewards"
    assert named(rollout_fault(good, spoiled, spoiled)) == "values"
    assert named(rollout_fault(good, good, spoiled)) == "advantages"
    one = jnp.ones(())
    sums = LossSums(policy=one, value=one, entropy=one, kl=one, clipped=one)
    none = jnp.int32(0)
    assert named(step_fault(none, sums, one)) is None
    assert named(step_fault(none, sums, one * bad)) == "gradient norm"
    for field, name in (("policy", "policy loss"), ("value", "value loss"), ("entropy", "entropy")):
        assert named(step_fault(none, sums.replace(**{field: one * bad}), one * bad)) == name
    assert named(step_fault(jnp.int32(2), sums, one * bad)) == "values", "the rollout explains what follows from it"
    assert named(step_fault(jnp.int32(2), sums, one)) is None, "a minibatch without the bad sample is taken"


SPOILED_FROM = 40
CONFIG = TrainConfig(
    num_envs=4, rollout_length=8, total_timesteps=4 * 8 * 40, num_minibatches=1, num_epochs=6, policy=SHARED
)


def log_return_or_nan(before, after):
    return jnp.where(before.t >= SPOILED_FROM, jnp.nan, log_return(before, after))


@pytest.mark.slow
def test_a_reward_that_becomes_nan_ends_the_run_with_the_last_good_state_saved(tmp_path):
    env = TradingEnv(EnvConfig(episode_length=12, reward=log_return_or_nan))
    market = random_market()
    params = env.default_params(market)
    # One start in twenty leads to the spoiled bars: of some hundred that are drawn a few, but hardly one at once.
    params = params.replace(starts=jnp.where(jnp.arange(params.starts.size) % 20 == 10, 35, 5).astype(jnp.int32))
    told = []
    with pytest.raises(DivergedError) as caught:
        train(CONFIG, market, env, params=params, output=tmp_path / "run", observers=[told.append])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    failed = rows[-1]["update"]
    assert 1 < failed < CONFIG.num_updates and [row["update"] for row in rows] == list(range(1, failed + 1))
    assert rows[-1]["skipped_in_row"] >= MAX_SKIPPED_IN_ROW and rows[-1]["policy_loss"] is None
    assert all(row["skipped_in_row"] < MAX_SKIPPED_IN_ROW for row in rows[:-1])
    message = str(caught.value)
    assert message.startswith(f"Training stopped in update {failed}: 5 gradient steps in a row were skipped")
    assert "because the rewards were not finite" in message and "reward function of your own" in message
    assert f"after update {failed - 1}, is saved in {tmp_path / 'run'}" in message
    assert told[-1].done_timesteps == failed * CONFIG.timesteps_per_update

    agent = restore(tmp_path / "run")
    assert agent.step == failed - 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(agent.params))
