"""Where bars come from, by the text of a command line: `replay:FILE`, `ccxt:EXCHANGE`, `alpaca`."""

from collections.abc import Sequence
from typing import Any

from ploutos_jax.agents.agent import Agent
from ploutos_jax.live.alpaca_feed import AlpacaFeed
from ploutos_jax.live.bars import Source
from ploutos_jax.live.coins import CoinFeed
from ploutos_jax.live.notify import Say, to_log
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.stream import Stream
from ploutos_jax.market.io.load import load_panel

KINDS = "replay:FILE, ccxt:EXCHANGE or alpaca"


def open_source(
    text: str,
    agent: Agent,
    tickers: Sequence[str] = (),
    *,
    interval: str | None = None,
    start: Any = None,
    end: Any = None,
    bars_per_second: float = 0.0,
    base_url: str | None = None,
    feed: str = "iex",
    say: Say = to_log,
) -> Source:
    """Return a source of bars of the tickers that an agent trades.

    Args:
        text: of `KINDS`.
        agent: whose tickers are taken where none are given.
        tickers: to trade.
        interval: of a bar, such as `1h`; of a stream.
        start, end: first and last date that a replay plays; bars before are history.
        bars_per_second: of a replay, 0 for as fast as possible.
        base_url: address that the requests and streams of an exchange go to instead.
        feed: `iex` or `sip` of Alpaca's stocks.
        say: told of an exchange that does not answer.

    Raises:
        ValueError: if there is no such source, or it lacks the tickers.
    """
    kind, _, place = text.partition(":")
    if kind == "replay" and place:
        panel = load_panel(place, tickers=tuple(tickers) or None)
        panel = panel.select(agent.known_tickers(panel.symbols))
        return Replay(panel, start, end, bars_per_second=bars_per_second, name=text)
    if (kind == "ccxt" and place) or text == "alpaca":
        symbols = tuple(tickers) or agent.symbols
        if not symbols or interval is None:
            raise ValueError("A stream needs an --interval, such as 1h, and --tickers where the agent knows none.")
        symbols = agent.known_tickers(symbols)
        socket = None if base_url is None else base_url.replace("http", "ws", 1)
        if place:
            venue = CoinFeed(place, interval, base_url=base_url, socket_url=socket)
        else:
            venue = AlpacaFeed(symbols, interval, feed=feed, base_url=base_url, socket_url=socket)
        return Stream(venue, venue.labels(symbols), say=say)
    raise ValueError(f"source={text!r} is unknown; use {KINDS}.")
