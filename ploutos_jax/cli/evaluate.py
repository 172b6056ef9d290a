"""Play a trained agent over a span of bars and write a report next to baselines at the same costs; or compare several.

ploutos evaluate --checkpoint checkpoints/run-1 --output report
ploutos evaluate --checkpoint checkpoints/run-1 --ensemble --output report
ploutos evaluate --compare checkpoints/run-1 checkpoints/run-2 --output comparison
ploutos evaluate --checkpoint checkpoints/run-1 --data data/sp500.parquet --start 2017-01-01 --output report
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro

from ploutos_jax.agents.agent import Agent
from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import result_console, writing
from ploutos_jax.datasets.config import DataConfig, bars_after, read_panel, split_market
from ploutos_jax.datasets.selection import expand_tickers
from ploutos_jax.env.bounds import Bound, check_bounds, whole
from ploutos_jax.env.broker.instruments import describe_costs
from ploutos_jax.evaluate.backtest.run import backtest, baselines, hold, market_making
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.comparison import write_comparison
from ploutos_jax.evaluate.report.evidence import describe_trials, trials_beside
from ploutos_jax.evaluate.report.provenance import describe_provenance
from ploutos_jax.evaluate.report.write import check_report_folder, metrics_table, write_report
from ploutos_jax.evaluate.stress.table import stress_table, terminal_table
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.panel import Market, Panel
from ploutos_jax.runs.settings import data_of_run, naming_source
from ploutos_jax.train.checkpoints.export import load_agent

EVALUATION_BOUNDS = {
    "step": whole(0, 2**31 - 1),
    "agent": whole(0, 10_000),
    "seed": whole(0, 2**31 - 1),
    "market_making": Bound(0, 10_000, below=True),
    "stress": whole(0, 1_000_000),
}
"""Numbers of `Evaluation`."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Score a checkpoint.

    Attributes:
        checkpoint: run folder, or folder of an exported policy.
        compare: run folders to set side by side over the same bars of the assets that all of them have, instead of one
            checkpoint; their folder names name them.
        output: report folder, created by this command.
        data: market file or folder, or `synthetic`; the data of the run without it.
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
        device: where to run.
        overwrite: replace an older report in the output folder.
    """

    output: str
    checkpoint: str | None = None
    compare: tuple[str, ...] = ()
    data: str | None = None
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
    device: Literal["auto", "cpu", "gpu"] = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, EVALUATION_BOUNDS)


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = tyro.cli(Evaluation, args=args)
    if (wanted.checkpoint is None) != (len(wanted.compare) > 1) or len(wanted.compare) == 1:
        raise ValueError("Name one run folder as --checkpoint, or two and more as --compare.")
    check_report_folder(wanted.output, overwrite=wanted.overwrite)
    configure(wanted.device)
    with writing(f"The report {wanted.output}", "Make room, or choose another --output."):
        return score(wanted, wanted.checkpoint) if wanted.checkpoint is not None else compare(wanted)


_SHOWN = 10
"""Tickers that a line names."""


class Run(NamedTuple):
    """A restored agent, its data, the whole market, and the bars of it to score on."""

    agent: Agent
    data: DataConfig
    panel: Panel
    market: Market
    span: Market


def read_run(wanted: Evaluation, folder: str) -> Run:
    """Restore an agent and read the bars that it is scored on."""
    agent = load_agent(folder, step=wanted.step, best=wanted.best, seed=wanted.agent, all_seeds=wanted.ensemble)
    given = {"data": wanted.data, "columns": wanted.columns, "universe": wanted.universe}
    changes = {name: value for name, value in given.items() if value is not None}
    data = data_of_run(Path(folder), tickers=(), liquid=None, **changes)
    with naming_source(f"The run in {folder}" if wanted.data is None else None, data):
        panel = read_panel(data)
    panel_of_agent = panel.select(agent.known_tickers(panel.symbols))
    market = build_market(panel_of_agent, list(agent.feature_names), cache=data.cache_folder)
    span = market.window(wanted.start, wanted.end)
    if wanted.start is None and wanted.end is None:
        # The agent knows where its training ended; the file may have grown since, at either end.
        unseen = bars_after(market, agent.trained_to) if agent.trained_to else split_market(market, data)[1]
        span = market if unseen is None else unseen
    return Run(agent, data, panel, market, agent.led_by(span, market))


def notes_of(run: Run) -> list[str]:
    """Return what a person at the terminal should know of the bars before any figure."""
    missing, members = run.agent.missing_tickers(run.panel.symbols), run.agent.members
    said = [f"The agent is an ensemble of {len(members)}: {'; '.join(members)}."] if members else []
    if not missing:
        return said
    return [
        *said,
        f"Data: {run.data.data} lacks {_few(missing)} of the {len(run.agent.symbols)} tickers that the agent was"
        f" trained on; scored on the other {len(run.agent.symbols) - len(missing)}.",
    ]


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def facts_of(wanted: Evaluation, folder: str, run: Run) -> dict[str, str]:
    """Return what a reader of the report should know about a run."""
    missing = run.agent.missing_tickers(run.panel.symbols)
    lacks = f"; lacks {_few(missing)} of the agent's {len(run.agent.symbols)}" if missing else ""
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


def hold_benchmark(ticker: str | None, run: Run) -> Ledger | None:
    """Return the benchmark held over a run's bars, if there is one."""
    if ticker is None:
        return None
    alone = build_market(run.panel.select([ticker]), "minimal").window(run.span.times[0], run.span.times[-1])
    return hold(alone, run.agent.env_config)


