"""Signals at chosen moments of a run: code 130, a checkpoint to go on from, and the same run in the end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ploutos_jax.cli.signals import SECONDS_TO_END, Interruption
from ploutos_jax.train.checkpoints.checkpoint import restore
from tests.scripts.command_line import ROOT, TIMESTEPS_PER_UPDATE, call, train_args, wait
from tests.scripts.test_train import read_figures, without_clock

NUM_UPDATES = 4
PHASES = ("compile", "rollout", "save")
NUMBERS = (signal.SIGINT, signal.SIGTERM)

# The real command; only the moment at which the operating system sends the signal is chosen.
DRIVER = """
import os, sys, time
from ploutos_jax.cli import train as command
from ploutos_jax.cli.terminal import exit_codes
from ploutos_jax.train import calls as host
from ploutos_jax.train.checkpoints import store

phase, number, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def send():
    for _ in range(times):
        os.kill(os.getpid(), number)
        time.sleep(0.2)
    if times > 1:
        time.sleep(120)  # nobody waits for what the process is at

def compiling(*arguments):
    if phase == "compile":
        send()
    program = compile_once(*arguments)
    def call(*arguments):
        calls.append(1)
        if phase == "rollout" and len(calls) == 2:
            send()
        return program(*arguments)
    return call

def saving(self, step, *arguments):
    save(self, step, *arguments)
    if phase == "save" and step == 2 and self.path.name == "checkpoints":
        send()

def reading(*arguments, **options):
    if phase == "data":
        send()
    return read_training(*arguments, **options)

calls, compile_once, save, read_training = [], host.compile_once, store.Steps.save, command.read_data
host.compile_once = compiling
store.Steps.save, command.read_data = saving, reading
with exit_codes():
    sys.exit(command.main(sys.argv[4:]))
"""


def interrupt(finished, folder, phase, number, times=1):
    """Run the command in a process that gets a signal in a phase; return its arguments and what it said."""
    args = train_args(finished.data, "run", NUM_UPDATES, "--checkpoint-every", str(TIMESTEPS_PER_UPDATE))
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, phase, str(int(number)), str(times), *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    return args, wait(process)


def check_going_on(finished, folder, args):
    outcome = call("train", [*args, "--resume"], folder)
    assert outcome.code == 0, outcome.err
    assert without_clock(read_figures(folder / "run")) == without_clock(read_figures(finished.folder))
    assert restore(folder / "run").step == NUM_UPDATES


# One of each phase and signal with the fast tests, the other half with the slow ones.
CASES = [
    pytest.param(phase, number, marks=() if (phase, number.name) == ("compile", "SIGTERM") else pytest.mark.slow)
    for phase in PHASES
    for number in NUMBERS
]


@pytest.mark.thorough
@pytest.mark.parametrize(("phase", "number"), CASES)
def test_one_signal_ends_a_run_with_a_checkpoint(finished, tmp_path, phase, number):
    args, outcome = interrupt(finished, tmp_path, phase, number)
    assert outcome.code == 130, outcome.err
    assert "a checkpoint will be written" in outcome.message and "Traceback" not in outcome.err
    assert "continue with the same command and --resume" in outcome.out and "Score" not in outcome.out
    # The update that was begun is finished.
    expected = {"compile": 1, "rollout": 2, "save": 2}[phase]
    assert restore(tmp_path / "run").step == expected == read_figures(tmp_path / "run")[-1]["update"]
    check_going_on(finished, tmp_path, args)


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_a_second_signal_ends_the_process_at_once(finished, tmp_path, phase):
    args, outcome = interrupt(finished, tmp_path, phase, signal.SIGINT, times=2)
    assert outcome.code == 130, outcome.err
    assert "Stopped at once" in outcome.message and "Traceback" not in outcome.err
    step = restore(tmp_path / "run").step
    assert step in {"compile": (0,), "rollout": (0, 1), "save": (1, 2)}[phase]
    check_going_on(finished, tmp_path, args)


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_before_the_run_leaves_nothing(finished, tmp_path, number):
    _, outcome = interrupt(finished, tmp_path, "data", number)
    expected = {signal.SIGINT: (130, "Interrupted."), signal.SIGTERM: (143, "Ended by SIGTERM.")}
    # The first line of a run has been said; it goes to stdout.
    assert (outcome.code, outcome.message) == expected[number]
    assert not (tmp_path / "run").exists()


BUSY = """
import os, sys, threading
import jax
from ploutos_jax.cli import signals
from ploutos_jax.cli.terminal import exit_codes

signals.SECONDS_TO_END = 2.0
number, within = int(sys.argv[1]), sys.argv[2]
# Minutes of one program, from which Python hears nothing.
work = jax.jit(lambda x: jax.lax.fori_loop(0, 2**31 - 1, lambda i, x: jax.numpy.sin(x) + i, x))
busy = work.lower(1.0).compile()
with exit_codes():
    if within == "training":
        with signals.Interruption():
            os.kill(os.getpid(), number)
            jax.block_until_ready(busy(1.0))
    else:
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        jax.block_until_ready(busy(1.0))
"""


@pytest.mark.thorough
@pytest.mark.parametrize("within", ["training", "scoring"])
def test_sigterm_is_answered_in_time_whatever_is_under_way(tmp_path, within):
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(int(signal.SIGTERM)), within],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    outcome = wait(process, 60)
    assert outcome.code == 143, outcome.err
    assert "SIGTERM came 2 s ago and what is under way has not ended; stopped." in outcome.message
    assert "Traceback" not in outcome.err and time.monotonic() - began < 40
    assert SECONDS_TO_END < 30


def test_a_request_is_heard_and_handlers_are_put_back():
    before = [signal.getsignal(number) for number in NUMBERS]
    for number in NUMBERS:
        with Interruption() as interruption:
            assert not interruption.should_stop()
            os.kill(os.getpid(), number)
            deadline = time.monotonic() + 20
            while not interruption.interrupted and time.monotonic() < deadline:
                time.sleep(0.01)
            assert interruption.interrupted and interruption.should_stop()
    assert [signal.getsignal(number) for number in NUMBERS] == before


def test_time_runs_out():
    with Interruption(minutes=1e-6) as interruption:
        time.sleep(0.01)
        assert interruption.should_stop() and not interruption.interrupted
    assert not Interruption(minutes=5).should_stop()
