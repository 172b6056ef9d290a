"""What a file of bars holds, and how well: read by `load_panel`, in a process of its own, as JSON on stdout.

python -m ploutos_jax.ui.panel_facts FILE
"""

import contextlib
import json
import sys
from typing import Any

import numpy as np

from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel

_MOST_BYTES = 8 * 2**30
_MOST_TICKERS, _MOST_TIMES = 2000, 200


def facts_of(panel: Panel) -> dict[str, Any]:
    """Return what a panel holds: its span, and for each ticker from when to when it trades and how many bars it lacks.

    Returns:
        `num_bars`, `num_assets`, `first`, `last`, `bars` (in words), `notes` (repairs that were made), `trading`
        (a list of time and number of assets that trade then), and `tickers`, each with `ticker`, `first`, `last`,
        `num_bars` and `coverage`: the share of the bars between its first and its last that it has.
    """
    tradable, times = np.asarray(panel.tradable), panel.times
    every = max(1, -(-panel.num_bars // _MOST_TIMES))
    counts = tradable.sum(axis=1)
    return {
        "num_bars": panel.num_bars,
        "num_assets": panel.num_assets,
        "first": str(times[0])[:16],
        "last": str(times[-1])[:16],
        "bars": panel.calendar.describe(),
        "notes": [str(note) for note in panel.notes],
        "trading": [[str(times[i])[:16], int(counts[i])] for i in range(0, panel.num_bars, every)],
        "tickers": [_ticker(symbol, tradable[:, i], times) for i, symbol in enumerate(panel.symbols[:_MOST_TICKERS])],
    }


def _ticker(symbol: str, tradable: Any, times: Any) -> dict[str, Any]:
    rows = np.flatnonzero(tradable)
    if not len(rows):
        return {"ticker": symbol, "first": None, "last": None, "num_bars": 0, "coverage": 0.0}
    span = int(rows[-1] - rows[0] + 1)
    return {
        "ticker": symbol,
        "first": str(times[rows[0]])[:16],
        "last": str(times[rows[-1]])[:16],
        "num_bars": len(rows),
        "coverage": round(len(rows) / span, 4),
    }


def main(file: str) -> int:
    """Print the facts, or what is wrong with the file; return the exit code."""
    _bound_memory()
    try:
        answer = {"facts": facts_of(load_panel(file))}
    except ValueError as error:
        answer = {"complaint": " ".join(str(error).split())}
    print(json.dumps(answer))
    return 0


def _bound_memory() -> None:
    """Let a file that stands for more than this machine should hold end this process, where the system can do that."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # not on every system

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
