"""Paper trading: for every closed bar the step that trades the last decision, then the next decision.

A bar is one transaction of the journal. Whatever moment a process ends in, the next one goes on after the last bar that
is whole; the step and the agent are deterministic, so it decides what the other would have decided.

Letters: A assets.
"""

import dataclasses
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import remember
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.checksum import digest_of
from ploutos_jax.live.account import PaperAccount, hash_of
from ploutos_jax.live.bars import ClosedBar, Source, plain_labels
from ploutos_jax.live.drift import DriftMonitor, describe_drift
from ploutos_jax.live.guards import Estimate, Guard, Guards, Judged, hold_all, judge_action, sell_all
from ploutos_jax.live.journal import Journal
from ploutos_jax.live.routing import Router
from ploutos_jax.live.window import Adjustment, BarWindow
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import name_moment
from ploutos_jax.market.panel import Market, Panel

_ADJUSTMENT = ("shares", "growth", "paid", "paid_before")


class Followed(NamedTuple):
    """What became of one bar.

    Attributes:
        number: of the bar, 0 for the first of the account.
        market: its row and those around it, see `BarWindow.market`.
        action: what was decided at its close.
        seconds: from the closed bar to the journalled decision.
    """

    number: int
    market: Market
    action: np.ndarray
    seconds: float


