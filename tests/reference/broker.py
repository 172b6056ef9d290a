"""A slow broker in plain NumPy float64: the oracle that the simulator's step is tested against.

One account, loops over assets, no JAX: written to be read and checked by hand, one rule per method, in the order in
which things happen. It shares no code with the package.

Terms: bar `t` has been observed, bar `n = t + 1` is the one being traded. Adverse fills at a reference price P are
`P * (1 + half)` for a buy and `P * (1 - half)` for a sell, where `half` is half the quoted spread plus slippage.
"""

from collections.abc import Sequence
from math import fsum, inf
from typing import Any, NamedTuple

import numpy as np

HOLD, BUY, SELL = 0, 1, 2
EPSILON = float(np.finfo(np.float64).eps)


class Fill(NamedTuple):
    """One execution.

    Attributes:
        asset: column of the asset.
        side: +1 buy, -1 sell.
        shares: number of shares, above 0.
        price: dollars per share paid or received, fees excluded.
        reference_price: the price without spread and slippage.
        fee: commission in dollars.
        reason: "order", "stop", "target" or "delisted".
    """

    asset: int
    side: int
    shares: float
    price: float
    reference_price: float
    fee: float
    reason: str


class ReferenceBroker:
    """A long-only cash account that trades A assets at the next bar's open, with stops and targets inside the bar.

    Args:
        open, high, low, close: `[T, A]` prices as traded, finite; a missing bar carries a price that marks positions,
            a bar before the first listing is 0.
        tradable: `[T, A]` bool, False where nothing fills.
        delisted: `[T, A]` bool, True in the bar in which what is left of an asset is closed; None for never.
        dividend: `[T, A]` dollars per (new) share held over the open of the bar; None for none.
        split: `[T, A]` new shares per old share at the open of the bar; None for none.
        initial_cash: dollars.
        spread_bps: full quoted spread; each side pays half of it.
        slippage_bps: paid on top by each side.
        commission_bps: fee on notional, both sides.
        commission_per_share: fee in dollars per share, both sides.
        min_order_cash: buys and partial sales below this value are not sent.
        buy_pct: notional of a discrete buy as a fraction of equity at close t.
        max_position_pct: largest value of one position after a buy, as a fraction of equity at close t.
        stop_loss: distance of the stop below the average entry price, as a fraction; None for no stop.
        take_profit: distance of the target above the average entry price, as a fraction; None for no target.
        recovery: share of the last close that a delisting pays out.
        ruin_pct: the account is ruined below this fraction of `initial_cash`.
        action: "discrete" (0 hold, 1 buy, 2 sell all) or "weights" (target weights of equity at close t).
        start: the bar observed first.

    Attributes:
        t: the bar observed.
        cash: dollars.
        shares: `[A]` shares held.
        entry_price: `[A]` average fill price of the position's buys, fees excluded, in today's shares; 0 when flat.
        entry_bar: `[A]` bar of the position's first buy; -1 when flat.
        equity, peak_equity: dollars at close t, and the highest such value since the start.
        cost: dollars of fees, spread and slippage paid so far.
        num_trades, rejected_orders, exit_stop, exit_target: counts so far.

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
        delisted: Any = None,
        dividend: Any = None,
        split: Any = None,
        initial_cash: float = 100_000.0,
        spread_bps: float = 2.0,
        slippage_bps: float = 0.0,
        commission_bps: float = 0.0,
        commission_per_share: float = 0.0,
        min_order_cash: float = 1.0,
        buy_pct: float = 0.10,
        max_position_pct: float = 0.25,
        stop_loss: float | None = 0.02,
        take_profit: float | None = 0.04,
        recovery: float = 1.0,
        ruin_pct: float = 0.1,
        action: str = "discrete",
        start: int = 0,
    ) -> None:
        shape = np.shape(close)
        self.open = _prices("open", open, shape)
        self.high = _prices("high", high, shape)
        self.low = _prices("low", low, shape)
        self.close = _prices("close", close, shape)
        self.tradable = _flags("tradable", tradable, shape)
        if ((self.open <= 0) | (self.low <= 0))[self.tradable].any():
            raise ValueError("A tradable bar has a price of 0; mark it as not tradable.")
        self.delisted = _flags("delisted", np.zeros(shape, bool) if delisted is None else delisted, shape)
        self.dividend = None if dividend is None else _numbers("dividend", dividend, shape)
        self.split = np.ones(shape) if split is None else _numbers("split", split, shape)
        self.half = spread_bps / 2 * 1e-4 + slippage_bps * 1e-4
        if not 0 <= self.half < 1:
            raise ValueError(f"spread_bps={spread_bps} and slippage_bps={slippage_bps} give no price above 0.")
        if not (self.split > 0).all():
            raise ValueError("split holds a ratio that is not above 0; write 1 where there is no split.")
        if action not in ("discrete", "weights"):
            raise ValueError(f"action={action!r}; choose 'discrete' or 'weights'.")
        if not 0 <= start < shape[0]:
            raise ValueError(f"start={start} is outside the {shape[0]} bars.")

        self.commission, self.commission_per_share = commission_bps * 1e-4, commission_per_share
        self.min_order_cash = min_order_cash
        self.buy_pct, self.max_position_pct = buy_pct, max_position_pct
        self.stop_loss, self.take_profit = stop_loss, take_profit
        self.recovery, self.ruin_cash = recovery, ruin_pct * initial_cash
        self.action = action
        self.num_assets = shape[1]

        self.t = start
        self.cash = self.equity = self.peak_equity = float(initial_cash)
        self.shares = np.zeros(self.num_assets)
        self.entry_price = np.zeros(self.num_assets)
        self.entry_bar = np.full(self.num_assets, -1)
        self.cost = 0.0
        self.num_trades = self.rejected_orders = self.exit_stop = self.exit_target = 0
        self._clear()

    def step(self, action: Any) -> dict[str, Any]:
        """Trade bar t+1 by an action decided at close t, and move on to it.

        Args:
            action: `[A]` of 0, 1, 2 (discrete); or target weights `[A]`, or `[A + 1]` with the cash weight last, NaN
                to keep a position.

        Returns:
            This step's `cost` (dollars), `turnover` (traded notional at fill prices / equity at close t), `fills`
            (in order of execution), `rejected` (assets whose order led to no fill), `terminated` (ruined at the close
            of the new bar) and `profit` (`[A]` dollars: change of the position's value plus its cash flows).

        Raises:
            ValueError: if no bar is left or the action is malformed.
        """
        wanted = self._read(action)
        bar = self.t + 1
        if bar >= self.close.shape[0]:
            raise ValueError(f"Bar {self.t} is the last one; there is none left to trade.")
        equity_before = self.equity
        value_before = self.shares * self.close[self.t]
        cost_before = self.cost
        self._clear()

        self._corporate_actions(bar)
        self._close_delisted(bar)
        free = self.tradable[bar] & ~self.delisted[bar]
        self._exit_at_open(bar, free)
        plan = self._plan_discrete if self.action == "discrete" else self._plan_weights
        sells, buys = plan(wanted, bar, free, equity_before)
        for asset, shares in sells.items():
            self._sell(asset, shares, float(self.open[bar, asset]), self.half, "order")
        self._buy(buys, bar)
        self._exit_inside(bar)

        value = self.shares * self.close[bar]
        self.t = bar
        self.equity = fsum([self.cash, *value.tolist()])
        self.peak_equity = max(self.peak_equity, self.equity)
        self.rejected_orders += len(self._rejected)
        traded = fsum(fill.shares * fill.price for fill in self._fills)
        return {
            "cost": self.cost - cost_before,
            "turnover": traded / equity_before if equity_before > 0 else 0.0,
            "fills": self._fills,
            "rejected": sorted(self._rejected),
            "terminated": bool(self.equity < self.ruin_cash),
            "profit": value - value_before + self._flows,
        }

    def _clear(self) -> None:
        self._fills: list[Fill] = []
        self._rejected: list[int] = []
        self._flows = np.zeros(self.num_assets)

    def _corporate_actions(self, bar: int) -> None:
        self.shares *= self.split[bar]
        self.entry_price /= self.split[bar]
        if self.dividend is None:
            return
        for asset in range(self.num_assets):
            paid = float(self.dividend[bar, asset] * self.shares[asset])
            self.cash += paid
            self._flows[asset] += paid

    def _close_delisted(self, bar: int) -> None:
        for asset in range(self.num_assets):
            if self.delisted[bar, asset] and self.shares[asset] > 0:
                last = float(self.close[self.t, asset]) / float(self.split[bar, asset])
                # What a delisting takes away is a loss of the market, not a cost of trading: price is reference.
                price = last * self.recovery
                self._book_sale(Fill(asset, -1, float(self.shares[asset]), price, price, 0.0, "delisted"))

    def _exit_at_open(self, bar: int, free: np.ndarray) -> None:
        """Fill stops and targets that the open jumps over; such an asset leaves `free`."""
        for asset in range(self.num_assets):
            if not free[asset] or self.shares[asset] == 0:
                continue
            first = float(self.open[bar, asset])
            stop, target = self._levels(asset)
            if first <= stop:
                self._sell(asset, float(self.shares[asset]), first, self.half, "stop")
            elif first >= target:
                self._sell(asset, float(self.shares[asset]), first, 0.0, "target")
            else:
                continue
            free[asset] = False

    def _exit_inside(self, bar: int) -> None:
        """Fill stops and targets that the rest of the bar reaches, positions opened in this bar included."""
        for asset in range(self.num_assets):
            if not self.tradable[bar, asset] or self.shares[asset] == 0:
                continue
            stop, target = self._levels(asset)
            if self.low[bar, asset] <= stop:
                # With a spread wider than the stop distance a new position starts below its stop: then the open counts.
                reference = min(stop, float(self.open[bar, asset]))
                self._sell(asset, float(self.shares[asset]), reference, self.half, "stop")
            elif self.high[bar, asset] >= target:
                self._sell(asset, float(self.shares[asset]), target, 0.0, "target")

    def _levels(self, asset: int) -> tuple[float, float]:
        entry = float(self.entry_price[asset])
        stop = -inf if self.stop_loss is None else entry * (1 - self.stop_loss)
        target = inf if self.take_profit is None else entry * (1 + self.take_profit)
        return stop, target

    def _plan_discrete(
        self, wanted: list[float], bar: int, free: np.ndarray, equity: float
    ) -> tuple[dict[int, float], dict[int, float]]:
        """Return the shares to sell and the notional to buy, by asset; orders that cannot be are rejected."""
        sells: dict[int, float] = {}
        buys: dict[int, float] = {}
        for asset, order in enumerate(wanted):
            if order == HOLD:
                continue
            held = float(self.shares[asset])
            room = self.max_position_pct * equity - held * float(self.open[bar, asset])
            notional = min(self.buy_pct * equity, room)
            if free[asset] and order == SELL and held > 0:
                sells[asset] = held
            elif free[asset] and order == BUY and notional >= self.min_order_cash:
                buys[asset] = notional
            else:
                self._rejected.append(asset)
        return sells, buys

    def _plan_weights(
        self, wanted: list[float], bar: int, free: np.ndarray, equity: float
    ) -> tuple[dict[int, float], dict[int, float]]:
        """Return the shares to sell and the notional to buy, by asset; orders that cannot be are rejected."""
        sells: dict[int, float] = {}
        buys: dict[int, float] = {}
        for asset, weight in enumerate(_target_weights(wanted, self.num_assets, self.max_position_pct)):
            if weight is None:
                continue
            held = float(self.shares[asset])
            first = float(self.open[bar, asset])
            current, target = held * first, weight * equity
            closes = weight == 0 and held > 0
            if not closes and abs(target - current) < self.min_order_cash:
                continue
            if not free[asset]:
                self._rejected.append(asset)
            elif closes:
                sells[asset] = held
            elif target < current:
                sells[asset] = min((current - target) / first, held)
            else:
                buys[asset] = target - current
        return sells, buys

    def _sell(self, asset: int, shares: float, reference: float, friction: float, reason: str) -> None:
        price = reference * (1 - friction)
        fee = self._fee(shares * price, shares)
        self._book_sale(Fill(asset, -1, shares, price, reference, fee, reason))

    def _book_sale(self, fill: Fill) -> None:
        received = fill.shares * fill.price - fill.fee
        self.cash += received
        self._flows[fill.asset] += received
        self.shares[fill.asset] -= fill.shares
        if self.shares[fill.asset] <= 0:
            self.shares[fill.asset] = self.entry_price[fill.asset] = 0.0
            self.entry_bar[fill.asset] = -1
        self.exit_stop += fill.reason == "stop"
        self.exit_target += fill.reason == "target"
        self._record(fill)

    def _buy(self, notionals: dict[int, float], bar: int) -> None:
        """Buy at the open; if the cash does not pay for all, cut every buy by the same factor."""
        prices = {asset: float(self.open[bar, asset]) * (1 + self.half) for asset in notionals}
        needed = fsum(value + self._fee(value, value / prices[asset]) for asset, value in notionals.items())
        factor = 1.0
        if needed > self.cash:
            if self.cash <= 0:
                self._rejected.extend(notionals)
                return
            # The margin is far above the rounding of one purchase, and fsum adds none: cash cannot fall below 0.
            factor = self.cash * (1 - 16 * EPSILON) / needed
        spent = []
        for asset, value in notionals.items():
            notional, price = value * factor, prices[asset]
            shares = notional / price
            if notional < self.min_order_cash:
                self._rejected.append(asset)
                continue
            fee = self._fee(notional, shares)
            spent.append(notional + fee)
            self._flows[asset] -= notional + fee
            old = float(self.shares[asset])
            if old == 0:
                # Set, not averaged: shares * price / shares may round away from price, and a stop at the low with it.
                self.entry_price[asset], self.entry_bar[asset] = price, bar
            else:
                self.entry_price[asset] = (old * self.entry_price[asset] + shares * price) / (old + shares)
            self.shares[asset] = old + shares
            self._record(Fill(asset, 1, shares, price, float(self.open[bar, asset]), fee, "order"))
        self.cash -= fsum(spent)

    def _record(self, fill: Fill) -> None:
        self.cost += fill.fee + abs(fill.price - fill.reference_price) * fill.shares
        self.num_trades += 1
        self._fills.append(fill)

    def _fee(self, notional: float, shares: float) -> float:
        return min(notional * self.commission + shares * self.commission_per_share, notional)

    def _read(self, action: Any) -> list[float]:
        values = np.asarray(action, np.float64)
        lengths = (self.num_assets,) if self.action == "discrete" else (self.num_assets, self.num_assets + 1)
        if values.ndim != 1 or len(values) not in lengths:
            raise ValueError(f"A {self.action} action needs {lengths} numbers; this one has shape {values.shape}.")
        if self.action == "discrete" and not np.isin(values, (HOLD, BUY, SELL)).all():
            raise ValueError(f"A discrete action holds 0, 1 or 2; this one is {values}.")
        if np.isinf(values).any():
            raise ValueError(f"A target weight is infinite: {values}.")
        return values.tolist()


def _target_weights(wanted: Sequence[float], num_assets: int, cap: float) -> list[float | None]:
    """Return weights of at most `cap` each and 1 together; None where the position is kept."""
    positive = [weight if weight > 0 else 0.0 for weight in wanted]  # NaN compares False and weighs nothing
    total = fsum(positive)
    scale = 1 / total if total > 1 else 1.0
    return [None if wanted[a] != wanted[a] else min(positive[a] * scale, cap) for a in range(num_assets)]


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.shape != shape or len(shape) != 2:
        raise ValueError(f"{name} has shape {array.shape}; every array is [T, A], and close has {shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a value that is not finite; give broker-ready arrays.")
    return array


def _prices(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = _numbers(name, values, shape)
    if (array < 0).any():
        raise ValueError(f"{name} holds a price below 0.")
    return array


def _flags(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    return _numbers(name, values, shape).astype(bool)
