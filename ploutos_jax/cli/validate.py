"""Train from scratch on every fold of a history, and show the result on bars that were never trained on.

ploutos validate                                                          synthetic data, walk-forward
ploutos validate --data data/sp500.parquet --liquid 50 --num-seeds 5      walk-forward: 5 years, 1, 1
ploutos validate --scheme combinatorial --folds 6 --test-folds 2          purged cross-validation

Takes every setting of training besides its own; --help lists those that matter first, --help-all every one. A
validation that was stopped goes on with the same command and --resume; folds that are done are not done again.
"""

import contextlib
import dataclasses
import os
import platform
import shlex
import time
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

from ploutos_jax.cli.beginning import describe_bars, describe_machine, describe_start, warn
from ploutos_jax.cli.device import configure
from ploutos_jax.cli.short_help import HELP, describe_rest, settings_in_short
from ploutos_jax.cli.signals import Interruption
from ploutos_jax.cli.terminal import result_console, resumable, writing
from ploutos_jax.env.limits import describe_limits
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.inference.sharpe import read_trials
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.evaluate.report.write import metrics_table, write_report
from ploutos_jax.experiment.validation.config import (
    History,
    ValidationConfig,
    default_output,
    read_history,
    start_output,
)
from ploutos_jax.experiment.validation.folds import Estimate, run_folds
from ploutos_jax.experiment.validation.result import fold_rows, judge, stitch_paths, write_result
from ploutos_jax.market.display import plural
from ploutos_jax.runs.command_line import REGISTRY, spell
from ploutos_jax.runs.older import translate_flags
from ploutos_jax.runs.settings import RunSettings, naming_source, parse_settings, source_of
from ploutos_jax.train.run.lock import locked


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    if any(word in HELP for word in args):
        return _help(args)
    words = spell(translate_flags(args), ValidationConfig, RunSettings)
    validation, rest = tyro.cli(ValidationConfig, args=words, return_unknown_args=True, registry=REGISTRY)
    settings = parse_settings(rest)
    if settings.output is None:
        settings = dataclasses.replace(settings, output=default_output(resume=settings.resume))
    configure(settings.device, deterministic=settings.deterministic)
    console = Console(quiet=settings.quiet, soft_wrap=True, markup=False, highlight=False)
    console.print(describe_start(settings, Path(settings.output or "")))
    warn(describe_machine(settings), [])
    with naming_source(source_of(settings), settings.data):
        history = read_history(settings.data, validation, settings.env.episode_length)
    validation = history.validation
    warn(describe_bars(settings, history.market), [])
    for note in history.notes:
        console.print(f"Data: {note}", style="dim")
    for note in describe_limits(settings.env, history.market):
        console.print(f"Rules: {note}")
    env = TradingEnv(settings.env)
    advice = "Folds that are done stay; make room, then go on with --resume."
    with writing(f"The validation {settings.output}", advice):
        output, text = start_output(settings, validation)
        with resumable(output), locked(output):
            return _run(args, settings, validation, history, env, output, text, console)


def _run(
    args: list[str],
    settings: RunSettings,
    validation: ValidationConfig,
    history: History,
    env: TradingEnv,
    output: Path,
    text: str,
    console: Console,
) -> int:
    """Train what is missing, and write the result down; return the exit code."""
    market, plan, notes, _, chosen_on = history
    console.print(
        f"{plural(len(plan.splits), 'fold')} of {plural(market.num_assets, 'asset')}, {market.num_features} features,"
        f" {plural(settings.train.num_seeds, 'seed')} each; {output}"
    )
    console.print(describe_windows(validation, market.num_bars))
    progress = FoldProgress(len(plan.splits), validation.stages, console)

    with Interruption(settings.minutes) as interruption:
        folds = run_folds(
            plan,
            market,
            env,
            settings.train,
            validation,
            output,
            settings=text,
            observer=progress.tell,
            announce=progress.announce,
            should_stop=interruption.should_stop,
        )
    if folds is None:
        why = f"its {settings.minutes:g} minutes (--minutes) are over" if interruption.timed_out else "asked to"
        console.print(
            f"Stopped ({why}); continue with the same command and --resume. Folds that are done are in {output}."
        )
        return 130 if interruption.interrupted else 0

    paths = stitch_paths(plan, folds, market, settings.env, chosen_on=chosen_on)
    found = read_trials(output)
    trials = found.count
    verdicts = [judge(way, trials) for way in paths]
    rows = fold_rows(paths, folds, market)
    facts = _facts(args, settings, validation, notes, trials, folds, market)
    write_result(output, paths, rows, verdicts, facts)
    first = paths[0]
    name, ledger = next(iter(first.strategies.items()))
    others = {other: one for other, one in first.strategies.items() if other != name} | first.baselines
    write_report(output / "report", ledger, others, trials=found, facts=facts, overwrite=True)
    final = result_console()
    sample = describe_provenance(ledger.provenance)
    final.print(f"\n{sample} Net of costs, {str(ledger.times[0])[:10]} to {str(ledger.times[-1])[:10]}:", markup=False)
    shown = {**first.strategies, **first.baselines}
    final.print(metrics_table({each: summarize(one) for each, one in shown.items()}))
    final.print(f"\nIn full: {output / 'summary.md'} and {output / 'report' / 'report.html'}")
    return 0


