"""The server as a process: without JAX, small when idle, quick with many runs, and its death ends no job."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.ui.projects import ROOT, control_room, wait_for, write_run

MODULES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in (ROOT / "ploutos_jax" / "ui").rglob("*.py")
    if path.name not in ("panel_facts.py", "app.py") or path.parent.name == "api"
)
"""All but the process that reads a file of bars, and the script that Streamlit runs."""
MOST_MB, MOST_SECONDS = 400, 1.0


def ask(address, path, content=None):
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address + path, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def megabytes(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def test_neither_the_api_nor_a_page_imports_jax():
    pytest.importorskip("streamlit", reason="the control room needs the extra `ui`")
    code = f"import importlib, sys\nfor name in {MODULES}: importlib.import_module(name)\nprint('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False" and "ploutos_jax.ui.serve" in MODULES


def test_jobs_need_nothing_of_the_extra():
    code = "import sys, ploutos_jax.cli.detach\nprint({'fastapi', 'streamlit', 'plotly', 'jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("streamlit") is None, reason="the control room needs the extra `ui`")
def test_a_server_with_many_runs_is_small_and_quick_and_its_death_ends_no_job(tmp_path):
    for number in range(50):
        write_run(tmp_path / "checkpoints" / f"run-{number}", updates=400, seed=number)
    with control_room(tmp_path) as (address, server):
        for path in ("/api/runs", "/api/models", "/api/evaluations", "/api/jobs", "/", "/live"):
            began = time.monotonic()
            with urllib.request.urlopen(address + path, timeout=60) as answer:
                answer.read()
            assert time.monotonic() - began < 5 * MOST_SECONDS, path  # the tests share the machine
        assert len(ask(address, "/api/runs")) == 50 and megabytes(server.pid) < MOST_MB
        assert b"jaxlib" not in Path(f"/proc/{server.pid}/maps").read_bytes()
        job = ask(address, "/api/runs", {"values": {"preset": "quick", "total_timesteps": 10**9, "report": False}})
        wait_for(lambda: ask(address, f"/api/jobs/{job['id']}")["state"] == "running")
        server.send_signal(signal.SIGKILL)
        server.wait()
    with control_room(tmp_path) as (address, _):
        [found] = ask(address, "/api/jobs")
        assert found["id"] == job["id"] and found["state"] == "running"
        stopped = ask(address, f"/api/jobs/{job['id']}/stop", {})
        assert stopped["command"].startswith("ploutos train")
        wait_for(lambda: ask(address, f"/api/jobs/{job['id']}")["state"] == "stopped")


@pytest.mark.thorough
def test_a_run_in_the_background_outlives_its_terminal(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--detach", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ)
    assert "ploutos train --quiet" in done.stdout and "tail -f" in done.stdout
    from ploutos_jax.ui.jobs.record import Jobs
    from ploutos_jax.ui.project import Project

    jobs = Jobs(Project(tmp_path))
    [job] = wait_for(jobs.all)
    jobs.stop(job.id)
    assert wait_for(lambda: jobs.get(job.id).state == "stopped")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "so a token is needed"),
        (["--port", "0"], "port=0 must lie in"),
        (["--project", "nowhere"], "There is no folder nowhere"),
        (["--token", "nowhere"], "token file nowhere cannot be read"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_message(tmp_path, flags, words):
    pytest.importorskip("streamlit", reason="the control room needs the extra `ui`")
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and words in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr
