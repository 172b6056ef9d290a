"""What observers of a run are told, and the bar that shows it: in a terminal, in a notebook, in a text file."""

import contextlib
import html
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from ploutos_jax.train.outlook import Outlook

MetricsRow = dict[str, Any]


@dataclass(frozen=True)
class Progress:
    """What an observer is told after each call of the compiled program.

    Attributes:
        rows: one row of figures per update since the last time, as in `metrics.jsonl`.
        done_timesteps, total_timesteps: of the run.
    """

    rows: Sequence[MetricsRow]
    done_timesteps: int
    total_timesteps: int


Observer = Callable[[Progress], None]


@contextlib.contextmanager
def showing(wanted: bool) -> Iterator[tuple[Observer, ...]]:
    """Give the observers that show a run's progress while it goes: one, or none where it is not wanted."""
    if not wanted:
        yield ()
        return
    with NotebookBar() if Console().is_jupyter else ProgressBar() as bar:
        yield (bar,)


class ProgressBar:
    """What a run shows while it goes: a bar with steps, speed and time left, and the latest figures below it.

    Where stderr is no terminal, a line of the same figures every minute or twentieth of the run. Use as a context
    manager; an observer of `train`.

    Args:
        quiet: show nothing.
        outlook: the gain of a month that is aimed at, which is shown beside what it would be; None shows neither.
        minutes: after which the run ends, if its steps are not done before; None for no such limit.
    """

    def __init__(self, *, quiet: bool = False, outlook: Outlook | None = None, minutes: float | None = None) -> None:
        self._outlook, self._growths, self._minutes = outlook, list[MetricsRow](), minutes
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._is_live = self._console.is_terminal and not quiet
        self._is_plain = not self._console.is_terminal and not quiet
        self._bar = _Bar(console=self._console, disable=not self._is_live)
        self._task = self._bar.add_task("compiling", total=None, steps="", speed="")
        self._known: dict[str, float] = {}
        self._line_due = 0.0, 0.0

    def __enter__(self) -> "ProgressBar":
        with contextlib.suppress(OSError):
            self._bar.start()
            if self._is_plain:
                self._console.print("compiling")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._bar.stop()

    def __call__(self, figures: Progress) -> None:
        """Show new figures; where they cannot be written any more, nothing is shown from then on: the run goes on."""
        try:
            self._show(figures)
        except OSError:
            self._is_plain = False
            with contextlib.suppress(OSError):
                self._bar.stop()
            self._bar.disable = True

    def _show(self, figures: Progress) -> None:
        self._known |= known_figures(figures)
        done, total = figures.done_timesteps, figures.total_timesteps
        last = figures.rows[-1]
        speed = f"{_short(last['steps_per_second'])} steps/s"
        steps = f"{_short(done)}/{_short(total)}"
        words = describe_figures(self._known)
        if self._outlook is not None:
            self._growths += [{"growth_per_step": row.get("growth_per_step")} for row in figures.rows]
            words = "\n".join(filter(None, (words, self._outlook.describe(self._growths))))
        self._bar.figures = words
        share = share_done(figures, self._minutes)
        self._bar.update(
            self._task,
            description="training",
            total=total,
            completed=share * total,
            steps=f"{steps} steps",
            speed=speed,
        )
        share_due, seconds_due = self._line_due
        now = time.monotonic()
        if self._is_plain and (share >= share_due or now >= seconds_due or done >= total):
            self._console.print(
                f"{share:4.0%}  {describe_speed(figures, self._minutes)}  {words.replace(chr(10), '  ')}"
            )
            self._line_due = (np.floor(20 * share) + 1) / 20, now + _SECONDS_PER_LINE


_SHOWN = ("episode_return_mean", "loss", "entropy", "approx_kl", "equity", "held_out_score")
_SECONDS_PER_LINE = 60.0


def describe_figures(figures: Mapping[str, float]) -> str:
    """Return reward, loss, entropy, KL and equity of an update in one line; – where one is not known yet.

    The newest held-out score comes last, where there is one.
    """
    reward, loss, entropy, kl, equity, score = (figures.get(name) for name in _SHOWN)
    texts = (
        ("reward", reward, "+.4f"),
        ("loss", loss, ".4f"),
        ("entropy", entropy, ".3f"),
        ("KL", kl, ".5f"),
    )
    words = [f"{name} {'–' if value is None else format(value, form)}" for name, value, form in texts]
    held_out = [] if score is None else [f"held out {score:+.2f}"]
    return "  ".join([*words, f"equity {'–' if equity is None else f'${equity:,.0f}'}", *held_out])


class _Bar(RichProgress):
    """A bar with lines of figures below it, so that each fits into 80 columns."""

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


class NotebookBar:
    """The same in a notebook: a bar and the latest figures below the cell, in place.

    A context manager and an observer of `train`, as `ProgressBar` is.
    """

    def __init__(self) -> None:
        self._known: dict[str, float] = {}
        self._handle: Any = None

    def __enter__(self) -> "NotebookBar":
        from IPython.display import HTML, display

        self._handle = display(HTML("compiling"), display_id=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle = None

    def __call__(self, figures: Progress) -> None:
        """Show new figures."""
        from IPython.display import HTML

        self._known |= known_figures(figures)
        if self._handle is not None:
            self._handle.update(HTML(self.page(figures)))

    def page(self, figures: Progress) -> str:
        """Return what is shown as HTML."""
        done, total = figures.done_timesteps, figures.total_timesteps
        line = f"{done / total:.0%}  {describe_speed(figures)}"
        bar = f"<progress value='{done}' max='{total}' style='width:20em'></progress>"
        figured = html.escape(describe_figures(self._known))
        return f"<div>{bar} {html.escape(line)}</div><div style='white-space:pre;font-family:monospace'>{figured}</div>"


def known_figures(figures: Progress) -> dict[str, float]:
    """Return the newest of each figure that is shown; no episode ends in some updates, and nothing is known of it."""
    return {name: row[name] for row in figures.rows for name in _SHOWN if row.get(name) is not None}


def share_done(figures: Progress, minutes: float | None = None) -> float:
    """Return the share of a run that is done, by its steps or by the `minutes` of training after which it ends."""
    by_steps = figures.done_timesteps / figures.total_timesteps
    return by_steps if minutes is None else min(1.0, max(by_steps, figures.rows[-1]["seconds"] / (60 * minutes)))


def describe_speed(figures: Progress, minutes: float | None = None) -> str:
    """Return steps done, speed and time left in words: 1.2M/3.0M steps  120.0k steps/s  0:15 left.

    Of a run that ends after `minutes` of training, no more than is left of them.
    """
    done, total = figures.done_timesteps, figures.total_timesteps
    rate = figures.rows[-1]["steps_per_second"]
    left = (total - done) / max(rate, 1e-9)
    if minutes is not None:
        left = min(left, max(0.0, 60 * minutes - figures.rows[-1]["seconds"]))
    return f"{_short(done)}/{_short(total)} steps  {_short(rate)} steps/s  {_clock(left)} left"


def _short(number: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
