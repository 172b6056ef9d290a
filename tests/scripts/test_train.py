"""scripts/train.py: what a run leaves behind, says, repeats, and survives."""

import json
import math
import shlex
import signal
import sys
import time

import jax
import pytest
import yaml

from ploutos_jax.evaluate.backtest.baselines import RULES
from ploutos_jax.runs.presets import PRESETS
from ploutos_jax.train.checkpoints.checkpoint import restore
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.scripts.command_line import ROOT, TICKERS, call, start, train_args, wait, write_bars

FIGURES = {
    "update",
    "timesteps",
    "seconds",
    "steps_per_second",
    "episode_return_mean",
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "explained_variance",
    "learning_rate",
    "grad_norm",
}
CLOCK = MACHINE_FIGURES
STRATEGIES = ("agent", *RULES, "random")


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def read_figures(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=refuse_constant) for line in lines]


def without_clock(rows):
    return [{name: value for name, value in row.items() if name not in CLOCK} for row in rows]


def flat(settings):
    leaves = {}
    for name, value in settings.items():
        leaves |= flat(value) if isinstance(value, dict) else {name: value}
    return leaves


def test_run_folder_is_complete(finished):
    known = {"config.yaml", "metrics.jsonl", "summary.json", "tensorboard", "checkpoints", "best"}
    assert finished.names == known | {"run.log", "run_id", "report", "training.png"}
    assert any((finished.folder / "tensorboard").iterdir())
    rows = read_figures(finished.folder)
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    assert [row["timesteps"] for row in rows] == [64, 128, 192, 256]
    for row in rows:
        assert set(row) >= FIGURES
        assert all(value is None or math.isfinite(value) for value in row.values())
    assert all(row["seconds"] > 0 and row["steps_per_second"] > 0 for row in rows)
    assert rows[0]["learning_rate"] == pytest.approx(PRESETS["default"]["train"]["learning_rate"])
    assert [row["update"] for row in rows if "held_out_score" in row] == [1, 2, 3, 4]
    summary = json.loads((finished.folder / "summary.json").read_text())
    best = max(rows, key=lambda row: row["held_out_score"])
    assert (summary["best"]["update"], summary["best"]["score"]) == (best["update"], best["held_out_score"])
    assert {name: summary[name] for name in rows[-1]} == rows[-1]


def test_the_summary_says_how_the_result_was_made(finished):
    summary = json.loads((finished.folder / "summary.json").read_text(), parse_constant=refuse_constant)
    assert summary["versions"]["jax"] == jax.__version__ and summary["versions"]["python"]
    assert summary["git_commit"] is None or len(summary["git_commit"].removesuffix("-dirty")) == 40
    assert summary["device"]["platform"] == "cpu"
    assert summary["data"]["num_assets"] == 3 and len(summary["data"]["fingerprint"]) == 64
    assert summary["compile_seconds"] > 0 and summary["host_memory_bytes"] > 2**20
    assert summary["final_score"]["num_trades"] is not None and summary["final_score_bars"]["last"] > "2016"
    growth, months = summary["growth_per_step"], summary["projection"]
    for days in (21, 22):
        assert months[f"month_of_{days}_days_in_sample"] == pytest.approx(math.exp(days * growth) - 1, rel=1e-6)
    line = next(line for line in finished.outcome.out.splitlines() if line.startswith("In sample"))
    assert "no forecast" in line and f"{months['month_of_21_days_in_sample']:+.2%} in a month of 21" in line


def test_without_a_terminal_progress_is_plain_lines(finished):
    lines = [line for line in finished.outcome.err.splitlines() if line.strip()]
    assert lines[0] == "compiling"
    assert lines[-1].startswith("100%  256/256 steps  ")
    for word in ("steps/s", " left", "reward ", "loss ", "entropy ", "KL ", "equity $"):
        assert word in lines[-1]
    assert "\x1b" not in finished.outcome.err


@pytest.mark.thorough
def test_enough_episodes_end_a_run(finished, tmp_path):
    outcome = call("train", train_args(finished.data, "run", 50, "--episodes", "9"), tmp_path)
    assert outcome.code == 0, outcome.err
    assert "Stopped before the last update: " in outcome.out and "episodes have ended, 9 were asked for." in outcome.out
    rows = read_figures(tmp_path / "run")
    assert sum(row["episodes"] for row in rows) >= 9 and len(rows) < 50
    assert restore(tmp_path / "run").step == len(rows)


