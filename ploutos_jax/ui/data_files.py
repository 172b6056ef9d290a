"""Files of bars in `data/`: what there is, how well it covers its span, and how another one is taken in."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ploutos_jax.runs.run_files import read_json
from ploutos_jax.train.run.atomic_write import write_whole
from ploutos_jax.ui.project import DATA_FOLDERS, Project, check_name

ENDINGS = (".csv", ".csv.gz", ".parquet", ".feather")
_READER = "ploutos_jax.ui.panel_facts"
_SECONDS = 180
"""Reading a file may take so long."""


class RefusedError(ValueError):
    """A file that is no data, or larger than is taken."""


class TooLargeError(RefusedError):
    """A file larger than is taken."""


class DataFiles:
    """The files of bars of a project; safe to use from threads.

    Args:
        project: whose files.
        max_upload_mb: the largest file that is taken in, in MB.
    """

    def __init__(self, project: Project, max_upload_mb: int = 200) -> None:
        self._project = project
        self._most = max_upload_mb * 2**20
        self._reading = threading.Lock()

    def all(self) -> list[dict[str, Any]]:
        """Return path, size in bytes and time of change of each file, and what is known of it already."""
        found = []
        for folder in self._project.find_folders(DATA_FOLDERS):
            for file in sorted(folder.iterdir()):
                if file.is_file() and file.name.lower().endswith(ENDINGS):
                    status = file.stat()
                    facts = read_json(self._kept(file)).get("facts")
                    found.append(
                        {
                            "path": self._project.name_of(file),
                            "bytes": status.st_size,
                            "changed": status.st_mtime,
                            "facts": {k: v for k, v in facts.items() if k not in ("tickers", "trading")}
                            if facts
                            else None,
                        }
                    )
        return found

    def facts(self, path: str) -> dict[str, Any]:
        """Return what a file holds and how well; see `ploutos_jax.ui.panel_facts.facts_of`.

        Raises:
            OutsideError: if the path is none of the project's data.
            FileNotFoundError: if there is no such file.
            RefusedError: with what `load_panel` says of a file that it does not read.
        """
        file = self._project.inside(path, DATA_FOLDERS)
        if not file.is_file():
            raise FileNotFoundError("There is no such file.")
        kept = self._kept(file)
        with self._reading:
            answer = read_json(kept)
            if not answer:
                answer = _read(file, path)
                with suppress(OSError):
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    write_whole(kept, json.dumps(answer))
        if "facts" not in answer:
            raise RefusedError(answer.get("complaint", "The file could not be read."))
        return answer["facts"]

    async def receive(self, name: str, content: AsyncIterator[bytes]) -> Path:
        """Write what is sent to a place of its own, from where `take_in` moves it.

        Raises:
            OutsideError: if the name is no plain one.
            FileExistsError: if there is a file of that name.
            TooLargeError: if it is larger than is taken.
        """
        check_name(name, ENDINGS)
        self._refuse_known(name)
        place = self._project.own / "uploads" / secrets.token_hex(8)
        place.mkdir(parents=True)
        size = 0
        try:
            with (place / name).open("wb") as file:
                async for part in content:
                    size += len(part)
                    if size > self._most:
                        raise TooLargeError(
                            f"The file is larger than {self._most // 2**20:,} MB, the most that is taken."
                        )
                    file.write(part)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return place / name

    def take_in(self, file: Path) -> dict[str, Any]:
        """Move a received file to `data/` if `load_panel` reads it; return what it holds.

        Raises:
            FileExistsError: if there is a file of that name by now.
            RefusedError: with what `load_panel` says of it.
        """
        try:
            with self._reading:
                answer = _read(file, file.name)
            if "facts" not in answer:
                raise RefusedError(answer.get("complaint", "The file could not be read."))
            target = self._project.root / DATA_FOLDERS[0] / file.name
            target.parent.mkdir(exist_ok=True)
            self._refuse_known(file.name)
            os.link(file, target)
            return {"path": self._project.name_of(target), "facts": answer["facts"]}
        finally:
            shutil.rmtree(file.parent, ignore_errors=True)

    def _refuse_known(self, name: str) -> None:
        if (self._project.root / DATA_FOLDERS[0] / name).exists():
            raise FileExistsError(f"There is a file data/{name}; give another name.")

    def _kept(self, file: Path) -> Path:
        status = file.stat()
        key = f"{file}:{status.st_mtime_ns}:{status.st_size}"
        return self._project.own / "panels" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(file: Path, name: str) -> dict[str, Any]:
    """Return the answer of the process that reads a file; what it says of it names the file as people know it."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-P", "-m", _READER, str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_SECONDS)
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"complaint": f"{name} could not be read within {_SECONDS} seconds."}
    except (ValueError, IndexError):
        return {"complaint": f"{name} could not be read: its content takes more memory than is allowed, or is damaged."}
    if "complaint" in answer:
        answer["complaint"] = answer["complaint"].replace(str(file), name)
    return answer
