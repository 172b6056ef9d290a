"""Try many settings, choose on bars apart from the test, and say what the best is worth after so many trials.

ploutos sweep --over learning_rate=3e-4,1e-3,3e-3 --over spread_bps=1,5        numbers: all as one program
ploutos sweep --over learning_rate=1e-4:1e-2:log --over num_envs=32,64 --trials 16     a study: extra sweep
ploutos sweep --checkpoint RUN --over spread_bps=1,5,20                        a trained agent under other costs

Takes every setting of training besides its own. A study that was stopped goes on with --output FOLDER --resume, its
settings those that it was started with.
"""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import tyro
import yaml
from rich.console import Console

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.orders import harmless
from ploutos_jax.cli.short_help import HELP, describe_rest, settings_in_short
from ploutos_jax.cli.sweep_settings import read_sweep
from ploutos_jax.cli.terminal import result_console, resumable, writing
from ploutos_jax.datasets.config import read_market
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest, baselines
from ploutos_jax.evaluate.inference.trials import Trials
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.experiment.study.choosing import Choosing, choosing_bars
from ploutos_jax.experiment.study.config import PICTURE, SETTINGS, TABLE, TRIAL_PREFIX, SweepConfig, default_output
from ploutos_jax.experiment.study.grid import is_one_program, point_rows, sweep_grid
from ploutos_jax.experiment.study.outcome import Table, best_of, study_table, trials_of
from ploutos_jax.experiment.study.ray_study import StudyConfig, load_ray, run_study
from ploutos_jax.experiment.study.space import Space, grid_of, read_space
from ploutos_jax.experiment.study.trial import at_point, run_trial
from ploutos_jax.experiment.sweep import sweep
from ploutos_jax.market.panel import Market
from ploutos_jax.runs.command_line import REGISTRY
from ploutos_jax.runs.settings import RunSettings, data_of_run
from ploutos_jax.train.checkpoints.export import load_agent
from ploutos_jax.train.run.folder import check_output, plain, write_json
from ploutos_jax.train.run.lock import locked

BEST = "best"
_OF_ONE_CALL = ("output", "resume", "quiet", "config", "device", "report", "log", "at_once", "cores", "gpus")


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    if any(word in HELP for word in args):
        return _help(args)
    config, settings = read_sweep(args)
    space = read_space(config.over)
    console = Console(quiet=settings.quiet, soft_wrap=True, markup=False, highlight=False)
    configure(settings.device, deterministic=settings.deterministic)
    if config.checkpoint is not None:
        return _sweep_agent(config, settings, space, console)
    output = Path(settings.output or default_output(resume=settings.resume))
    market = read_market(settings.data)
    bars = choosing_bars(market, settings.data, config.choose, config.embargo)
    narrowed = dataclasses.replace(settings, data=bars.data)
    one_program = config.trials is None and is_one_program(narrowed, space, market)
    if not one_program:
        load_ray()
    check_output(output, resume=False)
    with writing(f"The sweep {output}", "Trials that are done stay; make room, then go on with --resume."):
        _begin(output, config, settings)
        console.print(_describe(bars, output))
        with resumable(output), locked(output):
            table, trials = _tried(config, narrowed, space, market, bars, output, one_program, console)
            return _conclude(narrowed, space, market, bars, output, table, trials)


def _tried(
    config: SweepConfig,
    settings: RunSettings,
    space: Space,
    market: Market,
    bars: Choosing,
    output: Path,
    one_program: bool,
    console: Console,
) -> tuple[Table, Trials]:
    """Try all points; return a row for each trial, and their number."""
    if one_program:
        number = math.prod(map(len, grid_of(space).values()))
        console.print(f"{number} points, {config.at_once or number} at once in one program.")
        table = sweep_grid(settings, space, market, bars, config.at_once)
        harmless(table).to_csv(output / "points.csv", index=False)
        return point_rows(table, list(space)), trials_of(output, table, market.calendar.periods_per_year)
    names = ("scheduler", "grace", "reduction", "cores", "gpus", "at_once")
    options: dict[str, Any] = {name: getattr(config, name) for name in names}
    if config.trials is None:
        number = math.prod(map(len, grid_of(space).values()))
        study = StudyConfig(trials=number, sampler="grid", seed=config.sampler_seed, **options)
    else:
        study = StudyConfig(trials=config.trials, sampler=config.sampler, seed=config.sampler_seed, **options)
    run_study(settings, space, study, output, resume=settings.resume, tell=console.print)
    return study_table(output, list(space)), trials_of(output)


