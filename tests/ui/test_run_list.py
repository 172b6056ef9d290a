"""Runs at a glance: state, progress, score; and which process writes, told without touching its lock."""

import os
import subprocess
import sys

import pytest

from ploutos_jax.ui.project import Project
from ploutos_jax.ui.run_list import RunList, holder_of
from tests.ui.projects import wait_for, write_run

HOLD = """
import sys
from pathlib import Path
from ploutos_jax.train.run.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """A run that another process writes to."""
    folder = write_run(tmp_path / "checkpoints" / "run-1", updates=3, total=1000)
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield folder, process
        process.kill()


def test_a_run_that_a_process_writes_to_is_running(tmp_path, held):
    folder, process = held
    assert holder_of(folder) == process.pid
    [run] = RunList(Project(tmp_path)).all()
    assert run["state"] == "running" and run["process"] == process.pid


def test_a_killed_process_holds_nothing_though_its_lock_file_stays(tmp_path, held):
    folder, process = held
    process.kill()
    process.wait()
    assert (folder / "lock").exists() and holder_of(folder) is None
    assert RunList(Project(tmp_path)).all()[0]["state"] == "stopped"


def test_a_lock_file_that_names_another_process_or_machine_is_not_believed(tmp_path):
    folder = write_run(tmp_path / "checkpoints" / "run-1", updates=1)
    for said in (f"process {os.getpid()} on elsewhere\n", f"process {os.getpid()} on {os.uname().nodename}\n", "x", ""):
        (folder / "lock").write_text(said)
        assert holder_of(folder) is None


def test_a_run_is_read_anew_when_its_files_change(tmp_path):
    folder = write_run(tmp_path / "checkpoints" / "run-1", updates=4)
    runs = RunList(Project(tmp_path))
    [run] = runs.all()
    assert run["state"] == "finished" and run["timesteps"] == 256 and run["score"]["sharpe"] == 1.5
    (folder / "config.yaml").write_text("train: {total_timesteps: 1000}")
    [run] = runs.all()
    assert run["state"] == "stopped" and run["total_timesteps"] == 1000 and run["preset"] is None
    write_run(tmp_path / "checkpoints" / "run-2", updates=1)
    assert wait_for(lambda: len(runs.all()) == 2, 2)


def test_a_damaged_run_is_listed_with_what_is_wrong(tmp_path):
    folder = write_run(tmp_path / "checkpoints" / "run-1", updates=1)
    (folder / "config.yaml").write_text("a: [")
    (folder / "summary.json").write_text("{")
    [run] = RunList(Project(tmp_path)).all()
    assert "is not a YAML file" in run["problem"] and run["score"] is None
