"""Accounts scored in expectation: what their positions were promised, luck left out.

In a market whose hint promises a known part of each return, an account's realised gain is that part, drift, and luck
many times as large as either. The promised part alone can be read off positions and hints, so that a few years tell
agents apart that luck would hide for centuries. Who never reads the hint, such as equal weights, is promised about 0.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ploutos_jax.evaluate.backtest.oracles.promised import promised_returns
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.panel import Market


class ExpectedEdge(NamedTuple):
    """What a year brings, as shares of equity.

    Attributes:
        gross: sum over assets of weight times promised return; drift is no part of it.
        cost: what trading cost.
        net: gross less cost.
    """

    gross: float
    cost: float
    net: float


def expected_edge(
    weights: Float[np.ndarray, "bars A"],
    cost: Float[np.ndarray, " bars"],
    market: Market,
) -> ExpectedEdge:
    """Score weights held over bars of a market with a hint.

    Args:
        weights: row t is the share of equity in each asset over bar t + 1, from its open on.
        cost: row t is what was paid in bar t + 1, as a share of the equity before it.
        market: as many bars as there are rows; the last of a path promises nothing.

    Raises:
        ValueError: if shapes disagree, or the market has no hint.
    """
    promised = promised_returns(market)
    if np.shape(weights) != promised.shape or np.shape(cost) != promised.shape[:1]:
        raise ValueError(
            f"weights of shape {np.shape(weights)} and costs of shape {np.shape(cost)} do not fit the market's"
            f" {promised.shape[0]} bars of {promised.shape[1]} assets."
        )
    bars = int((np.arange(len(promised)) != np.asarray(market.path_end)).sum())
    year = market.calendar.bars_per_year / max(bars, 1)
    gross, paid = year * float((weights * promised).sum()), year * float(np.sum(cost))
    return ExpectedEdge(gross, paid, gross - paid)


def expected_edge_of(
    ledger: Ledger, market: Market, *, fill: Literal["next_open", "next_close", "same_close"] = "next_open"
) -> ExpectedEdge:
    """Score a ledger of a market with a hint: what its positions were promised a year, and what its trades cost.

    Positions are valued at the close at which the hint was known. One that is left inside a bar, by a stop say, counts
    as not held in that bar; where orders fill at closes, as held.

    Args:
        ledger: of a backtest or a rule, over a span of the market's bars.
        market: of these bars, or of more.
        fill: when its orders filled; those of `next_close` come too late for the bar that the hint spoke of.

    Raises:
        ValueError: if the bars or tickers of the ledger are not in the market, or prices were split.
    """
    first = int(np.searchsorted(market.times, ledger.times[0]))
    span = market.window(first, first + len(ledger.times)) if first < market.num_bars else market
    if not np.array_equal(span.times, ledger.times) or span.symbols != ledger.symbols:
        raise ValueError(f"Ledger {ledger.name!r}: its bars and tickers are not those of the market.")
    if ledger.split is not None:
        raise ValueError(f"Ledger {ledger.name!r}: shares were split, which no market with a hint has.")
    shares = np.zeros(ledger.close.shape)
    fills = ledger.fills
    signed = fills["shares"].to_numpy(np.float64) * np.where(fills["side"].to_numpy() == "buy", 1, -1)
    place = {symbol: i for i, symbol in enumerate(ledger.symbols)}
    columns = np.array([place[ticker] for ticker in fills["ticker"]], np.int64)
    np.add.at(shares, (fills["bar"].to_numpy(np.int64), columns), signed)
    held = np.cumsum(shares, axis=0)
    # At the open of a bar trades come before what the bar brings; at a close after it.
    over_next = np.concatenate([held[1:], held[-1:]]) if fill == "next_open" else held
    alive = np.minimum.accumulate(ledger.equity) > 0
    equity = np.where(alive, ledger.equity, np.inf)
    cost = np.append(ledger.cost[1:], 0.0) / equity
    return expected_edge(over_next * ledger.close / equity[:, None], cost, span)
