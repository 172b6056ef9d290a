"""The tables of trades on the report page: how they ended, and one by one."""

import math
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.evaluate.ledger import FILL_REASONS
from ploutos_jax.evaluate.report.plot_style import dollars, percent
from ploutos_jax.evaluate.report.tables import NOTHING, count, day, signed, table, value_of
from ploutos_jax.evaluate.round_trips import OPEN

MOST_TRADES = 400
"""Trades that the page lists; all are in `trades.parquet`."""


def exit_table(trades: pd.DataFrame) -> str:
    """Return how trades ended and what came of them."""
    if trades.empty:
        return "<p>There were no trades.</p>"
    rows = []
    reason, profit, bars = (trades[column].to_numpy() for column in ("exit_reason", "pnl", "bars"))
    for kind in (*FILL_REASONS, OPEN):
        pnl = profit[reason == kind]
        if not pnl.size:
            continue
        mean = float(pnl.mean())
        rows.append(
            [
                "still open" if kind == OPEN else kind,
                count(pnl.size),
                percent(pnl.size / reason.size),
                percent(float(np.mean(pnl > 0))),
                f"{bars[reason == kind].mean():,.1f}",
                dollars(mean, mean),
                dollars(float(pnl.sum())),
            ]
        )
    header = ("Exit", "Trades", "Share", "Won", "Bars held", "Profit per trade", "Profit")
    return table(header, rows)


def trades_table(trades: pd.DataFrame) -> str:
    """Return the trades with the largest gains and losses, by entry; columns sort and a word filters them."""
    if trades.empty:
        return ""
    size = trades["pnl"].abs().to_numpy(np.float64)
    kept = np.sort(np.argsort(-size, kind="stable")[:MOST_TRADES])
    rows = [_trade_row(trade) for trade in trades.iloc[kept].itertuples(index=False)]
    header = (
        "Ticker",
        "Entry",
        "Exit",
        "Bars",
        "Shares",
        "Entry price",
        "Exit price",
        "Profit",
        "Return",
        "Cost",
        "Exit by",
    )
    which = (
        f"The {len(kept):,} of {len(trades):,} trades with the largest gains and losses; all are in trades.parquet."
        if len(kept) < len(trades)
        else f"All {len(trades):,} trades."
    )
    find = "<input type='search' placeholder='Filter: ticker, date, exit' aria-label='Filter the trades' hidden>"
    return f"<div class='tools'><p class='note'>{which}</p>{find}</div>{table(header, rows, kind='sortable tall')}"


def _trade_row(trade: Any) -> list[tuple[str, str]]:
    cost_basis = trade.shares * trade.entry_price
    gain = trade.pnl / cost_basis if cost_basis > 0 else math.nan
    is_open = trade.exit_reason == OPEN
    tone = " class='won'" if trade.pnl > 0 else " class='lost'"
    return [
        (str(trade.ticker), ""),
        (day(trade.entry_date), ""),
        (NOTHING if is_open else day(trade.exit_date), ""),
        (count(trade.bars), value_of(trade.bars)),
        (f"{trade.shares:,.4g}" if trade.shares < 1000 else count(trade.shares), value_of(trade.shares)),
        (dollars(trade.entry_price, 1.0), value_of(trade.entry_price)),
        (dollars(trade.exit_price, 1.0), value_of(trade.exit_price)),
        (dollars(trade.pnl, 1.0), tone + value_of(trade.pnl)),
        (signed(gain) if math.isfinite(gain) else NOTHING, tone + value_of(gain)),
        (dollars(trade.cost, 1.0), value_of(trade.cost)),
        ("still open" if is_open else str(trade.exit_reason), ""),
    ]
