"""Play a trained agent over a span of bars and write a report next to baselines at the same costs; or compare several.

ploutos evaluate checkpoints/run-1                                     the report goes into the run folder
ploutos evaluate checkpoints/run-1 --ensemble --output report
ploutos evaluate checkpoints/run-1 --scenarios flash_crash,gap_down --severity 0.8 --output report
ploutos evaluate checkpoints/run-1 checkpoints/run-2 --data a.csv b.csv --output reports
ploutos evaluate --compare checkpoints/run-1 checkpoints/run-2 --output comparison
ploutos evaluate checkpoints/run-1 --data data/sp500.parquet --start 2017-01-01 --output report
"""

import dataclasses
import itertools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import numpy as np

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.scored_runs import Run, few, hold_benchmark, notes_of, on_common_bars, read_long, short_names
from ploutos_jax.cli.terminal import result_console, telling_of_files, writing
from ploutos_jax.datasets.config import bars_after, read_panel, split_market
from ploutos_jax.datasets.selection import expand_tickers
from ploutos_jax.env.bounds import Bound, check_bounds, whole
from ploutos_jax.env.broker.instruments import describe_costs
from ploutos_jax.evaluate.backtest.run import backtest, baselines, market_making
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.about import describe_run, making_of
from ploutos_jax.evaluate.report.comparison import write_comparison
from ploutos_jax.evaluate.report.evidence import describe_trials, trials_beside
from ploutos_jax.evaluate.report.overview import scored_of, write_overview
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.evaluate.report.slopes import slopes_of
from ploutos_jax.evaluate.report.write import check_report_folder, metrics_table, write_report
from ploutos_jax.evaluate.stress.table import StressTest, check_scenarios, stress_test, terminal_table
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.stress.apply import SCENARIOS
from ploutos_jax.market.tickers import file_part
from ploutos_jax.runs.command_line import first_as
from ploutos_jax.runs.command_line import read as read_words
from ploutos_jax.runs.settings import data_of_run, naming_source
from ploutos_jax.train.checkpoints.export import load_agent

EVALUATION_BOUNDS = {
    "step": whole(0, 2**31 - 1),
    "agent": whole(0, 10_000),
    "seed": whole(0, 2**31 - 1),
    "market_making": Bound(0, 10_000, below=True),
    "stress": whole(0, 1_000_000),
    "severity": Bound(0, 1),
}
"""Numbers of `Evaluation`."""

_OF_ONE_REPORT = ("stress", "scenarios", "severity", "slopes", "market_making", "tickers")
"""What a report shows of one run and a comparison of several does not."""

_OF_BARS = ("stress", "scenarios", "severity", "slopes", "market_making", "benchmark")
"""What needs all bars of a market at once."""

