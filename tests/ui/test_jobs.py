"""Jobs are processes and folders: they need no server, wait their turn, and are found again whatever was killed."""

import os
import signal

import pytest

from ploutos_jax.ui.jobs.queue import PAUSED, what_it_waits_for
from ploutos_jax.ui.jobs.record import CHILD, MOST_WAITING, SUPERVISED, Job, Jobs, QueueFullError, read_process
from ploutos_jax.ui.project import Project
from ploutos_jax.version import __version__
from tests.ui.projects import wait_for


@pytest.fixture
def jobs(tmp_path):
    made = Jobs(Project(tmp_path))
    yield made
    for job in made.all():
        made.stop(job.id)
    wait_for(lambda: not [job for job in made.all() if job.state in ("waiting", "running")], 30)


def ended(jobs, name):
    return wait_for(lambda: (job := jobs.get(name)).state not in ("waiting", "running") and job)


def pause(jobs):
    jobs.folder.mkdir(parents=True, exist_ok=True)
    (jobs.folder / PAUSED).touch()


@pytest.mark.thorough
def test_a_job_is_the_ordinary_command_and_says_how_it_ended(jobs):
    good, bad = jobs.submit(["--version"]), jobs.submit(["train", "--num-envs=0; touch here"])
    assert good.command == "ploutos --version" and bad.command == "ploutos train '--num-envs=0; touch here'"
    assert ended(jobs, good.id).state == "done"
    assert jobs.log_of(good.id).read_text() == f"ploutos {__version__}\n"
    failed = ended(jobs, bad.id)
    assert failed.state == "failed" and failed.code == 2 and "num-envs" in jobs.log_of(bad.id).read_text()
    assert not (jobs.project.root / "here").exists()
    assert [job.id for job in Jobs(jobs.project).all()] == [bad.id, good.id]


def test_a_job_waits_while_the_queue_is_paused_and_can_be_called_off(jobs):
    pause(jobs)
    first, second = jobs.submit(["--version"]), jobs.submit(["--version"])
    assert wait_for(lambda: jobs.get(first.id).reason) == "the queue is paused"
    jobs.stop(first.id)
    assert ended(jobs, first.id).state == "stopped" and jobs.log_of(first.id).read_text() == ""
    (jobs.folder / PAUSED).unlink()
    assert ended(jobs, second.id).state == "done"


def test_a_job_that_runs_is_asked_to_stop_as_in_a_terminal(jobs, tmp_path):
    job = jobs.submit(["train", "--quiet"])
    wait_for(lambda: jobs.get(job.id).state == "running")
    child = wait_for(lambda: read_process(jobs.folder / job.id / CHILD))
    jobs.stop(job.id)
    stopped = ended(jobs, job.id)
    assert stopped.state == "stopped" and stopped.code in (130, 143, -signal.SIGTERM) and not child.is_alive


def test_a_job_whose_supervisor_was_killed_is_lost_and_not_taken_for_a_later_process(jobs):
    pause(jobs)
    job = jobs.submit(["--version"])
    supervisor = wait_for(lambda: jobs.get(job.id).reason and read_process(jobs.folder / job.id / SUPERVISED))
    os.kill(supervisor.number, signal.SIGKILL)
    assert ended(jobs, job.id).state == "lost"
    mine = read_process(jobs.folder / job.id / SUPERVISED)
    assert mine is not None and not mine._replace(number=os.getpid()).is_alive


def test_the_queue_takes_only_so_many(jobs, monkeypatch):
    monkeypatch.setattr("ploutos_jax.ui.jobs.record.MOST_WAITING", 2)
    pause(jobs)
    for _ in range(2):
        jobs.submit(["--version"])
    with pytest.raises(QueueFullError, match="2 jobs wait already"):
        jobs.submit(["--version"])
    assert MOST_WAITING == 32


def test_no_job_sees_the_token(jobs, monkeypatch):
    monkeypatch.setenv("PLOUTOS_TOKEN", "a token of the server")
    pause(jobs)
    job = jobs.submit(["--version"])
    supervisor = wait_for(lambda: read_process(jobs.folder / job.id / SUPERVISED))
    with open(f"/proc/{supervisor.number}/environ", "rb") as file:
        assert b"PLOUTOS_TOKEN" not in file.read()


@pytest.mark.parametrize("name", ["", "..", "../x", "a" * 80, "20260101-000000-000000000-zzzz", "/etc", "2026\n"])
def test_a_name_that_is_none_is_not_looked_for(jobs, name):
    with pytest.raises(FileNotFoundError, match="no job of that name"):
        jobs.get(name)


def other(name, state, cores=1, memory_mb=100):
    return Job(name, ("train",), "", cores, memory_mb, 0.0, state, None, None)


@pytest.mark.parametrize(
    ("job", "others", "reason"),
    [
        (other("5", "waiting", cores=500, memory_mb=10**9), [], None),
        (other("5", "waiting"), [other("4", "waiting")], "1 asked for before it"),
        (other("5", "waiting"), [other("6", "waiting"), other("1", "done", cores=99)], None),
        (other("5", "waiting", cores=500), [other("1", "running", cores=0)], "cores: it needs 500"),
        (other("5", "waiting", memory_mb=10**9), [other("1", "running", cores=0)], "memory: it needs 1,000,000,000 MB"),
        (other("5", "waiting", cores=0), [other("1", "running", cores=0, memory_mb=10**9)], "memory: it needs 100 MB"),
    ],
)
def test_whose_turn_it_is(tmp_path, monkeypatch, job, others, reason):
    jobs = Jobs(Project(tmp_path))
    monkeypatch.setattr(jobs, "all", lambda: [*others, job])
    said = what_it_waits_for(job, jobs)
    assert said == reason if reason is None or said is None else said.startswith(reason)
