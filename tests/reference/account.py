"""The account of the reference broker: what it holds, and how fills and events change it."""

from collections import Counter
from collections.abc import Sequence
from math import fsum
from typing import Any, NamedTuple

from tests.reference.day_trades import DayTrades
from tests.reference.settings import Settings


class Fill(NamedTuple):
    """One execution.

    Attributes:
        asset: column of the asset.
        side: +1 buy, -1 sell.
        shares: number of shares, above 0.
        price: dollars per share paid or received, fees excluded.
        reference_price: the price without spread, slippage and impact.
        fee: dollars.
        reason: "order", "stop", "target", "trailing", "time", "halt" or "delisted".
    """

    asset: int
    side: int
    shares: float
    price: float
    reference_price: float
    fee: float
    reason: str


class Account:
    """A long-only cash account in A assets.

    Attributes:
        t: the bar observed.
        cash: dollars.
        unsettled: dollars of sales that cannot buy yet, by session; the last entry is this session.
        shares: A numbers of shares held.
        entry_price: average fill price of the position's buys, fees excluded, in today's shares; 0 when flat.
        entry_bar: bar of the position's first buy; -1 when flat.
        entry_atr: average true range (a fraction) known when the position was opened; 0 when flat.
        highest_price: highest price since the position's first fill; 0 when flat.
        tied: whether some choice of this account was one between equals, so that its way is one of several.
        waiting: the order (as an action has it) that has found no bar of its asset yet, or None.
        working: shares that an order still wants (+ to buy, - to sell).
        day: counters of the day-trade rule.
        trades_today: fills of this session.
        fee_day: dollars that each kind of fee has charged since they were last rounded.
        halted: whether the drawdown halt has happened.
        equity, peak_equity: dollars at close t, and the highest such value since the start.
        cost: dollars of fees (their rounding by day too), spread, slippage and impact so far.
        num_trades, rejected_orders: counts so far.
        exits: number of exits so far, by reason.
        events: how often each rule changed something so far, by name.
    """

    def __init__(self, settings: Settings, num_assets: int, start: int) -> None:
        self.t = start
        self.cash = self.equity = self.peak_equity = float(settings.initial_cash)
        self.unsettled = [0.0] * settings.settlement_days
        self.shares = [0.0] * num_assets
        self.entry_price = [0.0] * num_assets
        self.entry_bar = [-1] * num_assets
        self.entry_atr = [0.0] * num_assets
        self.highest_price = [0.0] * num_assets
        self.working = [0.0] * num_assets
        self.tied = False
        self.waiting: list[Any] = [None] * num_assets
        self.fee_day = [0.0] * len(settings.fees)
        self.trades_today = 0
        self.halted = False
        self.cost = 0.0
        self.num_trades = self.rejected_orders = 0
        self.exits: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.day = DayTrades(settings, num_assets, self.events)
        self.begin_step()

    def begin_step(self) -> None:
        self.fills: list[Fill] = []
        self.rejected: list[int] = []
        self.flows = [0.0] * len(self.shares)
        self.interest = self.fee_rounding = 0.0

    def begin_session(self) -> None:
        """Roll the counters of the day and let the oldest sales settle."""
        self.day.begin_session(self.equity)
        self.trades_today = 0
        if self.unsettled:
            self.unsettled = [*self.unsettled[1:], 0.0]

    def available(self) -> float:
        """Return the dollars that can buy."""
        return self.cash - fsum(self.unsettled)

    def split(self, asset: int, ratio: float) -> None:
        self.shares[asset] *= ratio
        self.working[asset] *= ratio
        self.entry_price[asset] /= ratio
        self.highest_price[asset] /= ratio

    def pay(self, asset: int, dollars: float) -> None:
        """Add what an asset pays, such as a dividend."""
        self.cash += dollars
        self.flows[asset] += dollars

    def buy(self, fill: Fill, charges: Sequence[float], bar: int, atr: float) -> None:
        """Book a buy at `bar`; `charges` are the parts of its fee by kind."""
        asset, old = fill.asset, self.shares[fill.asset]
        self.pay(asset, -(fill.shares * fill.price + fill.fee))
        if old == 0:
            # Set, not averaged: shares * price / shares may round away from price, and a stop at the low with it.
            self.entry_price[asset], self.entry_bar[asset], self.entry_atr[asset] = fill.price, bar, atr
        else:
            paid = old * self.entry_price[asset] + fill.shares * fill.price
            self.entry_price[asset] = paid / (old + fill.shares)
        self.shares[asset] = old + fill.shares
        self.highest_price[asset] = max(self.highest_price[asset], fill.price)
        self.day.bought(asset)
        self._count(fill, charges)

    def sell(self, fill: Fill, charges: Sequence[float]) -> None:
        """Book a sale of at most the position."""
        self._remove(fill)
        self.day.sold(fill.asset)
        self._count(fill, charges)

    def pay_out(self, fill: Fill) -> None:
        """Book the end of a delisted position, which is no trade."""
        self._remove(fill)
        self.fills.append(fill)

    def _remove(self, fill: Fill) -> None:
        asset, received = fill.asset, fill.shares * fill.price - fill.fee
        self.pay(asset, received)
        if self.unsettled:
            self.unsettled[-1] += received
        self.shares[asset] -= fill.shares
        if self.shares[asset] <= 0:
            self.shares[asset] = self.entry_price[asset] = self.entry_atr[asset] = self.highest_price[asset] = 0.0
            self.entry_bar[asset] = -1

    def _count(self, fill: Fill, charges: Sequence[float]) -> None:
        self.fee_day = [day + charge for day, charge in zip(self.fee_day, charges, strict=True)]
        self.cost += fill.fee + abs(fill.price - fill.reference_price) * fill.shares
        self.num_trades += 1
        self.trades_today += 1
        self.fills.append(fill)
