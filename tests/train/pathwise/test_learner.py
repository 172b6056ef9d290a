"""Learning by derivatives: it finds what is planted, goes on bit for bit, and refuses what it cannot learn through."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import oracle
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.checkpoints.checkpoint import restore
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train, train_seeds
from ploutos_jax.train.run.folder import read_figures
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.train import planted
from tests.train.worlds import assert_identical

ENV = TradingEnv(dataclasses.replace(planted.ENV.config, action="bands"))
CONFIG = TrainConfig(
    algorithm="pathwise",
    num_envs=32,
    rollout_length=16,
    total_timesteps=16 * 32 * 40,
    num_minibatches=8,
    num_epochs=1,
    learning_rate=1e-2,
    max_grad_norm=1.0,
    gae_lambda=1.0,
    average=0.9,
    checkpoint_every=16 * 32 * 16,
    policy=PolicyConfig(hidden=(16,), width=8, sees_account=False),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder, the agent and the rows of a run of 40 updates."""
    folder = tmp_path_factory.mktemp("pathwise") / "whole"
    return folder, train(CONFIG, planted.seen(), ENV, output=folder), read_figures(folder)


@pytest.mark.thorough
def test_it_finds_what_is_planted(whole):
    _, agent, _ = whole
    unseen = planted.unseen()
    best = expected_edge_of(baselines_by_rule(unseen, ENV.config, {"oracle": oracle})["oracle"], unseen).net
    assert expected_edge_of(backtest(agent, unseen), unseen).net > 0.9 * best


@pytest.mark.thorough
def test_figures_are_those_of_this_learner(whole):
    _, _, rows = whole
    assert len(rows) == 40
    assert not {"clip_fraction", "approx_kl", "policy_loss", "loss"} & rows[-1].keys(), "there is nothing of the kind"
    shown = ("objective", "pull", "value_loss", "explained_variance", "grad_norm", "turnover_per_step", "sharpe")
    assert all(np.isfinite(row[name]) for row in rows for name in shown)
    assert rows[-1]["growth_per_step"] > rows[0]["growth_per_step"]
    assert rows[-1]["objective"] == pytest.approx(rows[-1]["reward_per_step"], rel=1e-4)


@pytest.mark.thorough
def test_a_run_goes_on_bit_for_bit(whole, tmp_path):
    _, agent, rows = whole
    told = []
    train(
        CONFIG,
        planted.seen(),
        ENV,
        output=tmp_path / "run",
        observers=[lambda progress: told.append(progress.done_timesteps)],
        should_stop=lambda: bool(told) and told[-1] >= 16 * 32 * 10,
    )
    assert told[-1] < CONFIG.total_timesteps
    resumed = train(CONFIG, planted.seen(), ENV, output=tmp_path / "run", resume=True)
    assert_identical(resumed.params, agent.params)
    first, second = (
        [{name: value for name, value in row.items() if name not in MACHINE_FIGURES} for row in each]
        for each in (rows, read_figures(tmp_path / "run"))
    )
    assert first == second


@pytest.mark.thorough
def test_it_cannot_go_on_as_another_learner(whole):
    folder, *_ = whole
    with pytest.raises(ValueError, match="algorithm: pathwise -> ppo"):
        train(dataclasses.replace(CONFIG, algorithm="ppo"), planted.seen(), ENV, output=folder, resume=True)


@pytest.mark.thorough
def test_a_checkpoint_is_an_agent(whole):
    folder, agent, _ = whole
    assert_identical(restore(folder).params, agent.params)


@pytest.mark.slow
def test_a_seed_of_several_is_the_run_of_that_seed(whole):
    _, agent, _ = whole
    both = train_seeds(dataclasses.replace(CONFIG, num_seeds=2), planted.seen(), ENV)
    alone, together = (jax.tree.leaves(x.params.network) for x in (agent, both[0]))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.05, atol=0.05)
    assert backtest(both[0], planted.unseen()).equity[-1] == pytest.approx(
        backtest(agent, planted.unseen()).equity[-1], rel=0.02
    )


@pytest.mark.parametrize(
    ("rules", "settings", "message"),
    [
        ({"action": "discrete"}, {}, "action='discrete' chooses among a few"),
        ({"action": "levels"}, {}, "action='levels' chooses among a few"),
        ({"lot_size": 1.0}, {}, "lot_size=1 rounds every order to whole lots"),
        ({"stop_loss": 0.02}, {}, "stop_loss closes positions at an event.*algorithm='mixed'"),
        ({"take_profit": 0.02, "max_holding_bars": 5}, {}, "take_profit, max_holding_bars close positions"),
        ({"stop_loss": 0.02}, {"algorithm": "mixed", "mix": 1.0}, "stop_loss closes positions at an event"),
        ({"lot_size": 1.0}, {"algorithm": "mixed"}, "lot_size=1 rounds every order"),
        ({}, {"algorithm": "mixed", "num_envs": 1, "num_minibatches": 1}, "num_envs=1 is too few"),
        ({}, {"algorithm": "mixed", "objective": "sharpe"}, "objective='sharpe': PPO"),
    ],
)
def test_what_has_no_true_derivative_is_refused(rules, settings, message):
    env = TradingEnv(dataclasses.replace(ENV.config, **rules))
    with pytest.raises(ValueError, match=message):
        train(dataclasses.replace(CONFIG, **settings), planted.seen(), env)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "sac"}, "algorithm='sac' is unknown; use 'ppo', 'pathwise' or 'mixed'"),
        ({"objective": "luck"}, "objective='luck' is unknown"),
        ({"algorithm": "ppo", "objective": "sharpe"}, "PPO follows the reward"),
        ({"mix": 0.5}, "mix=0.5 says how algorithm='mixed' weighs"),
        ({"policy": PolicyConfig(credit="joint")}, "it needs credit='per_asset'"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **settings)


def test_the_flag_brings_settings_that_suit_it():
    plain = parse_settings([]).train
    asked = parse_settings(["--algorithm", "pathwise", "--objective", "cvar", "--tail", "0.1"]).train
    assert (plain.algorithm, plain.num_epochs) == ("ppo", 4)
    assert (asked.algorithm, asked.num_epochs, asked.objective, asked.tail) == ("pathwise", 1, "cvar", 0.1)
    assert parse_settings(["--algorithm", "pathwise", "--num-epochs", "2"]).train.num_epochs == 2


@pytest.mark.thorough
def test_an_objective_is_followed():
    """With turnover very dear nothing is traded once a position is taken."""
    config = dataclasses.replace(
        CONFIG, objective="growth_less_turnover", turnover_penalty=1.0, total_timesteps=16 * 32 * 20
    )
    rows = []
    train(config, planted.seen(), ENV, observers=[lambda progress: rows.extend(progress.rows)])
    assert rows[-1]["turnover_per_step"] < 0.25 * rows[0]["turnover_per_step"]
