"""Bookkeeping of one account: cash, positions, equity."""

import jax.numpy as jnp
from flax import struct

from ploutos_jax.env.types import NOT_HELD, Array, Bar, EnvState, Fill


class Book(struct.PyTreeNode):
    """The account while a bar is worked through; fields as in `EnvState`.

    `cost` is what this bar's fills have cost so far in fees, spread and slippage, `[A]` dollars; `profit_cash` is
    what each asset has gained or lost against the last close, net of its costs, `[A]` dollars, with open shares
    still to be marked.
    """

    cash: Array
    cash_low: Array
    shares: Array
    entry_price: Array
    entry_bar: Array
    cost: Array
    traded_cash: Array
    profit_cash: Array
    mark: Array

    @property
    def held(self) -> Array:
        """`[A]` bool, True where there is a position."""
        return self.shares != 0


def compensated_add(high: Array, low: Array, change: Array) -> tuple[Array, Array]:
    """Add to a number kept as high + low, with the rounding error of the sum carried in low.

    One ulp of float32 at $1M is 6 cents; a plain running sum would lose the pennies of fees.

    Source: Knuth, TAOCP vol. 2, section 4.2.2 (the exact error of one floating-point addition).
    """
    change = change + low
    total = high + change
    part = total - high
    error = (high - (total - part)) + (change - part)
    return total, error


def open_book(state: EnvState, last_close: Array, bar: Bar) -> Book:
    """Start the bar: apply its splits, then its dividends, to the shares held over the open."""
    shares, entry_price, mark = state.shares, state.entry_price, last_close
    if bar.split is not None:
        shares, entry_price, mark = shares * bar.split, entry_price / bar.split, mark / bar.split
    cash, cash_low = state.cash, state.cash_low
    profit_cash = jnp.zeros_like(shares)
    if bar.dividend is not None:
        profit_cash = shares * bar.dividend
        cash, cash_low = compensated_add(cash, cash_low, profit_cash.sum())
    zero = jnp.zeros_like(shares)
    return Book(
        cash=cash,
        cash_low=cash_low,
        shares=shares,
        entry_price=entry_price,
        entry_bar=state.entry_bar,
        cost=zero,
        traded_cash=zero,
        profit_cash=profit_cash,
        mark=mark,
    )


def book_fill(book: Book, fill: Fill, t: Array) -> Book:
    """Book fills at bar t: cash, shares, average entry price, costs and profit.

    Cash moves once, by the sum over assets. `book.mark` is the price at which the shares held were last valued; a
    fill values what it trades at the fill price, and bought shares are marked there until the close.
    """
    notional = jnp.abs(fill.shares) * fill.price
    flow = -fill.shares * fill.price - fill.fee_cash
    cash, cash_low = compensated_add(book.cash, book.cash_low, flow.sum())
    bought = jnp.maximum(fill.shares, 0)
    shares = book.shares + fill.shares
    flat = shares == 0
    safe = jnp.where(flat, 1, shares)
    # Written as a step from the old value, so that a first purchase is entered at its fill price to the last bit.
    step = bought / safe
    first = book.shares == 0
    average = jnp.where(first, fill.price, book.entry_price + (fill.price - book.entry_price) * step)
    mark = jnp.where(first, fill.price, book.mark + (fill.price - book.mark) * step)
    is_buy = fill.shares > 0
    sold = jnp.maximum(-fill.shares, 0)
    return book.replace(
        cash=cash,
        cash_low=cash_low,
        shares=shares,
        entry_price=jnp.where(flat, 0, jnp.where(is_buy, average, book.entry_price)),
        entry_bar=jnp.where(flat, NOT_HELD, jnp.where(is_buy & first, t, book.entry_bar)),
        cost=book.cost + fill.fee_cash + jnp.abs(fill.shares * (fill.price - fill.reference)),
        traded_cash=book.traded_cash + notional,
        profit_cash=book.profit_cash + sold * (fill.price - book.mark) - fill.fee_cash,
        mark=jnp.where(is_buy, mark, book.mark),
    )


def close_book(book: Book, bar: Bar) -> tuple[Array, Array]:
    """Mark the positions at the close; return equity in dollars and the profit of the bar per asset, `[A]`."""
    equity = book.cash + (book.cash_low + (book.shares * bar.close).sum())
    return equity, book.profit_cash + book.shares * (bar.close - book.mark)
