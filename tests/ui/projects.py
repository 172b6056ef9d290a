"""Run folders as a training leaves them, in moments; and a control room in a process of its own."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]


def rows_of(updates, seed=0):
    """Return rows of figures as a run writes them."""
    noise = np.random.default_rng(seed).normal(size=(updates, 3))
    return [
        {
            "update": i + 1,
            "timesteps": 64 * (i + 1),
            "seconds": 0.1 * (i + 1),
            "steps_per_second": 640.0,
            "equity": 1e5 + 100 * float(noise[i, 0]),
            "loss": float(noise[i, 1]),
            "episode_return_mean": float(noise[i, 2]),
            "held_out_sharpe": float(noise[i, 0]) if i % 3 == 2 else None,
            "host_memory_bytes": 10**9,
        }
        for i in range(updates)
    ]


def write_run(folder, *, updates, total=None, report=False, seed=0):
    """Write a run folder; it is finished if all of its steps are done."""
    folder.mkdir(parents=True)
    total = 64 * updates if total is None else total
    settings = {
        "preset": "quick",
        "data": {"data": "synthetic"},
        "train": {"algorithm": "ppo", "total_timesteps": total, "num_seeds": 1, "seed": seed},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = rows_of(updates, seed)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "run.log").write_text("began\nended\n")
    score = {"sharpe": 1.5, "total_return": 0.2, "max_drawdown": -0.1, "num_trades": 12}
    (folder / "summary.json").write_text(json.dumps({"final_score": score}))
    for step in (10, 20):
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        (folder / "checkpoints" / str(step) / "array").write_bytes(b"0" * 1000)
    if report:
        (folder / "report").mkdir()
        (folder / "report" / "metrics.json").write_text(json.dumps(score))
        (folder / "report" / "report.html").write_text("<!doctype html><title>r</title><h1>A report</h1>")
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def control_room(folder, *flags, **variables):
    """Give address and process of `ploutos serve` for a folder."""
    port = free_port()
    command = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--port", str(port), *flags]
    log = (Path(folder) / f"server-{port}.log").open("wb")
    with log, subprocess.Popen(command, cwd=folder, env=os.environ | variables, stdout=log, stderr=log) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(240):
                assert server.poll() is None, Path(log.name).read_text()
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/healthz"):
                    break
                time.sleep(0.25)
            else:
                raise AssertionError("The server does not answer.")
            yield address, server
        finally:
            server.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
            server.kill()


@contextlib.contextmanager
def served(app):
    """Give a client of an application that a thread of this process serves."""
    import httpx
    import uvicorn

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=300) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def wait_for(condition, seconds=60.0):
    """Return what a condition comes to once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("It did not come true in time.")
