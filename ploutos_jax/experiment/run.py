"""A run from settings to score: read the bars, train, score on bars held out, project, and write it all down."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.ensemble import ensemble
from ploutos_jax.datasets.samplers import weigh_starts
from ploutos_jax.datasets.training import TrainingData, read_training
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.backtest.oracles.expected import expected_edge_of
from ploutos_jax.evaluate.backtest.run import RANDOM, backtest, baselines
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.reference import KEY, Reference
from ploutos_jax.experiment.measured import with_measured_sizes
from ploutos_jax.experiment.tracked import tracked
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.hints import HINT_FEATURE
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.runs.settings import RunSettings, differences, naming_source, source_of
from ploutos_jax.train.checkpoints.export import write_named
from ploutos_jax.train.early_stopping import StoppingRules
from ploutos_jax.train.evolving import best_member
from ploutos_jax.train.held_out import HeldOut
from ploutos_jax.train.hosts import Hosts
from ploutos_jax.train.learning.rollout_metrics import projected_month, recent_growth
from ploutos_jax.train.loop import train_seeds
from ploutos_jax.train.outlook import MONTHS, Outlook
from ploutos_jax.train.population import mean_and_interval
from ploutos_jax.train.progress import Observer
from ploutos_jax.train.run.figures import read_figures
from ploutos_jax.train.run.folder import add_to_summary, claimed_output
from ploutos_jax.train.run.lock import locked
from ploutos_jax.train.run.loggers import Logger

AGENT, ENSEMBLE = "agent", "ensemble"
"""The seeds of a run as one agent, in scores."""

Score = Mapping[str, Any]
"""The figures of one strategy over the span, see `summarize`."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training alone leaves.

    Attributes:
        agents: one for each seed, in their order.
        reason: why a rule of the settings ended the run before its last update, or None.
    """

    agents: tuple[Agent, ...]
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class ExperimentResult:
    """What came of a run.

    Attributes:
        agents: one for each seed, in their order.
        output: the run folder; its `summary.json` holds the scores of the agents and the projection, too.
        scores: the figures of `agent` (the mean of the seeds, where there are several) and of every baseline; with
            several seeds those of `ENSEMBLE`, too.
        first: first day of the bars scored on.
        last: last day of them.
        in_sample: whether those are the training bars, because none were held out; such a score proves nothing.
        scores_by_seed: the figures of each agent by its seed.
        interval: 95 % interval over the seeds of each figure, as (low, high) or None; empty with one seed.
        projection: gain in a month of so many trading days if the account grew as in the last updates of training, a
            fraction and in sample; empty where the run holds no growth.
        reason: why a rule of the settings ended the run before its last update, or None.
        ledgers: the accounts over the span: of `AGENT`, which is the ensemble where there are several seeds, and of
            every baseline.
        promised: in a market whose hint promises a known part of each return, what the positions of each strategy were
            promised in a year net of costs, luck left out, see `expected_edge_of`; the mean of several agents. Empty
            elsewhere.
    """

    agents: tuple[Agent, ...]
    output: Path
    scores: Mapping[str, Score]
    first: str
    last: str
    in_sample: bool
    scores_by_seed: Mapping[int, Score]
    interval: Mapping[str, Any]
    projection: Mapping[int, float]
    reason: str | None = None
    ledgers: Mapping[str, Ledger] = dataclasses.field(default_factory=dict, repr=False)
    promised: Mapping[str, float] = dataclasses.field(default_factory=dict)


def run_experiment(
    settings: RunSettings, *, observers: Sequence[Observer] = (), should_stop: Callable[[], bool] = lambda: False
) -> ExperimentResult:
    """Train as settings say, with a score on bars held out now and then, and score the agents at the end.

    Nothing is printed. `settings.device`, `deterministic` and `quiet` are for the command line: choose the device by
    JAX's own settings before the call.

    Args:
        settings: of the run; `RunSettings(data=DataConfig("bars.parquet"), output="run")`, say.
        observers: called with the new figures after each call of the compiled program.
        should_stop: asked then; True ends the training with a checkpoint, and the agents are scored as they are.

    Raises:
        ValueError: if the data, the settings or the run folder cannot be what is asked for.
        DivergedError: if training diverges.
    """
    with prepared_output(settings) as output:
        data = read_data(settings, output)
        settings = with_measured_sizes(settings, data, output)
        with tracked(settings, output) as told:
            trained = train_agents(
                settings, data, output, observers=observers, should_stop=should_stop, loggers=told.loggers
            )
            result = score_agents(settings, data, trained, output)
            told.publish(result.agents, result.scores[AGENT], None)
        return result


@contextlib.contextmanager
def prepared_output(settings: RunSettings) -> Iterator[Path]:
    """Give the run folder, known to be one that these settings may start in or, to resume, go on in.

    A default one is taken from this moment on, and given back if nothing has been written into it by the end.

    Raises:
        ValueError: if it is not.
    """
    with claimed_output(settings.output, resume=settings.resume) as output:
        if settings.resume and (changed := differences(settings, output)):
            raise ValueError(
                f"The run in {output} was started with other settings: {'; '.join(changed)}. Give the same ones to"
                " resume, or another --output."
            )
        yield output


def read_data(settings: RunSettings, output: Path) -> TrainingData:
    """Return what to train on.

    Raises:
        ValueError: if it cannot be; of a run that goes on the message names the run, and how to say where a file is.
    """
    with naming_source(source_of(settings, output), settings.data):
        return read_training(settings.data, refresh=settings.train.market_refresh is not None)


def train_agents(
    settings: RunSettings,
    data: TrainingData,
    output: Path,
    *,
    observers: Sequence[Observer] = (),
    should_stop: Callable[[], bool] = lambda: False,
    notes: Sequence[str] = (),
    loggers: Sequence[Logger] = (),
) -> Trained:
    """Train one agent for each seed, scored now and then on what `data` holds for that.

    Args:
        settings: of the run.
        data: of `read_training`.
        output: the run folder.
        observers: called with the new figures after each call of the compiled program.
        should_stop: asked then; True ends the training with a checkpoint.
        notes: lines that the text log of the run folder begins with.
        loggers: further receivers of the figures.
    """
    env = TradingEnv(settings.env)
    earlier = read_figures(output) if settings.resume and Hosts.here().is_first else []
    rules = StoppingRules(
        settings.episodes, minutes=settings.minutes, until_converged=settings.until_converged, rows=earlier
    )
    agents = train_seeds(
        settings.train,
        data.market,
        env,
        params=_params(env, data, settings.data.stress_prob),
        draw=data.draw if settings.train.market_refresh is not None else None,
        output=output,
        settings=dataclasses.asdict(settings),
        resume=settings.resume,
        observers=[*observers, rules],
        should_stop=lambda: should_stop() or rules.should_stop(),
        held_out=None if data.to_score is None else _held_out(data, data.to_score, settings.until_converged),
        notes=notes,
        max_updates_per_call=rules.max_updates_per_call,
        loggers=loggers,
        devices=settings.devices_wanted,
    )
    return Trained(agents, rules.reason)


def score_agents(settings: RunSettings, data: TrainingData, trained: Trained, output: Path) -> ExperimentResult:
    """Play agents and baselines over the bars held out (the training bars where there are none).

    The scores of the agents and the projection are added to the run's `summary.json`. With `settings.model_name` the
    agent, or the ensemble of several, is written to files of that name, too.
    """
    span = data.market if data.held_out is None else data.held_out
    # In sample, the bars before the training span are still there for rules, where it is one span of the history.
    is_one_span = data.draw is None and settings.data.spans is None
    history = data.history if data.held_out is not None or is_one_span else data.market
    played = [backtest(agent, agent.led_by(span, history)) for agent in trained.agents]
    by_seed = [summarize(ledger) for ledger in played]
    score, interval = (by_seed[0], {}) if len(by_seed) == 1 else mean_and_interval(by_seed)
    first, last = day(span, 0), day(span, -1)
    content: dict[str, Any] = {"final_score": score, "final_score_bars": {"first": first, "last": last}}
    content |= {} if trained.reason is None else {"ended_early": trained.reason}
    content |= {KEY: Reference.of(data.market, played[0]).to_plain()}
    together, shown = {}, played[0]
    if len(by_seed) > 1:
        joint = ensemble(trained.agents)
        shown = backtest(joint, joint.led_by(span, history), name=ENSEMBLE)
        together = {ENSEMBLE: summarize(shown)}
        content |= {"score_ensemble": together[ENSEMBLE]}
        rows = [{"seed": seed, **one} for seed, one in zip(settings.train.seeds, by_seed, strict=True)]
        content |= {"score_by_seed": rows, "score_mean": score, "score_interval_95": interval}
    if settings.train.evolution.population is not None:
        content |= _of_population(settings, output, by_seed)
    if settings.model_name is not None:
        joined = trained.agents[0] if len(by_seed) == 1 else ensemble(trained.agents)
        write_named(joined, settings.model_name, {"metrics": score, "configuration": dataclasses.asdict(settings)})
    with locked(output):
        others = baselines(history, settings.env, span.times[0], span.times[-1])
        promised = _promised(played, others, span, settings.env)
        add_to_summary(output, content | ({"promised": promised} if promised else {}))
        projection = _project(output, span.calendar)
    return ExperimentResult(
        agents=trained.agents,
        output=output,
        scores={AGENT: score, **together} | {name: summarize(ledger) for name, ledger in others.items()},
        first=first,
        last=last,
        in_sample=data.held_out is None,
        scores_by_seed=dict(zip(settings.train.seeds, by_seed, strict=True)),
        interval=interval,
        projection=projection,
        reason=trained.reason,
        ledgers={AGENT: shown, **others},
        promised=promised,
    )


def _of_population(settings: RunSettings, output: Path, by_seed: Sequence[Score]) -> dict[str, Any]:
    """Return which member of a population is its best, by training bars alone, and how it does on those held out."""
    rows = read_figures(output)
    best = best_member(rows[-1]) if rows else None
    if best is None:
        return {}
    names = settings.train.evolution.population_numbers
    numbers = {name: rows[-1][f"{name}_by_seed"][best] for name in names}
    found = {"agent": best, "numbers": numbers, "final_score": by_seed[best]}
    return {"best_member": found}


def _promised(
    played: Sequence[Ledger], others: Mapping[str, Ledger], span: Market, config: EnvConfig
) -> dict[str, float]:
    """Return what a hint promised to the agents, on average, and to the rules; empty where there is none."""
    if span.labels is None or span.labels.hint is None or HINT_FEATURE not in span.feature_names:
        return {}

    def net(ledger: Ledger) -> float:
        return expected_edge_of(ledger, span, fill=config.fill).net

    agent = sum(map(net, played)) / len(played)
    return {"agent": agent} | {name: net(ledger) for name, ledger in others.items() if name != RANDOM}


def day(market: Market, row: int) -> str:
    """Return the day of a bar, with the time of day if it has one."""
    return name_moment(market.times[row])


def _params(env: TradingEnv, data: TrainingData, stress_prob: float) -> EnvParams | None:
    """Return numbers with which a share of the episodes begins on stressed copies; None where there are no copies."""
    if data.stressed_from is None:
        return None
    params = env.default_params(with_sectors(data.market))
    return params.replace(starts=jnp.asarray(weigh_starts(params.starts, data.stressed_from, stress_prob)))


def _held_out(data: TrainingData, span: Market, ends_training: bool) -> HeldOut:
    """Return how the agent is scored during training: by its Sharpe ratio net of costs, None where it has none.

    An agent that never trades has none, and is not taken for better than one that lost.
    """

    def score(agent: Agent) -> dict[str, float | None]:
        figures = summarize(backtest(agent, agent.led_by(span, data.history)))
        sharpe = figures["sharpe"]
        score = sharpe if sharpe is not None and math.isfinite(sharpe) else None
        return {
            "score": score,
            "sharpe": score,
            "total_return": figures["total_return"],
            "max_drawdown": figures["max_drawdown"],
        }

    return HeldOut(score, day(span, 0), day(span, -1), ends_training)


def outlook_of(settings: RunSettings, calendar: Calendar) -> Outlook | None:
    """Return the monthly gain that a run aims at in a market of that calendar, or None where it aims at none."""
    target = settings.monthly_target
    return None if target is None else Outlook(target, _bars_per_day(calendar))


def _bars_per_day(calendar: Calendar) -> float:
    return calendar.bars_per_year / calendar.days_per_year


def _project(output: Path, calendar: Calendar) -> dict[int, float]:
    """Return the gain in a month for each of its lengths; it goes into the summary, too."""
    growth = recent_growth(read_figures(output))
    if growth is None:
        return {}
    months = {days: projected_month(growth, days, _bars_per_day(calendar)) for days in MONTHS}
    content = {f"month_of_{days}_days_in_sample": value for days, value in months.items()}
    add_to_summary(output, {"projection": content})
    return months
