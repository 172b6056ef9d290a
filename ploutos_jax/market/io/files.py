"""Which files a path stands for: one, or those of a folder and of the folders in it that are parts of one data set."""

import re
from pathlib import Path

from ploutos_jax.market.io.read import SUFFIXES, find_suffix

_PARQUET = ".parquet"
_PART = re.compile(r"[^=]+=.*|\d{4}")
"""Names of folders that hold a part of the data: `year=2024`, `ticker=AAPL`, `2024`."""


def find_files(path: Path) -> list[Path]:
    """Return the data files of a path.

    Args:
        path: a file, whatever its name, or a folder. Of a folder all files that end in one of `SUFFIXES` count, and
            Parquet files in folders in it that are named as parts of it are.

    Raises:
        ValueError: if there is none.
    """
    accepted = ", ".join(SUFFIXES)
    if not path.exists():
        raise ValueError(f"No such file or folder: {path}; give a file ending in {accepted}, or a folder.")
    if not path.is_dir():
        return [path]
    files = [file for file in sorted(path.iterdir()) if find_suffix(file, SUFFIXES) and _is_data(file)]
    files += _in_parts(path)
    if not files:
        raise ValueError(f"The folder {path} holds no data file; accepted are files ending in {accepted}.")
    return files


def find_parquet(path: Path) -> list[Path]:
    """Return the data files of a path, all of which are Parquet.

    Raises:
        ValueError: if there is none, or one is of another kind.
    """
    files = find_files(path)
    other = next((file for file in files if not file.name.lower().endswith(_PARQUET)), None)
    if other is not None:
        raise ValueError(
            f"--device-bars reads Parquet alone, of which a span can be read without the rest; {other} is none. Write"
            " it as Parquet (pandas: frame.to_parquet), or leave out --device-bars."
        )
    return files


def _in_parts(path: Path) -> list[Path]:
    found: list[Path] = []
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and _PART.fullmatch(folder.name):
            found += [file for file in sorted(folder.iterdir()) if file.name.endswith(_PARQUET) and _is_data(file)]
            found += _in_parts(folder)
    return found


def _is_data(file: Path) -> bool:
    return file.is_file() and file.name[0] not in "._"