STRESS_DRAWS = 32
"""Draws of a scenario where scenarios are named and no number of draws."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Score a checkpoint.

    Attributes:
        checkpoint: run folder, or folder of an exported policy; also without the flag, before all others; of several,
            each gets a report of its own over the bars that all have, below a page that compares them.
        compare: run folders to set side by side over the same bars of the assets that all of them have, instead of one
            checkpoint; their folder names name them.
        output: report folder, created by this command; without it the next free RUN/evaluation-N of one checkpoint.
        data: market file or folder, or `synthetic`; the data of the run without it. Of several, every checkpoint is
            scored on each.
        start: first date to score on; without start and end, the bars after those of the training (all bars where
            there are too few).
        end: last date to score on.
        step: update of the checkpoint; the newest without it. In [0, 2,147,483,647].
        best: take the agent with the best held-out score during training.
        agent: which agent of a run with several seeds, by its place from 0. In [0, 10,000].
        ensemble: play all seeds of the run as one agent that trades the mean of their targets.
        benchmark: ticker of the data to hold as a further comparison.
        tickers: tickers whose trades are drawn, such as A,B; the most traded ones without it.
        columns: which column of the data plays which role, such as close=Close/Last,date=Date; those of the run
            without it.
        universe: CSV of ticker, start, end; that of the run without it.
        seed: draw the agent's actions with this seed; its greedy actions without it. In [0, 2,147,483,647].
        market_making: also show a market maker that quotes so many basis points from every close. What it earns assumes
            fills that bars cannot prove; no verdict counts it. In [0, 10,000).
        stress: draws of every scenario of docs/stress.md to lay over the span; 0 leaves the stress test out. In [0,
            1e6].
        scenarios: which of them, such as flash_crash,gap_down; all without it. Needs no --stress, which is then 32.
        severity: of every shock, from 0, the mildest, to 1; drawn for each without it. In [0, 1].
        slopes: also show what one more basis point of spread, slippage, commission and interest does to the result.
        device: where to run.
        overwrite: replace an older report in the output folder.
    """

    output: str | None = None
    checkpoint: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    step: int | None = None
    best: bool = False
    agent: int = 0
    ensemble: bool = False
    benchmark: str | None = None
    tickers: str | None = None
    columns: str | None = None
    universe: str | None = None
    seed: int | None = None
    market_making: float | None = None
    stress: int = 0
    scenarios: str | None = None
    severity: float | None = None
    slopes: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, EVALUATION_BOUNDS)


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = read_words(Evaluation, first_as("--checkpoint", args))
    if bool(wanted.checkpoint) != (len(wanted.compare) < 2) or len(wanted.compare) == 1:
        raise ValueError("Name run folders as --checkpoint, or two and more as --compare.")
    if wanted.compare and len(wanted.data) > 1:
        raise ValueError(
            "--compare sets runs side by side on one --data; for several markets name the runs as --checkpoint."
        )
    unread = [name for name in _OF_ONE_REPORT if getattr(wanted, name) != getattr(Evaluation, name)]
    if wanted.compare and unread:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in unread)
        raise ValueError(
            f"--compare writes one page without {flags}; name the runs as --checkpoint for a report of each."
        )
    check_scenarios(scenarios_of(wanted))
    output = wanted.output or _next_folder(wanted)
    check_report_folder(output, overwrite=wanted.overwrite)
    configure(wanted.device)
    command = shlex.join(["ploutos", "evaluate", *args])
    with writing(f"The report {output}", "Make room, or choose another --output."):
        if wanted.compare:
            return compare(wanted, output)
        first, *more = wanted.checkpoint
        if more or len(wanted.data) > 1:
            return score_all(wanted, command, output)
        return score(wanted, first, command, output)


def _next_folder(wanted: Evaluation) -> str:
    """Return the first folder of a run for a report that is not there yet.

    Raises:
        ValueError: if several runs or markets are asked for, or the run is not there.
    """
    if len(wanted.checkpoint) != 1 or len(wanted.data) > 1:
        raise ValueError("Name the folder of the comparison with --output.")
    [run] = wanted.checkpoint
    if not Path(run).is_dir():
        raise ValueError(f"There is no run folder {run}; runs lie in checkpoints/ unless --output said so.")
    names = (f"evaluation-{number}" for number in itertools.count(1))
    return str(next(path for name in names if not (path := Path(run) / name).exists()))


def scenarios_of(wanted: Evaluation) -> tuple[str, ...]:
    """Return the names of the stress scenarios, all of them where none is named."""
    return SCENARIOS if wanted.scenarios is None else tuple(name.strip() for name in wanted.scenarios.split(","))


def read_run(wanted: Evaluation, folder: str, data: str | None) -> Run:
    """Restore an agent and read the bars that it is scored on: those of `data`, or of the run without it."""
    agent = load_agent(folder, step=wanted.step, best=wanted.best, seed=wanted.agent, all_seeds=wanted.ensemble)
    given = {"data": data, "columns": wanted.columns, "universe": wanted.universe}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if data is not None and data != "synthetic" and not data.startswith("synthetic:"):
        changes |= {"edge": None, "paths": 1}  # of the made market that the run was trained on
    if data is not None and not (Path(data).is_dir() or data.lower().endswith(".parquet")):
        changes |= {"device_bars": None}
    source = data_of_run(Path(folder), liquid=None, **changes)
    with naming_source(f"The run in {folder}" if data is None else None, source):
        if source.device_bars is not None:
            with telling_of_files():
                panel, market = read_long(agent, source, [name for name in _OF_BARS if getattr(wanted, name)])
        else:
            panel = read_panel(dataclasses.replace(source, tickers=()))
            of_agent = panel.select(agent.known_tickers(panel.symbols))
            market = build_market(of_agent, list(agent.feature_names), cache=source.cache_folder)
    source = dataclasses.replace(source, tickers=())
    span = market.window(wanted.start, wanted.end)
    if wanted.start is None and wanted.end is None:
        # The agent knows where its training ended; the file may have grown since, at either end.
        unseen = bars_after(market, agent.trained_to) if agent.trained_to else split_market(market, source)[1]
        span = market if unseen is None else unseen
    return Run(agent, source, panel, market, agent.led_by(span, market))


