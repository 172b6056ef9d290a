"""Many settings at once: one compiled program trains an agent at every point of a sweep over numbers of the program."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.forecast import Forecast, told_ahead
from ploutos_jax.agents.network import Network
from ploutos_jax.agents.spec import agent_from, describe
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.learning.divergence import MAX_SKIPPED_IN_ROW
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.memory import device_bytes, fit_to_device
from ploutos_jax.train.population import first_state, make_hyperparams, of_seed
from ploutos_jax.train.updates import States, run_updates, update_all

_PARTS = 10
"""Of a run, after each of which it may be stopped."""

Varied = tuple[Hyper, Mapping[str, Array]]
"""What differs from point to point, `[points, ...]`: numbers of the learner, and numbers of the environment by name."""


def train_points(
    config: TrainConfig,
    env: TradingEnv,
    params: EnvParams,
    hyper: Sequence[Hyper],
    changed: Mapping[str, Array],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[tuple[Agent, ...] | None]:
    """Train at every point, side by side, from the same seeds, and return the agents of each, one for each seed.

    Each is what it would be in a run of its own up to the rounding of floats: products of matrices round differently
    in a stack. Their memory is that of as many runs, less the market, which they share.

    Args:
        config: settings of the learner, whose numbers `hyper` takes the place of.
        env: rules of the environment.
        params: its numbers, and the market to train on.
        hyper: `[points]` numbers of the learner.
        changed: numbers of the environment that differ, by name, `[points, ...]`; may be empty.
        should_stop: asked after every tenth of the run; True ends it there.

    Returns:
        For each point its agents, or None where gradient steps could not be taken too often in a row.

    Raises:
        ValueError: if the program does not fit into the memory of the device.
    """
    number, market = len(hyper), params.market
    assert market is not None
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), started_warm(params, config.policy.warm_up))
    config = dataclasses.replace(config, chunk_megabytes=config.chunk_limit / number)
    available = device_bytes()
    config = fit_to_device(config, market, env.config.action, None if available is None else available // number)
    network = Network.for_env(config.policy, env.config, market.num_assets, config.chunk_bytes, market.feature_names)
    learner = learner_of(config, env, network)
    numbers = _stack([make_hyperparams(learner, each) for each in hyper])
    forecast = None
    if config.policy.forecast != "none":
        params, forecast = told_ahead(params, is_redrawn=False)
    state = _first_states(learner, params, changed, number, forecast)
    ends = np.linspace(0, config.num_updates, _PARTS + 1).round().astype(int)
    for count in np.diff(ends):
        states, rows = run_updates(
            update_points, 1, learner, States(state), params, (numbers, dict(changed)), jnp.int32(count)
        )
        jax.block_until_ready(rows)
        state = states.now
        if should_stop():
            break
    in_row = np.asarray(state.skipped_in_row).reshape(number, -1).max(axis=1)
    meta = describe(network, env.config, market, params, config.num_seeds)
    update = int(np.max(state.update))
    return [
        None if in_row[place] >= MAX_SKIPPED_IN_ROW else _agents(learner, meta, state, place, update)
        for place in range(number)
    ]


def update_points(
    learner: Algorithm, state: TrainState, params: EnvParams, varied: Varied
) -> tuple[TrainState, Metrics]:
    """Do one update of every point; one that fails goes on, so that the others do, and is told by its state."""

    def one(state: TrainState, varied: Varied) -> tuple[TrainState, Metrics]:
        hyper, changed = varied
        return update_all(learner, state, params.replace(**changed), hyper)

    moved, metrics = jax.vmap(one)(state, varied)
    return moved, {**metrics, "skipped_in_row": jnp.zeros_like(metrics["skipped_in_row"])}


def _first_states(
    learner: Algorithm, params: EnvParams, changed: Mapping[str, Array], number: int, forecast: Forecast | None
) -> TrainState:
    """Return the states before the first update, `[points, ...]`; accounts follow the numbers of the environment."""
    if not changed:
        first = first_state(learner, params, forecast=forecast)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)).copy(), first)
    points = [params.replace(**{name: values[place] for name, values in changed.items()}) for place in range(number)]
    return _stack([first_state(learner, point, forecast=forecast) for point in points])


def _agents(
    learner: Algorithm, meta: Mapping[str, Any], state: TrainState, place: int, update: int
) -> tuple[Agent, ...]:
    acting = jax.tree.map(lambda leaf: leaf[place], state.acting)
    seeds = learner.config.num_seeds
    agents = [agent_from(meta, of_seed(acting, seed, seeds), update) for seed in range(seeds)]
    # A reward of the user's own is known here, though not in the description.
    return tuple(dataclasses.replace(agent, network=learner.network, env_config=learner.env.config) for agent in agents)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