def score(wanted: Evaluation, folder: str) -> int:
    """Write the report of one run and print its figures."""
    run = read_run(wanted, folder)
    for note in notes_of(run):
        result_console().print(note, markup=False, soft_wrap=True)
    span = run.span
    for note in run.market.notes:
        result_console().print(f"Data: {note}", style="dim", markup=False)
    benchmark = hold_benchmark(wanted.benchmark, run)
    ledger = backtest(run.agent, span, seed=wanted.seed)
    others = baselines(run.market, run.agent.env_config, span.times[0], span.times[-1])
    if wanted.market_making is not None:
        quoted = market_making(span, run.agent.env_config, offset_bps=wanted.market_making)
        others[quoted.name] = quoted
    stress = None
    if wanted.stress:
        bars = run.panel.select(run.agent.known_tickers(run.panel.symbols))
        # Whole bars: a date would take in all of an intraday day.
        first = int(np.searchsorted(bars.times, span.times[0]))
        stress = stress_table(run.agent, bars, start=first, end=first + span.num_bars, draws=wanted.stress)
    trials = trials_beside(folder)
    facts = facts_of(wanted, folder, run) | ({} if trials is None else {"trials": describe_trials(trials)})
    content = write_report(
        wanted.output,
        ledger,
        others,
        benchmark=benchmark,
        tickers=None
        if wanted.tickers is None
        else expand_tickers([ticker.strip() for ticker in wanted.tickers.split(",")]),
        sectors=span.sectors,
        stress=stress,
        trials=trials,
        facts=facts,
        overwrite=wanted.overwrite,
    )
    shown = {"agent": ledger, **others} | ({benchmark.name: benchmark} if benchmark is not None else {})
    print_figures(facts["out_of_sample"], shown, content["verdict"], wanted.output)
    if stress is not None:
        result_console().print("\nUnder stress:", terminal_table(stress))
    return 0


