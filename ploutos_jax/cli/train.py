"""Train an agent, score it on bars it never saw, and say what came of it.

python scripts/train.py                                 made data, no GPU needed, about two minutes
python scripts/train.py --data data/sp500.parquet       your own bars
python scripts/train.py --help                          every setting
"""

import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from rich.console import Console

from ploutos_jax.agents.agent import Agent
from ploutos_jax.cli.device import configure
from ploutos_jax.cli.signals import Interruption
from ploutos_jax.cli.terminal import ProgressBar, exit_codes, result_console
from ploutos_jax.datasets.samplers import weigh_starts
from ploutos_jax.datasets.training import TrainingData, read_training
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams
from ploutos_jax.evaluate.backtest.run import backtest, baselines
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.write import metrics_table
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import with_sectors
from ploutos_jax.runs.settings import differences, parse_settings
from ploutos_jax.train.early_stopping import StoppingRules
from ploutos_jax.train.held_out import HeldOut
from ploutos_jax.train.loop import train_seeds
from ploutos_jax.train.population import mean_and_interval
from ploutos_jax.train.ppo.rollout_metrics import projected_month, recent_growth
from ploutos_jax.train.run.folder import add_to_summary, choose_output, read_figures


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    settings = parse_settings(args)
    output = choose_output(settings.output, resume=settings.resume)
    if settings.resume and (changed := differences(settings, output)):
        raise ValueError(
            f"The run in {output} was started with other settings: {'; '.join(changed)}. Give the same ones to resume,"
            " or another --output."
        )
    configure(settings.device, deterministic=settings.deterministic)
    console = Console(quiet=settings.quiet, soft_wrap=True, markup=False, highlight=False)
    data = read_training(settings.data, refresh=settings.train.market_refresh is not None)
    training, held_out = data.market, data.held_out
    for note in training.notes:
        console.print(f"Data: {note}", style="dim")
    env = TradingEnv(settings.env)
    console.print(_describe(data))
    earlier = read_figures(output) if settings.resume else []
    rules = StoppingRules(settings.episodes, until_converged=settings.until_converged, rows=earlier)
    with Interruption(settings.minutes) as interruption, ProgressBar(quiet=settings.quiet) as bar:
        agents = train_seeds(
            settings.train,
            training,
            env,
            params=_params(env, data, settings.data.stress_prob),
            draw=data.draw if settings.train.market_refresh is not None else None,
            output=output,
            settings=dataclasses.asdict(settings),
            resume=settings.resume,
            observers=[bar, rules],
            should_stop=lambda: interruption.should_stop() or rules.should_stop(),
            held_out=None if data.to_score is None else _held_out(data.to_score),
        )
    if interruption.interrupted:
        console.print(f"Interrupted; continue with the same command and --resume. Checkpoint in {output}.")
        return 130
    if rules.reason is not None:
        console.print(f"Stopped before the last update: {rules.reason}.")
    span = training if held_out is None else held_out
    rows = _score(agents, span, settings.train.seeds, output)
    history = training if held_out is None else data.history
    others = baselines(history, settings.env, span.times[0], span.times[-1])
    rows |= {name: summarize(ledger) for name, ledger in others.items()}
    seen = "the training bars (in sample, proves nothing)" if held_out is None else "bars never trained on"
    final = result_console()
    final.print(f"\nScore on {seen}, {_day(span, 0)} to {_day(span, -1)}, net of costs:")
    final.print(metrics_table(rows))
    final.print(_projection(output, settings.env.bars_per_year))
    run, report = shlex.quote(str(output)), shlex.quote(str(output / "report"))
    final.print(f"\nNext: python scripts/evaluate.py --checkpoint {run} --output {report}")
    return 0


def _describe(data: TrainingData) -> str:
    training = data.market
    span = f"{training.num_bars} bars ({_day(training, 0)} to {_day(training, -1)})"
    if data.num_paths > 1:
        span = f"{data.num_paths} paths of {training.num_bars // data.num_paths} bars"
    return f"Training on {training.num_assets} assets, {span}, {training.num_features} features."


def _params(env: TradingEnv, data: TrainingData, stress_prob: float) -> EnvParams | None:
    """Return numbers with which a share of the episodes begins on stressed copies; None where there are no copies."""
    if data.stressed_from is None:
        return None
    params = env.default_params(with_sectors(data.market))
    return params.replace(starts=jnp.asarray(weigh_starts(params.starts, data.stressed_from, stress_prob)))


def _held_out(span: Market) -> HeldOut:
    """Return how the agent is scored during training: by its Sharpe ratio net of costs, 0 where it has none."""

    def score(agent: Agent) -> dict[str, float | None]:
        figures = summarize(backtest(agent, span))
        sharpe = figures["sharpe"]
        is_defined = sharpe is not None and math.isfinite(sharpe)
        return {
            "score": sharpe if is_defined else 0.0,
            "total_return": figures["total_return"],
            "max_drawdown": figures["max_drawdown"],
        }

    return HeldOut(score, _day(span, 0), _day(span, -1))


def _score(agents: Sequence[Agent], span: Market, seeds: Sequence[int], output: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of the agents in the final table; results of several seeds are added to the run's summary."""
    scores = [summarize(backtest(agent, span)) for agent in agents]
    bars = {"first": _day(span, 0), "last": _day(span, -1)}
    if len(scores) == 1:
        add_to_summary(output, {"final_score": scores[0], "final_score_bars": bars})
        return {"agent": scores[0]}
    mean, interval = mean_and_interval(scores)
    by_seed = [{"seed": seed, **score} for seed, score in zip(seeds, scores, strict=True)]
    content = {"final_score": mean, "final_score_bars": bars}
    content |= {"score_by_seed": by_seed, "score_mean": mean, "score_interval_95": interval}
    add_to_summary(output, content)
    ends = {
        name: {key: None if pair is None else pair[i] for key, pair in interval.items()}
        for i, name in enumerate(("  95 % from", "  95 % to"))
    }
    agent = {f"agent, mean of {len(scores)}": mean, **ends}
    return agent | {f"  seed {seed}": score for seed, score in zip(seeds, scores, strict=True)}


def _projection(output: Path, bars_per_year: float) -> str:
    """Return what the growth of the last updates in training would make in a month; it goes into the summary, too."""
    growth = recent_growth(read_figures(output))
    if growth is None:
        return "\nNo projection: the run holds no growth in training."
    months = {days: projected_month(growth, days, bars_per_year) for days in (21, 22)}
    content = {f"month_of_{days}_days_in_sample": value for days, value in months.items()}
    add_to_summary(output, {"projection": content})
    words = ", ".join(f"{value:+.2%} in a month of {days} trading days" for days, value in months.items())
    return f"\nIn sample, so no forecast: growing as in the last updates of training it would be {words}."


def _day(market: Market, row: int) -> str:
    return str(market.times[row])[:10]


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
