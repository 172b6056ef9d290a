"""The first thing that a command does, before anything heavy is imported: signals, and an output that can be written.

Importing JAX and what stands on it takes seconds, in which Ctrl+C would end in a traceback and SIGTERM without a word.
Nothing is under way then, so both end the process at once. `terminal.exit_codes` takes over afterwards.
"""

import codecs
import contextlib
import os
import signal
import sys
from types import FrameType

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Exit code of a command that a signal has ended: 128 and its number, as shells count."""
WORDS = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Ended by SIGTERM."}

_PLAIN = {
    **dict.fromkeys("−–—─━═╌", "-"),
    **dict.fromkeys("│┃║|", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈", "+"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **{"…": "...", "·": "*", "×": "x", "→": "->", "≤": "<=", "≥": ">=", "±": "+-", "√": "sqrt", "²": "^2", "%": "%"},
    **{"λ": "lambda", "ε": "epsilon", "γ": "gamma", "σ": "sigma", "Δ": "delta", "█": "#", "\u00a0": " "},
}
"""What stands for a sign that the output's encoding lacks; any other is a question mark."""


def answer_early() -> None:
    """Answer signals, and make the output one that any text can be written to; for the main thread of a command."""
    for number in CODES:
        # A parent may have had it ignored, as nohup does with another signal; that stays.
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _leave)
    open_output()


def open_output() -> None:
    """Let every text be written: signs that the encoding lacks by others, and into nothing where there is no output."""
    codecs.register_error("plain", _in_plain_signs)
    for number in (0, 1, 2):
        # A file opened later would get the number of a closed output, and whatever is printed.
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # for as long as the process
        elif hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="plain")


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in signs), error.end


def _leave(number: int, frame: FrameType | None) -> None:
    say_to_stderr(WORDS[signal.Signals(number)])
    os._exit(CODES[signal.Signals(number)])


def say_to_stderr(text: str) -> None:
    """Write a line to stderr without Python's buffers; nothing is raised."""
    with contextlib.suppress(OSError, AttributeError, ValueError):  # none, as under pythonw, or one that is closed
        assert sys.__stderr__ is not None
        os.write(sys.__stderr__.fileno(), f"{text}\n".encode("ascii", errors="replace"))
