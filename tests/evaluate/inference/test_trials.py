"""Trials are counted from what runs left behind."""

import json

import numpy as np
import pytest
import yaml

from ploutos_jax.evaluate.inference.sharpe import count_trials, read_trials


def make_run(path, num_seeds=1, rows=(), scores=(), reports=()):
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump({"data": "x", "train": {"seed": 3, "num_seeds": num_seeds}}))
    (path / "metrics.jsonl").write_text("".join(json.dumps({"timesteps": 1} | row) + "\n" for row in rows))
    if scores:
        summary = {"score_by_seed": [{"seed": i, "sharpe": value} for i, value in enumerate(scores)]}
        (path / "summary.json").write_text(json.dumps(summary))
    for i, checkpoint in enumerate(reports):
        (path / f"report-{i}").mkdir()
        facts = {"facts": {"checkpoint": checkpoint}}
        (path / f"report-{i}" / "metrics.json").write_text(json.dumps(facts))
    return path


def test_folders_seeds_and_checkpoints_count(tmp_path):
    plain = make_run(tmp_path / "runs" / "a", rows=[{"update": 1, "loss": 0.5}])
    seeds = make_run(tmp_path / "runs" / "b", num_seeds=4, scores=[1.0, 0.5, None, 2.0])
    scored = [{"update": i, "held_out_sharpe": [0.1 * i, 0.2]} for i in range(3)] + [
        {"update": 9, "held_out_sharpe": None}
    ]
    checkpoints = make_run(tmp_path / "runs" / "deeper" / "c", num_seeds=2, rows=scored)
    assert [count_trials(run) for run in (plain, seeds, checkpoints)] == [1, 4, 6]
    assert count_trials(tmp_path / "runs") == count_trials([plain, str(seeds), checkpoints]) == 11
    assert count_trials([tmp_path, plain, plain]) == 11, "a folder given twice counts once"
    trials = read_trials(str(tmp_path))
    assert len(trials.folders) == 3
    expected = [1.0, 0.5, 2.0, 0.0, 0.2, 0.1, 0.2, 0.2, 0.2]
    np.testing.assert_allclose(np.sort(trials.sharpes), np.sort(expected) / np.sqrt(252))


def test_reports_of_several_checkpoints_count(tmp_path):
    reports = ["run, update 5", "run, update 9", "run, update 9"]
    assert count_trials(make_run(tmp_path / "run", reports=reports)) == 2


def test_lines_cut_short_and_broken_files_do_not_count(tmp_path):
    run = make_run(tmp_path / "run", rows=[{"update": 1, "held_out_sharpe": 1.0}])
    with (run / "metrics.jsonl").open("a") as lines:
        lines.write('{"update": 2, "held_out_sha')
    (run / "summary.json").write_text("{")
    assert count_trials(run) == 1


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        count_trials(tmp_path)
    with pytest.raises(ValueError, match="holds no run"):
        count_trials([make_run(tmp_path / "run"), tmp_path / "missing"])
    (tmp_path / "run" / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"config\.yaml is not a YAML file"):
        count_trials(tmp_path)
