"""Several folds, several seeds: one compiled program trains them all, from scratch, fold by fold or side by side.

The markets of folds are made equal in shape, so that the program that trained one trains every other. What is fitted is
fitted per fold: the scaling of features, and groups of assets where no sectors are known.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import started_warm
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.forecast import Forecast, told_ahead
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.agents.spec import agent_from, describe
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.train.algorithm import Algorithm, Metrics
from ploutos_jax.train.config import Hyper, TrainConfig
from ploutos_jax.train.learners import learner_of
from ploutos_jax.train.learning.divergence import MAX_SKIPPED_IN_ROW, DivergedError, describe_fault
from ploutos_jax.train.learning.state import TrainState
from ploutos_jax.train.memory import device_bytes, fit_to_device
from ploutos_jax.train.population import first_state, make_hyperparams, of_seed
from ploutos_jax.train.updates import States, run_updates, update_all

Stage = tuple[tuple[Agent, ...], ...]
"""Agents by fold and seed after a part of the training."""


class FoldTrainer:
    """Trains agents on folds of one market, `config.num_seeds` each.

    Args:
        config: settings of the learner.
        env: rules of the environment.
        markets: training bars of every fold that will come; they set the common shape.
        folds_at_once: how many folds the program trains side by side. A last batch with fewer is filled up, so that it
            is the same program.

    Raises:
        ValueError: if no episode fits into a fold, or the program does not fit into the memory of the device.
    """

    def __init__(self, config: TrainConfig, env: TradingEnv, markets: Sequence[Market], folds_at_once: int = 1) -> None:
        if folds_at_once < 1:
            raise ValueError(f"folds_at_once={folds_at_once} must be at least 1.")
        self.env = env
        self.folds_at_once = min(folds_at_once, len(markets))
        self._num_bars = max(market.num_bars for market in markets)
        self._num_starts = min(len(self._params(env, config, market).starts) for market in markets)
        wide = _padded(markets[0], self._num_bars)
        config = dataclasses.replace(config, chunk_megabytes=config.chunk_limit / self.folds_at_once)
        available = device_bytes()
        share = None if available is None else available // self.folds_at_once
        config = fit_to_device(config, wide, env.config.action, share)
        names = markets[0].feature_names
        network = Network.for_env(config.policy, env.config, wide.num_assets, config.chunk_bytes, names)
        self.learner = learner_of(config, env, network)
        self.config = config

    def train(
        self,
        markets: Sequence[Market],
        num_stages: int,
        on_stage: Callable[[int, Stage, Metrics], None],
        *,
        hyper: Hyper | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Train on up to `folds_at_once` folds and hand out the agents after each of some equal parts of the run.

        Args:
            markets: training bars of the folds.
            num_stages: parts.
            on_stage: gets the number of the part from 1 on, the agents `[fold][seed]`, and figures of the last update
                `[fold, seed]`.
            hyper: numbers of PPO instead of those of the configuration.
            should_stop: asked after each part; True ends the run there.

        Returns:
            Whether the run went to its end.

        Raises:
            DivergedError: a ValueError, if too many gradient steps in a row could not be taken.
        """
        params, state, stacked = self._begin(markets)
        numbers = make_hyperparams(self.learner, hyper)
        is_batch = self.folds_at_once > 1
        do_update = _update_folds if is_batch else _update_fold
        ends = np.linspace(0, self.config.num_updates, num_stages + 1).round().astype(int)
        for stage, count in enumerate(np.diff(ends), start=1):
            # Only the metrics of the last update are asked for, or of the first that failed for good.
            states, rows = run_updates(do_update, 1, self.learner, States(state), stacked, numbers, jnp.int32(count))
            state, newest = states.now, jax.tree.map(lambda row: row[0], jax.device_get(rows))
            figures = jax.tree.map(partial(self._by_fold_and_seed, is_batch), newest)
            self._refuse_divergence(figures, len(markets))
            update = int(np.max(state.update))
            agents = tuple(
                tuple(self._agent(one, update, markets[i], params[i]) for one in self._agents(state, is_batch, i))
                for i in range(len(markets))
            )
            on_stage(stage, agents, {name: values[: len(markets)] for name, values in figures.items()})
            if stage < num_stages and should_stop():
                return False
        return True

    def seconds_of_update(self, markets: Sequence[Market]) -> float:
        """Return how long one update takes here, compiled; nothing of it is kept.

        The program is the one that `train` runs, which therefore need not compile it again.

        Args:
            markets: training bars of up to `folds_at_once` folds.
        """
        _, state, stacked = self._begin(markets)
        numbers = make_hyperparams(self.learner, None)
        do_update = _update_folds if self.folds_at_once > 1 else _update_fold
        states, began = States(state), 0.0
        for _ in range(2):  # the first call compiles
            began = time.perf_counter()
            states, rows = run_updates(do_update, 1, self.learner, states, stacked, numbers, jnp.int32(1))
            jax.block_until_ready(rows)
        return time.perf_counter() - began

    def _begin(self, markets: Sequence[Market]) -> tuple[list[EnvParams], TrainState, EnvParams]:
        """Return the numbers of each fold, and state and numbers as the program takes them."""
        params = [self.params_of(market) for market in markets]
        forecasts: list[Forecast | None] = [None] * len(params)
        if self.config.policy.forecast != "none":
            params, forecasts = map(list, zip(*(told_ahead(each, is_redrawn=False) for each in params), strict=True))
        missing = self.folds_at_once - len(params)
        filled, forecasts = [*params, *params[-1:] * missing], [*forecasts, *forecasts[-1:] * missing]
        firsts = [first_state(self.learner, x, forecast=told) for x, told in zip(filled, forecasts, strict=True)]
        is_batch = self.folds_at_once > 1
        state, stacked = (_stack(firsts), _stack(filled)) if is_batch else (firsts[0], filled[0])
        return params, _copied(state), stacked

    def params_of(self, market: Market) -> EnvParams:
        """Return the numbers of the environment on a fold, in the shape that all folds share.

        Starts of episodes beyond the number that every fold has are left out evenly: the others stay equally likely.
        """
        params = self._params(self.env, self.config, market)
        kept = np.linspace(0, len(params.starts) - 1, self._num_starts).round().astype(int)
        params = params.replace(starts=params.starts[kept])
        return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), params)

    def _params(self, env: TradingEnv, config: TrainConfig, market: Market) -> EnvParams:
        padded = _padded(with_sectors(market), self._num_bars)
        return started_warm(env.default_params(padded), config.policy.warm_up)

    def _by_fold_and_seed(self, is_batch: bool, values: Any) -> np.ndarray:
        values = np.asarray(values)
        values = values if is_batch else values[None]
        return values if self.config.num_seeds > 1 else values[:, None]

    def _refuse_divergence(self, figures: Metrics, num_folds: int) -> None:
        in_row = np.asarray(figures["skipped_in_row"])[:num_folds]
        if in_row.max() < MAX_SKIPPED_IN_ROW:
            return
        fold, place = (int(i) for i in np.unravel_index(in_row.argmax(), in_row.shape))
        code, seed = int(figures["fault"][fold, place]), self.config.seeds[place]
        where = f"It was fold {fold + 1} of those trained together; nothing of them was kept."
        raise DivergedError(describe_fault(code, int(figures["update"][fold, place]), seed, where))

    def _agent(self, params: AgentParams, update: int, market: Market, env: EnvParams) -> Agent:
        """Return parameters as an agent of a fold, given its training bars and its numbers."""
        agent = agent_from(describe(self.learner.network, self.env.config, market, env), params, update)
        # A reward of the user's own is known here, though not in the description.
        return dataclasses.replace(agent, network=self.learner.network, env_config=self.env.config)

    def _agents(self, state: TrainState, is_batch: bool, fold: int) -> list[AgentParams]:
        """Return the parameters of a fold's agents, one by seed, in buffers of their own."""
        agents = jax.tree.map(lambda x: x[fold], state.acting) if is_batch else state.acting
        return [_copied(of_seed(agents, seed, self.config.num_seeds)) for seed in range(self.config.num_seeds)]


