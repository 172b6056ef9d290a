"""--detach: a command that goes on in the background, as a job that `ploutos serve` shows too."""

from collections.abc import Sequence
from pathlib import Path

from ploutos_jax.ui.jobs.record import LOG, SUPERVISED, Jobs, read_process
from ploutos_jax.ui.project import Project

FLAG = "--detach"


def without_flag(args: Sequence[str]) -> list[str]:
    """Return a command line without `--detach`."""
    return [word for word in args if word != FLAG]


def start_job(words: Sequence[str], output: str | None, *, memory_mb: int) -> int:
    """Ask for a job in this folder, say where its words go, and return the exit code.

    It begins when the jobs asked for before have, and the machine has room; closing the terminal does not end it.

    Args:
        words: the command and its flags, without `--detach`.
        output: folder that it makes, where one is named.
        memory_mb: what it is taken to need, in MB.
    """
    jobs = Jobs(Project(Path.cwd()))
    job = jobs.submit(words, about=output or "", memory_mb=memory_mb)
    folder = jobs.folder / job.id
    process = read_process(folder / SUPERVISED)
    print(f"Job {job.id}: {job.command}")
    print(f"What it says: tail -f {folder / LOG}")
    print(f"To stop it, with a checkpoint: kill {process.number if process else '?'}. All jobs: ploutos serve.")
    return 0
