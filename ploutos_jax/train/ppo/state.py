"""What training carries from update to update, and what it keeps within one."""

import typing
from typing import Any

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ploutos_jax.agents.network import AgentParams
from ploutos_jax.agents.scaling import ReturnScaling
from ploutos_jax.env.rollout import Runner
from ploutos_jax.env.types import Observation
from ploutos_jax.train.ppo.losses import LossSums


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
        fault: int32 code of what the first of those lacked, see `faults.FAULTS`.
        draws: key of the markets that are drawn (see `refresh`), None where the market stays.
        average: network parameters averaged over gradient steps, by which the agent is scored; None without.
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

    @property
    def acting(self) -> AgentParams:
        """The agent that training has made so far: with averaged parameters, where they are averaged."""
        return self.agent if self.average is None else self.agent.replace(network=self.average)


@typing.no_type_check
class Stored(struct.PyTreeNode):
    """What a rollout keeps of each step, `[S, E, ...]`.

    Observation, action and log-probability take at most 16 bytes per asset; credit by asset adds 4, a value and a
    reward in half precision, and the market's part 2, the weight that the mean action leads to. Rewards are divided by
    the scale of returns, so that they are of order 1. `slope` is what a return adds to the reward.
    """

    observation: Observation
    action: Num[Array, "S E A"]
    log_prob: Float[Array, "S E ratios"]
    value: Float[Array, "S E K"]
    reward: Float[Array, "S E K"]
    terminated: Bool[Array, "S E"]
    truncated: Bool[Array, "S E"]
    planned: Float[Array, "S E A"] | None = None
    slope: Float[Array, "S E"] | None = None


@typing.no_type_check
class StepFigures(struct.PyTreeNode):
    """Figures of a gradient step: means of its losses, norm of its gradient, steps skipped in a row and why."""

    losses: LossSums
    norm: Array
    fault: Array
    skipped_in_row: Array

    @classmethod
    def none(cls, *shape: int, with_returns: bool = False) -> "StepFigures":
        """Figures of steps that are not done."""
        nothing, zero = jnp.full(shape, jnp.nan), jnp.zeros(shape, jnp.int32)
        return cls(LossSums(*(nothing,) * 5, returns=nothing if with_returns else None), nothing, zero, zero)
