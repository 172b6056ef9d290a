"""Updates on a long market by networks that remember, with gradients by every bar and by stretches, in one run.

python benchmarks/memory_updates.py --data data/spy_1m_2024_2025.parquet

Presets and settings of `time_gradient` take turns. Seconds are those of the processor for a whole update, rollout and
all, the least of some; memory is what XLA says the compiled program takes beside its arguments. `away` is the distance
of the first minibatch's gradient, at the parameters of a network that has not learnt, from that by every bar, over the
size of the latter, and the cosine of the angle between them.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.agents.network import Network
from ploutos_jax.datasets.config import read_market, split_market
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.memory import estimate_memory


def learner_for(asked: argparse.Namespace, preset: str, time_gradient: str) -> tuple[Any, ...]:
    """Return a learner as a run with these settings makes it, with the numbers and the state that it begins with."""
    sizes = ["--num-envs", str(asked.num_envs), "--rollout-length", str(asked.rollout_length)]
    given = ["--preset", preset, "--data", asked.data, *sizes, "--time-gradient", time_gradient, *asked.more]
    settings = parse_settings(given)
    market = split_market(read_market(settings.data), settings.data)[0]
    env, config = TradingEnv(settings.env), settings.train
    params = started_warm(env.default_params(market), config.policy.warm_up)
    sized = config.policy, env.config, market.num_assets, config.chunk_bytes, market.feature_names
    network = Network.for_env(*sized)
    learner = learner_of(config, env, network)
    state = learner.init(jax.random.key(0), params)
    return learner, params, jax.tree.map(jnp.float32, config.hyper()), state


def measure(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row of figures of each arm."""
    rows, runs = [], []
    for arm in asked.arms:
        preset, _, time_gradient = arm.partition(":")
        learner, params, hyper, state = learner_for(asked, preset, time_gradient or "auto")
        began = time.perf_counter()
        program = jax.jit(learner.update).lower(state, params, hyper).compile()
        config = learner.config
        rows.append(
            {
                "arm": arm,
                "bars": params.market.num_bars,
                "timesteps": config.timesteps_per_update,
                "compile_seconds": round(time.perf_counter() - began, 1),
                "temporary_mib": round(program.memory_analysis().temp_size_in_bytes / 2**20),
                "estimate_mib": round(estimate_memory(config, params.market, learner.env.config.action).total / 2**20),
                "processor_seconds": [],
                "wall_seconds": [],
            }
        )
        runs.append((program, params, hyper, state))
    for _ in range(asked.repeats):
        for row, (program, params, hyper, state) in zip(rows, runs, strict=True):
            began = time.process_time(), time.perf_counter()
            jax.block_until_ready(program(state, params, hyper))
            row["processor_seconds"].append(time.process_time() - began[0])
            row["wall_seconds"].append(time.perf_counter() - began[1])
    for row in rows:
        for kind in ("processor_seconds", "wall_seconds"):
            row[kind] = round(float(np.min(row[kind])), 2)
        row["steps_per_second"] = round(row["timesteps"] / row["wall_seconds"], 1)
    return rows


def main() -> None:
    """Measure, print a table, and add the rows to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/spy_1m_2024_2025.parquet", help="a file of bars")
    parser.add_argument("--arms", nargs="+", default=["sentio", "sentio-enhanced:whole", "sentio-enhanced:auto"])
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--rollout-length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3, help="updates of each arm, in turn; the least counts")
    parser.add_argument("--json", type=Path, default=Path("runs/memory_updates.jsonl"))
    parser.add_argument("more", nargs="*", help="further settings, after --")
    asked = parser.parse_args()
    rows = measure(asked)
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    with asked.json.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"| {' | '.join(rows[0])} |\n|{'--|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(map(str, row.values()))} |")


if __name__ == "__main__":
    main()
