"""What a person at the terminal sees of a run: a progress bar, tables, clear errors."""

import contextlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from ploutos_jax.train.loop import Progress as Figures

_TABLE_WIDTH = 100


class ProgressBar:
    """What a run shows while it goes: a bar with steps, speed and time left, and the latest figures below it.

    Where stderr is no terminal, a line of the same figures every minute or twentieth of the run. Use as a context
    manager; an observer of `train`.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._is_live = self._console.is_terminal and not quiet
        self._is_plain = not self._console.is_terminal and not quiet
        self._bar = _Bar(console=self._console, disable=not self._is_live)
        self._task = self._bar.add_task("compiling", total=None, steps="", speed="")
        self._known: dict[str, float] = {}
        self._line_due = 0.0, 0.0

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        if self._is_plain:
            self._console.print("compiling")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, figures: Figures) -> None:
        """Show new figures."""
        for row in figures.rows:
            # No episode ends in some updates: the last known return stays.
            self._known |= {name: row[name] for name in _SHOWN if row.get(name) is not None}
        done, total = figures.done_timesteps, figures.total_timesteps
        last = figures.rows[-1]
        speed = f"{_short(last['steps_per_second'])} steps/s"
        steps = f"{_short(done)}/{_short(total)}"
        self._bar.figures = describe_figures(self._known)
        self._bar.update(
            self._task, description="training", total=total, completed=done, steps=f"{steps} steps", speed=speed
        )
        share_due, seconds_due = self._line_due
        share, now = done / total, time.monotonic()
        if self._is_plain and (share >= share_due or now >= seconds_due or done >= total):
            left = (total - done) / max(last["steps_per_second"], 1e-9)
            parts = f"{share:4.0%}  {steps} steps  {speed}  {_clock(left)} left"
            self._console.print(f"{parts}  {describe_figures(self._known)}")
            self._line_due = (np.floor(20 * share) + 1) / 20, now + _SECONDS_PER_LINE


_SHOWN = ("episode_return_mean", "loss", "entropy", "approx_kl", "equity")
_SECONDS_PER_LINE = 60.0


def describe_figures(figures: Mapping[str, float]) -> str:
    """Return reward, loss, entropy, KL and equity of an update in one line; – where one is not known yet."""
    reward, loss, entropy, kl, equity = (figures.get(name) for name in _SHOWN)
    texts = (
        ("reward", reward, "+.4f"),
        ("loss", loss, ".4f"),
        ("entropy", entropy, ".3f"),
        ("KL", kl, ".5f"),
    )
    words = [f"{name} {'–' if value is None else format(value, form)}" for name, value, form in texts]
    return "  ".join([*words, f"equity {'–' if equity is None else f'${equity:,.0f}'}"])


class _Bar(Progress):
    """A bar with a line of figures below it, so that both fit into 80 columns."""

    figures = ""

    def __init__(self, *, console: Console, disable: bool) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=14),
            TaskProgressColumn(),
            TextColumn("{task.fields[steps]}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=disable,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.figures:
            yield Text(self.figures, no_wrap=True, overflow="ellipsis")


def result_console() -> Console:
    """Return a console for result tables: at least 100 columns, so that a pipe or a narrow window keeps them whole."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = max(console.width, _TABLE_WIDTH)
    return console


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn bad input into one message and exit code 2, an interruption into 130.

    A `ValueError` counts as bad input if this package raised it; one from deep inside a library is a defect and keeps
    its traceback.
    """
    before = _stop_on_sigterm()
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted.")
        sys.exit(130)
    except (ValueError, OSError) as error:
        if isinstance(error, ValueError) and not _is_ours(error):
            raise
        Console(stderr=True, soft_wrap=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def resumable(output: Path) -> Iterator[None]:
    """Let Ctrl+C and SIGTERM say how to go on with a run whose folder holds what is finished of it; exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True, soft_wrap=True).print(
            f"Interrupted; continue with the same command and --resume. What is finished lies in {output}.",
            markup=False,
            highlight=False,
        )
        sys.exit(130)


def _stop_on_sigterm() -> Any:
    """Let SIGTERM end the process as Ctrl+C does; return what was to happen before, None outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, interrupt)


def _is_ours(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(__file__).resolve().parents[1]
    origin = Path(frames[-1].filename).resolve()
    return package in origin.parents or origin.parent in (package.parent / "scripts", package.parent / "benchmarks")


def _short(number: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
