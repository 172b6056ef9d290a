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
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import yaml

from ploutos_jax.env.rollout import Runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.ledger import simple_returns
from ploutos_jax.evaluate.metrics import sharpe, total_return
from ploutos_jax.evaluate.turns import hand_over, play_agent
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.market.source import DataConfig, read_market, read_panel
from ploutos_jax.market.splits import (
    Plan,
    Window,
    combinatorial_purged,
    cut,
    longest_window,
    purged_k_fold,
    walk_forward,
)
from ploutos_jax.train.agent import Agent, AgentParams, Network
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.export import export_policy, load_policy
from ploutos_jax.train.folds import FoldTrainer, Stage
from ploutos_jax.train.held_out import PREFIX
from ploutos_jax.train.ppo import Metrics
from ploutos_jax.train.run_folder import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE, check_output, plain, write_json
from ploutos_jax.train.settings import RunSettings

FOLD_FILE = "fold.json"
"""Facts of a fold that is done, beside its agents; written last."""

SETTINGS_FILE = "validation.yaml"

_OF_ONE_CALL = ("config", "output", "resume", "minutes", "quiet", "device")


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """How a history is split, and what is done with each fold.

    Attributes:
        scheme: `walk-forward` trains on the past and tests on what follows; `k-fold` and `combinatorial` test every
            block once, or once on each path, and train on blocks before and after it.
        train_window, validation_window, test_window: of a walk-forward fold, in bars (1260) or calendar spans (5y).
        expanding: train from the first bar on instead of over a window that moves.
        folds: blocks of `k-fold` and `combinatorial`.
        test_folds: blocks that each `combinatorial` fold tests.
        label_bars: bars after a row that what is learnt at it rests on; rows closer to a test are not trained on.
        embargo: bars left out after a test, in walk-forward between the windows; without it the longest window of a
            feature, and 0 in walk-forward, where training never follows a test.
        liquid: keep the tickers that traded most dollars (median of a bar) in the first fold's training rows; all
            without it.
        stages: times at which the agents of a fold are scored on its validation rows; the best for each seed is kept.
        folds_at_once: folds trained side by side in one program.
    """

    scheme: Literal["walk-forward", "k-fold", "combinatorial"] = "walk-forward"
    train_window: str = "1260"
    validation_window: str = "252"
    test_window: str = "252"
    expanding: bool = False
    folds: int = 6
    test_folds: int = 2
    label_bars: int = 1
    embargo: int | None = None
    liquid: int | None = None
    stages: int = 5
    folds_at_once: int = 1

    def __post_init__(self) -> None:
        for name in ("stages", "folds_at_once"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.liquid is not None and self.liquid < 1:
            raise ValueError(f"liquid={self.liquid} must be at least 1 ticker.")

    def plan(self, times: np.ndarray, feature_names: Sequence[str] = ()) -> Plan:
        """Return the folds of a history.

        Args:
            times: `[T]` dates of its bars.
            feature_names: what normalisers are fitted on; their windows set the embargo where none is given.
        """
        if self.scheme == "walk-forward":
            return walk_forward(
                times,
                train=self.train_window,
                validation=self.validation_window,
                test=self.test_window,
                expanding=self.expanding,
                label_bars=self.label_bars,
                embargo=self.embargo or 0,
            )
        embargo = longest_window(feature_names) if self.embargo is None else self.embargo
        sizes = (len(times), self.folds)
        if self.scheme == "k-fold":
            return purged_k_fold(*sizes, label_bars=self.label_bars, embargo=embargo)
        return combinatorial_purged(*sizes, self.test_folds, label_bars=self.label_bars, embargo=embargo)


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
"""Told the fold (from 0), the part done, and the number of parts."""


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
        observer: told of progress.
        should_stop: asked after each part; what of a fold is not done by then is lost.

    Raises:
        ValueError: if an episode does not fit into the windows of a fold, or a seed diverges.
    """
    trainer = FoldTrainer(config, env, [cut(market, split.train) for split in plan.splits], validation.folds_at_once)
    missing = [i for i in range(len(plan.splits)) if not (fold_folder(output, i) / FOLD_FILE).exists()]
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


def read_history(data: DataConfig, validation: ValidationConfig) -> tuple[Market, Plan, tuple[str, ...]]:
    """Return the bars to validate on, with the features of all that came before them, the plan, and notes on both.

    The tickers that `validation.liquid` keeps are chosen on the first fold's training rows alone.

    Raises:
        ValueError: naming what cannot be read, or why no plan fits.
    """
    panel = read_panel(data)
    rows = panel.find_rows(data.start, data.end)
    notes = panel.notes
    if validation.liquid is not None and validation.liquid < panel.num_assets:
        train = validation.plan(panel.times[rows]).splits[0].train
        symbols = most_traded(panel.window(rows.start + train[0].start, rows.start + train[-1].stop), validation.liquid)
        first, last = (str(panel.times[rows.start + row])[:10] for row in (train[0].start, train[-1].stop - 1))
        notes = (
            *notes,
            f"Of {panel.num_assets} tickers the {len(symbols)} that traded most dollars from {first} to {last}, the"
            " training rows of the first fold.",
        )
        data = dataclasses.replace(data, tickers=symbols)
    market = read_market(data).window(rows.start, rows.stop)
    return market, validation.plan(market.times, market.feature_names), notes


def most_traded(panel: Panel, count: int) -> tuple[str, ...]:
    """Return the tickers with the highest median of dollars traded in a bar, most first; a missing bar counts as 0."""
    dollars = np.nan_to_num(np.asarray(panel.close, np.float64) * np.asarray(panel.volume, np.float64))
    dollars = np.median(np.where(np.asarray(panel.tradable), dollars, 0), axis=0)
    order = np.argsort(-dollars, kind="stable")[:count]
    return tuple(panel.symbols[i] for i in order if dollars[i] > 0)


def start_output(settings: RunSettings, validation: ValidationConfig) -> tuple[Path, str]:
    """Return the folder of a validation and the text of its settings, which lies in it as `validation.yaml`.

    Raises:
        ValueError: if the folder is a file, or holds a validation and it is not to be resumed, or one with other
            settings, or none and it is.
    """
    if settings.output is None:
        raise ValueError("A validation needs a folder of its own; name it with --output.")
    output = Path(settings.output)
    check_output(output, resume=False)
    content = {"validation": dataclasses.asdict(validation), **dataclasses.asdict(settings)}
    now = {name: value for name, value in content.items() if name not in _OF_ONE_CALL}
    text = yaml.safe_dump(plain(now), sort_keys=False, allow_unicode=True)
    file = output / SETTINGS_FILE
    if settings.resume != file.exists():
        raise ValueError(
            f"There is no validation to resume in {output}."
            if settings.resume
            else f"The folder {output} already holds a validation. Give another --output, or --resume to go on with it."
        )
    if settings.resume and (before := file.read_text(encoding="utf-8")) != text:
        lines = set(text.splitlines()) ^ set(before.splitlines())
        raise ValueError(
            f"The validation in {output} was started with other settings:"
            f" {'; '.join(sorted(line.strip() for line in lines))}. Give the same ones to resume, or another --output."
        )
    output.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return output, text


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
            row |= {PREFIX + name: [_number(score[name]) for score in scores] for name in scores[0]}
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
        return [str(self._market.times[row])[:10] for row in (window.start, window.stop - 1)]


def read_fold(output: Path, fold: int, num_seeds: int) -> Fold:
    """Return a fold that is done.

    Raises:
        ValueError: if the agents cannot be read or are not what was written.
    """
    folder = fold_folder(output, fold)
    facts = json.loads((folder / FOLD_FILE).read_text(encoding="utf-8"))
    agents = tuple(load_policy(_agent_folder(folder, seed)) for seed in range(num_seeds))
    return Fold(agents=agents, chosen=facts["chosen_seed"], facts=facts)


def _agent_folder(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def score_on(agents: Sequence[Agent], market: Market, window: Window, env: TradingEnv) -> list[dict[str, float]]:
    """Return `sharpe` and `total_return`, net of costs, of agents of one fold over the bars of a window.

    Each plays its likeliest actions from an account in cash, from the close before the window on.
    """
    span = market.window(max(window.start - 1, 0), window.stop)
    env = TradingEnv(dataclasses.replace(env.config, episode_length=span.num_bars - 1))
    params = env.default_params(agents[0].with_own_sectors(span))
    runner, params = hand_over(env, params, None, 0)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *[agent.params for agent in agents])
    equity = np.asarray(_equity(env, agents[0].network, span.num_bars - 1, stacked, params, runner), np.float64)
    cash = np.full((len(agents), 1), env.config.initial_cash)
    returns = [simple_returns(one) for one in np.concatenate([cash, equity], axis=1)]
    return [{"sharpe": sharpe(one, env.config.bars_per_year), "total_return": total_return(one)} for one in returns]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _equity(
    env: TradingEnv, network: Network, num_steps: int, agents: AgentParams, params: EnvParams, runner: Runner
) -> jax.Array:
    """Return `[N, num_steps]` equity of N agents."""
    play = lambda agent: play_agent(env, network, num_steps, agent, params, runner)[1]["equity"][:, 0]  # noqa: E731
    return jax.vmap(play)(agents)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