def facts_of(wanted: Evaluation, folder: str, run: Run) -> dict[str, str]:
    """Return what a reader of the report should know about a run."""
    missing = run.agent.missing_tickers(run.panel.symbols)
    lacks = f"; lacks {few(missing)} of the agent's {len(run.agent.symbols)}" if missing else ""
    members = run.agent.members
    place = f", ensemble of {len(members)} ({'; '.join(members)})" if members else ""
    place = f", agent {wanted.agent}" if wanted.agent else place
    shares = {name: float(share.mean()) for name, share in run.agent.allocation(run.span).items()}
    mix = ", ".join(f"{share:.0%} {name}" for name, share in sorted(shares.items(), key=lambda x: -x[1]))
    return {
        "checkpoint": f"{folder}{place}, update {run.agent.step}",
        "data": f"{run.data.data}, {run.span.num_assets} tickers{lacks}",
        "costs": describe_costs(run.agent.env_config, run.span),
        "actions": "greedy" if wanted.seed is None else f"sampled with seed {wanted.seed}",
        **({"mix_of_experts": f"{mix}, on average"} if mix else {}),
        "out_of_sample": describe_provenance(
            run.agent.provenance(run.span.times[0], run.span.times[-1], run.span.calendar)
        ),
    }


def score(wanted: Evaluation, folder: str, command: str, output: str) -> int:
    """Write the report of one run and print its figures."""
    run = read_run(wanted, folder, wanted.data[0] if wanted.data else None)
    tell(run)
    others = others_of(wanted, run)
    result = write_one(wanted, folder, run, others, Path(output), command)
    print_figures(result.sample, {"agent": result.ledger, **others}, result.content["verdict"], output)
    if result.stress is not None:
        result_console().print("\nUnder stress:", terminal_table(result.stress.table))
    return 0


def tell(run: Run) -> None:
    """Print what a person should know of the bars before any figure."""
    for note in notes_of(run):
        result_console().print(note, markup=False, soft_wrap=True)
    for note in run.market.notes:
        result_console().print(f"Data: {note}", style="dim", markup=False)


def others_of(wanted: Evaluation, run: Run) -> dict[str, Ledger]:
    """Return what stands beside a run's agent, by name: the rules, a market maker if asked for, the benchmark last."""
    times, config = run.span.times, run.agent.env_config
    others = baselines(run.market, config, times[0], times[-1])
    if wanted.market_making is not None:
        quoted = market_making(run.span, config, offset_bps=wanted.market_making)
        others[quoted.name] = quoted
    benchmark = hold_benchmark(wanted.benchmark, run)
    return others if benchmark is None else {**others, benchmark.name: benchmark}


class Result(NamedTuple):
    """An agent's account, what `metrics.json` of its report holds, and how its bars relate to its training."""

    ledger: Ledger
    content: dict[str, Any]
    sample: str
    stress: StressTest | None


def write_one(
    wanted: Evaluation, folder: str, run: Run, others: Mapping[str, Ledger], output: Path, command: str
) -> Result:
    """Play one agent and write its report beside what `others_of` has found."""
    ledger = backtest(run.agent, run.span, seed=wanted.seed)
    stress = None
    if wanted.stress or wanted.scenarios is not None or wanted.severity is not None:
        bars = run.panel.select(run.agent.known_tickers(run.panel.symbols))
        # Whole bars: a date would take in all of an intraday day.
        first = int(np.searchsorted(bars.times, run.span.times[0]))
        stress = stress_test(
            run.agent,
            bars,
            start=first,
            end=first + run.span.num_bars,
            scenarios=scenarios_of(wanted),
            draws=wanted.stress or STRESS_DRAWS,
            severity=wanted.severity,
        )
    trials = trials_beside(folder)
    facts = facts_of(wanted, folder, run) | ({} if trials is None else {"trials": describe_trials(trials)})
    facts |= describe_run(making_of(folder, run.agent.env_config, command))
    named = None if wanted.tickers is None else expand_tickers([one.strip() for one in wanted.tickers.split(",")])
    benchmark = None if wanted.benchmark is None else others[list(others)[-1]]
    content = write_report(
        output,
        ledger,
        {name: one for name, one in others.items() if one is not benchmark},
        benchmark=benchmark,
        tickers=named,
        sectors=run.span.sectors,
        stress=None if stress is None else stress.table,
        stress_paths=() if stress is None else stress.paths,
        slopes=slopes_of(run.agent, run.span) if wanted.slopes else None,
        trials=trials,
        facts=facts,
        overwrite=wanted.overwrite,
    )
    return Result(ledger, content, facts["out_of_sample"], stress)


