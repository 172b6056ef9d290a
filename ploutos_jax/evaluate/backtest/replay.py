"""Actions that are written down, played again, and beside them what the agent itself would have done.

Letters: N steps, A assets.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.agents.acting import choose, encode_market, look_up, respond
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.rollout import Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.evaluate.backtest.recorder import Records, record_account, to_ledger
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.panel import Market


class Replayed(NamedTuple):
    """Written actions played over a span.

    Attributes:
        ledger: of the account.
        actions: `[N, ...]` what the agent would have done in each step, at the account that the written ones led to.
        outputs: `[N, ...]` of its network, of which these are the greedy choice.
    """

    ledger: Ledger
    actions: np.ndarray
    outputs: np.ndarray


def replay(agent: Agent, market: Market, actions: Any, start: Any = None, end: Any = None, *, name: str) -> Replayed:
    """Play actions over a span by the scan that backtests use, from an account in cash.

    Args:
        agent: by whose rules and costs; it is asked in each step, and what it says is not done.
        market: the whole history, as for `backtest`.
        actions: `[N, A]`, or `[N, A, 2]` of bands: what was done at the close of each bar but the last.
        start, end: the span of N + 1 bars, as for `backtest`.
        name: of the ledger.

    Raises:
        ValueError: if the market lacks a feature of the agent, or there is not an action for each bar but the last.
    """
    agent.check_market(market)
    span = market.window(start, end, lead=agent.network.warm_up)
    if len(actions) != span.num_bars - 1 or not len(actions):
        raise ValueError(f"The span has {span.num_bars} bars, so {span.num_bars - 1} actions, not {len(actions)}.")
    config = dataclasses.replace(agent.env_config, episode_length=span.num_bars - 1)
    env = TradingEnv(config, itemised=True)
    params = env.default_params(agent.with_own_sectors(span))
    seen, state = env.reset_at(0, span.num_bars - 1, params)
    runner = start_of(state, seen)
    records, own, outputs = _follow(
        env, agent.network, len(actions), jnp.asarray(actions), agent.params, params, runner
    )
    provenance = agent.provenance(span.times[0], span.times[-1], span.calendar)
    ledger = to_ledger(name, span, config, records, provenance=provenance)
    return Replayed(ledger, np.asarray(own[:, 0]), np.asarray(outputs[:, 0]))


def start_of(state: Any, seen: Observation, seed: int = 0) -> Runner:
    """Return one account as `backtest` begins with it: the random numbers of its steps are those of `seed`."""
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], (state, seen))
    key = jax.random.fold_in(jax.random.key(seed), 0)[None]
    return Runner(state=one[0], observation=one[1], keys=key, step=jnp.zeros((), jnp.uint32))


@partial(jax.jit, static_argnums=0)
def play_action(env: TradingEnv, action: jax.Array, params: EnvParams, runner: Runner) -> tuple[Runner, Records]:
    """Play one action, `[A]` (`[A, 2]` of bands), of one account; return where it stands and its records `[1, 1, ...]`.

    The step, and its random numbers, are those that a longer rollout has in the place of `runner.step`.
    """

    def record(step: Step) -> Any:
        return record_account(params, step), step.state

    def policy(_keys: jax.Array, _seen: Observation) -> tuple[jax.Array, None]:
        return action[None], None

    # Of one step the compiler makes no loop: it joins other operations than in the loop of a backtest, and rounds
    # otherwise where it joins a product and a sum. The second step goes nowhere.
    _, _, (records, states) = rollout(env, params, policy, runner, 2, record, auto_reset=False)
    first: Any = jax.tree.map(lambda x: x[:1], records)
    state = jax.tree.map(lambda x: x[0], states)
    return runner.replace(state=state, step=runner.step + 1), first


@partial(jax.jit, static_argnums=(0, 1, 2))
def _follow(
    env: TradingEnv,
    network: Network,
    num_steps: int,
    actions: jax.Array,
    agent: AgentParams,
    params: EnvParams,
    runner: Runner,
) -> tuple[Records, jax.Array, jax.Array]:
    market = params.market
    table = encode_market(network, agent, market)

    def policy(_: jax.Array, seen: Observation) -> tuple[jax.Array, Any]:
        outputs, _ = respond(network, agent, market, look_up(table, seen.t), seen)
        return actions[seen.t], (choose(network, outputs, None, market, seen), outputs)

    def record(step: Step) -> Any:
        return record_account(params, step), *step.extra

    return rollout(env, params, policy, runner, num_steps, record, auto_reset=False)[2]
