"""One account over a span in which one agent follows another, as it is when a model is replaced every year.

The account is handed over as it stands, positions and all, so nothing is sold or bought for the change. What an agent
sees of the account's past (growth, drawdown, what rewards remember) starts afresh with its turn: it was trained on
episodes that begin so.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Int

from ploutos_jax.agents.acting import market_policy
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.datasets.splits import Window
from ploutos_jax.env import observation, rewards
from ploutos_jax.env.broker import account
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import Runner, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState
from ploutos_jax.evaluate.backtest.recorder import Records, record_account, to_ledger
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.panel import Market

_OF_THE_EPISODE = ("peak_equity", "cost", "cost_low", "episode_return", "halted", "stats", "end")
"""Fields of the account that are reset with a segment."""


def play_segments(name: str, market: Market, segments: Sequence[tuple[Window, Agent]], config: EnvConfig) -> Ledger:
    """Play one account over windows of a market that lie end to end, each by an agent of its own.

    The bars of a window are earned by its agent: it decides from the close of the bar before the window on. An agent
    whose window begins with the first bar of the market decides from that bar's close on, and the bar earns nothing.

    Args:
        name: of the ledger.
        market: bars and features.
        segments: windows in order of time and who plays each, by greedy actions.
        config: rules and costs.

    Raises:
        ValueError: if the windows do not lie end to end, or an agent cannot act in the market.
    """
    windows = [window for window, _ in segments]
    if not windows or any(a.stop != b.start for a, b in itertools.pairwise(windows)):
        raise ValueError(f"Turns must lie end to end, got {[(w.start, w.stop) for w in windows]}.")
    first, stop = max(windows[0].start - 1, 0), windows[-1].stop
    span = market.window(first, stop, lead=max(agent.network.warm_up for _, agent in segments))
    env = TradingEnv(dataclasses.replace(config, episode_length=span.num_bars - 1), itemised=True)
    parts, runner = [], None
    for window, agent in segments:
        agent.check_market(market)
        params = env.default_params(agent.with_own_sectors(span))
        row = max(window.start - 1, 0) - first
        runner, params = hand_over(env, params, runner, row)
        num_steps = window.stop - 1 - first - row
        runner, records = play_agent(env, agent.network, num_steps, agent.params, params, runner)
        parts.append(records)
    records = jax.tree.map(lambda *x: np.concatenate([np.asarray(part) for part in x]), *parts)
    return to_ledger(name, span, env.config, records)


@partial(jax.jit, static_argnums=(0, 1, 2))
def play_agent(
    env: TradingEnv, network: Network, num_steps: int, agent: AgentParams, params: EnvParams, runner: Runner
) -> tuple[Runner, Records]:
    """Play greedy actions for some steps; return where the account stands and the records `[num_steps, E, ...]`."""
    policy = market_policy(network, agent, params.market)
    runner, _, records = rollout(
        env, params, policy, runner, num_steps, partial(record_account, params), auto_reset=False
    )
    return runner, records


@partial(jax.jit, static_argnums=0)
def hand_over(
    env: TradingEnv, params: EnvParams, runner: Runner | None, row: Int[jax.Array, ""] | int
) -> tuple[Runner, EnvParams]:
    """Return the account as the agent whose turn begins after the close of `row` finds it, and its numbers."""
    end = params.market.close.shape[0] - 1
    if runner is None:
        obs, state = env.reset_at(row, end, params)
        keys = jax.random.key(0)[None]
        one = jax.tree.map(lambda x: jnp.asarray(x)[None], (state, obs))
        return Runner(state=one[0], observation=one[1], keys=keys, step=jnp.zeros((), jnp.uint32)), params
    held: EnvState = jax.tree.map(lambda x: x[0], runner.state)
    params = params.replace(initial_cash=held.equity)
    fresh = account.new_state(env.config, params, held.t, jnp.int32(end))
    fresh = rewards.init_reward_state(env.config.reward_terms, params, fresh)
    state = held.replace(**{field: getattr(fresh, field) for field in _OF_THE_EPISODE})
    obs = observation.observe(env.config, state, params)
    one = jax.tree.map(lambda x: x[None], (state, obs))
    return runner.replace(state=one[0], observation=one[1]), params


def combine(name: str, ledgers: Sequence[Ledger]) -> Ledger:
    """Return several accounts over the same bars as one: the money in equal parts at the start, left alone after."""
    first = ledgers[0]
    weights = [np.append(0.0, ledger.equity[:-1]) for ledger in ledgers]
    before = np.sum(weights, axis=0)
    traded = np.sum([ledger.turnover * weight for ledger, weight in zip(ledgers, weights, strict=True)], axis=0)
    fills = pd.concat([ledger.fills for ledger in ledgers], ignore_index=True)
    return dataclasses.replace(
        first,
        name=name,
        **{
            field: np.sum([getattr(ledger, field) for ledger in ledgers], axis=0)
            for field in ("equity", "cash", "gross_exposure", "cost", "fee_rounding", "interest")
            if getattr(first, field) is not None
        },
        turnover=np.where(before > 0, traded / np.where(before > 0, before, 1), 0.0),
        initial_cash=float(sum(ledger.initial_cash for ledger in ledgers)),
        fills=fills.sort_values("bar", kind="stable", ignore_index=True),
    )
