"""What a run shows while it goes: the bar of the terminal, lines in a file, a bar in a notebook."""

import dataclasses
import math

import pytest

from ploutos_jax.train.loop import train
from ploutos_jax.train.outlook import Outlook
from ploutos_jax.train.progress import NotebookBar, Progress, ProgressBar, describe_figures, describe_speed, showing
from tests.train import planted

ROW = {"steps_per_second": 2_000.0, "loss": 0.5, "equity": 101_000.0, "episode_return_mean": None}
HALF = Progress(rows=[ROW], done_timesteps=5_000, total_timesteps=10_000)
END = Progress(rows=[{**ROW, "episode_return_mean": 0.25}], done_timesteps=10_000, total_timesteps=10_000)


def test_speed_in_words():
    assert describe_speed(HALF) == "5.0k/10.0k steps  2.0k steps/s  0:02 left"


def test_a_run_of_so_many_minutes_is_told_when_they_end(capsys):
    slow = Progress([{**ROW, "steps_per_second": 1.0, "seconds": 30.0}], 5_000, 1_000_000)
    assert describe_speed(slow, 2.0).endswith(" 1:30 left") and describe_speed(slow).endswith(" 276:23:20 left")
    with ProgressBar(minutes=2.0) as bar:
        bar(slow)
        bar(dataclasses.replace(slow, rows=[{**ROW, "seconds": 121.0}]))
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith(" 25%  5.0k/1.0M steps") and lines[2].startswith("100%") and "0:00 left" in lines[2]


def test_a_file_gets_lines(capsys):
    with ProgressBar() as bar:
        bar(HALF)
        bar(END)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compiling" and lines[1].startswith(" 50%  5.0k/10.0k steps")
    assert lines[2].startswith("100%") and "reward +0.2500" in lines[2] and "equity $101,000" in lines[2]


def test_a_notebook_gets_a_bar():
    bar = NotebookBar()
    bar(END)  # outside of a cell nothing is shown, and the figures are kept
    page = bar.page(HALF)
    assert "<progress value='5000' max='10000'" in page and "50%  5.0k/10.0k steps" in page
    assert describe_figures({"loss": 0.5, "equity": 101_000.0, "episode_return_mean": 0.25}) in page


def test_nothing_is_shown_unless_asked(capsys):
    with showing(False) as observers:
        assert observers == ()
    assert capsys.readouterr().err == ""


@pytest.mark.thorough
def test_training_shows_itself(capsys):
    config = dataclasses.replace(planted.CONFIG, total_timesteps=2 * planted.CONFIG.timesteps_per_update)
    train(config, planted.seen(), planted.ENV, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "compiling" and lines[-1].startswith("100%") and "equity $" in lines[-1]


def test_a_target_stands_beside_what_a_month_would_be(capsys):
    outlook = Outlook(target=0.1, bars_per_day=390.0)
    growth = math.log(1.05) / (21 * 390)
    rows = [{**ROW, "growth_per_step": -1.0}] * 9 + [{**ROW, "growth_per_step": growth}]
    words = "in sample +5.00%/+5.24% in 21/22 days, target +10%"
    assert outlook.describe(rows) == words and outlook.describe([ROW]) == ""
    with ProgressBar(outlook=outlook) as bar:
        bar(Progress(rows[:9], 9, 10))
        bar(Progress(rows[9:], 10, 10))
    assert capsys.readouterr().err.splitlines()[-1].endswith(words)
    assert outlook.monthly(rows[-1])["monthly_gain"] == pytest.approx(0.05)
