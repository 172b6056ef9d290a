"""Live figures for any number of viewers: each run is read once, each piece of news is written out once.

Followers get server-sent events: `runs` (the list of all runs), `figures` (points of a run's curves), `log` (lines of
its text log).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from ploutos_jax.train.run.text_log import LOG_FILE
from ploutos_jax.ui.run_list import RunList
from ploutos_jax.ui.series import Series

SECONDS = 1.0
_MOST_BEHIND = 64
"""Events that a follower may lag behind; one that lags further is let go, and its browser asks again."""
_LAST_LOG_BYTES = 8192
_RUNS = "runs"


class LiveFigures:
    """Follows runs as long as somebody looks.

    Args:
        runs: the list of all runs.
        seconds: between two looks at the disk.
    """

    def __init__(self, runs: RunList, seconds: float = SECONDS) -> None:
        self._runs, self._seconds = runs, seconds
        self._rooms: dict[Path | str, _Room] = {}

    async def follow(self, folders: Sequence[Path], names: Sequence[str]) -> AsyncIterator[bytes]:
        """Give the events of some runs and of the list of all, what is known so far first.

        Args:
            folders: of the runs.
            names: of the same, as events call them.
        """
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_BEHIND)
        rooms = [self._room(_RUNS, _RUNS)] + [
            self._room(folder, name) for folder, name in zip(folders, names, strict=True)
        ]
        for room in rooms:
            room.followers.add(queue)
        try:
            for room in rooms:
                for event in await room.so_far():
                    yield event
            while (event := await queue.get()) is not None:
                yield event
        finally:
            for room in rooms:
                room.followers.discard(queue)

    def _room(self, key: Path | str, name: str) -> "_Room":
        room = self._rooms.get(key)
        if room is None:
            source = _ListSource(self._runs) if key == _RUNS else _RunSource(Path(key), name)
            room = self._rooms[key] = _Room(source)
            room.task = asyncio.create_task(self._watch(key, room))
        return room

    async def _watch(self, key: Path | str, room: "_Room") -> None:
        """Look at the disk until nobody follows any more."""
        idle = 0
        while idle < 3:
            await asyncio.sleep(self._seconds)
            idle = 0 if room.followers else idle + 1
            async with room.lock:
                for event in await asyncio.to_thread(room.source.news):
                    room.tell(event)
        del self._rooms[key]


class _Room:
    """Those who follow one source, and the source."""

    def __init__(self, source: "_RunSource | _ListSource") -> None:
        self.source = source
        self.followers: set[asyncio.Queue[bytes | None]] = set()
        self.lock = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None

    async def so_far(self) -> list[bytes]:
        async with self.lock:
            return await asyncio.to_thread(self.source.so_far)

    def tell(self, event: bytes) -> None:
        for queue in list(self.followers):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                self.followers.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)


class _ListSource:
    """The list of all runs, told when it changes."""

    def __init__(self, runs: RunList) -> None:
        self._runs = runs
        self._told = b""

    def so_far(self) -> list[bytes]:
        self._told = event("runs", self._runs.all())
        return [self._told]

    def news(self) -> list[bytes]:
        before = self._told
        return [each for each in self.so_far() if each != before]


class _RunSource:
    """The curves and the text log of one run."""

    def __init__(self, folder: Path, name: str) -> None:
        self._series, self._name, self._log = Series(folder), name, folder / LOG_FILE
        self._log_offset = 0

    def so_far(self) -> list[bytes]:
        points = self._series.read_all()
        return [event("figures", {"run": self._name, "all": True, "points": points}), *self._log_from(None)]

    def news(self) -> list[bytes]:
        found = self._series.read()
        is_news = bool(found.rows) or found.is_all
        told = event("figures", {"run": self._name, "all": found.is_all, "points": found.rows})
        return [*([told] if is_news else []), *self._log_from(self._log_offset)]

    def _log_from(self, offset: int | None) -> list[bytes]:
        try:
            size = self._log.stat().st_size
            start = max(size - _LAST_LOG_BYTES, 0) if offset is None or offset > size else offset
            with self._log.open("rb") as file:
                file.seek(start)
                text = file.read(_LAST_LOG_BYTES)
        except OSError:
            return []
        self._log_offset = start + len(text)
        lines = text.decode("utf-8", errors="replace").splitlines()
        return [event("log", {"run": self._name, "all": offset is None, "lines": lines})] if lines else []


def event(kind: str, content: Any) -> bytes:
    """Return a server-sent event with JSON in it."""
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n".encode()


async def follow_text(file: Path, is_over: Any, seconds: float = SECONDS) -> AsyncIterator[bytes]:
    """Give what is in a text file and what is added to it, as events `text`, until it is over; then `end`.

    Args:
        file: such as a job's log.
        is_over: called without arguments; returns whether nothing will be added any more.
        seconds: between two looks.
    """
    offset = 0
    while True:
        over = await asyncio.to_thread(is_over)
        text = await asyncio.to_thread(_read_from, file, offset)
        offset += len(text)
        if text:
            yield event("text", text.decode("utf-8", errors="replace"))
        elif over:
            yield event("end", None)
            return
        else:
            await asyncio.sleep(seconds)


def _read_from(file: Path, offset: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(2**16)
    except OSError:
        return b""
