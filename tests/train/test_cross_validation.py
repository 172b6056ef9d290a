"""Folds: one program for all of them, each trained as if it were alone, nothing of one in another."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.agents.scaling import fit_features
from ploutos_jax.datasets.splits import Window, cut
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train import updates
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.cross_validation import FoldTrainer
from ploutos_jax.train.learning.divergence import DivergedError
from ploutos_jax.train.loop import train_seeds
from tests.train.worlds import SHARED, largest_difference, random_market

pytestmark = pytest.mark.thorough

ENV = TradingEnv(EnvConfig(episode_length=10, fees="none"))
CONFIG = TrainConfig(
    num_envs=8, rollout_length=4, num_minibatches=2, num_epochs=2, total_timesteps=96, num_seeds=2, policy=SHARED
)
WINDOWS = [
    (Window(0, 50),),
    (Window(0, 20), Window(30, 52)),
    (Window(0, 8), Window(31, 62)),  # the first piece is too short for an episode
]


@pytest.fixture(scope="module")
def markets():
    whole = random_market(num_bars=70)
    return [cut(whole, windows) for windows in WINDOWS]


@pytest.fixture(scope="module")
def trainer(markets):
    return FoldTrainer(CONFIG, ENV, markets)


def train_folds(trainer, markets, num_stages=2, **more):
    stages = []
    assert trainer.train(markets, num_stages, lambda *given: stages.append(given), **more)
    return stages


@pytest.fixture(scope="module")
def trained(trainer, markets):
    updates.run_updates.clear_cache()
    stages = [train_folds(trainer, [market]) for market in markets]
    return stages, updates.run_updates._cache_size()


def test_all_folds_are_one_program(trained):
    stages, programs = trained
    assert programs == 1
    assert [[agents[0][0].step for _, agents, _ in fold] for fold in stages] == [[2, 3]] * 3
    assert [len(agents[0]) for _, agents, _ in stages[0]] == [2, 2]
    figures = stages[0][-1][2]
    assert figures["entropy"].shape == (1, 2) and figures["update"].tolist() == [[3, 3]]


def test_timing_an_update_changes_nothing_and_compiles_nothing_more(trainer, trained, markets):
    assert trainer.seconds_of_update(markets[:1]) > 0
    again = train_folds(trainer, markets[:1])
    assert updates.run_updates._cache_size() == trained[1]
    for before, after in zip(trained[0][0][-1][1][0], again[-1][1][0], strict=True):
        jax.tree.map(np.testing.assert_array_equal, before.params, after.params)


@pytest.mark.slow
def test_a_fold_is_trained_as_a_run_of_its_own(trained, markets):
    """The first fold has fewer rows and more starts than others; give the run the same starts, and it is the same."""
    trainer = FoldTrainer(CONFIG, ENV, markets[:1])
    agents = train_folds(trainer, markets[:1])[-1][1][0]
    alone = train_seeds(CONFIG, markets[0], ENV)
    for mine, other in zip(agents, alone, strict=True):
        assert largest_difference(mine.params, other.params) < 1e-4
        assert (mine.sectors, mine.trained_from, mine.trained_to) == (
            other.sectors,
            other.trained_from,
            other.trained_to,
        )


@pytest.mark.slow
def test_side_by_side_they_become_what_they_are_one_by_one(trained, markets):
    trainer = FoldTrainer(CONFIG, ENV, markets, folds_at_once=2)
    first = train_folds(trainer, markets[:2])[-1][1]
    last = train_folds(trainer, markets[2:])[-1][1]
    assert len(last) == 1
    for fold, agents in enumerate([*first, *last]):
        for seed, agent in enumerate(agents):
            alone = trained[0][fold][-1][1][0][seed]
            assert largest_difference(agent.params, alone.params) < 1e-3, (fold, seed)


def test_scaling_is_fitted_on_the_rows_of_the_fold(trained, markets):
    for fold, market in zip(trained[0], markets, strict=True):
        fitted = fit_features(market.features, market.tradable)
        for agent in fold[-1][1][0]:
            np.testing.assert_array_equal(agent.params.scaling.features.centre, fitted.centre)
            np.testing.assert_array_equal(agent.params.scaling.features.spread, fitted.spread)


def test_no_episode_leaves_its_window(trainer, markets):
    rows = max(market.num_bars for market in markets)
    for market in markets:
        params = trainer.params_of(market)
        assert params.market.close.shape[0] == rows
        starts, ends = np.asarray(params.starts), np.asarray(market.path_end)
        assert len(starts) == len(set(starts.tolist())) == 21
        assert (starts + ENV.config.episode_length <= ends[starts]).all()
        assert not np.asarray(params.market.tradable)[market.num_bars :].any()


def test_folds_without_room_for_an_episode_are_refused(markets):
    short = cut(random_market(num_bars=70), (Window(0, 9), Window(20, 30)))
    with pytest.raises(ValueError, match="An episode of 10 bars does not fit"):
        FoldTrainer(CONFIG, ENV, [*markets, short])
    with pytest.raises(ValueError, match="folds_at_once=0"):
        FoldTrainer(CONFIG, ENV, markets, folds_at_once=0)


def test_a_fold_that_diverges_says_so(trainer, markets, trained):
    hyper = jax.tree.map(lambda x: float("nan"), CONFIG.hyper())
    hyper = dataclasses.replace(CONFIG.hyper(), clip_range=hyper.clip_range)
    with pytest.raises(DivergedError, match="gradient steps in a row were skipped"):
        train_folds(trainer, markets[:1], num_stages=1, hyper=hyper)


def test_a_run_can_be_stopped_between_parts(trainer, markets):
    parts = []
    assert not trainer.train(markets[:1], 2, lambda *given: parts.append(given[0]), should_stop=lambda: True)
    assert parts == [1]
