"""TradingEnv: one account in one market, as pure functions for one environment; use `jax.vmap` for many."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env import account, execution, observation, rewards, stops
from ploutos_jax.env.types import (
    NOT_HELD,
    Array,
    Bar,
    EnvConfig,
    EnvParams,
    EnvState,
    Fill,
    Info,
    Observation,
)
from ploutos_jax.market.panel import Market

StepResult = tuple[Observation, EnvState, Array, Array, Array, Info]


@dataclasses.dataclass(frozen=True)
class TradingEnv:
    """A multi-asset account with spread, slippage, commissions, position limits, stops and targets.

    The agent observes the close of bar t and acts; its orders fill at the open of bar t+1. Within bar t+1: corporate
    actions; delistings; exits that the open gaps through; sales, then buys, at the open; stops and targets on the
    bar's low and high; marking at the close. An asset that is not tradable in t+1 fills nothing.

    Actions: `discrete` takes `[A]` integers (0 hold, 1 buy, 2 sell); `weights` takes `[A]` target shares of equity,
    or `[A + 1]` with cash last, NaN meaning "leave this position alone".
    """

    config: EnvConfig = EnvConfig()

    def __post_init__(self) -> None:
        rewards.resolve_reward(self.config.reward)  # an unknown name is an error here, not inside a compilation

    def default_params(self, market: Market) -> EnvParams:
        """Return the numbers of `config` as leaves beside the market.

        Raises:
            ValueError: if no episode of `episode_length` bars fits into the market.
        """
        config, dtype = self.config, jnp.asarray(market.close).dtype

        def leaf(value: float | None) -> Array:
            return jnp.asarray(0.0 if value is None else value, dtype)

        return EnvParams(
            market=jax.tree.map(jnp.asarray, market),
            starts=jnp.asarray(_episode_starts(market, config.episode_length)),
            initial_cash=leaf(config.initial_cash),
            buy_pct=leaf(config.buy_pct),
            max_position_pct=leaf(config.max_position_pct),
            stop_loss=leaf(config.stop_loss),
            take_profit=leaf(config.take_profit),
            spread=leaf(config.spread_bps * 1e-4),
            slippage=leaf(config.slippage_bps * 1e-4),
            commission=leaf(config.commission_bps * 1e-4),
            commission_per_share_cash=leaf(config.commission_per_share),
            min_order_cash=leaf(config.min_order_cash),
            delisting_recovery=leaf(config.delisting_recovery),
            ruin_pct=leaf(config.ruin_pct),
        )

    def reset(self, key: Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode of `episode_length` bars at a random bar, with an empty account."""
        start = params.starts[jax.random.randint(key, (), 0, params.starts.shape[0])]
        return self.reset_at(start, start + self.config.episode_length, params)

    def reset_staggered(self, key: Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start in the middle of an episode, so that environments begun together do not all end together."""
        start_key, age_key = jax.random.split(key)
        start = params.starts[jax.random.randint(start_key, (), 0, params.starts.shape[0])]
        age = jax.random.randint(age_key, (), 0, self.config.episode_length)
        return self.reset_at(start + age, start + self.config.episode_length, params)

    def reset_at(self, start: Array | int, end: Array | int, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode that observes bars `start` to `end`, with an empty account."""
        num_assets = params.market.close.shape[1]
        dtype = params.initial_cash.dtype
        zeros, zero = jnp.zeros(num_assets, dtype), jnp.zeros((), dtype)
        state = EnvState(
            t=jnp.asarray(start, jnp.int32),
            end=jnp.asarray(end, jnp.int32),
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
        )
        return observation.observe(state, params), state

    def step(self, key: Array, state: EnvState, action: Array, params: EnvParams) -> StepResult:
        """Advance one bar; an episode that ends is followed by a new one at a random start.

        Args:
            key: consumed for the start of a following episode.
            state: the account at close t.
            action: see the class.
            params: numbers and market.

        Returns:
            `(observation, state, reward, terminated, truncated, info)`. After an episode's end, observation and
            state are those of the new episode; `info["final_observation"]` is the true last one.
        """
        final, ended, reward, terminated, truncated, info = self.step_env(key, state, action, params)
        fresh, started = self.reset(key, params)
        done = terminated | truncated
        state, obs = jax.tree.map(lambda a, b: jnp.where(done, a, b), (started, fresh), (ended, final))
        return obs, state, reward, terminated, truncated, {**info, "final_observation": final}

    def step_env(self, key: Array, state: EnvState, action: Array, params: EnvParams) -> StepResult:
        """Advance one bar without starting a new episode after the last; see `step`.

        `info` describes the bar t+1: `equity`, `cash` and `episode_return` after it, and of the bar itself `cost`
        (dollars of fees, spread and slippage), `turnover` (traded value over equity at close t), `num_trades`,
        `rejected_orders`, `exit_stop`, `exit_target` (counts), `profit` (`[A]` dollars, net) and `fills` (the sale
        or protective exit at the open, the buy at the open, the exit inside the bar; each a `Fill`), with `reasons`
        beside them.
        """
        del key  # this broker draws nothing at random
        after, reward, info = self._trade(state, action, params)
        terminated = after.equity < params.ruin_pct * params.initial_cash
        truncated = ~terminated & (after.t >= after.end)
        return observation.observe(after, params), after, reward, terminated, truncated, info

    def flatten(self, obs: Observation, params: EnvParams) -> Array:
        """Return the observation as one vector; see `observation.flatten`."""
        return observation.flatten(obs, params)

    def _trade(self, state: EnvState, action: Array, params: EnvParams) -> tuple[EnvState, Array, Info]:
        market, t = params.market, state.t + 1
        bar = _read_bar(market, t)
        book = account.open_book(state, market.close[state.t], bar)
        ended = jnp.zeros_like(book.held) if bar.delisted is None else bar.delisted
        gone = ended & book.held
        gap = stops.exits_at_open(self.config, params, bar, book.held & ~gone, book.entry_price)

        size = execution.size_discrete if self.config.action == "discrete" else execution.size_weights
        leaving = gap.any | ended
        accepted = bar.tradable & ~leaving
        orders = size(action, jnp.where(leaving, 0, book.shares), state.equity, bar, params)
        sale_shares = jnp.where(leaving, book.shares, jnp.where(accepted, orders.sell_shares, 0))
        # An asset's end pays out at the mark, the last close before this bar; it is no trade and costs no commission.
        sale_price = jnp.where(gone, book.mark * params.delisting_recovery, bar.open)
        sale = execution.sell(sale_shares, sale_price, gap.target | gone, params)
        sale = sale.replace(fee_cash=jnp.where(gone, 0, sale.fee_cash))
        book = account.book_fill(book, sale, t)

        cash = book.cash + book.cash_low
        buy = execution.buy_within_cash(jnp.where(accepted, orders.buy_cash, 0), cash, bar, params)
        book = account.book_fill(book, buy, t)

        inside = stops.exits_inside_bar(self.config, params, bar, book.held & ~leaving, book.entry_price)
        exit_ = execution.sell(jnp.where(inside.any, book.shares, 0), inside.reference, inside.target, params)
        book = account.book_fill(book, exit_, t)

        filled = accepted & ((sale.shares != 0) | (buy.shares != 0))
        info = {
            "num_trades": sum(_count(fill.shares != 0) for fill in (sale, buy, exit_)),
            "rejected_orders": _count(orders.requested & ~filled),
            "exit_stop": _count(gap.stop | inside.stop),
            "exit_target": _count(gap.target | inside.target),
            "turnover": book.traded_cash.sum() / state.equity,
            "cost": book.cost.sum(),
            "fills": (sale, buy, exit_),
            "reasons": {
                "stop": (gap.stop, inside.stop),
                "target": (gap.target, inside.target),
                "delisted": gone,
            },
        }
        after, reward, info["profit"] = self._close(state, book, bar, t)
        info["equity"], info["cash"] = after.equity, book.cash + book.cash_low
        info["episode_return"] = after.episode_return
        return after, reward, info

    def _close(self, state: EnvState, book: account.Book, bar: Bar, t: Array) -> tuple[EnvState, Array, Array]:
        equity, profit = account.close_book(book, bar)
        cost, cost_low = account.compensated_add(state.cost, state.cost_low, book.cost.sum())
        after = state.replace(
            t=t,
            cash=book.cash,
            cash_low=book.cash_low,
            shares=book.shares,
            entry_price=book.entry_price,
            entry_bar=book.entry_bar,
            equity=equity,
            peak_equity=jnp.maximum(state.peak_equity, equity),
            cost=cost,
            cost_low=cost_low,
        )
        reward = rewards.resolve_reward(self.config.reward)(state, after)
        return after.replace(episode_return=state.episode_return + reward), reward, profit


def _read_bar(market: Market, t: Array) -> Bar:
    def row(field: Array | None) -> Array | None:
        return None if field is None else field[t]

    return Bar(
        open=market.open[t],
        high=market.high[t],
        low=market.low[t],
        close=market.close[t],
        tradable=market.tradable[t],
        delisted=row(market.delisted),
        dividend=row(market.dividend),
        split=row(market.split),
    )


def _count(flags: Array) -> Array:
    return flags.sum(dtype=jnp.int32)


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
