"""The process beside a job: waits for its turn, runs the command, writes down how it ended.

python -m ploutos_jax.ui.jobs.supervise FOLDER

It belongs to no server: the queue goes on when the one that asked for the job has gone.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.ui.jobs.queue import what_it_waits_for
from ploutos_jax.ui.jobs.record import CHILD, COMMAND, ENDED, STOP, SUPERVISED, Jobs, write_process
from ploutos_jax.ui.project import Project

_SECONDS_BETWEEN_LOOKS = 0.5
_TURN = "turn"


def main(place: Path) -> int:
    """See a job through; return the exit code of its command."""
    jobs = Jobs(Project(place.parents[2]))
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        (place / STOP).touch()
        if child is not None:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    said = ""
    while child is None:
        if (place / STOP).exists():
            return _end(place, 130)
        with _turn(jobs.folder):
            job = jobs.get(place.name)
            reason = what_it_waits_for(job, jobs)
            if reason is None:
                command = [sys.executable, "-m", COMMAND, *job.words]
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
                write_process(place / CHILD, child.pid)
        if reason is not None:
            if reason != said:
                write_process(place / SUPERVISED, os.getpid(), waits_for=reason)
                said = reason
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    if (place / STOP).exists():  # asked for between the look and the start
        child.terminate()
    return _end(place, child.wait())


def _end(place: Path, code: int) -> int:
    write_whole(place / ENDED, json.dumps({"code": code, "ended": time.time()}) + "\n")
    return code


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one supervisor at a time look and start, so that no two take the same room."""
    try:
        import fcntl
    except ImportError:  # Windows, where two may start at once
        yield
        return
    with (folder / _TURN).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
