"""Paper accounts of a project: journals as `ploutos paper` writes them, read and never written.

SQLite alone is asked: the package's own reader of journals would bring JAX into the server.
"""

import json
import os
import signal
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from ploutos_jax.live.differences import DIFFERENCES_FILE, equity_apart
from ploutos_jax.ui.project import Project
from ploutos_jax.ui.results import BusyError

FOLDER, ENDING = "paper", ".journal"
"""Journals are files with this ending, in the project's folder or in this one below it."""
_FORMAT = 1
_MOST_POINTS, _MOST_ROWS = 1500, 200
_LOCK_BYTE, _SHARED_BYTES = 0x40000000 + 2, 510
"""Where SQLite locks the file beside a journal, on every system; see its os.h."""


def find_journals(project: Project) -> list[Path]:
    """Return the journals of a project, the newest first."""
    found = [file for place in (project.root, project.root / FOLDER) for file in place.glob(f"*{ENDING}")]
    return sorted((file for file in found if file.is_file() and not file.is_symlink()), key=_changed, reverse=True)


def _changed(file: Path) -> float:
    # What is new lies in the write-ahead log.
    times = []
    for each in (file, file.with_name(f"{file.name}-wal")):
        with suppress(OSError):
            times.append(each.stat().st_mtime)
    return max(times, default=0.0)


def journal_of(project: Project, name: str) -> Path:
    """Return the journal of a name; none is opened that is not listed.

    Raises:
        FileNotFoundError: if there is none.
    """
    for file in find_journals(project):
        if project.name_of(file) == name:
            return file
    raise FileNotFoundError("There is no journal of that name in the project's folder or in paper/.")


def writer_of(journal: Path) -> int | None:
    """Return the process that trades an account, None if nobody does or the system does not tell."""
    try:
        import fcntl

        asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LOCK_BYTE, _SHARED_BYTES, 0)
        with journal.with_name(f"{journal.name}.lock").open("rb") as lock:
            kind, _, _, _, process = struct.unpack("hhqqi", fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    except (ImportError, OSError, struct.error):
        return None
    return None if kind == fcntl.F_UNLCK or process <= 0 else process


def stop_account(journal: Path) -> int:
    """Throw the kill switch of the process that trades an account; return its number.

    Raises:
        BusyError: if no process of this machine trades it, or it cannot be reached.
    """
    process = writer_of(journal)
    if process is None:
        raise BusyError("No process of this machine trades this account.")
    try:
        os.kill(process, signal.SIGUSR1)
    except (OSError, AttributeError) as error:
        raise BusyError(f"The process {process} cannot be reached: {error}.") from None
    return process


@contextmanager
def _reading(journal: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(journal, timeout=2)) as db:
        db.execute("PRAGMA query_only=ON")
        if db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
            raise sqlite3.DatabaseError("another version")
        yield db


def list_accounts(project: Project) -> list[dict[str, Any]]:
    """Return the paper accounts: journal, whether somebody trades it, last bar, equity; or why it is not read."""
    return [
        {"journal": project.name_of(file), "changed": _changed(file), **_summary(file)}
        for file in find_journals(project)
    ]


def _summary(file: Path) -> dict[str, Any]:
    try:
        with _reading(file) as db:
            facts = _facts(db)
            row = db.execute("SELECT bar, figures FROM accounts ORDER BY bar DESC LIMIT 1").fetchone()
            time = None if row is None else db.execute("SELECT time FROM moments WHERE bar = ?", row[:1]).fetchone()
            killed = db.execute("SELECT 1 FROM events WHERE kind = 'kill switch' LIMIT 1").fetchone() is not None
    except sqlite3.Error as error:
        return {"complaint": f"It is no journal that this version reads: {error}."}
    return {
        "complaint": None,
        "process": writer_of(file),
        "source": facts.get("source"),
        "symbols": facts.get("symbols", []),
        "bars": 0 if row is None else row[0] + 1,
        "last": None if not time else time[0] / 1e9,
        "equity": None if row is None else json.loads(row[1]).get("equity"),
        "was_killed": killed,
    }


def read_account(project: Project, journal: Path) -> dict[str, Any]:
    """Return a paper account: facts, equity, positions, orders, events; beside the backtest if a report has it.

    Raises:
        BusyError: if it is no journal that this version reads.
    """
    try:
        with _reading(journal) as db:
            facts = _facts(db)
            account = {
                "equity": _equity(db),
                "positions": _positions(db),
                "orders": _rows(db, "orders", "bar, ticker, side, shares, price, reason, status"),
                "broker_orders": _rows(db, "broker_orders", "bar, ticker, side, shares, filled, price, status"),
                "events": _rows(db, "events", "bar, moment, kind, text"),
            }
    except sqlite3.Error as error:
        raise BusyError(f"It is no journal that this version reads: {error}.") from None
    told = ("agent", "symbols", "source", "begun", "guards", "checkpoint", "interval_seconds")
    return {**_summary(journal), **account, "facts": {name: facts.get(name) for name in told}} | {
        "reports": reports_of(project, journal)
    }


def _facts(db: sqlite3.Connection) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in db.execute("SELECT name, value FROM facts")}


