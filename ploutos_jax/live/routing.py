"""Orders to a broker beside the simulated one: the same positions, and a record of how the two differ.

After each decision the broker's position in a ticker is to be the simulated one with the orders just decided. What
differs is ordered, once a bar and ticker, under a name that follows from account, bar, ticker and side. An order is in
the journal before it is sent: after a crash it is looked up by its name, so that it is never sent twice.

Exits that the simulated broker works inside a bar (stops, targets) reach the other one when that bar has closed.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.env.config import EXIT_RULES, EnvConfig
from ploutos_jax.live.alpaca_broker import AwayError, Broker, Known, RefusedError
from ploutos_jax.live.journal import Journal

UNSENT, TRYING, LATE, REFUSED = "unsent", "trying", "late", "refused"
"""States of an order that the broker does not know of, or nobody knows whether it does."""
_APART = 0.01
"""Share of equity from which on positions that differ are put right without an order of the agent."""
_LEAST_CASH = 1.0
_LOOKS, _LOOK_SECONDS = 5, 0.2
_PATIENCE_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS broker_orders (
    client_id TEXT PRIMARY KEY, bar INTEGER NOT NULL, ticker TEXT NOT NULL, side TEXT NOT NULL, shares REAL NOT NULL,
    expected REAL NOT NULL, status TEXT NOT NULL, is_open INTEGER NOT NULL, filled REAL NOT NULL DEFAULT 0, price REAL,
    factor REAL NOT NULL DEFAULT 1, broker_id TEXT
)
"""


def check_rules(config: EnvConfig) -> None:
    """Refuse rules of an agent that market orders at the next open do not follow.

    Raises:
        ValueError: naming the rule.
    """
    for name, allowed in (("fill", "next_open"), ("order_type", "market")):
        if getattr(config, name) != allowed:
            raise ValueError(
                f"The agent was trained with {name}={getattr(config, name)!r}; a broker gets market orders after the"
                f" close of a bar, as {name}={allowed!r} has them. Trade it with --broker simulated."
            )


def late_exits(config: EnvConfig) -> tuple[str, ...]:
    """Return the exits of an agent's rules that the simulated broker works inside a bar, and another one after it."""
    at_closes = ("max_holding_bars", "drawdown_halt")
    return tuple(name for name in EXIT_RULES if name not in at_closes and getattr(config, name) is not None)


