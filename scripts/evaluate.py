"""Play a trained agent over a span of bars and write a report beside baselines at the same costs.

python scripts/evaluate.py --checkpoint checkpoints/run-1 --output report
python scripts/evaluate.py --checkpoint checkpoints/run-1 --data data/sp500.parquet --start 2017-01-01 --output report
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import tyro

from ploutos_jax.evaluate.backtest import backtest, baselines, hold
from ploutos_jax.evaluate.metrics import summarize
from ploutos_jax.evaluate.report import check_report_folder, metrics_table, write_report
from ploutos_jax.market.features import build_market
from ploutos_jax.market.source import bars_after, read_panel, split_market
from ploutos_jax.train.device import configure
from ploutos_jax.train.export import load_agent
from ploutos_jax.train.settings import data_of_run
from ploutos_jax.train.terminal import exit_codes, result_console


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Score a checkpoint.

    Attributes:
        checkpoint: run folder, or folder of an exported policy.
        output: report folder, made anew.
        data: market file or folder, or `synthetic`; the data of the run without it.
        start: first date to score on; without start and end, the bars after those of the training (all bars where
            there are too few).
        end: last date to score on.
        step: update of the checkpoint; the newest without it.
        best: take the agent with the best held-out score during training.
        agent: which agent of a run with several seeds, by its place from 0.
        benchmark: ticker of the data to hold as a further comparison.
        tickers: tickers whose trades are drawn, such as A,B; the most traded ones without it.
        universe: CSV of ticker, start, end; that of the run without it.
        seed: draw the agent's actions with this seed; its likeliest actions without it.
        stress: draws of every scenario of docs/stress.md to lay over the span; 0 leaves the stress test out.
        device: where to run.
        overwrite: replace an older report in the output folder.
    """

    checkpoint: str
    output: str
    data: str | None = None
    start: str | None = None
    end: str | None = None
    step: int | None = None
    best: bool = False
    agent: int = 0
    benchmark: str | None = None
    tickers: str | None = None
    universe: str | None = None
    seed: int | None = None
    stress: int = 0
    device: Literal["auto", "cpu", "gpu"] = "auto"
    overwrite: bool = False


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = tyro.cli(Evaluation, args=args)
    check_report_folder(wanted.output, overwrite=wanted.overwrite)
    configure(wanted.device)
    agent = load_agent(wanted.checkpoint, step=wanted.step, best=wanted.best, seed=wanted.agent)
    given = {"data": wanted.data, "universe": wanted.universe}
    changes = {name: value for name, value in given.items() if value is not None}
    data = data_of_run(Path(wanted.checkpoint), tickers=(), **changes)
    panel = read_panel(data)
    panel_of_agent = panel.select(agent.known_tickers(panel.symbols))
    market = build_market(panel_of_agent, list(agent.feature_names), cache=data.cache_folder)
    span = market.window(wanted.start, wanted.end)
    if wanted.start is None and wanted.end is None:
        # Another file may hold other dates than the run was split by.
        unseen = bars_after(market, agent.trained_to) if wanted.data else split_market(market, data)[1]
        span = market if unseen is None else unseen

    benchmark = None
    if wanted.benchmark is not None:
        alone = build_market(panel.select([wanted.benchmark]), "minimal").window(span.times[0], span.times[-1])
        benchmark = hold(alone, agent.env_config)
    ledger = backtest(agent, span, seed=wanted.seed)
    others = baselines(span, agent.env_config)
    place = f", agent {wanted.agent}" if wanted.agent else ""
    facts = {
        "checkpoint": f"{wanted.checkpoint}{place}, update {agent.step}",
        "data": f"{data.data}, {span.num_assets} tickers",
        "actions": "likeliest" if wanted.seed is None else f"drawn with seed {wanted.seed}",
        "out_of_sample": agent.describe_span(span.times[0], span.times[-1]),
    }
    write_report(
        wanted.output,
        ledger,
        others,
        benchmark=benchmark,
        tickers=None if wanted.tickers is None else [ticker.strip() for ticker in wanted.tickers.split(",")],
        sectors=span.sectors,
        facts=facts,
        overwrite=wanted.overwrite,
    )
    shown = {"agent": ledger, **others} | ({benchmark.name: benchmark} if benchmark is not None else {})
    console = result_console()
    console.print(f"{facts['out_of_sample']} Net of costs, {str(span.times[0])[:10]} to {str(span.times[-1])[:10]}:")
    console.print(metrics_table({name: summarize(each) for name, each in shown.items()}))
    console.print(f"\nReport: {Path(wanted.output) / 'report.html'}")
    return 0


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
