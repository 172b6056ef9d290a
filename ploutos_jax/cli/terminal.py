"""What a person at the terminal sees of a run: tables, clear errors. The progress bar is `train.progress`'s."""

import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from ploutos_jax.cli.early import CODES, WORDS, open_output
from ploutos_jax.cli.signals import Listener

_TABLE_WIDTH = 100
_MAKER = "ploutos_jax.datasets.long"
"""Who tells, through the log of Python, which files are being made."""


def result_console() -> Console:
    """Return a console for result tables: at least 100 columns, so that a pipe or a narrow window keeps them whole."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = max(console.width, _TABLE_WIDTH)
    return console


@contextlib.contextmanager
def telling_of_files(*, quiet: bool = False) -> Iterator[None]:
    """Print what is being done where files of a long market are made, which may take long, to stderr."""
    log, handler = logging.getLogger(_MAKER), logging.StreamHandler()
    before = log.level, log.propagate
    if not quiet:
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn bad input into one message and exit code 2, Ctrl+C into 130, SIGTERM into 143, a lost reader into 141.

    A `ValueError` counts as bad input if this package raised it; one from deep inside a library is a defect and keeps
    its traceback. Warnings of this package are lines that begin with "Warning:".
    """
    before = _stop_on_sigterm()
    open_output()
    with warnings.catch_warnings(), contextlib.nullcontext() if before is None else Listener():
        _show_warnings_in_a_line()
        try:
            try:
                yield
            finally:
                # A full disk or a reader that has gone may show when the last words are written.
                sys.stdout.flush()
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else signal.SIGINT
            _complain(WORDS[number], style=None)
            sys.exit(CODES[number])
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and _is_of_output(error):
                sys.exit(_without_output(error))
            if isinstance(error, ValueError) and not _is_ours(error):
                raise
            _complain(f"Error: {_one_line(error)}")
            sys.exit(2)
        except (RuntimeError, RecursionError, MemoryError) as error:
            reason = _known(error)
            if reason is None:
                raise
            _complain(f"Error: {reason}")
            sys.exit(2)
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)


def _complain(text: str, style: str | None = "red") -> None:
    """Print a message to stderr; where that cannot be written, the exit code has to do."""
    with contextlib.suppress(OSError):
        Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


def _first_line(error: BaseException) -> str:
    """Return what XLA says of itself in one sentence; a table of buffers may follow it."""
    said = str(error).partition("RESOURCE_EXHAUSTED:")[2].strip().splitlines()[0].strip()
    return said if said.endswith(".") else f"{said}."


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_of_output(error: OSError) -> bool:
    """Return whether an error comes from writing to stdout: of a file it would say which."""
    if error.filename is not None or error.errno not in _OF_OUTPUT:
        return False
    origin = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return origin.parent == Path(__file__).parent or bool({"rich", "tyro"} & set(origin.parts))


@contextlib.contextmanager
def writing(what: str, advice: str) -> Iterator[None]:
    """Let the error of a disk that is full or read-only say what could not be written, and what to do.

    Args:
        what: such as "The report out".
        advice: a sentence.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_DISK or _is_of_output(error):
            raise
        raise OSError(f"{what} cannot be written: {os.strerror(error.errno or 0)}. {advice}") from error


_OF_DISK = tuple(getattr(errno, name) for name in ("ENOSPC", "EROFS", "EDQUOT", "EFBIG") if hasattr(errno, name))
_OF_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG)


def _without_output(error: OSError) -> int:
    """Say that nothing can be printed any more and return the exit code; what is still to be printed goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        _complain("Error: whoever read the output (stdout) has gone; stopped. Files that are finished stay.")
        return 128 + 13  # that of SIGPIPE, which Windows does not know
    _complain(
        f"Error: the output (stdout) cannot be written: {error.strerror}. Files that are finished stay; send the output"
        " elsewhere, or make room."
    )
    return 2


def _known(error: BaseException) -> str | None:
    """Return what to say of an error that the machine is to blame for; None for any other."""
    if isinstance(error, MemoryError):
        return "the memory of this machine does not suffice. Use fewer tickers, bars or environments."
    if "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"the device has no memory left: {_first_line(error)} Lower --num-envs, --rollout-length, --num-seeds or"
            " --chunk-megabytes, or use fewer tickers or bars; what a run folder holds is kept, see --resume."
        )
    if "home directory" in str(error):
        return f"{_one_line(error)} Set HOME, or XDG_CACHE_HOME, to a folder that can be written."
    return None


def _show_warnings_in_a_line() -> None:
    shown = warnings.showwarning

    def show(message: Any, category: Any, filename: str, *rest: Any, **more: Any) -> None:
        if category.__module__.partition(".")[0] == _PACKAGE:
            _complain(f"Warning: {_one_line(message)}", style=None)
        else:
            shown(message, category, filename, *rest, **more)

    warnings.showwarning = show


_PACKAGE = __name__.partition(".")[0]


@contextlib.contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Let Ctrl+C and SIGTERM say how to go on with a run whose folder holds what is finished of it; exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        _complain(
            f"Interrupted; continue with the same command and --resume. What is finished lies in {output}.", style=None
        )
        sys.exit(CODES[signal.SIGINT])


def _stop_on_sigterm() -> Any:
    """Let SIGTERM end the process as Ctrl+C does; return what was to happen before, None outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number))

    if signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None, signal.default_int_handler):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # that of `early` ends the process at once
    return signal.signal(signal.SIGTERM, interrupt)


def _is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(__file__).resolve().parents[1]
    origin = Path(frames[-1].filename).resolve()
    return package in origin.parents or origin.parent in (package.parent / "scripts", package.parent / "benchmarks")
