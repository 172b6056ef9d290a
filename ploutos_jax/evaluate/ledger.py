"""Ledger: what one strategy did in one account, bar by bar and fill by fill, as host data."""

import dataclasses
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from ploutos_jax.agents.provenance import UNKNOWN, Provenance
from ploutos_jax.env.types import REASON_NAMES
from ploutos_jax.evaluate.round_trips import round_trips
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.display import Card, Shown
from ploutos_jax.market.late import late

FILL_COLUMNS = ("bar", "date", "ticker", "side", "shares", "price", "reference_price", "fee", "reason")
PART_COLUMNS = ("spread", "slippage", "impact", "commission")
"""Dollars of each fill's cost by kind, where it is known; columns that begin with `fee_` are kinds of a schedule."""
FEE_PREFIX = "fee_"
FILL_REASONS = tuple(name for name in REASON_NAMES if name)
"""Why a fill happened, in words."""
Role = Literal["agent", "market", "baseline", "random", "oracle"]
"""What a strategy is: `market` holds what there is, without skill; an oracle is what nobody can follow, for it
sees later bars, knows the law of a made market or assumes its fills; the others are rules."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Ledger(Shown):
    """One strategy's account over N bars; row 0 is the bar at whose close the first decision was made.

    Row t is known at the close of bar t. Money is in dollars. The arrays come out as float64 whatever goes in.

    Attributes:
        name: the strategy, as pictures and tables call it.
        times: `[N+1]` datetime64[ns] bar dates.
        equity: `[N+1]` cash plus positions at the close.
        cash: `[N+1]`.
        gross_exposure: `[N+1]` sum over assets of |shares * close|.
        turnover: `[N+1]` value traded in the bar (buys plus sells) over the equity before it; 0 in row 0.
        cost: `[N+1]` fees, spread and slippage paid in the bar; 0 in row 0.
        initial_cash: dollars at the start.
        fills: one row per fill in order of execution: `bar` (0..N; 0 only for orders at the close observed), `date`,
            `ticker`, `side` (buy or sell), `shares` (above 0, as traded), `price`, `reference_price` (the market's
            price before spread and slippage), `fee` and `reason` (one of `FILL_REASONS`). Where the parts of the cost
            are known: `spread`, `slippage`, `impact` (together `|price - reference_price| * shares`), `commission` and
            one column `fee_KIND` for each kind of the fee schedule (together `fee`), all in dollars.
        symbols: A tickers, the columns of `close`; every ticker in `fills` is among them.
        close: `[N+1, A]` prices as traded; marks positions that are open at the end.
        split: `[N+1, A]` new shares per old share at the open of the bar (1 = no split), or None for none.
        fee_rounding: `[N+1]` dollars by which the day's fees were rounded up, part of `cost`; None for none.
        interest: `[N+1]` dollars paid on cash; None for none.
        role: what the strategy is among those of a report.
        provenance: how these bars relate to those that the agent was trained and chosen on.
        calendar: of the market, by which figures are annualised.
        sessions: `[N+1]` trading day of each bar, as days since 1970-01-01; the dates in `times` without it.
        regimes: `[N+1, regimes]` chances of the market's regimes that an agent was told at each close; None of others.
        open, high, low: `[N+1, A]` prices as traded, for candles alone; None where they are not kept.

    Raises:
        ValueError: if shapes disagree, a number is not finite, or the fills do not fit the bars and tickers.
    """

    name: str
    times: Shaped[np.ndarray, " rows"]
    equity: Float[np.ndarray, " rows"]
    cash: Float[np.ndarray, " rows"]
    gross_exposure: Float[np.ndarray, " rows"]
    turnover: Float[np.ndarray, " rows"]
    cost: Float[np.ndarray, " rows"]
    initial_cash: float
    fills: pd.DataFrame
    symbols: tuple[str, ...] = ()
    close: Float[np.ndarray, "rows A"] | Float[np.ndarray, "0 0"] = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0))
    )
    split: Float[np.ndarray, "rows A"] | None = None
    fee_rounding: Float[np.ndarray, " rows"] | None = None
    interest: Float[np.ndarray, " rows"] | None = None
    role: Role = "agent"
    provenance: Provenance = UNKNOWN
    calendar: Calendar = Calendar()
    sessions: Int[np.ndarray, " rows"] | None = None
    regimes: Float[np.ndarray, "rows regimes"] | None = None
    open: Float[np.ndarray, "rows A"] | None = None
    high: Float[np.ndarray, "rows A"] | None = None
    low: Float[np.ndarray, "rows A"] | None = None

    def __post_init__(self) -> None:
        times = np.asarray(self.times).astype("datetime64[ns]")
        object.__setattr__(self, "times", times)
        for name in ("equity", "cash", "gross_exposure", "turnover", "cost", "fee_rounding", "interest"):
            if getattr(self, name) is None and name in ("fee_rounding", "interest"):
                continue
            values = np.asarray(getattr(self, name), np.float64)
            object.__setattr__(self, name, values)
            if values.shape != times.shape or values.ndim != 1 or values.size == 0:
                raise ValueError(f"Ledger {self.name!r}: {name} has shape {values.shape}, times has {times.shape}.")
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise ValueError(f"Ledger {self.name!r}: {name} is {values[row]} in bar {row} ({times[row]}).")
        if not self.equity[0] > 0:
            raise ValueError(f"Ledger {self.name!r} starts with equity {self.equity[0]}; it must be above 0 dollars.")
        if self.symbols and np.shape(self.close) != (times.size, len(self.symbols)):
            raise ValueError(
                f"Ledger {self.name!r}: close has shape {np.shape(self.close)}, expected (bars, symbols) ="
                f" {(times.size, len(self.symbols))}."
            )
        for name in ("open", "high", "low", "split"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != np.shape(self.close):
                raise ValueError(f"Ledger {self.name!r}: {name} has shape {np.shape(values)}, expected that of close.")
        if self.sessions is None:
            object.__setattr__(self, "sessions", times.astype("datetime64[D]").astype(np.int64))
        elif np.shape(self.sessions) != times.shape:
            raise ValueError(
                f"Ledger {self.name!r}: sessions has shape {np.shape(self.sessions)}, times has {times.shape}."
            )
        _check_fills(self)

    @cached_property
    def returns(self) -> Float[np.ndarray, " N"]:
        """`[N]` simple return of each bar."""
        return simple_returns(self.equity)

    @cached_property
    def gross_returns(self) -> Float[np.ndarray, " N"]:
        """`[N]` simple return of each bar had its trades cost nothing: net return plus cost over the equity before."""
        before = self.equity[:-1]
        alive = np.minimum.accumulate(before) > 0
        return self.returns + np.where(alive, self.cost[1:] / np.where(alive, before, 1.0), 0.0)

    @cached_property
    def costs_by_kind(self) -> dict[str, float]:
        """Dollars paid by kind of cost, as far as the fills tell; they add up to the sum of `cost`.

        Kinds are `spread`, `slippage`, `impact`, `commission`, those of the fee schedule as `fee_KIND`, and
        `fee_rounding`. A ledger whose fills know no parts has `price` (spread, slippage and impact) and `fee`.
        """
        rounding = {} if self.fee_rounding is None else {"fee_rounding": float(self.fee_rounding.sum())}
        names = part_columns(self.fills) if set(PART_COLUMNS) <= set(self.fills.columns) else ["fee"]
        kinds = {name: float(self.fills[name].to_numpy(np.float64).sum()) for name in names}
        if names == ["fee"]:
            price, reference, shares = (
                self.fills[name].to_numpy(np.float64) for name in ("price", "reference_price", "shares")
            )
            kinds = {"price": float(np.sum(np.abs(price - reference) * shares)), **kinds}
        return kinds | rounding

    @cached_property
    def drawdown(self) -> Float[np.ndarray, " rows"]:
        """`[N+1]` equity over its highest value so far, minus 1; never above 0."""
        return self.equity / np.maximum.accumulate(self.equity) - 1.0

    @cached_property
    def split_factor(self) -> Float[np.ndarray, "rows A"] | None:
        """`[N+1, A]` shares at the close of the bar that one share of row 0 has become; None without splits."""
        if self.split is None:
            return None
        return np.cumprod(np.asarray(self.split, np.float64), axis=0)

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Round trips at average cost, one row per spell from flat to flat; see `round_trips.round_trips`.

        Raises:
            ValueError: if the fills sell more of a ticker than is held.
        """
        return round_trips(self.name, self.times, self.symbols, self.fills, self.close, self.split_factor)

    def _card(self) -> Card:
        return late("evaluate.views").card_of(self)

    def summary(self, benchmark: "Ledger | None" = None) -> pd.Series:
        """Return the figures of `summarize` by name, net of costs, as a Series that has the ledger's name.

        Args:
            benchmark: another ledger over the same bars; adds `alpha`, `beta` and the like.
        """
        return late("evaluate.views").summary_of(self, benchmark)

    def plot(self, *others: "Ledger", ticker: str | None = None, title: str = "") -> Any:
        """Return a Matplotlib figure: equity, drawdown and exposure; or with a ticker, its price and the trades in it.

        A notebook shows it; `.savefig("equity.png")` keeps it.

        Args:
            others: ledgers over the same bars to draw beside it, such as those of `baselines`.
            ticker: one of `symbols`, to draw the trades in it instead.
            title: the first line; the name of the ledger without it.

        Raises:
            ValueError: if another ledger covers other bars or has the same name, or the ticker is unknown.
        """
        return late("evaluate.views").picture_of(self, others, ticker, title)

    def to_frame(self) -> pd.DataFrame:
        """Return the account by bar, as `equity_frame` does, with the dates as index."""
        return late("evaluate.views").frame_of(self)

    def to_quantstats(self) -> pd.Series:
        """Return `[days]` simple returns with their dates as index, as quantstats, empyrical and pyfolio take them.

        Returns of intraday bars are compounded to sessions, each known at the session's last close.
        """
        return late("evaluate.views").daily_series(self)

    def equity_frame(self) -> pd.DataFrame:
        """Return the account by bar: `date, equity, return, drawdown, cash, gross_exposure, turnover, cost`.

        `return` is missing in row 0, where no bar has passed yet.
        """
        return pd.DataFrame(
            {
                "date": self.times,
                "equity": self.equity,
                "return": np.append(np.nan, self.returns),
                "drawdown": self.drawdown,
                "cash": self.cash,
                "gross_exposure": self.gross_exposure,
                "turnover": self.turnover,
                "cost": self.cost,
            }
        )


