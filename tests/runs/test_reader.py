"""Run reads a folder that a run wrote, one that is still going, and one that a crash left behind."""

import json

import pytest
import yaml

from ploutos_jax.runs.reader import Run, find_runs, is_run


def write_run(folder, settings, rows=(), summary=None):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_run_is_read(tmp_path):
    settings = {"data": {"data": "bars.csv"}, "train": {"num_seeds": 3}}
    rows = [{"update": 1, "timesteps": 8}, {"update": 2, "timesteps": 16, "held_out_sharpe": [0.5, None, 1.0]}]
    run = Run(write_run(tmp_path / "run-1", settings, rows, {"final_score": {"sharpe": 1.0}}))
    assert run.settings == settings and run.num_seeds == 3 and run.data.data == "bars.csv"
    assert run.metrics == rows and run.scored == rows[1:]
    assert run.summary["final_score"]["sharpe"] == 1.0 and list(run.reports) == []
    report = run.path / "report"
    report.mkdir()
    (report / "metrics.json").write_text(json.dumps({"provenance": {"update": 2}}))
    assert [found["provenance"]["update"] for found in run.reports] == [2]
    assert [found.path for found in find_runs(tmp_path)] == [run.path]


def test_a_crash_leaves_a_run_that_can_be_read(tmp_path):
    run = Run(write_run(tmp_path / "run", {"num_seeds": 2}, [{"update": 1, "timesteps": 8}]))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 2, "times')
    (run.path / "summary.json").write_text("{")
    assert [row["update"] for row in run.metrics] == [1]
    assert run.summary == {} and run.num_seeds == 2


def test_what_is_no_run_is_refused(tmp_path):
    assert not is_run(tmp_path) and find_runs(tmp_path) == [] and find_runs(tmp_path / "missing") == []
    with pytest.raises(ValueError, match="holds no run.*config.yaml"):
        Run(tmp_path)
    with pytest.raises(ValueError, match="config.yaml.*num_seeds='many'"):
        _ = Run(write_run(tmp_path / "a", {"num_seeds": "many"})).num_seeds
    (tmp_path / "a" / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="config.yaml is not a YAML file"):
        _ = Run(tmp_path / "a").settings
