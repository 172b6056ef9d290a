"""How much viewers of a live run slow its training: one run, viewers there and not there in turn.

python benchmarks/control_room.py --viewers 20 --output viewers.json

Trains in a project of its own under `ploutos serve`, and opens and closes the server-sent events of that many viewers
by turns, in a process of low priority. The ratio is that of the medians of the run's seconds an update.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TURN, TURNS = 8.0, 8
WATCH = """
import sys, threading, urllib.request
def watch():
    with urllib.request.urlopen(sys.argv[1]) as answer:
        while answer.readline():
            pass
for _ in range(int(sys.argv[2])):
    threading.Thread(target=watch, daemon=True).start()
sys.stdin.read()
"""


def ask(address: str, content: dict | None = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def last_update(run: Path) -> int:
    """Return the number of the newest update of a run."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["update"] if lines else 0


@contextlib.contextmanager
def serving(port: int, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Serve a project until the block ends; the server answers when it begins."""
    serve = [sys.executable, str(ROOT / "scripts" / "serve.py"), "--port", str(port)]
    server = subprocess.Popen(serve, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                ask(f"http://127.0.0.1:{port}/api/machine")
                break
            except OSError:
                time.sleep(0.5)
        yield server
    finally:
        server.terminate()
        server.wait()


def start_endless_run(address: str, run: Path) -> dict[str, Any]:
    """Start a run that trains on and on in that folder; return its job once it has made a hundred updates."""
    values = {"preset": "quick", "total_timesteps": 10**9, "checkpoint_every": 10**9, "eval_every": 10**9}
    job = ask(f"{address}/api/runs", {"values": values})
    while not (run / "metrics.jsonl").exists() or last_update(run) < 100:
        time.sleep(1)
    return job


def memory_mb(process: "subprocess.Popen[bytes]") -> float:
    """Return the resident memory of a process, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def job_ended(address: str, job: dict[str, Any]) -> None:
    """Wait until a job has ended."""
    while ask(f"{address}/api/jobs/{job['id']}")["state"] in ("waiting", "running"):
        time.sleep(0.5)


def measure(viewers: int, port: int, folder: Path) -> dict[str, float]:
    """Return medians of seconds an update without and with viewers, and their ratio."""
    address, run = f"http://127.0.0.1:{port}", folder / "checkpoints" / "run-1"
    with serving(port, folder) as server:
        job = start_endless_run(address, run)
        speed: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(TURNS):
            is_watched = turn % 2 == 1
            command = [
                "nice",
                "-n",
                "10",
                sys.executable,
                "-c",
                WATCH,
                f"{address}/api/runs/live?run=checkpoints/run-1",
            ]
            watcher = subprocess.Popen([*command, str(viewers)], stdin=subprocess.PIPE) if is_watched else None
            time.sleep(2)
            first, began = last_update(run), time.monotonic()
            time.sleep(TURN)
            speed[is_watched].append((time.monotonic() - began) / max(last_update(run) - first, 1))
            if watcher is not None:
                watcher.terminate()
                watcher.wait()
        ask(f"{address}/api/jobs/{job['id']}/stop", {})
        job_ended(address, job)
        server_mb = memory_mb(server)
    alone, watched = statistics.median(speed[False]), statistics.median(speed[True])
    return {
        "seconds_alone": alone,
        "seconds_watched": watched,
        "ratio": watched / alone,
        "server_mb": server_mb,
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--output", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = measure(given.viewers, given.port, Path(place))
    print(json.dumps(found))
    if given.output is not None:
        Path(given.output).write_text(json.dumps(found, indent=2) + "\n")
