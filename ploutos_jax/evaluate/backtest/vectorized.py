"""Many backtests in one call: policies, start dates, seeds and levels of cost, through the training step.

What comes back is equity and a few totals, not fills; play the one that matters with `backtest` for its ledger.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from ploutos_jax.agents.acting import market_policy
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.rollout import Policy, Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.panel import Market

COSTS = (
    "spread",
    "tick_size",
    "slippage",
    "slippage_atr",
    "slippage_volatility",
    "impact",
    "commission",
    "commission_per_share_cash",
    "commission_per_order_cash",
    "commission_min_cash",
    "fee_rates",
)
"""Numbers of `EnvParams` that a level of cost multiplies; caps of fees rise with it too."""


class Batch(NamedTuple):
    """Results by policy, level of cost, start and seed.

    Attributes:
        equity: `[policies, costs, starts, seeds, N+1]` dollars at each close, from the first decision on.
        cost: `[policies, costs, starts, seeds]` dollars of fees, spread and slippage.
        turnover: `[policies, costs, starts, seeds]` sum over bars of value traded over the equity before.
        num_trades: `[policies, costs, starts, seeds]` fills.
        starts: `[starts]` rows of the first decision.
    """

    equity: Float[np.ndarray, "policies costs starts seeds rows"]
    cost: Float[np.ndarray, "policies costs starts seeds"]
    turnover: Float[np.ndarray, "policies costs starts seeds"]
    num_trades: Int[np.ndarray, "policies costs starts seeds"]
    starts: Int[np.ndarray, " starts"]


def backtest_many(
    agents: Agent | Sequence[Agent],
    market: Market,
    starts: Sequence[Any] | None = None,
    num_bars: int | None = None,
    *,
    env: TradingEnv | None = None,
    seeds: Sequence[int] | None = None,
    cost_levels: Sequence[float] = (1.0,),
) -> Batch:
    """Play agents over spans of one length, from an account in cash each, in one compiled call.

    Args:
        agents: one, or several with the same network, as of `train_seeds`.
        market: bars and features.
        starts: row or date of each span's first decision; the first bar without it.
        num_bars: N, bars traded in each span; all that follow the last start without it.
        env: rules and costs; those of the first agent without it.
        seeds: sample actions, once for each seed; greedy actions, once, without it.
        cost_levels: multiples of all costs.

    Raises:
        ValueError: if a span runs beyond the data, agents differ in their networks, or the market does not suit them.
    """
    several = [agents] if isinstance(agents, Agent) else list(agents)
    if not several or any(one.network != several[0].network for one in several):
        raise ValueError(
            "backtest_many needs agents of one network; those of another are played in a call of their own."
        )
    for agent in several:
        agent.check_market(market)
    rows, num_bars = _spans(market, starts, num_bars)
    env = _env_of(env if env is not None else TradingEnv(several[0].env_config), num_bars)
    params = env.default_params(several[0].with_own_sectors(market))
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *(agent.params for agent in several))
    levels = jnp.asarray(cost_levels, params.initial_cash.dtype)
    runner = _start(env, params, rows, num_bars, [0] if seeds is None else seeds)
    records = _play_agents(env, several[0].network, num_bars, seeds is not None, stacked, levels, params, runner)
    return _to_batch(records, env, rows, 1 if seeds is None else len(seeds))


def play_decisions(
    decisions: Num[np.ndarray | jax.Array, "N policies _"],
    market: Market,
    env: TradingEnv,
    start: Any = None,
    *,
    cost_levels: Sequence[float] = (1.0,),
) -> Batch:
    """Play several tables of decisions side by side, from an account in cash each, in one compiled call.

    Args:
        decisions: `[N, policies, A]` actions of `env`: row i is decided at the close of the i-th bar of the span.
        market: bars; features are not used.
        env: rules and costs.
        start: row or date of the first decision; the first bar without it.
        cost_levels: multiples of all costs.

    Raises:
        ValueError: if the decisions do not fit the market, or run beyond the data.
    """
    if np.ndim(decisions) != 3 or decisions.shape[2] != market.num_assets:
        raise ValueError(
            f"decisions have shape {np.shape(decisions)}; they need (bars, policies, assets) with the"
            f" {market.num_assets} assets of the market."
        )
    num_bars, num_policies = decisions.shape[:2]
    rows, num_bars = _spans(market, None if start is None else [start], num_bars)
    env = _env_of(env, num_bars)
    params = env.default_params(market)
    levels = jnp.asarray(cost_levels, params.initial_cash.dtype)
    runner = _start(env, params, np.repeat(rows, num_policies), num_bars, [0])
    records = _play_decisions(env, jnp.asarray(decisions), int(rows[0]), levels, params, runner)
    # Policies were environments: [costs, N, policies] becomes [policies, costs, N, 1].
    records = {name: jnp.moveaxis(x, 2, 0)[..., None] for name, x in records.items()}
    return _to_batch(records, env, rows, 1)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _play_agents(
    env: TradingEnv,
    network: Network,
    num_steps: int,
    sampled: bool,
    agents: AgentParams,
    levels: jax.Array,
    params: EnvParams,
    runner: Runner,
) -> dict[str, jax.Array]:
    def of_agent(agent: AgentParams) -> dict[str, jax.Array]:
        policy = market_policy(network, agent, params.market, sampled=sampled)
        return jax.vmap(lambda level: _play(env, num_steps, policy, _at_cost(params, level), runner))(levels)

    return jax.vmap(of_agent)(agents)


@partial(jax.jit, static_argnums=0)
def _play_decisions(
    env: TradingEnv, decisions: jax.Array, first: jax.Array, levels: jax.Array, params: EnvParams, runner: Runner
) -> dict[str, jax.Array]:
    def policy(_: jax.Array, obs: Observation) -> tuple[jax.Array, None]:
        return decisions[obs.t[0] - first], None  # all stand at one bar

    def at(level: jax.Array) -> dict[str, jax.Array]:
        return _play(env, decisions.shape[0], policy, _at_cost(params, level), runner)

    return jax.vmap(at)(levels)


def _play(env: TradingEnv, num_steps: int, policy: Policy, params: EnvParams, runner: Runner) -> dict[str, jax.Array]:
    def record(step: Step) -> dict[str, jax.Array]:
        return {name: step.info[name] for name in ("equity", "cost", "turnover", "num_trades")}

    return rollout(env, params, policy, runner, num_steps, record, auto_reset=False)[2]


def _at_cost(params: EnvParams, level: jax.Array) -> EnvParams:
    scaled = {name: getattr(params, name) * level for name in COSTS}
    if params.maker is not None:
        scaled["maker"] = params.maker * level
    caps = jnp.where(jnp.isfinite(params.fee_caps), params.fee_caps * level, params.fee_caps)
    return params.replace(**scaled, fee_caps=caps)


def _spans(market: Market, starts: Sequence[Any] | None, num_bars: int | None) -> tuple[np.ndarray, int]:
    rows = np.array([0] if starts is None else [market.find_rows(start, None).start for start in starts], np.int32)
    ends = np.asarray(market.path_end)[rows]
    if num_bars is None:
        num_bars = int((ends - rows).min())
    if num_bars < 1 or (rows + num_bars > ends).any():
        late = int(rows[np.argmin(ends - rows)])
        raise ValueError(
            f"A span of {num_bars} bars from row {late} does not fit: {int((ends - rows).min())} bars follow it."
            " Give an earlier start or fewer bars."
        )
    return rows, num_bars


def _env_of(env: TradingEnv, num_bars: int) -> TradingEnv:
    return TradingEnv(dataclasses.replace(env.config, episode_length=num_bars))


def _start(env: TradingEnv, params: EnvParams, rows: np.ndarray, num_bars: int, seeds: Sequence[int]) -> Runner:
    """Return environments for every start and seed, the seeds of one start side by side."""
    # The key of environment 0, as `backtest` has it: one seed gives the same draws here and there.
    of_seed = jnp.stack([jax.random.fold_in(jax.random.key(seed), 0) for seed in seeds])
    first = jnp.repeat(jnp.asarray(rows, jnp.int32), len(seeds))
    observation, state = jax.vmap(lambda row: env.reset_at(row, row + num_bars, params))(first)
    keys = jnp.tile(of_seed, len(rows))
    return Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))


def _to_batch(records: dict[str, Any], env: TradingEnv, rows: np.ndarray, num_seeds: int) -> Batch:
    """Return results from records `[policies, costs, N, starts * seeds]`."""
    arrays = {name: np.asarray(x) for name, x in records.items()}
    shape = *arrays["equity"].shape[:3], len(rows), num_seeds
    arrays = {name: np.moveaxis(x.reshape(shape), 2, -1) for name, x in arrays.items()}
    first = np.full((*arrays["equity"].shape[:-1], 1), env.config.initial_cash, arrays["equity"].dtype)
    totals = {name: arrays[name].sum(axis=-1, dtype=np.float64) for name in ("cost", "turnover")}
    num_trades = arrays["num_trades"].sum(axis=-1)
    return Batch(np.concatenate([first, arrays["equity"]], axis=-1), **totals, num_trades=num_trades, starts=rows)
