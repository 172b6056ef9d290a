"""Everything that the first minutes on a GPU should tell, written down row by row so that a time limit loses nothing.

python benchmarks/gpu/first_light.py all --seconds 520                                on a GPU
JAX_PLATFORMS=cpu python benchmarks/gpu/first_light.py all --tiny --seconds 900       rehearse without one
python benchmarks/gpu/first_light.py all --only env,ppo_2x128                         some stages alone

Writes $OUT/first_light.json (anew after every row), $OUT/first_light.log and $OUT/tests.xml; $OUT is a folder of the
system's temporary files if it is not set. Each stage is a process of its own; one that fails or is too slow is written
down, and the next one starts. benchmarks/gpu/README.md says more.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gpu.stages.determinism import stage_determinism, stage_repeat, stage_resume
from benchmarks.gpu.stages.features import features_work, stage_features
from benchmarks.gpu.stages.machine import stage_machine
from benchmarks.gpu.stages.markets import stage_market, stage_markets, stage_markets_here
from benchmarks.gpu.stages.measuring import row
from benchmarks.gpu.stages.plan import BEGAN, OUT, PPO, SCRIPT, STAGES, TINY, WORK
from benchmarks.gpu.stages.simulator import stage_env, stage_flags
from benchmarks.gpu.stages.smoke import smoke_work, stage_smoke
from benchmarks.gpu.stages.suite import stage_tests
from benchmarks.gpu.stages.updates import stage_ppo

PROCESSES = {
    "machine": stage_machine,
    "market": stage_market,
    "markets": stage_markets,
    "markets_here": stage_markets_here,
    "smoke": stage_smoke,
    "smoke_work": smoke_work,
    "env": stage_env,
    "ppo": stage_ppo,
    "determinism": stage_determinism,
    "repeat": stage_repeat,
    "resume": stage_resume,
    "tests": stage_tests,
    "flags": stage_flags,
    "features": stage_features,
    "features_work": features_work,
}
"""What a process of this file may do; stages start further ones."""


class Book:
    def __init__(self):
        OUT.mkdir(parents=True, exist_ok=True)
        WORK.mkdir(parents=True, exist_ok=True)
        self.rows, self.stages, self.lock = [], {}, threading.Lock()
        self.log = (OUT / "first_light.log").open("a", encoding="utf-8")

    def line(self, stage, text):
        with self.lock:
            self.log.write(f"{time.time() - BEGAN:7.1f} [{stage}] {text}\n")
            self.log.flush()
            if text.startswith("ROW "):
                try:
                    self.rows.append({"stage": stage, "at": round(time.time() - BEGAN, 1), **json.loads(text[4:])})
                    self.save()
                    print(f"{time.time() - BEGAN:6.1f} {stage}: {text[4:400]}", flush=True)
                except ValueError:
                    pass

    def save(self):
        part = OUT / "first_light.part"
        part.write_text(json.dumps({"stages": self.stages, "rows": self.rows}, indent=1), encoding="utf-8")
        part.replace(OUT / "first_light.json")


def run_stage(book, name, args, limit, extra_env=None):
    env = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "FL_TINY": "1" if TINY else "0",
        "OUT": str(OUT),
        "FL_WORK": str(WORK),
    }
    env |= extra_env or {}
    began = time.time()
    child = subprocess.Popen(
        [sys.executable, str(SCRIPT), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    )

    def read():
        for text in child.stdout:
            book.line(name, text.rstrip("\n"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        code = child.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        code = "timeout"
    reader.join(timeout=5)
    return code, round(time.time() - began, 1)


def orchestrate(seconds, only):
    book = Book()
    for name, args, least, most in STAGES:
        if only and name not in only:
            continue
        if args[0] == "ppo" and args[1] not in PPO:
            continue
        left = seconds - (time.time() - BEGAN) - 5
        if left < least and not TINY:
            book.stages[name] = {"code": "skipped: too little time left", "left": round(left)}
            continue
        code, took = run_stage(book, name, args, min(most if not TINY else 900, max(left, 1)))
        book.stages[name] = {"code": code, "seconds": took}
        book.save()
    book.save()
    print(json.dumps(book.stages))
    table(book)


def table(book):
    print("\nsummary")
    for r in book.rows:
        if "steps_per_second" in r:
            print(
                f"  {r.get('what', r['stage']):34s} {r['steps_per_second']:14,.0f} steps/s"
                f"  peak {r.get('peak_mib', 0):8.0f} MiB"
                f"  compile {r.get('compile_s', 0):5.1f} s"
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("args", nargs="*")
    parser.add_argument("--seconds", type=float, default=520)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default="")
    wanted = parser.parse_args()
    if wanted.stage == "all":
        if wanted.tiny and not TINY:
            os.environ["FL_TINY"] = "1"
            os.execv(sys.executable, [sys.executable, *sys.argv])
        orchestrate(wanted.seconds, {x for x in wanted.only.split(",") if x})
        return 0
    try:
        PROCESSES[wanted.stage](*wanted.args)
        return 0
    except Exception:
        traceback.print_exc()
        row(error=traceback.format_exc().strip().splitlines()[-1][:300])
        return 1


if __name__ == "__main__":
    sys.exit(main())
