"""Gradient steps on one rollout: epochs of minibatches, each step clipped, taken by Adam, or skipped if not finite."""

import typing
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ploutos_jax.agents.network import AgentParams
from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.market.panel import Market
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.learning.divergence import step_fault
from ploutos_jax.train.learning.state import ADAM, TrainState
from ploutos_jax.train.learning.table_gradients import TableMode

Gradient = Callable[[AgentParams, Int[Array, " pairs"]], tuple[Any, Any]]
"""`(agent, pairs) -> (gradients, losses)` of a minibatch: the (time chunk, environment) pairs, chunk-major, and scalars
`policy`, `value`, `entropy` and others of the learner's own."""


@typing.no_type_check
class StepFigures(struct.PyTreeNode):
    """Figures of gradient steps: means of their losses, norms of their gradients, steps skipped in a row and why."""

    losses: Any
    norm: Float[Array, "*steps"]
    fault: Int[Array, "*steps"]
    skipped_in_row: Int[Array, "*steps"]

    @classmethod
    def none(cls, losses: Any, *shape: int) -> "StepFigures":
        """Figures of steps that are not done; `losses` are of one step."""
        nothing, zero = jnp.full(shape, jnp.nan), jnp.zeros(shape, jnp.int32)
        return cls(jax.tree.map(lambda _: nothing, losses), nothing, zero, zero)

    def of_steps(self) -> dict[str, Array]:
        """Return the metrics that all learners have."""
        in_row = self.skipped_in_row.reshape(-1)
        return {
            "grad_norm": jnp.nanmean(self.norm),
            "skipped_in_row": in_row.max(),
            "fault": self.fault.reshape(-1)[jnp.argmax(in_row)],
        }


def num_pairs(config: TrainConfig, length: int | None = None) -> int:
    """Return how many pairs of time chunk and environment a rollout has; chunks are of `length` if it is given."""
    return config.num_envs * (config.steps_per_rollout // (length or config.steps_per_chunk))


def table_mode(config: TrainConfig, market: Market, parts: Parts = WHOLE) -> TableMode:
    """Return how the rows of a market are encoded in gradient steps: all of them where a minibatch has as many.

    With several parts it is a device's part of the minibatch that counts, so that none encodes more than it must. A
    network that remembers encodes all of them, however many there are; what is learnt of returns is a mean over all
    rows or over those of samples, and so goes by the whole minibatch.
    """
    samples = config.timesteps_per_update // config.num_minibatches
    samples = samples if config.policy.return_loss else parts.of(samples)
    return "table" if market.num_bars <= samples or config.policy.warm_up else "gather"


def take_steps(
    config: TrainConfig,
    hyper: Hyper,
    state: TrainState,
    gradient: Gradient,
    fault: Int[Array, ""],
    key: PRNGKeyArray,
    *,
    losses: Any,
    is_enough: Callable[[Any], Bool[Array, ""]],
    adam: optax.GradientTransformation = ADAM,
    length: int | None = None,
) -> tuple[TrainState, StepFigures]:
    """Return the state after epochs of minibatches, and figures `[epochs, minibatches]` of their steps.

    Args:
        config, hyper: number of steps, their size and norm.
        state: before.
        gradient: of a minibatch.
        fault: of the rollout, see `divergence.rollout_fault`.
        key: consumed for the order of pairs.
        losses: what `gradient` gives beside the gradients, of any values.
        is_enough: whether the losses `[minibatches]` of an epoch call for no other.
        adam: what turns gradients into changes; its state is the optimiser's.
        length: steps of a time chunk; `TrainConfig.steps_per_chunk` without it.
    """
    pairs = num_pairs(config, length)
    minibatch = pairs // config.num_minibatches

    def step(state: TrainState, pairs: Array) -> tuple[TrainState, StepFigures]:
        grads, losses = gradient(state.agent, pairs)
        norm = optax.tree.norm(grads)
        scale = jnp.minimum(1.0, hyper.max_grad_norm / jnp.maximum(norm, 1e-12))
        changes, optimizer = adam.update(jax.tree.map(lambda g: g * scale, grads), state.optimizer)
        network = jax.tree.map(lambda p, c: p - hyper.learning_rate * c, state.agent.network, changes)
        code = step_fault(fault, losses, norm)
        finite = code == 0
        keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)  # noqa: E731

        def follow(slow: Any, decay: Array | float) -> Any:
            moved = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), slow, network)
            return keep(moved, slow)

        state = state.replace(
            agent=state.agent.replace(network=keep(network, state.agent.network)),
            average=None if state.average is None else follow(state.average, hyper.average),
            critic=None if state.critic is None else follow(state.critic, CRITIC_DECAY),
            optimizer=keep(optimizer, state.optimizer),
            skipped=state.skipped + ~finite,
            skipped_in_row=jnp.where(finite, 0, state.skipped_in_row + 1),
            fault=jnp.where(finite | (state.skipped_in_row == 0), code, state.fault),
        )
        return state, StepFigures(losses, norm, state.fault, state.skipped_in_row)

    keys = jax.random.split(key, config.num_epochs)

    def go_on(carry: tuple[Array, Array, TrainState, StepFigures]) -> Array:
        number, stopped, *_ = carry
        return (number < config.num_epochs) & ~stopped

    def epoch(carry: tuple[Array, Array, TrainState, StepFigures]) -> Any:
        number, _, state, figures = carry
        order = jax.random.permutation(keys[number], pairs).reshape(config.num_minibatches, minibatch)
        state, new = jax.lax.scan(step, state, order)
        figures = jax.tree.map(lambda kept, row: kept.at[number].set(row), figures, new)
        return number + 1, is_enough(new.losses), state, figures

    # A loop that ends early, where a branch in each turn would copy the parameters and the optimiser's state.
    none = StepFigures.none(losses, config.num_epochs, config.num_minibatches)
    _, _, state, figures = jax.lax.while_loop(go_on, epoch, (jnp.int32(0), jnp.asarray(False), state, none))
    return state, figures


CRITIC_DECAY = 0.98
"""Of the parameters whose critic looks beyond a rollout, per gradient step."""
