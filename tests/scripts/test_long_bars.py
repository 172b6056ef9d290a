"""scripts/train.py and evaluate.py on bars that lie in files."""

import json

import pandas as pd
import pytest

from tests.scripts.command_line import call, train_args, write_bars


@pytest.mark.slow
def test_a_run_in_slices_is_trained_resumed_and_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frame = pd.read_csv(write_bars(tmp_path / "bars.csv"), parse_dates=["date"])
    for year, part in frame.groupby(frame["date"].dt.year):
        (tmp_path / "bars" / str(year)).mkdir(parents=True)
        part.to_parquet(tmp_path / "bars" / str(year) / "bars.parquet", index=False)
    args = train_args(tmp_path / "bars", tmp_path / "run", 4)
    sliced = [*args, "--device-bars", "70", "--market-refresh", "1"]
    outcome = call("train", sliced, tmp_path)
    assert outcome.code == 0, outcome.err
    assert "They lie in files: 70 bars" in outcome.out and "bars never trained on" in outcome.out
    assert "Features of bars 0 to 400 of 400" in outcome.err
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [1, 2, 3, 4] and all("data_wait_share" in row for row in rows)
    again = call("evaluate", ["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "report")], tmp_path)
    assert again.code == 0, again.err
    assert "Features of bars" not in again.err, "they are there"
    figures = json.loads((tmp_path / "report" / "metrics.json").read_text())
    final = json.loads((tmp_path / "run" / "summary.json").read_text())["final_score"]
    assert figures["total_return"] == pytest.approx(final["total_return"], rel=1e-12)
    for flag, said in (("--stress", "--stress need all bars"), ("--benchmark", "--benchmark need all bars")):
        value = "8" if flag == "--stress" else "AAA"
        refused = call(
            "evaluate", ["--checkpoint", str(tmp_path / "run"), flag, value, "--output", str(tmp_path / "no")], tmp_path
        )
        assert refused.code == 2 and said in refused.message
    other = call("train", [*args, "--device-bars", "80", "--market-refresh", "1", "--resume"], tmp_path)
    assert other.code == 2 and "device_bars: 70 -> 80" in other.message
    refused = call("validate", ["--data", str(tmp_path / "bars"), "--device-bars", "70"], tmp_path)
    assert refused.code == 2 and "this needs all bars at once" in refused.message
