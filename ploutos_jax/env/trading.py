"""TradingEnv: one account in one market, as pure functions for one environment; use `jax.vmap` for many."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ploutos_jax.env import observation, rewards
from ploutos_jax.env.broker import account, day_trades, execution, orders, stops
from ploutos_jax.env.broker.account import Book, count
from ploutos_jax.env.broker.bar import Bar, read_bar
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.types import (
    DELISTED,
    HALT,
    ORDER,
    STOP,
    TARGET,
    TIME,
    TRAILING,
    Action,
    EnvParams,
    EnvState,
    Fill,
    Info,
    Observation,
)
from ploutos_jax.market.panel import Market
from ploutos_jax.market.sectors import NO_SECTOR, NUM_SECTORS

StepResult = tuple[Observation, EnvState, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], Info]
StateResult = tuple[EnvState, EnvState, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], Info]

EXITS = {"exit_stop": STOP, "exit_target": TARGET, "exit_trailing": TRAILING, "exit_time": TIME, "exit_halt": HALT}
"""Counts in `info` of the fills for each reason."""


@dataclasses.dataclass(frozen=True)
class TradingEnv:
    """A multi-asset account with spread, slippage, impact, fees, limits, account rules, stops and targets.

    The agent observes the close of bar t and acts; its orders fill at the open of bar t+1, unless `config.fill` says
    otherwise. `docs/broker.md` lists the order of events and every formula. An asset that is not tradable in t+1 fills
    nothing.

    Actions: `discrete` takes `[A]` integers (0 hold, 1 buy, 2 sell); `weights` takes `[A]` target shares of equity,
    or `[A + 1]` with cash last, NaN meaning "leave this position alone".
    """

    config: EnvConfig = EnvConfig()

    def default_params(self, market: Market) -> EnvParams:
        """Return the numbers of `config` as leaves, together with the market.

        Raises:
            ValueError: if no episode of `episode_length` bars fits into the market, or the market lacks what a rule
                reads.
        """
        config, dtype = self.config, jnp.asarray(market.close).dtype
        for name in config.needs:
            if getattr(market, name) is None and not (name == "adv" and config.impact is None):
                raise ValueError(f"The market has no {name!r}, which these rules read; make it with build_market.")
        rates, caps = config.schedule.resolve(np.asarray(market.sessions))
        arrays: dict[str, Any] = {
            "market": jax.tree.map(jnp.asarray, market),
            "starts": jnp.asarray(_episode_starts(market, config.episode_length)),
            "sector_columns": jnp.asarray(_sector_columns(market), dtype),
            "sector_members": None if config.max_sector_pct is None else jnp.asarray(_sector_members(market), dtype),
            "fee_rates": jnp.asarray(rates, dtype),
            "fee_caps": jnp.asarray(caps, dtype),
            "reward_weights": jnp.asarray([weight for _, weight in config.reward_terms], dtype),
            "day_trade_end": jnp.int32(
                day_trades.RULE_ENDS if config.day_trade_rule == "by_date" else np.iinfo(np.int32).max
            ),
        }
        in_bars = ("min_holding_bars", "max_holding_bars")
        numbers = {
            field.name: _number(config, field.name)
            for field in dataclasses.fields(EnvParams)
            if field.name not in arrays
        }
        arrays |= {n: jnp.asarray(value, jnp.int32 if n in in_bars else dtype) for n, value in numbers.items()}
        return EnvParams(**arrays)

    def reset(self, key: PRNGKeyArray, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode of `episode_length` bars at a random bar, with an empty account."""
        start = params.starts[_draw_below(key, params.starts.shape[0])]
        return self.reset_at(start, start + self.config.episode_length, params)

    def reset_staggered(self, key: PRNGKeyArray, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start in the middle of an episode, so that environments begun together do not all end together."""
        start_key, age_key = jax.random.split(key)
        start = params.starts[_draw_below(start_key, params.starts.shape[0])]
        age = _draw_below(age_key, self.config.episode_length)
        return self.reset_at(start + age, start + self.config.episode_length, params)

    def reset_at(
        self, start: Int[Array, ""] | int, end: Int[Array, ""] | int, params: EnvParams
    ) -> tuple[Observation, EnvState]:
        """Start an episode that observes bars `start` to `end`, with an empty account."""
        state = account.new_state(self.config, params, jnp.asarray(start, jnp.int32), jnp.asarray(end, jnp.int32))
        state = rewards.init_reward_state(self.config.reward_terms, params, state)
        return self.observe(state, params), state

    def step(self, key: PRNGKeyArray, state: EnvState, action: Action, params: EnvParams) -> StepResult:
        """Advance one bar; an episode that ends is followed by a new one at a random start.

        Args:
            key: consumed for the start of a following episode and for random slippage.
            state: the account at close t.
            action: see the class.
            params: numbers and market.

        Returns:
            `(observation, state, reward, terminated, truncated, info)`. After an episode's end, observation and
            state are those of the new episode; `info["final_observation"]` is the true last one.
        """
        state, ended, reward, terminated, truncated, info = self.step_state(key, state, action, params)
        info = {**info, "final_observation": self.observe(ended, params)}
        return self.observe(state, params), state, reward, terminated, truncated, info

    def step_state(self, key: PRNGKeyArray, state: EnvState, action: Action, params: EnvParams) -> StateResult:
        """Advance one bar as `step` does, without looking: for loops that look once per state.

        Returns:
            `(state, ended, reward, terminated, truncated, info)`: the state that the next step starts from, and the
            true last one, which is another after an episode's end.
        """
        _, ended, reward, terminated, truncated, info = self.step_env(key, state, action, params)
        _, started = self.reset(key, params)
        done = terminated | truncated
        state = jax.tree.map(lambda a, b: jnp.where(done, a, b), started, ended)
        return state, ended, reward, terminated, truncated, info

    def step_env(self, key: PRNGKeyArray, state: EnvState, action: Action, params: EnvParams) -> StepResult:
        """Advance one bar without starting a new episode after the last; see `step`.

        `info` describes the bar t+1: `equity`, `cash` and `episode_return` after it, `leverage` (positions over
        equity, without signs) and `exposure` (with signs) too; and of the bar itself `cost` (dollars of fees, spread
        and slippage), `turnover` (traded value over equity at close t), `num_trades` (fills), `rejected_orders`,
        `exit_stop`, `exit_target`, `exit_trailing`, `exit_time`, `exit_halt` (counts), `day_trades` (in the window of
        sessions), `interest` and `fee_rounding` (dollars), `profit` (`[A]` dollars, net) and `fills`, a tuple of
        `Fill` in order of execution.
        """
        noise = None
        if self.config.slippage_noise is not None:
            # The key itself picks the start of a following episode.
            noise = jax.random.normal(jax.random.fold_in(key, 1), state.shares.shape, state.shares.dtype)
        return self.advance(state, action, noise, params)

    def advance(
        self,
        state: EnvState,
        action: Action,
        noise: Float[Array, " A"] | None,
        params: EnvParams,
    ) -> StepResult:
        """Advance one bar with the randomness given; see `step_env`.

        Args:
            state: the account at close t.
            action: see the class.
            noise: `[A]` standard normal numbers for random slippage; None without it.
            params: numbers and market.
        """
        after, reward, info = self._trade(state, action, noise, params)
        terminated = after.equity < params.ruin_pct * params.initial_cash
        truncated = ~terminated & (after.t >= after.end)
        return self.observe(after, params), after, reward, terminated, truncated, info

    def observe(self, state: EnvState, params: EnvParams) -> Observation:
        """Return what the agent sees at the close of bar `state.t`; see `observation.observe`."""
        return observation.observe(self.config, state, params)

    def flatten(self, obs: Observation, params: EnvParams) -> Float[Array, " observation"]:
        """Return the observation as one vector; see `observation.flatten`."""
        return observation.flatten(obs, params)

    def _trade(
        self, state: EnvState, action: Action, noise: Array | None, params: EnvParams
    ) -> tuple[EnvState, Array, Info]:
        config, fill_at = self.config, self.config.fill
        bar = read_bar(config, params, state.t + 1, state.t, noise)
        book = account.open_book(config, state, params.market.close[state.t], bar)
        none, fills, rejected = jnp.zeros_like(bar.tradable), [], jnp.zeros((), jnp.int32)
        if fill_at == "same_close":
            seen = read_bar(config, params, state.t, state.t, noise)
            book = book.replace(volume_left=seen.volume_limit)
            book, rejected, made = self._orders(params, book, seen, seen.close, action, none, None)
            book, fills = book.replace(volume_left=bar.volume_limit), [*made]
        book = account.begin_session(config, params, book, bar)
        book = account.apply_corporate_actions(book, bar)

        ended = none if bar.delisted is None else bar.delisted
        exits = self._limit(params, book, bar, stops.exits_at_open(config, params, book.state, bar, book.held & ~ended))
        leaving = exits.any | ended
        if fill_at == "next_open":
            book, rejected, fills = self._orders(params, book, bar, bar.open, action, leaving, exits)
        else:
            book, fill = self._exit(params, book, bar, exits)
            fills.append(fill)

        inside = stops.exits_inside_bar(config, params, book.state, bar, book.held & ~leaving)
        inside = self._limit(params, book, bar, inside)
        book, fill = self._exit(params, book, bar.replace(delisted=None), inside)
        book, fills = book.replace(state=stops.follow_price(book.state, bar)), [*fills, fill]
        if fill_at == "next_close":
            leaving = leaving | inside.any
            book, rejected, made = self._orders(params, book, bar, bar.close, action, leaving, None)
            fills = [*fills, *made]
        return self._close(params, state, book, bar, tuple(fills), rejected)

    def _orders(
        self,
        params: EnvParams,
        book: Book,
        bar: Bar,
        price: Array,
        action: Action,
        leaving: Array,
        exits: stops.Exits | None,
    ) -> tuple[Book, Array, list[Fill]]:
        """Fill the agent's sales, then its buys, at `price`; `exits` fill with the sales.

        Returns:
            The book, the number of orders that found no fill, and the fills.
        """
        config, state = self.config, book.state
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
        sale = self._sell(params, book, bar, jnp.where(free, selling, exiting), price, reason)
        book = account.book_fill(book, sale, bar)

        value = orders.within_sectors(params, wanted.buy_cash, book.state.shares, price, state.equity)
        buy, unbought = execution.buy_within_cash(
            config, params, bar, value, price, book.available_cash, book.volume_left
        )
        book = account.book_fill(book, buy, bar)
        if state.working_shares is not None:
            left = unbought - unsold
            left = jnp.where(jnp.abs(left) * price >= params.min_order_cash, left, 0)
            kept = jnp.where(free, left, jnp.where(wanted.addressed | leaving, 0, state.working_shares))
            book = book.replace(state=book.state.replace(working_shares=kept))
        filled = free & ((sale.shares != 0) | (buy.shares != 0))
        return book, count(wanted.requested & ~filled), [sale, buy]

    def _limit(self, params: EnvParams, book: Book, bar: Bar, exits: stops.Exits) -> stops.Exits:
        """Take out the exits that the day-trade rule puts off to the next session."""
        config, state = self.config, book.state
        if config.day_trade_rule == "none" or config.day_trade_mode == "entry":
            return exits
        value, none = state.shares * exits.reference, jnp.zeros_like(exits.any)
        # What finds no volume takes no place: it would let another exit, put off at the open, fill inside the bar.
        filling = exits.any if book.volume_left is None else exits.any & (book.volume_left > 0)
        return exits.keep(day_trades.allowed_sales(config, params, state, bar, filling, value, none))

    def _exit(self, params: EnvParams, book: Book, bar: Bar, exits: stops.Exits) -> tuple[Book, Fill]:
        reason, exiting = self._reasons(book, bar, exits)
        fill = self._sell(params, book, bar, exiting, exits.reference, reason)
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

    def _sell(self, params: EnvParams, book: Book, bar: Bar, shares: Array, reference: Array, reason: Array) -> Fill:
        if bar.delisted is not None:
            reference = jnp.where(reason == DELISTED, book.last_close * params.delisting_recovery, reference)
        at_limit = (reason == TARGET) | (reason == DELISTED)
        return execution.sell(self.config, params, bar, shares, reference, reason, at_limit)

    def _close(
        self, params: EnvParams, before: EnvState, book: Book, bar: Bar, fills: tuple[Fill, ...], rejected: Array
    ) -> tuple[EnvState, Array, Info]:
        config = self.config
        book, after, profit = account.close_book(config, params, book, bar)
        turnover = book.traded_cash.sum() / before.equity
        after = rewards.update_reward_state(config.reward_terms, params, before, after, turnover, book.num_trades)
        reward = rewards.total_reward(config.reward_terms, params, before, after)
        after = after.replace(episode_return=before.episode_return + reward)
        value = after.shares * bar.close
        counts = {name: sum(count(fill.reason == code) for fill in fills) for name, code in EXITS.items()}
        info = {
            "equity": after.equity,
            "cash": book.cash,
            "cost": book.cost.sum() + book.fee_rounding,
            "turnover": turnover,
            "num_trades": book.num_trades,
            "rejected_orders": rejected,
            **counts,
            "day_trades": jnp.zeros((), jnp.int32) if after.day_trades is None else after.day_trades.sum(),
            "interest": book.interest,
            "fee_rounding": book.fee_rounding,
            "leverage": jnp.abs(value).sum() / after.equity,
            "exposure": value.sum() / after.equity,
            "profit": profit,
            "fills": fills,
            "episode_return": after.episode_return,
        }
        return after, reward, info


_RENAMED = {
    "spread": ("spread_bps", 1e-4),
    "slippage": ("slippage_bps", 1e-4),
    "commission": ("commission_bps", 1e-4),
    "commission_per_share_cash": ("commission_per_share", 1.0),
    "commission_per_order_cash": ("commission_per_order", 1.0),
    "commission_min_cash": ("commission_min", 1.0),
    "day_trade_equity_cash": ("day_trade_equity", 1.0),
}
"""Fields of `EnvParams` by the setting they come from and its unit."""


def _number(config: EnvConfig, name: str) -> float:
    setting, unit = _RENAMED.get(name, (name, 1.0))
    value = getattr(config, setting)
    return 0.0 if value is None else value * unit


def _sector_columns(market: Market) -> np.ndarray:
    """Return `[11, A]`, 1 where an asset belongs to the sector of a column."""
    columns = np.full(market.num_assets, NO_SECTOR) if market.sector is None else np.asarray(market.sector)
    return (np.arange(NUM_SECTORS)[:, None] == columns).astype(np.float64)


def _sector_members(market: Market) -> np.ndarray:
    """Return `[sectors, A]`, 1 where an asset belongs to a sector; assets of no known sector form one of their own."""
    sectors = market.sectors
    names = sorted(set(sectors))
    return np.array([[sector == name for sector in sectors] for name in names], np.float64)


def _draw_below(key: PRNGKeyArray, limit: int) -> Array:
    """Return an int32 from 0 to `limit` − 1 out of 32 random bits; the bias of a number is below `limit` / 2³².

    `jax.random.randint` draws twice to halve that exponent again, and every step of every environment pays for it.
    """
    return (jax.random.bits(key, (), jnp.uint32) % jnp.uint32(limit)).astype(jnp.int32)


def _episode_starts(market: Market, episode_length: int) -> np.ndarray:
    rows = np.arange(market.num_bars, dtype=np.int32)
    fits = rows + episode_length <= np.asarray(market.path_end)
    if not fits.any():
        longest = int((np.asarray(market.path_end) - rows).max())
        raise ValueError(
            f"An episode of {episode_length} bars does not fit into the market: the longest stretch has"
            f" {longest + 1} bars. Set episode_length to at most {longest}."
        )
    return rows[fits]


__all__ = ["Fill", "TradingEnv"]
