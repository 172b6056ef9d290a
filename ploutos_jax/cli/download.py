"""Download bars into a Parquet file that the other scripts read; again with the same file, only what is new.

ploutos download --tickers SP500 --period 5y --output data/sp500.parquet
ploutos download --tickers AAPL,MSFT,SPY --period max --output data/few.parquet
ploutos download --tickers SPY --period 7d --interval 1m --output data/spy_1m.parquet
ploutos download --vendor ccxt --tickers BTC/USDT --interval 1h --start 2021-01-01 --output data/btc.parquet
ploutos download --vendor alpaca --tickers AAPL,SPY --interval 1m --period 1mo --output data/minutes.parquet
"""

import dataclasses
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ploutos_jax.cli.signals import Interruption
from ploutos_jax.cli.terminal import writing
from ploutos_jax.datasets.selection import expand_tickers
from ploutos_jax.env.bounds import Bound, check_bounds, whole
from ploutos_jax.market.io.alpaca import Alpaca
from ploutos_jax.market.io.download import Outcome, Request, download, split_tickers
from ploutos_jax.market.io.exchange import Ccxt, write_facts
from ploutos_jax.market.io.vendors import SP500_LIST, Yahoo, read_sp500
from ploutos_jax.runs.command_line import read

DOWNLOAD_BOUNDS = {"retries": whole(0, 1000), "wait": Bound(0, 86_400)}
"""Numbers of `DownloadSettings`."""


@dataclasses.dataclass(frozen=True)
class DownloadSettings:
    """Download bars into a Parquet file, or join new ones to it.

    Attributes:
        tickers: SP500 for the members of today, or tickers as the vendor writes them, with commas or spaces between;
            `momentum`, `tech`, `indices` and `sectors` stand for the lists of docs/presets.md.
        output: the Parquet file; one that exists is updated.
        period: how far back new tickers go, such as 60d, 18mo, 5y, ytd or max.
        interval: of a bar; the vendor serves intraday bars of the last days only (1m of about a week).
        retries: further attempts for a ticker that fails. In [0, 1,000].
        wait: seconds before the first of them, twice as long before each next one. In [0, 86,400].
        vendor: yahoo; ccxt for a coin exchange (extra `live`), beside whose bars lie rules and fees of its markets; or
            alpaca (extra `live`), with keys in APCA_API_KEY_ID and APCA_API_SECRET_KEY.
        exchange: of ccxt, as that writes it.
        feed: of Alpaca's stocks: iex or sip; the best that the account may ask for without it.
        start: first date of new tickers, instead of a period.
        list_url: CSV of the members of the S&P 500 with the columns Symbol and GICS Sector.
        base_url: address of a mirror of the vendor.
        quiet: print failures only.
    """

    tickers: str
    output: str
    period: str = "5y"
    interval: str = "1d"
    retries: int = 4
    wait: float = 1.0
    vendor: Literal["yahoo", "ccxt", "alpaca"] = "yahoo"
    exchange: str = "binance"
    feed: Literal["iex", "sip"] | None = None
    start: str | None = None
    list_url: str = SP500_LIST
    base_url: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in DOWNLOAD_BOUNDS:
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative.")
        check_bounds(self, DOWNLOAD_BOUNDS)


def main(args: list[str]) -> int:
    """Run the command line; return the exit code."""
    settings = read(DownloadSettings, args)
    request = Request(
        tickers=("SP500",) if settings.tickers.strip() == "SP500" else _split(settings.tickers),
        output=Path(settings.output),
        period=settings.period,
        start=settings.start,
        interval=settings.interval,
        retries=settings.retries,
        wait=settings.wait,
    )
    coins = Ccxt(settings.exchange, settings.base_url) if settings.vendor == "ccxt" else None
    if coins is None:
        alpaca = settings.vendor == "alpaca"
        vendor = Alpaca(settings.feed, settings.base_url) if alpaca else Yahoo(settings.base_url)
    else:
        vendor = coins
    console = Console(soft_wrap=True, markup=False, highlight=False)
    if request.tickers == ("SP500",):
        sectors = read_sp500(settings.list_url)
        request = dataclasses.replace(request, tickers=tuple(sectors), sectors=sectors)
        if not settings.quiet:
            console.print(
                f"{len(sectors)} members of the S&P 500 of today: any strategy on their past profits from the choice"
                " (survivorship). A point-in-time --universe FILE for training takes that out."
            )
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("tickers"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        disable=settings.quiet,
    )
    advice = "What was there before stays; make room, or choose another --output."
    with writing(f"The file {request.output}", advice), Interruption() as interruption, progress:
        task = progress.add_task("downloading", total=len(set(request.tickers)))
        outcome = download(
            vendor, request, on_ticker=lambda _: progress.advance(task), should_stop=interruption.should_stop
        )
    if coins is not None and outcome.added:
        write_facts(request.output, coins.facts(list(outcome.added)))
    _tell(outcome, request, console, quiet=settings.quiet)
    return 130 if outcome.interrupted else 0


def _split(tickers: str) -> tuple[str, ...]:
    """Return the tickers of a list with commas; names of universes are looked up in small letters, as written."""
    words = expand_tickers([word.strip() for word in tickers.split(",")])
    return tuple(split_tickers(",".join(words)))


def _tell(outcome: Outcome, request: Request, console: Console, *, quiet: bool) -> None:
    """Print what became of it, failures last."""
    if not quiet:
        added = sum(outcome.added.values())
        console.print(
            f"{request.output}: {outcome.rows:,} rows, {added:,} of them new, {len(outcome.added)} tickers up to date."
        )
        if outcome.rewritten:
            console.print(f"Known prices were restated (a split, say) for {', '.join(outcome.rewritten)}.")
    if outcome.interrupted:
        console.print("Interrupted; what was fetched is written. The same command goes on.")
    if outcome.failed:
        console.print(f"{len(outcome.failed)} tickers failed; the same command asks for them again:")
        for ticker, reason in outcome.failed.items():
            console.print(f"  {ticker}: {reason}")
