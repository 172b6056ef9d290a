"""Algorithm: what the training loop needs of a learner. A second one is a file next to `ppo/` with these members."""

from collections.abc import Callable
from typing import Any, Protocol

from jaxtyping import Array, PRNGKeyArray

from ploutos_jax.agents.forecast import Forecast
from ploutos_jax.agents.network import Network
from ploutos_jax.agents.scaling import FeatureScaling
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.train.config import TrainConfig

Metrics = dict[str, Array]
"""Reduced metrics of one update, scalars by name."""


class Algorithm(Protocol):
    """A learner as two pure functions; hashable and static, so that compiled programs can close over it.

    The state is a pytree of arrays, saved whole in checkpoints. It has at least the fields `agent` (`AgentParams`),
    `update` (int32, updates done), `skipped_in_row` (int32, gradient steps in a row that could not be taken; 0 where
    there is no such thing), `returns`, `runner` and `draws` (key of resampled markets, or None) of
    `learning.state.TrainState`. The metrics of an update hold at least `episode_return_mean`, `skipped_in_row` and
    `fault` (int32, a code of `learning.divergence`, 0 for none).

    Attributes:
        config: settings of the run.
        env: rules of the environment.
        network: shapes of the policy.
    """

    @property
    def config(self) -> TrainConfig: ...
    @property
    def env(self) -> TradingEnv: ...
    @property
    def network(self) -> Network: ...

    def init(
        self,
        key: PRNGKeyArray,
        params: EnvParams,
        features: FeatureScaling | None = None,
        forecast: Forecast | None = None,
    ) -> Any:
        """Return the state before the first update; without a scaling of features it is fitted on all market rows.

        `forecast` is given where the network is to be told one, see `PolicyConfig.forecast`.
        """
        ...

    def update(self, state: Any, params: EnvParams, hyper: Any) -> tuple[Any, Metrics]:
        """Collect experience, learn from it, and return the next state and the metrics."""
        ...


MakeAlgorithm = Callable[[TrainConfig, TradingEnv, Network], Algorithm]
"""How `train` makes the learner of a run; a class with these three fields, in this order, is one."""
