"""Bookkeeping of one account: cash, positions, sessions, equity."""

import typing
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Num

from ploutos_jax.env.broker import fees
from ploutos_jax.env.broker.bar import Bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import (
    DAY_TRADE_WINDOW,
    DELISTED,
    NOT_HELD,
    EnvParams,
    EnvState,
    Fill,
)


@typing.no_type_check
class Book(struct.PyTreeNode):
    """The account while a bar is worked through, and what has happened to it in the bar so far.

    Attributes:
        state: the account; `t`, `equity` and what follows from them are still those of the close before.
        cost: `[A]` dollars of fees, spread and slippage.
        traded_cash: `[A]` dollars traded.
        profit_cash: `[A]` dollars gained against the last close net of costs, open shares still to be marked.
        mark: `[A]` price at which the shares held were last valued.
        last_close: `[A]` the close before, in shares of this bar.
        num_trades: int32 fills.
        interest, fee_rounding: dollars.
        fee_cash_by_kind: J arrays `[A]`, dollars charged by each kind of the schedule.
        volume_left: `[A]` shares that may still be filled, or None without a limit.
    """

    state: EnvState
    cost: Float[Array, " A"]
    traded_cash: Float[Array, " A"]
    profit_cash: Float[Array, " A"]
    mark: Float[Array, " A"]
    last_close: Float[Array, " A"]
    num_trades: Int[Array, ""]
    interest: Float[Array, ""]
    fee_rounding: Float[Array, ""]
    fee_cash_by_kind: tuple[Float[Array, " A"], ...]
    volume_left: Float[Array, " A"] | None

    @property
    def held(self) -> Bool[Array, " A"]:
        """`[A]` bool, True where there is a position."""
        return self.state.shares != 0

    @property
    def cash(self) -> Float[Array, ""]:
        """Dollars, settled or not."""
        return self.state.cash + self.state.cash_low

    @property
    def available_cash(self) -> Float[Array, ""]:
        """Dollars that can buy."""
        unsettled = self.state.unsettled_cash
        return self.cash if unsettled is None else self.cash - unsettled.sum()


