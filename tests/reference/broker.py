"""A slow broker in float64: the oracle that the simulator's step is tested against.

One account, loops over assets, no JAX: written to be read and checked by hand from docs/broker.md, one rule per method,
in the order in which things happen. It shares no code with the package.

Bar `t` has been observed, bar `n = t + 1` is the one being traded.
"""

from collections.abc import Sequence
from math import fsum
from typing import Any

import numpy as np

from tests.reference.account import Account, Fill
from tests.reference.bars import Bars
from tests.reference.costs import Costs, Known, round_up_to_cents
from tests.reference.exits import Exits, Moment
from tests.reference.limits import LimitOrders
from tests.reference.orders import Orders
from tests.reference.settings import Settings


class ReferenceBroker(Account):
    """An account that trades one market, a bar at a time.

    Args:
        open, high, low, close, tradable, volume, sessions, delisted, dividend, split, atr, volatility, adv,
            spread_scale, impact_scale, buyable: see `Bars`.
        start: the bar observed first.
        phase: a bar at which the agent decides, with `decide_every`; the first one without it.
        settings: see `Settings`.

    Attributes:
        See `Account`.

    Raises:
        ValueError: if an array has the wrong shape or a value that no market has, or a setting is out of range.
    """

    def __init__(
        self,
        open: Any,
        high: Any,
        low: Any,
        close: Any,
        tradable: Any,
        *,
        volume: Any = None,
        sessions: Any = None,
        delisted: Any = None,
        dividend: Any = None,
        split: Any = None,
        atr: Any = None,
        volatility: Any = None,
        adv: Any = None,
        spread_scale: Any = None,
        impact_scale: Any = None,
        buyable: Any = None,
        start: int = 0,
        phase: int | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings(**settings)
        self.bars = Bars(
            open,
            high,
            low,
            close,
            tradable,
            volume,
            sessions,
            delisted,
            dividend,
            split,
            atr,
            volatility,
            adv,
            spread_scale,
            impact_scale,
            buyable,
        )
        if not 0 <= start < self.bars.num_bars:
            raise ValueError(f"start={start} is outside the {self.bars.num_bars} bars.")
        super().__init__(self.settings, self.bars.num_assets, start)
        self._phase = start if phase is None else phase
        self._costs = Costs(self.settings, self.bars, self.events)
        self._exits = Exits(self.settings, self, self.bars, self._costs)
        self._orders = Orders(self.settings, self, self._costs)
        self._limits = LimitOrders(self.settings, self, self._costs, self._exits, self.bars)

    def step(self, action: Any, noise: Any = None) -> dict[str, Any]:
        """Trade bar t+1 by an action decided at close t, and move on to it.

        Args:
            action: `[A]` of 0, 1, 2 (discrete); or of 0 to 4 (levels); or target weights `[A]`, or `[A + 1]` with the
                cash weight last, NaN to keep a position; or bands `[A, 2]`, lower and upper weight, NaN in either to
                keep a position.
            noise: `[A]` standard normal numbers that move slippage; None for zeros.

        Returns:
            This step's `cost` (dollars), `turnover` (traded notional at fill prices / equity at close t), `fills`
            (in order of execution), `rejected` (assets whose order led to no fill), `interest` and `fee_rounding`
            (dollars), `terminated` (ruined at the close of the new bar) and `profit` (`[A]` dollars: change of the
            position's value plus its cash flows).

        Raises:
            ValueError: if no bar is left or the action is malformed.
        """
        bars, settings, t, n = self.bars, self.settings, self.t, self.t + 1
        if n >= bars.num_bars:
            raise ValueError(f"Bar {t} is the last one; there is none left to trade.")
        wanted = self._orders.join_waiting(self._decided(self._orders.read(action)), bars.tradable[t])
        known = self._look(noise)
        before = (self.equity, self.cost, self._values(t))
        self.begin_step()

        if settings.fill == "same_close":
            self._orders.trade(wanted, Moment(bars, t, bars.close[t], settings.max_participation), known)
        if bars.sessions[n] != bars.sessions[t]:
            self.begin_session()
            self._pay_interest(bars.sessions[n] - bars.sessions[t])
        self._corporate_actions(n)
        put_aside = self.available()
        self._pay_out_delisted(n)
        moment = Moment(bars, n, bars.open[n], settings.max_participation)
        self._exits.at_open(moment, known)
        if settings.order_type == "limit":
            self._limits.trade(wanted, moment, known, put_aside)
        else:
            if settings.fill == "next_open":
                self._orders.trade(wanted, moment, known)
            self._exits.inside(moment, known)
        self._exits.raise_highest(n)
        if settings.fill == "next_close":
            moment.price = bars.close[n]
            self._orders.trade(wanted, moment, known)
        self._close(n)
        return self._report(*before)

    def _decided(self, wanted: list[Any]) -> list[Any]:
        """Return the orders of a bar in which the agent decides; in others there are none."""
        every = self.settings.decide_every
        if every is None or (self.t - self._phase) % every == 0:
            return wanted
        self.events["order between decisions"] += sum(not self._orders.is_none(order) for order in wanted)
        return [self._orders.none] * len(wanted)

    def _look(self, noise: Any) -> Known:
        """Return what is known at close t."""
        zeros = [0.0] * self.bars.num_assets
        drawn: Sequence[float] = zeros if noise is None else np.asarray(noise, np.float64).tolist()
        bars, t = self.bars, self.t
        drawdown = 1 - self.equity / self.peak_equity
        return Known(self.equity, drawdown, bars.atr[t], bars.volatility[t], bars.adv[t], drawn)

    def _values(self, bar: int) -> list[float]:
        return [held * close for held, close in zip(self.shares, self.bars.close[bar], strict=True)]

    def _pay_interest(self, days: int) -> None:
        if self.settings.cash_rate is None:
            return
        self.interest = max(self.cash, 0.0) * self.settings.cash_rate * days / 360
        self.cash += self.interest

    def _corporate_actions(self, n: int) -> None:
        for asset in range(self.bars.num_assets):
            if self.bars.split[n][asset] != 1:
                self.split(asset, self.bars.split[n][asset])
            self.pay(asset, self.shares[asset] * self.bars.dividend[n][asset])

    def _pay_out_delisted(self, n: int) -> None:
        for asset, held in enumerate(self.shares):
            if not self.bars.delisted[n][asset]:
                continue
            self.working[asset] = 0.0
            if held > 0:
                last = self.bars.close[self.t][asset] / self.bars.split[n][asset]
                # What a delisting takes away is a loss of the market, not a cost of trading: price is reference.
                price = last * self.settings.delisting_recovery
                self.pay_out(Fill(asset, -1, held, price, price, 0.0, "delisted"))

    def _close(self, n: int) -> None:
        """End the bar: round the fees of the day up, mark the account, judge it."""
        if self.bars.ends_session(n):
            self._round_fees_of_the_day()
        self.t = n
        self.equity = fsum([self.cash, *self._values(n)])
        self.peak_equity = max(self.peak_equity, self.equity)
        self.day.judge(self.bars.sessions[n])
        limit = self.settings.drawdown_halt
        if limit is not None and 1 - self.equity / self.peak_equity >= limit:
            self.events["halted"] += not self.halted
            self.halted = True
        self.rejected_orders += len(self.rejected)

    def _round_fees_of_the_day(self) -> None:
        if self.settings.fee_rounding == "day":
            top_up = fsum(round_up_to_cents(charged) - charged for charged in self.fee_day)
            self.fee_rounding = min(top_up, max(self.cash, 0.0))
            self.cash -= self.fee_rounding
            self.cost += self.fee_rounding
        self.fee_day = [0.0] * len(self.fee_day)

    def _report(self, equity_before: float, cost_before: float, value_before: list[float]) -> dict[str, Any]:
        traded = fsum(fill.shares * fill.price for fill in self.fills)
        value_after = self._values(self.t)
        return {
            "cost": self.cost - cost_before,
            "turnover": traded / equity_before if equity_before > 0 else 0.0,
            "fills": self.fills,
            "rejected": sorted(self.rejected),
            "interest": self.interest,
            "fee_rounding": self.fee_rounding,
            "terminated": self.equity < self.settings.ruin_pct * self.settings.initial_cash,
            "profit": [a - b + f for a, b, f in zip(value_after, value_before, self.flows, strict=True)],
        }
