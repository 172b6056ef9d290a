"""What training was like, to be told later what has changed: how far prices move, what an agent does, what it costs.

Letters: T bars, A assets.
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

ORDER = "order"
"""Reason of a fill that the agent asked for."""
KEY = "reference"
"""Under which a run's `summary.json` holds it."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What training was like.

    Attributes:
        deviation: of the log return of a bar.
        invested: what the agent's actions led to: share of the bars after whose close so many tenths of equity were
            invested, by `tenths_of`; {} where nobody knows.
        trading: share of bars in which its orders filled; None where nobody knows.
        cost_bps: what trading cost, basis points of the value traded; None where nothing was traded.
    """

    deviation: float
    invested: Mapping[str, float] = dataclasses.field(default_factory=dict)
    trading: float | None = None
    cost_bps: float | None = None

    @classmethod
    def of(cls, market: Market, ledger: Ledger | None = None) -> "Reference":
        """Return what bars were like, and an account that traded them.

        Args:
            market: of training, or the history before an account where that is not at hand.
            ledger: of the agent over it, or over the bars that it was scored on.
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
        if ledger is None:
            return cls(deviation)
        fills = ledger.fills
        traded = float(fills["shares"].to_numpy() @ fills["price"].to_numpy())
        cost = 1e4 * float(ledger.cost.sum()) / traded if traded > 0 else None
        equity = np.where(ledger.equity > 0, ledger.equity, np.inf)
        of_orders = fills.loc[fills["reason"] == ORDER, "bar"]
        trading = of_orders.nunique() / max(1, len(ledger.equity) - 1)
        return cls(deviation, tenths_of(ledger.gross_exposure[1:] / equity[1:]), trading, cost)

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON holds of it."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, run: str | Path) -> "Reference | None":
        """Return what the summary of a run folder holds of its training; None where it holds nothing of it."""
        file = Path(run) / "summary.json"
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))[KEY]
            of_agent = dict(plain.get("invested", {})), plain.get("trading")
            found = cls(float(plain["deviation"]), *of_agent, plain["cost_bps"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if math.isfinite(found.deviation) else None


def tenths_of(invested: np.ndarray) -> dict[str, float]:
    """Return the share of bars with so many whole tenths of equity invested, "0" to "9", and "10" for all and more."""
    values, counts = np.unique(np.clip(np.floor(10 * invested + 1e-6), 0, 10), return_counts=True)
    return {str(int(value)): float(count / counts.sum()) for value, count in zip(values, counts, strict=True)}
