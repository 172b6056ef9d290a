"""What a rollout keeps for PPO."""

import typing
from typing import NamedTuple

from flax import struct
from jaxtyping import Array, Bool, Float, Num

from ploutos_jax.env.types import Observation


class Taken(NamedTuple):
    """What PPO keeps of actions, `[E, ...]`: their log-probabilities, the critic's values, and where the mean leads."""

    action: Num[Array, "E A *parts"]
    log_prob: Float[Array, "E ratios"]
    value: Float[Array, "E K"]
    planned: Float[Array, "E A"] | None


@typing.no_type_check
class Stored(struct.PyTreeNode):
    """What a rollout keeps of each step, `[S, E, ...]`.

    Observation, action and log-probability take at most 16 bytes per asset; credit by asset adds 4, a value and a
    reward in half precision, and the market's part 2, the weight that the mean action leads to. Rewards are divided by
    the scale of returns, so that they are of order 1. `slope` is what a return adds to the reward,
    `growth` the log of an account's equity over that at its episode's beginning.
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
    growth: Float[Array, "S E"] | None = None
