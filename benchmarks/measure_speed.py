"""Measure one configuration in a process of its own, so that memory and compile times are its own.

python -m benchmarks.measure_speed WHAT --assets N [--quick] [--repeats N] [--compile-only]

Prints one line of JSON, a list of rows; `scripts/benchmark.py` starts it.
"""

import argparse
import dataclasses
import functools
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gradient_step import measure_gradient
from benchmarks.matrix_work import MatrixProduct, matrix_flops
from benchmarks.reference_program import ReferenceProgram
from ploutos_jax.agents.forecast import told_ahead
from ploutos_jax.agents.network import Network
from ploutos_jax.cli.device import configure
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Step, rollout, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.memory import stored_bytes
from ploutos_jax.train.ppo.learner import Learner

NUM_BARS = 1260
SIZES = {1: (4096, 128), 30: (1024, 64), 100: (512, 32), 503: (512, 16)}
QUICK_SIZES = {1: (1024, 64), 30: (256, 32), 100: (128, 16), 503: (64, 8)}
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
FROZEN = TrainConfig(
    algorithm="ppo",
    num_minibatches=4,
    num_epochs=4,
    learning_rate=1e-3,
    gae_lambda=0.8,
    clip_range=0.2,
    entropy_coef=0.001,
    ratio="per_asset",
    advantage="gae",
    policy=PolicyConfig(torso="shared", hidden=(64, 64), width=32, credit="per_asset", forecast="none"),
)
"""What was the default at commit 1e6c51a, written out: with it speed is compared across commits, whatever changes."""
LEARNERS = {
    "train": None,
    "train 1e6c51a": FROZEN,
    "train 2x128": TrainConfig(ratio="joint", policy=PolicyConfig(torso="flat", hidden=(128, 128), credit="joint")),
}
"""The preset `default` (None), what it once was, and one dense network of two layers for the actor and another for the
critic."""


def measure_env(num_assets: int, wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """Return figures of the simulator under uniform random actions, without rules, with the defaults and with all."""
    num_envs, num_steps = _sizes(wanted.quick)[num_assets]
    programs = []
    for config in RULES.values():
        env = TradingEnv(config)
        params = env.default_params(_market(num_assets))
        runner = start_runner(env, params, jax.random.key(0), num_envs, staggered=True)
        programs.append(Program(functools.partial(play_at_random, env, num_steps), runner, (params,)))
    figures = _measure(programs, wanted, num_assets, num_envs, num_steps)
    return [{"section": name, **figure} for name, figure in zip(RULES, figures, strict=True)]


def play_at_random(env: TradingEnv, num_steps: int, runner: Any, params: EnvParams) -> Any:
    """Run environments under uniform hold, buy and sell; all of every observation is computed and summed up."""
    num_assets = params.market.close.shape[1]

    def policy(keys: jax.Array, _: Observation) -> tuple[jax.Array, None]:
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (num_assets,)))(keys)
        return (3 * uniform).astype(jnp.int8), None

    def record(step: Step) -> Any:
        seen = jax.tree.map(lambda x: x.astype(jnp.float32).mean(), step.observation)
        return seen, step.reward.mean(), step.info["cost"].mean()

    runner, _, records = rollout(env, params, policy, runner, num_steps, record)
    return runner, records


