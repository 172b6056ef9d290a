"""Refresh: a run that trains on synthetic markets draws a new one every few updates, inside the compiled loop.

A market is replaced between two updates only: the update before has bootstrapped its last observations on the old one,
and every environment begins a new episode on the new one. What a checkpoint keeps is the key of the draws; the number
of the present draw follows from the number of updates done. So that a resumed run has the same bits, every market that
it trains on, the first one too, comes out of one and the same compiled program.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Int

from ploutos_jax.env.rollout import restart_runner
from ploutos_jax.env.types import Array, EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.devices import Layout
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.updates import (
    States,
    compile_once,
    has_failed,
    is_stacked,
    parts_of,
    repeat,
    run_updates,
    update_all,
)


@dataclasses.dataclass(frozen=True)
class Refresh:
    """How a run replaces its market.

    Attributes:
        draw: of markets.
        every: updates between two draws.
        market: shapes of the market, and what draws do not change: sectors, sessions and ends of paths.
    """

    draw: MarketDraw
    every: int
    market: Market

    @classmethod
    def create(cls, draw: MarketDraw | None, every: int | None, market: Market) -> "Refresh | None":
        """Return how the market of a run is replaced, None where it is not.

        Args:
            draw: of markets, if there is one.
            every: updates between two draws.
            market: the first one.

        Raises:
            ValueError: if one of the two is missing, or draws have other shapes than the first market.
        """
        if every is None:
            return None
        if draw is None:
            raise ValueError(
                f"market_refresh={every} needs markets that can be redrawn: synthetic or resampled data, or stressed"
                " copies. Leave it out to train on these bars alone."
            )
        drawn = jax.eval_shape(draw.function, draw.key, draw.source)
        for name in ("close", "features", "delisted", "spread_scale", "dividend", "split", "atr", "buyable"):
            shapes = [None if (x := getattr(m, name)) is None else x.shape for m in (market, drawn)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"The first market's {name} has the shape {shapes[0]}, drawn ones have {shapes[1]}. Take the first"
                    " market from the same draw: draw.first()."
                )
        return cls(draw=draw, every=every, market=market)

    def compile(
        self, num_rows: int, learner: Algorithm, states: States, params: EnvParams, hyper: Hyper, layout: Layout | None
    ) -> Callable[[States, EnvParams, Hyper, Int[Array, ""]], tuple[States, Metrics]]:
        """Compile a call of the run; see `compile_refreshed`."""
        return compile_refreshed(num_rows, learner, self, states, params, hyper, layout)

    def figures(self) -> dict[str, float]:
        """Return what there is to tell of the machine: nothing is waited for."""
        return {}


def restart(learner: Algorithm, state: TrainState, params: EnvParams) -> TrainState:
    """Return the state of one seed with every environment in a new episode; statistics stay, running sums do not."""
    runner = restart_runner(learner.env, params, state.runner)
    returns = state.returns.replace(running=jnp.zeros_like(state.returns.running))
    return state.replace(runner=runner, returns=returns)


def compile_refreshed(
    num_rows: int,
    learner: Algorithm,
    refresh: Refresh,
    states: States,
    params: EnvParams,
    hyper: Hyper,
    layout: Layout | None = None,
) -> Callable[[States, EnvParams, Hyper, Int[Array, ""]], tuple[States, Metrics]]:
    """Compile `run_updates` with draws of markets between its updates; return a function called as its program is.

    Args:
        num_rows: rows of metrics to keep; a call makes at most as many updates.
        learner: of the run.
        refresh: how markets are replaced.
        states: the states that it runs on.
        params: numbers of the environment; the market in them is not read.
        hyper: numbers of PPO.
        layout: of devices, on which the arrays are laid out already; None for one device.

    Returns:
        `(states, params, hyper, count) -> (states, figures)`. It holds the one market that is alive between calls.
    """
    kept = {name: getattr(refresh.market, name) for name in ("sector", "sessions", "path_end")}
    kept = {name: None if x is None else jnp.asarray(x) for name, x in kept.items()}
    shapes = jax.eval_shape(refresh.draw.function, refresh.draw.key, refresh.draw.source)
    # What is not drawn yet has to have a place.
    market = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes.replace(**dict.fromkeys(kept)))
    rest = params.replace(market=None)
    source, function = refresh.draw.source, refresh.draw.function
    static = (num_rows, learner, function, refresh.every)
    one, is_missing, program_of = jnp.int32(1), jnp.asarray(True), _run_refreshed
    if layout is not None:
        market, source, kept = layout.placed((market, source, kept))
        one, is_missing, program_of, static = np.int32(1), np.asarray(True), _run_refreshed_over, (layout, *static)
    arguments = (states, market, rest, source, kept, hyper, one, is_missing)
    program = compile_once(program_of, static, *arguments)
    held = {"market": market, "is_missing": True}
    del market, arguments

    def call(states: States, params: EnvParams, hyper: Hyper, count: Array) -> tuple[States, Metrics]:
        rest = params.replace(market=None)
        states, made, figures = program(
            states, held.pop("market"), rest, source, kept, hyper, count, np.asarray(held["is_missing"])
        )
        held.update(market=made, is_missing=False)
        return states, figures

    return call


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4), donate_argnums=(5, 6))
def _run_refreshed_over(
    layout: Layout,
    num_rows: int,
    learner: Algorithm,
    function: Callable[[Array, Any], Market],
    every: int,
    states: States,
    *arrays: Any,
) -> tuple[States, Market, Metrics]:
    """Do what `_run_refreshed` does on every device of a layout; each draws the market for itself."""
    specs, everywhere = layout.specs(states), PartitionSpec()
    run = partial(_run_refreshed, num_rows, layout.on_each(learner), function, every)
    arguments = (specs, *[everywhere] * 4, layout.spec_of_hyper, everywhere, everywhere)
    return layout.over(run, arguments, (specs, everywhere, layout.spec_of_figures))(states, *arrays)


_Place = tuple[States, Market, Array]
"""Where a run stands, the market drawn last, and whether it is yet to be drawn."""


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(4, 5))
def _run_refreshed(
    num_rows: int,
    learner: Algorithm,
    function: Callable[[Array, Any], Market],
    every: int,
    states: States,
    market: Market,
    params: EnvParams,
    source: Any,
    kept: dict[str, Array | None],
    hyper: Hyper,
    count: Array,
    is_missing: Array,
) -> tuple[States, Market, Metrics]:
    """Do `count` updates in stretches between draws; figures come in the first rows, as `run_updates` gives them.

    Args:
        num_rows: of metrics, static.
        learner, function, every: static, see `Refresh`.
        states: where the run stands.
        market: the one drawn last.
        params: numbers without a market.
        source: what the draw reads.
        kept: fields of the market that no draw changes.
        hyper: numbers of PPO.
        count: int32 updates to do.
        is_missing: bool, whether `market` is yet to be drawn, as it is when a run starts or is resumed.
    """
    whole = jax.eval_shape(lambda m: params.replace(market=m.replace(**kept)), market)
    run = partial(run_updates, update_all, num_rows, learner)
    shapes = jax.eval_shape(run, states, whole, hyper, count)[1]
    buffers = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def on(market: Market) -> EnvParams:
        return params.replace(market=market.replace(**kept))

    def draw(number: Array) -> Market:
        key = jax.random.fold_in(_first_key(cast(Array, states.now.draws)), number)
        drawn = function(key, source).replace(**dict.fromkeys(kept))
        return jax.tree.map(lambda new, old: new.astype(old.dtype), drawn, market)

    def begin_anew(now: TrainState, market: Market) -> TrainState:
        begin = partial(restart, learner, params=on(market))
        return jax.vmap(begin)(now) if is_stacked(learner) else begin(now)

    def stretch(done: Array, place: _Place, buffers: Metrics) -> tuple[Array, _Place, Metrics, Array]:
        states, market, is_missing = place
        before = jnp.max(states.now.update)
        is_due = (before > 0) & (before % every == 0)
        market = jax.lax.cond(is_due | is_missing, lambda _: draw(before // every), lambda m: m, market)
        now = jax.lax.cond(is_due, begin_anew, lambda now, _: now, states.now, market)
        asked = jnp.minimum(count - done, every - before % every)
        states, figures = run(states.replace(now=now), on(market), hyper, asked)
        made = jnp.max(states.now.update) - before
        buffers = jax.tree.map(partial(_put_rows, done=done, made=made), buffers, figures)
        failed = has_failed(jax.tree.map(lambda x: x[made - 1], figures), parts_of(learner))
        return made, (states, market, jnp.asarray(False)), buffers, failed

    (states, market, _), buffers = repeat(stretch, (states, market, is_missing), buffers, count)
    return states, market, buffers


def _put_rows(buffer: Array, rows: Array, done: Array, made: Array) -> Array:
    """Write the first `made` rows into a buffer from row `done` on."""
    place = jnp.arange(buffer.shape[0])
    is_new = ((place >= done) & (place < done + made)).reshape(-1, *[1] * (buffer.ndim - 1))
    return jnp.where(is_new, jnp.roll(rows, done, axis=0), buffer)


def _first_key(keys: Array) -> Array:
    """Return the key of the draws; all seeds of a run share it."""
    return keys if keys.ndim == 0 else keys[0]
