"""Where bars come from, by the text of a command line: `replay:FILE`, `ccxt:EXCHANGE`, `alpaca`."""

from collections.abc import Sequence
from typing import Any

from ploutos_jax.agents.agent import Agent
from ploutos_jax.live.bars import Source
from ploutos_jax.live.replay import Replay
from ploutos_jax.market.io.load import load_panel

KINDS = "replay:FILE"


def open_source(
    text: str,
    agent: Agent,
    tickers: Sequence[str] = (),
    *,
    interval: str | None = None,
    start: Any = None,
    end: Any = None,
    bars_per_second: float = 0.0,
) -> Source:
    """Return a source of bars of the tickers that an agent trades.

    Args:
        text: of `KINDS`.
        agent: whose tickers are taken where none are given.
        tickers: to trade.
        interval: of a bar, such as `1h`; of a stream.
        start, end: first and last date that a replay plays; bars before are history.
        bars_per_second: of a replay, 0 for as fast as possible.

    Raises:
        ValueError: if there is no such source, or it lacks the tickers.
    """
    kind, _, place = text.partition(":")
    if kind == "replay" and place:
        panel = load_panel(place, tickers=tuple(tickers) or None)
        panel = panel.select(agent.known_tickers(panel.symbols))
        return Replay(panel, start, end, bars_per_second=bars_per_second, name=text)
    raise ValueError(f"source={text!r} is unknown; use {KINDS}.")
