"""Sizes that are measured, not guessed: short trainings that say how fast a device works with how many environments.

Letters: E environments.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.agents.forecast import told_ahead
from ploutos_jax.agents.network import Network
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.memory import device_bytes, estimate_memory, fit_to_device
from ploutos_jax.train.population import first_state, make_hyperparams
from ploutos_jax.train.updates import States, run_updates, update_all

FEWEST_UPDATES = 20
"""That a run is to have at least: with more environments it has fewer and larger ones."""
_FIRST_NUMBERS = (16, 64, 256, 1024, 4096, 16384, 65536)
_MOST_MINIBATCHES = 64
_ALIKE = 0.03
"""Share by which speeds are taken for the same; the smaller size then has it."""
_FALLEN = 0.8
"""Share of the best speed below which larger sizes are not tried."""
_SECONDS, _FEWEST, _MOST = 0.5, 3, 50
"""Of timed updates, and how many of them; the fastest counts, as other programs only slow one down."""
_FINALISTS, _ROUNDS = 0.3, 5
"""Share of the best speed from which sizes are timed again in turns, and how often: other work then meets all alike."""

_TURNS = 4
"""Of looking around the fastest size, at most."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one pair of sizes took.

    Attributes:
        num_envs, num_minibatches, rollout_length: the sizes.
        steps_per_second: environment steps, all seeds together; None where it was not tried.
        bytes: of the program, as its compiler counts them, market included; an estimate where it was not tried.
        updates: that a run of these sizes has.
        why: why it was not tried; empty where it was.
    """

    num_envs: int
    num_minibatches: int
    rollout_length: int
    steps_per_second: float | None
    bytes: int
    updates: int
    why: str = ""


class Probe:
    """Measures trainings of several sizes on one market.

    Args:
        config: settings of the learner.
        market: to train on.
        env: rules of the environment.
        params: its numbers; the default ones of that market without.
        is_redrawn: whether the run redraws its market.
        tell: is told of each measurement as soon as there is one.
        seconds: after which no further size is tried, and those that were are timed in turns once, not five times.
    """

    def __init__(
        self,
        config: TrainConfig,
        market: Market,
        env: TradingEnv,
        params: EnvParams | None = None,
        *,
        is_redrawn: bool = False,
        tell: Callable[[Measured], None] = lambda _: None,
        seconds: float = 300.0,
    ) -> None:
        self._config, self._market, self._env, self._tell = config, market, env, tell
        self._params = env.default_params(with_sectors(market)) if params is None else params
        self._is_redrawn, self._until = is_redrawn, time.perf_counter() + seconds
        self._found: dict[tuple[int, int], Measured] = {}
        self._timers: dict[tuple[int, int], Callable[[], float]] = {}

    @property
    def rows(self) -> tuple[Measured, ...]:
        """What was measured, in order."""
        return tuple(self._found.values())

    def choose(self, names: Sequence[str]) -> TrainConfig:
        """Return the settings with the fastest sizes, of those that fit and leave `FEWEST_UPDATES`.

        First E by factors of 4 until speed has fallen twice. What is not hopeless is timed again in turns; around the
        fastest E is tried by factors of 2, and the minibatches likewise until speed has fallen twice. All that again
        until nothing new lies around the fastest. Among speeds within 3 % of the best the smaller E, then the number
        of minibatches nearest to that of the settings.

        Args:
            names: `num_envs`, `num_minibatches` or both.

        Raises:
            ValueError: if nothing could be measured.
        """
        minibatches = self._config.num_minibatches
        if "num_envs" in names:
            self._climb((number, minibatches) for number in _FIRST_NUMBERS)
        else:
            self._try(self._config.num_envs, minibatches)
        self._settle()
        for _ in range(_TURNS):
            # Which is fastest is known only when other work has met all alike: what was tried may surround another.
            if not self._look_around(names):
                break
            self._settle()
        for size in self._near():
            self._tell(self._found[size])
        best = self._best()
        return self._with(best.num_envs, best.num_minibatches)

    def _look_around(self, names: Sequence[str]) -> bool:
        """Try sizes near the fastest; return whether there were any that had not been tried."""
        before, best = len(self._found), self._best()
        number, minibatches = best.num_envs, best.num_minibatches
        if "num_envs" in names:
            for each in (2 * number, number // 2):
                self._try(each, minibatches)
        if "num_minibatches" in names and self._config.batch_size is None:
            fewer = [minibatches >> step for step in range(1, 7) if minibatches >> step]
            more = [minibatches << step for step in range(1, 7) if minibatches << step <= _MOST_MINIBATCHES]
            for sizes in (fewer, more):
                self._climb((number, each) for each in sizes)
        return len(self._found) > before

    def measure(self, num_envs: int, num_minibatches: int) -> Measured | None:
        """Return what a pair of sizes takes; None where the two cannot go together."""
        return self._found.get((num_envs, num_minibatches)) or self._try(num_envs, num_minibatches)

    def _climb(self, sizes: Iterable[tuple[int, int]]) -> None:
        """Try sizes in turn until one does not fit, or two in a row are clearly slower than the best."""
        fallen = 0
        for size in sizes:
            found = self._try(*size)
            if found is None:
                continue
            if found.steps_per_second is None:
                return
            fallen = fallen + 1 if found.steps_per_second < _FALLEN * self._fastest() else 0
            if fallen == 2:
                return

    def _settle(self) -> None:
        """Time the sizes that are not hopeless again, in turns."""
        near = self._near()
        for number in range(_ROUNDS):
            if number and time.perf_counter() > self._until:
                return
            for size in near:
                row = self._found[size]
                speed = round(max(self._speed(size), self._timers[size]()), 1)
                self._found[size] = dataclasses.replace(row, steps_per_second=speed)

    def _near(self) -> list[tuple[int, int]]:
        return [size for size in self._timers if self._speed(size) >= _FINALISTS * self._fastest()]

    def _speed(self, size: tuple[int, int]) -> float:
        return self._found[size].steps_per_second or 0.0

    def _fastest(self) -> float:
        return max((row.steps_per_second or 0.0 for row in self.rows), default=0.0)

    def _best(self) -> Measured:
        fastest = self._fastest()
        if not fastest:
            whys = "; ".join(f"num_envs={row.num_envs}: {row.why}" for row in self.rows)
            raise ValueError(f"No size could be measured ({whys}). Give num_envs and num_minibatches as numbers.")
        near = [row for row in self.rows if (row.steps_per_second or 0.0) >= (1 - _ALIKE) * fastest]
        wanted = self._config.num_minibatches
        return min(
            near, key=lambda row: (row.num_envs, max(row.num_minibatches / wanted, wanted / row.num_minibatches))
        )

    def _with(self, num_envs: int, num_minibatches: int) -> TrainConfig:
        return dataclasses.replace(self._config, num_envs=num_envs, num_minibatches=num_minibatches)

    def _try(self, num_envs: int, num_minibatches: int) -> Measured | None:
        """Measure a pair of sizes once; None where the two cannot go together, or there is no time left."""
        size = num_envs, num_minibatches
        if size in self._found:
            return self._found[size]
        if num_envs < 1 or (self._found and time.perf_counter() > self._until):
            return None
        try:
            config = self._with(*size)
        except ValueError:  # minibatches that do not divide a rollout
            return None
        limit = device_bytes()
        estimate = estimate_memory(config, self._market, self._env.config.action).total
        row = Measured(*size, config.steps_per_rollout, None, estimate, config.num_updates)
        if config.num_updates < FEWEST_UPDATES:
            row = dataclasses.replace(row, why=f"leaves fewer than {FEWEST_UPDATES} updates")
        else:
            try:
                config = fit_to_device(config, self._market, self._env.config.action, limit)
                timer, size_of_program = self._timer(config)
                row = dataclasses.replace(row, steps_per_second=round(timer(), 1), bytes=size_of_program)
                self._timers[size] = timer
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                row = dataclasses.replace(row, why="does not fit")
            except ValueError as error:
                row = dataclasses.replace(row, why="does not fit" if "This run needs" in str(error) else str(error))
        self._found[size] = row
        # Programs that are too slow to be timed again need not stay on the device.
        self._timers = {s: t for s, t in self._timers.items() if self._speed(s) >= _FINALISTS * self._fastest()}
        self._tell(row)
        return row

    def _timer(self, config: TrainConfig) -> tuple[Callable[[], float], int]:
        """Return what times a training, in environment steps a second, and the bytes of its program."""
        market, env = self._market, self._env
        params = started_warm(self._params, config.policy.warm_up)
        params = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)
        network = Network.for_env(
            config.policy, env.config, market.num_assets, config.chunk_bytes, market.feature_names
        )
        learner = learner_of(config, env, network)
        forecast = None
        if config.policy.forecast != "none":
            params, forecast = told_ahead(params, is_redrawn=self._is_redrawn)
        # Leaves of a first state may share a buffer, and those that are donated must not.
        state = [States(jax.tree.map(jnp.copy, first_state(learner, params, forecast=forecast)))]
        numbers = make_hyperparams(learner, None)
        program = run_updates.lower(update_all, 1, learner, state[0], params, numbers, jnp.int32(1)).compile()

        def update() -> float:
            began = time.perf_counter()
            state[0], figures = program(state[0], params, numbers, jnp.int32(1))
            jax.block_until_ready(figures)
            return time.perf_counter() - began

        def timed() -> float:
            update()  # the first call brings what is needed into caches
            taken: list[float] = []
            while len(taken) < _FEWEST or (sum(taken) < _SECONDS and len(taken) < _MOST):
                taken.append(update())
            return config.timesteps_per_update * config.num_seeds / min(taken)

        return timed, _program_bytes(program)


def _program_bytes(program: Any) -> int:
    """Return what a compiled program holds at once: arguments, results in no argument's place, and temporaries."""
    sizes = program.memory_analysis()
    if sizes is None:
        return 0
    return (
        sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes + sizes.temp_size_in_bytes
    )
