"""Exits: stops, targets, trailing stops, time stops and the drawdown halt."""

from collections.abc import Container, Mapping
from itertools import pairwise
from math import inf
from typing import NamedTuple

from tests.reference.account import Account, Fill
from tests.reference.bars import Bars
from tests.reference.costs import SELL_SIDE, Costs, Known
from tests.reference.settings import Settings


class Moment:
    """A bar as the orders of a moment see it.

    Attributes:
        bar: its number; fees, sessions and the age of positions go by it.
        session: its session.
        price: A market prices of the moment.
        tradable: A flags.
        buyable: A flags; where False, a position may be sold and not bought.
        volume_left: A shares that may still fill in this bar.
        exited: assets that have left in this bar and take no order any more.
    """

    def __init__(self, bars: Bars, bar: int, price: list[float], participation: float | None) -> None:
        self.bar, self.session, self.price = bar, bars.sessions[bar], price
        self.tradable, self.buyable = bars.tradable[bar], bars.buyable[bar]
        caps = (inf if participation is None else participation * volume for volume in bars.volume[bar])
        self.volume_left = list(caps)
        self.exited = {asset for asset, gone in enumerate(bars.delisted[bar]) if gone}


class Exit(NamedTuple):
    """A position that wants out: at which market price, why, and whether it pays a market order's costs."""

    asset: int
    price: float
    reason: str
    pays: bool


def _nearly_tied(values: list[float]) -> bool:
    """Return whether two neighbours of descending values differ by rounding at most."""
    return any(a - b <= 1e-12 * a for a, b in pairwise(values))


