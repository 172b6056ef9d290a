"""The lock of a run folder: one process at a time writes to it.

The lock is one of the operating system (`flock`) on a file that the writer holds open, so a process that was killed
leaves none behind. What stands in the file is for messages alone, and the file is removed by whoever gives it back.
"""

import contextlib
import errno
import os
import socket
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_FILE = "lock"

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Folders that this flow of calls has locked: a command locks early, the training that it calls finds it done."""


class InUseError(ValueError):
    """Another process writes to the folder."""


class UnlockedWarning(UserWarning):
    """The file system of a run folder knows no locks."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is there; once more inside of that does nothing.

    Where the file system has no locks (some network and container ones), or the system no `flock`, the folder is used
    without one: `UnlockedWarning` says so, and that no other process may write to it.

    Raises:
        InUseError: if another process, or another thread of this one, holds it.
        OSError: if the file cannot be written.
    """
    place = folder.resolve()
    if place in _HELD.get():
        yield
        return
    with _taken(place / LOCK_FILE, folder):
        token = _HELD.set(_HELD.get() | {place})
        try:
            yield
        finally:
            _HELD.reset(token)
            # While it is held, so that nobody locks a file that is gone; a folder is left as it was found.
            with contextlib.suppress(OSError):
                (place / LOCK_FILE).unlink()


def _taken(path: Path, folder: Path) -> IO[str]:
    """Return the open and locked file of a folder."""
    while True:
        file = path.open("a+", encoding="utf-8", errors="replace")
        try:
            is_locked = _take(file, folder)
            # The holder before may have removed it between the two steps.
            if not is_locked or _is(path, file):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _take(file: IO[str], folder: Path) -> bool:
    """Lock a file until it is closed, and write down who holds it; return whether there are locks here."""
    is_locked = True
    try:
        if fcntl is None:
            raise OSError(errno.ENOTSUP, "this system has no flock")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUseError(
            f"The run folder {folder} is in use: {_holder(file)} writes to it. Wait until it ends or stop it, then"
            " give the same command again; or give another --output."
        ) from None
    except OSError as error:
        is_locked = False
        warnings.warn(
            f"The run folder {folder} cannot be locked ({error.strerror or error}): see to it that no other process"
            " writes to it.",
            UnlockedWarning,
            stacklevel=5,
        )
    # A full disk is reported by whatever is written next.
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
    return is_locked


def _holder(file: IO[str]) -> str:
    file.seek(0)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        said = file.read(200).strip()
        if said.startswith("process ") and said.isprintable():
            return said
    return "another process"
