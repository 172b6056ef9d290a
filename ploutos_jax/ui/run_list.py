"""The runs of a project at a glance: what each is on, how far it is, whether a process writes to it."""

import os
import re
import socket
import threading
from pathlib import Path
from typing import Any

from ploutos_jax.runs.run_files import RunFiles
from ploutos_jax.train.run.figures import METRICS_FILE
from ploutos_jax.train.run.folder import CONFIG_FILE, SUMMARY_FILE
from ploutos_jax.train.run.lock import LOCK_FILE
from ploutos_jax.ui.project import Project
from ploutos_jax.ui.series import Point, Series

_HOLDER = re.compile(r"process (\d+) on (.+)")
_SCORES = ("sharpe", "total_return", "annual_return", "max_drawdown", "turnover", "total_cost", "num_trades")
_MOST_SERIES = 64
"""Runs whose curves are kept in memory, 1 MB each at most."""


class RunList:
    """The runs of a project. What was read is kept until the file it came from changes; safe to use from threads.

    Args:
        project: whose runs.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._series: dict[Path, Series] = {}
        self._facts: dict[Path, tuple[Any, dict[str, Any]]] = {}
        self._lock = threading.RLock()

    def all(self) -> list[dict[str, Any]]:
        """Return what is known of each run, the newest first."""
        with self._lock:
            runs = [self.about(folder) for folder in self._project.find_runs()]
        return sorted(runs, key=lambda run: run["started"], reverse=True)

    def about(self, folder: Path) -> dict[str, Any]:
        """Return what is known of a run: settings that matter, progress, score, state.

        `state` is `running` while a process holds the folder's lock, `finished` where all steps are done, else
        `stopped`, which can be resumed.
        """
        with self._lock:
            stamp = [stamp_of(folder / name) for name in (CONFIG_FILE, SUMMARY_FILE, METRICS_FILE)]
            known = self._facts.get(folder)
            if known is None or known[0] != stamp:
                known = (stamp, self._read(folder))
                self._facts[folder] = known
            holder = holder_of(folder)
        facts = dict(known[1])
        is_done = facts["timesteps"] >= (facts["total_timesteps"] or float("inf"))
        facts["state"] = "running" if holder is not None else "finished" if is_done else "stopped"
        facts["process"] = holder
        return facts

    def points(self, folder: Path) -> list[Point]:
        """Return the curves of a run, at most `MOST_POINTS` long."""
        with self._lock:
            return list(self._series_of(folder).read_all())

    def _series_of(self, folder: Path) -> Series:
        series = self._series.pop(folder, None) or Series(folder)
        self._series[folder] = series  # the one used last stands last
        while len(self._series) > _MOST_SERIES:
            del self._series[next(iter(self._series))]
        return series

    def _read(self, folder: Path) -> dict[str, Any]:
        run = RunFiles(folder)
        try:
            settings, problem = run.settings, None
        except ValueError as error:
            settings, problem = {}, str(error)
        series = self._series_of(folder)
        series.read_all()
        summary, last = run.summary, series.last
        score = summary.get("final_score")
        total = _find(run, "total_timesteps") if settings else None
        return {
            "run": self._project.name_of(folder),
            "started": (folder / CONFIG_FILE).stat().st_mtime,
            "preset": _find(run, "preset") if settings else None,
            "data": _find(run, "data_source") if settings else None,
            "algorithm": _find(run, "algorithm") if settings else None,
            "num_seeds": _find(run, "num_seeds") if settings else None,
            "seed": _find(run, "seed") if settings else None,
            "total_timesteps": total if isinstance(total, int) and not isinstance(total, bool) else None,
            "timesteps": last.get("timesteps", 0),
            "update": last.get("update", 0),
            "seconds": last.get("seconds"),
            "steps_per_second": last.get("steps_per_second"),
            "score": {name: score.get(name) for name in _SCORES} if isinstance(score, dict) else None,
            "scored_on": summary.get("final_score_bars"),
            "problem": problem,
        }


def holder_of(folder: Path) -> int | None:
    """Return the process on this machine that writes to a run folder, or None.

    The lock is looked up, not tried: taking it for a moment could turn a run away that begins in that moment.
    """
    file = folder / LOCK_FILE
    try:
        found = _HOLDER.fullmatch(file.read_text(encoding="utf-8", errors="replace").strip())
        inode = file.stat().st_ino
    except OSError:
        return None
    if found is None or found[2] != socket.gethostname():
        return None
    process, locks = int(found[1]), Path("/proc/locks")
    try:
        held = locks.read_text(encoding="ascii").splitlines() if locks.exists() else None
    except (OSError, UnicodeDecodeError):
        held = None
    if held is not None:
        return process if any(_is_lock(line, process, inode) for line in held) else None
    try:
        os.kill(process, 0)
    except OSError:
        return None
    return process


def _is_lock(line: str, process: int, inode: int) -> bool:
    words = line.split()
    return "FLOCK" in words and str(process) in words and any(word.endswith(f":{inode}") for word in words)


def _find(run: RunFiles, name: str) -> Any:
    if name == "data_source":
        data = run.settings.get("data")
        data = data.get("data") if isinstance(data, dict) else data
        return str(data) if data is not None else None
    value = run.setting(name)
    return value if isinstance(value, str | int | float | bool) else None


def stamp_of(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file does, or None where there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