def compare(wanted: Evaluation) -> int:
    """Write several runs side by side over the bars and assets that all of them have, and print their figures."""
    read = {folder: read_run(wanted, folder) for folder in wanted.compare}
    told = [note for run in read.values() for note in notes_of(run)]
    read, left_out = on_common_assets(read)
    for note in dict.fromkeys([*told, *left_out.values()]):
        result_console().print(note, markup=False, soft_wrap=True)
    first = max(run.span.times[0] for run in read.values())
    last = min(run.span.times[-1] for run in read.values())
    read = {
        folder: run._replace(span=run.span.window(first, last, lead=run.agent.network.warm_up))
        for folder, run in read.items()
    }
    names = [Path(folder).name for folder in read]
    if len(set(names)) < len(names):
        names = list(read)
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
    content = write_comparison(wanted.output, runs, others, facts=facts, overwrite=wanted.overwrite)
    samples = list(dict.fromkeys(one["out_of_sample"] for one in facts.values()))
    print_figures(" ".join(samples), runs | others, content["verdict"], wanted.output)
    return 0


def on_common_assets(read: Mapping[str, Run]) -> tuple[dict[str, Run], dict[str, str]]:
    """Return runs on the assets that all of them trade, and by folder what was left out of a run's own, in words.

    Raises:
        ValueError: if they have no asset in common, one is bound to assets that others lack, or the bars of a common
            asset differ between the runs' data.
    """
    first, *rest = read.values()
    common = [s for s in first.span.symbols if all(s in run.span.symbols for run in rest)]
    if not common:
        own = "; ".join(f"{folder}: {_few(list(run.span.symbols))}" for folder, run in read.items())
        raise ValueError(
            f"The runs have no asset in common ({own}), so their figures cannot stand side by side. Compare runs on the"
            " same tickers, or name data with the tickers of all of them as --data."
        )
    kept, left_out = {}, {}
    for folder, run in read.items():
        extra = [symbol for symbol in run.span.symbols if symbol not in common]
        if extra and run.agent.network.torso.binds_assets:
            raise ValueError(
                f"The run {folder} is bound to all of its assets (torso=flat), and others lack {_few(extra)} of them;"
                " compare runs on the same tickers."
            )
        if extra:
            left_out[folder] = (
                f"The assets of the runs differ: all are scored on the {len(common)} that they share; {folder} was"
                f" trained on {_few(extra)} too."
            )
        if list(run.span.symbols) != common and not run.agent.network.torso.binds_assets:
            market = build_market(run.panel.select(common), list(run.agent.feature_names))
            start, stop = (int(np.searchsorted(market.times, run.span.times[row])) for row in (0, -1))
            span = market.window(start, stop + 1, lead=run.agent.network.warm_up)
            run = run._replace(market=market, span=span)
        kept[folder] = run
    _check_same_bars(kept)
    return kept, left_out


def _check_same_bars(read: Mapping[str, Run]) -> None:
    """Make sure that the runs' files hold the same closes of their common assets over their common dates."""
    (one_folder, one), *rest = read.items()
    for folder, run in rest:
        _, mine, theirs = np.intersect1d(one.market.times, run.market.times, return_indices=True)
        places = [run.market.symbols.index(symbol) for symbol in one.market.symbols]
        closes = np.asarray(one.market.close)[mine], np.asarray(run.market.close)[theirs][:, places]
        both = np.asarray(one.market.tradable)[mine] & np.asarray(run.market.tradable)[theirs][:, places]
        apart = both & ~np.isclose(*closes)
        if apart.any():
            row, column = (int(each[0]) for each in np.nonzero(apart))
            raise ValueError(
                f"{one_folder} and {folder} have other bars of the same assets: the close of"
                f" {one.market.symbols[column]} on {str(one.market.times[mine[row]])[:10]} differs. Name one file for"
                " all of them as --data."
            )


def print_figures(sample: str, ledgers: Mapping[str, Ledger], verdict: str, output: str) -> None:
    """Print how the span relates to training, a table of figures, the verdict and where the report lies."""
    times = next(iter(ledgers.values())).times
    console = result_console()
    console.print(f"{sample} Net of costs, {str(times[0])[:10]} to {str(times[-1])[:10]}:", markup=False)
    console.print(metrics_table({name: summarize(each) for name, each in ledgers.items()}))
    console.print(f"\n{verdict}", markup=False)
    console.print(f"\nReport: {Path(output) / 'report.html'}")
