"""Compare this environment and trainer with peers on this machine: one asset, the same bars and features.

python benchmarks/peers.py                 needs the extra `bench`: pip install "ploutos_jax[bench]"
python benchmarks/peers.py --quick --json FILE

Networks are 2×128 for actor and critic each, trained for 4 epochs. Stable-Baselines3 runs 16 environments of 128 steps
in 4 minibatches, which suits it best, and once more with its default sizes. gym-trading-env fills at the close it has
seen and charges a fee only; this environment is measured by those rules, and by its own (spread, slippage, dated fees,
stops, targets), with which it trains. Every observation is computed whole in all of them.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

ENVIRONMENTS = (
    "gym-trading-env",
    "gymnasium adapter",
    "gymnasium vector adapter",
    "ploutos_jax, default rules",
    "ploutos_jax, the peer's rules",
)
TRAINING = (
    "sb3 ppo on gym-trading-env",
    "sb3 ppo on gym-trading-env, its default sizes",
    "sb3 ppo on ploutos_jax",
    "ploutos_jax ppo",
)
"""Rows of the table; the first of each is what the others are compared with."""

VERSIONS = ("jax", "torch", "stable-baselines3", "gymnasium", "gym-trading-env", "numpy")


def run_peers(quick: bool = False, timeout: float = 600.0) -> list[dict[str, Any]]:
    """Measure each in a process of its own, one after the other.

    Args:
        quick: fewer steps.
        timeout: seconds that one of them may take.

    Returns:
        A row each: `section` (`environment` or `training`), `name`, `envs`, `steps_per_second`, `times_peer` (over the
        first of its section), `fastest` (steps per second of the fastest call, where `steps_per_second` is of the
        median one: far apart on a busy machine), `load` (processes that wanted to run, averaged over a minute);
        `steps_per_second` is None and `error` says why where it could not be measured.
    """
    rows = []
    for section, names in (("environment", ENVIRONMENTS), ("training", TRAINING)):
        measured = [{"section": section, "name": name, **_measure(name, quick, timeout)} for name in names]
        peer = measured[0]["steps_per_second"]
        for row in measured:
            own = row["steps_per_second"]
            rows.append({**row, "times_peer": own / peer if own and peer else None})
    return rows


def _measure(name: str, quick: bool, timeout: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.measure_peer", name, *(["--quick"] if quick else [])]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Stable-Baselines3 computes on the CPU here; so does what it is compared with.
    environment = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    failed: dict[str, Any] = {"envs": None, "steps_per_second": None}
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {**failed, "error": f"not done after {timeout:g} seconds"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {**failed, "error": lines[-1]}
    return {**json.loads(done.stdout.splitlines()[-1]), "load": os.getloadavg()[0]}


def describe_machine() -> dict[str, Any]:
    """Return the cores and the versions of what was measured."""
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {"cores": os.cpu_count(), "python": sys.version.split()[0], "versions": versions}


def write_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| | Envs | Steps/s | fastest | × peer |", "|---|--:|--:|--:|--:|"]
    for row in rows:
        if row["steps_per_second"] is None:
            lines.append(f"| {row['name']} | | not measured: {row['error']} | | |")
            continue
        ratio = row["times_peer"]
        times = "" if ratio is None else f"{ratio:,.1f}" if ratio >= 1 else f"{ratio:.2g}"
        speeds = f"{row['steps_per_second']:,.0f} | {row['fastest']:,.0f}"
        lines.append(f"| {row['name']} | {row['envs']:,} | {speeds} | {times} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, and write the figures where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    wanted = parser.parse_args()
    rows = run_peers(wanted.quick)
    machine = describe_machine()
    print(write_table(rows))
    print(f"\n{machine['cores']} cores; " + ", ".join(f"{name} {x}" for name, x in machine["versions"].items()))
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
