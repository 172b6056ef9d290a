"""The tests of the project that can run on the device."""

import os
import subprocess
import sys

from benchmarks.gpu.stages.measuring import row
from benchmarks.gpu.stages.plan import ON_CPU, OUT, ROOT, TINY

TEST_FILES = (
    "tests/env/broker/test_golden_traces.py",
    "tests/env/test_precision.py",
    "tests/env/broker/test_stops.py",
    "tests/env/test_rollout.py",
    "tests/train/ppo/test_losses.py",
    "tests/train/ppo/test_gradients.py",
    "tests/train/ppo/test_learner.py",
    "tests/train/ppo/test_advantages.py",
)


def stage_tests():
    env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if not ON_CPU:
        env["JAX_PLATFORMS"] = "cuda,cpu"
    base = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "-o",
        "filterwarnings=default",
    ]
    holders = [
        str(f.relative_to(ROOT))
        for f in (ROOT / "tests").rglob("test_*.py")
        if "mark.gpu" in f.read_text(encoding="utf-8")
    ]
    if holders:
        marked = subprocess.run(
            [*base, "-n", "0", "-m", "gpu", *holders], env=env, cwd=ROOT, capture_output=True, text=True, timeout=100
        )
        print(marked.stdout[-3000:], marked.stderr[-1500:])
        row(what="pytest -m gpu", files=holders, code=marked.returncode, end=marked.stdout.strip().splitlines()[-1:])
    else:
        row(what="pytest -m gpu", code="no test in tests/ is marked gpu")
    files = [f for f in (TEST_FILES[:1] if TINY else TEST_FILES) if (ROOT / f).exists()]
    done = subprocess.run(
        [
            *base,
            "-n",
            "1" if TINY else "8",
            "-m",
            "not thorough and not slow and not gpu and not realdata",
            f"--junitxml={OUT}/tests.xml",
            "--maxfail=40",
            *files,
        ],
        env=env,
        cwd=ROOT,
    )
    row(what="the CPU suite's tests on this device", code=done.returncode)