def measure_training(name: str, num_assets: int, wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """Return figures of whole PPO updates: rollout, advantages, four epochs of four minibatches."""
    num_envs, num_steps = _sizes(wanted.quick)[num_assets]
    learner, state, params = start_of(name, num_assets, num_envs, num_steps)
    config, network = learner.config, learner.network
    rest = (params, jax.tree.map(jnp.float32, config.hyper()))
    program = Program(learner.update, state, rest)
    product = None if wanted.compile_only else MatrixProduct()
    [figure] = _measure([program], wanted, num_assets, num_envs, num_steps, product)
    if product is not None:
        rate = matrix_flops(learner.update, program.state, *rest, turns=config.num_epochs) / figure["seconds"]
        product_rate = product.flops / figure.pop("product_seconds")
        figure |= {"gigaflops": rate / 1e9, "product_gigaflops": product_rate / 1e9, "share": rate / product_rate}
    return [{"section": name, **figure, "stored_bytes": stored_bytes(config, network)}]


def start_of(name: str, num_assets: int, num_envs: int, num_steps: int) -> tuple[Learner, Any, EnvParams]:
    """Return a learner of `LEARNERS`, its state before the first update, and its market."""
    from ploutos_jax.train.population import first_state

    sizes = {"num_envs": num_envs, "rollout_length": num_steps}
    if LEARNERS[name] is None:
        settings = parse_settings([])
        config, env = dataclasses.replace(settings.train, **sizes), TradingEnv(settings.env)
    else:
        config, env = dataclasses.replace(LEARNERS[name], **sizes), TradingEnv(EnvConfig())
    market, forecast = _market(num_assets), None
    params = env.default_params(market)
    if config.policy.forecast != "none":
        params, forecast = told_ahead(params, is_redrawn=False)
    network = Network.for_env(config.policy, env.config, num_assets, config.chunk_bytes, market.feature_names)
    learner = Learner(config=config, env=env, network=network)
    return learner, first_state(learner, params, None, forecast), params


def measure_start(num_assets: int, wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the seconds that `train` takes to the figures of its first update, imports left out."""
    from ploutos_jax.train.loop import train

    market = _market(num_assets)
    config = TrainConfig(total_timesteps=TrainConfig().timesteps_per_update, rollout_length=32)
    began = time.perf_counter()
    train(config, market, TradingEnv(EnvConfig()))
    return [{"section": "start", "assets": num_assets, "compile_seconds": time.perf_counter() - began}]


def _sizes(quick: bool) -> dict[int, tuple[int, int]]:
    return QUICK_SIZES if quick else SIZES


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
    programs: list[Program],
    wanted: argparse.Namespace,
    num_assets: int,
    num_envs: int,
    num_steps: int,
    product: MatrixProduct | None = None,
) -> list[dict[str, Any]]:
    """Warm up, then time calls of the programs in turn, so that a busy moment meets all of them."""
    figures: list[dict[str, Any]] = [
        {"assets": num_assets, "envs": num_envs, "compile_seconds": program.compile_seconds} for program in programs
    ]
    if wanted.compile_only:
        return figures
    for program in programs:
        program.run()
    memory = peak_megabytes()
    timed = [*programs, ReferenceProgram(), *([] if product is None else [product])]
    seconds = [[program.run() for program in timed] for _ in range(wanted.repeats)]
    steps = num_envs * num_steps
    for place, figure in enumerate(figures):
        own = [call[place] for call in seconds]
        figure |= {
            "steps_per_call": steps,
            "seconds": statistics.median(own),
            "steps_per_second": steps / statistics.median(own),
            "fastest": steps / min(own),
            "asset_steps_per_second": steps * num_assets / statistics.median(own),
            "times_first": statistics.median(call[place] / call[0] for call in seconds),
            "per_reference": steps * statistics.median(call[len(programs)] / call[place] for call in seconds),
            "peak_megabytes": memory,
        }
        if product is not None:
            figure["product_seconds"] = statistics.median(call[-1] for call in seconds)
    return figures


def peak_megabytes() -> float:
    """Return the most memory held so far: of the GPU if there is one, else of this process, compiling included."""
    figures = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in figures:
        return figures["peak_bytes_in_use"] / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("env", "start", "gradient", *LEARNERS))
    parser.add_argument("--assets", type=int, choices=tuple(SIZES), default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile-only", action="store_true")
    wanted = parser.parse_args()
    configure()
    if wanted.what == "env":
        rows = measure_env(wanted.assets, wanted)
    elif wanted.what == "start":
        rows = measure_start(wanted.assets, wanted)
    elif wanted.what == "gradient":
        repeats = 0 if wanted.compile_only else wanted.repeats
        rows = measure_gradient(wanted.assets, wanted.quick, repeats)
    else:
        rows = measure_training(wanted.what, wanted.assets, wanted)
    device = str(jax.devices()[0])
    print(json.dumps([{**row, "device": device} for row in rows], default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
