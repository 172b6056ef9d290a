"""Algorithm: what the training loop needs of a learner. A second one is a file beside `ppo/` that has these two."""

from typing import Any, Protocol, TypeVar

from ploutos_jax.agents.scaling import FeatureScaling
from ploutos_jax.env.types import Array, EnvParams

State = TypeVar("State")

Metrics = dict[str, Array]
"""Reduced metrics of one update, scalars by name; `skipped_in_row` and `fault` are among them."""


class Algorithm(Protocol[State]):
    """A learner as two pure functions; static, so that compiled programs can close over it.

    The state is a pytree that holds at least `agent` (an `AgentParams`), `update` (int32, updates done) and
    `skipped_in_row` (int32, gradient steps in a row that could not be taken).
    """

    def init(self, key: Array, params: EnvParams, features: FeatureScaling | None = None) -> State:
        """Return the state before the first update."""
        ...

    def update(self, state: State, params: EnvParams, hyper: Any) -> tuple[State, Metrics]:
        """Collect experience, learn from it, and return the next state and metrics."""
        ...
