"""What growth in training would make in a month, beside the gain that is aimed at: shown while a run goes on."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ploutos_jax.train.learning.rollout_metrics import projected_month, recent_growth

MONTHS = (21, 22)
"""Trading days of the months that a projection is made for."""


@dataclasses.dataclass(frozen=True)
class Outlook:
    """A monthly gain that is aimed at, and the market that it is aimed at in.

    Attributes:
        target: a fraction, in a month of 21 trading days.
        bars_per_day: bars in a trading day, below 1 for longer ones.
    """

    target: float
    bars_per_day: float

    def describe(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Return the gain in months of 21 and 22 days, growing as in the last tenth of a run's rows, and the target.

        In sample, so no forecast. Empty before any growth is known.
        """
        growth = recent_growth(rows)
        if growth is None:
            return ""
        gains = "/".join(f"{projected_month(growth, days, self.bars_per_day):+.2%}" for days in MONTHS)
        return f"in sample {gains} in {'/'.join(map(str, MONTHS))} days, target {self.target:+.0%}"

    def monthly(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Return the gain in a month of 21 days of one row of figures, by its name; {} where it has no growth."""
        growth = row.get("growth_per_step")
        is_known = isinstance(growth, int | float)
        return {"monthly_gain": projected_month(growth, MONTHS[0], self.bars_per_day)} if is_known else {}
