"""The order of events in a bar: what the broker does between two closes, from orders and exits to fills.

`docs/broker.md` lists it; what each event does is in the other files of this folder. With `itemised`, every fill says
what its fee consists of and what price it was meant to get, and the account is handed out as the agent's orders found
it. That is for whoever asks how an account fared; without it nothing of it is computed.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ploutos_jax.env.broker import account, day_trades, execution, limit_orders, orders, stops
from ploutos_jax.env.broker.account import Book, count
from ploutos_jax.env.broker.bar import Bar, read_bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import DELISTED, ORDER, STOP, TARGET, TRAILING, Action, EnvParams, EnvState, Fill


class Worked(NamedTuple):
    """A bar that has been worked through, up to its close.

    Attributes:
        book: the account, not marked at the close yet.
        bar: the bar.
        fills: in order of execution.
        rejected: int32, orders that found no fill.
        moment: the account as the agent's orders found it; None unless itemised.
    """

    book: Book
    bar: Bar
    fills: tuple[Fill, ...]
    rejected: Int[Array, ""]
    moment: orders.OrderMoment | None


def work_bar(
    config: EnvConfig,
    params: EnvParams,
    state: EnvState,
    action: Action,
    noise: Float[Array, " A"] | None,
    *,
    itemised: bool,
    quotes: bool = False,
) -> Worked:
    """Work through bar t+1 up to its close.

    Args:
        config, params: rules and numbers.
        state: the account at close t.
        action: see `TradingEnv`.
        noise: `[A]` standard normal numbers for random slippage; None without it.
        itemised: static, see the file.
        quotes: static, see `TradingEnv`.
    """
    desk, fill_at, action = _Desk(config, params, itemised, quotes), config.fill, jnp.asarray(action)
    action = orders.at_decisions(config, state, action)
    if state.waiting is not None:
        action = orders.with_waiting(config, state.waiting, params.market.tradable[state.t], action)
    bar = read_bar(config, params, state.t + 1, state.t, noise)
    book = account.open_book(config, state, params.market.close[state.t], bar)
    none, fills, rejected, moment = jnp.zeros_like(bar.tradable), [], jnp.zeros((), jnp.int32), None
    if fill_at == "same_close":
        seen = read_bar(config, params, state.t, state.t, noise)
        book = book.replace(volume_left=seen.volume_limit)
        moment = desk.moment(book, seen, seen.close, none)
        book, rejected, made = desk.fill_orders(book, seen, seen.close, action, none, None)
        book, fills = book.replace(volume_left=bar.volume_limit), [*made]
    book = account.begin_session(config, params, book, bar)
    book = account.apply_corporate_actions(book, bar)

    ended = none if bar.delisted is None else bar.delisted
    exits = desk.allowed(book, bar, stops.exits_at_open(config, params, book.state, bar, book.held & ~ended))
    leaving = exits.any | ended
    if config.order_type == "limit":
        moment = desk.moment(book, bar, book.last_close, leaving)
        book, rejected, fills = desk.fill_limits(book, bar, action, leaving, exits)
        return Worked(book=book, bar=bar, fills=tuple(fills), rejected=rejected, moment=moment)
    if fill_at == "next_open":
        moment = desk.moment(book, bar, bar.open, leaving)
        book, rejected, fills = desk.fill_orders(book, bar, bar.open, action, leaving, exits)
    else:
        book, fill = desk.fill_exits(book, bar, exits, at_open=True)
        fills.append(fill)

    inside = stops.exits_inside_bar(config, params, book.state, bar, book.held & ~leaving)
    inside = desk.allowed(book, bar, inside)
    book, fill = desk.fill_exits(book, bar.replace(delisted=None), inside, at_open=False)
    book, fills = book.replace(state=stops.follow_price(book.state, bar)), [*fills, fill]
    if fill_at == "next_close":
        leaving = leaving | inside.any
        moment = desk.moment(book, bar, bar.close, leaving)
        book, rejected, made = desk.fill_orders(book, bar, bar.close, action, leaving, None)
        fills = [*fills, *made]
    return Worked(book=book, bar=bar, fills=tuple(fills), rejected=rejected, moment=moment)


class _Desk(NamedTuple):
    """What fills orders and exits: rules, numbers, and whether fills are itemised."""

    config: EnvConfig
    params: EnvParams
    itemised: bool
    quotes: bool

    def moment(self, book: Book, bar: Bar, price: Array, leaving: Array) -> orders.OrderMoment | None:
        if not self.itemised:
            return None
        return orders.OrderMoment(book=book, bar=bar, price=price, leaving=leaving)

    def fill_orders(
        self,
        book: Book,
        bar: Bar,
        price: Array,
        action: Array,
        leaving: Array,
        exits: stops.Exits | None,
    ) -> tuple[Book, Array, list[Fill]]:
        """Fill the agent's sales, then its buys, at `price`; `exits` fill with the sales.

        Returns:
            The book, the number of orders that found no fill, and the fills.
        """
        config, params, state = self.config, self.params, book.state
        free = bar.tradable & ~leaving
        if exits is None:
            reason, exiting = jnp.full(leaving.shape, ORDER, jnp.int8), jnp.zeros_like(state.shares)
        else:
            reason, exiting = self._reasons(book, bar, exits)
        wanted = orders.decide(config, params, book, bar, price, action, free, exiting)
        selling = execution.sale_within_limits(
            config, params, bar, wanted.sell_shares, state.shares, price, book.volume_left
        )
        unsold = wanted.sell_shares - execution.within_volume(wanted.sell_shares, book.volume_left)
        sale = self._sell(book, bar, jnp.where(free, selling, exiting), price, reason, at_open=exits is not None)
        book = account.book_fill(book, sale, bar)

        value = orders.within_sectors(params, wanted.buy_cash, book.state.shares, price, state.equity)
        buy, unbought = execution.buy_within_cash(
            config, params, bar, value, price, book.available_cash, book.volume_left
        )
        if self.itemised:
            buy = execution.itemise(config, params, bar, buy, price, is_sale=False)
        book = account.book_fill(book, buy, bar)
        if state.working_shares is not None:
            left = unbought - unsold
            left = jnp.where(jnp.abs(left) * price >= params.min_order_cash, left, 0)
            kept = jnp.where(free, left, jnp.where(wanted.addressed | leaving, 0, state.working_shares))
            book = book.replace(state=book.state.replace(working_shares=kept))
        filled = free & ((sale.shares != 0) | (buy.shares != 0))
        book, rejected = self._close_orders(book, bar, action, wanted.requested & ~filled, leaving)
        return book, rejected, [sale, buy]

    def fill_limits(
        self, book: Book, bar: Bar, action: Array, leaving: Array, exits: stops.Exits
    ) -> tuple[Book, Array, list[Fill]]:
        """Fill the exits of the open, then what the rest of the bar reaches of limit orders, stops and targets.

        Returns:
            The book, the number of orders that found no fill, and the fills.
        """
        config, params, cash, price = self.config, self.params, book.available_cash, book.last_close
        book, at_open = self.fill_exits(book, bar, exits, at_open=True)
        bar = bar.replace(delisted=None)  # paid out
        free, shares, volume = bar.tradable & ~leaving, book.state.shares, book.volume_left
        none = jnp.zeros_like(shares)
        wanted = orders.decide(config, params, book, bar, price, action, free, none, quotes=self.quotes)
        selling = execution.sale_within_limits(config, params, bar, wanted.sell_shares, shares, price, volume)
        resting = limit_orders.rest(config, params, bar, price)
        value = orders.within_sectors(params, wanted.buy_cash, shares, price, book.state.equity)
        buying = execution.affordable_at_limit(config, params, bar, value, resting.buy_limit, cash, volume)
        resting = resting.replace(buys=resting.buys & (buying > 0), sells=resting.sells & (selling > 0))
        resting = limit_orders.worse_side(resting, bar.close)

        touched = stops.exits_inside_bar(config, params, book.state, bar, book.held & ~leaving)
        inside = self.allowed(book, bar, touched)
        refused = touched.any & ~inside.any
        inside = inside.keep(~limit_orders.comes_after(resting, inside.reference))
        book, first = self.fill_exits(book, bar, inside, at_open=False)
        leaving = leaving | inside.any

        reason = jnp.full(shares.shape, ORDER, jnp.int8)
        sold = jnp.where(resting.sells & ~leaving, selling, 0)
        if config.day_trade_rule != "none":  # exits before them may have taken the day trades that were left
            may = day_trades.allowed_sales(config, params, book.state, bar, sold > 0, sold * price, none > 0)
            sold = jnp.where(may, sold, 0)
        sale = self._sell(book, bar, sold, resting.sell_price, reason, at_open=False, at_limit=True)
        book = account.book_fill(book, sale, bar)
        bought = jnp.where(resting.buys & ~leaving, buying, 0)
        buy = execution.buy_at_limit(config, params, bar, bought, resting.buy_price)
        if self.itemised:
            buy = execution.itemise(config, params, bar, buy, buy.reference, is_sale=False)
        book = account.book_fill(book, buy, bar)

        bought_at = jnp.where(bought > 0, resting.buy_price, jnp.inf)
        after = stops.exits_inside_bar(config, params, book.state, bar, book.held & ~leaving & ~refused, bought_at)
        after = self.allowed(book, bar, after)
        book, last = self.fill_exits(book, bar, after, at_open=False)
        book = book.replace(state=stops.follow_price(book.state, bar, of_new=False))
        unfilled = wanted.requested & (sold == 0) & (bought == 0)
        book, rejected = self._close_orders(book, bar, action, unfilled, leaving)
        return book, rejected, [at_open, first, sale, buy, last]

    def _close_orders(self, book: Book, bar: Bar, action: Array, unfilled: Array, leaving: Array) -> tuple[Book, Array]:
        """Let orders wait whose asset has no bar; return the book and the number of others that are `unfilled [A]`."""
        if book.state.waiting is None:
            return book, count(unfilled)
        found_bar = bar.tradable | leaving
        waiting = orders.still_waiting(self.config, book.state.waiting, action, found_bar)
        return book.replace(state=book.state.replace(waiting=waiting)), count(unfilled & found_bar)

    def allowed(self, book: Book, bar: Bar, exits: stops.Exits) -> stops.Exits:
        """Return exits without those that the day-trade rule puts off to the next session."""
        config, params, state = self.config, self.params, book.state
        if config.day_trade_rule == "none" or config.day_trade_mode == "entry":
            return exits
        value, none = state.shares * exits.reference, jnp.zeros_like(exits.any)
        # What finds no volume takes no place: it would let another exit, put off at the open, fill inside the bar.
        filling = exits.any if book.volume_left is None else exits.any & (book.volume_left > 0)
        return exits.keep(day_trades.allowed_sales(config, params, state, bar, filling, value, none))

    def fill_exits(self, book: Book, bar: Bar, exits: stops.Exits, *, at_open: bool) -> tuple[Book, Fill]:
        """Fill exits at one moment of the bar."""
        reason, exiting = self._reasons(book, bar, exits)
        fill = self._sell(book, bar, exiting, exits.reference, reason, at_open=at_open)
        book = account.book_fill(book, fill, bar)
        if book.state.working_shares is not None:
            kept = jnp.where(reason != ORDER, 0, book.state.working_shares)
            book = book.replace(state=book.state.replace(working_shares=kept))
        return book, fill

    def _reasons(self, book: Book, bar: Bar, exits: stops.Exits) -> tuple[Array, Array]:
        """Return why each asset is sold, `ORDER` where no exit does it, and the shares that exits sell; `[A]` each."""
        shares = book.state.shares
        reason = jnp.where(exits.any, exits.reason, ORDER).astype(jnp.int8)
        exiting = jnp.where(exits.any, execution.within_volume(shares, book.volume_left), 0)
        if bar.delisted is None:
            return reason, exiting
        return jnp.where(bar.delisted, DELISTED, reason).astype(jnp.int8), jnp.where(bar.delisted, shares, exiting)

    def _sell(
        self,
        book: Book,
        bar: Bar,
        shares: Array,
        reference: Array,
        reason: Array,
        *,
        at_open: bool,
        at_limit: bool = False,
    ) -> Fill:
        config, params = self.config, self.params
        if bar.delisted is not None:
            reference = jnp.where(reason == DELISTED, book.last_close * params.delisting_recovery, reference)
        pays_none = jnp.ones_like(book.held) if at_limit else (reason == TARGET) | (reason == DELISTED)
        fill = execution.sell(config, params, bar, shares, reference, reason, pays_none)
        if not self.itemised:
            return fill
        aim, stop = reference, stops.find_levels(config, params, book.state).stop
        if at_open and stop is not None:
            # A stop that the open has gapped through was meant to fill at its level; inside a bar it does.
            is_stop = (fill.reason == STOP) | (fill.reason == TRAILING)
            aim = jnp.where(is_stop & book.held, jnp.maximum(stop, reference), reference)
        return execution.itemise(config, params, bar, fill, aim, is_sale=True)