class Exits:
    """Finds the exits of a bar and fills them."""

    def __init__(self, settings: Settings, account: Account, bars: Bars, costs: Costs) -> None:
        self.settings, self.account, self.bars, self.costs = settings, account, bars, costs

    def at_open(self, moment: Moment, known: Known) -> None:
        """Fill what waits for the open, for positions held before the orders of the bar."""
        found = [self._look_at_open(asset, moment) for asset in self._may_exit(moment)]
        self._fill([exit for exit in found if exit], moment, known)

    def touched(self, moment: Moment, bought_at: Mapping[int, float] | None = None) -> list[Exit]:
        """Return what the bar reaches, of positions that have not left; `bought_at` prices of limit buys of the bar."""
        live = [asset for asset in self._may_exit(moment) if asset not in moment.exited]
        found = [self._look_inside(asset, moment, (bought_at or {}).get(asset)) for asset in live]
        return [exit for exit in found if exit]

    def fill(self, exits: list[Exit], moment: Moment, known: Known, later: Container[int] = ()) -> set[int]:
        """Fill exits but those of the assets that are to come `later`; return the assets that a rule refused."""
        return self._fill(exits, moment, known, later)

    def inside(self, moment: Moment, known: Known) -> None:
        """Fill what the rest of the bar reaches, for every position there is."""
        found = [self._look_inside(asset, moment) for asset in self._may_exit(moment)]
        self._fill([exit for exit in found if exit], moment, known)

    def raise_highest(self, bar: int) -> None:
        """Let trailing levels know the high of the bar that is over, if it traded.

        A position that a limit order has opened in the bar may have come after its high.
        """
        highest, resting = self.account.highest_price, self.settings.order_type == "limit"
        for asset, held in enumerate(self.account.shares):
            if resting and self.account.entry_bar[asset] == bar:
                continue
            if held > 0 and self.bars.tradable[bar][asset]:
                highest[asset] = max(highest[asset], self.bars.high[bar][asset])

    def levels(self, asset: int) -> tuple[float, str, float]:
        """Return the protective level, what an exit at it is called, and the target."""
        settings, account = self.settings, self.account
        entry, highest, atr = account.entry_price[asset], account.highest_price[asset], account.entry_atr[asset]
        stop, trailing, target = -inf, -inf, inf
        if settings.stop_loss is not None:
            stop = entry * (1 - settings.stop_loss)
        if settings.stop_loss_atr is not None and atr > 0:
            stop = max(stop, entry * (1 - settings.stop_loss_atr * atr))
        if settings.break_even is not None and highest >= entry * (1 + settings.break_even):
            stop = max(stop, entry)
        if settings.trailing_stop is not None:
            trailing = highest * (1 - settings.trailing_stop)
        if settings.trailing_atr is not None and atr > 0:
            trailing = max(trailing, highest * (1 - settings.trailing_atr * atr))
        if settings.take_profit is not None:
            target = entry * (1 + settings.take_profit)
        if settings.take_profit_atr is not None and atr > 0:
            target = min(target, entry * (1 + settings.take_profit_atr * atr))
        return (trailing, "trailing", target) if trailing > stop else (stop, "stop", target)

    def _may_exit(self, moment: Moment) -> list[int]:
        account = self.account
        held = [asset for asset, shares in enumerate(account.shares) if shares > 0 and moment.tradable[asset]]
        if not self.settings.holding_binds_stops or self.settings.min_holding_bars is None:
            return held
        least = self.settings.min_holding_bars
        return [asset for asset in held if moment.bar - account.entry_bar[asset] >= least]

    def _look_at_open(self, asset: int, moment: Moment) -> Exit | None:
        first = moment.price[asset]
        protective, name, target = self.levels(asset)
        longest = self.settings.max_holding_bars
        if first <= protective:
            return Exit(asset, first, name, pays=True)
        if first >= target:
            return Exit(asset, first, "target", pays=False)
        if self.account.halted:
            return Exit(asset, first, "halt", pays=True)
        if longest is not None and moment.bar - self.account.entry_bar[asset] >= longest:
            return Exit(asset, first, "time", pays=True)
        return None

    def _look_inside(self, asset: int, moment: Moment, bought_at: float | None = None) -> Exit | None:
        protective, name, target = self.levels(asset)
        first, high, low = (x[moment.bar][asset] for x in (self.bars.open, self.bars.high, self.bars.low))
        # With a spread wider than the stop distance a new position starts below its stop: then the open counts.
        stopped = Exit(asset, min(protective, first), name, pays=True) if low <= protective else None
        if bought_at is not None:
            # The price came through the limit on its way down; whether the high was before that is not known.
            return stopped and stopped._replace(price=min(stopped.price, bought_at))
        reached = high > target if self.settings.strict_targets else high >= target
        targeted = Exit(asset, target, "target", pays=False) if reached else None
        if stopped is None or targeted is None:
            return stopped or targeted
        self.account.events["both touched"] += 1
        if self.settings.both_touched == "path":
            return stopped if first - low <= high - first else targeted
        return targeted if self.settings.both_touched == "target" else stopped

    def _fill(self, exits: list[Exit], moment: Moment, known: Known, later: Container[int] = ()) -> set[int]:
        account = self.account
        # What finds no volume is no sale: were it ranked, a sale that the rule puts off to the next session could fill
        # later in this one.
        fillable = [exit for exit in exits if moment.volume_left[exit.asset] > 0]
        values = {exit.asset: account.shares[exit.asset] * exit.price for exit in fillable}
        ranked = sorted(values, key=lambda asset: (-values[asset], -known.adv[asset], asset))
        refused = account.day.refused_sales(ranked, moment.session)
        if refused and _nearly_tied([values[asset] for asset in ranked]):
            # Which comes first is decided by the last bit of a product: no difference between two brokers.
            account.tied = True
            account.events["exits nearly tied"] += 1
        for exit in exits:
            if exit.asset not in refused and exit.asset not in later:
                self._leave(exit, moment, known)
        return refused

    def _leave(self, exit: Exit, moment: Moment, known: Known) -> None:
        """Sell the whole position, as far as volume allows."""
        account, asset = self.account, exit.asset
        account.working[asset] = 0.0
        moment.exited.add(asset)
        shares = min(account.shares[asset], moment.volume_left[asset])
        account.events["exit capped"] += shares < account.shares[asset]
        if shares <= 0:
            return
        moment.volume_left[asset] -= shares
        price = exit.price
        if exit.pays:
            price *= max(1 - self.costs.move(asset, exit.price, shares * exit.price, known, moment.bar), 0)
        fee, charges = self.costs.fee(SELL_SIDE, shares * price, shares, moment.bar)
        account.sell(Fill(asset, -1, shares, price, exit.price, fee, exit.reason), charges)
        account.exits[exit.reason] += 1
