"""The folder of a training run: configuration, figures per update, summary."""

import fnmatch
import json
import math
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.train.run.figures import METRICS_FILE, find_gaps, read_figures
from ploutos_jax.train.run.lock import locked
from ploutos_jax.train.run.loggers import Logger, MetricsFile, TensorBoard
from ploutos_jax.train.run.text_log import LOG_FILE, TextLog

CONFIG_FILE, SUMMARY_FILE = "config.yaml", "summary.json"
IDENTITY_FILE = "run_id"
"""Holds what the run's checkpoints are known by, so that one of another run is not taken for its own."""


class FiguresWarning(UserWarning):
    """Figures of a run folder are missing or cannot be read."""


class RunFolder:
    """Writer of a run folder, which it locks. Use as a context manager.

    Args:
        path: the folder; made if it is not there.
        settings: written to `config.yaml`; enough to run again.
        resume: go on in a folder that holds a run.
        loggers: further receivers of figures, in addition to the files and TensorBoard.
        notes: lines that the text log begins with.

    Raises:
        ValueError: if the folder holds a run and `resume` is not set, or holds none and it is, or another process
            writes to it.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        resume: bool,
        loggers: Sequence[Logger] = (),
        notes: Sequence[str] = (),
    ) -> None:
        check_output(path, resume=resume)
        self.path = path
        self._last: dict[str, Any] = {}
        self._added: dict[str, Any] = {}
        with self._telling_what_failed(), ExitStack() as opened:
            path.mkdir(parents=True, exist_ok=True)
            if not resume:
                _claim(path / CONFIG_FILE, yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True))
            opened.enter_context(locked(path))
            if not (path / IDENTITY_FILE).exists():
                write_whole(path / IDENTITY_FILE, secrets.token_hex(16) + "\n")
            self._log = TextLog(path / LOG_FILE)
            self._loggers: tuple[Logger, ...] = (self._log, MetricsFile(path / METRICS_FILE))
            self._loggers += (TensorBoard(path / "tensorboard"), *loggers)
            for line in notes:
                self._log.say(line)
            self._open = opened.pop_all()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._telling_what_failed(), self._open, ExitStack() as closing:
                for logger in self._loggers:
                    closing.callback(logger.close)
                if self._last:
                    write_json(self.path / SUMMARY_FILE, self._last | self._added)
        except OSError:
            # Where the run ends with an error already, that one is reported.
            if kind is None:
                raise

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Hand rows of figures, one per update, to all loggers."""
        with self._telling_what_failed():
            for logger in self._loggers:
                logger.write(rows)
        if rows:
            self._last = dict(rows[-1])

    def add(self, content: Mapping[str, Any]) -> None:
        """Add entries to the summary that the run will have at its end."""
        self._added |= content

    def flush(self) -> None:
        """Hand everything to the operating system, so that figures are there as far as a checkpoint reaches."""
        with self._telling_what_failed():
            for logger in self._loggers:
                logger.flush()

    def say(self, line: str) -> None:
        """Add a line to the text log."""
        with self._telling_what_failed():
            self._log.say(line)

    def cut_back(self, update: int) -> list[dict[str, Any]]:
        """Drop figures of updates after `update`, those that a resumed run will make again; return the others.

        Updates before, of which there are none, are named in a `FiguresWarning`: they cannot be made again.
        """
        kept = [row for row in read_figures(self.path) if row["update"] <= update]
        with self._telling_what_failed():
            for logger in self._loggers:
                logger.cut_back(update, kept[-1]["timesteps"] if kept else 0)
            if gaps := find_gaps(kept, update):
                note = (
                    f"{self.path / METRICS_FILE} lacks the figures of {gaps} of the {update} that are done: they were"
                    " removed or cannot be read, and the run goes on without them."
                )
                self._log.say(note)
                warnings.warn(note, FiguresWarning, stacklevel=3)
        return kept

    @contextmanager
    def _telling_what_failed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                f"The run folder {self.path} cannot be written: {error.strerror or error}. Checkpoints that are there"
                " stay whole; make room or choose another place, then go on with --resume."
            ) from error


