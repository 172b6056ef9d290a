"""What a gradient step costs with a memory over time, beside the torso alone: every row of a market is encoded once.

python benchmarks/memory_gradient.py                     30 assets, 2,520 bars, 28 features, 4,096 samples
python benchmarks/memory_gradient.py --arms none mingru --repeats 15

Features are scaled beforehand, as a learner does for all gradient steps of an update. Arms take turns; what counts is
the least processor time of several, as other work on the machine only adds to it. Operations and bytes are what XLA
counts in the compiled program, the body of a loop once: no measure of what goes by rows or chunks.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.memory_updates import keep_rows
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments
from ploutos_jax.env.observation import ACCOUNT_FIELDS
from ploutos_jax.env.types import Observation
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.ppo.gradients import Samples, minibatch_gradients

NUM_BARS, NUM_FEATURES, NUM_ENVS, NUM_STEPS = 2520, 28, 512, 64
NUM_SAMPLES = 4096
ARMS: dict[str, dict[str, Any]] = {
    "none": {},
    "mingru": {"time": "recurrent"},
    "attention": {"time": "attention"},
    "lru": {"time": "recurrent", "time_cell": "lru"},
    "lstm": {"time": "recurrent", "time_cell": "lstm"},
}


def compiled(arm: str, market: Market) -> tuple[Any, Any]:
    """Return the compiled gradient step of an arm, and its program."""
    policy = PolicyConfig(**ARMS[arm])
    config = TrainConfig(num_envs=NUM_ENVS, rollout_length=NUM_STEPS, num_minibatches=8, policy=policy)
    network = Network.create(policy, "discrete", market.num_assets, config.chunk_bytes)
    accounts: dict[str, Any] = {
        "assets": RunningMoments.create(5),
        "account": RunningMoments.create(len(ACCOUNT_FIELDS)),
    }
    features = network.fit_scaling(market.features, market.tradable)
    agent = AgentParams(
        network=network.init(jax.random.key(1), market.num_features),
        scaling=ObservationScaling(features=features, **accounts),
    )
    agent, market = network.scale_once(agent, market)
    agent = jax.tree.map(jnp.asarray, agent)
    samples, pairs = samples_of(market), jnp.arange(NUM_SAMPLES // config.steps_per_chunk)
    hyper = jax.tree.map(jnp.float32, config.hyper())

    def step(params: Any, market: Market, samples: Samples) -> Any:
        own = agent.replace(network=params)
        return minibatch_gradients(network, own, market, samples, pairs, hyper, config, "table")[0]

    program = jax.jit(step).lower(agent.network, market, samples).compile()
    return lambda: program(agent.network, market, samples), program


def samples_of(market: Market) -> Samples:
    """Return a rollout of accounts that each walk through the market a bar at a time, from a bar of their own."""
    random, num_assets = np.random.default_rng(0), market.num_assets
    shape = (NUM_STEPS, NUM_ENVS)
    first = random.integers(0, market.num_bars - NUM_STEPS, NUM_ENVS)
    return Samples(
        observation=Observation(
            t=jnp.asarray(first + np.arange(NUM_STEPS)[:, None], jnp.int32),
            positions=jnp.asarray(random.uniform(0, 0.02, (*shape, num_assets, 2)), jnp.float16),
            levels=jnp.asarray(random.integers(0, 256, (*shape, num_assets, 3)), jnp.uint8),
            account=jnp.asarray(random.uniform(0, 1, (*shape, len(ACCOUNT_FIELDS))), jnp.float16),
        ),
        action=jnp.asarray(random.integers(0, 3, (*shape, num_assets)), jnp.int8),
        log_prob=jnp.full((*shape, num_assets), -np.log(3), jnp.float32),
        advantage=jnp.asarray(random.normal(size=(*shape, num_assets)), jnp.float32),
        target=jnp.asarray(random.normal(size=(*shape, num_assets)), jnp.float32),
        value=None,
    )


def measure(num_assets: int, arms: list[str], repeats: int) -> list[dict[str, Any]]:
    """Return a row of figures of each arm, whose steps took turns."""
    panel = synthetic_panel(jax.random.key(0), num_assets, NUM_BARS)
    market = build_market(panel, "standard")
    market = market.replace(features=market.features[..., :NUM_FEATURES])
    market = jax.tree.map(jnp.asarray, dataclasses.replace(market, feature_names=market.feature_names[:NUM_FEATURES]))
    rows, steps = [], []
    for arm in arms:
        step, program = compiled(arm, market)
        jax.block_until_ready(step())
        counted = program.cost_analysis()
        row = {"arm": arm, "assets": num_assets, "gigaflops": round(counted["flops"] / 1e9, 3)}
        row |= {"gigabytes": round(counted["bytes accessed"] / 1e9, 3)}
        rows.append(row | {"temporary_mib": round(program.memory_analysis().temp_size_in_bytes / 2**20)})
        steps.append(step)
    seconds: list[list[float]] = [[] for _ in arms]
    for _ in range(repeats):
        for step, own in zip(steps, seconds, strict=True):
            began = time.process_time()
            jax.block_until_ready(step())
            own.append(time.process_time() - began)
    least = [min(own) for own in seconds]
    for row, own, every in zip(rows, least, seconds, strict=True):
        row |= {"least_seconds": round(own, 4), "median_seconds": round(float(np.median(every)), 4)}
        row |= {"times_first": round(own / least[0], 2)}
    return rows


def main() -> None:
    """Measure, print a table, and add the rows to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=30)
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], default=["none", "mingru", "lru", "attention"])
    parser.add_argument("--repeats", type=int, default=9, help="steps of each arm, in turn; the least counts")
    parser.add_argument("--json", type=Path, default=Path("runs/memory_gradient.jsonl"))
    asked = parser.parse_args()
    rows = measure(asked.assets, asked.arms, asked.repeats)
    keep_rows(rows, asked.json)


if __name__ == "__main__":
    main()
