"""Closed bars as they come, and where they come from.

Letters: A assets.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.instrument import Instrument, Venue
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Panel

PRICES = ("open", "high", "low", "close")


@dataclasses.dataclass(frozen=True)
class ClosedBar:
    """One row of a panel, final: the bar of each asset over one stretch of time that is over.

    Attributes:
        time: datetime64[ns], the date (daily bars) or start in UTC.
        session: trading day as days since 1970-01-01.
        open, high, low, close: `[A]` prices as traded, NaN where an asset has no bar.
        volume: `[A]` shares, 0 where there is no bar.
        tradable: `[A]` whether orders fill in it.
        dividend, split: `[A]` as in `Panel`; None where the source knows of none.
        signals: `[A]` by name.
        next_session: trading day of the bar that follows, by the calendar of the market; None where the source leaves
            it to the times of the bars.
    """

    time: np.datetime64
    session: int
    open: Float[np.ndarray, " A"]
    high: Float[np.ndarray, " A"]
    low: Float[np.ndarray, " A"]
    close: Float[np.ndarray, " A"]
    volume: Float[np.ndarray, " A"]
    tradable: Bool[np.ndarray, " A"]
    dividend: Float[np.ndarray, " A"] | None = None
    split: Float[np.ndarray, " A"] | None = None
    signals: Mapping[str, Float[np.ndarray, " A"]] = dataclasses.field(default_factory=dict)
    next_session: int | None = None

    @classmethod
    def of(cls, panel: Panel, row: int) -> "ClosedBar":
        """Return a row of a panel. A session ends with the panel, as it does for a backtest of it."""
        following = panel.sessions[row + 1] if row + 1 < panel.num_bars else panel.sessions[row] + 1
        fields = {name: np.asarray(getattr(panel, name)[row]) for name in (*PRICES, "volume", "tradable")}
        return cls(
            time=panel.times[row],
            session=int(panel.sessions[row]),
            **fields,
            dividend=None if panel.dividend is None else np.asarray(panel.dividend[row]),
            split=None if panel.split is None else np.asarray(panel.split[row]),
            signals={name: np.asarray(signal[row]) for name, signal in panel.signals.items()},
            next_session=int(following),
        )


class Source(Protocol):
    """Where bars come from.

    Attributes:
        name: such as `replay:bars.parquet` or `ccxt:binance`.
        labels: tickers, sectors, calendar and instruments; its `times` are not read.
        seconds: length of a bar; None where time does not pass as on a clock, so that no bar is ever late.
    """

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Labels: ...

    @property
    def seconds(self) -> float | None: ...

    def history(self, num_bars: int) -> Panel | None:
        """Return up to so many closed bars before the first one that `bars` yields; None where there are none."""
        ...

    def bars(self, after: np.datetime64 | None) -> Iterator[ClosedBar | None]:
        """Yield closed bars in order of time, each once; None now and then while there is none.

        Args:
            after: time of the last bar that is known; where there is one, those that followed it come first. Without,
                the first bar is that after the history.
        """
        ...

    def has_missed(self, last: np.datetime64) -> bool:
        """Return whether a bar after that of a time has closed by now, so that what was decided on it is too old."""
        ...


def plain_labels(labels: Labels) -> dict[str, Any]:
    """Return what holds for the columns of a source's bars, as JSON keeps it."""
    return {
        "symbols": list(labels.symbols),
        "sectors": list(labels.sectors),
        "adjusted": list(labels.adjusted),
        "calendar": dataclasses.asdict(labels.calendar or Calendar()),
        "instruments": None if labels.instruments is None else [list(one) for one in labels.instruments],
    }


def _instrument(name: str, why: str = "", venue: Sequence[float | None] | None = None) -> Instrument:
    return Instrument(name, why, None if venue is None else Venue(*venue))


def labels_from(plain: Mapping[str, Any]) -> Labels:
    """Return the labels of `plain_labels`, without times."""
    kinds = plain["instruments"]
    return Labels(
        symbols=tuple(plain["symbols"]),
        sectors=tuple(plain["sectors"]),
        times=np.zeros(0, "datetime64[ns]"),
        calendar=Calendar(**plain["calendar"]),
        instruments=None if kinds is None else tuple(_instrument(*one) for one in kinds),
        adjusted=tuple(plain["adjusted"]),
    )