def part_columns(fills: pd.DataFrame) -> list[str]:
    """Return the columns of a table of fills that hold parts of the cost."""
    return [name for name in fills.columns if name in PART_COLUMNS or str(name).startswith(FEE_PREFIX)]


def simple_returns(equity: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows-1"]:
    """Return `equity[t] / equity[t-1] - 1`; 0 once the equity is gone, so that a total loss stays one.

    Args:
        equity: `[N+1]` dollars, above 0 in row 0.
    """
    before = equity[:-1]
    alive = np.minimum.accumulate(before) > 0
    return np.where(alive, equity[1:] / np.where(alive, before, 1.0) - 1.0, 0.0)


def _check_fills(ledger: Ledger) -> None:
    fills, where = ledger.fills, f"Ledger {ledger.name!r}: fills"
    missing = [column for column in FILL_COLUMNS if column not in fills.columns]
    if missing:
        raise ValueError(f"{where} lack the column {missing[0]!r}; they need {', '.join(FILL_COLUMNS)}.")
    if fills.empty:
        return
    bar = fills["bar"].to_numpy(np.int64)
    if (np.diff(bar) < 0).any():
        raise ValueError(f"{where} are not sorted by bar; keep them in order of execution.")
    if bar[0] < 0 or bar[-1] >= ledger.times.size:
        raise ValueError(f"{where} name bars {bar[0]} to {bar[-1]}, but must lie in 0 to {ledger.times.size - 1}.")
    known = {"ticker": ledger.symbols, "side": ("buy", "sell"), "reason": FILL_REASONS}
    for column, allowed in known.items():
        strange = fills.loc[~fills[column].isin(list(allowed)), column]
        if len(strange):
            few = ", ".join(allowed[:5]) + (", …" if len(allowed) > 5 else "")
            raise ValueError(f"{where} have {column} {strange.iloc[0]!r} in row {strange.index[0]}; known: {few}.")
    for column in ("shares", "price", "reference_price", "fee", *part_columns(fills)):
        values = fills[column].to_numpy(np.float64)
        bad = ~np.isfinite(values) | ((values <= 0) if column == "shares" else (values < 0))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            rule = "must be above 0" if column == "shares" else "must not be negative"
            raise ValueError(f"{where} have {column} {values[row]} in row {row}; it {rule}.")
