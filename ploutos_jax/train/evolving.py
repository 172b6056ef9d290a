"""Population-based training inside the compiled program: members differ in numbers of the learner, and are selected.

Every `population_every` updates the members are ranked by the mean reward of a step since the last selection, on
training bars. Each of the worst takes over network, optimiser and scaling of one of the best, drawn at random, and its
numbers, each divided by or multiplied with 1.25. Accounts and random numbers stay its own. All that this needs is part
of the training state: a checkpoint holds it, and a resumed run is the same bit for bit.

Source: Jaderberg et al. 2017, "Population Based Training of Neural Networks": truncation selection, perturbation.

Letters: M members.
"""

import typing
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ploutos_jax.env.types import EnvParams
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.evolution_config import OF_DISTANCE_TO_ONE

_STEP = 1.25
_KEY = 0x9B7
"""Folded into the seed, so that no other random number of a run is drawn from the same key."""
_COPIED = ("agent", "optimizer", "returns", "average", "critic", "rate", "tail")
"""What a member takes over of another's training state."""


@typing.no_type_check
class Member(struct.PyTreeNode):
    """What a member of a population carries beside its training state; in a run every leaf is `[M]`.

    Attributes:
        numbers: by name, the numbers of the learner that it trains with.
        reward: sum over updates since the last selection of the mean reward of a step.
        score: mean reward of a step between the last two selections; NaN before the first.
        parent: int32 member that it was copied from at the last selection; itself if it was kept.
        key: of the selections, the same for all.
    """

    numbers: dict[str, Float[Array, ""]]
    reward: Float[Array, ""]
    score: Float[Array, ""]
    parent: Int[Array, ""]
    key: PRNGKeyArray


def first_members(config: TrainConfig) -> list[Member]:
    """Return the members of a run before its first update, in their order.

    Each number is laid over its range in M equal parts of its logarithm, one value drawn in each (a Latin hypercube),
    so that even a small population begins with all sizes.

    Raises:
        ValueError: if a number begins at 0, which no factor moves.
    """
    size, key = config.num_seeds, jax.random.fold_in(jax.random.key(config.seed), _KEY)
    values: dict[str, Array] = {}
    for place, name in enumerate(config.evolution.population_numbers):
        order_key, value_key = jax.random.split(jax.random.fold_in(key, place))
        part = (jax.random.permutation(order_key, size) + jax.random.uniform(value_key, (size,))) / size
        middle, spread = _scale(name, getattr(config, name)), config.evolution.population_spread
        if not middle > 0:
            raise ValueError(
                f"population_numbers={name}: it is {getattr(config, name)}, from where no factor leads away."
            )
        values[name] = _number(name, middle * spread ** (2 * part - 1))
    blank = jnp.zeros(())
    return [
        Member(
            numbers={name: value[place] for name, value in values.items()},
            reward=blank,
            score=blank + jnp.nan,
            parent=jnp.int32(place),
            key=key,
        )
        for place in range(size)
    ]


def update_members(learner: Algorithm, state: Any, params: EnvParams, hyper: Hyper) -> tuple[Any, Metrics]:
    """Do one update of every member with its own numbers, and select where it is time.

    Args:
        learner: its configuration says how often and among how many.
        state: `[M, ...]` in every leaf, `members` filled.
        params: of the environment, shared.
        hyper: `[M]` in every leaf; those of `population_numbers` are not read.
    """
    members, config = state.members, learner.config
    moved, metrics = jax.vmap(learner.update, in_axes=(0, None, 0))(state, params, hyper.replace(**members.numbers))
    reward = members.reward + jnp.nan_to_num(metrics["reward_per_step"], nan=-jnp.inf)
    moved = moved.replace(members=members.replace(reward=reward))
    every = config.selection_every
    is_due = (moved.update[0] % every == 0) & (moved.update[0] < jnp.ravel(hyper.num_updates)[0])
    moved = jax.lax.cond(is_due, lambda x: select(config, x), lambda x: x, moved)
    told = {f"{name}_by_seed": value for name, value in members.numbers.items()}
    return moved, {**metrics, **told, "score_by_seed": moved.members.score, "parent_by_seed": moved.members.parent}


def select(config: TrainConfig, state: Any) -> Any:
    """Return the state after a selection: the worst members are altered copies of the best.

    Args:
        config: of the run.
        state: `[M, ...]` in every leaf.
    """
    members, evolution = state.members, config.evolution
    size, replaced = config.num_seeds, evolution.num_replaced
    key, draw_key, step_key = jax.random.split(members.key[0], 3)
    order = jnp.argsort(-members.reward)  # the best first; of equal ones the first stays
    best, worst = order[:replaced], order[size - replaced :]
    parents = jax.random.choice(draw_key, best, (replaced,))
    parent = jnp.arange(size, dtype=jnp.int32).at[worst].set(parents.astype(jnp.int32))
    is_new = parent != jnp.arange(size)
    numbers = {}
    for place, (name, values) in enumerate(sorted(members.numbers.items())):
        grows = jax.random.bernoulli(jax.random.fold_in(step_key, place), 0.5, (size,))
        middle, spread = _scale(name, getattr(config, name)), evolution.population_spread
        moved = _scale(name, values[parent]) * jnp.where(grows, _STEP, 1 / _STEP)
        moved = _number(name, jnp.clip(moved, middle / spread, middle * spread))
        numbers[name] = jnp.where(is_new, moved, values)
    taken = {name: jax.tree.map(lambda leaf: leaf[parent], getattr(state, name)) for name in _COPIED}
    after = members.replace(
        numbers=numbers,
        reward=jnp.zeros_like(members.reward),
        score=members.reward / config.selection_every,
        parent=parent,
        key=jnp.broadcast_to(key, members.key.shape),
    )
    return state.replace(**taken, members=after)


def _scale(name: str, value: Any) -> Any:
    """Return what of a number is multiplied: itself, or its distance to 1."""
    return 1 - value if name in OF_DISTANCE_TO_ONE else value


def _number(name: str, scale: Array) -> Float[Array, " M"]:
    """Undo `_scale`; a number that is at most 1 stays above 0."""
    return (jnp.clip(1 - scale, 0, 1) if name in OF_DISTANCE_TO_ONE else scale).astype(jnp.float32)


def best_member(row: dict[str, Any]) -> int | None:
    """Return the place of the member with the highest score in the last selection, by a run's row of figures."""
    scores = row.get("score_by_seed")
    if not isinstance(scores, list) or not any(isinstance(score, int | float) for score in scores):
        return None
    known = [float("-inf") if score is None else float(score) for score in scores]
    return known.index(max(known))
