"""One program on 1, 2, 4 and 8 devices: same curve, processor time, and bytes that go between devices.

python benchmarks/devices.py [--updates 8] [--num-envs 256] [--devices 1 2 4 8]

The devices are made of the processor, so times say how much more there is to compute, never how much sooner it ends.
Bytes are counted from the compiled program: every all-reduce, by the loops that it stands in.
"""

import argparse
import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

if "--xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from ploutos_jax.datasets.config import DataConfig
from ploutos_jax.datasets.training import read_training
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train import calls
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train_seeds

FIGURES = ("trades", "episode_return_mean", "equity", "loss", "entropy", "grad_norm", "explained_variance")
_BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "f16": 2, "bf16": 2, "s8": 1, "u8": 1, "pred": 1}
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


def reduced_bytes(text: str, config: TrainConfig) -> dict[str, int]:
    """Return what all-reduces of a compiled program add up in one update: operations and bytes of a device's operands.

    Args:
        text: of the optimised HLO.
        config: whose epochs and minibatches the two inner loops count.
    """
    steps = config.num_epochs * config.num_minibatches
    found = {"operations_per_update": 0, "bytes_per_update": 0, "operations_per_step": 0, "bytes_per_step": 0}
    for line in text.splitlines():
        match = re.search(r"= (.*?) all-reduce(?:-start)?\(", line)
        if match is None:
            continue
        size = sum(_BYTES[kind] * _product(shape) for kind, shape in _SHAPE.findall(match[1]))
        name = re.search(r'op_name="([^"]*)"', line)
        depth = name[1].count("while/body") if name else 1
        place = "update" if depth <= 1 else "step"
        found[f"operations_per_{place}"] += 1
        found[f"bytes_per_{place}"] += size
    total = found["bytes_per_update"] + steps * found["bytes_per_step"]
    return found | {"steps": steps, "all_bytes_per_update": total}


def _product(shape: str) -> int:
    size = 1
    for number in shape.split(","):
        size *= int(number) if number else 1
    return size


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=8)
    parser.add_argument("--num-envs", type=int, default=256)
    parser.add_argument("--data", default="planted:4:0.1")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    asked = parser.parse_args()
    config = TrainConfig(
        num_envs=asked.num_envs, rollout_length=32, total_timesteps=asked.num_envs * 32 * asked.updates
    )
    market = read_training(DataConfig(asked.data)).market
    env = TradingEnv(EnvConfig(action="bands"))
    first: list[dict[str, Any]] = []
    for number in asked.devices:
        rows: list[dict[str, Any]] = []
        programs: list[Any] = []
        compiled = calls.compile_once

        def watched(*arguments: Any, compiled: Any = compiled, programs: list[Any] = programs) -> Any:
            programs.append(compiled(*arguments))
            return programs[-1]

        calls.compile_once = watched
        marks: list[tuple[int, float]] = []

        def watch(progress: Any, rows: Any = rows, marks: Any = marks) -> None:
            rows.extend(progress.rows)
            marks.append((progress.rows[-1]["update"], time.process_time()))

        try:
            train_seeds(config, market, env, devices=number, observers=[watch], max_updates_per_call=1)
        finally:
            calls.compile_once = compiled
        first = first or rows
        apart = {
            name: max(abs(a[name] - b[name]) / max(abs(b[name]), 1e-3) for a, b in zip(rows, first, strict=True))
            for name in FIGURES
        }
        spent = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
        sent = reduced_bytes(programs[0].as_text(), config)
        print(
            json.dumps(
                {
                    "devices": number,
                    "processor_seconds_per_update": round(spent, 4),
                    "largest_relative_difference": {name: float(f"{value:.2g}") for name, value in apart.items()},
                    "first_update": {name: rows[0][name] for name in FIGURES},
                    "last_update": {name: rows[-1][name] for name in FIGURES},
                    **sent,
                }
            ),
            flush=True,
        )
    print(json.dumps({"jax": jax.__version__, "cores": os.cpu_count(), "config": dataclasses.asdict(config)}))


if __name__ == "__main__":
    main()
