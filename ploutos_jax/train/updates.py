"""Updates: the one loop that repeats them on the device, whatever it repeats them for.

A run keeps a row of metrics per update and the last good state; with `train.resampling` the loop runs between two
draws of a market; with `train.cross_validation` one update is one of every fold. How many updates a call makes is
data, not shape: it can follow the clock without another compilation and without changing a bit of the result.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import PartitionSpec
from jaxtyping import Bool, Int

from ploutos_jax.agents.parts import WHOLE, Parts
from ploutos_jax.env.types import Array, EnvParams
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.devices import Layout
from ploutos_jax.train.evolving import update_members
from ploutos_jax.train.learning.divergence import MAX_SKIPPED_IN_ROW
from ploutos_jax.train.learning.state import TrainState

T = TypeVar("T")

Update = Callable[[Algorithm, Any, EnvParams, Hyper], tuple[Any, Metrics]]
"""`(learner, state, params, hyper) -> (state, metrics)`: one update of whatever the state holds."""


class States(struct.PyTreeNode):
    """Where a run stands, and where it stood after the last update that did not end with a skipped gradient step.

    Attributes:
        now: after the last update.
        good: None where nobody asks for it; it is then neither kept nor computed.
    """

    now: TrainState
    good: TrainState | None = None

    @property
    def last_good(self) -> TrainState:
        """`good`, for whoever has asked for it."""
        return cast(TrainState, self.good)


def update_all(learner: Algorithm, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
    """Do one update of every seed."""
    if not is_stacked(learner):
        return learner.update(state, params, hyper)
    if learner.config.evolution.population is not None:
        return update_members(learner, state, params, hyper)
    return jax.vmap(learner.update, in_axes=(0, None, 0))(state, params, hyper)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def run_updates(
    update: Update,
    num_rows: int,
    learner: Algorithm,
    states: States,
    params: EnvParams,
    hyper: Hyper,
    count: Int[Array, ""],
) -> tuple[States, Metrics]:
    """Do `count` updates; one that skips too many gradient steps in a row is the last.

    Args:
        update: what one update is, such as `update_all`.
        num_rows: rows of metrics to keep. An update beyond them overwrites the last row, so 1 keeps the newest alone.
        learner: hands its functions to `update`.
        states: where the run stands; its buffers are given up.
        params: numbers of the environment and market.
        hyper: numbers of PPO.
        count: int32 updates to do.

    Returns:
        The states after the last update, and the metrics `[num_rows, ...]`, those of update i in row i; rows that no
        update has filled are 0.
    """
    # Traced once for the shapes of its figures and for the loop: Python takes a second for each.
    advance = jax.jit(partial(update, learner), inline=True)
    shapes = jax.eval_shape(advance, states.now, params, hyper)[1]
    rows = jax.tree.map(lambda x: jnp.zeros((num_rows, *x.shape), x.dtype), shapes)

    def one(done: Array, states: States, rows: Metrics) -> tuple[Array, States, Metrics, Array]:
        now, metrics = advance(states.now, params, hyper)
        good = states.good
        if good is not None:
            is_good = parts_of(learner).agreed((now.skipped_in_row == 0).all())
            good = jax.tree.map(lambda new, old: jnp.where(is_good, new, old), now, good)
        row = jnp.minimum(done, num_rows - 1)
        rows = jax.tree.map(lambda b, m: b.at[row].set(m), rows, metrics)
        return jnp.int32(1), States(now=now, good=good), rows, has_failed(metrics, parts_of(learner))

    return repeat(one, states, rows, count)


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def run_updates_over(
    layout: Layout,
    update: Update,
    num_rows: int,
    learner: Algorithm,
    states: States,
    params: EnvParams,
    hyper: Hyper,
    count: Int[Array, ""],
) -> tuple[States, Metrics]:
    """Do what `run_updates` does on every device of a layout; `learner` is that of the whole run."""
    specs = layout.specs(states)
    run = partial(run_updates, update, num_rows, layout.on_each(learner))
    arguments = specs, PartitionSpec(), layout.spec_of_hyper, PartitionSpec()
    return layout.over(run, arguments, (specs, layout.spec_of_figures))(states, params, hyper, count)


def parts_of(learner: Algorithm) -> Parts:
    """Return the parts that a learner sees one of; a learner of a user's own has all."""
    return getattr(learner, "parts", WHOLE)


def is_stacked(learner: Algorithm) -> bool:
    """Return whether leaves of a program's states begin with an axis of seeds: on a device there may be but one."""
    return learner.config.num_seeds > 1 or parts_of(learner).seeds_on > 1


_Key = tuple[Any, ...]
_PROGRAMS: OrderedDict[_Key, Any] = OrderedDict()
_MOST_PROGRAMS = 4
"""Programs kept for runs to come in the same process; each takes tens of megabytes."""
_OTHER_PROGRAM = ("jax_default_matmul_precision", "jax_debug_nans")
"""Settings of JAX that make another program of the same arrays."""


def compile_once(function: Any, static: tuple[Any, ...], *arguments: Any) -> Any:
    """Return the program of a jitted function for its static arguments and arrays like these.

    The last few are kept: training again in the same process, with another seed say, does not compile again.

    Args:
        function: from `jax.jit`, its static arguments first.
        static: those, hashable.
        arguments: whose types and places the program is for.
    """
    leaves, tree = jax.tree.flatten(arguments)
    config = tuple(getattr(jax.config, name) for name in _OTHER_PROGRAM)
    key = (function, static, tree, tuple((jax.typeof(x), getattr(x, "sharding", None)) for x in leaves), config)
    if key not in _PROGRAMS:
        _PROGRAMS[key] = function.lower(*static, *arguments).compile()
    _PROGRAMS.move_to_end(key)
    while len(_PROGRAMS) > _MOST_PROGRAMS:
        _PROGRAMS.popitem(last=False)
    return _PROGRAMS[key]


def repeat(
    advance: Callable[[Array, T, Metrics], tuple[Array, T, Metrics, Array]],
    state: T,
    rows: Metrics,
    count: Int[Array, ""],
) -> tuple[T, Metrics]:
    """Advance until `count` updates are done or one has failed.

    Args:
        advance: `(done, state, rows) -> (made, state, rows, failed)`: given the number of updates done, makes some more
            and says how many they were and whether the last of them has failed.
        state: what it starts from.
        rows: metrics kept so far.
        count: int32 updates to do.
    """

    def body(carry: tuple[Array, T, Metrics, Array]) -> tuple[Array, T, Metrics, Array]:
        done, state, rows, _ = carry
        made, state, rows, failed = advance(done, state, rows)
        return done + made, state, rows, failed

    start = (jnp.int32(0), state, rows, jnp.asarray(False))
    _, state, rows, _ = jax.lax.while_loop(lambda carry: (carry[0] < count) & ~carry[3], body, start)
    return state, rows


def has_failed(metrics: Metrics, parts: Parts = WHOLE) -> Bool[Array, ""]:
    """Return whether an update, of any seed or fold on any device, has skipped too many gradient steps in a row."""
    failed = (metrics["skipped_in_row"] >= MAX_SKIPPED_IN_ROW).any()
    return failed if parts.seeds_on == 1 else ~parts.agreed(~failed)
