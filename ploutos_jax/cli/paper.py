"""Trade a paper account on bars as they close, bar by bar, by the step that trained the agent; keep a journal.

ploutos paper checkpoints/run-1 --source replay:data/btc.parquet --start 2021-01-01 --journal btc.journal
ploutos paper checkpoints/run-1 --source ccxt:binance --tickers BTC/USDT --interval 1h --journal live.journal
ploutos paper checkpoints/run-1 --source alpaca --interval 1m --broker alpaca-paper --journal stocks.journal
ploutos paper checkpoints/run-1 --journal btc.journal --report paper_report
ploutos paper --journal btc.journal --strip shared.journal
"""

import dataclasses
import signal
from pathlib import Path
from typing import Any, Literal

from ploutos_jax.cli.device import configure
from ploutos_jax.cli.terminal import result_console
from ploutos_jax.env.bounds import Bound, check_bounds, whole
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.reference import Reference
from ploutos_jax.live.alpaca_broker import AlpacaPaper
from ploutos_jax.live.drift import DriftMonitor
from ploutos_jax.live.guards import Guards
from ploutos_jax.live.journal import Journal, strip
from ploutos_jax.live.ledger import describe_comparison
from ploutos_jax.live.notify import Say, to_all, to_command, to_log, to_webhook
from ploutos_jax.live.reconcile import describe, reconcile
from ploutos_jax.live.report import NOTICE, write_paper_report
from ploutos_jax.live.routing import Router, check_rules, late_exits
from ploutos_jax.live.sources import open_source
from ploutos_jax.live.trader import Followed, Trader
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import name_moment
from ploutos_jax.runs.command_line import first_as, read
from ploutos_jax.train.checkpoints.export import load_agent

PAPER_BOUNDS = {
    "step": whole(0, 2**31 - 1),
    "agent": whole(0, 10_000),
    "speed": Bound(0, 1e6),
}
"""Numbers of `Paper`."""


@dataclasses.dataclass(frozen=True)
class Paper:
    """Trade a paper account on bars as they close, and keep a journal of it.

    A dry run: orders go to the simulated broker of training, and with --broker alpaca-paper also to Alpaca's paper
    account. There is no flag for live money. The same command goes on where the journal ends. Nothing here is
    investment advice.

    Attributes:
        journal: SQLite file of the account, made if it is missing; it grows by every bar and is kept until you delete
            it.
        checkpoint: run folder, or folder of an exported policy; also without the flag, before all others.
        source: replay:FILE, ccxt:EXCHANGE such as ccxt:binance for its stream, or alpaca (extra `live`; Alpaca's keys
            are read from APCA_API_KEY_ID and APCA_API_SECRET_KEY).
        broker: simulated, or alpaca-paper for Alpaca's paper account beside it; the report tells how fills differ.
        feed: of Alpaca's stocks: iex, or sip where the account may ask for it.
        tickers: to trade, with commas; those of the agent without it.
        interval: of a stream's bars, such as 1h.
        base_url: address that the requests and streams of an exchange go to instead.
        start: date of the first bar that a replay trades; those before are history.
        end: date of the last.
        speed: bars a second of a replay; 0 for as fast as possible. In [0, 1e6].
        max_daily_loss: loss since the last session's close, a fraction of equity, from which on nothing is bought
            until the next session. In (0, 1].
        max_position: weight beyond which an order must not lead. In (0, 100].
        max_order_cash: dollars that an order may be worth. In (0, 1e12].
        stale_bars: lengths of a bar after its close from which on it is too old to be acted on. In (0, 1e6].
        kill_file: file whose presence stops the account; so does the signal SIGUSR1.
        flatten: sell all positions at the kill switch and at the daily loss.
        webhook: address that gets warnings as JSON.
        notify_command: command that gets warnings, the kind as its last argument, the text as its input.
        report: folder for the report of the account; without --source nothing is traded before.
        overwrite: replace an older report.
        strip: write a copy of the journal for sharing, without the bars of a vendor, and end.
        step: update of the checkpoint; the newest without it. In [0, 2,147,483,647].
        best: take the agent with the best held-out score during training.
        agent: which agent of a run with several seeds, by its place from 0. In [0, 10,000].
        ensemble: all seeds of the run as one agent.
        quiet: print warnings only.
    """

    journal: str
    checkpoint: str | None = None
    source: str | None = None
    broker: Literal["simulated", "alpaca-paper"] = "simulated"
    feed: Literal["iex", "sip"] = "iex"
    tickers: str | None = None
    interval: str | None = None
    base_url: str | None = None
    start: str | None = None
    end: str | None = None
    speed: float = 0.0
    max_daily_loss: float | None = None
    max_position: float | None = None
    max_order_cash: float | None = None
    stale_bars: float | None = 2.0
    kill_file: str | None = None
    flatten: bool = False
    webhook: str | None = None
    notify_command: str | None = None
    report: str | None = None
    overwrite: bool = False
    strip: str | None = None
    step: int | None = None
    best: bool = False
    agent: int = 0
    ensemble: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, PAPER_BOUNDS)
        self.guards()
        if self.strip is None and self.checkpoint is None:
            raise ValueError("Name the agent: ploutos paper RUN --journal FILE ...; --strip alone needs none.")
        if self.strip is None and self.source is None and self.report is None:
            raise ValueError("Give --source to trade, --report for the pages of a journal, or --strip to share one.")
        if self.broker != "simulated" and self.source not in (None, "alpaca"):
            raise ValueError(
                "Alpaca's paper account trades at today's prices: --broker alpaca-paper needs --source alpaca."
            )

    def guards(self) -> Guards:
        """Return the limits."""
        return Guards(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Guards)})


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    wanted = read(Paper, first_as("--checkpoint", args))
    console = result_console()
    if wanted.strip is not None:
        strip(wanted.journal, wanted.strip)
        console.print(f"{wanted.strip} holds decisions, orders, fills and accounts, and none of the vendor's bars.")
        return 0
    configure()
    assert wanted.checkpoint is not None
    agent = load_agent(
        wanted.checkpoint, step=wanted.step, best=wanted.best, seed=wanted.agent, all_seeds=wanted.ensemble
    )
    if wanted.source is not None:
        trade(wanted, agent)
    if wanted.report is not None:
        with Journal(wanted.journal, read_only=True) as journal:
            compared = write_paper_report(wanted.report, journal, agent, overwrite=wanted.overwrite)
        console.print(f"Report: {Path(wanted.report) / 'report.html'}. {describe_comparison(compared)}")
    return 0


