"""The run: compile once, repeat updates on the device, hand reduced figures to the host every few seconds."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.rewards import resolve_reward
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR, cluster_columns
from ploutos_jax.train.agent import Agent, Network
from ploutos_jax.train.checkpoint import Checkpoints, PathLike, check_resumable, describe
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.faults import MAX_SKIPPED_IN_ROW, DivergedError, describe_fault
from ploutos_jax.train.ppo import Learner, Metrics, TrainState
from ploutos_jax.train.run_folder import RunFolder, check_output

_MAX_UPDATES_PER_CALL = 64
_SECONDS_PER_CALL = 2.0
_CHECKPOINTS_PER_RUN = 10

MetricsRow = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Progress:
    """What an observer is told after each call of the compiled program.

    Attributes:
        rows: one row of figures per update since the last time, as in `metrics.jsonl`.
        done_timesteps, total_timesteps: of the run.
    """

    rows: Sequence[MetricsRow]
    done_timesteps: int
    total_timesteps: int


Observer = Callable[[Progress], None]


def train(
    config: TrainConfig,
    market: Market,
    env: TradingEnv,
    *,
    params: EnvParams | None = None,
    output: PathLike | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> Agent:
    """Train an agent with PPO on all bars of a market.

    Same arguments and seed give the same agent, bit for bit, on the same kind of machine.

    Args:
        config: settings of the learner.
        market: bars and features to train on; the scaling of features is fitted on these rows.
        env: rules of the environment.
        params: its numbers; `env.default_params(market)` without them.
        output: run folder for checkpoints and figures; nothing is written without it.
        settings: what `config.yaml` in the run folder holds; the two configurations without it.
        resume: continue the run in `output` from its newest checkpoint.
        observers: called with new figures every few seconds.
        should_stop: asked between calls; True ends the run early, after a checkpoint.

    Returns:
        The agent after the last update.

    Raises:
        ValueError: if an episode does not fit into the market, the reward is unknown, `output` holds another run, or
            there is nothing to resume or it was trained on other data.
        DivergedError: a ValueError, if too many gradient steps in a row could not be taken; the last good state is
            saved first.
    """
    params = env.default_params(_with_sectors(market)) if params is None else params
    network = Network.create(config.policy, env.config.action, market.num_assets, int(config.chunk_megabytes * 2**20))
    learner = Learner(config=config, env=env, network=network)
    meta = describe(network, env.config, market, params)
    # What can be refused is refused before anything is compiled or written.
    resolve_reward(env.config.reward)
    if output is not None:
        check_output(Path(output), resume=resume)
        if resume:
            check_resumable(output, meta)
    state = learner.init(jax.random.key(config.seed), params)
    run = _Run(learner=learner, params=params, observers=observers, should_stop=should_stop)
    if output is None:
        state = run.go(state, None, None)
    else:
        settings = settings or {"train": dataclasses.asdict(config), "env": meta["env"]}
        with RunFolder(Path(output), settings, resume=resume) as folder, Checkpoints(output, meta) as checkpoints:
            if resume:
                state = checkpoints.restore(state)
                folder.cut_back(int(state.update))
            state = run.go(state, folder, checkpoints)
    return Agent(
        params=state.agent,
        network=network,
        env_config=env.config,
        feature_names=tuple(market.feature_names),
        symbols=tuple(meta["symbols"]),
        sectors=tuple(meta["sectors"]),
        trained_from=meta["trained_from"],
        trained_to=meta["trained_to"],
        step=int(state.update),
    )


def _with_sectors(market: Market) -> Market:
    """Return the training market; where no sector is known, groups of assets that moved together stand for them."""
    if market.sector is not None and (np.asarray(market.sector) != NO_SECTOR).any():
        return market
    return market.replace(sector=cluster_columns(market))


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _run_updates(
    learner: Learner, state: TrainState, params: EnvParams, hyper: Hyper, count: jax.Array
) -> tuple[TrainState, Metrics]:
    """Do `count` updates and return their figures in the first rows of `[_MAX_UPDATES_PER_CALL]` buffers.

    An update that skips too many gradient steps in a row is the last one, and the state before it is returned.

    The count is data, not shape: how many updates a call makes can follow the clock without another compilation and
    without changing a bit of the result.
    """
    shapes = jax.eval_shape(learner.update, state, params, hyper)[1]
    buffers = jax.tree.map(lambda x: jnp.zeros((_MAX_UPDATES_PER_CALL, *x.shape), x.dtype), shapes)

    Carry = tuple[jax.Array, TrainState, Metrics, jax.Array]

    def body(carry: Carry) -> Carry:
        i, state, buffers, _ = carry
        moved, metrics = learner.update(state, params, hyper)
        failed = (metrics["skipped_in_row"] >= MAX_SKIPPED_IN_ROW).any()
        state = jax.tree.map(lambda new, old: jnp.where(failed, old, new), moved, state)
        return i + 1, state, jax.tree.map(lambda b, m: b.at[i].set(m), buffers, metrics), failed

    start = (jnp.int32(0), state, buffers, jnp.asarray(False))
    _, state, buffers, _ = jax.lax.while_loop(lambda c: (c[0] < count) & ~c[3], body, start)
    return state, buffers


@dataclasses.dataclass
class _Run:
    """The host's side of a run: how many updates per call, figures, checkpoints."""

    learner: Learner
    params: EnvParams
    observers: Sequence[Observer]
    should_stop: Callable[[], bool]

    def go(self, state: TrainState, folder: RunFolder | None, checkpoints: Checkpoints | None) -> TrainState:
        config = self.learner.config
        hyper = jax.tree.map(jnp.float32, config.hyper())
        # Fresh leaves are bound to their devices as restored ones are, so that a resumed run is the same program; one
        # pass through an identity gives each a buffer of its own that may be donated.
        state = jax.device_put(state, jax.tree.map(lambda leaf: leaf.sharding, state))
        state = jax.jit(lambda x: jax.tree.map(lambda leaf: leaf.copy(), x))(state)
        program = _run_updates.lower(self.learner, state, self.params, hyper, jnp.int32(1)).compile()
        done, last_saved = int(state.update), int(state.update)
        save_every = max(1, config.num_updates // _CHECKPOINTS_PER_RUN)
        per_call, began, first = 1, time.perf_counter(), done
        while done < config.num_updates:
            count = min(per_call, config.num_updates - done, last_saved + save_every - done)
            call_began = time.perf_counter()
            state, buffers = program(state, self.params, hyper, jnp.int32(count))
            figures = jax.device_get(buffers)
            now = time.perf_counter()
            made = int(state.update) - done
            # The update that failed has figures, but is not in the state.
            self._tell(self._rows(figures, done, min(made + 1, count), first, now - began), done + made, folder)
            done += made
            if made < count:
                self._give_up(figures, made, state, folder, checkpoints)
            per_call = _calls_for(count, now - call_began)
            stopping = self.should_stop()
            if done - last_saved >= save_every or stopping or done == config.num_updates:
                last_saved = done
                if checkpoints is not None:
                    checkpoints.save(done, state)
            if stopping:
                break
        return state

    def _give_up(
        self, figures: Metrics, row: int, state: TrainState, folder: RunFolder | None, checkpoints: Checkpoints | None
    ) -> NoReturn:
        """Save the state before the failed update, whose figures are in a row, and end the run."""
        done = int(state.update)
        where = "Nothing was saved, as the run has no output folder."
        if folder is not None and checkpoints is not None:
            checkpoints.save(done, state)
            where = f"The last good state, after update {done}, is saved in {folder.path}."
        raise DivergedError(describe_fault(int(figures["fault"][row]), done + 1, where))

    def _rows(self, figures: Metrics, done: int, count: int, first: int, seconds: float) -> list[MetricsRow]:
        per_update = self.learner.config.timesteps_per_update
        rows = []
        for i in range(count):
            update = done + i + 1
            row = {name: _number(values[i]) for name, values in figures.items() if name != "fault"}
            rate = (done + count - first) * per_update / max(seconds, 1e-9)
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
    """Return a figure for JSON; None where it is not finite (no episode ended, say)."""
    if np.issubdtype(np.asarray(value).dtype, np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None
