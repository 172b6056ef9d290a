"""Round trips: what an account bought and sold again, from the fills of its ledger."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

TRADE_COLUMNS = (
    "ticker",
    "entry_date",
    "exit_date",
    "shares",
    "entry_price",
    "exit_price",
    "pnl",
    "cost",
    "exit_reason",
    "bars",
)
OPEN = "open"
"""`exit_reason` of a position that is still held at the end."""

FLAT_TOLERANCE = 1e-5
"""A position below this share of what was bought counts as flat.

The simulator adds up shares in float32, the ledger in float64: after hundreds of partial fills the two differ in the
sixth digit, and a position that the simulator closed must not live on here as dust.
"""


def round_trips(
    name: str,
    times: Shaped[np.ndarray, " rows"],
    symbols: tuple[str, ...],
    fills: pd.DataFrame,
    close: Float[np.ndarray, "rows A"] | Float[np.ndarray, "0 0"],
    split_factor: Float[np.ndarray, "rows A"] | None,
) -> pd.DataFrame:
    """Return round trips at average cost, one row per spell from flat to flat, sorted by entry.

    Columns are `TRADE_COLUMNS`. `entry_price` and `exit_price` are averages over the fills of the spell weighted
    by shares, in shares of the exit date where a split fell into the spell; `exit_date` and `exit_reason` are
    those of the last sell; `bars` counts from the first buy to the last sell. `pnl` is net of `cost` (fees,
    spread, slippage) and without dividends. A position still held is marked at the last close, with
    `exit_reason` "open" and no `exit_date`; its `shares` are all that were bought.

    Args:
        name: of the ledger, for messages.
        times: `[N+1]` dates of bars.
        symbols: A tickers.
        fills: one row per fill in order of execution, as in `Ledger`.
        close: `[N+1, A]` prices as traded, known at the close of their bar; `[0, 0]` where nothing ever is.
        split_factor: `[N+1, A]` shares that one share of row 0 has become; None without splits.

    Raises:
        ValueError: if the fills sell more of a ticker than is held.
    """
    if fills.empty:
        return _empty_trades()
    columns = pd.Index(symbols).get_indexer(pd.Index(fills["ticker"]))
    order = np.argsort(columns, kind="stable")
    asset = columns[order]
    bar = fills["bar"].to_numpy(np.int64)[order]
    buy = (fills["side"] == "buy").to_numpy(bool)[order]
    shares, price, reference, fee = (
        fills[column].to_numpy(np.float64)[order] for column in ("shares", "price", "reference_price", "fee")
    )
    factor = np.ones(len(bar)) if split_factor is None else split_factor[bar, asset]
    units = shares / factor
    trip, held = _follow_positions(name, times, symbols, asset, np.where(buy, units, -units), bar)

    first = np.flatnonzero(np.diff(trip, prepend=-1))
    last = np.append(first[1:], len(trip)) - 1
    is_open = held[last] > 0
    end = np.where(is_open, times.size - 1, bar[last])
    end_factor = 1.0 if split_factor is None else split_factor[end, asset[last]]
    bought = np.bincount(trip, np.where(buy, units, 0.0)) * end_factor
    sold = np.bincount(trip, np.where(buy, 0.0, units)) * end_factor
    paid = np.bincount(trip, np.where(buy, shares * price, 0.0))
    received = np.bincount(trip, np.where(buy, 0.0, shares * price))
    fees = np.bincount(trip, fee)
    slippage = np.bincount(trip, np.where(buy, price - reference, reference - price) * shares)
    last_close = np.asarray(close)[-1, asset[last]].astype(np.float64)
    marked = np.where(is_open, held[last] * end_factor * last_close, 0.0)
    reason = fills["reason"].to_numpy(object)[order][last]
    trades = pd.DataFrame(
        {
            "ticker": np.array(symbols, object)[asset[first]],
            "entry_date": times[bar[first]],
            "exit_date": np.where(is_open, np.datetime64("NaT", "ns"), times[end]),
            "shares": np.where(is_open, bought, sold),
            "entry_price": paid / bought,
            "exit_price": np.where(is_open, last_close, received / np.where(is_open, 1.0, sold)),
            "pnl": received + marked - paid - fees,
            "cost": fees + slippage,
            "exit_reason": np.where(is_open, OPEN, reason),
            "bars": end - bar[first],
        },
        columns=list(TRADE_COLUMNS),
    )
    return trades.iloc[np.argsort(bar[first], kind="stable")].reset_index(drop=True)


def _follow_positions(
    name: str, times: np.ndarray, symbols: tuple[str, ...], asset: np.ndarray, quantity: np.ndarray, bar: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each fill (grouped by asset, in time order) its round trip's number and the shares held after it."""
    trips, holdings = [], []
    current, trip, held, bought, most, changes, dust = -1, -1, 0.0, 0.0, 0.0, 0, 0.0
    for i, (column, change) in enumerate(zip(asset.tolist(), quantity.tolist(), strict=True)):
        if column != current:
            current, held, bought, dust = column, 0.0, 0.0, 0.0
        if change > 0 and held == 0.0:
            trip, bought, most, changes = trip + 1, 0.0, 0.0, 0
        bought, changes = bought + max(change, 0.0), changes + 1
        most = max(most, held + change)
        # The account adds up in float32: each change of a large position may have rounded by that much.
        tolerance = max(FLAT_TOLERANCE * bought, _HALF_ULP * most * changes)
        if held + change < -tolerance - dust:
            raise ValueError(
                f"Ledger {name!r} sells {-change:g} {symbols[column]} in bar {int(bar[i])}"
                f" ({times[bar[i]]}), but {held:g} are held. If a split fell into the position, pass the"
                " ratios as split=."
            )
        left = held + change
        held = left if left > tolerance else 0.0
        # What counts as nothing may be there all the same, and be sold with a later position.
        dust = dust + abs(left) if held == 0.0 else dust
        trips.append(trip)
        holdings.append(held)
    return np.array(trips, np.int64), np.array(holdings, np.float64)


_HALF_ULP = 2.0**-24
"""Relative error of one rounding to float32."""


def _empty_trades() -> pd.DataFrame:
    types = {"ticker": "str", "entry_date": "datetime64[ns]", "exit_date": "datetime64[ns]", "exit_reason": "str"}
    return pd.DataFrame(
        {c: pd.Series(dtype=types.get(c, "int64" if c == "bars" else "float64")) for c in TRADE_COLUMNS}
    )
