"""A run that is killed again and again ends as one that never was: the same parameters and figures, bit for bit."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from ploutos_jax.train.checkpoints.checkpoint import BEST_FOLDER, STEPS_FOLDER, restore
from ploutos_jax.train.checkpoints.store import Steps
from ploutos_jax.train.run.loggers import board_name
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.scripts.command_line import ROOT, TIMESTEPS_PER_UPDATE, train_args, write_bars
from tests.scripts.test_train import read_figures, without_clock
from tests.train.worlds import assert_identical

NUM_KILLS = 20
NUM_UPDATES = 480
OFTEN = (
    *("--checkpoint-every", str(4 * TIMESTEPS_PER_UPDATE), "--eval-every", str(40 * TIMESTEPS_PER_UPDATE)),
    *("--quiet", "--device", "cpu"),
)

# Importing JAX takes longer than what is to be killed, so one process imports and a fork of it runs each command: a
# process of its own, with threads of its own, as no part of JAX is started before.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import distrax, orbax.checkpoint, tensorboardX.event_file_writer
from ploutos_jax.evaluate.report import write
from tests.scripts.command_line import load_script

run, whole, num_kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
arguments = sys.argv[5:]
script, rng = load_script("train"), random.Random(seed)

def start(folder, *more):
    child = os.fork()
    if child:
        return child
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1), os.dup2(log, 2)
    code = 1
    try:
        with script.exit_codes():
            code = script.main([*arguments, "--output", str(folder), *more])
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)

def unfinished():
    return {path.name for name in ("checkpoints", "best") for path in (run / name).glob("*-tmp*")}

def is_over(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

began = time.monotonic()
child = start(whole)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, Path(f"{whole}.log").read_text()
print("whole run:", round(time.monotonic() - began, 1), "s", file=sys.stderr)
kills = []
while len(kills) < num_kills:
    began, before = time.monotonic(), unfinished()
    child = start(run, *(["--resume"] if (run / "config.yaml").exists() else []))
    in_save = rng.random() < 0.6
    if in_save:
        # A random moment of a random save.
        for to_go in reversed(range(rng.randint(1, 4))):
            while not unfinished() - before and not is_over(child):
                time.sleep(0.0005)
            while to_go and unfinished() - before and not is_over(child):
                time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.03))
    else:
        while not (run / "config.yaml").exists() and not is_over(child) and rng.random() < 0.999:
            time.sleep(0.02)
        time.sleep(rng.expovariate(1 / 1.5))
    over = is_over(child)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert over or code == -signal.SIGKILL
    if over:
        assert code == 0, Path(f"{run}.log").read_text()
        break
    # One that an earlier kill left behind does not count.
    kills.append({"in_save": bool(unfinished() - before), "seconds": time.monotonic() - began})
child = start(run, "--resume")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, Path(f"{run}.log").read_text()
print(json.dumps(kills))
"""


def digests(folder):
    """Return the SHA-256 of every array of the last training state, as the run itself wrote it down."""
    with Steps(folder / STEPS_FOLDER) as steps:
        return steps.read_meta(NUM_UPDATES)["digests"]


def scalars(folder):
    """Return what TensorBoard shows of a run."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {name: [(event.step, event.value) for event in board.Scalars(name)] for name in board.Tags()["scalars"]}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_twenty_times_is_the_run_never_killed(tmp_path):
    data = write_bars(tmp_path / "bars.csv")
    args = train_args(data, "unused", NUM_UPDATES, *OFTEN)
    args = args[:2] + args[4:]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "run"), str(tmp_path / "whole"), str(NUM_KILLS), "0", *args],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout.splitlines()[-1])
    print(done.stderr, kills)
    assert len(kills) == NUM_KILLS, f"the run was over after {len(kills)} kills; make it longer"
    assert sum(kill["in_save"] for kill in kills) >= 5, "too few kills hit a save"

    run, whole = tmp_path / "run", tmp_path / "whole"
    assert without_clock(read_figures(run)) == without_clock(read_figures(whole))
    assert [row["update"] for row in read_figures(run)] == list(range(1, NUM_UPDATES + 1))
    assert digests(run) == digests(whole), "every number of the training state"
    assert_identical(restore(run).params, restore(whole).params)
    best, expected = restore(run, best=True), restore(whole, best=True)
    assert best.step == expected.step
    assert_identical(best.params, expected.params)
    machine = {board_name(name) for name in MACHINE_FIGURES}
    shown, expected = scalars(run), scalars(whole)
    assert len(shown.keys() - machine) > 20
    assert {name: shown[name] for name in shown.keys() - machine} == {
        name: expected[name] for name in expected.keys() - machine
    }
    for folder in (STEPS_FOLDER, BEST_FOLDER):
        assert not [path for path in (run / folder).iterdir() if not path.name.isdecimal()], "nothing is left over"
    shutil.rmtree(tmp_path / "run")
