"""A signal planted in the market is found, and holds on bars that training never saw."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.train.loop import train
from tests.train import planted
from tests.train.worlds import make_learner


def growth(ledger):
    return float(np.log(ledger.equity[-1] / ledger.equity[0]))


@pytest.fixture(scope="module")
def oracle():
    """Log growth of holding, bar by bar, the assets whose signal is above 0, over the unseen bars."""
    hint = np.asarray(planted.panel().signals["hint"])[planted.SPLIT :]
    targets = (hint > 0) / planted.NUM_ASSETS
    return growth(baselines_by_rule(planted.unseen(), planted.ENV.config, {"oracle": lambda *_: targets})["oracle"])


def test_a_planted_signal_is_learned_and_lasts(finished_run, oracle):
    assert oracle > 1
    share = growth(backtest(finished_run.agent, planted.unseen())) / oracle
    assert share > 0.7, f"the agent earned {share:.2f} of the oracle's log return"


@pytest.mark.slow
def test_it_is_learned_with_a_bfloat16_torso_too(oracle):
    config = dataclasses.replace(
        planted.CONFIG, policy=dataclasses.replace(planted.CONFIG.policy, precision="bfloat16")
    )
    told = []
    agent = train(config, planted.seen(), planted.ENV, observers=[told.append])
    assert growth(backtest(agent, planted.unseen())) / oracle > 0.7
    assert all(row["first_kl"] < 1e-4 for progress in told for row in progress.rows)


@pytest.mark.slow
def test_it_is_learned_as_well_by_who_cannot_order_what_is_refused(finished_run, oracle):
    env = TradingEnv(dataclasses.replace(planted.ENV.config, action_masks="sound"))
    told = []
    agent = train(planted.CONFIG, planted.seen(), env, observers=[told.append])
    with_masks, without = (growth(backtest(one, planted.unseen())) / oracle for one in (agent, finished_run.agent))
    assert with_masks > 0.7 and with_masks > without - 0.1, f"{with_masks:.2f} with masks, {without:.2f} without"
    refused = [row["rejected_orders_per_step"] for progress in told for row in progress.rows]
    assert np.mean(refused) < np.mean([row["rejected_orders_per_step"] for row in finished_run.rows])


@pytest.mark.thorough
def test_an_untrained_agent_earns_nothing_of_it(finished_run, oracle):
    learner, params, _ = make_learner(planted.CONFIG, planted.seen(), planted.ENV.config)
    fresh = learner.init(jax.random.key(planted.CONFIG.seed), params).agent
    untrained = dataclasses.replace(finished_run.agent, params=fresh)
    drawn = [growth(backtest(untrained, planted.unseen(), seed=seed)) / oracle for seed in range(4)]
    assert np.max(np.abs(drawn)) < 0.5 and abs(np.mean(drawn)) < 0.3


def test_training_moves_what_it_should(finished_run):
    rows = finished_run.rows
    first, last = rows[:4], rows[-4:]
    mean = lambda part, name: np.mean([row[name] for row in part])  # noqa: E731
    assert mean(last, "reward_per_step") > mean(first, "reward_per_step") + 2e-4
    assert mean(last, "entropy") < mean(first, "entropy") - 0.1
    assert mean(first, "entropy") == pytest.approx(np.log(3), abs=0.15)
    assert all(row["first_kl"] < 1e-6 for row in rows)
