"""Memory that a file would take, estimated before it is read or laid out; what does not fit is refused."""

import contextlib
import gzip
import os
from pathlib import Path

from ploutos_jax.market.io.columns import Source

MOST_COLUMNS = 200_000
"""Columns of a file; a wide one of 20,000 tickers has fewer."""
LONGEST_HEADER = 1 << 24
"""Characters of a header line."""
_BYTES_PER_CELL = 220
"""Of the grid, while bars and corporate actions are laid out and judged: some 27 arrays of 8 bytes."""
_BYTES_PER_NUMBER = 24
"""Of a number in a table that is being read: in Arrow or as text, in pandas, and as what it becomes."""
_GIB = 1 << 30
_MOST_PACKED = 1032
"""Bytes of a text that one byte of gzip can stand for."""
_LARGE, _THIN = 2 * _GIB, 0.005
"""Above the first, a grid that is filled to less than the second is a file gone wrong, whatever memory there is."""


def free_memory() -> int:
    """Return the bytes that this process may still take: free on the machine, in its group, and under its limit."""
    found = [1 << 62]
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        found.append(limit - int((group / "memory.current").read_text(encoding="ascii")))
    # Not every system has limits of a process.
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            found.append(limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return max(min(found), 0)


def text_size(path: Path) -> int:
    """Return the bytes of a text; of a long gzipped one they are counted, up to the memory that is free."""
    size = path.stat().st_size
    if path.suffix.lower() != ".gz":
        return size
    if size * _MOST_PACKED < 1 << 32:
        # Then the last four bytes tell, but of a file that is cut off, whose last bytes say anything.
        with path.open("rb") as file:
            file.seek(-min(size, 4), os.SEEK_END)
            return min(int.from_bytes(file.read(4), "little"), size * _MOST_PACKED)
    most, counted = free_memory(), 0
    with gzip.open(path, "rb") as file:
        while counted <= most and (part := file.read(1 << 22)):
            counted += len(part)
    return counted


def check_grid(num_times: int, num_symbols: int, num_rows: int, num_signals: int) -> None:
    """Make sure that a grid of all dates and all tickers fits into memory.

    Raises:
        ValueError: if it does not; the message says how much it needs and how little of it is filled.
    """
    cells = num_times * num_symbols
    needed = cells * (_BYTES_PER_CELL + 8 * num_signals)
    if needed <= free_memory() and (needed <= _LARGE or num_rows >= cells * _THIN):
        return
    raise ValueError(
        f"The grid of {num_times:,} dates x {num_symbols:,} tickers needs about {_gib(needed)} of memory, and"
        f" {_gib(free_memory())} are free; {num_rows / cells:.2%} of it would hold a bar. Name fewer tickers, give a"
        " shorter history, or tickers that share their dates."
    )


def check_table(num_rows: int, num_columns: int, source: Source) -> None:
    """Make sure that a table of so many numbers fits into memory.

    Raises:
        ValueError: if it does not.
    """
    needed = num_rows * num_columns * _BYTES_PER_NUMBER
    if needed > free_memory():
        raise ValueError(
            f"{source.name} holds {num_rows:,} rows of {num_columns:,} columns, which need about {_gib(needed)} of"
            f" memory, and {_gib(free_memory())} are free; split the file, or leave columns out."
        )


def check_columns(num_columns: int, source: Source) -> None:
    """Make sure that a file has not more columns than any table of bars.

    Raises:
        ValueError: if it has.
    """
    if num_columns > MOST_COLUMNS:
        raise ValueError(
            f"{source.name} has {num_columns:,} columns, more than {MOST_COLUMNS:,}: is it a table of bars? Give one"
            " row per date and ticker."
        )


def _gib(size: int) -> str:
    return f"{size / _GIB:,.1f} GiB"
