"""The journal of a paper account: everything that was known and done, bar by bar, in one SQLite file.

A bar, what was decided on it, its orders, the fills of the orders before and the account are written in one
transaction, so that a process that is killed leaves whole bars behind. The journal is all that is needed to go on.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ploutos_jax.live.bars import PRICES, ClosedBar

_FORMAT = 1
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE moments (bar INTEGER PRIMARY KEY, time INTEGER NOT NULL UNIQUE, session INTEGER NOT NULL, received REAL);
CREATE TABLE bars (
    bar INTEGER NOT NULL, ticker TEXT NOT NULL, open REAL, high REAL, low REAL, close REAL, volume REAL NOT NULL,
    tradable INTEGER NOT NULL, dividend REAL, split REAL, price_factor REAL NOT NULL, share_factor REAL NOT NULL,
    signals TEXT, PRIMARY KEY (bar, ticker)
) WITHOUT ROWID;
CREATE TABLE decisions (
    bar INTEGER PRIMARY KEY, agent TEXT NOT NULL, observation TEXT NOT NULL, wanted TEXT NOT NULL,
    action TEXT NOT NULL, decided REAL NOT NULL
);
CREATE TABLE orders (
    client_id TEXT PRIMARY KEY, bar INTEGER NOT NULL, ticker TEXT NOT NULL, side TEXT NOT NULL, shares REAL NOT NULL,
    price REAL NOT NULL, reason TEXT NOT NULL, status TEXT NOT NULL
);
CREATE TABLE fills (bar INTEGER NOT NULL, number INTEGER NOT NULL, fill TEXT NOT NULL, PRIMARY KEY (bar, number));
CREATE TABLE accounts (bar INTEGER PRIMARY KEY, figures TEXT NOT NULL);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), bar INTEGER NOT NULL, arrays BLOB NOT NULL);
CREATE TABLE events (
    number INTEGER PRIMARY KEY, bar INTEGER, moment REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL
);
CREATE INDEX orders_by_bar ON orders (bar);
"""
_OUTPUTS = "CREATE TABLE IF NOT EXISTS outputs (bar INTEGER PRIMARY KEY, numbers BLOB NOT NULL)"
"""Beside the others: journals of before have none."""


