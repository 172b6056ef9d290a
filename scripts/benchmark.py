"""Measure the simulator alone and training end to end, on this machine.

python scripts/benchmark.py                    environment and training at 1, 30 and 503 assets
python scripts/benchmark.py env --quick        the environment only, smaller sizes
python scripts/benchmark.py features           the table of features beside TA-Lib and ta
python scripts/benchmark.py --json FILE        figures for a machine as well
"""

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro
from benchmark_features import features_table, measure_features
from rich.table import Table

from ploutos_jax.env.rollout import Step, rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.features import build_market
from ploutos_jax.market.synthetic import synthetic_panel
from ploutos_jax.train.agent import Network
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo import Learner
from ploutos_jax.train.terminal import exit_codes, result_console

NUM_BARS = 1260
SIZES = {1: (4096, 128), 30: (1024, 64), 503: (512, 16)}
QUICK_SIZES = {1: (1024, 64), 30: (256, 32), 503: (64, 8)}
"""Assets: (environments, steps per call)."""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measure speed.

    Attributes:
        sections: what to measure: `env` is random actions through the full broker, `train` is PPO with rollouts and
            updates at the default network and settings, `features` is indicators beside TA-Lib and ta.
        quick: smaller sizes, fewer repetitions.
        json: also write the figures to this file.
        repeats: timed calls; the median counts.
    """

    sections: tyro.conf.Positional[tuple[Literal["env", "train", "features"], ...]] = ("env", "train")
    quick: bool = False
    json: str | None = None
    repeats: int = 5


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = tyro.cli(Benchmark, args=args)
    measure = {"env": measure_env, "train": measure_training}
    sizes = QUICK_SIZES if wanted.quick else SIZES
    repeats = min(wanted.repeats, 3) if wanted.quick else wanted.repeats
    rows = []
    console = result_console()
    for section in [name for name in wanted.sections if name in measure]:
        for num_assets, (num_envs, num_steps) in sizes.items():
            rows.append({"section": section, **measure[section](num_assets, num_envs, num_steps, repeats)})
    if rows:
        console.print(_table(rows))
    if "features" in wanted.sections:
        of_features = measure_features(quick=wanted.quick, repeats=repeats)
        console.print(features_table(of_features))
        rows += of_features
    machine = {"device": str(jax.devices()[0]), "cores": os.cpu_count(), "jax": jax.__version__}
    console.print(f"{machine['device']}, {machine['cores']} cores, jax {machine['jax']}")
    if wanted.json is not None:
        Path(wanted.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def measure_env(num_assets: int, num_envs: int, num_steps: int, repeats: int) -> dict[str, Any]:
    """Return figures of the simulator under uniform random actions, default rules and costs."""
    env, params = _world(num_assets)

    def policy(keys: jax.Array, _: Observation) -> tuple[jax.Array, None]:
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (num_assets,)))(keys)
        return (3 * uniform).astype(jnp.int8), None

    def record(step: Step) -> tuple[jax.Array, jax.Array]:
        return step.reward.mean(), step.info["cost"].mean()

    def call(runner: Any, params: EnvParams) -> Any:
        runner, _, records = rollout(env, params, policy, runner, num_steps, record)
        return runner, records

    runner = start_runner(env, params, jax.random.key(0), num_envs, staggered=True)
    return _measure(call, runner, (params,), num_assets, num_envs, num_steps, repeats)


def measure_training(num_assets: int, num_envs: int, num_steps: int, repeats: int) -> dict[str, Any]:
    """Return figures of whole PPO updates: rollout, advantages, four epochs of four minibatches."""
    env, params = _world(num_assets)
    config = TrainConfig(num_envs=num_envs, rollout_length=num_steps)
    network = Network.create(config.policy, "discrete", num_assets, int(config.chunk_megabytes * 2**20))
    learner = Learner(config=config, env=env, network=network)
    state = learner.init(jax.random.key(0), params)
    hyper = jax.tree.map(jnp.float32, config.hyper())
    return _measure(learner.update, state, (params, hyper), num_assets, num_envs, num_steps, repeats)


def _world(num_assets: int) -> tuple[TradingEnv, EnvParams]:
    market = build_market(synthetic_panel(jax.random.key(0), num_assets, NUM_BARS), "core")
    env = TradingEnv()
    return env, env.default_params(market)


def _measure(
    function: Callable[..., Any],
    state: Any,
    rest: tuple[Any, ...],
    num_assets: int,
    num_envs: int,
    num_steps: int,
    repeats: int,
) -> dict[str, Any]:
    """Compile, run once to warm up, then time calls that each carry the state of the one before."""
    state = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf.copy(), x))(state)
    began = time.perf_counter()
    program = jax.jit(function, donate_argnums=0).lower(state, *rest).compile()
    compile_seconds = time.perf_counter() - began
    state, out = program(state, *rest)
    jax.block_until_ready(out)
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        state, out = program(state, *rest)
        jax.block_until_ready(out)
        seconds.append(time.perf_counter() - began)
    middle = sorted(seconds)[len(seconds) // 2]
    steps = num_envs * num_steps
    memory = program.memory_analysis()
    return {
        "assets": num_assets,
        "envs": num_envs,
        "steps_per_call": steps,
        "steps_per_second": steps / middle,
        "asset_steps_per_second": steps * num_assets / middle,
        "compile_seconds": compile_seconds,
        "steps_per_second_with_compile": steps * repeats / (sum(seconds) + compile_seconds),
        "temporary_megabytes": None if memory is None else memory.temp_size_in_bytes / 2**20,
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    columns = {
        "section": "",
        "assets": "Assets",
        "envs": "Envs",
        "steps_per_second": "Steps/s",
        "asset_steps_per_second": "Assets x steps/s",
        "compile_seconds": "Compile s",
        "steps_per_second_with_compile": "Steps/s with compile",
        "temporary_megabytes": "Scratch MB",
    }
    for label in columns.values():
        table.add_column(label, justify="left" if not label else "right")
    for row in rows:
        cells = [row[name] for name in columns]
        table.add_row(*[cell if isinstance(cell, str) else _write(cell) for cell in cells])
    return table


def _write(number: float | None) -> str:
    if number is None:
        return "–"
    return f"{number:,.1f}" if number < 100 and number != int(number) else f"{number:,.0f}"


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
