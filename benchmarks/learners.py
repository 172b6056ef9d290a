"""One update of each learner, with the settings that the preset `default` gives it: seconds and memory, in one run.

python benchmarks/learners.py                        PPO, pathwise and mixed at 1, 30 and 503 assets
python benchmarks/learners.py --assets 30 --repeats 9

Learners take turns, so that what else the machine does slows all of them. Seconds are of a whole update, rollout and
all; every learner makes 16 gradient steps in it, PPO and the mix in four passes over the rollout, pathwise in one.
Memory is what XLA says the compiled program takes, and `estimate` what `train/memory.py` said beforehand.
"""

import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import tyro
from rich.table import Table

from ploutos_jax.agents.network import Network
from ploutos_jax.agents.scaling import fit_features
from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import exit_codes, result_console
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.memory import estimate_memory

Arm = Literal["ppo", "pathwise", "mixed"]
NUM_BARS = 1258

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Updates:
    """Measure one update of each learner.

    Attributes:
        assets: sizes of the market.
        arms: learners.
        repeats: timed updates of each, in turn; with 0 they are only compiled.
        num_envs: accounts; as the preset has them without it.
        json: file to which each row is appended as a line.
        device: where to run.
    """

    assets: tuple[int, ...] = (1, 30, 503)
    arms: tuple[Arm, ...] = ("ppo", "pathwise", "mixed")
    repeats: int = 5
    num_envs: int | None = None
    json: str = "runs/learners.jsonl"
    device: Literal["auto", "cpu", "gpu"] = "auto"


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    asked = tyro.cli(Updates, args=args, config=(tyro.conf.OmitArgPrefixes,))
    configure(asked.device)
    file = Path(asked.json)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for num_assets in asked.assets:
        rows += measure(asked, num_assets)
        with file.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows[-len(asked.arms) :])
    result_console().print(_table(rows))
    return 0


def measure(asked: Updates, num_assets: int) -> list[Row]:
    """Return a row of figures of each learner at a size."""
    market = build_market(synthetic_panel(jax.random.key(0), num_assets, NUM_BARS), "core")
    env = TradingEnv(EnvConfig(action="bands", stop_loss=None, take_profit=None))
    params = env.default_params(market)
    scaling = fit_features(market.features, market.tradable)
    rows, programs, states = [], {}, {}
    hyper: dict[str, Any] = {}
    for arm in asked.arms:
        sized = [] if asked.num_envs is None else ["--num-envs", str(asked.num_envs)]
        config = parse_settings(["--algorithm", arm, "--action", "bands", "--forecast", "none", *sized]).train
        network = Network.for_env(config.policy, env.config, num_assets, config.chunk_bytes, market.feature_names)
        learner = learner_of(config, env, network)
        state = jax.jit(learner.init)(jax.random.key(0), params, scaling)
        hyper[arm] = jax.tree.map(jnp.float32, config.hyper())
        began = time.perf_counter()
        programs[arm] = jax.jit(learner.update, donate_argnums=0).lower(state, params, hyper[arm]).compile()
        compiling, memory = time.perf_counter() - began, programs[arm].memory_analysis()
        states[arm] = state
        rows.append(
            {
                "arm": arm,
                "assets": num_assets,
                "num_envs": config.num_envs,
                "timesteps": config.timesteps_per_update,
                "gradient_steps": config.num_minibatches * config.num_epochs,
                "compile_seconds": compiling,
                "temporary_mib": memory.temp_size_in_bytes / 2**20,
                "arguments_mib": memory.argument_size_in_bytes / 2**20,
                "estimate_mib": estimate_memory(config, market, "bands").total / 2**20,
                "device": str(jax.devices()[0]),
            }
        )
    seconds: dict[str, list[float]] = {arm: [] for arm in asked.arms}
    for turn in range(asked.repeats + 1 if asked.repeats else 0):
        for arm in asked.arms:
            began = time.perf_counter()
            states[arm], _ = jax.block_until_ready(programs[arm](states[arm], params, hyper[arm]))
            if turn:  # the first is slower
                seconds[arm].append(time.perf_counter() - began)
    for row in rows:
        if seconds[row["arm"]]:
            row["seconds"] = statistics.median(seconds[row["arm"]])
            row["times_ppo"] = statistics.median(
                own / ppo for own, ppo in zip(seconds[row["arm"]], seconds[asked.arms[0]], strict=True)
            )
    return rows


def _table(rows: list[Row]) -> Table:
    table = Table(title="one update")
    for heading in (
        "assets",
        "learner",
        "steps",
        "gradient steps",
        "seconds",
        "ratio",
        "a gradient step",
        "MiB",
        "estimate",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        seconds = row.get("seconds")
        table.add_row(
            str(row["assets"]),
            row["arm"],
            f"{row['timesteps']:,}",
            str(row["gradient_steps"]),
            "–" if seconds is None else f"{seconds:.3f}",
            "–" if seconds is None else f"{row['times_ppo']:.2f}",
            "–" if seconds is None else f"{1e3 * seconds / row['gradient_steps']:.1f} ms",
            f"{row['temporary_mib'] + row['arguments_mib']:.0f}",
            f"{row['estimate_mib']:.0f}",
        )
    return table


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
