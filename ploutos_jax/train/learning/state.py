"""What training carries from update to update, and how it begins."""

import typing
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.regimes import RegimeModel
from ploutos_jax.agents.scaling import (
    FeatureScaling,
    ObservationScaling,
    ReturnScaling,
    RunningMoments,
)
from ploutos_jax.env.rollout import Runner, start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.train.config import TrainConfig


@typing.no_type_check
class TrainState(struct.PyTreeNode):
    """Everything that a run carries from update to update; saved whole, it continues bit for bit where updates repeat.

    Attributes:
        agent: parameters and input scaling.
        optimizer: state of Adam.
        returns: scale of rewards.
        runner: the environments, their observations and keys.
        key: of the learner's own random numbers.
        update: int32 updates done.
        skipped: int32 gradient steps skipped because loss or gradient was not finite.
        skipped_in_row: int32 those since the last one taken.
        fault: int32 code of what the first of those lacked, see `divergence.FAULTS`.
        draws: key of the markets that are drawn (see `refresh`), None where the market stays.
        average: network parameters averaged over gradient steps, by which the agent is scored; None without.
        critic: network parameters averaged more slowly, whose critic looks beyond a rollout that is differentiated;
            None for learners that differentiate none.
        rate: factor on the learning rate, where it follows the KL (see `adapted_rate`); None elsewhere.
        tail: how badly episodes end, where that counts (see `ppo.distribution.Tail`); None elsewhere.
        members: in population-based training, see `evolving.Member`; None elsewhere.
    """

    agent: AgentParams
    optimizer: Any
    returns: ReturnScaling
    runner: Runner
    key: PRNGKeyArray
    update: Int[Array, ""]
    skipped: Int[Array, ""]
    skipped_in_row: Int[Array, ""]
    fault: Int[Array, ""]
    draws: PRNGKeyArray | None = None
    average: Any = None
    critic: Any = None
    rate: Float[Array, ""] | None = None
    tail: Any = None
    members: Any = None

    @property
    def acting(self) -> AgentParams:
        """The agent that training has made so far: with averaged parameters, where they are averaged."""
        return self.agent if self.average is None else self.agent.replace(network=self.average)


ADAM = optax.scale_by_adam(eps=1e-5)
"""How gradients become changes, unless a learner has it otherwise; the state is the same for all that begin here."""


def begin(
    config: TrainConfig,
    env: TradingEnv,
    network: Network,
    key: PRNGKeyArray,
    params: EnvParams,
    features: FeatureScaling | None,
    forecast: Forecast | None,
) -> TrainState:
    """Return the state before the first update, of fresh parameters and staggered accounts.

    Args:
        config, env, network: of the run.
        key: of everything random; consumed.
        params: numbers and market.
        features: how these are scaled; fitted on all market rows without it.
        forecast: what the network is told, or None. A model of regimes is blank, until `first_state` has fitted it.
    """
    market = params.market
    features = network.fit_scaling(market.features, market.tradable) if features is None else features
    network_key, env_key, learner_key = jax.random.split(key, 3)
    weights = network.init(network_key, features.centre.shape[0])
    runner = jax.jit(start_runner, static_argnums=(0, 3), static_argnames="staggered")(
        env, params, env_key, config.num_envs, staggered=True
    )
    return TrainState(runner=runner, key=learner_key, **_nothing_seen(config, network, weights, features, forecast))


@partial(jax.jit, static_argnums=(0, 1))  # one program: each of its numbers would be one of its own
def _nothing_seen(
    config: TrainConfig, network: Network, weights: Any, features: FeatureScaling, forecast: Forecast | None
) -> dict[str, Any]:
    """Return the fields of a state besides its environments and its key."""
    scaling = ObservationScaling(
        features=features,
        assets=RunningMoments.create(network.num_fields[0]),
        account=RunningMoments.create(network.num_fields[1]),
        forecast=forecast,
        regimes=None if network.model.config.regimes == "none" else RegimeModel.blank(),
    )
    return {
        "agent": AgentParams(network=weights, scaling=scaling),
        "optimizer": ADAM.init(weights),
        "returns": ReturnScaling.create(config.num_envs, network.model.num_values),
        "update": jnp.zeros((), jnp.int32),
        "skipped": jnp.zeros((), jnp.int32),
        "skipped_in_row": jnp.zeros((), jnp.int32),
        "fault": jnp.zeros((), jnp.int32),
        "average": None if config.average is None else jax.tree.map(jnp.copy, weights),
        "rate": jnp.ones(()) if config.learning_rate_schedule == "adaptive" else None,
    }
