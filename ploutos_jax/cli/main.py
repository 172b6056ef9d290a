"""The console command `ploutos`: names the commands, and loads the one that is asked for.

Nothing heavy is imported before that: `ploutos --help` answers at once.
"""

import contextlib
import difflib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from ploutos_jax.cli.early import CODES, WORDS, answer_early, say_to_stderr
from ploutos_jax.version import __version__

COMMANDS = {
    "demo": "a first run: made bars with a known edge, in a folder of its own",
    "train": "train an agent, score it on bars it never saw",
    "evaluate": "report of a trained agent, or several side by side",
    "orders": "what a trained agent would do at the next open",
    "paper": "a paper account on bars as they close, with a journal",
    "validate": "retrain on every fold of a history, score out of sample",
    "sweep": "many settings, chosen on bars apart from the test; studies with Ray (extra sweep)",
    "download": "bars from a vendor into a file",
    "serve": "the control room: all of this in a browser (extra ui)",
    "check": "quality and memory against a recorded baseline",
    "benchmark": "speed on this machine (needs a source checkout)",
}
"""Each is the module of that name next to this one."""

BACKTEST = (
    "a run is played over bars by: python scripts/evaluate.py --checkpoint RUN --data FILE --output REPORT (installed:"
    " ploutos evaluate ...); RUN is the folder that training wrote, in the place of --model."
)
"""What to type in the place of the backtest command of older systems."""

_BAD_INPUT, _NO_READER = 2, 141


def main(args: Sequence[str] | None = None) -> int:
    """Run `ploutos COMMAND ...`; return the exit code.

    Args:
        args: what follows the program's name; that of this process without it.
    """
    if args is None:
        answer_early()
    words = list(sys.argv[1:] if args is None else args)
    name = words[0] if words else ""
    if name in ("-h", "--help"):
        return _print(_usage())
    if name == "--version":
        return _print(f"ploutos {__version__}")
    if name not in COMMANDS:
        print(_complain(name), file=sys.stderr)
        return _BAD_INPUT
    try:
        command = importlib.import_module(f"ploutos_jax.cli.{name}")
        terminal = importlib.import_module("ploutos_jax.cli.terminal")
    except KeyboardInterrupt:
        print(WORDS[signal.SIGINT], file=sys.stderr)
        return CODES[signal.SIGINT]
    with _called(f"ploutos {name}"), terminal.exit_codes():
        return command.main(words[1:])


def _print(text: str) -> int:
    """Print to stdout; return the exit code, of an output that cannot be written too."""
    try:
        print(text, flush=True)
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return _NO_READER
        say_to_stderr(f"Error: the output (stdout) cannot be written: {error.strerror}.")
        return _BAD_INPUT
    return 0


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ploutos COMMAND [OPTIONS]",
            "",
            "A simulator and trainer for multi-asset trading, in JAX.",
            "",
            "commands:",
            *lines,
            "",
            "ploutos COMMAND --help lists the options of one; ploutos --version says which version this is.",
        ]
    )


def _complain(name: str) -> str:
    if not name:
        return _usage()
    if name == "backtest":
        return f"Error: {BACKTEST}"
    known = ", ".join(COMMANDS)
    if name.startswith("-"):
        return f"Error: option {name} is unknown before a command; the commands are {known}, see ploutos --help."
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.0)[0]
    return f"Error: command {name!r} is unknown; did you mean {near!r}? The commands are {known}."


@contextlib.contextmanager
def _called(name: str) -> Iterator[None]:
    """Let the command's own usage line begin with what was typed."""
    before = sys.argv[0]
    sys.argv[0] = name
    try:
        yield
    finally:
        sys.argv[0] = before


if __name__ == "__main__":
    sys.exit(main())
