"""Train an agent, score it on bars it never saw, and say what came of it.

python scripts/train.py                                 made data, no GPU needed, about two minutes
python scripts/train.py --data data/sp500.parquet       your own bars
python scripts/train.py --help                          every setting
"""

import dataclasses
import shlex
import sys

from rich.console import Console

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest import backtest, baselines
from ploutos_jax.evaluate.metrics import summarize
from ploutos_jax.evaluate.report import metrics_table
from ploutos_jax.market.panel import Market
from ploutos_jax.market.source import read_market, split_market
from ploutos_jax.train.device import configure
from ploutos_jax.train.loop import train
from ploutos_jax.train.run_folder import choose_output
from ploutos_jax.train.settings import differences, parse_settings
from ploutos_jax.train.terminal import Interruption, ProgressBar, exit_codes, result_console


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
    market = read_market(settings.data)
    for note in market.notes:
        console.print(f"Data: {note}", style="dim")
    training, held_out = split_market(market, settings.data)
    env = TradingEnv(settings.env)
    console.print(
        f"Training on {training.num_assets} assets, {training.num_bars} bars ({_day(training, 0)} to"
        f" {_day(training, -1)}), {training.num_features} features."
    )
    with Interruption(settings.minutes) as interruption, ProgressBar(quiet=settings.quiet) as bar:
        agent = train(
            settings.train,
            training,
            env,
            output=output,
            settings=dataclasses.asdict(settings),
            resume=settings.resume,
            observers=[bar],
            should_stop=interruption.should_stop,
        )
    if interruption.interrupted:
        console.print(f"Interrupted; continue with the same command and --resume. Checkpoint in {output}.")
        return 130
    span = training if held_out is None else held_out
    rows = {"agent": summarize(backtest(agent, span))}
    rows |= {name: summarize(ledger) for name, ledger in baselines(span, settings.env).items()}
    seen = "the training bars (in sample, proves nothing)" if held_out is None else "bars never trained on"
    final = result_console()
    final.print(f"\nScore on {seen}, {_day(span, 0)} to {_day(span, -1)}, net of costs:")
    final.print(metrics_table(rows))
    run, report = shlex.quote(str(output)), shlex.quote(str(output / "report"))
    final.print(f"\nNext: python scripts/evaluate.py --checkpoint {run} --output {report}")
    return 0


def _day(market: Market, row: int) -> str:
    return str(market.times[row])[:10]


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main(sys.argv[1:]))
