"""Small paper accounts for tests: the world of the backtests' tests, and a journal."""

import dataclasses

import numpy as np

from ploutos_jax.live.bars import ClosedBar
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.replay import Replay
from ploutos_jax.live.trader import Trader
from ploutos_jax.market.features.build import build_market
from tests.evaluate.backtest.worlds import COSTLY, make_agent, make_panel

FIRST = 30
"""The account's first bar of the panel's 90."""

FORMS = {
    "discrete": COSTLY,
    "weights": dataclasses.replace(COSTLY, action="weights"),
    "bands": dataclasses.replace(COSTLY, action="bands", stop_loss=None, take_profit=None, fees="alpaca"),
    "levels": dataclasses.replace(COSTLY, action="levels", slippage_noise=0.5),
}


def agent_of(panel, config=COSTLY):
    return make_agent(build_market(panel, "minimal"), config)


def play(path, panel=None, config=COSTLY, agent=None, end=None, **more):
    """Trade a panel into a journal; return what became of each bar."""
    panel = make_panel() if panel is None else panel
    agent = agent_of(panel, config) if agent is None else agent
    followed = []
    with Journal(path) as journal:
        Trader(agent, Replay(panel, FIRST, end), journal, **more).run(on_bar=followed.append)
    return followed


class Clocked:
    """A replay whose bars are a day long and closed at their times, by a clock that the test sets."""

    seconds = 86_400.0
    name = "clocked"

    def __init__(self, panel, first=FIRST):
        self._panel, self._first = panel, first
        self._replay = Replay(panel, first)
        self.labels = self._replay.labels
        self.clock = 0.0
        self.late = {}

    def now(self):
        return self.clock

    def history(self, num_bars):
        return self._replay.history(num_bars)

    def bars(self, after):
        for row in range(self._first, self._panel.num_bars):
            closed = self._panel.times[row].astype("datetime64[s]").astype(float) + self.seconds
            self.clock = closed + self.late.get(row, 1.0)
            yield ClosedBar.of(self._panel, row)


def account_equal(one, other):
    """Whether two journals hold the same bars, decisions, orders (but for the account's name), fills and accounts."""
    with Journal(one, read_only=True) as a, Journal(other, read_only=True) as b:
        same = a.accounts().equals(b.accounts()) and a.fills() == b.fills()
        mine, theirs = a.decisions(), b.decisions()
        for name in ("bar", "agent", "observation"):
            same = same and mine[name].equals(theirs[name])
        for name in ("wanted", "action"):
            same = same and all(
                np.array_equal(x, y, equal_nan=True) for x, y in zip(mine[name], theirs[name], strict=True)
            )
        named = []
        for journal in (a, b):
            account, orders = journal.facts()["account"], journal.orders()
            orders["client_id"] = [name.removeprefix(account) for name in orders["client_id"]]
            named.append(orders)
        return same and named[0].equals(named[1])
