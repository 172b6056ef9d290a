"""Train from scratch on every fold of a history, and show the result on bars that were never trained on.

ploutos validate --data data/sp500.parquet --liquid 50 --num-seeds 5      walk-forward: 5 years, 1, 1
ploutos validate --scheme combinatorial --folds 6 --test-folds 2          purged cross-validation

Takes every flag of training besides its own (`ploutos train --help`). A validation that was stopped goes on
with the same command and --resume; folds that are done are not done again.
"""

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
from ploutos_jax.cli.signals import Interruption
from ploutos_jax.cli.terminal import result_console, resumable, writing
from ploutos_jax.env.limits import describe_limits
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.inference.sharpe import read_trials
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.evaluate.report.write import metrics_table, write_report
from ploutos_jax.experiment.validation.config import History, ValidationConfig, read_history, start_output
from ploutos_jax.experiment.validation.folds import run_folds
from ploutos_jax.experiment.validation.result import fold_rows, judge, stitch_paths, write_result
from ploutos_jax.runs.settings import RunSettings, naming_source, parse_settings, source_of
from ploutos_jax.train.run.lock import locked


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    validation, rest = tyro.cli(ValidationConfig, args=args, return_unknown_args=True)
    settings = parse_settings(rest)
    configure(settings.device, deterministic=settings.deterministic)
    console = Console(quiet=settings.quiet, soft_wrap=True, markup=False, highlight=False)
    if settings.output is not None:
        console.print(describe_start(settings, Path(settings.output)))
    warn(describe_machine(settings), [])
    with naming_source(source_of(settings), settings.data):
        history = read_history(settings.data, validation)
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
    market, plan, notes, chosen_on = history
    began = time.perf_counter()
    console.print(
        f"{len(plan.splits)} folds of {market.num_assets} assets, {market.num_features} features,"
        f" {settings.train.num_seeds} seed(s) each; {output}"
    )

    def tell(fold: int, stage: int, stages: int) -> None:
        minutes = (time.perf_counter() - began) / 60
        console.print(f"Fold {fold + 1} of {len(plan.splits)}: part {stage} of {stages} done, {minutes:.1f} minutes.")

    with Interruption(settings.minutes) as interruption:
        folds = run_folds(
            plan,
            market,
            env,
            settings.train,
            validation,
            output,
            settings=text,
            observer=tell,
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