class Trader:
    """An agent that trades a paper account on bars as they close, written into a journal.

    Args:
        agent: what decides, by its greedy action and under the rules and costs of its training.
        source: of the bars.
        journal: new, or of the same agent and tickers.
        guards: limits.
        monitor: of drift; None for none.
        router: of orders that also go to a broker; None for the simulated one alone.
        say: told of guards and drift.
        now: seconds since 1970.

    Raises:
        ValueError: if the journal is of another agent or other tickers, or the agent cannot act on the bars.
    """

    def __init__(
        self,
        agent: Agent,
        source: Source,
        journal: Journal,
        *,
        guards: Guards | None = None,
        monitor: DriftMonitor | None = None,
        router: Router | None = None,
        say: Callable[[str, str], None] = lambda kind, text: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.agent, self.source, self.journal = agent, source, journal
        self.guards = Guards() if guards is None else guards
        self.monitor, self.router, self._say, self._now = monitor, router, say, now
        self.symbols = source.labels.symbols
        self.version = f"{digest_of(agent.params)[:16]}, update {agent.step}"
        self.killed = False
        self._kill = False
        self._sells_after: int | None = None
        self._silent = False
        self._told: set[str] = set()
        self._account: PaperAccount | None = None
        self._pending: np.ndarray | None = None
        self._number = -1
        self._session: tuple[int, float, float] | None = None
        self._before: np.ndarray | None = None
        facts = journal.facts()
        if facts:
            self._check(facts)
            self._resume()
        else:
            self._begin()
        self.facts = journal.facts()
        if router is not None:
            router.know_splits(self._window.adjustment.shares)

    def _check(self, facts: dict[str, Any]) -> None:
        for name, now in (("agent", self.version), ("symbols", list(self.symbols))):
            if facts[name] != now:
                raise ValueError(
                    f"{self.journal.path} is the journal of another account: its {name} is {facts[name]}, not {now}."
                    " Give another --journal for a new account."
                )

    def _begin(self) -> None:
        """Take in the history, and write it with what holds for the account."""
        self._window = BarWindow(self.source.labels, self.agent.feature_names)
        history = self.source.history(self._window.size + self.agent.network.warm_up)
        rows = [] if history is None else [ClosedBar.of(history, row) for row in range(history.num_bars)]
        with self.journal.transaction():
            for row, bar in enumerate(rows):
                factors = self._window.adjustment.follow(bar)
                self._window.add(bar, factors)
                self.journal.write_bar(row - len(rows), bar, self.symbols, factors)
            self.journal.write_facts(
                {
                    "account": uuid.uuid4().hex[:12],
                    "agent": self.version,
                    "symbols": list(self.symbols),
                    "source": self.source.name,
                    "interval_seconds": self.source.seconds,
                    "begun": self._now(),
                    "guards": dataclasses.asdict(self.guards),
                    "labels": plain_labels(self.source.labels),
                }
            )
        self._memory = self._remember(history)

    def _remember(self, history: Panel | None) -> Any:
        """Return what a network that remembers knows of the bars before the account's first."""
        network, names = self.agent.network, list(self.agent.feature_names)
        features, there = jnp.zeros((0, len(self.symbols), len(names))), jnp.zeros((0, len(self.symbols)), bool)
        if network.warm_up and history is not None:
            market = build_market(history, names)
            features, there = market.features[-network.warm_up :], market.tradable[-network.warm_up :]
        return remember(network, self.agent.params, features, there)

    def _resume(self) -> None:
        """Take up where the journal ends."""
        window = BarWindow(self.source.labels, self.agent.feature_names)
        last = self.journal.last_bar()
        first = (-1 if last is None else last) - window.size + 1
        window.count = max(first - self.journal.first_bar(), 0)
        for _, bar, factors in self.journal.bars(self.symbols, first):
            window.add(bar, factors)
        self._window = window
        if last is None:
            # No bar of the account is whole yet; of the history alone the adjustment is known anew.
            window.adjustment = Adjustment.none(len(self.symbols))
            for _, bar, _ in self.journal.bars(self.symbols):
                window.adjustment.follow(bar)
            self._memory = self._remember(self.source.history(window.size + self.agent.network.warm_up))
            return
        market = window.market()
        self._account = PaperAccount(self.agent, market, self._remember(None))
        arrays = self._account.from_bytes(self.journal.state() or b"")
        window.adjustment = Adjustment(**{name: arrays[name] for name in _ADJUSTMENT})
        self._session = tuple(arrays["session"].tolist())  # type: ignore[assignment]  # three numbers
        self._number = last
        self._pending = arrays["pending"]
        self._before = np.asarray(market.close[1], np.float64)

    def kill(self) -> None:
        """Stop the account at the next moment, as the kill file does; may be called by a signal's handler."""
        self._kill = True

    def run(
        self, *, should_stop: Callable[[], bool] = lambda: False, on_bar: Callable[[Followed], None] = lambda one: None
    ) -> int:
        """Follow the source until it ends, is stopped or killed; return the number of bars taken in.

        Args:
            should_stop: asked between bars.
            on_bar: called after each bar.
        """
        after = self._window.last_time if self._number >= 0 else None
        count = 0
        for bar in self.source.bars(after):
            if bar is not None:
                on_bar(self.follow(bar))
                count += 1
            self._watch()
            if self.killed or should_stop():
                break
        return count

    def follow(self, bar: ClosedBar) -> Followed:
        """Take in a closed bar: trade the last decision in it, decide the next, and write all of it."""
        began, received = time.perf_counter(), self._now()
        number, symbols = self._number + 1, self.symbols
        factors = self._window.adjustment.follow(bar)
        self._window.add(bar, factors)
        market = self._window.market()
        if self.router is not None:
            self.router.settle(number, self._window.adjustment.shares)
        fills: list[dict[str, Any]] = []
        if self._account is None:
            self.agent.check_market(market)
            self._account = PaperAccount(self.agent, market, self._memory)
            figures = self._account.figures()
        else:
            assert self._pending is not None
            figures, fills = self._account.step(self._pending, market)
        decision = self._account.decide(market)
        judged, planned = self._judge(bar, decision.action, figures, market, received)
        with self.journal.transaction():
            self.journal.write_bar(number, bar, symbols, factors, received)
            self.journal.write_fills(number, [{**fill, "bar": number - 1 + fill["bar"]} for fill in fills])
            self.journal.write_decision(
                number, self.version, hash_of(decision.seen), decision.action, judged.action, self._now()
            )
            self.journal.write_outputs(number, decision.outputs)
            for order in planned:
                self.journal.write_order({**order, "bar": number, "client_id": self._client_id(number, order)})
            self.journal.write_account(number, figures, self._to_bytes(judged.action))
            self._tell_guards(number, judged, bar)
            if self.router is not None and Guard.STALE not in {guard for guard, _ in judged.tripped}:
                close = np.asarray(market.close[1], np.float64)
                shares = np.asarray(self._account.state.shares, np.float64)
                self.router.write(number, self.facts["account"], planned, shares, close, figures["equity"])
        self._number, self._pending, self._silent = number, judged.action, False
        if self.router is not None:
            self.router.send()
        seconds = time.perf_counter() - began
        self._watch_drift(number, market, figures, fills)
        return Followed(number, market, judged.action, seconds)

    def _to_bytes(self, pending: np.ndarray) -> bytes:
        assert self._account is not None and self._session is not None
        carried = {name: getattr(self._window.adjustment, name) for name in _ADJUSTMENT}
        return self._account.to_bytes(pending=pending, session=np.array(self._session, np.float64), **carried)

    def _client_id(self, number: int, order: dict[str, Any]) -> str:
        """Return an order's name: the same whenever the same order is written."""
        return f"{self.facts['account']}-{number}-{order['ticker'].replace('/', '')}-{order['side']}"

    def _judge(
        self, bar: ClosedBar, wanted: np.ndarray, figures: dict[str, float], market: Market, received: float
    ) -> tuple[Judged, list[dict[str, Any]]]:
        """Return the action after the guards, and the orders that it means at the last closes."""
        assert self._account is not None
        equity = figures["equity"]
        if self._session is None:
            self._session = (bar.session, equity, equity)
        elif self._session[0] != bar.session:
            self._session = (bar.session, self._session[2], equity)
        else:
            self._session = (bar.session, self._session[1], equity)
        config = self.agent.env_config
        if self._is_killed() or equity <= 0:
            action = (sell_all if self.guards.flatten else hold_all)(config, len(self.symbols))
            guard = Guard.KILL if equity > 0 else Guard.RUIN
            judged = Judged(action, ((guard, tuple(range(len(self.symbols)))),))
            return judged, self._expect(action, market)[1]
        loss = 1 - equity / self._session[1]
        expected, planned = self._expect(wanted, market)
        judged = judge_action(
            self.guards, config, wanted, expected, daily_loss=loss, stale=self._is_stale(bar, received)
        )
        return (judged, planned) if not judged.tripped else (judged, self._expect(judged.action, market)[1])

    def _expect(self, action: np.ndarray, market: Market) -> tuple[Estimate, list[dict[str, Any]]]:
        """Return what an action does over a bar flat at the last closes: to positions, and as orders."""
        assert self._account is not None
        return self._account.expect(action, market, self.symbols)

    def _is_stale(self, bar: ClosedBar, received: float) -> bool:
        if self.source.seconds is None or self.guards.stale_bars is None:
            return False
        closed = float(bar.time.astype("datetime64[ns]").astype(np.int64)) / 1e9 + self.source.seconds
        return received - closed > self.guards.stale_bars * self.source.seconds

    def _is_killed(self) -> bool:
        return self._kill or self.guards.is_killed()

    def _watch(self) -> None:
        """Look at the kill switch, at orders that are not sent yet and at the clock, between bars."""
        if self._is_killed() and self._number >= 0 and not self.killed:
            self._stop_now()
        if self.router is not None and self._number >= 0 and not self.source.has_missed(self._window.last_time):
            self.router.send()
        seconds, limit = self.source.seconds, self.guards.stale_bars
        if seconds is None or limit is None or self._number < 0 or self._silent:
            return
        calendar = self.source.labels.calendar
        known = float(self._window.last_time.astype(np.int64)) / 1e9 + 2 * seconds
        if calendar is not None and calendar.days_per_year > 300 and self._now() - known > limit * seconds:
            self._silent = True
            self._tell(self._number, Guard.STALE, f"no bar since {name_moment(self._window.last_time)}")

    def _stop_now(self) -> None:
        """Put what the kill switch asks for in the place of the decision that has not been traded yet.

        What is to be sold is sold in the bar that follows; the account ends after it.
        """
        assert self._account is not None
        if self._sells_after is not None:
            self.killed = self._number > self._sells_after
            return
        flatten, shares = self.guards.flatten, np.asarray(self._account.state.shares)
        action = (sell_all if flatten else hold_all)(self.agent.env_config, len(self.symbols))
        with self.journal.transaction():
            self.journal.amend_decision(self._number, action, self._to_bytes(action))
            self.journal.write_event(self._number, self._now(), Guard.KILL, "stopped")
        self._pending = action
        if flatten and shares.any():
            self._sells_after = self._number
        self.killed = self._sells_after is None
        if self.router is not None:
            close = np.asarray(self._window.market().close[1], np.float64)
            self.router.stop(self._number, self.facts["account"], close, flatten=flatten)
        then = "" if self.killed else "; the next one sells all positions, and the account ends"
        self._say(Guard.KILL, f"stopped after the bar of {name_moment(self._window.last_time)}{then}")

    def _tell_guards(self, number: int, judged: Judged, bar: ClosedBar) -> None:
        tripped = {guard.value for guard, _ in judged.tripped}
        for guard, places in judged.tripped:
            names = ", ".join(self.symbols[a] for a in places[:5]) + (" …" if len(places) > 5 else "")
            text = f"{names}: not as decided at the close of {name_moment(bar.time)}"
            self.journal.write_event(number, self._now(), guard, text)
            if guard.value not in self._told:
                self._say(guard, text)
        self._told = tripped

    def _tell(self, number: int, kind: str, text: str) -> None:
        with self.journal.transaction():
            self.journal.write_event(number, self._now(), kind, text)
        self._say(kind, text)

    def _watch_drift(self, number: int, market: Market, figures: dict[str, float], fills: list[dict[str, Any]]) -> None:
        close = np.asarray(market.close[1], np.float64)
        before, self._before = self._before, close
        if self.monitor is None:
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            returns = np.full_like(close, np.nan) if before is None else np.log(close / before)
        traded = sum(fill["shares"] * fill["price"] for fill in fills)
        rows = np.asarray(market.features[1]), np.asarray(market.tradable[1])
        invested = figures["gross_exposure"] / figures["equity"] if figures["equity"] > 0 else 0.0
        acts = invested, any(fill["reason"] == "order" for fill in fills)
        for drift in self.monitor.follow(*rows, returns, *acts, figures["cost"], traded):
            self._tell(number, "drift", describe_drift(drift))
