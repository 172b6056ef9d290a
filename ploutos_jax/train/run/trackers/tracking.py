"""Tracking: a run followed by a service elsewhere, from a thread of its own, so that training waits for nothing.

What the service has not been told yet is read from the run's own `metrics.jsonl`: that file is the queue. It takes no
memory, it outlives a crash of this process and an outage of the service, and whatever was missed is told as soon as the
service answers, or when the run is resumed.
"""

import json
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.train.run.figures import METRICS_FILE, parse_row
from ploutos_jax.train.run.loggers import Row, scalars_of

_ROWS_AT_ONCE = 16
"""Rows of one message: MLflow takes 1,000 figures, and a row has about 60."""
_BYTES_AT_ONCE = 1 << 20
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a service that has failed is asked again; twice as many each time."""
_PATIENCE, _PATIENCE_WHEN_DOWN = 120.0, 10.0
"""Seconds that the end of a run waits for the last words, and when the service does not answer anyway."""

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
"""How a run has ended, for `Tracking.finish`."""


class TrackerWarning(UserWarning):
    """A tracking service could not be told everything."""


class Tracker(Protocol):
    """A service that runs are told to. All calls come from one thread; each may raise, and is then made again later."""

    name: str

    def begin(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Start a tracked run, or go on with the one that an earlier call described; return what describes it."""
        ...

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Take figures by name, each row with its environment step."""
        ...

    def publish(self, folders: Mapping[str, Path], policy: Path | None, scores: Mapping[str, float]) -> None:
        """Take folders of files by name, the exported policy as a model, and the figures of the final score."""
        ...

    def end(self, how: str) -> None:
        """End the tracked run: `FINISHED`, `STOPPED` or `FAILED`."""
        ...


class Tracking:
    """Logger of a run folder that tells a tracking service.

    A service that is down costs the run one `TrackerWarning` and nothing else: calls return at once, except for the
    last, which waits for at most two minutes, ten seconds where the service does not answer.

    Args:
        folder: of the run; the tracked run is remembered there, so that `--resume` goes on in the same one.
        tracker: the service.
        ends_with_training: whether `close` ends the tracked run; else `finish` does, after reports were written.
    """

    def __init__(self, folder: Path, tracker: Tracker, *, ends_with_training: bool = True) -> None:
        self._folder, self._tracker, self._ends_with_training = folder, tracker, ends_with_training
        self._memory = folder / f"tracker_{tracker.name}.json"
        self._thread: threading.Thread | None = None
        self._lock, self._news, self._closing = threading.Lock(), threading.Event(), threading.Event()
        self._offset = 0
        self._known: dict[str, Any] = {}
        self._began = self._is_down = False
        self._todo: list[tuple[str, tuple[Any, ...]]] = []
        self._fault: str | None = None
        self._warned = self._is_done = False

    def write(self, rows: Sequence[Row]) -> None:
        """Say that there are rows: they are in the run's file by now."""
        del rows
        self._wake()

    def cut_back(self, update: int, timesteps: int) -> None:
        """Read the file from its beginning, as it was written anew; what the service knows is not told again."""
        del update, timesteps
        with self._lock:
            self._offset = 0
        self._wake()

    def flush(self) -> None:
        """Nothing: what was taken is in the run's file."""
        self._warn_once()

    def close(self) -> None:
        """End the tracked run, if it ends with the training."""
        if self._ends_with_training:
            self.finish(FINISHED)

    def finish(
        self,
        how: str,
        *,
        folders: Mapping[str, Path] | None = None,
        policy: Path | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Hand over what is left and what came of the run, and end the tracked run.

        Args:
            how: `FINISHED`, `STOPPED` or `FAILED`.
            folders: of files by name, such as the report.
            policy: folder of an exported policy, to be kept as a model.
            scores: figures of the final score.
        """
        if self._is_done:
            return
        if folders or policy or scores:
            self._todo.append(("publish", (folders or {}, policy, scores or {})))
        self._todo.append(("end", (how,)))
        self._closing.set()
        self._wake()
        thread, until = self._thread, time.monotonic() + _PATIENCE
        while thread is not None and thread.is_alive() and time.monotonic() < until:
            if self._is_down:
                until = min(until, time.monotonic() + _PATIENCE_WHEN_DOWN)
            thread.join(0.1)
        with self._lock:
            self._is_done = True  # the run's folder may be another's from now on: a thread left behind writes no more
        if self._todo and self._fault is None:
            self._fault = f"it has not taken everything within {_PATIENCE:g} s"
        self._warn_once()

    def _wake(self) -> None:
        self._warn_once()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"tracker {self._tracker.name}", daemon=True)
            self._thread.start()
        self._news.set()

    def _warn_once(self) -> None:
        """Warn in the thread of the run, whose warnings people see, and once."""
        if self._fault is None or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"The tracker {self._tracker.name} does not answer: {self._fault}. The run goes on without it; its figures"
            f" are in {self._folder / METRICS_FILE}, and it is told them when it answers again, or with --resume.",
            TrackerWarning,
            stacklevel=4,
        )

    def _work(self) -> None:
        pause = _FIRST_PAUSE
        while not self._is_done:
            self._news.wait()
            self._news.clear()
            try:
                if self._advance():
                    return
                self._is_down, pause = False, _FIRST_PAUSE
            # Whatever a service or its library raises, the run is not to feel it.
            except Exception as error:
                self._is_down, self._fault = True, self._fault or _in_a_line(error)
                with self._lock:
                    self._offset = 0  # what was read and not told is read again
                if self._closing.is_set():
                    time.sleep(_FIRST_PAUSE)
                else:
                    self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._news.set()

    def _advance(self) -> bool:
        """Tell all that there is; return whether the tracked run has ended."""
        if not self._began:
            self._known = self._remembered()
            described = self._tracker.begin(self._known)
            if {name: self._known.get(name) for name in described} != described:
                self._known = {**described, "sent": 0}
            self._remember()
            self._began = True
        while not self._is_done and (rows := self._next_rows()):
            for place in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[place : place + _ROWS_AT_ONCE]
                self._tracker.log([(int(row["timesteps"]), scalars_of(row)) for row in some])
                self._known["sent"] = int(some[-1]["update"])
                self._remember()
        while self._todo and not self._is_done:
            name, arguments = self._todo[0]
            getattr(self._tracker, name)(*arguments)
            del self._todo[0]
            if name == "end":
                return True
        return self._is_done

    def _next_rows(self) -> list[dict[str, Any]]:
        """Return rows that the service was not told of, up to about a mebibyte of them; what is read is read once."""
        file, sent = self._folder / METRICS_FILE, self._known.get("sent", 0)
        while True:
            with self._lock:
                if not file.is_file():
                    return []
                with file.open("rb") as opened:
                    opened.seek(self._offset)
                    block = opened.read(_BYTES_AT_ONCE)
                whole = block[: block.rfind(b"\n") + 1]
                if not whole:
                    return []
                rows = [parse_row(line.decode("utf-8", errors="replace")) for line in whole.split(b"\n")]
                self._offset += len(whole)
            found = [row for row in rows if row is not None and row["update"] > sent]
            if found:
                return found

    def _remembered(self) -> dict[str, Any]:
        try:
            known = json.loads(self._memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and isinstance(known.get("sent"), int) else {}

    def _remember(self) -> None:
        with self._lock:
            if not self._is_done:
                write_whole(self._memory, json.dumps(self._known, indent=2) + "\n")


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
