"""The run: compile once, repeat updates on the device, hand reduced figures to the host every few seconds."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.forecast import told_ahead
from ploutos_jax.agents.network import Network
from ploutos_jax.agents.spec import agent_from, describe
from ploutos_jax.env.rewards import resolve_reward
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sampler import MarketDraw
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.train.algorithm import Algorithm, MakeAlgorithm, Metrics
from ploutos_jax.train.checkpoints.checkpoint import BestAgent, Checkpoints, PathLike
from ploutos_jax.train.checkpoints.resume import check_features, check_resumable, describe_run, with_rollout_of
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.episode_figures import EpisodeFigures
from ploutos_jax.train.held_out import HELD_OUT_PREFIX, HeldOut
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.learning.divergence import MAX_SKIPPED_IN_ROW, DivergedError, describe_fault
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.memory import device_bytes, fit_to_device
from ploutos_jax.train.population import first_state, make_hyperparams, of_seed
from ploutos_jax.train.progress import MetricsRow, Observer, Progress, showing
from ploutos_jax.train.resampling import Refresh, compile_refreshed
from ploutos_jax.train.run.folder import RunFolder, check_output
from ploutos_jax.train.run.loggers import Logger
from ploutos_jax.train.run.provenance import describe_making
from ploutos_jax.train.run.resources import Meter
from ploutos_jax.train.updates import States, compile_once, run_updates, update_all

_MAX_UPDATES_PER_CALL = 64
_SECONDS_PER_CALL = 2.0
_SECONDS_PER_CHECKPOINT = 20.0


def train(
    config: TrainConfig,
    market: Market,
    env: TradingEnv,
    *,
    params: EnvParams | None = None,
    hyper: Hyper | None = None,
    output: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    progress: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    held_out: HeldOut | None = None,
    draw: MarketDraw | None = None,
    loggers: Sequence[Logger] = (),
    algorithm: MakeAlgorithm = learner_of,
) -> Agent:
    """Train an agent on all bars of a market; of several seeds, return the first (see `train_seeds`).

    Same arguments and seed give the same agent, bit for bit, on the same kind of machine; on a GPU only where XLA is
    asked for it (`XLA_FLAGS=--xla_gpu_deterministic_ops=true` before JAX starts, `--deterministic` of the commands):
    otherwise sums of gradients meet in any order there.

    Args:
        config: settings of the learner.
        market: bars and features to train on; the scaling of features is fitted on these rows.
        env: rules of the environment.
        params: its numbers; `env.default_params(market)` without them.
        hyper: numbers of the learner instead of those of `config`, for all seeds or `[num_seeds]`, one for each.
        output: run folder for checkpoints and figures; nothing is written without it.
        settings: what `config.yaml` in the run folder holds; the two configurations without it.
        resume: continue the run in `output` from its newest checkpoint; one that was ended before its first starts
            anew.
        observers: called with new figures every few seconds.
        progress: show a bar with the latest figures, on stderr or below a notebook's cell.
        should_stop: asked between calls; True ends the run early, after a checkpoint.
        held_out: how to score the agent on other bars during the run; the best one is kept beside the checkpoints.
        draw: with `config.market_refresh`, where the markets after the first come from; `market` is `draw.first()`.
        loggers: further receivers of the figures that go into the run folder, such as a tracking service; they are cut
            back with it when a run is resumed, and closed at the end.
        algorithm: makes the learner, that of `config.algorithm` without it; see `Algorithm`.

    Returns:
        The agent after the last update.

    Raises:
        ValueError: if an episode does not fit into the market, the reward is unknown, `output` holds another run, or
            there is nothing to resume or it was started with other data or settings, or the run does not fit into the
            memory of the device, or there are loggers but no `output`.
        SaveError: an OSError, if a checkpoint cannot be written; earlier ones stay as they are.
        DivergedError: a ValueError, if too many gradient steps in a row could not be taken; the last good state is
            saved first.
    """
    return train_seeds(
        config,
        market,
        env,
        params=params,
        hyper=hyper,
        output=output,
        settings=settings,
        resume=resume,
        observers=observers,
        progress=progress,
        should_stop=should_stop,
        held_out=held_out,
        draw=draw,
        loggers=loggers,
        algorithm=algorithm,
    )[0]


def train_seeds(
    config: TrainConfig,
    market: Market,
    env: TradingEnv,
    *,
    params: EnvParams | None = None,
    hyper: Hyper | None = None,
    output: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    progress: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    held_out: HeldOut | None = None,
    draw: MarketDraw | None = None,
    loggers: Sequence[Logger] = (),
    algorithm: MakeAlgorithm = learner_of,
    notes: Sequence[str] = (),
    max_updates_per_call: int = _MAX_UPDATES_PER_CALL,
) -> tuple[Agent, ...]:
    """Train `config.num_seeds` agents side by side in one program and return them in order of their seeds.

    Each becomes what it would be in a run of its own, up to the rounding of floats. Arguments and errors are those of
    `train`, and in addition:

    Args:
        notes: lines that the text log of the run folder begins with.
        max_updates_per_call: updates after which observers are called and `should_stop` is asked at the latest; with 1
            after each, for which a run of small updates is slower.
    """
    # What can be refused is refused before anything is compiled or written.
    if loggers and output is None:
        raise ValueError("loggers receive what goes into the run folder: give output=, or use observers=.")
    params = env.default_params(with_sectors(market)) if params is None else params
    params = _strongly_typed(started_warm(params, config.policy.warm_up))
    resolve_reward(env.config.reward)
    if output is not None and resume:
        config = with_rollout_of(output, config)
    refresh = Refresh.create(draw, config.market_refresh, market)
    config = fit_to_device(config, market, env.config.action, device_bytes())
    network = Network.for_env(config.policy, env.config, market.num_assets, config.chunk_bytes, market.feature_names)
    learner = algorithm(config, env, network)
    numbers = make_hyperparams(learner, hyper)
    meta = describe(network, env.config, market, params, config.num_seeds)
    meta |= describe_run(config, market, params, numbers)
    if held_out is not None and held_out.ends_training:
        meta |= held_out.described()
    goes_on = False
    if output is not None:
        check_output(Path(output), resume=resume)
        goes_on = resume and check_resumable(output, meta)
    forecast = None
    if config.policy.forecast != "none":
        if refresh is not None and refresh.draw.source is not None:
            raise ValueError(
                f"forecast={config.policy.forecast!r}: bars that are resampled hold the returns that the forecast is"
                " fitted on, in another order, and would teach the agent to trust it too much. Train on the file itself"
                " (without bootstrap: and market_refresh), or set forecast='none'."
            )
        params, forecast = told_ahead(params, is_redrawn=refresh is not None)
    state = first_state(learner, params, refresh, forecast)
    if refresh is not None:
        # Each market comes out of the compiled loop; the first one need not stay on the device.
        params = params.replace(market=None)

    def agents_of(state: TrainState) -> tuple[Agent, ...]:
        parts = [of_seed(state.acting, place, config.num_seeds) for place in range(config.num_seeds)]
        agents = [agent_from(meta, part, _updates_of(state)) for part in parts]
        # A reward of the user's own is known here, though not in the description.
        return tuple(dataclasses.replace(agent, network=network, env_config=env.config) for agent in agents)

    run = _Run(
        learner, params, numbers, observers, should_stop, held_out, agents_of, refresh, max_updates_per_call, progress
    )
    if output is None:
        return agents_of(run.go(state, None, None, None))
    settings = settings or {"train": dataclasses.asdict(config), "env": meta["env"]}
    with (
        RunFolder(Path(output), settings, resume=resume, loggers=loggers, notes=notes) as folder,
        Checkpoints(output, meta, keep=config.keep_checkpoints) as checkpoints,
        _best_agent(output, meta, held_out) as best,
    ):
        if goes_on:
            restored = checkpoints.restore(state)
            check_features(state, restored, tuple(market.feature_names))
            state = restored
        if resume:
            run.earlier = folder.cut_back(_updates_of(state))
        weights = sum(leaf.size for leaf in jax.tree.leaves(state.agent.network)) // config.num_seeds
        folder.add(describe_making(market) | {"num_parameters": weights})
        folder.say(f"{weights:,} parameters, {config.num_updates} updates of {config.timesteps_per_update:,} steps")
        return agents_of(run.go(state, folder, checkpoints, best))


def _best_agent(
    output: PathLike, meta: Mapping[str, Any], held_out: HeldOut | None
) -> contextlib.AbstractContextManager[BestAgent | None]:
    return contextlib.nullcontext() if held_out is None else BestAgent(output, {**meta, **held_out.described()})


def _updates_of(state: TrainState) -> int:
    """Return how many updates are done; all seeds go in step."""
    return int(np.max(state.update))


def _strongly_typed(params: EnvParams) -> EnvParams:
    """Return numbers on the device without weak types, which would make another program of the same numbers."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)


