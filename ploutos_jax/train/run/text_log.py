"""What a run said, as lines of text in its folder: for whoever looks at it later, or at a run in the background."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOG_FILE = "run.log"

_SHOWN = (
    ("episode_return_mean", "reward", ".4f"),
    ("held_out_score", "held-out score", ".3f"),
    ("loss", "loss", ".4f"),
    ("entropy", "entropy", ".3f"),
    ("approx_kl", "KL", ".5f"),
    ("equity", "equity", ",.0f"),
    ("episode_length_mean", "episode length", ".1f"),
    ("trades_per_episode", "trades per episode", ".1f"),
    ("steps_per_second", "steps/s", ",.0f"),
)
"""Figures of a line: name, word, form."""


class TextLog:
    """A file that grows by a line for each call of the compiled program; a `Logger`.

    Args:
        path: of the file; lines of a run that goes on are added to it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def say(self, line: str) -> None:
        """Add a line, with the time."""
        self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(line.split())}\n")
        self._file.flush()

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the figures of the last row; a held-out score stands in no other."""
        if not rows:
            return
        row = rows[-1]
        words = [f"{word} {format(row[name], form)}" for name, word, form in _SHOWN if _is_number(row.get(name))]
        self.say(f"update {row['update']}, {row['timesteps']:,} steps: {', '.join(words)}")

    def cut_back(self, update: int, timesteps: int) -> None:
        """Say that the run goes on: what was said before stays."""
        del timesteps
        self.say(f"going on after update {update}")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