class Router:
    """Sends a paper account's orders to a broker.

    Args:
        broker: takes them.
        journal: of the account; it gets a table `broker_orders`.
        symbols: the A tickers.
        min_order_cash: dollars below which nothing is sent.
        max_order_cash: dollars that an order may be worth; None for any.
        say: told of orders that are refused, and of a broker that does not answer.
        now: seconds since 1970.
        sleep: waits.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        symbols: Sequence[str],
        *,
        min_order_cash: float = 1.0,
        max_order_cash: float | None = None,
        say: Callable[[str, str], None] = lambda kind, text: None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.broker, self.journal, self.symbols = broker, journal, tuple(symbols)
        self._least, self._most = max(min_order_cash, _LEAST_CASH), max_order_cash
        self._say, self._now, self._sleep = say, now, sleep
        self._wait, self._again = _PATIENCE_SECONDS, 0.0
        self._factor = np.ones(len(self.symbols))
        self._told: set[tuple[str, str]] = set()
        self._db = journal.database
        self._db.execute(_TABLE)

    def know_splits(self, factor: np.ndarray) -> None:
        """Take in the product of the splits so far, `[A]`."""
        self._factor = np.array(factor, np.float64)

    def settle(self, number: int, factor: np.ndarray) -> None:
        """Take in what became of the orders of the bars before, and cancel what is left of them.

        Args:
            number: of the bar that has closed.
            factor: `[A]` product of the splits so far.
        """
        self.know_splits(factor)
        for row in self._rows("is_open = 1 AND bar < ?", number):
            try:
                known = None if row["status"] == UNSENT else self.broker.find(row["client_id"])
                if known is None:
                    self._change(row, LATE, is_open=False)
                    self._tell(row, "was never sent, and is too late now")
                    continue
                self._take_in(row, self._close(known, row["client_id"]))
            except AwayError as error:
                self._away(error)
                return

    def _close(self, known: Known, client_id: str) -> Known:
        """Return an order that is over, having cancelled it if it was not; open still if that takes long."""
        if not known.is_open:
            return known
        self.broker.cancel(known.broker_id)
        for look in range(_LOOKS):
            known = self.broker.find(client_id) or known
            if not known.is_open:
                break
            self._sleep(_LOOK_SECONDS * (look + 1))
        return known

    def held(self) -> np.ndarray:
        """Return shares `[A]` that the broker holds for this account: what its orders have filled, splits included."""
        shares = np.zeros(len(self.symbols))
        for row in self._rows("filled > 0"):
            a = self.symbols.index(row["ticker"])
            sign = 1 if row["side"] == "buy" else -1
            shares[a] += sign * row["filled"] * self._factor[a] / row["factor"]
        return np.where(np.abs(shares) < 1e-9, 0.0, shares)

    def write(
        self,
        number: int,
        account: str,
        planned: Sequence[Mapping[str, Any]],
        shares: np.ndarray,
        close: np.ndarray,
        equity: float,
    ) -> None:
        """Write the orders of a bar into the journal, inside of the transaction that writes the bar.

        Args:
            number: of the bar.
            account: name of the account.
            planned: orders of `PaperAccount.expect`.
            shares, close: `[A]`, simulated, after the bar.
            equity: dollars.
        """
        wanted, ordered = np.array(shares, np.float64), np.zeros(len(self.symbols), bool)
        for order in planned:
            if order["reason"] == "order":
                a = self.symbols.index(order["ticker"])
                wanted[a] += order["shares"] if order["side"] == "buy" else -order["shares"]
                ordered[a] = True
        held, busy = self.held(), {row["ticker"] for row in self._rows("is_open = 1")}
        change = np.maximum(wanted, 0) - held
        value = np.abs(change) * close
        sold_out = (wanted * close < self._least) & (held > 0)
        for a in np.flatnonzero(ordered | sold_out | (value > _APART * equity)):
            if self.symbols[a] in busy or not close[a] > 0:
                continue
            side = "buy" if change[a] > 0 else "sell"
            most = np.inf if self._most is None else self._most / close[a]
            self._write_one(number, account, int(a), side, min(abs(float(change[a])), most), float(close[a]))

    def _write_one(
        self, number: int, account: str, a: int, side: str, shares: float, close: float, name: str = ""
    ) -> None:
        ticker = self.symbols[a]
        shares = self.broker.round_shares(ticker, shares)
        if shares * close < self._least:
            return
        row = f"{account}-{number}-{ticker.replace('/', '')}-{side}{name}", number, ticker, side, shares, close, UNSENT
        columns = "client_id, bar, ticker, side, shares, expected, status"
        self._db.execute(f"INSERT INTO broker_orders ({columns}, is_open) VALUES ({', '.join('?' * 7)}, 1)", row)

    def send(self) -> None:
        """Send what is in the journal and not at the broker, sales first; later again if it does not answer."""
        if self._now() < self._again:
            return
        rows = self._rows(f"status IN ('{UNSENT}', '{TRYING}')")
        for row in sorted(rows, key=lambda row: row["side"] == "buy"):
            try:
                known = self.broker.find(row["client_id"]) if row["status"] == TRYING else None
                if known is None:
                    self._change(row, TRYING, is_open=True)
                    known = self.broker.submit(*(row[name] for name in ("client_id", "ticker", "side", "shares")))
                self._take_in(row, known)
                self._wait = _PATIENCE_SECONDS
            except RefusedError as error:
                self._change(row, REFUSED, is_open=False)
                self._tell(row, f"was refused: {error}")
            except AwayError as error:
                self._away(error)
                return

    def stop(self, number: int, account: str, close: np.ndarray, *, flatten: bool) -> None:
        """Cancel what is open; and sell all that the broker holds, if asked to."""
        try:
            for row in self._rows("is_open = 1"):
                known = None if row["status"] == UNSENT else self.broker.find(row["client_id"])
                if known is None:
                    self._change(row, LATE, is_open=False)
                else:
                    self._take_in(row, self._close(known, row["client_id"]))
        except AwayError as error:
            self._away(error)
        if flatten:
            held = self.held()
            for a in np.flatnonzero(held > 0):
                self._write_one(number, account, int(a), "sell", float(held[a]), float(close[a]), "-stop")
            self._again = 0.0
            self.send()

    def orders(self) -> pd.DataFrame:
        """Return the orders to the broker; see `broker_orders`."""
        return broker_orders(self.journal)

    def _rows(self, where: str, *values: Any) -> list[dict[str, Any]]:
        found = self._db.execute(f"SELECT * FROM broker_orders WHERE {where} ORDER BY bar, rowid", values)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def _change(self, row: dict[str, Any], status: str, *, is_open: bool) -> None:
        row["status"] = status
        self._db.execute(
            "UPDATE broker_orders SET status = ?, is_open = ? WHERE client_id = ?", (status, is_open, row["client_id"])
        )

    def _take_in(self, row: dict[str, Any], known: Known) -> None:
        a = self.symbols.index(row["ticker"])
        values = known.status, known.is_open, known.filled, known.price, float(self._factor[a]), known.broker_id
        self._db.execute(
            "UPDATE broker_orders SET status = ?, is_open = ?, filled = ?, price = ?, factor = ?, broker_id = ?"
            " WHERE client_id = ?",
            (*values, row["client_id"]),
        )
        if not known.is_open and known.filled < row["shares"] * (1 - 1e-6):
            self._tell(row, f"is {known.status}: {known.filled:g} of {row['shares']:g} shares filled")

    def _tell(self, row: Mapping[str, Any], text: str) -> None:
        said = f"{row['side']} {row['shares']:g} {row['ticker']} {text}"
        self.journal.write_event(row["bar"], self._now(), "broker", said)
        kind = row["ticker"], text.partition(":")[0]
        if kind not in self._told:
            self._told.add(kind)
            self._say("broker", said)

    def _away(self, error: AwayError) -> None:
        self._again = self._now() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_SECONDS)
        if ("", "away") not in self._told or self._wait >= _LONGEST_WAIT_SECONDS:
            self._told.add(("", "away"))
            self._say("broker", f"{error}; orders wait until the next bar closes")


def broker_orders(journal: Journal) -> pd.DataFrame:
    """Return the orders that went to a broker, by bar; no rows where there was none."""
    if not journal.database.execute("SELECT 1 FROM sqlite_master WHERE name = 'broker_orders'").fetchone():
        return pd.DataFrame(columns=["client_id", "bar", "ticker", "side", "shares", "status", "filled", "price"])
    return pd.read_sql_query("SELECT * FROM broker_orders ORDER BY bar, rowid", journal.database)
