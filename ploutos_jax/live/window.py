"""The last bars, and the row of the market that they make: features of now, with bounded memory.

A row of the table is made by `build_market` of the last `window_bars` bars. Every feature forgets: windows end, and
what is left in an exponential or Wilder's average of bars further back is below the last digit of float32. Only the
adjustment for splits and dividends does not, which is a running product; it is carried along, in float64, so that
adjusted prices have the digits that they have in the whole history.

Experts decide by the number of bars since the first of the history, which is counted.

The exception is an asset that has bars in few rows of the window: own bars are what features count.

Letters: A assets.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.live.bars import PRICES, ClosedBar
from ploutos_jax.live.expert_columns import ExpertColumns
from ploutos_jax.live.next_bar import next_time
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.features.compute import MASKS
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market, Panel

_LEAST, _STEP = 512, 256
"""The longest feature looks back 272 bars, and (13/14)^240, what Wilder's average keeps of the rest, is 2e-8."""
_FIELDS = (*PRICES, "volume")


def window_bars(calendar: Calendar) -> int:
    """Return how many bars the features of the last one are made of: two sessions before the present one at least.

    Args:
        calendar: of the bars.
    """
    sessions = math.ceil(3 * (calendar.bars_per_session or 1))
    return max(_LEAST, -(-sessions // _STEP) * _STEP)


@dataclasses.dataclass
class Adjustment:
    """Running products and sums of `total_return`, `[A]` each, float64.

    Attributes:
        shares: product of the splits so far.
        growth: what reinvested dividends have made of a share.
        paid: dividends so far per share of the first day.
        paid_before: the same at the last bar that the asset had; NaN before its first.
    """

    shares: np.ndarray
    growth: np.ndarray
    paid: np.ndarray
    paid_before: np.ndarray

    @classmethod
    def none(cls, num_assets: int) -> "Adjustment":
        """Return that of A assets before their first bar."""
        return cls(np.ones(num_assets), np.ones(num_assets), np.zeros(num_assets), np.full(num_assets, np.nan))

    def follow(self, bar: ClosedBar) -> tuple[np.ndarray, np.ndarray]:
        """Take a bar in; return the factor of its prices and the divisor of its volume, `[A]` each."""
        if bar.split is not None:
            self.shares = self.shares * bar.split
        if bar.dividend is not None:
            self.paid = self.paid + bar.dividend * self.shares
        exists = np.isfinite(bar.close)
        pending = np.where(exists & np.isfinite(self.paid_before), self.paid - self.paid_before, 0) / self.shares
        self.growth = self.growth * (1 + pending / np.where(exists, bar.close, 1))
        self.paid_before = np.where(exists, self.paid, self.paid_before)
        return self.shares * self.growth, self.shares


class BarWindow:
    """The last bars of A assets, as traded and adjusted.

    Args:
        labels: tickers, sectors, calendar, instruments.
        feature_names: of the agent, masks included.
        adjustment: where an earlier window stopped; that of the first bar without it.

    Raises:
        ValueError: if a feature is an expert, and the bars are intraday ones.

    Attributes:
        count: bars of the history so far, those that the window has forgotten among them.
    """

    def __init__(self, labels: Labels, feature_names: tuple[str, ...], adjustment: Adjustment | None = None) -> None:
        self.labels = labels
        self._experts = ExpertColumns(feature_names, labels.calendar or Calendar())
        self.size = -(-max(window_bars(labels.calendar or Calendar()), self._experts.least_bars) // _STEP) * _STEP
        self.count = 0
        num_assets, rows = len(labels.symbols), 2 * self.size
        self.adjustment = Adjustment.none(num_assets) if adjustment is None else adjustment
        self._features = [name for name in feature_names if name not in self._experts.names]
        self._order = tuple(feature_names)
        self._end = self.size
        self._raw = {name: np.full((rows, num_assets), np.nan) for name in _FIELDS}
        self._raw["volume"][:] = 0.0
        self._adjusted = {name: x.copy() for name, x in self._raw.items()}
        self._tradable = np.zeros((rows, num_assets), bool)
        self._sessions = np.zeros(rows, np.int32)
        self._times = np.zeros(rows, "datetime64[ns]")
        self._actions: dict[str, np.ndarray] = {}
        self._signals: dict[str, np.ndarray] = {}
        self._num_bars = 0
        self._carried = np.zeros(num_assets)
        self._following = (np.datetime64("NaT", "ns"), 0)

    @property
    def last_time(self) -> np.datetime64:
        """Time of the last bar."""
        return self._times[self._end - 1]

    def add(self, bar: ClosedBar, factors: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """Take in the bar after the last one.

        Args:
            bar: closed.
            factors: of its prices and volume, where they are known from an earlier time; `adjustment` is then left as
                it is.
        """
        if self._end == 2 * self.size:
            self._make_room()
        row = self._end
        factor, shares = self.adjustment.follow(bar) if factors is None else factors
        for name in _FIELDS:
            self._raw[name][row] = getattr(bar, name)
            self._adjusted[name][row] = getattr(bar, name) / shares if name == "volume" else getattr(bar, name) * factor
        self._tradable[row] = bar.tradable
        self._sessions[row], self._times[row] = bar.session, bar.time
        for name, blank in (("dividend", 0.0), ("split", 1.0)):
            value = getattr(bar, name)
            if value is not None and name not in self._actions:
                self._actions[name] = np.full(self._tradable.shape, blank)
            if name in self._actions:
                self._actions[name][row] = blank if value is None else value
        for name, signal in bar.signals.items():
            if name not in self._signals:
                self._signals[name] = np.full(self._tradable.shape, np.nan)
            self._signals[name][row] = signal
        self._carried = np.where(
            np.isfinite(bar.close), bar.close, self._carried / (1.0 if bar.split is None else bar.split)
        )
        if not self._num_bars:
            # What lies before the first bar has days of its own: bars of one day mean intraday ones.
            before = np.arange(row, 0, -1)
            self._sessions[:row] = bar.session - before
            self._times[:row] = bar.time - before.astype("timedelta64[D]")
        self._end, self._num_bars, self.count = row + 1, self._num_bars + 1, self.count + 1
        if bar.next_session is None:
            self._following = next_time(self.panel())
        else:
            self._following = bar.time + np.timedelta64(1, "ns"), bar.next_session

    def _make_room(self) -> None:
        arrays = [*self._raw.values(), *self._adjusted.values(), *self._actions.values(), *self._signals.values()]
        for array in (*arrays, self._tradable, self._sessions, self._times):
            array[: self.size] = array[self.size :].copy()
        self._end = self.size

    def panel(self) -> Panel:
        """Return the last bars as traded; rows before the first bar are bars that nobody has."""
        rows = slice(self._end - self.size, self._end)
        return Panel(
            **{name: x[rows] for name, x in self._raw.items()},
            tradable=self._tradable[rows],
            sessions=self._sessions[rows],
            **{name: x[rows] for name, x in self._actions.items()},
            signals={name: x[rows] for name, x in self._signals.items()},
            labels=dataclasses.replace(self.labels, times=self._times[rows]),
        )

    def market(self) -> Market:
        """Return the market of the last two bars and of the one to come, with labels and names of features.

        The row to come is flat at the last closes; its session is what the calendar says. Nothing is delisted: whether
        a bar was an asset's last one is known later.
        """
        panel = self.panel()
        adjusted = None
        if self._actions:
            rows = slice(self._end - self.size, self._end)
            prices = {name: x[rows] for name, x in self._adjusted.items()}
            adjusted = panel.replace(**prices, dividend=None, split=None)
        whole = self._with_experts(build_market(panel, self._features, adjusted=adjusted))
        last = whole.replace(delisted=None, sector=None, labels=None)
        last = self._carry(jax.tree.map(lambda x: np.asarray(x)[-2:], last))
        time, session = self._following
        coming = jax.tree.map(lambda x: x[-1:], last)
        coming = coming.replace(
            **dict.fromkeys(("open", "high", "low"), coming.close),
            sessions=np.array([session], np.int32),
            dividend=None if last.dividend is None else np.zeros_like(coming.close),
            split=None if last.split is None else np.ones_like(coming.close),
        )
        joined = jax.tree.map(lambda *x: np.concatenate(x), last, coming)
        return joined.replace(
            path_end=np.full(3, 2, np.int32),
            sector=whole.sector,
            labels=dataclasses.replace(self.labels, times=np.append(panel.times[-2:], time)),
            feature_names=whole.feature_names,
        )

    def _with_experts(self, whole: Market) -> Market:
        """Return the market of the window with the columns of experts where the agent has them."""
        if not self._experts.names:
            return whole
        joined = jnp.concatenate([whole.features, self._experts.of(whole, self.count)], axis=-1)
        names = (*whole.feature_names, *self._experts.names)
        order = (*(name for name in self._order if name not in MASKS), *MASKS)
        return whole.replace(features=joined[..., np.array([names.index(name) for name in order])], feature_names=order)

    def _carry(self, last: Market) -> Market:
        """Return the rows with the last price of an asset that has had no bar for longer than the window."""
        close = last.close
        lost = (close[-1] == 0) & (self._carried > 0)
        if not lost.any():
            return last
        changes: dict[str, Any] = {
            name: np.where(lost, self._carried.astype(close.dtype), getattr(last, name)) for name in PRICES
        }
        return last.replace(**changes)
