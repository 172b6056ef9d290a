"""Backtests: the training step itself over a span of the market, into a ledger.

Agent, random actions and rules run through the same `rollout` and the same broker as training, so costs and fills
cannot differ between them.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import market_policy
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Policy, Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.evaluate.backtest.baselines import (
    HINT_ORACLE,
    ORACLE,
    Rule,
    buy_and_hold,
    equal_weight,
    rules_for,
    warn_of_history,
)
from ploutos_jax.evaluate.backtest.oracles.costs import side_cost
from ploutos_jax.evaluate.backtest.recorder import Records, record_account, to_ledger
from ploutos_jax.evaluate.backtest.slices import (
    AgentPolicy,
    RandomPolicy,
    Remembered,
    is_sliced,
    play_slices,
    rule_policy,
)
from ploutos_jax.evaluate.ledger import Ledger, Role
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.distributions import head_for

RANDOM = "random"
MARKET_MAKING = "market making (assumes its fills)"


def backtest(
    agent: Agent,
    market: Market,
    start: Any = None,
    end: Any = None,
    *,
    env: TradingEnv | None = None,
    seed: int | None = None,
    name: str = "agent",
) -> Ledger:
    """Play an agent over a span of a market, once, from an account in cash.

    The first decision is made at the close of the first bar of the span and fills at the open of the second.

    Args:
        agent: what decides.
        market: bars and features; the whole history, so that indicators are warm when the span begins.
        start, end: first and last date of the span (or row numbers); all bars without them.
        env: rules and costs; those of the training without it.
        seed: draw actions with this seed; without it the greedy action is taken.
        name: of the ledger.

    Raises:
        ValueError: if the market lacks a feature of the agent, or the span holds fewer than two bars.
    """
    agent.check_market(market)
    span = _span(market, start, end, agent.network.warm_up)
    env = _whole_span(env.config if env is not None else agent.env_config, span)
    if is_sliced(span):
        remembered = Remembered.of(agent, span)
        return play_slices(
            name,
            env,
            agent.with_own_sectors(span),
            AgentPolicy(agent.network, seed is not None),
            remembered,
            seed=seed or 0,
            pass_by=remembered.pass_by,
            provenance=agent.provenance(span.times[0], span.times[-1], span.calendar),
        )
    params = env.default_params(agent.with_own_sectors(span))
    runner = _start(env, params, seed or 0, 1)
    sampled = seed is not None
    records = _play_agent(env, agent.network, span.num_bars - 1, sampled, agent.params, params, runner)
    provenance = agent.provenance(span.times[0], span.times[-1], span.calendar)
    ledger = to_ledger(name, span, env.config, records, provenance=provenance)
    chances = agent.regimes(span)
    return ledger if chances is None else dataclasses.replace(ledger, regimes=np.asarray(chances, np.float64))


def baselines(
    market: Market,
    config: EnvConfig,
    start: Any = None,
    end: Any = None,
    *,
    seed: int = 0,
    with_oracle: bool = False,
) -> dict[str, Ledger]:
    """Play the rules of `baselines.rules_for` and random actions over a span, at the costs of an environment.

    Rules hold what they hold: stops, targets and position limits are off for them. Random actions are those of a
    policy that knows nothing under the environment's own rules.

    Args:
        market: bars, and features for the rule `ridge`. Give the whole history: rules estimate from the bars before
            the span, and a warning tells when a window has lost them.
        config: rules and costs of the agent that the baselines are compared with.
        start, end: the span, as in `backtest`.
        seed: of the random actions.
        with_oracle: also play `baselines.foresight`, which sees the next bar, under the name `baselines.ORACLE`.
    """
    cost = side_cost(config, market, market.find_rows(start, end).start)
    rules = rules_for(market, fill=config.fill if with_oracle else None, cost=cost)
    ledgers = baselines_by_rule(market, config, rules, start, end)
    return {**ledgers, RANDOM: random_actions(market, config, start, end, seed=seed)}


def baselines_by_rule(
    market: Market, config: EnvConfig, rules: Mapping[str, Rule], start: Any = None, end: Any = None
) -> dict[str, Ledger]:
    """Play rules over a span of a market, at the costs of `config` without its stops, targets and limits.

    A warning names rules that lack the history that a market was cut off from.
    """
    span, first = _span(market, start, end), market.find_rows(start, end).start
    warn_of_history(market, first, rules)
    seen = market.window(None, first + span.num_bars)
    plain = config.without_strategy_rules()
    env = _whole_span(plain, span)
    if is_sliced(span):
        return {name: _rule_in_slices(name, env, span, rule, rule(seen, first)) for name, rule in rules.items()}
    params = env.default_params(span)
    runner = _start(env, params, 0, 1)
    ledgers = {}
    for name, rule in rules.items():
        targets = jnp.asarray(rule(seen, first), params.initial_cash.dtype)
        records = _play_rule(env, span.num_bars - 1, targets, params, runner)
        ledgers[name] = to_ledger(name, span, plain, records, role=_role(name, rule))
    return ledgers


def _role(name: str, rule: Rule) -> Role:
    if name in (ORACLE, HINT_ORACLE):
        return "oracle"
    return "market" if rule in (buy_and_hold, equal_weight) else "baseline"


def _rule_in_slices(name: str, env: TradingEnv, span: Market, rule: Rule, targets: np.ndarray) -> Ledger:
    dtype = jnp.zeros(()).dtype

    def of_slice(rows: slice) -> jax.Array:
        return jnp.asarray(targets[rows], dtype)

    return play_slices(name, env, span, rule_policy, of_slice, role=_role(name, rule))


def hold(market: Market, config: EnvConfig) -> Ledger:
    """Buy the one asset of a market with all cash at the first open and keep it; a benchmark at the same costs."""
    ledger = baselines_by_rule(market, config, {market.symbols[0]: buy_and_hold})
    return ledger[market.symbols[0]]


def random_actions(market: Market, config: EnvConfig, start: Any = None, end: Any = None, *, seed: int = 0) -> Ledger:
    """Play random actions over a span once; which draw is shown is not chosen by how it ended.

    Discrete actions are drawn uniformly, weights by normal scores; arguments as in `baselines`.
    """
    span = _span(market, start, end)
    env = _whole_span(config, span)
    if is_sliced(span):
        return play_slices(RANDOM, env, span, RandomPolicy(env.config), lambda _: None, seed=seed, role="random")
    params = env.default_params(span)
    records = _play_random(env, span.num_bars - 1, params, _start(env, params, seed, 1))
    return to_ledger(RANDOM, span, env.config, records, role="random")


def market_making(
    market: Market,
    config: EnvConfig,
    start: Any = None,
    end: Any = None,
    *,
    offset_bps: float | None = None,
    units: int = 2,
) -> Ledger:
    """Play a market maker that quotes both sides of every close, through the limit orders of the broker.

    In every bar it offers to buy one unit of each asset at `offset_bps` below the close before, if it has room for it,
    and to sell one at as much above, if it holds any. Its inventory is nothing to an equal part of equity, in `units`
    units; there are no short positions, stops or targets. Fills and fees are those of `EnvConfig.order_type="limit"`:
    the bar trades through the price, no spread is paid, no rebate is earned, and of two sides in a bar the worse one
    counts.

    **What the result is worth.** Very little, which is why no report shows it unasked and no verdict counts it. Whoever
    quotes is filled when the price goes on against the quote (adverse selection), and bars show that part: where
    prices cannot be predicted and do not bounce, no offset earns anything before fees. With several units it then
    loses: bars do not say whether both sides of one would have been had, and the better one is left out.

    Bars do not show the place in the queue, what the quote itself changes, nor whether a print was at the bid or the
    ask. Prints of real minute bars bounce between the two, so that a low is a print at the bid with the price where it
    was: every such fill earns half a spread here that the market maker ahead in the queue got, or nobody. A profit at
    offsets near the spread is that until quotes or midpoints say otherwise. Market making proper needs an order book.

    Args:
        market: bars.
        config: costs and account; its rules for strategies are off, as for `baselines`.
        start, end: the span, as in `backtest`.
        offset_bps: distance of the quotes from the close; `config.limit_offset_bps` without it.
        units: how many units an equal part is; with 1 only one side is quoted at a time.

    Raises:
        ValueError: if `units` is below 1, the offset is out of bounds, or the span holds fewer than two bars.
    """
    if units < 1:
        raise ValueError(f"units={units} must be at least 1: quotes are for a part of an equal part.")
    span = _span(market, start, end)
    part = 1 / span.num_assets
    quoting = dataclasses.replace(
        config.without_strategy_rules(),
        action="bands",
        fill="next_open",
        order_type="limit",
        remainder="cancel",
        limit_offset_bps=config.limit_offset_bps if offset_bps is None else offset_bps,
        max_position_pct=part,
    )
    env = dataclasses.replace(_whole_span(quoting, span), quotes=True)
    params = env.default_params(span)
    records = _play_quotes(env, span.num_bars - 1, units, params, _start(env, params, 0, 1))
    return to_ledger(MARKET_MAKING, span, quoting, records, role="oracle")


def _span(market: Market, start: Any, end: Any, lead: int = 0) -> Market:
    span = market.window(start, end, lead=lead)
    if span.num_bars < 2:
        raise ValueError(f"The span start={start}, end={end} holds one bar; a backtest needs at least two.")
    return span


def _whole_span(config: EnvConfig, span: Market) -> TradingEnv:
    return TradingEnv(dataclasses.replace(config, episode_length=span.num_bars - 1), itemised=True)


def _start(env: TradingEnv, params: EnvParams, seed: int, num_envs: int) -> Runner:
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), jnp.arange(num_envs))
    last = params.market.close.shape[0] - 1
    observation, state = jax.vmap(lambda _: env.reset_at(0, last, params))(keys)
    return Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _play_agent(
    env: TradingEnv,
    network: Network,
    num_steps: int,
    sampled: bool,
    agent: AgentParams,
    params: EnvParams,
    runner: Runner,
) -> Records:
    policy = market_policy(network, agent, params.market, sampled=sampled)
    return _play(env, num_steps, policy, params, runner)


@partial(jax.jit, static_argnums=(0, 1))
def _play_rule(env: TradingEnv, num_steps: int, targets: jax.Array, params: EnvParams, runner: Runner) -> Records:
    return _play(env, num_steps, lambda _, obs: (targets[obs.t], None), params, runner)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _play_quotes(env: TradingEnv, num_steps: int, units: int, params: EnvParams, runner: Runner) -> Records:
    part = 1 / params.market.close.shape[1]
    unit = part / units

    def policy(_: jax.Array, obs: Observation) -> tuple[jax.Array, None]:
        weight = obs.positions[..., 0].astype(params.initial_cash.dtype)
        # Weights drift with prices: what is nearer to a unit than to none is one, and the last one is sold whole.
        buy = jnp.where(weight < part - unit / 2, unit, 0.0)
        sell = jnp.where(weight < 1.5 * unit, weight > 0, unit)
        return jnp.stack([buy, sell], axis=-1), None

    return _play(env, num_steps, policy, params, runner)


@partial(jax.jit, static_argnums=(0, 1))
def _play_random(env: TradingEnv, num_steps: int, params: EnvParams, runner: Runner) -> Records:
    head = head_for(env.config.action, params.market.close.shape[1], env.config.max_position_pct)
    outputs = jnp.zeros((params.market.close.shape[1], head.num_outputs))

    def policy(keys: jax.Array, obs: Observation) -> tuple[jax.Array, None]:
        if obs.valid is None:
            return head.to_env(jax.vmap(head.sample, in_axes=(0, None))(keys, outputs)), None
        return head.to_env(jax.vmap(head.sample, in_axes=(0, None, 0))(keys, outputs, obs.valid)), None

    return _play(env, num_steps, policy, params, runner)


def _play(env: TradingEnv, num_steps: int, policy: Policy, params: EnvParams, runner: Runner) -> Records:
    def record(step: Step) -> Records:
        return record_account(params, step)

    return rollout(env, params, policy, runner, num_steps, record, auto_reset=False)[2]
