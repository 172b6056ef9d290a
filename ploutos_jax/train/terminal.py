"""What a person at the terminal sees of a run: a progress bar, tables, clear errors."""

import contextlib
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ploutos_jax.train.loop import Progress as Figures

_TABLE_WIDTH = 100


class ProgressBar:
    """Progress bar over timesteps with speed and the latest mean return per episode. Use as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            disable=quiet,
        )
        self._task = self._bar.add_task("compiling", total=None, figures="")
        self._episode_return = "–"

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, figures: Figures) -> None:
        """Show new figures; an observer of `train`."""
        means = [row["episode_return_mean"] for row in figures.rows if row["episode_return_mean"] is not None]
        if means:
            self._episode_return = f"{means[-1]:+.3f}"
        last = figures.rows[-1]
        text = f"{_short(last['steps_per_second'])} steps/s  episode return {self._episode_return}"
        self._bar.update(
            self._task,
            description="training",
            total=figures.total_timesteps,
            completed=figures.done_timesteps,
            figures=text,
        )


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
    return package in origin.parents or origin.parent == package.parent / "scripts"


def _short(number: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"
