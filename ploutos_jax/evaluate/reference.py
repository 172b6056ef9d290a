"""What training was like, to be told later what has changed: how far prices move in a bar, what trading costs.

Letters: T bars, A assets, N decisions.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.panel import Market

KEY = "reference"
"""Under which a run's `summary.json` holds it."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What training was like.

    Attributes:
        deviation: of the log return of a bar.
        actions: share of each choice among all; {} where actions are numbers, or nobody knows.
        cost_bps: what trading cost, basis points of the value traded; None where nothing was traded.
    """

    deviation: float
    actions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cost_bps: float | None = None

    @classmethod
    def of(cls, market: Market, ledger: Ledger | None = None, actions: np.ndarray | None = None) -> "Reference":
        """Return what bars were like, and an account that traded them.

        Args:
            market: of training, or the history before an account where that is not at hand.
            ledger: of the agent over it, or over the bars that it was scored on.
            actions: `[N, A]` of the agent over it, if they are choices.
        """
        most = None if market.labels is None else market.labels.device_bars
        # Of a market that lies in files, its last bars.
        market = market if most is None else market.window(max(0, market.num_bars - most))
        close, there = np.asarray(market.close, np.float64), np.asarray(market.tradable)
        rows = np.arange(len(close) - 1)
        within = np.asarray(market.path_end)[:-1] > rows  # the next bar is on the same path
        moves = np.log(close[1:] / np.where(close[:-1] > 0, close[:-1], np.nan))
        moves = moves[there[1:] & there[:-1] & within[:, None]]
        deviation = float(np.nanstd(moves)) if moves.size else 0.0
        cost = None
        if ledger is not None:
            traded = float(ledger.fills["shares"].to_numpy() @ ledger.fills["price"].to_numpy())
            cost = 1e4 * float(ledger.cost.sum()) / traded if traded > 0 else None
        return cls(deviation, {} if actions is None else shares_of(actions), cost)

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON holds of it."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, run: str | Path) -> "Reference | None":
        """Return what the summary of a run folder holds of its training; None where it holds nothing of it."""
        file = Path(run) / "summary.json"
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))[KEY]
            found = cls(float(plain["deviation"]), dict(plain["actions"]), plain["cost_bps"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if math.isfinite(found.deviation) else None


def shares_of(actions: np.ndarray) -> dict[str, float]:
    """Return how often each choice is taken, by its number."""
    values, counts = np.unique(np.asarray(actions), return_counts=True)
    return {str(int(value)): float(count / counts.sum()) for value, count in zip(values, counts, strict=True)}
