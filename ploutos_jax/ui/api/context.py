"""What all rooms of the API work with, and how its errors are answered."""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ploutos_jax.ui.api.bodies import JobState, Room, Values
from ploutos_jax.ui.data_files import DataFiles, RefusedError, TooLargeError
from ploutos_jax.ui.forms import Forms, SettingError
from ploutos_jax.ui.jobs.record import Job, Jobs, QueueFullError
from ploutos_jax.ui.live_figures import LiveFigures
from ploutos_jax.ui.project import OutsideError, Project
from ploutos_jax.ui.results import BusyError
from ploutos_jax.ui.run_list import RunList, holder_of
from ploutos_jax.ui.sweeps import Sweeps

_MOST_CORES = max((os.cpu_count() or 1) - 1, 1)
NEEDS = {
    **{"train": (1, 2000), "validate": (1, 2500), "evaluate": (1, 1500), "download": (0, 500), "paper": (1, 1500)},
    "sweep": (_MOST_CORES, 4000),
}
"""Cores and MB that a job of each command is taken to need; a sweep takes what there is, and leaves room for a small
job beside it."""

_STATUS: dict[type[Exception], int] = {
    OutsideError: 400,
    FileNotFoundError: 404,
    FileExistsError: 409,
    BusyError: 409,
    TooLargeError: 413,
    SettingError: 422,
    RefusedError: 422,
    QueueFullError: 429,
    RuntimeError: 503,
}


class Context(NamedTuple):
    """The project, and what looks after its parts. Nothing in it is kept that the disk does not hold."""

    project: Project
    runs: RunList
    jobs: Jobs
    forms: Forms
    data: DataFiles
    live: LiveFigures
    sweeps: Sweeps
    key: str

    @classmethod
    def of(cls, project: Project, max_upload_mb: int) -> "Context":
        """Return what looks after a project.

        Args:
            project: the folder.
            max_upload_mb: the largest file that is taken in.
        """
        runs = RunList(project)
        return cls(
            project,
            runs,
            Jobs(project),
            Forms(project),
            DataFiles(project, max_upload_mb),
            LiveFigures(runs),
            Sweeps(project),
            secrets.token_urlsafe(32),
        )

    def with_output(self, values: Values, folder: str, stem: str) -> dict[str, Any]:
        """Return settings with a folder of their own, the next free `folder/stem-N`, where none is chosen."""
        taken = {job.about for job in self.jobs.all() if job.state in ("waiting", "running")}
        free = self.project.next_free(folder, stem)
        while free in taken:
            head, _, number = free.rpartition("-")
            free = f"{head}-{int(number) + 1}"
        return {**values, "output": values.get("output") or free}

    def check_can_go_on(self, kind: str, folder: Path, values: Values, may_change: frozenset[str]) -> None:
        """Refuse to go on with what a process writes to, and settings that cannot change then.

        Raises:
            BusyError: either of them; it says which, and what can change.
        """
        if holder_of(folder) is not None:
            raise BusyError(f"A process writes to this {kind} already.")
        if others := sorted(values.keys() - may_change):
            raise BusyError(f"{others[0]!r} cannot change when a {kind} goes on; {', '.join(sorted(may_change))} can.")

    def start(self, words: Sequence[str], about: str, room: Room) -> JobState:
        """Ask for a job; return what is known of it."""
        cores, memory_mb = NEEDS[words[0]]
        job = self.jobs.submit(
            words,
            about=about,
            cores=cores if room.cores is None else room.cores,
            memory_mb=memory_mb if room.memory_mb is None else room.memory_mb,
        )
        return state_of(job)


def state_of(job: Job) -> JobState:
    """Return what the API says of a job."""
    return JobState(**{name: value for name, value in job._asdict().items() if name != "words"}, command=job.command)


def context_of(request: Request) -> Context:
    """Return what the server of a request works with."""
    return request.app.state.context


def answer_errors(app: FastAPI) -> None:
    """Let errors of this package be answers: a status, and the sentence that says what to do."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
        return JSONResponse({"detail": str(error)}, status_code=status)

    for kind in _STATUS:
        app.add_exception_handler(kind, answer)


def responses(*statuses: int) -> Mapping[int | str, dict[str, Any]]:
    """Return what the description of an operation says of its refusals."""
    words = {
        400: "A path outside of the project, or a confirmation that is none",
        404: "Nothing of that name",
        409: "In use, or there already",
        413: "Too large",
        429: "The queue is full",
        503: "The settings could not be read",
    }
    return {status: {"description": words[status]} for status in statuses}