@jax.jit
def _copied(state: TrainState) -> TrainState:
    return jax.tree.map(lambda leaf: leaf.copy(), state)


@dataclasses.dataclass
class _Run:
    """The host's side of a run: how many updates per call, figures, checkpoints."""

    learner: Algorithm
    params: EnvParams
    hyper: Hyper
    observers: Sequence[Observer]
    should_stop: Callable[[], bool]
    held_out: HeldOut | None
    agents_of: Callable[[TrainState], tuple[Agent, ...]]
    refresh: Refresh | None = None
    max_updates_per_call: int = _MAX_UPDATES_PER_CALL
    progress: bool = False
    earlier: Sequence[MetricsRow] = ()

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
        # Fresh leaves are bound to their devices as restored ones are, so that a resumed run is the same program; one
        # pass through an identity gives each a buffer of its own that may be donated.
        state = jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, state))
        states = States(now=_copied(state), good=_copied(state))
        done = last_saved = _updates_of(state)
        if checkpoints is not None:
            # So that a run that is ended while it compiles can go on; it is written meanwhile.
            checkpoints.save(done, state)
        compile_began = time.perf_counter()
        if self.refresh is None:
            arguments = (states, self.params, self.hyper, jnp.int32(1))
            program = compile_once(run_updates, (update_all, _MAX_UPDATES_PER_CALL, self.learner), *arguments)
        else:
            program = compile_refreshed(
                _MAX_UPDATES_PER_CALL, self.learner, self.refresh, states, self.params, self.hyper
            )
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
            states, buffers = program(states, self.params, self.hyper, jnp.int32(count))
            figures = jax.device_get(buffers)
            now = time.perf_counter()
            made = _updates_of(states.now) - done
            machine = meter.figures(now - call_began, made)
            rows = self._rows(figures, done, made, first, now - began)
            rows = [row | episodes.added(row) | machine for row in rows]
            done += made
            per_call = min(_calls_for(count, now - call_began), self.max_updates_per_call)
            failed = np.max(figures["skipped_in_row"][made - 1]) >= MAX_SKIPPED_IN_ROW
            if not failed and (done % eval_every == 0 or done == config.num_updates):
                rows[-1] |= self._score(states.last_good, folder, best)
            self._tell(rows, done, folder)
            stopping = failed or self.should_stop()
            if done - last_saved >= save_every or stopping or done == config.num_updates:
                last_saved = done
                if checkpoints is not None and folder is not None:
                    folder.flush()
                    checkpoints.save(_updates_of(states.last_good), states.last_good)
                    stopping = stopping or self.should_stop()  # a signal may have come meanwhile: all is saved
                if config.checkpoint_every is None and time.perf_counter() - saved_at < _SECONDS_PER_CHECKPOINT:
                    save_every = min(2 * save_every, max(config.num_updates // 10, save_every))
                saved_at = time.perf_counter()
            if failed:
                raise self._failure({name: values[made - 1] for name, values in figures.items()}, states, folder)
            if stopping:
                break
        if folder is not None:
            folder.say(f"ended after update {done} of {config.num_updates}")
        return states.last_good

    def _score(self, state: TrainState, folder: RunFolder | None, best: BestAgent | None) -> MetricsRow:
        """Return held-out figures of a state for the row of its update; the best agent so far is kept."""
        if self.held_out is None:
            return {}
        update, figures = _updates_of(state), self.held_out.figures(self.agents_of(state))
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
            where = f"The last good state, after update {_updates_of(states.last_good)}, is saved in {folder.path}."
        code = int(np.atleast_1d(figures["fault"])[place])
        return DivergedError(describe_fault(code, _updates_of(states.now), seed, where))

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
    return int(np.clip(_SECONDS_PER_CALL * count / max(seconds, 1e-6), 1, _MAX_UPDATES_PER_CALL))


def _number(value: Any) -> float | int | None:
    """Return a figure for JSON, of several seeds the mean; None where none is finite (no episode ended, say)."""
    value = np.asarray(value)
    if value.ndim == 0 and np.issubdtype(value.dtype, np.integer):
        return int(value)
    finite = value[np.isfinite(value)]
    return float(finite.mean()) if finite.size else None