def _help(args: list[str]) -> int:
    """Print the settings of a validation, and those that it shares with training; return the exit code."""
    for kind in (ValidationConfig, RunSettings) if "--help-all" in args else (ValidationConfig,):
        with contextlib.suppress(SystemExit):
            tyro.cli(kind, args=["--help"], registry=REGISTRY, config=(tyro.conf.OmitArgPrefixes,))
    if "--help-all" not in args:
        print(f"\nShared with training, those that matter first:\n\n{settings_in_short(args)}\n")
        print(describe_rest())
    return 0


def describe_windows(validation: ValidationConfig, num_bars: int) -> str:
    """Return in a sentence how a history is split."""
    if validation.scheme != "walk-forward":
        tested = f", {validation.test_folds} tested at a time" if validation.scheme == "combinatorial" else ""
        return f"Windows: {validation.folds} blocks of {num_bars:,} bars{tested}."
    spans = (validation.train_window, validation.validation_window, validation.test_window)
    train, chosen, tested = (f"{int(span):,} bars" if span and span.isdigit() else span for span in spans)
    return (
        f"Windows: trained on {train}, chosen on the next {chosen}, tested on the next {tested}, of {num_bars:,} bars"
        " (--train-window, --validation-window, --test-window)."
    )


class FoldProgress:
    """What a person is told while folds are trained: how long it will take, what is done, what is left."""

    def __init__(self, folds: int, stages: int, console: Console) -> None:
        self._folds, self._stages, self._console = folds, stages, console
        self._left, self._done = folds * stages, 0
        self._began = self._first = time.perf_counter()
        self._expected = 0.0

    def announce(self, estimate: Estimate) -> None:
        """Say how long the training will take."""
        self._left, self._expected = estimate.folds * self._stages, estimate.seconds
        self._began = time.perf_counter()
        done = self._folds - estimate.folds
        before = f"{done} of {self._folds} folds are done already. " if done else ""
        self._console.print(
            f"{before}About {_minutes(estimate.seconds)} of training for {plural(estimate.folds, 'fold')}, by one"
            f" update timed here ({estimate.update_seconds:.2g} s, {estimate.updates:,} a fold); scoring comes on top."
        )

    def tell(self, fold: int, stage: int, stages: int) -> None:
        """Say that a part of a fold is done."""
        self._done += 1
        now = time.perf_counter()
        spent, missing = now - self._began, max(self._left - self._done, 0)
        if self._done == 1:  # compiling what scores is in it, and comes once
            self._first, left = now, self._expected * missing / self._left
        else:
            left = (now - self._first) / (self._done - 1) * missing
        self._console.print(
            f"Fold {fold + 1} of {self._folds}: part {stage} of {stages} done, {_minutes(spent)}, about"
            f" {_minutes(left)} left."
        )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} minutes"


def _facts(
    args: list[str],
    settings: RunSettings,
    validation: ValidationConfig,
    notes: tuple[str, ...],
    trials: int,
    folds: Any,
    market: Any,
) -> dict[str, str]:
    steps = folds[0].facts["timesteps_per_seed"]
    return {
        "scheme": validation.scheme,
        "data": f"{settings.data.data}, {market.num_assets} tickers; {' '.join(notes)}",
        "command": f"python scripts/validate.py {shlex.join(args)}",
        "training": f"{len(folds)} folds, {settings.train.num_seeds} seeds each, {steps:,} steps for each seed",
        "trials": f"{trials} (seeds times folds times checkpoints that were scored)",
        "time": f"{sum(fold.facts['seconds'] for fold in folds) / 60:.1f} minutes",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {jax.default_backend()}, jax {jax.__version__}",
    }
