"""Rules that end a run early, on curves whose course is known."""

import numpy as np
import pytest

from ploutos_jax.train.early_stopping import (
    MIN_RETURNS,
    PATIENCE,
    StoppingRules,
    describe_plateau,
    describe_settled,
    fit_rise,
)
from ploutos_jax.train.progress import Progress

NUM_CURVES = 200


def share_settled(shape, noise, num_updates=150):
    """Return the share of noisy curves of a shape, a function of the part of the run that is done, that are settled."""
    done = np.arange(num_updates) / num_updates
    draws = [np.random.default_rng(i).normal(0, noise, num_updates) for i in range(NUM_CURVES)]
    return np.mean([describe_settled(shape(done) + draw) is not None for draw in draws])


def test_curves_that_rise_are_not_settled_and_those_that_have_risen_are():
    assert share_settled(lambda x: x, noise=0.1) < 0.01
    assert share_settled(lambda x: np.log1p(20 * x), noise=0.1) < 0.05
    assert share_settled(lambda x: np.minimum(x, 0.3), noise=0.02) > 0.95
    assert share_settled(lambda x: 1 - np.exp(-15 * x), noise=0.1) > 0.8


def test_a_rise_is_not_taken_for_settled_however_often_it_is_asked():
    done = np.arange(150) / 150
    stopped = 0
    for i in range(40):
        curve = done + np.random.default_rng(i).normal(0, 0.05, 150)
        stopped += any(describe_settled(curve[:count]) for count in range(MIN_RETURNS, 151, 5))
    assert stopped <= 2


def test_a_run_that_learns_nothing_is_settled():
    assert share_settled(lambda x: 0 * x, noise=1.0) > 0.6
    assert share_settled(lambda x: -x, noise=0.1) > 0.95
    assert describe_settled([0.5] * 100) is None or "does not rise" in describe_settled([0.5] * 100)


def test_short_runs_are_not_judged():
    assert describe_settled([0.0] * (MIN_RETURNS - 1)) is None
    assert "over the last" in describe_settled(list(np.linspace(0, 1, 20)) + [1.0] * 60)


def test_the_line_is_that_of_least_squares():
    values = np.random.default_rng(0).normal(size=57).cumsum()
    means = [group.mean() for group in np.array_split(values, 10)]
    (slope, _), covariance = np.polyfit(np.arange(10), means, 1, cov=True)
    rise, error = fit_rise(values)
    assert rise == pytest.approx(9 * slope)
    assert error == pytest.approx(9 * np.sqrt(covariance[0, 0]))


@pytest.mark.parametrize(
    ("scores", "is_plateau"),
    [
        ([], False),
        ([1.0] * PATIENCE, False),
        ([1.0] * (PATIENCE + 1), True),
        ([0.0, 1.0, *[0.9] * (PATIENCE - 1)], False),
        ([0.0, 1.0, *[0.9] * PATIENCE], True),
        ([0.0, 1.0, *[0.9] * (PATIENCE - 1), 1.1], False),
        ([-3.0, *[-4.0] * PATIENCE], True),
    ],
)
def test_scores_without_a_new_best_are_a_plateau(scores, is_plateau):
    assert (describe_plateau(scores) is not None) == is_plateau


def progress(*rows):
    return Progress(rows=rows, done_timesteps=rows[-1]["update"], total_timesteps=10_000)


def row(update, episodes=1.0, episode_return=0.0, **more):
    return {"update": update, "episodes": episodes, "episode_return_mean": episode_return, **more}


def test_episodes_are_counted_and_those_made_again_once():
    rules = StoppingRules(episodes=10, rows=[row(1, 4.0), row(2, 4.0), row(3, 4.0)])
    assert not rules.should_stop(), "nothing is asked before the run goes on"
    rules(progress(row(2, 3.0)))
    assert not rules.should_stop(), "4 and 3: the updates after the checkpoint are made again"
    rules(progress(row(3, 2.0), row(4, 2.0)))
    assert rules.should_stop() and "11 episodes have ended, 10 were asked for" in rules.reason


def test_held_out_scores_go_before_returns():
    rules = StoppingRules(until_converged=True)
    flat = [row(i, held_out_score=float(i)) if i % 20 == 0 else row(i) for i in range(1, 121)]
    rules(progress(*flat))
    assert not rules.should_stop(), "returns have settled, scores still rise"
    rules(progress(*[row(i, held_out_score=0.0) for i in range(121, 121 + PATIENCE)]))
    assert rules.reason.startswith("converged: none of the last 4 held-out scores")


def test_rules_that_are_off_never_stop():
    rules = StoppingRules()
    rules(progress(*[row(i, 1e6) for i in range(1, 200)]))
    assert not rules.should_stop() and rules.reason is None
    returns = StoppingRules(until_converged=True)
    returns(progress(*[row(i, episode_return=min(i, 50) / 50) for i in range(1, 200)]))
    assert "less than a tenth" in returns.reason


def test_minutes_are_those_of_training_and_say_that_they_ended_it():
    rules = StoppingRules(minutes=0.5)
    # What compiling took stands in a figure of its own.
    rules(progress(row(1, seconds=29.9, compile_seconds=600.0)))
    assert not rules.should_stop()
    rules(progress(row(2, seconds=30.1, compile_seconds=600.0)))
    assert rules.reason == "its 0.5 minutes (--minutes) are over, compiling not counted"
    last = StoppingRules(minutes=0.5, episodes=1)
    last(Progress(rows=[row(9, seconds=99.0)], done_timesteps=10_000, total_timesteps=10_000))
    assert last.reason is None, "it ended by itself"


def test_episodes_are_asked_for_after_every_update():
    assert StoppingRules(episodes=3).max_updates_per_call == 1
    assert StoppingRules(minutes=3, until_converged=True).max_updates_per_call > 1
