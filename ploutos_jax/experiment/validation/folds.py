"""Validation: train from scratch on every fold of a plan, choose on its validation rows, keep the agents on disk.

What a fold learnt lies in a folder of its own, written when the fold is done; a validation that was stopped goes on
with the folds that are missing. `out_of_sample` puts the folds together.
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.datasets.splits import (
    Plan,
    Window,
    cut,
)
from ploutos_jax.env.bounds import shown
from ploutos_jax.env.rollout import Runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.backtest.handover import hand_over, play_agent
from ploutos_jax.evaluate.ledger import simple_returns
from ploutos_jax.evaluate.metrics.summary import sharpe, total_return
from ploutos_jax.experiment.validation.config import ValidationConfig
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market
from ploutos_jax.train.algorithm import Metrics
from ploutos_jax.train.checkpoints.export import export_policy, load_policy
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.cross_validation import FoldTrainer, Stage
from ploutos_jax.train.held_out import HELD_OUT_PREFIX
from ploutos_jax.train.run.figures import METRICS_FILE
from ploutos_jax.train.run.folder import CONFIG_FILE, SUMMARY_FILE, write_json

FOLD_FILE = "fold.json"
"""Facts of a finished fold, next to its agents; written last."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """What is known of a fold that is done.

    Attributes:
        agents: the agent kept for each seed.
        chosen: place of the seed with the best score on the validation rows; None where nothing was chosen.
        facts: as written: dates of its windows, `stage_by_seed`, `validation_sharpe_by_seed`, `seconds`.
    """

    agents: tuple[Agent, ...]
    chosen: int | None
    facts: dict[str, Any]


Observer = Callable[[int, int, int], None]
"""Called with the fold (from 0), the part done, and the number of parts."""


class Estimate(NamedTuple):
    """How long the training of folds will take.

    Attributes:
        folds: that are not done yet.
        updates: of each.
        update_seconds: one update of the folds that are trained together, timed on this machine.
        seconds: of the training; scoring comes on top.
    """

    folds: int
    updates: int
    update_seconds: float
    seconds: float


def run_folds(
    plan: Plan,
    market: Market,
    env: TradingEnv,
    config: TrainConfig,
    validation: ValidationConfig,
    output: Path,
    *,
    settings: str = "",
    observer: Observer = lambda fold, stage, stages: None,
    announce: Callable[[Estimate], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Fold] | None:
    """Train the folds that are not in `output` yet; return all of them, or None if it was stopped before the last.

    Args:
        plan: the folds.
        market: bars and features of the whole history.
        env: rules and costs.
        config: settings of the learner; `num_seeds` agents are trained on every fold.
        validation: settings of the validation.
        output: folder that gets a folder for each fold.
        settings: text for the `config.yaml` of each, so that they count as runs.
        observer: called with the progress.
        announce: called before the first fold with how long the training will take; one update is timed for it.
        should_stop: asked after each part; what of a fold is not done by then is lost.

    Raises:
        ValueError: if an episode does not fit into the windows of a fold, or a seed diverges.
    """
    trainer = FoldTrainer(config, env, [cut(market, split.train) for split in plan.splits], validation.folds_at_once)
    missing = [i for i in range(len(plan.splits)) if not (fold_folder(output, i) / FOLD_FILE).exists()]
    if announce is not None and missing:
        batch = [cut(market, plan.splits[i].train) for i in missing[: trainer.folds_at_once]]
        seconds, updates = trainer.seconds_of_update(batch), trainer.config.num_updates
        announce(
            Estimate(len(missing), updates, seconds, seconds * updates * -(-len(missing) // trainer.folds_at_once))
        )
    for at in range(0, len(missing), trainer.folds_at_once):
        batch = missing[at : at + trainer.folds_at_once]
        records = [_Record(i, plan, market, trainer) for i in batch]

        def on_stage(
            stage: int, agents: Stage, figures: Metrics, batch: Sequence[int] = batch, records: Any = records
        ) -> None:
            for place, record in enumerate(records):
                record.add(stage, agents[place], {name: values[place] for name, values in figures.items()})
                observer(batch[place], stage, validation.stages)

        training = [cut(market, plan.splits[i].train) for i in batch]
        if not trainer.train(training, validation.stages, on_stage, should_stop=should_stop):
            return None
        for i, record in zip(batch, records, strict=True):
            record.write(fold_folder(output, i), settings)
        if should_stop() and at + len(batch) < len(missing):
            return None
    return [read_fold(output, i, config.num_seeds) for i in range(len(plan.splits))]


def fold_folder(output: Path, fold: int) -> Path:
    """Return the folder of a fold, counted from 0; names count from 1."""
    return output / f"fold-{fold + 1:02d}"


class _Record:
    """The agents of one fold as they come, and their scores."""

    def __init__(self, fold: int, plan: Plan, market: Market, trainer: FoldTrainer) -> None:
        self._split, self._market, self._trainer = plan.splits[fold], market, trainer
        self._began = time.perf_counter()
        self._stages: list[tuple[Agent, ...]] = []
        self._rows: list[dict[str, Any]] = []
        self._sharpes: list[list[float]] = []

    def add(self, stage: int, agents: tuple[Agent, ...], figures: Metrics) -> None:
        config = self._trainer.config
        update = agents[0].step
        row: dict[str, Any] = {"update": update, "timesteps": update * config.timesteps_per_update}
        row |= {name: _number(np.mean(values)) for name, values in figures.items() if name not in ("fault", "update")}
        if self._split.validation is not None:
            scores = score_on(agents, self._market, self._split.validation, self._trainer.env)
            self._sharpes.append([score["sharpe"] for score in scores])
            row |= {HELD_OUT_PREFIX + name: [_number(score[name]) for score in scores] for name in scores[0]}
        self._stages.append(agents)
        self._rows.append(row)

    def write(self, folder: Path, settings: str) -> None:
        """Write the agents kept, figures by part, and facts; `fold.json` last, so that what has one is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        stages, best = self._choose()
        chosen_on = () if self._split.validation is None else tuple(self._dates(self._split.validation))
        for seed, stage in enumerate(stages):
            agent = dataclasses.replace(self._stages[stage][seed], chosen_on=chosen_on)
            export_policy(agent, _agent_folder(folder, seed), overwrite=True)
        (folder / CONFIG_FILE).write_text(settings, encoding="utf-8")
        lines = (json.dumps(row, allow_nan=False) + "\n" for row in self._rows)
        (folder / METRICS_FILE).write_text("".join(lines), encoding="utf-8")
        updates = self._stages[-1][0].step
        facts = {
            "train": [self._dates(window) for window in self._split.train],
            "validation": list(chosen_on),
            "test": [self._dates(window) for window in self._split.test],
            "updates": updates,
            "timesteps_per_seed": updates * self._trainer.config.timesteps_per_update,
            "stage_by_seed": [stage + 1 for stage in stages],
            "validation_sharpe_by_seed": None if best is None else [_number(value) for value in best],
            "chosen_seed": None if best is None else int(np.argmax(best)),
            "seconds": round(time.perf_counter() - self._began, 1),
        }
        write_json(folder / SUMMARY_FILE, facts)
        unfinished = folder / f"{FOLD_FILE}.unfinished"
        write_json(unfinished, facts)
        os.replace(unfinished, folder / FOLD_FILE)

    def _choose(self) -> tuple[list[int], list[float] | None]:
        """Return the part after which each seed did best in validation, and its Sharpe ratio there."""
        last = len(self._stages) - 1
        if not self._sharpes:
            return [last] * len(self._stages[0]), None
        # An agent that never traded has no Sharpe ratio; it is chosen only where all are so. Of equal ones the later.
        scores = np.nan_to_num(np.array(self._sharpes), nan=-np.inf)
        stages = [last - int(column[::-1].argmax()) for column in scores.T]
        return stages, [float(scores[stage, seed]) for seed, stage in enumerate(stages)]

    def _dates(self, window: Window) -> list[str]:
        return [name_moment(self._market.times[row]) for row in (window.start, window.stop - 1)]


