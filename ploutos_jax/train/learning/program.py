"""LearnerOfProgram: what all learners are made of, and when two of them are the same program."""

import dataclasses
import functools

from ploutos_jax.agents.network import Network
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.config import TrainConfig


@dataclasses.dataclass(frozen=True, eq=False)
class LearnerOfProgram:
    """A learner for one environment and one network; static, its methods are pure functions.

    Learners are equal where their programs are: seeds, numbers of `Hyper` and lengths of runs may differ, and training
    with others in the same process compiles nothing anew.

    Attributes:
        config: sizes and kinds (numbers are in `Hyper`).
        env: the environment.
        network: the two-stage network.
        parts: of the environments, one on each device; its methods see those of one part.
    """

    config: TrainConfig
    env: TradingEnv
    network: Network
    parts: Parts = WHOLE

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._program == other._program

    def __hash__(self) -> int:
        return hash(self._program)

    @functools.cached_property
    def _program(self) -> tuple[TrainConfig, TradingEnv, Network, Parts]:
        """What a compiled update depends on."""
        return self.config.of_program(), self.env, self.network, self.parts
