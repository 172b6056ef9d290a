"""Ctrl+C and SIGTERM: the first ends a run with a checkpoint, the second ends the process at once."""

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from ploutos_jax.cli.early import CODES, say_to_stderr

SECONDS_TO_END = 25.0
"""After SIGTERM: whoever sends it (a cluster, a container, systemd) often waits 30 s before it kills."""

_SHOW_CURSOR = "\x1b[?25h"
_STOPPING = "Stopping after this call; a checkpoint will be written. Again to stop at once."
_AT_ONCE = "Stopped at once; the newest checkpoint that was finished is there for --resume."
_TOO_LONG = (
    "SIGTERM came {seconds:.0f} s ago and what is under way has not ended; stopped. The newest checkpoint that was"
    " finished is there for --resume."
)


class Listener:
    """A thread that hears signals whatever the main thread is at; use as a context manager in the main thread.

    Python runs signal handlers between two of its own instructions, which may be minutes away while XLA compiles or
    computes; therefore a thread listens to what the operating system writes into a pipe. After SIGTERM the process has
    `SECONDS_TO_END` seconds to leave the context; then it is ended with code 143.

    Args:
        numbers: signals that the thread alone answers: their handlers in Python do nothing meanwhile.
    """

    def __init__(self, numbers: tuple[signal.Signals, ...] = ()) -> None:
        self._numbers = numbers
        self._before: dict[int, Any] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Any:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in self._numbers:
            # Only signals with a handler in Python are written into the pipe.
            self._before[number] = signal.signal(number, _leave_to_thread)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def heard(self, number: signal.Signals) -> None:
        """Answer a signal, in the thread."""

    def _listen(self) -> None:
        while received := os.read(self._reader, 1):
            if received[0] not in CODES:
                continue
            number = signal.Signals(received[0])
            if number == signal.SIGTERM:
                threading.Thread(target=self._wait_and_leave, daemon=True).start()
            self.heard(number)

    def _wait_and_leave(self) -> None:
        if not self._ended.wait(SECONDS_TO_END):
            _leave(signal.SIGTERM, _TOO_LONG.format(seconds=SECONDS_TO_END))


class Interruption(Listener):
    """Answer to Ctrl+C and SIGTERM; use as a context manager in the main thread.

    The first signal asks the run to stop after its current call. The second ends the process at once: a checkpoint that
    is being written then is as good as never begun, those before it are whole.

    Args:
        minutes: `should_stop` also becomes True when they have passed.
    """

    def __init__(self, minutes: float | None = None) -> None:
        super().__init__((signal.SIGINT, signal.SIGTERM))
        self.interrupted = False
        self.timed_out = False
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes

    def should_stop(self) -> bool:
        """Return whether the run is asked to stop."""
        self.timed_out = self.timed_out or (self._deadline is not None and time.monotonic() >= self._deadline)
        return self.interrupted or self.timed_out

    def heard(self, number: signal.Signals) -> None:
        """Ask the run to stop, or end the process."""
        if self.interrupted:
            _leave(number, _AT_ONCE)
        self.interrupted = True
        say_to_stderr(_STOPPING)


def _leave_to_thread(number: int, frame: FrameType | None) -> None:
    """Do nothing; the thread answers."""


def _leave(number: signal.Signals, text: str) -> None:
    """End the process without waiting for anything; the progress bar has hidden the cursor."""
    is_terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    say_to_stderr(f"{_SHOW_CURSOR if is_terminal else ''}\n{text}")
    os._exit(CODES[number])