def test_configuration_is_complete(finished):
    stored = yaml.safe_load((finished.folder / "config.yaml").read_text(encoding="utf-8"))
    assert set(stored) >= {"preset", "deterministic", "data", "env", "train"}
    assert stored["data"]["data"] == str(finished.data)
    leaves = flat(stored)
    assert leaves["hidden"] == [8, 8] and leaves["num_envs"] == 8 and leaves["episode_length"] == 30
    assert leaves["spread_bps"] == 2.0 and leaves["seed"] == 7 and leaves["holdout"] == 0.2


def test_checkpoint_of_the_last_update_is_restored(finished):
    agent = restore(finished.folder)
    assert agent.step == 4
    assert agent.symbols == TICKERS
    assert agent.trained_from == "2015-01-05"
    assert all(bool(jax.numpy.isfinite(leaf).all()) for leaf in jax.tree.leaves(agent.params))


def test_result_and_next_command_are_printed(finished):
    lines = finished.outcome.out.splitlines()
    for name in STRATEGIES:
        assert any(line.startswith(name) and "%" in line for line in lines), name
    assert "bars never trained on" in finished.outcome.out
    words = shlex.split(lines[-1].removeprefix("Next: "))
    assert words[:3] == [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--checkpoint"]
    assert words[3:] == [str(finished.folder), "--stress", "16", "--output", str(finished.folder / "stress")]
    report = finished.folder / "report" / "report.html"
    assert f"Report, to be opened in a browser: {report}" in lines
    assert json.loads((report.parent / "metrics.json").read_text())["verdict"] in report.read_text()
    picture = finished.folder / "training.png"
    assert f"Curves of the training: {picture}" in lines and picture.read_bytes().startswith(b"\x89PNG")
    assert "Traceback" not in finished.outcome.err and "Warning" not in finished.outcome.err


@pytest.mark.thorough
def test_same_command_gives_the_same_bits(finished, tmp_path):
    outcome = call("train", train_args(finished.data, "again", 4), tmp_path)
    assert outcome.code == 0, outcome.err
    assert without_clock(read_figures(tmp_path / "again")) == without_clock(read_figures(finished.folder))


@pytest.mark.thorough
def test_another_seed_gives_another_run(finished, tmp_path):
    assert call("train", train_args(finished.data, "other", 4, "--seed", "1"), tmp_path).code == 0
    assert without_clock(read_figures(tmp_path / "other")) != without_clock(read_figures(finished.folder))


@pytest.mark.thorough
def test_stored_configuration_gives_the_same_run(finished, tmp_path):
    outcome = call("train", ["--config", str(finished.folder / "config.yaml"), "--output", "again"], tmp_path)
    assert outcome.code == 0, outcome.err
    assert without_clock(read_figures(tmp_path / "again")) == without_clock(read_figures(finished.folder))
    first, second = (
        yaml.safe_load((folder / "config.yaml").read_text()) for folder in (finished.folder, tmp_path / "again")
    )
    assert second == first | {"output": "again", "config": second["config"]}


@pytest.mark.slow
def test_several_seeds_give_a_mean_and_an_interval(finished, tmp_path):
    outcome = call("train", train_args(finished.data, "run", 2, "--num-seeds", "3", "--seed", "7"), tmp_path)
    assert outcome.code == 0, outcome.err
    lines = [line.split("  ")[0].strip() or line.strip().split("  ")[0] for line in outcome.out.splitlines()]
    names = ["agent, mean of 3", "95 % from", "95 % to", "seed 7", "seed 8", "seed 9", "ensemble of 3", "cash"]
    assert [line for line in lines if line in names] == names
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(), parse_constant=refuse_constant)
    assert [score["seed"] for score in summary["score_by_seed"]] == [7, 8, 9]
    returns = [score["total_return"] for score in summary["score_by_seed"]]
    assert summary["score_mean"]["total_return"] == pytest.approx(sum(returns) / 3)
    low, high = summary["score_interval_95"]["total_return"]
    assert low < summary["score_mean"]["total_return"] < high
    assert len(read_figures(tmp_path / "run")[-1]["episode_return_mean_by_seed"]) == 3
    assert [restore(tmp_path / "run", seed=i).step for i in range(3)] == [2, 2, 2]
    report = call("evaluate", ["--checkpoint", "run", "--agent", "2", "--output", "report"], tmp_path)
    assert report.code == 0, report.err
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["total_return"] == pytest.approx(returns[2], rel=1e-6)


