"""Scripts called as a person calls them: inside this process for speed, or in one of their own."""

import contextlib
import hashlib
import importlib.util
import io
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]

TICKERS = ("AAA", "BBB", "CCC")
NUM_BARS, NUM_HELD_OUT = 400, 81
"""Held out are a fifth of the bars, and the last training bar, at whose close the first decision is made."""
SMALL = (
    *("--num-envs", "8", "--rollout-length", "8", "--num-minibatches", "2", "--num-epochs", "4"),
    *("--hidden", "8", "8", "--width", "8", "--features", "minimal", "--episode-length", "30"),
    *("--seed", "7", "--no-report"),
)
"""Settings of every run here: they share one compiled program; after four updates of this seed an agent trades."""
TIMESTEPS_PER_UPDATE = 64


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What stands on stderr, as one line without boxes."""
        return " ".join(self.err.translate(str.maketrans("│╭╮╰╯─", "      ")).split())


@cache
def load_script(name: str) -> ModuleType:
    """Return a script as a module."""
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # tyro looks a settings class up through its module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def call(name: str, args: list[str], folder: Path) -> Outcome:
    """Run a script inside this process, in a working folder, as its last lines would."""
    module = load_script(name)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with module.exit_codes():
                code = module.main(args)
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
    return Outcome(code, out.getvalue(), err.getvalue())


def start(name: str, args: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def wait(process: subprocess.Popen[str], seconds: float = 300) -> Outcome:
    """Return what a process has said when it ends; kill it if it does not."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {seconds} s; stdout: {out}; stderr: {err}") from None
    return Outcome(process.returncode, out, err)


def write_bars(
    path: Path, tickers: tuple[str, ...] = TICKERS, first: str = "2015-01-05", num_bars: int = NUM_BARS
) -> Path:
    """Write a CSV of daily random walks, the same whenever the arguments are."""
    rng = np.random.default_rng(0)
    days = np.busday_offset(first, np.arange(num_bars), roll="forward")
    parts = []
    for ticker in tickers:
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, num_bars)))
        opens = close * np.exp(rng.normal(0, 0.008, num_bars))
        high, low = np.maximum(opens, close) * 1.008, np.minimum(opens, close) * 0.992
        columns = {"open": opens, "high": high, "low": low, "close": close, "volume": 1e6}
        parts.append(pd.DataFrame({"date": days, "ticker": ticker, **columns}))
    pd.concat(parts).to_csv(path, index=False)
    return path


def train_args(data: Path | str, output: Path | str, updates: int, *more: str) -> list[str]:
    """Return the flags of a small run."""
    return [
        *("--data", str(data), "--output", str(output), "--total-timesteps", str(updates * TIMESTEPS_PER_UPDATE)),
        *SMALL,
        *more,
    ]


def snapshot(folder: Path) -> dict[str, str]:
    """Return every file and folder below a folder, files with a digest of their content."""
    return {
        str(path.relative_to(folder)): "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
    }
