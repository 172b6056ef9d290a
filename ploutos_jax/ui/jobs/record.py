"""A job on the disk: a command of this package that runs in the background, whoever asked for it and whoever looks.

Nothing is kept elsewhere. A job is a folder `.ploutos/jobs/ID` of the project: `job.json` says what is to be done,
`supervisor.json` and `child.json` name the processes, `output.log` is what the command prints, `ended.json` how it
ended. A server that is killed, or none at all, changes nothing about it.
"""

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ploutos_jax.runs.run_files import read_json
from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.ui.project import Project

SUPERVISOR = "ploutos_jax.ui.jobs.supervise"
COMMAND = "ploutos_jax.cli.main"
"""Module of the console command `ploutos`."""
JOB, SUPERVISED, CHILD, ENDED, LOG, STOP = (
    *("job.json", "supervisor.json", "child.json", "ended.json", "output.log", "stop"),
)
MOST_WAITING = 32
SECRETS = ("PLOUTOS_TOKEN",)
"""Variables that no job sees."""

_STOPPED_CODES = (130, 143, -signal.SIGTERM, -signal.SIGINT)
_ID_SIGNS = frozenset("0123456789abcdef-")


class QueueFullError(ValueError):
    """So many jobs wait that no other is taken."""


class Process(NamedTuple):
    """A process, told apart from a later one of the same number by when it began."""

    number: int
    began: int | None

    @property
    def is_alive(self) -> bool:
        return began_at(self.number) == self.began if self.began is not None else _answers(self.number)


class Job(NamedTuple):
    """What a job is and how far.

    Attributes:
        id: name of its folder; jobs asked for later come later in the order of names.
        words: of the command line, after `ploutos`.
        about: folder of the run, report or file that it makes, from the project's folder; empty if not known.
        cores, memory_mb: what it is taken to need, by which the queue lets it start.
        asked: seconds since 1970.
        state: `waiting`, `running`, `done`, `failed`, `stopped`, or `lost` where its processes were killed.
        code: exit code, where it is known.
        reason: why it waits, where it does.
    """

    id: str
    words: tuple[str, ...]
    about: str
    cores: int
    memory_mb: int
    asked: float
    state: str
    code: int | None
    reason: str | None

    @property
    def command(self) -> str:
        """The command line, to be typed in a terminal."""
        return shlex.join(["ploutos", *self.words])


class Jobs:
    """The jobs of a project.

    Args:
        project: in whose folder they run.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.own / "jobs"

    def submit(self, words: Sequence[str], *, about: str = "", cores: int = 1, memory_mb: int = 2000) -> Job:
        """Ask for a command of this package; return the job, whose turn comes when the machine has room for it.

        Args:
            words: of the command line, after `ploutos`; no shell reads them.
            about: see `Job`.
            cores, memory_mb: see `Job`.

        Raises:
            QueueFullError: if `MOST_WAITING` others wait.
        """
        if sum(job.state == "waiting" for job in self.all()) >= MOST_WAITING:
            raise QueueFullError(f"{MOST_WAITING} jobs wait already; stop some of them, or wait.")
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}-{secrets.token_hex(2)}"
        place = self.folder / name
        place.mkdir(parents=True)
        content = {
            "words": list(words),
            "about": about,
            "cores": cores,
            "memory_mb": memory_mb,
            "asked": time.time(),
        }
        write_whole(place / JOB, json.dumps(content, indent=2) + "\n")
        environment = {name: value for name, value in os.environ.items() if name not in SECRETS}
        with (place / LOG).open("ab") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", SUPERVISOR, str(place)],
                cwd=self.project.root,
                env=environment | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1", "COLUMNS": "110"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        write_process(place / SUPERVISED, supervisor.pid)
        # Whoever has started a process has to ask how it ended, or it stays listed.
        threading.Thread(target=supervisor.wait, daemon=True).start()
        return self.get(name)

    def all(self) -> list[Job]:
        """Return all jobs, the newest first."""
        try:
            names = sorted((each.name for each in os.scandir(self.folder) if each.is_dir()), reverse=True)
        except OSError:
            return []
        return [job for name in names if (job := self._read(name)) is not None]

    def get(self, name: str) -> Job:
        """Return a job.

        Raises:
            FileNotFoundError: if there is none of that name.
        """
        job = self._read(name) if self._is_name(name) else None
        if job is None:
            raise FileNotFoundError("There is no job of that name.")
        return job

    def log_of(self, name: str) -> Path:
        """Return the file of what a job prints.

        Raises:
            FileNotFoundError: if there is no job of that name.
        """
        return self.folder / self.get(name).id / LOG

    def stop(self, name: str) -> Job:
        """Ask a job to end: one that waits does not begin, one that runs gets SIGTERM, as in a terminal.

        Raises:
            FileNotFoundError: if there is none of that name.
        """
        place = self.folder / self.get(name).id
        (place / STOP).touch()
        child = read_process(place / CHILD)
        if child is not None and child.is_alive:
            with suppress(ProcessLookupError):
                os.kill(child.number, signal.SIGTERM)
        return self.get(name)

    def _is_name(self, name: str) -> bool:
        return 0 < len(name) < 60 and set(name) <= _ID_SIGNS

    def _read(self, name: str) -> Job | None:
        place = self.folder / name
        content = read_json(place / JOB)
        words = content.get("words")
        if not isinstance(words, list):
            return None
        state, code = _state_of(place)
        return Job(
            id=name,
            words=tuple(map(str, words)),
            about=str(content.get("about", "")),
            cores=int(content.get("cores", 1)),
            memory_mb=int(content.get("memory_mb", 0)),
            asked=float(content.get("asked", 0.0)),
            state=state,
            code=code,
            reason=read_json(place / SUPERVISED).get("waits_for") if state == "waiting" else None,
        )


def _state_of(place: Path) -> tuple[str, int | None]:
    ended = read_json(place / ENDED)
    if ended:
        code = ended.get("code")
        if (place / STOP).exists() or code in _STOPPED_CODES:
            return "stopped", code
        return "done" if code == 0 else "failed", code
    child = read_process(place / CHILD)
    if child is not None and child.is_alive:
        return "running", None
    supervisor = read_process(place / SUPERVISED)
    is_young = supervisor is None and time.time() - place.stat().st_mtime < 5
    if is_young or (supervisor is not None and supervisor.is_alive):
        return "waiting" if child is None else "running", None
    return "lost", None


def write_process(file: Path, number: int, **more: Any) -> None:
    """Write down a process of this machine."""
    content = {"process": number, "began": began_at(number), **more}
    write_whole(file, json.dumps(content) + "\n")


def read_process(file: Path) -> Process | None:
    """Return the process that a file names, or None."""
    content: Mapping[str, Any] = read_json(file)
    number, began = content.get("process"), content.get("began")
    return Process(number, began) if isinstance(number, int) else None


def began_at(number: int) -> int | None:
    """Return when a process began, in ticks of the machine's clock, or None if it has ended or that is not known."""
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *words = text.rpartition(")")[2].split()
    # One that has ended and that nobody has asked for its exit code is still listed.
    return None if state in "ZX" else int(words[18])


def _answers(number: int) -> bool:
    try:
        os.kill(number, 0)
    except OSError:
        return False
    return True
