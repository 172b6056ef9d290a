"""The agent's orders: what is wanted, what is refused, what fills."""

from collections.abc import Sequence
from math import floor, fsum, sqrt
from typing import Any

import numpy as np

from tests.reference.account import Account, Fill
from tests.reference.costs import BUY_SIDE, SELL_SIDE, Costs, Known
from tests.reference.exits import Moment
from tests.reference.settings import Settings

HOLD, BUY, SELL = 0, 1, 2
SHARES_OF_LEVELS = (0.0, 0.25, 0.5, 1.0)
"""Of the largest position; levels are numbered from 1, and 0 keeps a position."""
EPSILON = float(np.finfo(np.float64).eps)
NAN = float("nan")


class Orders:
    """Works out and fills the orders of one moment.

    Sales are shares by asset, buys are dollars by asset; a rule that refuses an order deletes it.
    """

    def __init__(self, settings: Settings, account: Account, costs: Costs) -> None:
        self.settings, self.account, self.costs = settings, account, costs

    @property
    def none(self) -> Any:
        """What an action holds of an asset that it orders nothing of."""
        return {"weights": NAN, "bands": (NAN, NAN)}.get(self.settings.action, float(HOLD))

    def is_none(self, order: Any) -> bool:
        if self.settings.action == "bands":
            return any(edge != edge for edge in order)
        return order != order if self.settings.action == "weights" else order == HOLD

    def read(self, action: Any) -> list[Any]:
        """Return the action as A (or, for weights, A + 1) numbers, or A pairs of bands.

        Raises:
            ValueError: if it is malformed.
        """
        kind, num_assets = self.settings.action, len(self.account.shares)
        values = np.asarray(action, np.float64)
        if kind == "quotes":
            return values.reshape(num_assets, 2).tolist()
        if kind == "bands":
            return self._read_bands(values)
        lengths = (num_assets, num_assets + 1) if kind == "weights" else (num_assets,)
        if values.ndim != 1 or len(values) not in lengths:
            raise ValueError(f"A {kind} action needs {lengths} numbers; this one has shape {values.shape}.")
        numbers = values.tolist()
        if kind == "discrete" and not all(number in (HOLD, BUY, SELL) for number in numbers):
            raise ValueError(f"A discrete action holds 0, 1 or 2; this one is {values}.")
        if kind == "levels" and not all(number in range(1 + len(SHARES_OF_LEVELS)) for number in numbers):
            raise ValueError(f"An action of levels holds 0, 1, 2, 3 or 4; this one is {values}.")
        if np.isinf(values).any():
            raise ValueError(f"A target weight is infinite: {values}.")
        return numbers

    def _read_bands(self, values: np.ndarray) -> list[tuple[float, float]]:
        if values.shape != (len(self.account.shares), 2):
            raise ValueError(f"Bands are {len(self.account.shares)} pairs of weights; these have shape {values.shape}.")
        if np.isinf(values).any():
            raise ValueError(f"An edge of a band is infinite: {values}.")
        return [(lower, upper) for lower, upper in values.tolist()]

    def join_waiting(self, wanted: list[Any], observed: Sequence[bool]) -> list[Any]:
        """Return the orders to try: the new ones of assets that traded at close t, else those that wait."""
        if self.settings.action == "quotes":
            assert all(observed), "quotes that wait for a bar are not written down here"
            return list(wanted)
        joined = list(wanted)
        for asset, waits in enumerate(self.account.waiting):
            if not observed[asset] or self.is_none(wanted[asset]):
                joined[asset] = self.none if waits is None else waits
        return joined

    def _keep_waiting(self, wanted: list[Any], moment: Moment) -> set[int]:
        """Let the orders of assets that have no bar wait on; return those assets."""
        account, kept = self.account, set()
        if self.settings.action == "quotes":
            return kept
        for asset in range(len(account.shares)):
            found = moment.tradable[asset] or asset in moment.exited
            waits = not found and not self.is_none(wanted[asset])
            account.waiting[asset] = wanted[asset] if waits else None
            if waits:
                kept.add(asset)
                account.events["order waits for a bar"] += 1
        return kept

    def trade(self, wanted: list[Any], moment: Moment, known: Known) -> None:
        """Trade at the prices of the moment by an action decided at close t."""
        account, plan = self.account, self._plan_weights
        if self.settings.action == "discrete":
            plan = self._plan_discrete
        elif self.settings.action == "bands":
            plan = self._plan_bands
        elif self.settings.action == "levels":
            plan = self._plan_levels
        sells, buys, asked = plan(wanted, moment, known)
        self._add_working_orders(sells, buys, moment, known)
        self._refuse(sells, buys, moment, known)
        self._limit_trades_of_the_day(sells, buys, moment, known)
        filled = {asset for asset, shares in sells.items() if self._sell(asset, shares, moment, known)}
        self._limit_sectors(buys, moment, known)
        filled |= self._buy(buys, moment, known)
        account.rejected.extend(sorted(asked - filled - self._keep_waiting(wanted, moment)))

    # 1. What is wanted.

    def _plan_discrete(
        self, wanted: list[float], moment: Moment, known: Known
    ) -> tuple[dict[int, float], dict[int, float], set[int]]:
        """Return the shares to sell, the dollars to buy, and the assets that a trade was asked for in."""
        sells, buys = {}, {}
        asked = {asset for asset, order in enumerate(wanted) if order != HOLD}
        for asset in asked:
            self.account.working[asset] = 0.0
            if wanted[asset] == SELL and self.account.shares[asset] > 0:
                sells[asset] = self.account.shares[asset]
            elif wanted[asset] == BUY:
                value = self._base(asset, known) * self._scale(known)
                self._want_to_buy(buys, asset, value, moment, known)
        return sells, buys, asked

    def _plan_weights(
        self, wanted: list[float], moment: Moment, known: Known
    ) -> tuple[dict[int, float], dict[int, float], set[int]]:
        """Return the shares to sell, the dollars to buy, and the assets that a trade was asked for in."""
        sells, buys, asked = {}, {}, set()
        least = max(self.settings.min_order_cash, (self.settings.no_trade_band or 0.0) * known.equity)
        weights = _target_weights(wanted, len(self.account.shares), self._scale(known), self.settings.max_position_pct)
        for asset, weight in enumerate(weights):
            if weight is None:
                continue
            self.account.working[asset] = 0.0
            held, price = self.account.shares[asset], moment.price[asset]
            value = weight * known.equity - held * price
            if weight == 0 and held > 0:
                sells[asset] = held
            elif abs(value) < least or value == 0:
                continue
            elif value > 0:
                buys[asset] = value
            else:
                sells[asset] = min(-value / price, held)
            asked.add(asset)
        return sells, buys, asked

    def _plan_levels(
        self, wanted: list[float], moment: Moment, known: Known
    ) -> tuple[dict[int, float], dict[int, float], set[int]]:
        """Return what `_plan_weights` does for the weights that the levels stand for."""
        largest = self.settings.max_position_pct
        weights = [NAN if level == HOLD else SHARES_OF_LEVELS[int(level) - 1] * largest for level in wanted]
        return self._plan_weights(weights, moment, known)

    def _plan_bands(
        self, wanted: list[tuple[float, float]], moment: Moment, known: Known
    ) -> tuple[dict[int, float], dict[int, float], set[int]]:
        """Return the shares to sell, the dollars to buy, and the assets that a trade was asked for in."""
        settings, sells, buys, asked = self.settings, {}, {}, set()
        least = max(settings.min_order_cash, (settings.no_trade_band or 0.0) * known.equity)
        addressed = [asset for asset, band in enumerate(wanted) if not self.is_none(band)]
        lowers = {asset: max(wanted[asset][0], 0.0) for asset in addressed}
        uppers = {asset: max(wanted[asset][1], lowers[asset]) for asset in addressed}
        share = 1 / max(fsum(lowers.values()), 1.0)
        for asset in addressed:
            self.account.working[asset] = 0.0
            edges = [edge[asset] * share * self._scale(known) for edge in (lowers, uppers)]
            lower, upper = (min(edge, settings.max_position_pct) for edge in edges)
            held, price = self.account.shares[asset], moment.price[asset]
            below, above = lower * known.equity - held * price, held * price - upper * known.equity
            if edges[1] >= 1 and lower < edges[1]:  # all of the account, whatever it has come to since the close
                above = 0.0
            if upper == 0 and held > 0:
                sells[asset] = held
            elif below > 0 and below >= least:
                buys[asset] = below
            elif above > 0 and above >= least:
                sells[asset] = min(above / price, held)
            else:
                self.account.events["held within its band"] += held > 0 and below <= 0 and above <= 0
                continue
            asked.add(asset)
        return sells, buys, asked

    def _base(self, asset: int, known: Known) -> float:
        """Return the dollars of a discrete buy before its limits."""
        settings = self.settings
        fixed = settings.buy_pct * known.equity
        if settings.sizing == "volatility" and known.volatility[asset] > 0:
            return fixed * settings.target_volatility / (known.volatility[asset] * sqrt(settings.bars_per_year))
        if settings.sizing == "atr" and known.atr[asset] > 0:
            return settings.risk_pct * known.equity / (settings.risk_atr * known.atr[asset])
        return fixed

    def _scale(self, known: Known) -> float:
        if self.settings.drawdown_scaling is None:
            return 1.0
        return max(0.0, 1 - known.drawdown / self.settings.drawdown_scaling)

    def _want_to_buy(self, buys: dict[int, float], asset: int, value: float, moment: Moment, known: Known) -> None:
        """Order a buy of `value` dollars, cut to the room below the largest position, unless that is too little."""
        room = self.settings.max_position_pct * known.equity - self.account.shares[asset] * moment.price[asset]
        if min(value, room) >= self.settings.min_order_cash:
            buys[asset] = min(value, room)

    # 2. Working orders.

    def _add_working_orders(
        self, sells: dict[int, float], buys: dict[int, float], moment: Moment, known: Known
    ) -> None:
        """Try again what the agent did not address; what is not left over from this try ends."""
        account = self.account
        for asset, shares in enumerate(account.working):
            # A plan has ended the orders of assets that the agent addressed, and an exit those of its asset.
            if shares == 0 or not moment.tradable[asset]:
                continue
            account.working[asset] = 0.0
            account.events["working order tried"] += 1
            if shares > 0:
                self._want_to_buy(buys, asset, shares * moment.price[asset], moment, known)
            elif min(-shares, account.shares[asset]) * moment.price[asset] >= self.settings.min_order_cash:
                sells[asset] = min(-shares, account.shares[asset])

    def _keep_working(self, asset: int, shares: float, moment: Moment) -> None:
        """Remember the shares (signed) that the volume cap left over."""
        if self.settings.remainder == "carry" and abs(shares) * moment.price[asset] >= self.settings.min_order_cash:
            self.account.working[asset] = shares

    # 3. Refused.

    def _refuse(self, sells: dict[int, float], buys: dict[int, float], moment: Moment, known: Known) -> None:
        account = self.account
        for orders in (sells, buys):
            for asset in list(orders):
                if account.halted or asset in moment.exited or not moment.tradable[asset]:
                    del orders[asset]
                    account.events["refused after the halt"] += account.halted
                    account.events["refused after an exit"] += asset in moment.exited
        for asset in list(buys):
            if not moment.buyable[asset]:
                del buys[asset]
                account.events["buy refused outside the universe"] += 1
        least = self.settings.min_holding_bars
        for asset in list(sells):
            if least is not None and moment.bar - account.entry_bar[asset] < least:
                del sells[asset]
                account.events["sale refused by age"] += 1
        ranked = [asset for _, asset in self._rank(sells, buys, moment, known)]
        for asset in account.day.refused_sales([a for a in ranked if a in sells], moment.session):
            del sells[asset]
        for asset in account.day.refused_buys([a for a in ranked if a in buys], account.shares, moment.session):
            del buys[asset]

    def _rank(
        self, sells: dict[int, float], buys: dict[int, float], moment: Moment, known: Known
    ) -> list[tuple[int, int]]:
        """Return (side, asset) of all orders: sales, then the larger value, the larger adv, the lower column first."""
        rows = [(SELL_SIDE, -shares * moment.price[asset], -known.adv[asset], asset) for asset, shares in sells.items()]
        rows += [(BUY_SIDE, -value, -known.adv[asset], asset) for asset, value in buys.items()]
        return [(side, asset) for side, _, _, asset in sorted(rows)]

    # 4. Trades a day.

    def _limit_trades_of_the_day(
        self, sells: dict[int, float], buys: dict[int, float], moment: Moment, known: Known
    ) -> None:
        limit = self.settings.max_trades_per_day
        if limit is None:
            return
        ranked = self._rank(sells, buys, moment, known)
        for side, asset in ranked[max(limit - self.account.trades_today, 0) :]:
            del (sells if side == SELL_SIDE else buys)[asset]
            self.account.events["refused by the trades of the day"] += 1

    # 5. Sales.

    def _sell(self, asset: int, wanted: float, moment: Moment, known: Known) -> bool:
        """Sell; return whether anything filled."""
        account, price = self.account, moment.price[asset]
        held = account.shares[asset]
        shares = self._cap(asset, wanted, moment)
        self._keep_working(asset, -(wanted - shares), moment)
        if shares < held:
            shares = self._round_to_lots(shares)
        if shares <= 0 or (shares < held and shares * price < self.settings.min_order_cash):
            return False
        moment.volume_left[asset] -= shares
        paid = price * max(1 - self.costs.move(asset, price, shares * price, known, moment.bar), 0)
        fee, charges = self.costs.fee(SELL_SIDE, shares * paid, shares, moment.bar)
        account.sell(Fill(asset, -1, shares, paid, price, fee, "order"), charges)
        return True

    def _cap(self, asset: int, shares: float, moment: Moment) -> float:
        """Return the shares that the volume of the bar allows."""
        self.account.events["order capped by volume"] += shares > moment.volume_left[asset]
        return min(shares, moment.volume_left[asset])

    def _round_to_lots(self, shares: float) -> float:
        lot = self.settings.lot_size
        if lot is None:
            return shares
        whole = floor(shares / lot * (1 + 4 * EPSILON)) * lot
        self.account.events["rounded to lots"] += whole < shares
        return whole

    # 6. Sectors.

    def _limit_sectors(self, buys: dict[int, float], moment: Moment, known: Known) -> None:
        """Cut the buys of each sector by one factor to the room that its positions leave."""
        limit, sectors = self.settings.max_sector_pct, self.settings.sectors
        if limit is None or sectors is None:
            return
        for sector in set(sectors):
            members = [asset for asset, group in enumerate(sectors) if group == sector]
            held = fsum(self.account.shares[asset] * moment.price[asset] for asset in members)
            asked = fsum(buys.get(asset, 0.0) for asset in members)
            room = max(limit * known.equity - held, 0.0)
            if asked <= room:
                continue
            self.account.events["cut by the sector limit"] += 1
            for asset in buys.keys() & members:
                buys[asset] *= room / asked

    # 7. Buys.

    def _buy(self, values: dict[int, float], moment: Moment, known: Known) -> set[int]:
        """Buy for some dollars each; return the assets in which anything filled."""
        price, account = moment.price, self.account
        sizing_price, shares = {}, {}
        for asset, value in values.items():
            sizing_price[asset] = price[asset] * (1 + self.costs.move(asset, price[asset], value, known, moment.bar))
            wanted = value / sizing_price[asset]
            shares[asset] = self._cap(asset, wanted, moment)
            self._keep_working(asset, wanted - shares[asset], moment)
        shares = self._cut_to_cash(shares, sizing_price, moment, account.available())
        filled = set()
        for asset, number in shares.items():
            number = self._round_to_lots(number)
            if number <= 0 or number * sizing_price[asset] < self.settings.min_order_cash:
                continue
            moment.volume_left[asset] -= number
            paid = price[asset] * (1 + self.costs.move(asset, price[asset], number * price[asset], known, moment.bar))
            fee, charges = self.costs.fee(BUY_SIDE, number * paid, number, moment.bar)
            fill = Fill(asset, 1, number, paid, price[asset], fee, "order")
            account.buy(fill, charges, moment.bar, known.atr[asset])
            filled.add(asset)
        return filled

    def _cut_to_cash(
        self, shares: dict[int, float], sizing_price: dict[int, float], moment: Moment, available: float
    ) -> dict[int, float]:
        """Return the shares that the cash pays for, fees included, all cut by the same factor."""
        value = {asset: number * sizing_price[asset] for asset, number in shares.items()}
        pays = [asset for asset, number in shares.items() if number > 0]
        free = available - self.costs.reserve()
        cost = fsum(value[a] + self.costs.fee(BUY_SIDE, value[a], shares[a], moment.bar)[0] for a in pays)
        if not pays or cost <= free:
            return shares
        fixed = len(pays) * self.costs.fixed_buy_fee()
        variable = fsum(value[a] + self.costs.proportional_buy_fee(value[a], shares[a], moment.bar) for a in pays)
        self.account.events["cut to the cash"] += 1
        self.account.events["cut to settled cash"] += cost <= self.account.cash - self.costs.reserve()
        # The margin is far above the rounding of the purchases: cash does not fall below what is kept back.
        factor = max((free - fixed) * (1 - 16 * EPSILON) / variable, 0.0)
        return {asset: number * factor for asset, number in shares.items()}


def _target_weights(wanted: Sequence[float], num_assets: int, scale: float, largest: float) -> list[float | None]:
    """Return weights of at most `largest` each and 1 together; None where the position is kept."""
    positive = [weight if weight > 0 else 0.0 for weight in wanted]  # NaN compares False and weighs nothing
    total = fsum(positive)
    share = 1 / total if total > 1 else 1.0
    return [None if wanted[a] != wanted[a] else min(positive[a] * share * scale, largest) for a in range(num_assets)]
