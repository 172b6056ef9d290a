"""Slices: a run whose market lies in files trains on one slice of it after the other.

Between two updates the slice on the device is replaced by the next one, which a thread has read and copied meanwhile:
the update before has bootstrapped its last observations on the old one, and every environment begins a new episode on
the new one, as where a market is drawn anew (`train.resampling`). Which slice a run is at follows from the seed and the
number of updates done, so that a checkpoint holds it. All slices have one shape, and one compiled program.
"""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.params import moved_to, params_of_slice
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import Array, EnvParams
from ploutos_jax.market.long.mapped import release
from ploutos_jax.market.long.plan import Plan
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.devices import DevicesOf, Layout
from ploutos_jax.train.hosts import Hosts
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.resampling import restart
from ploutos_jax.train.updates import States, compile_once, run_updates, update_all

UPDATES_PER_SLICE = 10
"""Updates between two slices where `market_refresh` does not say."""

WAIT_FIGURE = "data_wait_share"


@dataclasses.dataclass(eq=False)
class Slices:
    """The slices of a run, of which one is trained on and the next one is on its way.

    Attributes:
        market: all bars to train on, in files.
        plan: how they are cut.
        every: updates between two slices.
        seed: of the run, from which the order of slices follows.
        num_updates: of the run.
        config: rules of the environment.
    """

    market: Market
    plan: Plan
    every: int
    seed: int
    num_updates: int
    env: TradingEnv
    _waited: float = 0.0
    _asked_at: float = dataclasses.field(default_factory=time.perf_counter)
    _next: tuple[int, "Future[Market]"] | None = None
    _thread: ThreadPoolExecutor | None = None

    @classmethod
    def create(cls, market: Market, config: TrainConfig, env: TradingEnv, warm_up: int) -> "Slices | None":
        """Return the slices of a market, None where it does not lie in files or is on the device as a whole.

        Args:
            market: to train on.
            config: of the run.
            env: rules of the environment.
            warm_up: bars of a path that a network sees before an episode begins.

        Raises:
            ValueError: if a slice is too short for an episode, or the run is of a kind that needs all bars at once.
        """
        length = None if market.labels is None else market.labels.device_bars
        if length is None or length >= market.num_bars:
            return None
        _refuse(config)
        # The bar after an episode's last one is there too: it tells whether a session has ended.
        plan = Plan.of(market.num_bars, length, env.config.episode_length + warm_up + 1)
        first = market.window(0, length)
        market = market.replace(sector=with_sectors(first).sector)
        every = UPDATES_PER_SLICE if config.market_refresh is None else config.market_refresh
        return cls(market, plan, every, config.seed, config.num_updates, env)

    def rows_at(self, turn: int) -> slice:
        """Return the rows of the slice of a turn, from 0."""
        first = self.plan.first[self.plan.turn(self.seed, turn)]
        return slice(first, first + self.plan.length)

    def params_for(self, given: EnvParams | None, devices: DevicesOf) -> EnvParams:
        """Return numbers beside the slice that the run begins with.

        Raises:
            ValueError: if numbers are given, which hold bars of their own, or the run is to lie on several devices.
        """
        if given is not None:
            raise ValueError(
                "params= holds a market, and this one lies in files: leave it out, and set its numbers in EnvConfig."
            )
        if devices != 1 or Hosts.here().number > 1:
            raise ValueError(f"devices={devices}: slices of a market (device_bars) are of one device of one host.")
        params = params_of_slice(self.env.config, self.market, self.rows_at(0))
        # So that the bar after an episode is there.
        return params.replace(starts=params.starts[:-1])

    def first_market(self) -> Market:
        """Return the slice that the run begins with, on the host."""
        rows = self.rows_at(0)
        return self.market.window(rows.start, rows.stop)

    def figures(self) -> dict[str, float]:
        """Return the share of the time since the last call that was spent waiting for a slice."""
        now = time.perf_counter()
        share = self._waited / max(now - self._asked_at, 1e-9)
        self._waited, self._asked_at = 0.0, now
        return {WAIT_FIGURE: round(min(share, 1.0), 4)}

    def compile(
        self, num_rows: int, learner: Algorithm, states: States, params: EnvParams, hyper: Hyper, layout: Layout | None
    ) -> Callable[[States, EnvParams, Hyper, Array], tuple[States, Metrics]]:
        """Compile `run_updates` for a slice; return a function called as its program is, that replaces slices.

        Args:
            num_rows: rows of metrics to keep; a call makes at most as many updates.
            learner: of the run.
            states: the states that it runs on.
            params: numbers of the environment; the market in them is not read.
            hyper: numbers of the learner.
            layout: None; slices are of one device.
        """
        del layout
        turn = _updates_of(states) // self.every
        held = {"turn": turn, "market": self._take(turn)}
        whole = self._placed(params, cast(Market, held["market"]))
        program = compile_once(run_updates, (update_all, num_rows, learner), states, whole, hyper, jnp.int32(1))
        self.figures()

        def call(states: States, params: EnvParams, hyper: Hyper, count: Array) -> tuple[States, Metrics]:
            done, wanted, rows, placed = 0, int(count), {}, None
            while done < wanted:
                before = _updates_of(states)
                turn = before // self.every
                if turn != held["turn"]:
                    # Let go of the old slice before the new one is there.
                    held["market"] = placed = None
                    held.update(turn=turn, market=self._take(turn))
                placed = self._placed(params, cast(Market, held["market"]))
                if before and before % self.every == 0:
                    states = states.replace(now=_begin_anew(learner, states.now, placed))
                asked = min(wanted - done, self.every - before % self.every)
                states, figures = program(states, placed, hyper, jnp.int32(asked))
                made = _updates_of(states) - before
                rows = _joined(rows, jax.device_get(figures), done, made)
                done += made
                if made < asked:
                    break
            return states, rows

        return call

    def _placed(self, params: EnvParams, market: Market) -> EnvParams:
        return moved_to(params, self.env.config, market)

    def _take(self, turn: int) -> Market:
        """Return the slice of a turn on the device, and have the next one fetched."""
        began = time.perf_counter()
        ready = self._next[1] if self._next is not None and self._next[0] == turn else None
        market = self._fetch(turn) if ready is None else ready.result()
        self._waited += time.perf_counter() - began
        self._next = None
        if (turn + 1) * self.every < self.num_updates:
            self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="slices")
            self._next = turn + 1, self._thread.submit(self._fetch, turn + 1)
        return market

    def _fetch(self, turn: int) -> Market:
        rows = self.rows_at(turn)
        cut = self.market.window(rows.start, rows.stop).replace(labels=None)
        # Copied, since a device that is the host's own memory would go on reading the file.
        copied = jax.tree.map(np.array, cut)
        release(self.market)
        return jax.block_until_ready(jax.device_put(copied))