def _equity(db: sqlite3.Connection) -> list[tuple[float, float, float]]:
    """Return seconds since 1970, equity and cash of at most so many bars, the last one among them."""
    last = db.execute("SELECT max(bar) FROM accounts").fetchone()[0]
    if last is None:
        return []
    query = (
        "SELECT time, json_extract(figures, '$.equity'), json_extract(figures, '$.cash') FROM accounts JOIN moments"
        " USING (bar) WHERE (? - bar) % ? = 0 ORDER BY bar"
    )
    found = db.execute(query, (last, last // _MOST_POINTS + 1))
    return [(time / 1e9, equity, cash) for time, equity, cash in found]


def _positions(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return what is held: shares, the mean price paid, the last close and the value."""
    splits: dict[str, list[tuple[int, float]]] = {}
    for bar, ticker, ratio in db.execute(
        "SELECT bar, ticker, split FROM bars WHERE split <> 1 AND bar >= 0 ORDER BY bar"
    ):
        splits.setdefault(ticker, []).append((bar, ratio))
    held: dict[str, list[float]] = {}  # shares, dollars paid
    worked: dict[str, int] = {}
    for bar, text in db.execute("SELECT bar, fill FROM fills ORDER BY bar, number"):
        fill = json.loads(text)
        own = held.setdefault(fill["ticker"], [0.0, 0.0])
        _split(own, splits.get(fill["ticker"], []), worked, fill["ticker"], bar)
        shares = fill["shares"]
        if fill["side"] == "buy":
            own[0], own[1] = own[0] + shares, own[1] + shares * fill["price"]
        else:
            # The account counts in 32 bits: what is left below its last digit is nothing.
            left = own[0] - shares if own[0] - shares > 1e-5 * own[0] else 0.0
            own[0], own[1] = left, own[1] * (left / own[0] if own[0] > 0 else 0.0)
    found = []
    for ticker, own in sorted(held.items()):
        _split(own, splits.get(ticker, []), worked, ticker, 2**62)
        if own[0] > 1e-9:
            query = "SELECT close FROM bars WHERE ticker = ? AND close IS NOT NULL ORDER BY bar DESC LIMIT 1"
            close = db.execute(query, (ticker,)).fetchone()
            value = None if close is None else own[0] * close[0]
            known = {"shares": own[0], "entry": own[1] / own[0], "close": close and close[0], "value": value}
            found.append({"ticker": ticker, **known})
    return found


def _split(own: list[float], splits: list[tuple[int, float]], worked: dict[str, int], ticker: str, bar: int) -> None:
    """Multiply what is held by the splits up to a bar that have not been worked in yet."""
    place = worked.get(ticker, 0)
    while place < len(splits) and splits[place][0] <= bar:
        own[0] *= splits[place][1]
        place += 1
    worked[ticker] = place


def _rows(db: sqlite3.Connection, table: str, columns: str) -> list[dict[str, Any]]:
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
        return []
    found = db.execute(f"SELECT {columns} FROM {table} ORDER BY bar DESC, rowid DESC LIMIT {_MOST_ROWS}")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def reports_of(project: Project, journal: Path) -> list[str]:
    """Return the reports that were written of an account, the newest first."""
    found = [
        (file.stat().st_mtime, project.name_of(file.parent))
        for file in (project.root / "reports").glob(f"{report_stem(journal)}-*/{DIFFERENCES_FILE}")
    ]
    return [name for _, name in sorted(found, reverse=True)]


def report_stem(journal: Path) -> str:
    """Return how folders of reports of an account are called, without their number."""
    return f"paper-{journal.name.removesuffix(ENDING)}"


def read_differences(project: Project, report: str) -> list[tuple[float, float]]:
    """Return seconds since 1970 and by how much the account's equity differs from the backtest's, dollars."""
    return equity_apart(project.root / report / DIFFERENCES_FILE, _MOST_POINTS)
