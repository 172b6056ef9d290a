"""Calendar: how many periods of return make a year in a market, and how its bars lie in sessions."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Calendar:
    """One fact carried from the panel to the ledger, read by everything that annualises.

    Attributes:
        periods_per_year: sessions with a return in a year. Returns are compounded to one per session before they are
            annualised, so this is the number of periods P of every annual figure.
        bars_per_session: bars in a full session, 1 for daily bars; None where it is not known.
    """

    periods_per_year: float = 252.0
    bars_per_session: float | None = None

    def __post_init__(self) -> None:
        for name in ("periods_per_year", "bars_per_session"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"Calendar: {name}={value} must be above 0.")
