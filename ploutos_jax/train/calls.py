"""Calls: the host's side of a run: how many updates a call makes, where figures and checkpoints go, when it ends."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.env.types import EnvParams
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.checkpoints.checkpoint import BestAgent, Checkpoints
from ploutos_jax.train.config import Hyper
from ploutos_jax.train.devices import Layout
from ploutos_jax.train.episode_figures import EpisodeFigures
from ploutos_jax.train.held_out import HELD_OUT_PREFIX, HeldOut
from ploutos_jax.train.hosts import Hosts, losing
from ploutos_jax.train.learning.divergence import MAX_SKIPPED_IN_ROW, DivergedError, describe_fault
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.progress import MetricsRow, Observer, Progress, showing
from ploutos_jax.train.resampling import Refresh
from ploutos_jax.train.run.folder import RunFolder
from ploutos_jax.train.run.resources import Meter
from ploutos_jax.train.slices import Slices
from ploutos_jax.train.updates import States, compile_once, run_updates, run_updates_over, update_all

MAX_UPDATES_PER_CALL = 64
_SECONDS_PER_CALL = 2.0
_SECONDS_PER_CHECKPOINT = 20.0


def updates_of(state: TrainState) -> int:
    """Return how many updates are done; all seeds go in step."""
    update: Any = state.update
    # Of seeds that lie on several hosts, any of this one's.
    whole = not isinstance(update, jax.Array) or update.is_fully_addressable or update.is_fully_replicated
    return int(np.max(update if whole else update.addressable_data(0)))


@jax.jit
def _copied(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: leaf.copy(), state)


@dataclasses.dataclass
class Calls:
    """What a run is made of, as its host sees it; see `go`."""

    learner: Algorithm
    params: EnvParams
    hyper: Hyper
    observers: Sequence[Observer]
    should_stop: Callable[[], bool]
    held_out: HeldOut | None
    agents_of: Callable[[TrainState], tuple[Agent, ...]]
    refresh: Refresh | Slices | None = None
    max_updates_per_call: int = MAX_UPDATES_PER_CALL
    progress: bool = False
    earlier: Sequence[MetricsRow] = ()
    layout: Layout | None = None
    hosts: Hosts = Hosts()

    def go(self, *parts: Any) -> TrainState:
        """Return what `_go` does, and show how far it is where that is wanted."""
        with showing(self.progress) as shown:
            self.observers = (*self.observers, *shown)
            return self._go(*parts)

    def _go(
        self, state: TrainState, folder: RunFolder | None, checkpoints: Checkpoints | None, best: BestAgent | None
    ) -> TrainState:
        """Return the last good state: that after the last update, if its last gradient step could be taken."""
        config = self.learner.config
        states, state = self._placed(state)
        done = last_saved = updates_of(state)
        if checkpoints is not None:
            # So that a run that is ended while it compiles can go on; it is written meanwhile.
            checkpoints.save(done, state)
        compile_began = time.perf_counter()
        program = self._compiled(states)
        compile_seconds = time.perf_counter() - compile_began
        if checkpoints is not None:
            checkpoints.wait()
        if best is not None and folder is not None and best.found is not None:
            folder.add({"best": best.found})
        episodes = EpisodeFigures(self.earlier, config.timesteps_per_update)
        save_every, eval_every = config.updates_per_checkpoint, config.updates_per_eval
        per_call, began, first = 1, time.perf_counter(), done
        saved_at, meter = began, Meter(compile_seconds)
        while done < config.num_updates:
            count = min(per_call, config.num_updates - done, last_saved + save_every - done)
            if self.held_out is not None:
                count = min(count, eval_every - done % eval_every)
            call_began = time.perf_counter()
            (count,) = self.hosts.first_says(count)
            with losing():
                # On several devices a number of the host's belongs to none of them.
                number = jnp.int32(count) if self.layout is None else np.int32(count)
                states, buffers = program(states, self.params, self.hyper, number)
                figures = self._figures_of(buffers)
            now = time.perf_counter()
            made = updates_of(states.now) - done
            machine = meter.figures(now - call_began, made) | ({} if self.refresh is None else self.refresh.figures())
            rows = self._rows(figures, done, made, first, now - began)
            rows = [row | episodes.added(row) | machine for row in rows]
            done += made
            per_call = min(_calls_for(count, now - call_began), self.max_updates_per_call)
            failed = np.max(figures["skipped_in_row"][made - 1]) >= MAX_SKIPPED_IN_ROW
            if not failed and (done % eval_every == 0 or done == config.num_updates) and self.held_out is not None:
                rows[-1] |= self._score(self._collected(states.last_good), folder, best)
            self._tell(rows, done, folder)
            stopping = failed or self.hosts.any_says(self.should_stop())
            is_due = done - last_saved >= save_every or stopping or done == config.num_updates
            if self.hosts.first_says(is_due)[0]:
                last_saved = done
                good = self._collected(states.last_good)
                if checkpoints is not None and folder is not None:
                    folder.flush()
                    checkpoints.save(updates_of(good), good)
                # A signal may have come meanwhile: all is saved.
                stopping = stopping or self.hosts.any_says(self.should_stop())
                if config.checkpoint_every is None and time.perf_counter() - saved_at < _SECONDS_PER_CHECKPOINT:
                    save_every = min(2 * save_every, max(config.num_updates // 10, save_every))
                saved_at = time.perf_counter()
            if failed:
                raise self._failure({name: values[made - 1] for name, values in figures.items()}, states, folder)
            if stopping:
                break
        if folder is not None:
            folder.say(f"ended after update {done} of {config.num_updates}")
        return self._collected(states.last_good)

    def _placed(self, state: TrainState) -> tuple[States, TrainState]:
        """Return the states that a run begins with, where its program wants them, and one to be saved."""
        if self.layout is not None:
            specs = self.layout.specs(state)
            placed = self.layout.placed(state, specs)
            self.params, self.hyper = self.layout.placed(self.params), self._laid_hyper()
            return States(now=placed, good=self.layout.copied(placed)), state
        # Fresh leaves are bound to their devices as restored ones are, so that a resumed run is the same program; one
        # pass through an identity gives each a buffer of its own that may be donated.
        state = jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, state))
        return States(now=_copied(state), good=_copied(state)), state

    def _laid_hyper(self) -> Hyper:
        layout = cast(Layout, self.layout)
        return layout.placed(self.hyper, jax.tree.map(lambda _: layout.spec_of_hyper, self.hyper))

    def _compiled(self, states: States) -> Any:
        """Return the program of a call, `(states, params, hyper, count) -> (states, figures)`."""
        rows, learner, layout = MAX_UPDATES_PER_CALL, self.learner, self.layout
        if self.refresh is not None:
            return self.refresh.compile(rows, learner, states, self.params, self.hyper, layout)
        if layout is None:
            arguments = (states, self.params, self.hyper, jnp.int32(1))
            return compile_once(run_updates, (update_all, rows, learner), *arguments)
        arguments = (states, self.params, self.hyper, np.int32(1))
        return compile_once(run_updates_over, (layout, update_all, rows, learner), *arguments)

    def _collected(self, state: TrainState) -> TrainState:
        """Return a state on one device of this host."""
        if self.layout is None:
            return state
        with losing():
            return jax.block_until_ready(self.layout.collected(state))

    def _figures_of(self, buffers: Metrics) -> Metrics:
        return jax.device_get(buffers if self.layout is None else self.layout.collected(buffers))

    def _score(self, state: TrainState, folder: RunFolder | None, best: BestAgent | None) -> MetricsRow:
        """Return held-out figures of a state for the row of its update; the best agent so far is kept."""
        if self.held_out is None or not self.hosts.is_first:
            return {}
        update, figures = updates_of(state), self.held_out.figures(self.agents_of(state))
        if best is not None and folder is not None:
            timesteps = update * self.learner.config.timesteps_per_update
            best.offer(update, state.acting, {"timesteps": timesteps, **figures})
            folder.add({"best": best.found})
        return {HELD_OUT_PREFIX + name: value for name, value in figures.items()}

    def _failure(self, figures: Metrics, states: States, folder: RunFolder | None) -> DivergedError:
        """Return what to say of a run whose last update has these figures."""
        in_row = np.atleast_1d(figures["skipped_in_row"])
        place = int(np.argmax(in_row))
        seed = self.learner.config.seeds[place] if in_row.size > 1 else None
        where = "Nothing was saved, as the run has no output folder."
        if folder is not None:
            where = f"The last good state, after update {updates_of(states.last_good)}, is saved in {folder.path}."
        code = int(np.atleast_1d(figures["fault"])[place])
        return DivergedError(describe_fault(code, updates_of(states.now), seed, where))

    def _rows(self, figures: Metrics, done: int, count: int, first: int, seconds: float) -> list[MetricsRow]:
        """Return figures for `metrics.jsonl`: means over seeds; timesteps are those of one, their speed of all."""
        config = self.learner.config
        per_update = config.timesteps_per_update
        rows = []
        for i in range(count):
            update = done + i + 1
            row: MetricsRow = {name: _number(values[i]) for name, values in figures.items() if name != "fault"}
            if config.num_seeds > 1:
                by_seed = {"episode_return_mean_by_seed": figures["episode_return_mean"]}
                by_seed |= {name: values for name, values in figures.items() if name.endswith("_by_seed")}
                row |= {name: [_number(value) for value in values[i]] for name, values in by_seed.items()}
            rate = (done + count - first) * per_update * config.num_seeds / max(seconds, 1e-9)
            rows.append(
                {
                    "update": update,
                    "timesteps": update * per_update,
                    "seconds": round(seconds, 3),
                    "steps_per_second": round(rate, 1),
                    **row,
                }
            )
        return rows

    def _tell(self, rows: list[MetricsRow], done: int, folder: RunFolder | None) -> None:
        config = self.learner.config
        if folder is not None:
            folder.write(rows)
        progress = Progress(
            rows=rows,
            done_timesteps=done * config.timesteps_per_update,
            total_timesteps=config.num_updates * config.timesteps_per_update,
        )
        for observer in self.observers:
            observer(progress)


def _calls_for(count: int, seconds: float) -> int:
    """Return how many updates make a call of about `_SECONDS_PER_CALL`, so that Ctrl+C is answered soon."""
    return int(np.clip(_SECONDS_PER_CALL * count / max(seconds, 1e-6), 1, MAX_UPDATES_PER_CALL))


def _number(value: Any) -> float | int | None:
    """Return a figure for JSON, of several seeds the mean; None where none is finite (no episode ended, say)."""
    value = np.asarray(value)
    if value.ndim == 0 and np.issubdtype(value.dtype, np.integer):
        return int(value)
    finite = value[np.isfinite(value)]
    return float(finite.mean()) if finite.size else None
