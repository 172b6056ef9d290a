"""Sweeps: what a command line searches, which bars choose, and studies with Ray where it is installed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.cli.sweep_settings import read_sweep
from ploutos_jax.datasets.config import DataConfig, read_market, split_market
from ploutos_jax.evaluate.report.sweep_picture import draw_study
from ploutos_jax.experiment.study.choosing import choosing_bars
from ploutos_jax.experiment.study.grid import is_one_program
from ploutos_jax.experiment.study.outcome import best_of, trials_of
from ploutos_jax.experiment.study.space import Choice, Range, grid_of, read_space
from ploutos_jax.experiment.study.trial import at_point, name_of
from ploutos_jax.runs.settings import RunSettings, parse_settings

ROOT = Path(__file__).resolve().parents[2]


def test_a_space_is_lists_and_ranges():
    words = ["lr=1e-4,1e-3", "num-envs=32,64", "gamma=0.9:0.99", "num_epochs=1:8", "entropy_coef=1e-4:1e-1:log"]
    space = read_space([*words, "target_kl=none,0.02", "action=bands"])
    assert space == {
        "learning_rate": Choice((1e-4, 1e-3)),
        "num_envs": Choice((32, 64)),
        "gamma": Range(0.9, 0.99),
        "num_epochs": Range(1, 8),
        "entropy_coef": Range(1e-4, 0.1, True),
        "target_kl": Choice((None, 0.02)),
        "action": Choice(("bands",)),
    }
    parts = [space["num_epochs"], space["gamma"]]
    assert [part.is_whole for part in parts if isinstance(part, Range)] == [True, False]
    assert grid_of(read_space(["a=1,2", "b=x,y"])) == {"a": (1, 2), "b": ("x", "y")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Nothing to sweep over"),
        (["learning_rate"], "over='learning_rate' cannot be read; write NAME=A,B,C"),
        (["gamma=1:0"], "gamma=1:0 is no range"),
        (["gamma=0:1:log"], "a range by its logarithm begins above 0"),
        (["gamma=0.9,0.9"], "names a value twice"),
        (["lr=1e-3", "learning_rate=1e-4"], "names learning_rate twice"),
    ],
)
def test_what_is_no_space_is_said(words, message):
    with pytest.raises(ValueError, match=message):
        read_space(words)


def test_a_range_is_no_grid():
    with pytest.raises(ValueError, match="say how many to try with --trials"):
        grid_of(read_space(["gamma=0.9:0.99"]))


def test_a_command_line_may_say_over_several_times():
    config, settings = read_sweep(
        ["--over", "lr=1e-4,1e-3", "--seed", "3", "--over", "gamma=0.9,0.95", "--trials", "4"]
    )
    assert config.over == ("lr=1e-4,1e-3", "gamma=0.9,0.95") and config.trials == 4 and settings.train.seed == 3


def test_the_bars_to_choose_on_touch_neither_training_nor_test():
    data = DataConfig("planted:3:0.3")
    market = read_market(data)
    training, test = split_market(market, data)
    bars = choosing_bars(market, data, 0.25, embargo=7)
    rows = {name: market.find_rows(*dates) for name, dates in (("trained", bars.trained), ("chosen", bars.chosen))}
    number = training.num_bars
    assert rows["trained"] == slice(0, number - round(0.25 * number) - 1 - 7)
    assert rows["chosen"] == slice(number - round(0.25 * number), number - 7)
    assert test is not None and bars.test is not None and np.array_equal(bars.test.times, test.times)
    # What a trial trains and scores on by these settings.
    trained, _ = split_market(market, bars.data)
    assert trained.num_bars == rows["trained"].stop
    with pytest.raises(ValueError, match="leave 0 bars to train on"):
        choosing_bars(market, data, 0.25, embargo=number)


def test_numbers_of_the_program_are_told_from_what_makes_another():
    settings = parse_settings(["--data", "planted:3:0.3"])
    market = read_market(settings.data)
    together = [
        is_one_program(settings, read_space(words), market)
        for words in (["lr=1e-3,1e-4", "spread_bps=1,5"], ["num_envs=32,64"], ["action=bands,weights"])
    ]
    assert together == [True, False, False]


def test_a_point_changes_settings_wherever_they_stand():
    found = at_point(RunSettings(), {"learning_rate": 0.5, "hidden": (8,), "features": "core_ranks"})
    assert (
        found.train.learning_rate == 0.5 and found.train.policy.hidden == (8,) and found.data.features == "core_ranks"
    )
    with pytest.raises(ValueError, match="trial with no_such=1: unknown setting"):
        at_point(RunSettings(), {"no_such": 1})
    assert name_of({"a": 1, "b": 2.5}) == name_of({"b": 2.5, "a": 1}) != name_of({"a": 1, "b": 2.0})


def test_the_best_trial_is_one_that_was_trained_to_its_end():
    table = pd.DataFrame(
        {"trial": list("abcd"), "score": [1.0, 3.0, 2.0, np.nan], "ended": ["whole", "early", "whole", "diverged"]}
    )
    best = best_of(table)
    assert best is not None and best["trial"] == "c"
    assert best_of(table[table["ended"] == "diverged"]) is None
    points = pd.DataFrame({"sharpe": [1.0, 2.0, np.nan]})
    trials = trials_of(Path("nowhere"), points, periods=4.0)
    assert trials.count == 3 and list(trials.sharpes) == [0.5, 1.0]


def test_a_picture_shows_each_trial_once():
    table = pd.DataFrame(
        {
            "rate": [1e-4, 1e-3, 1e-2],
            "kind": ["x", "y", "x"],
            "score": [0.1, 0.5, np.nan],
            "ended": ["early", "whole", "early"],
        }
    )
    figure = draw_study(table, ["rate", "kind"])
    points = [np.concatenate([one.get_offsets() for one in axes.collections[:2]]) for axes in figure.axes]
    assert sorted(map(tuple, points[0])) == [(1e-4, 0.1), (1e-3, 0.5)] and sorted(map(tuple, points[1])) == [
        (0, 0.1),
        (1, 0.5),
    ]
    assert figure.axes[0].get_xscale() == "linear"
    with pytest.raises(ValueError, match="No trial has a score"):
        draw_study(table.assign(score=np.nan), ["rate"])


needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("optuna") is None,
    reason="ray is not installed: extra sweep",
)


@needs_ray
@pytest.mark.slow
def test_a_study_whose_head_is_killed_goes_on(tmp_path):
    """Four short trials; killed when the second has begun, then resumed: four folders, each trained to its end."""
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "--data", "planted:3:0.3", "--num-envs", "8"]
    command += ["--rollout-length", "8", "--total-timesteps", "2048", "--eval-every", "512", "--scheduler", "none"]
    command += ["--over", "learning_rate=1e-4:1e-2:log", "--over", "num_epochs=1,2", "--trials", "4"]
    command += ["--output", str(tmp_path / "study"), "--at-once", "1"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    until = time.monotonic() + 400
    while len(list(tmp_path.glob("study/trial-*/metrics.jsonl"))) < 2 and time.monotonic() < until:
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(5)
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "study" / "sweep.csv")
    assert len(table) == 4 == len(list(tmp_path.glob("study/trial-*"))) and (table["ended"] == "whole").all()
    found = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert found["trials"] == table["scored"].sum() == 4 * table["scored"].iloc[0]
    assert found["score"] == pytest.approx(table["score"].max())
    assert (tmp_path / "study" / "sweep.png").read_bytes().startswith(b"\x89PNG")
