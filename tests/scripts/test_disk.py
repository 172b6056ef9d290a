"""Disks that are full, read-only or lose bytes: one clear message, exit code 2, and what was saved stays whole."""

import json
import os
import subprocess

import pytest

from ploutos_jax.train.checkpoints.checkpoint import restore
from tests.scripts.command_line import TIMESTEPS_PER_UPDATE, call, snapshot, train_args
from tests.scripts.test_train import read_figures, without_clock

NUM_UPDATES = 4
EVERY = ("--checkpoint-every", str(TIMESTEPS_PER_UPDATE), "--quiet")


def mount(folder, *options):
    """Mount memory as a file system; skip the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine does not let a small file system be mounted: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A function that gives a disk of so many kilobytes, at most one."""
    folder = tmp_path / "disk"

    def make(kilobytes):
        mount(folder, f"size={kilobytes}k")
        return folder

    yield make
    subprocess.run(["umount", "-l", str(folder)], capture_output=True)


def check_one_message(outcome, *said):
    assert outcome.code == 2, outcome
    assert outcome.message.startswith("Error: ") and outcome.message.count("Error: ") == 1, outcome.err
    assert all(words in outcome.message for words in said), outcome.err
    assert "Traceback" not in outcome.err and "Exception" not in outcome.err
    assert "Score" not in outcome.out


@pytest.mark.thorough
def test_a_full_disk_ends_a_run_with_its_checkpoints_whole(finished, small_disk, tmp_path):
    # A checkpoint takes 210 to 300 kB, how much is chance, and twice that while it is written; five do not fit.
    disk = small_disk(1150)
    args = train_args(finished.data, "disk/run", NUM_UPDATES, *EVERY, "--keep-checkpoints", "9")
    outcome = call("train", args, tmp_path)
    check_one_message(outcome, "cannot be written to", "disk/run", "No space left on device", "are whole; make room")
    newest = restore(disk / "run").step
    assert 0 < newest < NUM_UPDATES, "some checkpoint should be there, and not all"
    assert not list((disk / "run" / "checkpoints").glob("*tmp*"))
    # More room, same command: it goes on as if nothing had been.
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    outcome = call("train", [*args, "--resume"], tmp_path)
    assert outcome.code == 0, outcome.err
    assert without_clock(read_figures(disk / "run")) == without_clock(read_figures(finished.folder))
    assert restore(disk / "run").step == NUM_UPDATES
    json.loads((disk / "run" / "summary.json").read_text())


@pytest.mark.thorough
def test_a_full_disk_ends_a_run_that_writes_figures_only(finished, small_disk, tmp_path):
    disk = small_disk(800)
    args = train_args(finished.data, "disk/run", 4000, "--quiet", "--eval-every", "100000000")
    # What the first checkpoint needs is there, what the figures of thousands of updates need is not.
    outcome = call("train", [*args, "--checkpoint-every", "100000000"], tmp_path)
    check_one_message(outcome, "The run folder disk/run cannot be written: No space left on device")
    assert restore(disk / "run").step == 0


@pytest.mark.thorough
def test_a_read_only_output_is_refused_before_anything(finished, small_disk, tmp_path):
    disk = small_disk(20_000)
    args = train_args(finished.data, "disk/run", 2, *EVERY)
    assert call("train", args, tmp_path).code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = snapshot(disk)
    outcome = call("train", train_args(finished.data, "disk/deep/new", 2, *EVERY), tmp_path)
    check_one_message(outcome, "The output disk/deep/new cannot be written", "is read-only. Give another --output")
    outcome = call("train", [*train_args(finished.data, "disk/run", 3, *EVERY), "--resume"], tmp_path)
    check_one_message(outcome, "The output disk/run cannot be written", "is read-only")
    assert snapshot(disk) == before
    # Reading needs no more than reading.
    assert restore(disk / "run").step == 2 and restore(disk / "run", best=True).step in (1, 2)
    outcome = call("evaluate", ["--checkpoint", "disk/run", "--output", "report"], tmp_path)
    assert outcome.code == 0 and outcome.err == "", outcome.err
    assert snapshot(disk) == before
