"""One gradient step of a dense network over the whole observation: encoded once per row, and plainly per sample.

Plainly, the network sees `[batch, assets · features]` numbers. Encoded once, the same weights multiply each row of the
market a single time, however many samples stand at it. The gradients are those of the same loss.
"""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.scaling import ObservationScaling, RunningMoments, fit_features
from ploutos_jax.env.observation import ACCOUNT_FIELDS
from ploutos_jax.env.types import Observation
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel
from ploutos_jax.policy.actor_critic import PolicyConfig
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learning.table_gradients import TableMode
from ploutos_jax.train.ppo.gradients import Samples, minibatch_gradients

NUM_BARS, NUM_FEATURES, NUM_ENVS, NUM_STEPS, WIDTH = 1258, 85, 256, 64, 256
QUICK_ENVS = 32
WAYS: dict[str, TableMode] = {"gradient, plain": "gather", "gradient, encode once": "table"}


def measure_gradient(num_assets: int, quick: bool, repeats: int) -> list[dict[str, Any]]:
    """Return the seconds of a gradient step both ways, and how far apart the gradients are.

    Args:
        num_assets: A.
        quick: an eighth of the 16,384 samples.
        repeats: timed steps of each, in turn; with 0 they are only compiled.
    """
    num_envs = QUICK_ENVS if quick else NUM_ENVS
    market = build_market(synthetic_panel(jax.random.key(0), num_assets, NUM_BARS), "standard")
    market = market.replace(features=market.features[..., :NUM_FEATURES])
    config = TrainConfig(
        num_envs=num_envs,
        rollout_length=NUM_STEPS,
        ratio="joint",
        policy=PolicyConfig(torso="flat", hidden=(WIDTH, WIDTH), credit="joint"),
    )
    # In one piece, as a plain network would take it.
    networks = {
        name: Network.create(config.policy, "discrete", num_assets, 2**62 if mode == "gather" else config.chunk_bytes)
        for name, mode in WAYS.items()
    }
    weights = networks["gradient, plain"].init(jax.random.key(1), NUM_FEATURES)
    scaling = ObservationScaling(
        features=fit_features(market.features, market.tradable),
        assets=RunningMoments.create(5),
        account=RunningMoments.create(len(ACCOUNT_FIELDS)),
    )
    agent, samples = AgentParams(network=weights, scaling=scaling), _samples(num_assets, num_envs)
    pairs = jnp.arange(num_envs * NUM_STEPS // config.steps_per_chunk)
    hyper = jax.tree.map(jnp.float32, config.hyper())
    rows, steps, gradients = [], {}, {}
    for name, mode in WAYS.items():

        def step(agent: Any, market: Any, samples: Any, name: str = name, mode: TableMode = mode) -> Any:
            return minibatch_gradients(networks[name], agent, market, samples, pairs, hyper, config, mode)[0]

        began = time.perf_counter()
        steps[name] = jax.jit(step).lower(agent, market, samples).compile()
        rows.append({"section": name, "assets": num_assets, "compile_seconds": time.perf_counter() - began})
        gradients[name] = jax.block_until_ready(steps[name](agent, market, samples))
    if repeats < 1:
        return rows
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeats):
        for name, program in steps.items():
            began = time.perf_counter()
            jax.block_until_ready(program(agent, market, samples))
            seconds[name].append(time.perf_counter() - began)
    plain, once = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(gradients[name])]) for name in WAYS)
    plain_seconds = seconds["gradient, plain"]
    for row in rows:
        own = seconds[row["section"]]
        row |= {
            "samples": num_envs * NUM_STEPS,
            "steps_per_second": num_envs * NUM_STEPS / statistics.median(own),
            "times_first": statistics.median(a / b for a, b in zip(plain_seconds, own, strict=True)),
            "difference": float(np.abs(plain - once).max() / np.abs(plain).max()),
        }
    return rows


def _samples(num_assets: int, num_envs: int) -> Samples:
    random = np.random.default_rng(0)
    shape = (NUM_STEPS, num_envs)
    # Each environment walks through the market a bar at a time, from a bar of its own.
    first = random.integers(0, NUM_BARS - NUM_STEPS, num_envs)
    account = len(ACCOUNT_FIELDS)
    return Samples(
        observation=Observation(
            t=jnp.asarray(first + np.arange(NUM_STEPS)[:, None], jnp.int32),
            positions=jnp.asarray(random.uniform(0, 0.02, (*shape, num_assets, 2)), jnp.float16),
            levels=jnp.asarray(random.integers(0, 256, (*shape, num_assets, 3)), jnp.uint8),
            account=jnp.asarray(random.uniform(0, 1, (*shape, account)), jnp.float16),
        ),
        action=jnp.asarray(random.integers(0, 3, (*shape, num_assets)), jnp.int8),
        log_prob=jnp.full((*shape, 1), -num_assets * np.log(3), jnp.float32),
        advantage=jnp.asarray(random.normal(size=(*shape, 1)), jnp.float32),
        target=jnp.asarray(random.normal(size=(*shape, 1)), jnp.float32),
        value=None,
    )
