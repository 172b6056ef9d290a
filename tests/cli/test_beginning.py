"""What a run says before hours are spent, and the command to type after it."""

import dataclasses
import shlex
import sys

import jax
import numpy as np
import pytest

from ploutos_jax.cli.beginning import describe_bars, describe_machine, describe_start, next_command
from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.runs.settings import RunSettings, parse_settings
from ploutos_jax.train.episode_figures import EpisodeFigures
from ploutos_jax.train.progress import describe_figures


@pytest.fixture(scope="module")
def daily():
    return build_market(synthetic_panel(jax.random.key(0), num_assets=1, num_bars=60), "minimal")


@pytest.mark.parametrize("data", ["synthetic", "synthetic:2", "planted:3:0.5"])
def test_the_first_line_says_device_folder_and_that_bars_are_made_up(tmp_path, data):
    settings = RunSettings(data=DataConfig(data), resume=True)
    line = describe_start(settings, tmp_path / "my run")
    assert f"Run folder {tmp_path / 'my run'}, which goes on; device cpu; data {data} (made up" in line
    assert "\n" not in line


def test_a_file_is_not_called_made_up(tmp_path):
    assert describe_start(RunSettings(data=DataConfig("bars.csv")), tmp_path).endswith("device cpu; data bars.csv.")


@pytest.mark.thorough
def test_presets_for_another_machine_or_other_bars_are_told(daily):
    said = describe_machine(parse_settings(["--preset", "gpu"]))
    assert said and "JAX finds no GPU" in said and "100,000,000 steps" in said
    of_minutes = {"sentio", "sentio-maskable", "sentio-enhanced"}
    for preset in of_minutes:
        said = describe_bars(parse_settings(["--preset", preset, "--data", "bars.csv"]), daily)
        assert said and "is for bars of a minute, and these bars are days" in said
    calendar = dataclasses.replace(daily.calendar, bars_per_session=390.0)
    minutes = daily.replace(labels=dataclasses.replace(daily.labels, calendar=calendar))
    assert describe_bars(parse_settings(["--preset", "sentio"]), minutes) is None
    for preset in set(PRESETS) - of_minutes - {"gpu"}:
        settings = parse_settings(["--preset", preset])
        assert describe_machine(settings) is None and describe_bars(settings, daily) is None


@pytest.mark.parametrize("called", ["train.py", "ploutos train"])
@pytest.mark.parametrize(
    ("data", "more"),
    [
        (DataConfig("synthetic:2"), []),
        (DataConfig("my bars.csv"), ["--data", "HERE/my bars.csv"]),
        (DataConfig("bootstrap:bars.csv"), ["--data", "bootstrap:HERE/bars.csv"]),
        (DataConfig("bars.csv", universe="in.csv"), ["--data", "HERE/bars.csv", "--universe", "HERE/in.csv"]),
    ],
    ids=["synthetic", "a file", "resampled", "a universe"],
)
def test_the_next_command_runs_from_any_folder(tmp_path, monkeypatch, data, more, called):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [called])
    run = tmp_path / "run; 1"
    words = shlex.split(next_command(RunSettings(data=data), run.relative_to(tmp_path)))
    assert words[0] == sys.executable
    at = words.index("--checkpoint")
    assert words[at:] == [
        *("--checkpoint", str(run), "--stress", "16", "--output", str(run / "stress")),
        *(word.replace("HERE", str(tmp_path)) for word in more),
    ]
    assert words[1:at] == (["-m", "ploutos_jax.cli.main", "evaluate"] if "ploutos" in called else words[1:2])


def test_the_held_out_score_stands_in_the_progress_line():
    figures = {"loss": 0.5, "held_out_score": -0.25}
    assert describe_figures(figures).endswith("equity –  held out -0.25")
    assert "held out" not in describe_figures({"loss": 0.5})


def test_figures_by_episode_are_those_of_the_whole_run():
    rows = [{"episodes": 0.0, "trades": 3.0}, {"episodes": 4.0, "trades": 5.0}, {"episodes": 2.0, "trades": 4.0}]
    figures = EpisodeFigures([], 20)
    seen = [figures.added(row) for row in rows]
    assert seen[0] == {"episode_length_mean": None, "trades_per_episode": None}
    assert seen[1:] == [
        {"episode_length_mean": 10.0, "trades_per_episode": 2.0},
        {"episode_length_mean": 10.0, "trades_per_episode": 2.0},
    ]
    # A run that goes on counts on from its rows, whatever else stands in them.
    again = EpisodeFigures(rows[:2], 20)
    assert again.added(rows[2]) == seen[2]
    assert EpisodeFigures([{"episodes": "x", "trades": None}], 5).added({})["episode_length_mean"] is None
    assert np.isfinite(seen[2]["trades_per_episode"])
