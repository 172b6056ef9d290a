"""Updates on a long market by networks that remember, with gradients by every bar and by stretches, in one run.

python benchmarks/memory_updates.py --data data/spy_1m_2024_2025.parquet

Presets and settings of `time_gradient` take turns. Seconds are those of the processor for a whole update, rollout and
all, the least of some; memory is what XLA says the compiled program takes beside its arguments.

With `--leads 0 126 378`, besides, how far the gradient of a minibatch of a rollout is from that by every bar, after the
updates of the last arm, over the size of the latter, and the cosine of the angle between them.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import encode_market, started_warm
from ploutos_jax.agents.network import Network
from ploutos_jax.datasets.config import read_market, split_market
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.runs.settings import parse_settings
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.learning.looking import drop_key_of
from ploutos_jax.train.learning.stretches import Remembered, encode_for, stretches_of
from ploutos_jax.train.memory import estimate_memory
from ploutos_jax.train.ppo.distribution import quantile_targets
from ploutos_jax.train.ppo.gradients import minibatch_gradients


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
        runs.append([program, learner, params, hyper, state])
    for _ in range(asked.repeats):
        for row, run in zip(rows, runs, strict=True):
            program, _, params, hyper, state = run
            began = time.process_time(), time.perf_counter()
            run[-1] = jax.block_until_ready(program(state, params, hyper))[0]
            row["processor_seconds"].append(time.process_time() - began[0])
            row["wall_seconds"].append(time.perf_counter() - began[1])
    for row in rows:
        for kind in ("processor_seconds", "wall_seconds"):
            row[kind] = round(float(np.min(row[kind])), 2)
        row["steps_per_second"] = round(row["timesteps"] / row["wall_seconds"], 1)
    if asked.leads:
        for lead, (away, cosine) in zip(asked.leads, distances(runs[-1][1:], asked.leads), strict=True):
            print(f"lead {lead}: away {away:.4f}, cosine {cosine:.5f}", flush=True)
    return rows


def distances(run: list[Any], leads: list[int]) -> list[tuple[float, float]]:
    """Return how far gradients by stretches are from that by every bar, and the cosine, for each lead."""
    learner, params, hyper, state = run
    network, market, drop_key = learner.network, params.market, drop_key_of(learner.config, state)
    config = dataclasses.replace(learner.config, time_gradient=0)
    length = stretches_of(config, market.num_bars).length
    pieces = jnp.arange(config.num_envs // config.num_minibatches)
    in_eights = jnp.concatenate([pieces + config.num_envs * chunk for chunk in range(length // config.steps_per_chunk)])

    @jax.jit
    def rolled_out(state: Any) -> Any:
        keys = network.drop_keys(drop_key, jnp.arange(market.num_bars))
        table = encode_market(network, state.agent, market, keys)
        runner, ends, (stored, _) = learner._rollout(state, params, table)
        samples = learner.samples(state, params, hyper, table, runner, ends, stored)[0]
        if not config.policy.quantiles:
            return samples
        made = network, state.agent, market, table, stored, runner, ends, hyper, (state.key, drop_key)
        return samples.replace(quantile_target=quantile_targets(*made))

    samples = rolled_out(state)

    @jax.jit
    def by_every_bar(agent: Any) -> Any:
        scaled, inputs = network.scale_once(agent, market)
        fixed = network, scaled, inputs, samples, in_eights, hyper, config, "table", drop_key
        return minibatch_gradients(*fixed)[0]

    def by_stretches(agent: Any, lead: int) -> Any:
        stretches = stretches_of(dataclasses.replace(config, time_gradient=lead), market.num_bars)
        states = encode_for(stretches, network, agent, market, drop_key)[1]
        scaled, inputs = network.scale_once(agent, market)
        fixed = network, scaled, inputs, samples, pieces, hyper, config, "gather", drop_key
        return minibatch_gradients(*fixed, remembered=Remembered(stretches, states))[0]

    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])  # noqa: E731
    whole, found = flat(by_every_bar(state.agent)), []
    for lead in leads:
        own = flat(jax.jit(by_stretches, static_argnums=1)(state.agent, lead))
        size = np.linalg.norm(whole)
        found.append((float(np.linalg.norm(own - whole) / size), float(own @ whole / size / np.linalg.norm(own))))
    return found


def keep_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Add rows to a file of JSON lines, and print them as a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"| {' | '.join(rows[0])} |\n|{'--|' * len(rows[0])}")
    for row in rows:
        print(f"| {' | '.join(map(str, row.values()))} |")


def main() -> None:
    """Measure, print a table, and add the rows to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/spy_1m_2024_2025.parquet", help="a file of bars")
    parser.add_argument("--arms", nargs="+", default=["sentio", "sentio-enhanced:whole", "sentio-enhanced:auto"])
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--rollout-length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3, help="updates of each arm, in turn; the least counts")
    parser.add_argument("--leads", type=int, nargs="*", default=[], help="whose gradients are compared, in bars")
    parser.add_argument("--json", type=Path, default=Path("runs/memory_updates.jsonl"))
    parser.add_argument("more", nargs="*", help="further settings, after --")
    asked = parser.parse_args()
    rows = measure(asked)
    keep_rows(rows, asked.json)


if __name__ == "__main__":
    main()
