"""Measure the simulator alone and training end to end, on this machine.

python scripts/benchmark.py                    environment and training at 1, 30, 100 and 503 assets
python scripts/benchmark.py env --quick        the environment only (no rules, defaults, all rules), smaller sizes
python scripts/benchmark.py gradient           the gradient of an encoded table against that of a plain dense network
python scripts/benchmark.py peers              gym-trading-env and Stable-Baselines3 in the same run (extra `bench`)
python scripts/benchmark.py features           the table of features against TA-Lib and ta
python scripts/benchmark.py synthetic          drawing synthetic markets, bars alone and with all features
python scripts/benchmark.py backtest           many backtests in one call, against vectorbt with --vectorbt PYTHON
python scripts/benchmark.py --json FILE        figures for a machine as well
python scripts/benchmark.py env train --record a line in benchmarks/history.jsonl, which a guard compares with

Each configuration runs in a process of its own: compiled with an empty cache of programs, again with a filled one, and
timed. What was measured is in benchmarks/RESULTS.md.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":
    # Before anything heavy: signals are answered while the rest is imported.
    from ploutos_jax.cli.early import answer_early

    answer_early()

import jax
import tyro
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import history  # noqa: E402
from benchmarks.backtests import backtest_table, measure_backtest  # noqa: E402
from benchmarks.features import features_table, measure_features  # noqa: E402
from benchmarks.synthetic_speed import measure_synthetic, synthetic_table  # noqa: E402
from ploutos_jax.cli.terminal import exit_codes, result_console  # noqa: E402
from ploutos_jax.runs.command_line import read  # noqa: E402

Row = dict[str, Any]
Section = Literal["env", "train", "start", "gradient", "peers", "features", "backtest", "synthetic"]

MEASURES = {
    "env": ("env",),
    "train": ("train", "train 1e6c51a", "train 2x128"),
    "start": ("start",),
    "gradient": ("gradient",),
}
"""What `benchmarks.measure_speed` measures in each section."""
ONLY_SIZE = {"train 2x128": 1, "start": 30, "gradient": 100}

TABLE_WIDTH = 160
"""Columns of a terminal; narrower ones, and pipes, get long lines instead of cut figures."""

COLUMNS = {
    "section": "",
    "assets": "Assets",
    "envs": "Envs",
    "steps_per_second": "Steps/s",
    "asset_steps_per_second": "Assets x steps/s",
    "times_first": "x first",
    "cold_seconds": "Cold s",
    "cached_seconds": "Cached s",
    "peak_megabytes": "Peak MB",
    "stored_bytes": "Bytes/step",
    "gigaflops": "GFLOP/s",
    "product_gigaflops": "of a product",
    "share": "Share",
}


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measure speed.

    Attributes:
        sections: what to measure: `env` is random actions through the full broker, `train` is PPO with rollouts and
            updates at the default settings and, at one asset, with a dense network of 2x128 for actor and critic each,
            `start` is the time to the figures of the first update, `gradient` is encode-once against a plain dense
            network, `peers` are other libraries, `features` is indicators against TA-Lib and ta, `synthetic` is
            synthetic markets drawn on the device,
            `backtest` is a thousand tables of decisions played at once, against vectorbt.
        assets: sizes of the market for `env` and `train`.
        quick: smaller sizes, fewer repetitions.
        json: also write the figures to this file.
        record: also append the speeds to benchmarks/history.jsonl.
        repeats: timed calls; the median counts.
        vectorbt: interpreter of an environment that has vectorbt (tests/oracles/README.md makes one).
    """

    sections: tyro.conf.Positional[tuple[Section, ...]] = ("env", "train", "start")
    assets: tuple[Literal[1, 30, 100, 503], ...] = (1, 30, 100, 503)
    quick: bool = False
    json: str | None = None
    record: bool = False
    repeats: int = 5
    vectorbt: str | None = None


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = read(Benchmark, args)
    if wanted.repeats < 1 or not wanted.sections or not wanted.assets:
        raise ValueError("Name at least one section and one size, and repeats=1 or more.")
    repeats = min(wanted.repeats, 3) if wanted.quick else wanted.repeats
    console = result_console()
    rows: list[Row] = []
    for section in wanted.sections:
        if section == "features":
            of_features = measure_features(quick=wanted.quick, repeats=repeats)
            console.print(features_table(of_features))
            rows += of_features
        elif section == "synthetic":
            made = measure_synthetic(quick=wanted.quick)
            console.print(synthetic_table(made))
            rows += [{"section": section, **row} for row in made]
        elif section == "backtest":
            of_backtests = measure_backtest(quick=wanted.quick, repeats=repeats, vectorbt=wanted.vectorbt)
            console.print(backtest_table(of_backtests))
            if wanted.vectorbt is None:
                console.print("vectorbt was not measured: give --vectorbt PYTHON, an interpreter that has it.")
            rows += of_backtests
        elif section == "peers":
            rows += _peers(wanted.quick, console)
        else:
            for name in MEASURES[section]:
                sizes = [ONLY_SIZE[name]] if name in ONLY_SIZE else wanted.assets
                for num_assets in sizes:
                    rows += measure_apart(name, num_assets, wanted.quick, repeats)
    measured = [row for row in rows if "cold_seconds" in row]
    if measured:
        console.width = max(console.width, TABLE_WIDTH)
        console.print(_table(measured))
    machine = describe_run()
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), soft_wrap=True)
    if wanted.record:
        history.append(history.line_of(rows, machine, quick=wanted.quick))
    if wanted.json is not None:
        Path(wanted.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def measure_apart(name: str, num_assets: int, quick: bool, repeats: int) -> list[Row]:
    """Return rows of one configuration, measured in processes of their own.

    Compile times are `cold_seconds`, with an empty cache of compiled programs, and `cached_seconds`, in a second
    process that finds them there.
    """
    command = [name, "--assets", str(num_assets), "--repeats", str(repeats), *(["--quick"] if quick else [])]
    with tempfile.TemporaryDirectory() as cache:
        rows = _child("benchmarks.measure_speed", command, cache)
        again = _child("benchmarks.measure_speed", [*command, "--compile-only"], cache)
    for row, cached in zip(rows, again, strict=True):
        row |= {"cold_seconds": row.pop("compile_seconds"), "cached_seconds": cached["compile_seconds"]}
    return rows


def _child(module: str, arguments: Sequence[str], cache: str) -> list[Row]:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": _import_path(), "JAX_COMPILATION_CACHE_DIR": cache},
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(f"{' '.join(arguments)} could not be measured: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _peers(quick: bool, console: Console) -> list[Row]:
    """Return rows of `benchmarks/peers.py`, and print its table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "peers.json"
        command = [sys.executable, "-m", "benchmarks.peers", "--json", str(file), *(["--quick"] if quick else [])]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": _import_path()}
        )
        if done.returncode != 0:
            raise ValueError(f"The peers could not be measured: {done.stderr.strip().splitlines()[-1]}")
        console.print(done.stdout.strip(), soft_wrap=True)
        return json.loads(file.read_text(encoding="utf-8"))["rows"]


def _import_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def describe_run() -> Row:
    """Return what the figures depend on besides the code, and which code it was."""
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT)
    return {
        "device": str(jax.devices()[0].device_kind),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "jax": jax.__version__,
        "commit": described.stdout.strip() or "unknown",
        "date": datetime.now().isoformat(timespec="minutes"),
    }


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    shown = {name: label for name, label in COLUMNS.items() if any(name in row for row in rows)}
    for label in shown.values():
        table.add_column(label, justify="left" if not label else "right")
    for row in rows:
        table.add_row(*[_write(name, row.get(name)) for name in shown])
    return table


def _write(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    if name == "share":
        return f"{value:.0%}"
    if value < 10 and name not in ("assets", "envs"):
        return f"{value:,.2f}"
    return f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
