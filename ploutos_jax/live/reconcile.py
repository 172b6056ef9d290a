"""What a broker's fills differ by from the simulated ones, order by order.

Letters: A assets.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ploutos_jax.live.journal import Journal
from ploutos_jax.live.routing import broker_orders

BROKER_FILE = "broker_against_simulated.parquet"
COLUMNS = (
    *("bar", "ticker", "side", "status", "shares_ordered", "shares_broker", "price_broker"),
    *("shares_simulated", "price_simulated", "worse_bps", "cash_apart"),
)


class Reconciled(NamedTuple):
    """A broker's account beside the simulated one.

    Attributes:
        table: one row for each bar of fills, ticker and side: what both did. `worse_bps` is by how much the broker's
            price was worse than the simulated one, NaN where one of them has no fill; `cash_apart` dollars that the
            broker's fills brought in more than the simulated ones, fees left out on both sides.
        held: `[A, 2]` shares at the broker, and simulated ones, at the end.
        symbols: the A tickers.
    """

    table: pd.DataFrame
    held: np.ndarray
    symbols: tuple[str, ...]


def reconcile(journal: Journal, symbols: Sequence[str]) -> Reconciled:
    """Return the broker's fills beside the simulated ones.

    An order that was decided at the close of bar n stands beside the simulated fills of bar n + 1. A stop that the
    simulated broker worked in bar n + 1 was ordered at its close, so that it stands one bar further down.

    Args:
        journal: of an account whose orders went to a broker.
        symbols: the A tickers.
    """
    sent, rows = broker_orders(journal), {}
    split = _splits(journal, symbols)
    held = np.zeros((len(symbols), 2))

    def row_of(bar: int, ticker: str, side: str) -> dict[str, Any]:
        blank = {"bar": bar, "ticker": ticker, "side": side, "status": "", "shares_ordered": 0.0}
        blank |= dict.fromkeys(("shares_broker", "shares_simulated", "cash_broker", "cash_simulated"), 0.0)
        return rows.setdefault((bar, ticker, side), blank)

    for order in sent.to_dict("records"):
        row, a = row_of(order["bar"] + 1, order["ticker"], order["side"]), symbols.index(order["ticker"])
        sign = 1 if order["side"] == "buy" else -1
        row["status"], row["shares_ordered"] = order["status"], row["shares_ordered"] + order["shares"]
        row["shares_broker"] += order["filled"]
        row["cash_broker"] -= sign * order["filled"] * (order["price"] or 0.0)
        held[a, 0] += sign * order["filled"] * split[-1, a] / order["factor"]
    for fill in journal.fills():
        row, a = row_of(fill["bar"], fill["ticker"], fill["side"]), symbols.index(fill["ticker"])
        sign = 1 if fill["side"] == "buy" else -1
        row["shares_simulated"] += fill["shares"]
        row["cash_simulated"] -= sign * fill["shares"] * fill["price"]
        held[a, 1] += sign * fill["shares"] * split[-1, a] / split[fill["bar"], a]
    return Reconciled(_table(rows), held, tuple(symbols))


def _splits(journal: Journal, symbols: Sequence[str]) -> np.ndarray:
    """Return the product of the splits up to each bar of the account, `[N, A]`."""
    factors = [shares for _, _, (_, shares) in journal.bars(tuple(symbols), 0)]
    return np.stack(factors) if factors else np.ones((1, len(symbols)))


def _table(rows: dict[Any, dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame([rows[place] for place in sorted(rows)])
    if table.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    with np.errstate(divide="ignore", invalid="ignore"):
        for who in ("broker", "simulated"):
            table[f"price_{who}"] = np.abs(table[f"cash_{who}"]) / table[f"shares_{who}"].replace(0.0, np.nan)
    sign = np.where(table["side"] == "buy", 1.0, -1.0)
    table["worse_bps"] = sign * 1e4 * (table["price_broker"] / table["price_simulated"] - 1)
    table["cash_apart"] = table["cash_broker"] - table["cash_simulated"]
    return pd.DataFrame({name: table[name] for name in COLUMNS})


def describe(found: Reconciled) -> str:
    """Return in words how the broker's fills differ from the simulated ones."""
    table = found.table
    if table.empty:
        return "Neither the broker nor the simulated account has traded."
    sent = table[table["shares_ordered"] > 0]
    whole = (sent["shares_broker"] >= sent["shares_ordered"] * (1 - 1e-6)).sum()
    parts = ((sent["shares_broker"] > 0) & (sent["shares_broker"] < sent["shares_ordered"] * (1 - 1e-6))).sum()
    both = table["worse_bps"].dropna()
    price = f", at prices {both.mean():+.1f} bps worse in the mean ({both.median():+.1f} median)" if len(both) else ""
    apart = [
        f"{symbol} {mine:g} against {theirs:g}"
        for symbol, (mine, theirs) in zip(found.symbols, found.held, strict=True)
        if abs(mine - theirs) > 1e-6 + 0.01 * max(abs(mine), abs(theirs))
    ]
    more = f", … ({len(apart)} in all)" if len(apart) > 5 else ""
    positions = f" Positions more than 1 % apart: {', '.join(apart[:5])}{more}." if apart else ""
    return (
        f"Broker: {len(sent)} orders, {whole} filled, {parts} in part, {len(sent) - whole - parts} not{price}; fills"
        f" brought in ${table['cash_apart'].sum():+,.2f} beside the simulated ones.{positions}"
    )
