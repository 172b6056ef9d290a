"""scripts/validate.py as a person calls it."""

import json

import pandas as pd
import pytest

from tests.scripts.command_line import SMALL, call, snapshot, write_bars

TRAINING = ("--total-timesteps", "128", "--num-seeds", "2", "--stages", "2", *SMALL)
WINDOWS = ("--train-window", "150", "--validation-window", "50", "--test-window", "100")


@pytest.fixture
def place(tmp_path):
    write_bars(tmp_path / "bars.csv")
    (tmp_path / "file").write_text("not a folder")
    done = tmp_path / "done"
    done.mkdir()
    (done / "validation.yaml").write_text("validation: {}\n")
    return tmp_path


BAD = {
    "no validation to resume by default": ("--resume", "There is no validation to resume in checkpoints"),
    "output is a file": ("--output file", "The output file is a file"),
    "a validation is there": ("--output done", "already holds a validation"),
    "nothing to resume": ("--output new --resume", "There is no validation to resume in new"),
    "other settings": ("--output done --resume", "was started with other settings"),
    "windows too long": ("--output new --train-window 500", "take more than the 400 bars"),
    "windows of two kinds": ("--output new --test-window 3m", "step=3m and test=3m|in bars, or all of them"),
    "window is none": ("--output new --test-window some", "'some' is no span"),
    "too many blocks": ("--output new --scheme k-fold --folds 5 --embargo 400", "leaves nothing to train on"),
    "no tickers": ("--output new --liquid 0", "liquid=0 must be at least 1"),
    "scheme unknown": ("--output new --scheme roling", "roling"),
    "flag unknown": ("--output new --num-env 8", "--num-env"),
    "until converged": ("--output new --until-converged", "no use for until_converged=True"),
    "data missing": ("--output new --data nowhere.csv", "No such file or folder: nowhere.csv"),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_bad_input_changes_nothing(place, case):
    flags, message = BAD[case]
    before = snapshot(place)
    args = [*("--data", "bars.csv", *WINDOWS, "--features", "minimal"), *flags.split()]
    outcome = call("validate", args, place)
    assert outcome.code == 2
    assert any(part in outcome.message for part in message.split("|")), outcome.message
    assert "Traceback" not in outcome.err
    assert snapshot(place) == before


def test_help_tells_of_the_flags(tmp_path):
    outcome = call("validate", ["--help"], tmp_path)
    assert outcome.code == 0 and "--scheme" in outcome.out and "--test-window" in outcome.out


@pytest.mark.slow
def test_walk_forward_from_start_to_summary_and_again(place):
    args = ["--data", "bars.csv", "--output", "out", *WINDOWS, *TRAINING, "--liquid", "2"]
    outcome = call("validate", args, place)
    assert outcome.code == 0, outcome.err
    assert "chosen seed" in outcome.out and "equal weight" in outcome.out
    content = json.loads((place / "out" / "validation.json").read_text(encoding="utf-8"))
    assert [row["fold"] for row in content["folds"]] == [1, 2]
    assert content["paths"][0]["verdicts"]["chosen seed"]["sharpe_difference_p_value"] <= 1
    assert "2 tickers; Of 3 tickers the 2 that traded most" in content["facts"]["data"]
    equity = pd.read_parquet(place / "out" / "equity.parquet")
    assert equity.groupby("strategy").size().nunique() == 1
    assert (place / "out" / "report" / "report.html").exists()
    folds = snapshot(place / "out" / "fold-01")
    assert call("validate", args, place).code == 2, "the folder holds a validation"
    again = call("validate", [*args, "--resume"], place)
    assert again.code == 0, again.err
    assert snapshot(place / "out" / "fold-01") == folds
    other = call("validate", [*args, "--resume", "--seed", "8"], place)
    assert other.code == 2 and "other settings: seed: 7; seed: 8" in other.message

    agent = call("evaluate", ["--checkpoint", "out/fold-01/seed-1", "--output", "one", "--data", "bars.csv"], place)
    assert agent.code == 0, agent.err


@pytest.mark.slow
def test_combinatorial_paths(place):
    args = ["--data", "bars.csv", "--output", "out", "--scheme", "combinatorial", "--folds", "4", "--test-folds", "2"]
    outcome = call("validate", [*args, "--embargo", "5", "--folds-at-once", "2", *TRAINING], place)
    assert outcome.code == 0, outcome.err
    content = json.loads((place / "out" / "validation.json").read_text(encoding="utf-8"))
    assert len(content["paths"]) == 3 and len(content["folds"]) == 3 * 4
    assert list(content["paths"][0]["strategies"]) == ["all seeds"], "nothing is chosen without validation rows"
    assert "over 3 paths" in (place / "out" / "summary.md").read_text(encoding="utf-8")