class Journal:
    """One account's journal; close it, or use it as a context manager.

    Bars before the account's first one have numbers below 0.

    Args:
        path: of the file, made if it is missing.
        read_only: leave the file as it is; others may write it meanwhile.

    Raises:
        ValueError: if another process is writing it, or the file is no journal.
    """

    def __init__(self, path: str | Path, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock: sqlite3.Connection | None = None
        if read_only:
            if not self.path.is_file():
                raise ValueError(f"No such journal: {self.path}; `ploutos paper --journal` writes one.")
        else:
            self._lock = _lock(self.path)
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None)
            if not read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
            self._check(read_only)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(f"{self.path} is no journal of a paper account: {error}.") from None

    def _check(self, read_only: bool) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        is_empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if is_empty and not read_only:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={_FORMAT}; COMMIT;")
        elif version != _FORMAT:
            self.close()
            raise ValueError(f"{self.path} is no journal that this version reads; give another file.")
        if not read_only:
            self._db.execute(_OUTPUTS)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others write it."""
        for one in (getattr(self, "_db", None), self._lock):
            if one is not None:
                one.close()

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, for tables of others."""
        return self._db

    def transaction(self) -> "_Transaction":
        """Return a context in which all that is written is kept, or on an error none of it."""
        return _Transaction(self._db)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Write what holds for the whole account, as JSON."""
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def facts(self) -> dict[str, Any]:
        """Return what was written by `write_facts`; {} for an account that has not begun."""
        return {name: json.loads(value) for name, value in self._db.execute("SELECT name, value FROM facts")}

    def write_bar(
        self,
        number: int,
        bar: ClosedBar,
        symbols: Sequence[str],
        factors: tuple[np.ndarray, np.ndarray],
        received: float | None = None,
    ) -> None:
        """Write a closed bar.

        Args:
            number: 0 for the first of the account.
            bar: of all assets.
            symbols: their tickers.
            factors: `[A]` of prices, and the divisor of volume, at total return.
            received: seconds since 1970 at which it was known; None of history.
        """
        time = int(bar.time.astype("datetime64[ns]").astype(np.int64))
        self._db.execute("INSERT INTO moments VALUES (?, ?, ?, ?)", (number, time, bar.session, received))
        rows = []
        for a, symbol in enumerate(symbols):
            prices = [_number(getattr(bar, name)[a]) for name in PRICES]
            events = [None if (x := getattr(bar, name)) is None else float(x[a]) for name in ("dividend", "split")]
            signals = json.dumps({name: _number(x[a]) for name, x in bar.signals.items()}) if bar.signals else None
            scaled = float(factors[0][a]), float(factors[1][a])
            volume = float(bar.volume[a]), int(bar.tradable[a])
            rows.append((number, symbol, *prices, *volume, *events, *scaled, signals))
        self._db.executemany(f"INSERT INTO bars VALUES ({', '.join('?' * 13)})", rows)

    def bars(self, symbols: Sequence[str], first: int | None = None) -> Iterable[tuple[int, ClosedBar, Any]]:
        """Yield number, bar and factors of the bars from one on, in order; all of them without."""
        place = {symbol: a for a, symbol in enumerate(symbols)}
        since = -(2**62) if first is None else first
        moments = self._db.execute("SELECT bar, time, session FROM moments WHERE bar >= ? ORDER BY bar", (since,))
        for number, time, session in moments.fetchall():
            query = "SELECT * FROM bars WHERE bar = ?"
            rows = sorted(self._db.execute(query, (number,)), key=lambda row: place[row[1]])
            columns = list(zip(*rows, strict=True))[2:]
            values = [np.array(column, float) for column in columns[:10]]
            has_events = [any(x is not None for x in column) for column in columns[6:8]]
            signals = [{} if text is None else json.loads(text) for text in columns[10]]
            bar = ClosedBar(
                np.datetime64(time, "ns"),
                session,
                *values[:5],
                tradable=values[5].astype(bool),
                dividend=values[6] if has_events[0] else None,
                split=values[7] if has_events[1] else None,
                signals={name: np.array([each[name] for each in signals], float) for name in signals[0]},
            )
            yield number, bar, (values[8], values[9])

    def first_bar(self) -> int:
        """Return the number of the first bar of the history, 0 where none is written."""
        return self.database.execute("SELECT min(bar) FROM moments").fetchone()[0] or 0

    def last_bar(self) -> int | None:
        """Return the number of the last bar of the account; None before its first."""
        number = self._db.execute("SELECT max(bar) FROM accounts").fetchone()[0]
        return None if number is None else int(number)

    def write_outputs(self, number: int, outputs: np.ndarray) -> None:
        """Write what the network said at the close of a bar, of which the agent's action is the greedy choice."""
        numbers = np.ascontiguousarray(outputs, np.float32).tobytes()
        self._db.execute("INSERT INTO outputs VALUES (?, ?)", (number, numbers))

    def outputs(self) -> dict[int, np.ndarray]:
        """Return what the network said, flat float32 numbers by bar; {} of a journal of before these were written."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outputs'").fetchone():
            return {}
        found = self._db.execute("SELECT bar, numbers FROM outputs ORDER BY bar")
        return {bar: np.frombuffer(numbers, np.float32) for bar, numbers in found}

    def write_decision(
        self, number: int, agent: str, observation: str, wanted: np.ndarray, action: np.ndarray, moment: float
    ) -> None:
        """Write what was decided at the close of a bar: what the agent wanted, and what the guards made of it."""
        row = number, agent, observation, _listed(wanted), _listed(action), moment
        self._db.execute("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?)", row)

    def amend_decision(self, number: int, action: np.ndarray, arrays: bytes) -> None:
        """Write another action in the place of one that has not been traded yet, and cancel its orders."""
        self._db.execute("UPDATE decisions SET action = ? WHERE bar = ?", (_listed(action), number))
        self._db.execute("UPDATE orders SET status = 'cancelled' WHERE bar = ? AND status = 'planned'", (number,))
        self._db.execute("UPDATE state SET arrays = ?", (arrays,))

    def decisions(self) -> pd.DataFrame:
        """Return the decisions: bar, agent, observation (a hash), wanted and action (arrays), decided (seconds)."""
        table = pd.read_sql_query("SELECT * FROM decisions ORDER BY bar", self._db)
        for name in ("wanted", "action"):
            table[name] = [np.array(json.loads(text), float) for text in table[name]]
        return table

    def write_order(self, order: Mapping[str, Any]) -> None:
        """Write an order: `client_id`, `bar` it was decided on, ticker, side, shares, price, reason, status."""
        names = ("client_id", "bar", "ticker", "side", "shares", "price", "reason", "status")
        row = [order[name] for name in names]
        self._db.execute(f"INSERT INTO orders ({', '.join(names)}) VALUES ({', '.join('?' * 8)})", row)

    def orders(self, status: str | None = None) -> pd.DataFrame:
        """Return the orders, all or those of a status, in the order they were decided in."""
        where = "" if status is None else "WHERE status = :status"
        query = f"SELECT * FROM orders {where} ORDER BY bar, rowid"
        return pd.read_sql_query(query, self._db, params={"status": status})

    def write_fills(self, number: int, fills: Sequence[Mapping[str, Any]]) -> None:
        """Write the simulated fills of a bar in order of execution, with the columns of a ledger."""
        rows = [(number, i, json.dumps(fill)) for i, fill in enumerate(fills)]
        self._db.executemany("INSERT INTO fills VALUES (?, ?, ?)", rows)

    def fills(self) -> list[dict[str, Any]]:
        """Return the fills by bar, with the columns that they were written with."""
        found = self._db.execute("SELECT bar, fill FROM fills ORDER BY bar, number")
        return [{"bar": bar, **json.loads(fill)} for bar, fill in found]

    def write_account(self, number: int, figures: Mapping[str, float], arrays: bytes) -> None:
        """Write the account after a bar: its figures, and all that the next step needs (replacing that before)."""
        self._db.execute("INSERT INTO accounts VALUES (?, ?)", (number, json.dumps(dict(figures))))
        self._db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?)", (number, arrays))

    def accounts(self) -> pd.DataFrame:
        """Return the figures of the account after each bar, by bar."""
        rows = self._db.execute("SELECT bar, figures FROM accounts ORDER BY bar").fetchall()
        return pd.DataFrame([{"bar": bar, **json.loads(figures)} for bar, figures in rows])

    def state(self) -> bytes | None:
        """Return what the next step needs; None before the first."""
        row = self._db.execute("SELECT arrays FROM state").fetchone()
        return None if row is None else row[0]

    def write_event(self, number: int | None, moment: float, kind: str, text: str) -> None:
        """Write what happened besides: a guard, a drift, a source that went silent."""
        self._db.execute(
            "INSERT INTO events (bar, moment, kind, text) VALUES (?, ?, ?, ?)", (number, moment, kind, text)
        )

    def events(self) -> pd.DataFrame:
        """Return the events in order: bar, moment, kind, text."""
        return pd.read_sql_query("SELECT bar, moment, kind, text FROM events ORDER BY number", self._db)

    def received(self) -> pd.DataFrame:
        """Return bar, time, session and when each bar was known (seconds since 1970; NaN of history)."""
        return pd.read_sql_query("SELECT bar, time, session, received FROM moments ORDER BY bar", self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def strip(path: str | Path, output: str | Path) -> None:
    """Write a copy of a journal for sharing: without the vendor's bars, the account's name, and what events and
    the network say.

    Decisions, orders, fills and accounts stay, with prices that were traded.

    Args:
        path: of the journal; it is left as it is.
        output: of the copy.

    Raises:
        ValueError: if there is no such journal, or the copy would replace a file.
    """
    output = Path(output)
    if output.exists():
        raise ValueError(f"{output} exists already; give another file.")
    with Journal(path, read_only=True) as journal:
        copy = sqlite3.connect(output, isolation_level=None)
        try:
            journal._db.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            copy.execute("PRAGMA secure_delete=ON")
            copy.execute("DELETE FROM bars")
            copy.execute("DELETE FROM state")
            copy.execute("DROP TABLE IF EXISTS outputs")
            copy.execute("DELETE FROM facts WHERE name NOT IN ('symbols', 'agent', 'begun', 'interval_seconds')")
            copy.execute("UPDATE orders SET client_id = 'order-' || rowid")
            if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'broker_orders'").fetchone():
                copy.execute("UPDATE broker_orders SET client_id = 'broker-order-' || rowid, broker_id = NULL")
            copy.execute("UPDATE events SET text = ''")
            copy.execute("VACUUM")
        finally:
            copy.close()


def _lock(path: Path) -> sqlite3.Connection:
    """Return what holds the right to write a journal, as long as this process lives.

    Raises:
        ValueError: if another one holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = sqlite3.connect(path.with_name(f"{path.name}.lock"), isolation_level=None, timeout=0)
    try:
        # Locks of SQLite are the system's, on every platform, and end with the process.
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        lock.close()
        raise ValueError(
            f"{path} is being written by another process; two of them would trade one account twice. Stop that one, or"
            " give another --journal."
        ) from None
    return lock


def _number(value: Any) -> float | None:
    """Return a price as SQLite and JSON keep it: NaN is none."""
    return float(value) if math.isfinite(value) else None


def _listed(action: np.ndarray) -> str:
    """Return an action as JSON; floats of 32 bits come back as they were."""
    return json.dumps(np.asarray(action).tolist())
