"""Train an agent, score it on bars it never saw, and say the result.

ploutos train                                 synthetic data, no GPU needed, about two minutes
ploutos train --data data/sp500.parquet       your own bars
ploutos train --detach                        in the background, as a job that `ploutos serve` shows
ploutos train --help                          the settings that matter first; --help-all lists every one
"""

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from ploutos_jax.cli.beginning import describe_bars, describe_machine, describe_start, next_command, warn
from ploutos_jax.cli.closing import answers, pictures
from ploutos_jax.cli.detach import FLAG, start_job, without_flag
from ploutos_jax.cli.hosts import ending_together
from ploutos_jax.cli.short_help import help_of_train, wants_short
from ploutos_jax.cli.signals import Interruption
from ploutos_jax.cli.terminal import result_console, resumable, telling_of_files, writing
from ploutos_jax.datasets.training import TrainingData
from ploutos_jax.env.broker.instruments import describe_costs
from ploutos_jax.env.limits import describe_limits
from ploutos_jax.experiment.measured import with_measured_sizes
from ploutos_jax.experiment.pages import PICTURE, write_pages
from ploutos_jax.experiment.run import (
    AGENT,
    ENSEMBLE,
    ExperimentResult,
    day,
    outlook_of,
    prepared_output,
    read_data,
    score_agents,
    train_agents,
)
from ploutos_jax.experiment.tracked import tracked
from ploutos_jax.market.display import plural
from ploutos_jax.market.long.store import bytes_per_row
from ploutos_jax.runs.settings import RunSettings, parse_settings
from ploutos_jax.train.progress import ProgressBar

_MEGABYTES = 2000
"""What a run in the background is taken to need."""


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    if wants_short(args):
        print(help_of_train(args))
        return 0
    settings = parse_settings(without_flag(args))
    if FLAG in args:
        return start_job(["train", *without_flag(args)], settings.output, memory_mb=_MEGABYTES)
    with ending_together(settings) as place:
        if place > 0:
            return _help(settings)
        with prepared_output(settings) as output:
            return _run(settings, output)


def _run(settings: RunSettings, output: Path) -> int:
    """Train and score, telling both; return the exit code."""
    said: list[str] = []
    console = Console(quiet=settings.quiet, soft_wrap=True, markup=False, highlight=False)

    def tell(line: str, style: str | None = None) -> None:
        console.print(line, style=style)
        said.append(line)

    tell(describe_start(settings, output))
    warn(describe_machine(settings), said)
    with telling_of_files(quiet=settings.quiet):
        data = read_data(settings, output)
    warn(describe_bars(settings, data.market), said)
    for note in data.market.notes:
        tell(f"Data: {note}", "dim")
    for note in describe_limits(settings.env, data.market):
        tell(f"Rules: {note}")
    tell(_describe(data))
    tell(f"Costs beside spread and slippage: {describe_costs(settings.env, data.market)}.")
    settings = with_measured_sizes(settings, data, output, tell)
    outlook = outlook_of(settings, data.market.calendar)
    with tracked(settings, output) as told:
        progress = ProgressBar(quiet=settings.quiet, outlook=outlook, minutes=settings.minutes)
        with Interruption() as interruption, progress as bar:
            trained = train_agents(
                settings,
                data,
                output,
                observers=[bar],
                should_stop=interruption.should_stop,
                notes=said,
                loggers=told.loggers,
            )
        if interruption.interrupted:
            told.stopped = True
            console.print(f"Interrupted; continue with the same command and --resume. Checkpoint in {output}.")
            return 130
        if trained.reason is not None:
            console.print(f"Stopped before the last update: {trained.reason}.")
        advice = "Checkpoints that are there stay whole; make room, then go on with --resume."
        with resumable(output), writing(f"The run folder {output}", advice):
            result = score_agents(settings, data, trained, output)
            page = write_pages(settings, data, result) if settings.report else None
        told.publish(result.agents, result.scores[AGENT], None if page is None else page.parent)
    _show(settings, result, page, output, console)
    return 0


def _show(settings: RunSettings, result: ExperimentResult, page: Path | None, output: Path, console: Console) -> None:
    """Print what came of a run, and what to do next."""
    seen = "the training bars (in sample, proves nothing)" if result.in_sample else "bars never trained on"
    # Brings Matplotlib, which training does without.
    from ploutos_jax.evaluate.report.write import metrics_table

    final = result_console()
    final.print(f"\nScore on {seen}, {result.first} to {result.last}, net of costs:")
    final.print(metrics_table(_rows(result)))
    final.print()
    final.print(answers(result))
    final.print(_projection(result))
    if not settings.quiet:
        for picture in pictures(result, console):
            final.print()
            final.print(picture)
    if page is not None:
        final.print(f"\nReport, to be opened in a browser: {page.absolute()}")
        final.print(f"Curves of the training: {(output / PICTURE).absolute()}")
    if settings.model_name is not None:
        from ploutos_jax.train.checkpoints.export import named_files

        model, metadata = named_files(settings.model_name)
        final.print(f"Model: {model}\nMetadata: {metadata}")
    if settings.data.device_bars is None:
        final.print("\nThe next command says what crashes, halts and wider spreads would do to it.")
    final.print(f"Next: {next_command(settings, output)}")


def _help(settings: RunSettings) -> int:
    """Compute a part of a run that another host writes down; return the exit code."""
    output = Path(settings.output or ".")
    data = read_data(dataclasses.replace(settings, resume=False), output)
    with Interruption() as interruption:
        train_agents(settings, data, output, should_stop=interruption.should_stop)
    return 130 if interruption.interrupted else 0


def _describe(data: TrainingData) -> str:
    training = data.market
    span = f"{training.num_bars} bars ({day(training, 0)} to {day(training, -1)})"
    if data.num_paths > 1:
        span = f"{data.num_paths} paths of {training.num_bars // data.num_paths} bars"
    bars = training.calendar.describe()
    told = f"Training on {plural(training.num_assets, 'asset')}, {span}, {bars}; {training.num_features} features."
    most = None if training.labels is None else training.labels.device_bars
    if most is None or most >= training.num_bars:
        return told
    size = most * bytes_per_row(training.num_assets, training.num_features) / 2**20
    return (
        f"{told} They lie in files: {most:,} bars, {size:,.0f} MiB, are on the device at a time, and as many are on"
        " their way there."
    )


def _rows(result: ExperimentResult) -> dict[str, Any]:
    """Return the rows of the final table; those of several seeds say how far the agents lie apart."""
    if len(result.agents) == 1:
        return dict(result.scores)
    others = {name: score for name, score in result.scores.items() if name != "agent"}
    ends = {
        name: {key: None if pair is None else pair[i] for key, pair in result.interval.items()}
        for i, name in enumerate(("  95 % from", "  95 % to"))
    }
    agent = {f"agent, mean of {len(result.agents)}": result.scores["agent"], **ends}
    seeds = {f"  seed {seed}": score for seed, score in result.scores_by_seed.items()}
    # Stands with the agents, of which it is made.
    together = {f"ensemble of {len(result.agents)}": others.pop(ENSEMBLE)} if ENSEMBLE in others else {}
    return agent | seeds | together | others


def _projection(result: ExperimentResult) -> str:
    """Return what the growth of the last updates in training would make in a month, in words."""
    if not result.projection:
        return "\nNo projection: the run holds no growth in training."
    months = result.projection.items()
    words = ", ".join(f"{value:+.2%} in a month of {days} trading days" for days, value in months)
    return f"\nIn sample, so no forecast: growing as in the last updates of training it would be {words}."
