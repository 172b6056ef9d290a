"""Runs used from elsewhere, made longer, and scored or compared on files that hold something else."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.scripts.command_line import TICKERS, call, train_args, write_bars

pytestmark = pytest.mark.thorough


def rows_of(folder):
    return (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, next to a copy of its data under another name."""
    shutil.copytree(finished.folder, tmp_path / "run")
    shutil.copy(finished.data, tmp_path / "moved.csv")
    return tmp_path / "run"


def test_a_run_goes_on_with_the_same_bars_at_another_place(run, tmp_path):
    outcome = call("train", train_args("moved.csv", "run", 6, "--resume", "--quiet"), tmp_path)
    assert outcome.code == 0, outcome.err
    assert len(rows_of(run)) == 6


def test_other_bars_at_another_place_are_refused(run, tmp_path):
    rows = pd.read_csv(tmp_path / "moved.csv")
    rows.loc[100, "close"] *= 1.001
    rows.loc[100, "high"] *= 1.01
    rows.to_csv(tmp_path / "moved.csv", index=False)
    for data in ("moved.csv", "synthetic"):
        outcome = call("train", train_args(data, "run", 6, "--resume"), tmp_path)
        assert outcome.code == 2 and ("other data" in outcome.message or "data: " in outcome.message)
    assert len(rows_of(run)) == 4


def test_a_file_that_has_moved_is_named_with_its_run(run, tmp_path):
    """Of a run that goes on, and of one that is scored."""
    text = (run / "config.yaml").read_text(encoding="utf-8")
    data = next(line for line in text.splitlines() if line.strip().startswith("data: /"))
    (run / "config.yaml").write_text(text.replace(data, "  data: gone.csv"), encoding="utf-8")
    for script, words in (
        ("train", ["--config", "run/config.yaml", "--output", "run", "--resume"]),
        ("evaluate", ["--checkpoint", "run", "--output", "report"]),
        ("evaluate", ["--compare", "run", "run", "--output", "report"]),
    ):
        outcome = call(script, words, tmp_path)
        assert outcome.code == 2 and "gone.csv" in outcome.message, script
        assert "The run in run names that file" in outcome.message and "--data" in outcome.message
    for script in ("train", "validate"):
        again = call(script, ["--config", "run/config.yaml", "--output", "new"], tmp_path)
        assert again.code == 2 and "run/config.yaml names that file" in again.message, again.message
        named = call(script, ["--config", "run/config.yaml", "--output", "new", "--data", "other.csv"], tmp_path)
        assert named.code == 2 and "names that file" not in named.message, named.message
    named = call("evaluate", ["--checkpoint", "run", "--output", "report", "--data", "nowhere.csv"], tmp_path)
    assert named.code == 2 and "The run in" not in named.message


@pytest.mark.parametrize("more", [(), ("--rollout-length", "8"), ("--batch-size", "32")], ids=["", "named", "batch"])
def test_a_run_whose_rollout_was_chosen_for_it_is_made_longer(finished, tmp_path, more):
    words = [*train_args(finished.data, "run", 2, "--quiet")]
    at = words.index("--rollout-length")
    words = words[:at] + words[at + 2 :]
    of_batch = more if "--batch-size" in more else ()
    assert call("train", [*words, *of_batch], tmp_path).code == 0
    longer = [*words, *more, "--resume", "--total-timesteps", "100000", "--minutes", "0.02"]
    outcome = call("train", longer, tmp_path)
    assert outcome.code == 0, outcome.err
    assert len(rows_of(tmp_path / "run")) > 2
    other = call("train", [*words, *of_batch, "--resume", "--rollout-length", "16"], tmp_path)
    assert other.code == 2 and "rollout_length: 8 -> 16" in other.message


def test_missing_tickers_are_named(finished, tmp_path):
    rows = pd.read_csv(finished.data)
    renamed = rows.replace({"ticker": {"AAA": "ANEW", "CCC": "CNEW"}})
    renamed.to_csv(tmp_path / "renamed.csv", index=False)
    words = ["--checkpoint", str(finished.folder), "--data", "renamed.csv", "--output", "report"]
    outcome = call("evaluate", words, tmp_path)
    assert outcome.code == 0, outcome.err
    assert "renamed.csv lacks AAA, CCC of the 3 tickers" in outcome.out
    facts = json.loads((tmp_path / "report" / "metrics.json").read_text())["facts"]
    assert facts["data"] == "renamed.csv, 1 tickers; lacks AAA, CCC of the agent's 3"


def test_weekly_bars_are_not_those_of_training(finished, tmp_path):
    rows = pd.read_csv(finished.data)
    days = {day: str(np.datetime64("2018-01-05") + 7 * i) for i, day in enumerate(sorted(set(rows["date"])))}
    rows.assign(date=rows["date"].map(days)).to_csv(tmp_path / "weeks.csv", index=False)
    words = ["--checkpoint", str(finished.folder), "--data", "weeks.csv", "--output", "report"]
    outcome = call("evaluate", words, tmp_path)
    assert outcome.code == 0, outcome.err
    assert "weekly bars; trained on daily bars" in " ".join(outcome.out.split())
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["provenance"]["sample"] == "unknown" and not metrics["verdict"].startswith("Ahead")


def test_runs_are_compared_over_the_assets_that_they_share(run, finished, tmp_path):
    write_bars(tmp_path / "more.csv", tickers=(*TICKERS, "DDD"))
    assert call("train", train_args("more.csv", "wide", 1, "--quiet"), tmp_path).code == 0
    outcome = call("evaluate", ["--compare", "run", "wide", "--output", "both"], tmp_path)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "all are scored on the 3 that they share; wide was trained on DDD too" in said
    content = json.loads((tmp_path / "both" / "metrics.json").read_text(encoding="utf-8"))
    assert "DDD too" in content["facts"]["wide"]["assets"] and "assets" not in content["facts"]["run"]
    assert content["facts"]["wide"]["data"] == "more.csv, 3 tickers"


def test_runs_on_other_prices_of_the_same_tickers_are_not_compared(run, tmp_path):
    rows = pd.read_csv(tmp_path / "moved.csv")
    rows.loc[rows["ticker"] == "BBB", ["open", "high", "low", "close"]] /= 2
    rows.to_csv(tmp_path / "halved.csv", index=False)
    assert call("train", train_args("halved.csv", "other", 1, "--quiet"), tmp_path).code == 0
    outcome = call("evaluate", ["--compare", "run", "other", "--output", "both"], tmp_path)
    assert outcome.code == 2 and "other bars of the same assets: the close of BBB" in outcome.message
    assert "--data" in outcome.message
