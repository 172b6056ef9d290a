"""Which learner a configuration names."""

from ploutos_jax.agents.network import Network
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.train.algorithm import Algorithm
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.mixed.learner import MixedLearner
from ploutos_jax.train.pathwise.learner import PathLearner
from ploutos_jax.train.ppo.learner import Learner


def learner_of(config: TrainConfig, env: TradingEnv, network: Network) -> Algorithm:
    """Return the learner of `config.algorithm`; a mix without any of the path is PPO, to the last bit.

    Raises:
        ValueError: if it cannot learn by the rules of the environment.
    """
    if config.algorithm == "pathwise":
        return PathLearner(config, env, network)
    if config.algorithm == "mixed" and config.mix != 0:
        return MixedLearner(config, env, network)
    return Learner(config, env, network)