def compensated_add(
    high: Float[Array, ""], low: Float[Array, ""], change: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Add to a number kept as high + low, with the rounding error of the sum carried in low.

    One ulp of float32 at $1M is 6 cents; a plain running sum would lose the pennies of fees.
    """
    total, error = _two_sum(high, change + low)
    return total, error


@jax.custom_jvp
def exact_sum(values: Float[Array, " A"]) -> Float[Array, ""]:
    """Return the sum of `[A]` values, rounded once: the rounding errors of the additions are accumulated separately."""
    zero = jnp.zeros((), values.dtype)

    def add(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        total, error = _two_sum(a[0], b[0])
        return total, a[1] + b[1] + error

    high, low = jax.lax.reduce((values, jnp.zeros_like(values)), (zero, zero), add, (0,))
    return high + low


@exact_sum.defjvp
def _exact_sum_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return exact_sum(*primals), tangents[0].sum()


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the rounded sum of two numbers and its exact error.

    Source: Knuth, TAOCP vol. 2, section 4.2.2.
    """
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def orders_none(config: EnvConfig, num_assets: int, dtype: Any) -> Num[Array, " A *edges"]:
    """Return `[A]` actions, `[A, 2]` of bands, that order nothing: hold, or NaN where actions are numbers."""
    if config.is_choice:
        return jnp.zeros(num_assets, jnp.int8)
    return jnp.full((num_assets, 2) if config.action == "bands" else num_assets, jnp.nan, dtype)


def new_state(config: EnvConfig, params: EnvParams, start: Int[Array, ""], end: Int[Array, ""]) -> EnvState:
    """Return an account with nothing but cash that observes bar `start`."""
    num_assets, dtype = params.market.close.shape[1], params.initial_cash.dtype
    zeros, zero, none = jnp.zeros(num_assets, dtype), jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    off = jnp.zeros((), bool)
    follows_price = config.has_trailing or config.break_even is not None
    has_day_trades = config.day_trade_rule != "none"
    return EnvState(
        t=start,
        end=end,
        cash=params.initial_cash,
        cash_low=zero,
        shares=zeros,
        entry_price=zeros,
        entry_bar=jnp.full(num_assets, NOT_HELD, jnp.int32),
        equity=params.initial_cash,
        peak_equity=params.initial_cash,
        cost=zero,
        cost_low=zero,
        episode_return=zero,
        highest_price=zeros if follows_price else None,
        entry_atr=zeros if config.has_atr_exits else None,
        waiting=None if params.has_gaps is None else orders_none(config, num_assets, dtype),
        phase=None if config.decide_every is None else start,
        working_shares=zeros if config.remainder == "carry" else None,
        unsettled_cash=jnp.zeros(config.settlement_days, dtype) if config.settlement_days else None,
        fee_day_cash=jnp.zeros(len(config.schedule.kinds), dtype) if config.schedule.rounding == "day" else None,
        opened_today=jnp.zeros(num_assets, bool) if has_day_trades else None,
        day_trades=jnp.zeros(DAY_TRADE_WINDOW, jnp.int32) if has_day_trades else None,
        session_fills=jnp.zeros(DAY_TRADE_WINDOW, jnp.int32) if has_day_trades else None,
        flagged=off if has_day_trades else None,
        session_equity=params.initial_cash if has_day_trades else None,
        trades_today=none if config.max_trades_per_day is not None else None,
        halted=off if config.drawdown_halt is not None else None,
    )


def open_book(config: EnvConfig, state: EnvState, last_close: Float[Array, " A"], bar: Bar) -> Book:
    """Open the book of a step, with the volume that `bar` lets fill."""
    zeros, zero = jnp.zeros_like(state.shares), jnp.zeros_like(state.cash)
    return Book(
        state=state,
        cost=zeros,
        traded_cash=zeros,
        profit_cash=zeros,
        mark=last_close,
        last_close=last_close,
        num_trades=jnp.zeros((), jnp.int32),
        interest=zero,
        fee_rounding=zero,
        fee_cash_by_kind=(zeros,) * (len(config.schedule.kinds) if config.schedule.rounding == "day" else 0),
        volume_left=bar.volume_limit,
    )


def roll_session(state: EnvState, begins: Bool[Array, ""]) -> EnvState:
    """Return the account with the counters of the day rolled and sales settled, where a session begins."""
    new, changes = begins, dict[str, Array]()

    def shift(counts: Array) -> Array:
        return jnp.where(new, jnp.concatenate([jnp.zeros_like(counts[:1]), counts[:-1]]), counts)

    if state.unsettled_cash is not None:
        moved = jnp.concatenate([state.unsettled_cash[1:], jnp.zeros_like(state.unsettled_cash[:1])])
        changes["unsettled_cash"] = jnp.where(new, moved, state.unsettled_cash)
    if state.opened_today is not None and state.day_trades is not None and state.session_fills is not None:
        changes["opened_today"] = state.opened_today & ~new
        changes["day_trades"], changes["session_fills"] = shift(state.day_trades), shift(state.session_fills)
    if state.session_equity is not None:
        changes["session_equity"] = jnp.where(new, state.equity, state.session_equity)
    if state.trades_today is not None:
        changes["trades_today"] = jnp.where(new, 0, state.trades_today)
    return state.replace(**changes)


def begin_session(config: EnvConfig, params: EnvParams, book: Book, bar: Bar) -> Book:
    """Where `bar` begins a session: roll the counters of the day, settle sales, pay interest."""
    state = roll_session(book.state, bar.begins_session)
    if config.cash_rate is not None:
        interest = jnp.maximum(book.cash, 0) * params.cash_rate * bar.num_days / 360
        cash, cash_low = compensated_add(state.cash, state.cash_low, interest)
        state, book = state.replace(cash=cash, cash_low=cash_low), book.replace(interest=interest)
    return book.replace(state=state)


def apply_corporate_actions(book: Book, bar: Bar) -> Book:
    """Apply the bar's splits, then its dividends, to the shares held over the open."""
    state, profit_cash = book.state, book.profit_cash
    if bar.split is not None:
        book = book.replace(mark=book.mark / bar.split, last_close=book.last_close / bar.split)
        state = state.replace(shares=state.shares * bar.split, entry_price=state.entry_price / bar.split)
        if state.highest_price is not None:
            state = state.replace(highest_price=state.highest_price / bar.split)
        if state.working_shares is not None:
            state = state.replace(working_shares=state.working_shares * bar.split)
    if bar.dividend is not None:
        paid = state.shares * bar.dividend
        profit_cash = profit_cash + paid
        cash, cash_low = compensated_add(state.cash, state.cash_low, exact_sum(paid))
        state = state.replace(cash=cash, cash_low=cash_low)
    return book.replace(state=state, profit_cash=profit_cash)


def book_fill(book: Book, fill: Fill, bar: Bar) -> Book:
    """Book fills of a bar: cash, shares, average entry price, costs, profit and counters.

    Cash moves once, by the sum over assets. A fill values what it trades at the fill price, and bought shares are
    marked there until the close.
    """
    state = book.state
    notional = jnp.abs(fill.shares) * fill.price
    is_buy, sold = fill.shares > 0, jnp.maximum(-fill.shares, 0)
    shares = state.shares + fill.shares
    flat, first = shares == 0, state.shares == 0
    # Written as a step from the old value, so that a first purchase is entered at its fill price to the last bit.
    step = jnp.maximum(fill.shares, 0) / jnp.where(flat, 1, shares)
    average = jnp.where(first, fill.price, state.entry_price + (fill.price - state.entry_price) * step)
    mark = jnp.where(first, fill.price, book.mark + (fill.price - book.mark) * step)
    state = state.replace(
        shares=shares,
        entry_price=jnp.where(flat, 0, jnp.where(is_buy, average, state.entry_price)),
        entry_bar=jnp.where(flat, NOT_HELD, jnp.where(is_buy & first, bar.row, state.entry_bar)),
    )
    if state.highest_price is not None:
        raised = jnp.where(is_buy, jnp.maximum(state.highest_price, fill.price), state.highest_price)
        state = state.replace(highest_price=jnp.where(flat, 0, raised))
    if state.entry_atr is not None and bar.atr is not None:
        state = state.replace(entry_atr=jnp.where(flat, 0, jnp.where(is_buy & first, bar.atr, state.entry_atr)))
    traded = (fill.shares != 0) & (fill.reason != DELISTED)
    num_fills = count(traded)
    return book.replace(
        state=_count_fills(_move_cash(state, fill, notional), traded, is_buy, num_fills),
        cost=book.cost + fill.fee_cash + jnp.abs(fill.shares * (fill.price - fill.reference)),
        traded_cash=book.traded_cash + notional,
        profit_cash=book.profit_cash + sold * (fill.price - book.mark) - fill.fee_cash,
        mark=jnp.where(is_buy, mark, book.mark),
        num_trades=book.num_trades + num_fills,
        fee_cash_by_kind=tuple(a + b for a, b in zip(book.fee_cash_by_kind, fill.fee_cash_by_kind, strict=True)),
        volume_left=None if book.volume_left is None else book.volume_left - jnp.abs(fill.shares),
    )


def _move_cash(state: EnvState, fill: Fill, notional: Array) -> EnvState:
    flow = jnp.where(fill.shares > 0, -notional, notional) - fill.fee_cash
    cash, cash_low = compensated_add(state.cash, state.cash_low, exact_sum(flow))
    state = state.replace(cash=cash, cash_low=cash_low)
    if state.unsettled_cash is None:
        return state
    proceeds = exact_sum(jnp.where(fill.shares < 0, flow, 0))
    return state.replace(unsettled_cash=state.unsettled_cash.at[-1].add(proceeds))


def _count_fills(state: EnvState, traded: Array, is_buy: Array, num_fills: Array) -> EnvState:
    if state.trades_today is not None:
        state = state.replace(trades_today=state.trades_today + num_fills)
    if state.opened_today is None or state.day_trades is None or state.session_fills is None:
        return state
    closes = traded & ~is_buy
    return state.replace(
        day_trades=state.day_trades.at[0].add(count(closes & state.opened_today)),
        session_fills=state.session_fills.at[0].add(num_fills),
        opened_today=(state.opened_today & ~closes) | (traded & is_buy),
    )


def count(flags: Bool[Array, " A"]) -> Int[Array, ""]:
    """Return the number of True among `[A]`, int32."""
    return flags.sum(dtype=jnp.int32)


def close_book(config: EnvConfig, params: EnvParams, book: Book, bar: Bar) -> tuple[Book, EnvState, Float[Array, " A"]]:
    """Round the day's fees up where the session ends, and mark the positions at the close.

    Returns:
        The book, the account at the close of the bar, and the profit of the bar per asset, `[A]` dollars.
    """
    before, state = book.state, book.state
    if state.fee_day_cash is not None:
        charged = state.fee_day_cash + jnp.stack([x.sum() for x in book.fee_cash_by_kind])
        rounding = jnp.maximum(fees.round_up(charged) - charged, 0).sum()
        rounding = jnp.where(bar.ends_session, jnp.minimum(rounding, jnp.maximum(book.cash, 0)), 0)
        cash, cash_low = compensated_add(state.cash, state.cash_low, -rounding)
        state = state.replace(cash=cash, cash_low=cash_low, fee_day_cash=jnp.where(bar.ends_session, 0, charged))
        book = book.replace(fee_rounding=rounding)
    equity = state.cash + (state.cash_low + exact_sum(state.shares * bar.close))
    cost, cost_low = compensated_add(state.cost, state.cost_low, book.cost.sum() + book.fee_rounding)
    state = state.replace(
        t=bar.row,
        equity=equity,
        peak_equity=jnp.maximum(before.peak_equity, equity),
        cost=cost,
        cost_low=cost_low,
    )
    if state.day_trades is not None and state.session_fills is not None and state.flagged is not None:
        day_trades = state.day_trades.sum()
        many = (day_trades >= 4) & (100 * day_trades > 6 * state.session_fills.sum())
        state = state.replace(flagged=state.flagged | (many & bar.has_day_trade_rule))
    if state.halted is not None:
        state = state.replace(halted=state.halted | (1 - equity / state.peak_equity >= params.drawdown_halt))
    return book.replace(state=state), state, book.profit_cash + state.shares * (bar.close - book.mark)
