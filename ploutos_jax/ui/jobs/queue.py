"""Whose turn it is: jobs start in the order asked for, as soon as the machine has the cores and the memory."""

import os
from collections.abc import Sequence
from pathlib import Path

from ploutos_jax.ui.jobs.record import CHILD, Job, Jobs, read_process

PAUSED = "paused"
_MEGABYTE = 2**20


def what_it_waits_for(job: Job, jobs: Jobs) -> str | None:
    """Return why a job cannot start now, in words, or None if it can.

    A job that asks for more than the machine has starts when no other runs.
    """
    if (jobs.folder / PAUSED).exists():
        return "the queue is paused"
    others = [each for each in jobs.all() if each.id != job.id]
    before = [each for each in others if each.state == "waiting" and each.id < job.id]
    if before:
        return f"{len(before)} asked for before it"
    running = [each for each in others if each.state == "running"]
    if not running:
        return None
    cores = os.cpu_count() or 1
    taken = sum(each.cores for each in running)
    if taken + job.cores > cores:
        return f"cores: it needs {job.cores}, {max(cores - taken, 0)} of {cores} are free"
    free = free_memory_mb()
    if free is not None:
        free -= _still_to_be_taken(running, jobs)
        if free < job.memory_mb:
            return f"memory: it needs {job.memory_mb:,} MB, {max(free, 0):,} are free"
    return None


def free_memory_mb() -> int | None:
    """Return the memory that this machine can give, in MB, or None where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) // 1024 if found else None


def _still_to_be_taken(running: Sequence[Job], jobs: Jobs) -> int:
    """Return what running jobs asked for and do not hold yet, in MB: they may have only just begun."""
    return sum(max(job.memory_mb - _held_mb(jobs.folder / job.id), 0) for job in running)


def _held_mb(place: Path) -> int:
    child = read_process(place / CHILD)
    try:
        pages = int(Path(f"/proc/{child.number if child else 0}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // _MEGABYTE
