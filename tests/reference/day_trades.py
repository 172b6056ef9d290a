"""The rule on pattern day trading: who bought and sold the same asset in one session, and what that forbids."""

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.reference.settings import Settings

WINDOW = 5
FREE_DAY_TRADES = 3


class DayTrades:
    """Counters of the last five sessions, and the limits that follow from them.

    Attributes:
        opened: A flags, the asset was bought in this session and not sold since.
        day_trades, fills: counts of the last five sessions; index 0 is this session.
        flagged: whether the account is a pattern day trader's, for good.
        session_equity: dollars at the last close of the session before.
        events: how often each limit refused something.
    """

    def __init__(self, settings: Settings, num_assets: int, events: Counter[str]) -> None:
        self.exists = settings.day_trade_rule != "none"
        self.ends = settings.day_trade_end if settings.day_trade_rule == "by_date" else None
        self.limits_buys = settings.day_trade_mode in ("entry", "both")
        self.limits_sales = settings.day_trade_mode in ("exit", "both")
        self.enough_equity = settings.day_trade_equity
        self.opened = [False] * num_assets
        self.day_trades = [0] * WINDOW
        self.fills = [0] * WINDOW
        self.flagged = False
        self.session_equity = settings.initial_cash
        self.events = events

    def begin_session(self, equity: float) -> None:
        self.opened = [False] * len(self.opened)
        self.day_trades = [0, *self.day_trades[:-1]]
        self.fills = [0, *self.fills[:-1]]
        self.session_equity = equity

    def bought(self, asset: int) -> None:
        self.fills[0] += 1
        self.opened[asset] = True

    def sold(self, asset: int) -> None:
        self.fills[0] += 1
        self.day_trades[0] += self.opened[asset]
        self.opened[asset] = False

    def holds_in(self, session: int) -> bool:
        """Return whether there is a rule in this session."""
        return self.exists and (self.ends is None or session < self.ends)

    def binds(self, session: int) -> bool:
        """Return whether the rule limits this account: it was too small at the last close of the session before."""
        return self.holds_in(session) and self.session_equity < self.enough_equity

    def judge(self, session: int) -> None:
        """Flag the account at a close if it was a pattern day trader's in the window."""
        day_trades, fills = sum(self.day_trades), sum(self.fills)
        if self.holds_in(session) and day_trades >= 4 and 100 * day_trades > 6 * fills:
            self.events["flagged"] += not self.flagged
            self.flagged = True

    def refused_sales(self, ranked: Iterable[int], session: int) -> set[int]:
        """Return those of the assets to sell, first in the ranking first, that have to stay held."""
        if not (self.limits_sales and self.binds(session)):
            return set()
        at_stake = [asset for asset in ranked if self.opened[asset]]
        refused = at_stake[max(FREE_DAY_TRADES - sum(self.day_trades), 0) :]
        self.events["day-trade sale refused"] += len(refused)
        return set(refused)

    def refused_buys(self, ranked: Iterable[int], shares: Sequence[float], session: int) -> set[int]:
        """Return those of the assets to buy, first in the ranking first, that may not be bought."""
        if not self.binds(session):
            return set()
        if self.flagged:
            refused = list(ranked)
            self.events["flagged buy refused"] += len(refused)
            return set(refused)
        if not self.limits_buys:
            return set()
        could_be_sold = sum(opened and held > 0 for opened, held in zip(self.opened, shares, strict=True))
        new = [asset for asset in ranked if not self.opened[asset]]
        refused = new[max(FREE_DAY_TRADES - sum(self.day_trades) - could_be_sold, 0) :]
        self.events["day-trade buy refused"] += len(refused)
        return set(refused)