@pytest.mark.thorough
def test_a_run_that_diverges_keeps_its_last_good_state(finished, tmp_path):
    outcome = call("train", train_args(finished.data, "run", 4, "--learning-rate", "1e30"), tmp_path)
    assert outcome.code == 2
    assert outcome.message.count("Error: ") == 1 and "Traceback" not in outcome.err
    assert "stopped in update 1: 5 gradient steps in a row were skipped because the value loss" in outcome.message
    assert "after update 0, is saved in run" in outcome.message
    agent = restore(tmp_path / "run")
    assert agent.step == 0 and all(bool(jax.numpy.isfinite(x).all()) for x in jax.tree.leaves(agent.params))


@pytest.mark.thorough
def test_default_output_is_the_next_free_folder(finished, tmp_path):
    args = train_args(finished.data, "unused", 1, "--quiet")
    args = args[:2] + args[4:]
    for number in (1, 2):
        outcome = call("train", args, tmp_path)
        assert outcome.code == 0, outcome.err
        assert f"--checkpoint {tmp_path}/checkpoints/run-{number} " in outcome.out
        assert (tmp_path / "checkpoints" / f"run-{number}" / "summary.json").is_file()
    resumed = call("train", [*args, "--resume"], tmp_path)
    assert resumed.code == 0 and "/checkpoints/run-2 " in resumed.out


@pytest.mark.thorough
def test_minutes_end_a_run_early_and_quietly(finished, tmp_path):
    args = train_args(finished.data, "run", 100_000, "--minutes", "0.01", "--quiet")
    began = time.monotonic()
    outcome = call("train", args, tmp_path)
    assert time.monotonic() - began < 120
    assert outcome.code == 0
    assert outcome.err == ""
    lines = [line for line in outcome.out.splitlines() if line.strip()]
    assert lines[0].startswith("Score on ") and lines[-1].startswith("Next: ")
    told = next(i for i, line in enumerate(lines) if line.startswith("What there was to be found"))
    assert [line.split("  ")[0] for line in lines[told - len(STRATEGIES) : told]] == list(STRATEGIES)
    assert [line[:12] for line in lines[told:] if line.startswith("What ")] == [
        "What there w",
        "What was fou",
        "What it cost",
    ]
    assert lines[-3].startswith("In sample") and lines[-2].startswith("The next command says")
    assert not {"report", "training.png"} & {path.name for path in (tmp_path / "run").iterdir()}
    rows = read_figures(tmp_path / "run")
    assert 0 < len(rows) < 100_000
    assert restore(tmp_path / "run").step == rows[-1]["update"]


@pytest.mark.thorough
def test_notes_on_the_data_are_shown(tmp_path):
    data = write_bars(tmp_path / "bars.csv")
    lines = data.read_text().splitlines()
    cells = lines[50].split(",")
    lines[50] = ",".join([*cells[:2], "-1", *cells[3:]])
    data.write_text("\n".join(lines) + "\n")
    outcome = call("train", train_args("bars.csv", "run", 1), tmp_path)
    assert outcome.code == 0, outcome.err
    assert any(line.startswith("Data: ") for line in outcome.out.splitlines())


@pytest.mark.thorough
def test_interrupted_run_is_continued(finished, tmp_path):
    num_updates = 1200
    args = train_args(finished.data, "run", num_updates)
    process = start("train", args, tmp_path)
    figures = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (figures.exists() and figures.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    outcome = wait(process, 60)
    assert outcome.code == 130, outcome.err
    assert "--resume" in outcome.out and "Traceback" not in outcome.err
    stopped = restore(tmp_path / "run").step
    assert 0 < stopped < num_updates
    assert read_figures(tmp_path / "run")[-1]["update"] == stopped

    outcome = call("train", [*args, "--resume"], tmp_path)
    assert outcome.code == 0, outcome.err
    assert [row["update"] for row in read_figures(tmp_path / "run")] == list(range(1, num_updates + 1))
    assert restore(tmp_path / "run").step == num_updates
    assert "Next: " in outcome.out
