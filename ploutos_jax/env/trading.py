"""TradingEnv: one account in one market, as pure functions for one environment; use `jax.vmap` for many."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ploutos_jax.env import observation, rewards
from ploutos_jax.env.broker import account, events
from ploutos_jax.env.broker.account import count
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.params import make_params
from ploutos_jax.env.types import (
    HALT,
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

StepResult = tuple[Observation, EnvState, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], Info]
StateResult = tuple[EnvState, EnvState, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], Info]

EXITS = {"exit_stop": STOP, "exit_target": TARGET, "exit_trailing": TRAILING, "exit_time": TIME, "exit_halt": HALT}
"""Counts in `info` of the fills for each reason."""


@dataclasses.dataclass(frozen=True)
class TradingEnv:
    """A multi-asset account with spread, slippage, impact, fees, limits, account rules, stops and targets.

    The agent observes the close of bar t and acts; its orders fill at the open of bar t+1, unless `config.fill` or
    `config.order_type` says otherwise. `docs/broker.md` lists the order of events and every formula. An asset that is
    not tradable in t+1 fills nothing.

    Actions: `discrete` takes `[A]` integers (0 hold, 1 buy, 2 sell); `weights` takes `[A]` target shares of equity,
    or `[A + 1]` with cash last, NaN meaning "leave this position alone"; `bands` takes `[A, 2]` lower and upper shares
    of equity, between which a position is left alone; `levels` takes `[A]` integers, 0 to keep a position, then 0, a
    quarter, a half and all of the largest one.

    Attributes:
        config: rules and costs.
        itemised: static; True adds to `info` what a step's costs consist of: `Costs` in each of its `fills`, and
            `order_moment`, the account as the agent's orders found it. False, for training, computes none of it.
        quotes: static; True takes `[A, 2]` shares of equity to buy and to sell in place of bands, orders on both sides
            of the close: for rules that make a market, not for agents. Needs `action="bands"` and `order_type="limit"`.
        with_slope: static; True adds to `info` the `reward_slope`, what a return of the bar adds to the reward (see
            `rewards.reward_slope`), by differentiating the reward.
    """

    config: EnvConfig = EnvConfig()
    itemised: bool = False
    with_slope: bool = False
    quotes: bool = False

    def __post_init__(self) -> None:
        if self.quotes and (self.config.action, self.config.order_type) != ("bands", "limit"):
            raise ValueError(
                f"quotes=True needs action='bands' and order_type='limit', not action={self.config.action!r} and"
                f" order_type={self.config.order_type!r}: only limit orders can be on both sides."
            )

    def default_params(self, market: Market) -> EnvParams:
        """Return the numbers of `config` as leaves, together with the market.

        Raises:
            ValueError: if no episode of `episode_length` bars fits into the market, or the market lacks what a rule
                reads.
        """
        return make_params(self.config, market)

    def reset(self, key: PRNGKeyArray, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode of `episode_length` bars at a random bar, with an empty account."""
        start = params.starts[_draw_below(key, params.starts.shape[0])]
        return self._begin(key, start, start + self.config.episode_length, params)

    def reset_staggered(self, key: PRNGKeyArray, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start in the middle of an episode, so that environments begun together do not all end together."""
        start_key, age_key = jax.random.split(key)
        start = params.starts[_draw_below(start_key, params.starts.shape[0])]
        age = _draw_below(age_key, self.config.episode_length)
        return self._begin(key, start + age, start + self.config.episode_length, params)

    def _begin(self, key: Array, start: Array, end: Array, params: EnvParams) -> tuple[Observation, EnvState]:
        """Start an episode of training; where decisions lie apart the first one comes within that distance."""
        observation, state = self.reset_at(start, end, params)
        if self.config.decide_every is None:
            return observation, state
        state = state.replace(phase=start + _draw_below(jax.random.fold_in(key, 2), self.config.decide_every))
        return self.observe(state, params), state

    def reset_at(
        self, start: Int[Array, ""] | int, end: Int[Array, ""] | int, params: EnvParams
    ) -> tuple[Observation, EnvState]:
        """Start an episode that observes bars `start` to `end`, with an empty account and a decision at `start`."""
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
        self._check_action(action, params)
        worked = events.work_bar(self.config, params, state, action, noise, itemised=self.itemised, quotes=self.quotes)
        after, reward, info = self._close(params, state, worked)
        terminated = after.equity < params.ruin_pct * params.initial_cash
        truncated = ~terminated & (after.t >= after.end)
        return self.observe(after, params), after, reward, terminated, truncated, info

    def _check_action(self, action: Action, params: EnvParams) -> None:
        """Make sure that an action has one number for each asset: others would be broadcast to all without a word.

        Raises:
            ValueError: while the step is traced; the message names both shapes.
        """
        num_assets = params.market.close.shape[1]
        allowed = [(num_assets,)]
        if self.config.action == "weights":
            allowed.append((num_assets + 1,))
        if self.config.action == "bands":
            allowed = [(num_assets, 2)]
        if action.shape not in allowed:
            one_of = " or ".join(map(str, allowed))
            raise ValueError(
                f"The action has shape {action.shape}, but a market of {num_assets} assets takes {self.config.action}"
                f" actions of shape {one_of} from one account; use jax.vmap for many."
            )

    def observe(self, state: EnvState, params: EnvParams) -> Observation:
        """Return what the agent sees at the close of bar `state.t`; see `observation.observe`."""
        return observation.observe(self.config, state, params)

    def flatten(self, obs: Observation, params: EnvParams) -> Float[Array, " observation"]:
        """Return the observation as one vector; see `observation.flatten`."""
        return observation.flatten(obs, params)

    def _close(self, params: EnvParams, before: EnvState, worked: events.Worked) -> tuple[EnvState, Array, Info]:
        """Mark the account at the close of the bar, and return it, its reward and what there is to tell of the bar."""
        config, bar, fills = self.config, worked.bar, worked.fills
        book, after, profit = account.close_book(config, params, worked.book, bar)
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
            "rejected_orders": worked.rejected,
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
        if self.with_slope:
            info["reward_slope"] = rewards.reward_slope(
                config.reward_terms, params, before, after, turnover, book.num_trades
            )
        if worked.moment is not None:
            info["order_moment"] = worked.moment
        return after, reward, info


def _draw_below(key: Array, limit: int) -> Array:
    """Return an int32 from 0 to `limit` − 1 out of 32 random bits; no number is likelier by more than `limit` / 2³².

    `jax.random.randint` draws twice to halve that exponent again, and every step of every environment pays for it.
    """
    return (jax.random.bits(key, (), jnp.uint32) % jnp.uint32(limit)).astype(jnp.int32)


__all__ = ["Fill", "TradingEnv"]