def _conclude(
    settings: RunSettings,
    space: Space,
    market: Market,
    bars: Choosing,
    output: Path,
    table: Table,
    trials: Trials,
) -> int:
    """Write table, picture and the report of the best on the test; print them; return the exit code."""
    from ploutos_jax.evaluate.report.plot_style import to_png
    from ploutos_jax.evaluate.report.sweep_picture import draw_study
    from ploutos_jax.evaluate.report.write import metrics_table, write_report

    final = result_console()
    table = table.sort_values("score", ascending=False, kind="stable")
    harmless(table).to_csv(output / TABLE, index=False)
    best = best_of(table)
    final.print(_shown(table))
    if best is None:
        final.print("\nNo trial has a score: no agent traded on the bars to choose on.")
        return 0
    (output / PICTURE).write_bytes(to_png(draw_study(table, list(space), title=f"Sweep: {output.name}")))
    point = {name: _plain_value(best[name]) for name in space}
    folder = output / str(best["trial"])
    if not str(best["trial"]).startswith(TRIAL_PREFIX):
        # The points of one program leave no run folders: the best is trained once more, as an ordinary run.
        folder = output / BEST
        run_trial(at_point(settings, point), folder)
    agent = load_agent(folder)
    outcome: dict[str, Any] = {"best": point, "score": float(best["score"]), "trials": trials.count}
    outcome["folder"], outcome["points"] = folder.name, len(table)
    if bars.test is not None:
        rules = at_point(settings, point).env
        ledger = backtest(agent, agent.led_by(bars.test, market), env=TradingEnv(rules))
        others = baselines(market, rules, bars.test.times[0], bars.test.times[-1])
        facts = {
            "settings": ", ".join(f"{name}={value}" for name, value in point.items()),
            "trials": f"{trials.count:,}: points, times seeds, times looks at the score, all counted",
            "chosen on": " to ".join(bars.chosen),
            "data": f"{settings.data.data}, {market.num_assets} tickers",
        }
        content = write_report(output / "report", ledger, others, trials=trials, facts=facts, overwrite=True)
        outcome["test"] = {name: summarize(ledger)[name] for name in ("sharpe", "annual_return", "max_drawdown")}
        outcome["deflated_sharpe"] = content["evidence"].get("deflated_sharpe")
        first, last = (str(bars.test.times[row])[:10] for row in (0, -1))
        final.print(f"\nThe best on bars that nothing was chosen by, {first} to {last}, net of costs:")
        final.print(metrics_table({"best": summarize(ledger), **{n: summarize(o) for n, o in others.items()}}))
    write_json(output / "summary.json", plain(outcome))
    found = ", ".join(f"{name}={value}" for name, value in point.items())
    final.print(f"\nBest of {trials.count} trials: {found}; score {best['score']:.3f} where it was chosen.")
    if outcome.get("deflated_sharpe") is not None:
        final.print(
            f"Deflated Sharpe on the test: {outcome['deflated_sharpe']:.1%}, the probability that its true Sharpe ratio"
            f" is above what the best of {trials.count} trials without skill shows."
        )
    final.print(f"In full: {output / TABLE}, {output / PICTURE}, its agent in {folder}")
    return 0


def _sweep_agent(config: SweepConfig, settings: RunSettings, space: Space, console: Console) -> int:
    """Score a trained agent at every point of a grid of costs and rules; return the exit code."""
    agent = load_agent(str(config.checkpoint))
    data = data_of_run(Path(str(config.checkpoint)))
    market = read_market(data, list(agent.feature_names))
    span_from = agent.trained_to if agent.trained_to else None
    table = sweep(agent, market, grid_of(space), span_from)
    output = Path(settings.output or default_output(resume=False))
    output.mkdir(parents=True, exist_ok=True)
    harmless(table).to_csv(output / TABLE, index=False)
    console.print(f"{len(table)} accounts from {span_from or 'the first bar'} on, in one program.")
    shown = table[[*space, "annual_return", "sharpe", "max_drawdown", "turnover", "total_cost"]]
    final = result_console()
    final.print(shown.to_string(index=False))
    _draw_agent(table, list(space), output)
    final.print(f"\nIn full: {output / TABLE}, {output / PICTURE}")
    return 0


def _draw_agent(table: Table, names: list[str], output: Path) -> None:
    from ploutos_jax.evaluate.report.heat_map import heat_map
    from ploutos_jax.evaluate.report.plot_style import to_png
    from ploutos_jax.evaluate.report.sweep_picture import draw_study

    picture = heat_map(table, names[0], names[1]) if len(names) == 2 else draw_study(table, names, "sharpe")
    (output / PICTURE).write_bytes(to_png(picture))


def _begin(output: Path, config: SweepConfig, settings: RunSettings) -> None:
    """Write down what the sweep is, or make sure that the one that goes on is the same.

    Raises:
        ValueError: if the folder holds another sweep, or one and it is not to be resumed, or none and it is.
    """
    content = {**dataclasses.asdict(config), **dataclasses.asdict(settings)}
    now = {name: plain(value) for name, value in content.items() if name not in _OF_ONE_CALL}
    file = output / SETTINGS
    if settings.resume != file.exists():
        raise ValueError(
            f"There is no sweep to resume in {output}."
            if settings.resume
            else f"The folder {output} already holds a sweep. Give another --output, or --resume to go on with it."
        )
    if settings.resume and (before := yaml.safe_load(file.read_text(encoding="utf-8"))) != now:
        other = [name for name in now if before.get(name) != now[name]]
        raise ValueError(
            f"The sweep in {output} was started with other settings of {', '.join(other)}. Give the same ones to"
            " resume, or another --output."
        )
    output.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(now, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _describe(bars: Choosing, output: Path) -> str:
    tested = "no bars are held out for a test" if bars.tested_from is None else f"tested from {bars.tested_from} on"
    return f"Trained {' to '.join(bars.trained)}, chosen on {' to '.join(bars.chosen)}, {tested}; {output}"


def _shown(table: Table) -> str:
    most = 20
    more = f"\n... and {len(table) - most} more" if len(table) > most else ""
    return table.head(most).to_string(index=False, float_format=lambda value: f"{value:.4g}") + more


def _plain_value(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _help(args: list[str]) -> int:
    for kind in (SweepConfig, RunSettings) if "--help-all" in args else (SweepConfig,):
        with contextlib.suppress(SystemExit):
            tyro.cli(kind, args=["--help"], registry=REGISTRY, config=(tyro.conf.OmitArgPrefixes,))
    if "--help-all" not in args:
        print(f"\nShared with training, those that matter first:\n\n{settings_in_short(args)}\n")
        print(describe_rest())
    return 0
