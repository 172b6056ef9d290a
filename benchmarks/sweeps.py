"""Sweeps, populations and measured sizes: the figures of benchmarks/SWEEPS.md.

python benchmarks/sweeps.py population                   a population of 8 beside its first settings, at equal steps
python benchmarks/sweeps.py sizes --data synthetic:30    the sizes that `auto` picks beside every size of a grid
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.datasets.training import TrainingData, read_training
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import HINT_ORACLE
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import backtest, baselines
from ploutos_jax.runs.settings import RunSettings, parse_settings
from ploutos_jax.train.loop import train_seeds
from ploutos_jax.train.probe import Probe
from ploutos_jax.train.run.figures import read_figures

_NEVER = 10**9


def shares_of_oracle(settings: RunSettings, data: TrainingData, agents: Any) -> np.ndarray:
    """Return what each agent is promised on held-out bars, net of costs, over what the oracle is."""
    span, config = data.held_out, settings.env
    assert span is not None
    rules = baselines(data.history, config, span.times[0], span.times[-1])
    best = expected_edge_of(rules[HINT_ORACLE], span, fill=config.fill).net
    found = [expected_edge_of(backtest(agent, span), span, fill=config.fill).net for agent in agents]
    return np.array(found) / best


def population(words: list[str], output: Path) -> dict[str, Any]:
    """Return shares of the oracle of a population's members, and of its first settings without any selection."""
    flags = ["--data", "planted:8:0.1", "--num-envs", "32", "--rollout-length", "32", "--total-timesteps", "150000"]
    flags += ["--population", "8", "--population-spread", "100", "--population-every", "8", "--entropy-coef", "0.001"]
    flags += ["--population-numbers", "learning_rate,entropy_coef", *words]
    settings = parse_settings(flags)
    data, env = read_training(settings.data), TradingEnv(settings.env)
    made: dict[str, Any] = {"flags": flags}
    for name, every in (("selected", settings.train.selection_every), ("fixed", _NEVER)):
        evolution = dataclasses.replace(settings.train.evolution, population_every=every)
        train = dataclasses.replace(settings.train, evolution=evolution)
        folder, began = output / f"{name}-{train.seed}", time.process_time()
        agents = train_seeds(train, data.market, env, output=folder)
        last = read_figures(folder)[-1]
        made[name] = {
            "shares": np.sort(shares_of_oracle(settings, data, agents)).round(4).tolist(),
            "by_member": shares_of_oracle(settings, data, agents).round(4).tolist(),
            "scores": last["score_by_seed"],
            "numbers": {n: last[f"{n}_by_seed"] for n in train.evolution.population_numbers},
            "cpu_seconds": round(time.process_time() - began, 1),
        }
    return made


def sizes(words: list[str], output: Path) -> dict[str, Any]:
    """Return the speed of the sizes that `auto` picks, and of every size of a grid, on one number of assets."""
    del output
    settings = parse_settings(["--total-timesteps", "500000", *words])
    data, env, names = read_training(settings.data), TradingEnv(settings.env), ("num_envs", "num_minibatches")
    train = dataclasses.replace(settings.train, batch_size=None)
    began = time.perf_counter()
    probe = Probe(train, data.market, env, seconds=600.0)
    chosen = probe.choose(names)
    seconds = time.perf_counter() - began
    grid = Probe(train, data.market, env, seconds=float("inf"))
    for number in (16, 64, 128, 256, 512, 1024):
        for minibatches in (1, 4):
            grid.measure(number, minibatches)
    known = [row for row in grid.rows if row.steps_per_second]
    best = max(known, key=lambda row: row.steps_per_second or 0.0)
    # Other programs on the machine come and go: the two are measured in turns, and the fastest of each counts.
    speeds: dict[tuple[int, int], float] = {}
    for _ in range(5):
        for size in ((chosen.num_envs, chosen.num_minibatches), (best.num_envs, best.num_minibatches)):
            row = Probe(train, data.market, env).measure(*size)
            speeds[size] = max(speeds.get(size, 0.0), (row.steps_per_second or 0.0) if row else 0.0)
    own = speeds[chosen.num_envs, chosen.num_minibatches]
    return {
        "data": settings.data.data,
        "chosen": [chosen.num_envs, chosen.num_minibatches, own],
        "best_of_grid": [best.num_envs, best.num_minibatches, speeds[best.num_envs, best.num_minibatches]],
        "share_of_best": round(own / speeds[best.num_envs, best.num_minibatches], 3),
        "probe_seconds": round(seconds, 1),
        "probe": [dataclasses.asdict(row) for row in probe.rows],
        "grid": [dataclasses.asdict(row) for row in grid.rows],
    }


def main() -> None:
    """Run one of them and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["population", "sizes"])
    parser.add_argument("--output", type=Path, default=Path("checkpoints/benchmark-sweeps"))
    args, words = parser.parse_known_args()
    found = {"population": population, "sizes": sizes}[args.what](words, args.output)
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