def _update_fold(learner: Algorithm, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
    """Do one update of every seed of a fold; the metrics say which it was."""
    moved, metrics = update_all(learner, state, params, hyper)
    return moved, {**metrics, "update": moved.update}


def _update_folds(learner: Algorithm, state: TrainState, params: EnvParams, hyper: Hyper) -> tuple[TrainState, Metrics]:
    """Do one update of every fold, each with its own market."""
    return jax.vmap(partial(_update_fold, learner), in_axes=(0, 0, None))(state, params, hyper)


def _padded(market: Market, num_bars: int) -> Market:
    """Return a market with rows at its end in which nothing trades and no episode runs."""
    missing = num_bars - market.num_bars
    if missing == 0:
        return market
    arrays = market.replace(sector=None)
    longer = jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)]), arrays)
    own_row = jnp.arange(market.num_bars, num_bars, dtype=jnp.int32)
    return longer.replace(
        tradable=longer.tradable.at[market.num_bars :].set(False),
        path_end=longer.path_end.at[market.num_bars :].set(own_row),
        sector=market.sector,
        labels=_padded_labels(market, missing),
        feature_names=market.feature_names,
    )


def _padded_labels(market: Market, missing: int) -> Labels | None:
    """Return the labels with nanoseconds of time for the rows at the end; calendar and instruments are the market's."""
    if market.labels is None:
        return None
    after = market.times[-1] + np.arange(1, missing + 1).astype("timedelta64[ns]")
    known = {"calendar": market.calendar, "instruments": market.instruments}
    return dataclasses.replace(market.labels, times=np.concatenate([market.times, after]), **known)


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _copied(tree: Any) -> Any:
    """Return arrays with buffers of their own: those of the state are donated from part to part."""
    return jax.tree.map(lambda x: x.copy(), tree)
