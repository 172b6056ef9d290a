"""The files of a run: nothing is overwritten, figures are strict JSON, TensorBoard can read them."""

import json
import threading

import pytest
import yaml

from ploutos_jax.train.run.folder import RunFolder, check_output, claimed_output, write_json
from tests.train import planted

SETTINGS = {"train": {"seed": 3, "hidden": (64, 64)}, "reward": len, "name": None}


def rows_of(first, last):
    return [{"update": i, "timesteps": 10 * i, "loss": i / 2, "episode_return_mean": None} for i in range(first, last)]


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def write_run(folder, *batches):
    with RunFolder(folder, SETTINGS, resume=False) as run:
        for batch in batches:
            run.write(batch)


def test_a_run_leaves_its_files(tmp_path):
    folder = tmp_path / "deep" / "run"
    write_run(folder, rows_of(1, 3), rows_of(3, 4))
    assert lines_of(folder) == rows_of(1, 4)
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == rows_of(3, 4)[0]
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert settings == {"train": {"seed": 3, "hidden": [64, 64]}, "reward": "len", "name": None}


def test_figures_are_there_as_soon_as_they_are_written(tmp_path):
    with RunFolder(tmp_path, SETTINGS, resume=False) as run:
        run.write(rows_of(1, 3))
        assert lines_of(tmp_path) == rows_of(1, 3)


def test_figures_that_are_no_numbers_are_refused_in_json(tmp_path):
    with RunFolder(tmp_path, SETTINGS, resume=False) as run, pytest.raises(ValueError, match="JSON"):
        run.write([{"update": 1, "timesteps": 1, "loss": float("nan")}])


def test_a_run_is_never_overwritten(tmp_path):
    write_run(tmp_path, rows_of(1, 3))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(ValueError, match=r"already holds a run. Give another --output, or --resume"):
        RunFolder(tmp_path, SETTINGS, resume=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_only_a_run_can_be_resumed(tmp_path):
    with pytest.raises(ValueError, match=r"no run to resume in .*nothing: it has no config.yaml"):
        RunFolder(tmp_path / "nothing", SETTINGS, resume=True)
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match=r"output .*file is a file; give a folder"):
        check_output(tmp_path / "file", resume=False)


def test_resuming_keeps_settings_and_drops_later_and_broken_lines(tmp_path):
    write_run(tmp_path, rows_of(1, 8))
    config = (tmp_path / "config.yaml").read_bytes()
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"other": 1}\n[1]\n\n{"update": 3, "timest')
    with RunFolder(tmp_path, {"other": 1}, resume=True) as run:
        run.cut_back(5)
        assert lines_of(tmp_path) == rows_of(1, 6)
        run.write([{"update": 6, "timesteps": 60, "loss": 0.25}])
    assert lines_of(tmp_path) == [*rows_of(1, 6), {"update": 6, "timesteps": 60, "loss": 0.25}]
    assert (tmp_path / "config.yaml").read_bytes() == config


def test_resuming_without_new_figures_keeps_the_summary(tmp_path):
    write_run(tmp_path, rows_of(1, 4))
    before = (tmp_path / "summary.json").read_bytes()
    with RunFolder(tmp_path, SETTINGS, resume=True) as run:
        run.cut_back(3)
    assert (tmp_path / "summary.json").read_bytes() == before


def choose(output, *, resume):
    with claimed_output(output, resume=resume) as path:
        return path.as_posix()


def test_output_is_chosen_without_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert choose(None, resume=False) == "checkpoints/run-1"
    assert not list(tmp_path.iterdir()), "what nothing was written into is removed, and so is what holds it"
    with claimed_output(None, resume=False) as first:
        write_run(first, rows_of(1, 2))
    assert choose(None, resume=False) == "checkpoints/run-2"
    assert choose(None, resume=True) == first.as_posix()
    assert choose("elsewhere", resume=False) == "elsewhere"
    with pytest.raises(ValueError, match="already holds a run"):
        choose(str(first), resume=False)


def test_starts_at_the_same_moment_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    together, chosen = threading.Barrier(8), []

    def start():
        together.wait()
        with claimed_output(None, resume=False) as path:
            together.wait()
            write_run(path, rows_of(1, 2))
            chosen.append(path.name)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chosen) == [f"run-{i}" for i in range(1, 9)]
    # A folder that another run is about to write into is not the newest one yet.
    (tmp_path / "checkpoints" / "run-9").mkdir()
    assert choose(None, resume=True) == "checkpoints/run-8" and choose(None, resume=False) == "checkpoints/run-10"


def test_of_two_runs_that_were_given_one_folder_the_second_is_refused(tmp_path, monkeypatch):
    # Both have looked before either has written.
    monkeypatch.setitem(RunFolder.__init__.__globals__, "check_output", lambda path, resume: None)
    with RunFolder(tmp_path, SETTINGS, resume=False):
        before = (tmp_path / "config.yaml").read_bytes()
        with pytest.raises(ValueError, match="Another run has just begun in .* another --output"):
            RunFolder(tmp_path, {"other": 1}, resume=False)
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_json_is_strict(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"x": float("inf")})


def test_tensorboard_reads_the_figures(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_run(tmp_path, rows_of(1, 4), rows_of(4, 6))
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents*"))
    board = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert board.Tags()["scalars"] == ["train/loss"]
    assert [(e.step, e.value) for e in board.Scalars("train/loss")] == [(10 * i, i / 2) for i in range(1, 6)]


def test_tensorboard_forgets_the_figures_that_a_resumed_run_makes_again(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_run(tmp_path, rows_of(1, 8))
    # The files are named by the second; this one stands for an earlier one.
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0")))
    with RunFolder(tmp_path, SETTINGS, resume=True) as run:
        run.cut_back(4)
        run.write([{"update": 5, "timesteps": 50, "loss": 9.0}])
    board = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in board.Scalars("train/loss")] == [(10, 0.5), (20, 1), (30, 1.5), (40, 2), (50, 9)]


def test_a_training_run_fills_the_folder(finished_run):
    folder = finished_run.folder
    assert {"config.yaml", "metrics.jsonl", "summary.json", "tensorboard", "checkpoints"} <= {
        path.name for path in folder.iterdir()
    }
    assert lines_of(folder) == finished_run.rows
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary.items() >= finished_run.rows[-1].items()
    assert finished_run.rows[0]["episode_return_mean"] is None or finished_run.rows[0]["episodes"] > 0
    settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert settings["train"]["num_envs"] == planted.CONFIG.num_envs
    assert settings["env"]["episode_length"] == planted.ENV.config.episode_length
    assert "NaN" not in (folder / "metrics.jsonl").read_text(encoding="utf-8")
