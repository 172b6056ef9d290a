"""Ctrl+C and SIGTERM: the first ends a run with a checkpoint, the second ends the process at once."""

import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

from rich.console import Console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EXIT_CODE = 130
_SHOW_CURSOR = "\x1b[?25h"


class Interruption:
    """Answer to Ctrl+C and SIGTERM; use as a context manager in the main thread.

    The first signal asks the run to stop after its current call. The second ends the process at once, with code 130:
    a checkpoint that is being written then is as good as never begun, those before it are whole. Python runs signal
    handlers between two of its own instructions, which may be minutes away while XLA compiles or computes; therefore
    a thread listens to what the operating system writes into a pipe.

    Args:
        minutes: `should_stop` also becomes True when they have passed.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self.interrupted = False
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _SIGNALS:
            # Only signals with a handler in Python are written into the pipe.
            self._before[number] = signal.signal(number, _leave_to_thread)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def should_stop(self) -> bool:
        """Return whether the run is asked to stop."""
        return self.interrupted or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _listen(self) -> None:
        while received := os.read(self._reader, 1):
            if received[0] not in _SIGNALS:
                continue
            if self.interrupted:
                _leave()
            self.interrupted = True
            Console(stderr=True, soft_wrap=True).print(
                "Stopping after this call; a checkpoint will be written. Again to stop at once."
            )


def _leave_to_thread(number: int, frame: FrameType | None) -> None:
    """Do nothing; `Interruption._listen` answers."""


def _leave() -> None:
    """End the process without waiting for anything; the progress bar has hidden the cursor."""
    text = "\nStopped at once; the newest checkpoint that was finished is there for --resume.\n"
    if sys.__stderr__ is not None:  # as under pythonw
        os.write(sys.__stderr__.fileno(), ((_SHOW_CURSOR if sys.__stderr__.isatty() else "") + text).encode())
    os._exit(_EXIT_CODE)