def describe_slices(slices: Slices | None) -> dict[str, Any]:
    """Return what has to be the same when a run goes on, beside its settings; Nones where all is on the device."""
    length, every = (None, None) if slices is None else (slices.plan.length, slices.every)
    return {"device_bars": length, "updates_per_slice": every}


@partial(jax.jit, static_argnums=0)
def _begin_anew(learner: Algorithm, now: TrainState, params: EnvParams) -> TrainState:
    """Return the state of all seeds with every environment in a new episode."""
    begin = partial(restart, learner, params=params)
    return begin(now) if learner.config.num_seeds == 1 else jax.vmap(begin)(now)


def _updates_of(states: States) -> int:
    return int(np.max(states.now.update))


def _joined(rows: Metrics, more: Metrics, done: int, made: int) -> Metrics:
    """Return rows of figures with the first `made` of another table from row `done` on."""
    if not rows:
        return cast(Metrics, {name: np.array(values) for name, values in more.items()})
    for name, values in more.items():
        rows[name][done : done + made] = values[:made]
    return rows


def _refuse(config: TrainConfig) -> None:
    """Raise ValueError where a run needs all bars at once."""
    asked = {
        f"forecast={config.policy.forecast!r}": config.policy.forecast != "none",
        f"regimes={config.policy.regimes!r}": config.policy.regimes != "none",
        f"population={config.evolution.population}": config.evolution.population is not None,
    }
    found = next((name for name, is_asked in asked.items() if is_asked), None)
    if found is not None:
        raise ValueError(
            f"{found} needs all bars at once, and device_bars puts a slice of them on the device at a time. Leave one"
            " of them out."
        )