@contextmanager
def claimed_output(output: str | None, *, resume: bool) -> Iterator[Path]:
    """Give the run folder of a command: the one given, else the next free (or, to resume, the newest) default one.

    A default folder is made at once, so that another start at the same moment takes the next one; if nothing has been
    written into it by the end, it is removed. The folder of a run that goes on is locked.

    Raises:
        ValueError: as `check_output` does, or if another process writes to the folder.
    """
    if resume:
        path = _newest_default() if output is None else Path(output)
        check_output(path, resume=True)
        # At once, not when the training begins: the data of a run may take minutes to read.
        with locked(path):
            yield path
        return
    if output is not None:
        check_output(Path(output), resume=False)
        yield Path(output)
        return
    home = _default_folder(1).parent
    check_output(home, resume=False)
    made = [] if home.exists() else [home]
    home.mkdir(exist_ok=True)
    path = _claim_default()
    try:
        check_output(path, resume=False)
        yield path
    finally:
        # Fails, as it should, where something lies in it.
        with suppress(OSError):
            for folder in (path, *made):
                folder.rmdir()


def _claim(file: Path, text: str) -> None:
    """Write the configuration that makes a folder a run's; of two runs that begin at once one gets it.

    Raises:
        ValueError: if it is there already.
    """
    try:
        file.open("x").close()
    except FileExistsError:
        raise ValueError(
            f"Another run has just begun in {file.parent}. Give another --output, or --resume when that run has ended."
        ) from None
    try:
        write_whole(file, text)
    except OSError:
        file.unlink(missing_ok=True)
        raise


def _default_folder(number: int) -> Path:
    return Path("checkpoints") / f"run-{number}"


def _newest_default() -> Path:
    """Return the default folder of the highest number that holds a run, or the first."""
    found = [path for path in _default_folder(1).parent.glob("run-*") if path.name[4:].isdigit() and _holds_run(path)]
    return max(found, key=lambda path: int(path.name[4:]), default=_default_folder(1))


def _claim_default() -> Path:
    """Make the first default folder that is not there, and return it."""
    number = 1
    while True:
        try:
            _default_folder(number).mkdir()
            return _default_folder(number)
        except FileExistsError:
            number += 1


def _holds_run(path: Path) -> bool:
    return (path / CONFIG_FILE).exists() or (path / METRICS_FILE).exists()


def check_output(path: Path, *, resume: bool) -> None:
    """Make sure that a run can be written to a folder without harm to another.

    Raises:
        ValueError: if the folder holds a run and `resume` is not set, holds none and it is, is a file, or has a path
            that cannot be written or that checkpoints would be lost in.
    """
    if path.is_file():
        raise ValueError(f"The output {path} is a file; give a folder.")
    # Orbax looks for the parts of a checkpoint with a pattern made from the path, and drops them if it finds none.
    if not fnmatch.fnmatchcase(str(path.absolute()), str(path.absolute())):
        raise ValueError(f"The output {path.absolute()} has square brackets in its path; give one without.")
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"The output {path} cannot be written: {existing} is read-only. Give another --output.")
    if _holds_run(path) and not resume:
        raise ValueError(
            f"The output folder {path} already holds a run. Give another --output, or --resume to continue that run."
        )
    if resume and not _holds_run(path):
        raise ValueError(
            f"There is no run to resume in {path}: it has no {CONFIG_FILE}. Leave out --resume to start one."
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON."""
    write_whole(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def add_to_summary(path: Path, content: Mapping[str, Any]) -> None:
    """Add entries to the summary of a run folder; figures that are not finite become null.

    One that cannot be read, cut short say, is written anew with these alone, and `FiguresWarning` says so.
    """
    file = path / SUMMARY_FILE
    summary = {}
    try:
        summary = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except (ValueError, RecursionError):
        summary = None
    if not isinstance(summary, dict):
        warnings.warn(
            f"{file} could not be read as JSON; it is written anew, without what it held.", FiguresWarning, stacklevel=2
        )
        summary = {}
    write_json(file, summary | _finite(content))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(value: Any) -> Any:
    """Return settings as YAML can hold them: mappings, lists, numbers, text."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(getattr(value, "__name__", value))