def trade(wanted: Paper, agent: Any) -> None:
    """Follow the source, from where the journal ends."""
    assert wanted.source is not None
    console = result_console()
    tickers = tuple(word.strip() for word in (wanted.tickers or "").split(",") if word.strip())
    say = to_all(_ways(wanted))
    source = open_source(
        wanted.source,
        agent,
        tickers,
        interval=wanted.interval,
        start=wanted.start,
        end=wanted.end,
        bars_per_second=wanted.speed,
        base_url=wanted.base_url,
        feed=wanted.feed,
        say=say,
    )
    broker = None
    if wanted.broker != "simulated":
        check_rules(agent.env_config)
        broker = AlpacaPaper(source.labels.symbols, wanted.base_url)
    with Journal(wanted.journal) as journal:
        known = journal.last_bar()
        router = None if broker is None else _router(broker, wanted, agent, journal, source, say)
        trader = Trader(
            agent,
            source,
            journal,
            guards=wanted.guards(),
            monitor=DriftMonitor(agent, reference_of(wanted.checkpoint, agent, source)),
            router=router,
            say=say,
        )
        journal.write_facts({"checkpoint": wanted.checkpoint})
        if hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, lambda *_: trader.kill())
        if not wanted.quiet:
            goes_on = "" if known is None else f", on from bar {known + 1}"
            console.print(f"Paper account of {len(trader.symbols)} tickers in {wanted.journal}{goes_on}. {NOTICE}")
            if broker is not None:
                console.print(
                    f"Orders also go to Alpaca's paper account, of ${broker.equity:,.2f}; the simulated one began with"
                    f" ${agent.env_config.initial_cash:,.2f}."
                )
                if late := late_exits(agent.env_config):
                    console.print(
                        f"Exits of its rules ({', '.join(late)}) reach Alpaca when the bar that touched them has"
                        " closed, as market orders; the report tells what that cost."
                    )
        try:
            count = trader.run(on_bar=(lambda one: None) if wanted.quiet else _Progress())
        except KeyboardInterrupt:
            console.print("Stopped; the same command goes on.")
            raise
        accounts = journal.accounts()
        if router is not None and not wanted.quiet:
            console.print(describe(reconcile(journal, trader.symbols)))
    if not wanted.quiet and len(accounts):
        console.print(f"{count:,} bars; equity ${accounts['equity'].iloc[-1]:,.2f} after {len(accounts):,} in all.")


def _router(broker: AlpacaPaper, wanted: Paper, agent: Any, journal: Journal, source: Any, say: Say) -> Router:
    return Router(
        broker,
        journal,
        source.labels.symbols,
        min_order_cash=agent.env_config.min_order_cash,
        max_order_cash=wanted.max_order_cash,
        say=say,
    )


def reference_of(run: str | None, agent: Any, source: Any) -> Reference:
    """Return what training was like, as the run folder says, to tell what changes.

    Of an exported agent, and of a run of an older version, it is the history before the account, and the agent in it.
    """
    known = None if run is None else Reference.read(run)
    if known is not None:
        return known
    history = source.history(2 * 512)
    if history is None or history.num_bars < 3:
        return Reference(0.0)
    market = build_market(history, list(agent.feature_names))
    return Reference.of(market, backtest(agent, market))


def _ways(wanted: Paper) -> list[Say]:
    ways: list[Say] = [to_log]
    if wanted.webhook is not None:
        ways.append(to_webhook(wanted.webhook))
    if wanted.notify_command is not None:
        ways.append(to_command(wanted.notify_command))
    return ways


class _Progress:
    """Prints a line for a bar now and then: the first ones of a stream, every thousandth of a fast replay."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, one: Followed) -> None:
        self._count += 1
        if self._count <= 3 or self._count % 1000 == 0:
            moment = name_moment(one.market.times[1])
            result_console().print(f"{moment}: bar {one.number:,}, decided in {1e3 * one.seconds:.0f} ms.")
