"""Measure the simulator alone and training end to end, on this machine.

python scripts/benchmark.py                    environment and training at 1, 30 and 503 assets
python scripts/benchmark.py env --quick        the environment only (no rules, defaults, all rules), smaller sizes
python scripts/benchmark.py features           the table of features beside TA-Lib and ta
python scripts/benchmark.py backtest           many backtests in one call, beside vectorbt with --vectorbt PYTHON
python scripts/benchmark.py --json FILE        figures for a machine as well
"""

import dataclasses
import functools
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
from benchmark_backtest import backtest_table, measure_backtest
from benchmark_features import features_table, measure_features
from rich.table import Table

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Step, rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.features import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic import synthetic_panel
from ploutos_jax.train.agent import Network
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo import Learner
from ploutos_jax.train.terminal import exit_codes, result_console

NUM_BARS = 1260
SIZES = {1: (4096, 128), 30: (1024, 64), 503: (512, 16)}
QUICK_SIZES = {1: (1024, 64), 30: (256, 32), 503: (64, 8)}
"""Assets: (environments, steps per call)."""

NO_RULES = EnvConfig(
    stop_loss=None, take_profit=None, tick_size=None, fees="none", day_trade_rule="none", spread_bps=0, slippage_bps=0
)
ALL_RULES = EnvConfig(
    max_sector_pct=0.4,
    sizing="volatility",
    drawdown_scaling=0.5,
    lot_size=1.0,
    max_participation=0.02,
    remainder="carry",
    min_holding_bars=2,
    max_trades_per_day=4,
    slippage_atr=0.02,
    slippage_volatility=0.05,
    slippage_noise=0.5,
    impact=1.0,
    commission_bps=1.0,
    commission_per_order=0.1,
    commission_min=0.2,
    trailing_stop=0.05,
    break_even=0.02,
    stop_loss_atr=2.0,
    take_profit_atr=4.0,
    trailing_atr=3.0,
    max_holding_bars=20,
    drawdown_halt=0.3,
    both_touched="path",
    settlement_days=1,
    cash_rate=0.03,
    day_trade_rule="pdt_2001",
    day_trade_mode="both",
    reward="log_return, 0.01*differential_sharpe, 0.01*sortino_bonus",
)
RULES = {"env, no rules": NO_RULES, "env, defaults": EnvConfig(), "env, all rules": ALL_RULES}


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measure speed.

    Attributes:
        sections: what to measure: `env` is random actions through the full broker, `train` is PPO with rollouts and
            updates at the default network and settings, `features` is indicators beside TA-Lib and ta, `backtest` is a
            thousand tables of decisions played at once, beside vectorbt.
        quick: smaller sizes, fewer repetitions.
        json: also write the figures to this file.
        repeats: timed calls; the median counts.
        vectorbt: interpreter of an environment that has vectorbt (tests/oracles/README.md makes one).
    """

    sections: tyro.conf.Positional[tuple[Literal["env", "train", "features", "backtest"], ...]] = ("env", "train")
    quick: bool = False
    json: str | None = None
    repeats: int = 5
    vectorbt: str | None = None


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
            rows.extend(measure[section](num_assets, num_envs, num_steps, repeats))
    if rows:
        console.print(_table(rows))
    if "features" in wanted.sections:
        of_features = measure_features(quick=wanted.quick, repeats=repeats)
        console.print(features_table(of_features))
        rows += of_features
    if "backtest" in wanted.sections:
        of_backtests = measure_backtest(quick=wanted.quick, repeats=repeats, vectorbt=wanted.vectorbt)
        console.print(backtest_table(of_backtests))
        if wanted.vectorbt is None:
            console.print("vectorbt was not measured: give the interpreter of an environment that has it, --vectorbt.")
        rows += of_backtests
    machine = {"device": str(jax.devices()[0]), "cores": os.cpu_count(), "jax": jax.__version__}
    console.print(f"{machine['device']}, {machine['cores']} cores, jax {machine['jax']}")
    if wanted.json is not None:
        Path(wanted.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def measure_env(num_assets: int, num_envs: int, num_steps: int, repeats: int) -> list[dict[str, Any]]:
    """Return figures of the simulator under uniform random actions, without rules, with the defaults and with all."""

    def policy(keys: jax.Array, _: Observation) -> tuple[jax.Array, None]:
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (num_assets,)))(keys)
        return (3 * uniform).astype(jnp.int8), None

    def record(step: Step) -> tuple[jax.Array, jax.Array]:
        return step.reward.mean(), step.info["cost"].mean()

    programs = []
    for config in RULES.values():
        env, params = _world(num_assets, config)

        def call(runner: Any, params: EnvParams, env: TradingEnv = env) -> Any:
            runner, _, records = rollout(env, params, policy, runner, num_steps, record)
            return runner, records

        runner = start_runner(env, params, jax.random.key(0), num_envs, staggered=True)
        programs.append(Program(call, runner, (params,)))
    figures = _measure(programs, num_assets, num_envs, num_steps, repeats)
    return [{"section": name, **figure} for name, figure in zip(RULES, figures, strict=True)]


def measure_training(num_assets: int, num_envs: int, num_steps: int, repeats: int) -> list[dict[str, Any]]:
    """Return figures of whole PPO updates: rollout, advantages, four epochs of four minibatches."""
    env, params = _world(num_assets, EnvConfig())
    config = TrainConfig(num_envs=num_envs, rollout_length=num_steps)
    network = Network.create(config.policy, "discrete", num_assets, int(config.chunk_megabytes * 2**20))
    learner = Learner(config=config, env=env, network=network)
    state = learner.init(jax.random.key(0), params)
    hyper = jax.tree.map(jnp.float32, config.hyper())
    program = Program(learner.update, state, (params, hyper))
    return [{"section": "train", **_measure([program], num_assets, num_envs, num_steps, repeats)[0]}]


def _world(num_assets: int, config: EnvConfig) -> tuple[TradingEnv, EnvParams]:
    env = TradingEnv(config)
    return env, env.default_params(_market(num_assets))


@functools.cache
def _market(num_assets: int) -> Market:
    return build_market(synthetic_panel(jax.random.key(0), num_assets, NUM_BARS), "core")


class Program:
    """A compiled function that carries its state from call to call."""

    def __init__(self, function: Callable[..., Any], state: Any, rest: tuple[Any, ...]) -> None:
        self.state = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf.copy(), x))(state)
        self.rest = rest
        began = time.perf_counter()
        self.compiled = jax.jit(function, donate_argnums=0).lower(self.state, *rest).compile()
        self.compile_seconds = time.perf_counter() - began

    def run(self) -> float:
        """Call it once; return the seconds it took."""
        began = time.perf_counter()
        self.state, out = self.compiled(self.state, *self.rest)
        jax.block_until_ready(out)
        return time.perf_counter() - began


def _measure(
    programs: list[Program], num_assets: int, num_envs: int, num_steps: int, repeats: int
) -> list[dict[str, Any]]:
    """Warm up, then time calls of the programs in turn, so that a busy moment meets all of them."""
    for program in programs:
        program.run()
    seconds = [[program.run() for program in programs] for _ in range(repeats)]
    steps = num_envs * num_steps
    figures = []
    for place, program in enumerate(programs):
        own = [call[place] for call in seconds]
        middle = sorted(own)[len(own) // 2]
        memory = program.compiled.memory_analysis()
        figures.append(
            {
                "assets": num_assets,
                "envs": num_envs,
                "steps_per_call": steps,
                "steps_per_second": steps / middle,
                "asset_steps_per_second": steps * num_assets / middle,
                "times_first": sorted(call[place] / call[0] for call in seconds)[len(seconds) // 2],
                "compile_seconds": program.compile_seconds,
                "steps_per_second_with_compile": steps * repeats / (sum(own) + program.compile_seconds),
                "temporary_megabytes": None if memory is None else memory.temp_size_in_bytes / 2**20,
            }
        )
    return figures


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    columns = {
        "section": "",
        "assets": "Assets",
        "envs": "Envs",
        "steps_per_second": "Steps/s",
        "asset_steps_per_second": "Assets x steps/s",
        "times_first": "x no rules",
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
    if number < 10:
        return f"{number:,.2f}"
    return f"{number:,.1f}" if number < 100 and number != int(number) else f"{number:,.0f}"


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
