"""Limit orders: where they rest, what the bar fills of them, and what comes first in it."""

from math import ceil, floor
from typing import Any, NamedTuple

from tests.reference.account import Account, Fill
from tests.reference.bars import Bars
from tests.reference.costs import BUY_SIDE, SELL_SIDE, Costs, Known
from tests.reference.exits import Exits, Moment
from tests.reference.orders import EPSILON, Orders
from tests.reference.settings import Settings, zero_if_off


class Side(NamedTuple):
    """One resting order: at which price, what it fills at, and whether the bar trades through it."""

    limit: float
    price: float
    is_through: bool


class LimitOrders(Orders):
    """Sizes the agent's orders at the close observed and lets them rest in the bar after it."""

    def __init__(self, settings: Settings, account: Account, costs: Costs, exits: Exits, bars: Bars) -> None:
        super().__init__(settings, account, costs)
        self.exits, self.bars = exits, bars
        self.offset, self.tick_size = settings.limit_offset_bps * 1e-4, zero_if_off(settings.tick_size)

    def trade(self, wanted: list[Any], moment: Moment, known: Known, cash: float) -> None:  # type: ignore[override]
        """Work through the rest of a bar whose exits at the open are done.

        Args:
            wanted: the action.
            moment: the bar.
            known: at close t.
            cash: dollars that can be put aside for buys.
        """
        account, bar = self.account, moment.bar
        split = self.bars.split[bar]
        moment.price = [last / ratio for last, ratio in zip(self.bars.close[account.t], split, strict=True)]
        plans = {
            "discrete": self._plan_discrete,
            "weights": self._plan_weights,
            "bands": self._plan_bands,
            "levels": self._plan_levels,
            "quotes": self._plan_quotes,
        }
        sells, buys, asked = plans[self.settings.action](wanted, moment, known)
        self._refuse(sells, buys, moment, known)
        self._limit_trades_of_the_day(sells, buys, moment, known)
        self._limit_sectors(buys, moment, known)
        sold = {asset: self._size_of_sale(asset, shares, moment) for asset, shares in sells.items()}
        bought = self._sizes_of_buys(buys, moment, cash)
        sale_at = {asset: self._sale(asset, moment) for asset, shares in sold.items() if shares > 0}
        buy_at = {asset: self._buy_order(asset, moment) for asset, shares in bought.items() if shares > 0}
        sale_price = {asset: side.price for asset, side in sale_at.items() if side.is_through}
        buy_price = {asset: side.price for asset, side in buy_at.items() if side.is_through}
        account.events["limit not reached"] += len(sale_at) + len(buy_at) - len(sale_price) - len(buy_price)
        for asset in sale_price.keys() & buy_price.keys():
            account.events["both sides"] += 1
            close = self.bars.close[bar][asset]
            better = sale_price if close - buy_price[asset] <= sale_price[asset] - close else buy_price
            del better[asset]

        touched = self.exits.touched(moment)
        later = {
            exit.asset
            for exit in touched
            if sale_price.get(exit.asset, exit.price) < exit.price or buy_price.get(exit.asset, exit.price) > exit.price
        }
        refused = self.exits.fill(touched, moment, known, later)
        account.events["order before an exit"] += len(later - refused)
        for prices in (sale_price, buy_price):
            for asset in prices.keys() & moment.exited:
                del prices[asset]
                account.events["order after an exit"] += 1
        ranked = sorted(sale_price, key=lambda a: (-sold[a] * moment.price[a], -known.adv[a], a))
        for asset in account.day.refused_sales(ranked, moment.session):
            del sale_price[asset]
        for asset in sorted(sale_price):
            self._book(asset, SELL_SIDE, sold[asset], sale_price[asset], moment, known)
        for asset in sorted(buy_price):
            self._book(asset, BUY_SIDE, bought[asset], buy_price[asset], moment, known)
        again = [exit for exit in self.exits.touched(moment, buy_price) if exit.asset not in refused]
        self.exits.fill(again, moment, known)
        account.events["stopped in the bar of a limit buy"] += sum(exit.asset in buy_price for exit in again)
        filled = sale_price.keys() | buy_price.keys()
        account.rejected.extend(sorted(asked - filled - self._keep_waiting(wanted, moment)))

    def _plan_quotes(
        self, wanted: list[Any], moment: Moment, known: Known
    ) -> tuple[dict[int, float], dict[int, float], set[int]]:
        sells, buys = {}, {}
        for asset, (to_buy, to_sell) in enumerate(wanted):
            held, price = self.account.shares[asset], moment.price[asset]
            if to_buy > 0:
                self._want_to_buy(buys, asset, to_buy * known.equity * self._scale(known), moment, known)
            if to_sell > 0 and held > 0:
                sells[asset] = min(to_sell * known.equity / price, held)
        return sells, buys, sells.keys() | buys.keys()

    def _buy_order(self, asset: int, moment: Moment) -> Side:
        first, low = self.bars.open[moment.bar][asset], self.bars.low[moment.bar][asset]
        raw = moment.price[asset] * (1 - self.offset)
        tick = self._tick(raw)
        limit = floor(raw / tick * (1 + 4 * EPSILON)) * tick if tick > 0 else raw
        return Side(limit, min(limit, first), low < limit and low <= (limit - tick) * (1 + 4 * EPSILON))

    def _sale(self, asset: int, moment: Moment) -> Side:
        first, high = self.bars.open[moment.bar][asset], self.bars.high[moment.bar][asset]
        raw = moment.price[asset] * (1 + self.offset)
        tick = self._tick(raw)
        limit = ceil(raw / tick * (1 - 4 * EPSILON)) * tick if tick > 0 else raw
        return Side(limit, max(limit, first), high > limit and high >= (limit + tick) * (1 - 4 * EPSILON))

    def _tick(self, price: float) -> float:
        return self.tick_size if price >= 1 else self.tick_size / 100

    def _size_of_sale(self, asset: int, wanted: float, moment: Moment) -> float:
        held, shares = self.account.shares[asset], self._cap(asset, wanted, moment)
        if shares < held:
            shares = self._round_to_lots(shares)
            return shares if shares * moment.price[asset] >= self.settings.min_order_cash else 0.0
        return shares

    def _sizes_of_buys(self, values: dict[int, float], moment: Moment, cash: float) -> dict[int, float]:
        """Return shares of buys that `cash` pays for if all of them fill at their limits."""
        limit = {asset: self._buy_order(asset, moment).limit for asset in values}
        # A tick wider than the price leaves a limit of 0, at which nothing is for sale.
        shares = {a: self._cap(a, value / limit[a], moment) for a, value in values.items() if limit[a] > 0}
        shares = self._cut_to_cash(shares, limit, moment, cash)
        shares = {asset: self._round_to_lots(number) for asset, number in shares.items()}
        return {a: number for a, number in shares.items() if number * limit[a] >= self.settings.min_order_cash}

    def _book(self, asset: int, side: int, shares: float, price: float, moment: Moment, known: Known) -> None:
        account = self.account
        moment.volume_left[asset] -= shares
        fee, charges = self.costs.fee(side, shares * price, shares, moment.bar)
        fill = Fill(asset, side, shares, price, price, fee, "order")
        if side == SELL_SIDE:
            account.sell(fill, charges)
        else:
            account.buy(fill, charges, moment.bar, known.atr[asset])