def compare(wanted: Evaluation, output: str) -> int:
    """Write several runs side by side over the bars and assets that all of them have, and print their figures."""
    data = wanted.data[0] if wanted.data else None
    read = {folder: read_run(wanted, folder, data) for folder in wanted.compare}
    told = [note for run in read.values() for note in notes_of(run)]
    read, left_out = on_common_bars(read)
    for note in dict.fromkeys([*told, *left_out.values()]):
        result_console().print(note, markup=False, soft_wrap=True)
    names = short_names(read)
    runs = {
        name: backtest(run.agent, run.span, seed=wanted.seed, name=name)
        for name, run in zip(names, read.values(), strict=True)
    }
    one = next(iter(read.values()))
    others = baselines(one.market, one.agent.env_config, one.span.times[0], one.span.times[-1])
    benchmark = hold_benchmark(wanted.benchmark, one)
    others |= {benchmark.name: benchmark} if benchmark is not None else {}
    facts = {
        name: facts_of(wanted, folder, run) | ({"assets": left_out[folder]} if folder in left_out else {})
        for name, (folder, run) in zip(names, read.items(), strict=True)
    }
    content = write_comparison(output, runs, others, facts=facts, overwrite=wanted.overwrite)
    samples = list(dict.fromkeys(one["out_of_sample"] for one in facts.values()))
    print_figures(" ".join(samples), runs | others, content["verdict"], output)
    return 0


def score_all(wanted: Evaluation, command: str, folder: str) -> int:
    """Score every checkpoint on every market, write a report of each and a page that compares them, and print that.

    The checkpoints of one market are played over the bars and the assets that all of them have. Agents of one network
    on one market are played by one compiled program, and baselines of the same rules are played once.
    """
    output, scored, several = Path(folder), [], len(wanted.checkpoint) > 1
    markets = dict(zip(short_names(wanted.data), wanted.data, strict=True)) or {"": None}
    names = dict(zip(wanted.checkpoint, short_names(wanted.checkpoint), strict=True))
    for market, data in markets.items():
        read = {folder: read_run(wanted, folder, data) for folder in wanted.checkpoint}
        for run in read.values():
            tell(run)
        read, left_out = on_common_bars(read)
        for note in dict.fromkeys(left_out.values()):
            result_console().print(note, markup=False, soft_wrap=True)
        place = output / file_part(market, markets) if len(markets) > 1 else output
        results, played = {}, []
        for run_folder, run in read.items():
            alike = (run.agent.env_config, run.agent.feature_names)
            others = next((found for key, found in played if key == alike), None)
            if others is None:
                others = others_of(wanted, run)
                played.append((alike, others))
            part = file_part(names[run_folder], names.values())
            results[run_folder] = write_one(
                wanted, run_folder, run, others, place / part if several else place, command
            )
            link = "/".join(quote(one) for one in (place / part if several else place).relative_to(output).parts)
            scored.append(scored_of(names[run_folder], market, results[run_folder].content, f"{link}/report.html"))
        others = played[0][1]
        if several:
            runs = {names[f]: dataclasses.replace(one.ledger, name=names[f]) for f, one in results.items()}
            links = {name: f"{quote(file_part(name, names.values()))}/report.html" for name in runs}
            facts = {names[f]: facts_of(wanted, f, run) for f, run in read.items()}
            content = write_comparison(place, runs, others, facts=facts, links=links, overwrite=wanted.overwrite)
            sample = " ".join(dict.fromkeys(one.sample for one in results.values()))
            print_figures(sample, runs | others, content["verdict"], str(place))
        else:
            result = next(iter(results.values()))
            print_figures(result.sample, {"agent": result.ledger, **others}, result.content["verdict"], str(place))
    if len(markets) > 1:
        write_overview(output, scored, command=command, overwrite=wanted.overwrite)
        result_console().print(f"\nAll of them: {output / 'report.html'}")
    return 0


def print_figures(sample: str, ledgers: Mapping[str, Ledger], verdict: str, output: str) -> None:
    """Print how the span relates to training, a table of figures, the verdict and where the report lies."""
    times = next(iter(ledgers.values())).times
    console = result_console()
    console.print(f"{sample} Net of costs, {str(times[0])[:10]} to {str(times[-1])[:10]}:", markup=False)
    console.print(metrics_table({name: summarize(each) for name, each in ledgers.items()}))
    console.print(f"\n{verdict}", markup=False)
    console.print(f"\nReport: {Path(output) / 'report.html'}")
