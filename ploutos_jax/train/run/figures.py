"""Figures of a run as they lie on the disk, one line of JSON per update: read whatever became of the file."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"


def read_figures(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of figures of a run folder; lines that are none, cut short by a crash say, are left out."""
    return [row for _, row in read_lines(folder / METRICS_FILE)]


def read_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each line of a file that holds figures, and the figures; other lines are left out."""
    if not file.is_file():
        return
    # A line break in bytes is one, whatever else is not text.
    for line in file.read_bytes().decode("utf-8", errors="replace").split("\n"):
        row = parse_row(line)
        if row is not None:
            yield line, row


def parse_row(line: str) -> dict[str, Any] | None:
    """Return a line as figures; None if it is not JSON or names no update and its steps."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # numbers of too many digits and brackets without end, too
        return None
    if not isinstance(row, dict) or not all(_is_count(row.get(name)) for name in ("update", "timesteps")):
        return None
    return row


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def find_gaps(rows: Sequence[Mapping[str, Any]], last: int) -> str:
    """Return in words which updates up to `last` have no row, such as `updates 1 to 8 and 12`; empty where all have."""
    there = {int(row["update"]) for row in rows}
    missing = [update for update in range(1, last + 1) if update not in there]
    if not missing:
        return ""
    spans: list[list[int]] = []
    for update in missing:
        if spans and spans[-1][1] == update - 1:
            spans[-1][1] = update
        else:
            spans.append([update, update])
    shown = [f"{first}" if first == end else f"{first} to {end}" for first, end in spans[:_SHOWN]]
    more = f" and {len(spans) - _SHOWN} more stretches" if len(spans) > _SHOWN else ""
    return f"update{'s' if len(missing) > 1 else ''} {', '.join(shown)}{more}"


_SHOWN = 5