def read_fold(output: Path, fold: int, num_seeds: int) -> Fold:
    """Return a fold that is done.

    Raises:
        ValueError: if the agents cannot be read or are not what was written.
    """
    folder = fold_folder(output, fold)
    try:
        facts = json.loads((folder / FOLD_FILE).read_text(encoding="utf-8"))
        chosen = facts["chosen_seed"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{folder / FOLD_FILE} cannot be read ({shown(error)}). Remove the folder {folder} and give the same"
            " command with --resume: the fold is trained again."
        ) from None
    agents = tuple(load_policy(_agent_folder(folder, seed)) for seed in range(num_seeds))
    return Fold(agents=agents, chosen=chosen, facts=facts)


def _agent_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def score_on(agents: Sequence[Agent], market: Market, window: Window, env: TradingEnv) -> list[dict[str, float]]:
    """Return `sharpe` and `total_return`, net of costs, of agents of one fold over the bars of a window.

    Each plays its greedy actions from an account in cash, from the close before the window on.
    """
    span = market.window(max(window.start - 1, 0), window.stop, lead=agents[0].network.warm_up)
    env = TradingEnv(dataclasses.replace(env.config, episode_length=span.num_bars - 1))
    params = env.default_params(agents[0].with_own_sectors(span))
    runner, params = hand_over(env, params, None, 0)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *[agent.params for agent in agents])
    equity = np.asarray(_equity(env, agents[0].network, span.num_bars - 1, stacked, params, runner), np.float64)
    cash = np.full((len(agents), 1), env.config.initial_cash)
    returns = [simple_returns(one) for one in np.concatenate([cash, equity], axis=1)]
    a_year = market.calendar.bars_per_year
    return [{"sharpe": sharpe(one, a_year), "total_return": total_return(one)} for one in returns]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _equity(
    env: TradingEnv, network: Network, num_steps: int, agents: AgentParams, params: EnvParams, runner: Runner
) -> jax.Array:
    """Return `[N, num_steps]` equity of N agents."""
    play = lambda agent: play_agent(env, network, num_steps, agent, params, runner)[1]["equity"][:, 0]  # noqa: E731
    return jax.vmap(play)(agents)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
