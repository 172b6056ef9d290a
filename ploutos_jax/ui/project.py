"""The folder that a control room is about, and the only places below it that it reads, writes or removes."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ploutos_jax.runs.run_files import is_run

RUN_FOLDERS = ("checkpoints", "runs", "ploutos-demo")
DATA_FOLDERS = ("data",)
REPORT_FOLDERS = (*RUN_FOLDERS, "reports")
OWN_FOLDER = ".ploutos"
"""Jobs, and what was worked out of files, which can be removed whenever nothing runs."""

_LONGEST = 400
_DEEPEST = 4
_PARTS_OF_A_RUN = frozenset({"checkpoints", "best", "tensorboard", "report"})
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,98}[A-Za-z0-9])?")


class OutsideError(ValueError):
    """A path that is none of the project's."""


class Project:
    """A folder with `checkpoints/`, `data/` and `reports/`, as commands that are typed in it make them.

    Args:
        root: the folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).resolve()

    @property
    def own(self) -> Path:
        """Where jobs and what was worked out lie."""
        return self.root / OWN_FOLDER

    def inside(self, path: str, folders: tuple[str, ...] = RUN_FOLDERS) -> Path:
        """Return a path that a person gave, which has to lie below one of some folders, links followed.

        Args:
            path: from the project's folder, with forward slashes.
            folders: names of folders of the project.

        Raises:
            OutsideError: if it lies elsewhere, has parts such as `..`, or cannot be a path.
        """
        parts = PurePosixPath(path).parts
        complaint = f"{_shown(path)} is no path below {', '.join(f'{name}/' for name in folders)} of this project."
        is_plain = 0 < len(path) <= _LONGEST and path.isprintable() and "\\" not in path
        if not is_plain or path.startswith(("/", "~")) or not parts or parts[0] not in folders:
            raise OutsideError(complaint)
        if any(part.startswith((".", "-")) for part in parts):
            raise OutsideError(complaint)
        try:
            found = (self.root / path).resolve()
        except (OSError, ValueError, RuntimeError):
            raise OutsideError(complaint) from None
        homes = [(self.root / name).resolve() for name in folders]
        if not any(found == home or home in found.parents for home in homes):
            raise OutsideError(complaint)
        return found

    def run(self, path: str) -> Path:
        """Return the folder of a run.

        Raises:
            OutsideError: as `inside` does.
            FileNotFoundError: if it holds no run.
        """
        folder = self.inside(path)
        if not is_run(folder):
            raise FileNotFoundError(f"There is no run in {_shown(path)}.")
        return folder

    def name_of(self, path: Path) -> str:
        """Return a path as people write it: from the project's folder, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def find_runs(self) -> list[Path]:
        """Return the folders of all runs, those inside validations too."""
        return sorted(folder for folder in self.find_folders() if is_run(folder))

    def find_folders(self, names: tuple[str, ...] = RUN_FOLDERS) -> Iterator[Path]:
        """Give the folders below some of the project's, without what checkpoints are made of."""
        for name in names:
            yield from _below(self.root / name, _DEEPEST)

    def next_free(self, folder: str, stem: str) -> str:
        """Return the first of `folder/stem-1`, `folder/stem-2`, ... that is not there."""
        number = 1
        while (self.root / folder / f"{stem}-{number}").exists():
            number += 1
        return f"{folder}/{stem}-{number}"


def check_name(name: str, endings: tuple[str, ...]) -> str:
    """Return the name of a file if it is a plain one.

    Args:
        name: as a person gave it.
        endings: what it may end in.

    Raises:
        OutsideError: if it has signs that a name need not have, or another ending.
    """
    if not _NAME.fullmatch(name) or not name.lower().endswith(endings) or ".." in name:
        raise OutsideError(
            f"{_shown(name)} is no name for a file here: letters, digits, blanks, '.', '_' and '-', at most 100 of"
            f" them, ending in {', '.join(endings)}."
        )
    return name


def _below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            inner = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    yield folder
    skipped = _PARTS_OF_A_RUN if is_run(folder) else frozenset()
    for entry in sorted(inner, key=lambda entry: entry.name):
        if depth > 0 and entry.name not in skipped and not entry.name.startswith("."):
            yield from _below(Path(entry.path), depth - 1)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
