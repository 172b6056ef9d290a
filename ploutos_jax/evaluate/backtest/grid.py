"""One agent, or one table of decisions, under many values of the environment's numbers, in one compiled call.

Letters: N bars played, A assets; points are combinations of values.
"""

import dataclasses
import difflib
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Num

from ploutos_jax.agents.acting import market_policy
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.params import make_params
from ploutos_jax.env.rollout import Policy, Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.panel import Market

Point = dict[str, float]
_RECORDED = ("equity", "cost", "turnover", "num_trades")
_NOT_NUMBERS = ("market", "has_gaps", "starts", "sector_columns", "sector_members")
"""Fields of `EnvParams` that follow from the market, not from a setting."""


class Accounts(NamedTuple):
    """What became of the account at each point.

    Attributes:
        equity: `[points, N+1]` dollars at each close, from the first decision on.
        cost: `[points]` dollars of fees, spread and slippage.
        turnover: `[points, N+1]` value traded in the bar over the equity before it; 0 in row 0.
        num_fills: `[points]`.
    """

    equity: Float[np.ndarray, "points rows"]
    cost: Float[np.ndarray, " points"]
    turnover: Float[np.ndarray, "points rows"]
    num_fills: Int[np.ndarray, " points"]


def points_of(grid: Mapping[str, Sequence[float]]) -> list[Point]:
    """Return all combinations of a grid's values, the last name fastest.

    Raises:
        ValueError: if there is no name, or one without values.
    """
    if not grid:
        raise ValueError("The sweep has no name; give values by name, such as {'spread_bps': [1, 5, 20]}.")
    values = {name: np.atleast_1d(np.asarray(of_name)).tolist() for name, of_name in grid.items()}
    empty = [name for name, of_name in values.items() if not of_name]
    if empty:
        raise ValueError(f"The sweep has no value of {empty[0]}; give a list of numbers.")
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


def play_points(
    what: Agent | Num[np.ndarray, "N A *edges"], span: Market, config: EnvConfig, points: Sequence[Point]
) -> Accounts:
    """Play one strategy over a span from an account in cash, once at each point.

    Args:
        what: an agent, by its greedy actions, or the decisions at the close of each bar of the span but the last.
        span: the N + 1 bars.
        config: rules and costs, of which the points change numbers.
        points: values by name: settings of `EnvConfig` in their own units, or leaves of `EnvParams`.

    Raises:
        ValueError: if a name is unknown, or changes the program and not a number of it.
    """
    num_steps = span.num_bars - 1
    config = dataclasses.replace(config, episode_length=num_steps)
    params, changed = params_at(config, what.with_own_sectors(span) if isinstance(what, Agent) else span, points)
    env = TradingEnv(config)
    if isinstance(what, Agent):
        what.check_market(span)
        records = _play_agent(env, what.network, num_steps, what.params, params, changed)
    else:
        if np.shape(what)[:2] != (num_steps, span.num_assets):
            raise ValueError(
                f"The decisions have shape {np.shape(what)}; the span has {num_steps} bars to decide at and"
                f" {span.num_assets} assets."
            )
        records = _play_table(env, num_steps, jnp.asarray(what), params, changed)
    arrays = {name: np.asarray(x)[..., 0] for name, x in records.items()}
    cash = np.broadcast_to(np.asarray(changed.get("initial_cash", params.initial_cash)), (len(points),))
    first = np.zeros((len(points), 1))
    return Accounts(
        equity=np.concatenate([first + cash[:, None], arrays["equity"]], axis=1).astype(np.float64),
        cost=arrays["cost"].sum(axis=1, dtype=np.float64),
        turnover=np.concatenate([first, arrays["turnover"]], axis=1).astype(np.float64),
        num_fills=arrays["num_trades"].sum(axis=1),
    )


def params_at(config: EnvConfig, span: Market, points: Sequence[Point]) -> tuple[EnvParams, dict[str, jax.Array]]:
    """Return the numbers of the configuration, and by name those that the points change, `[points, ...]`.

    Raises:
        ValueError: if a name is unknown, or changes the program and not a number of it.
    """
    base = make_params(config, span)
    numbers = [field.name for field in dataclasses.fields(EnvParams) if field.name not in _NOT_NUMBERS]
    settings = {field.name for field in dataclasses.fields(EnvConfig)}
    for name in points[0]:
        if name not in settings and name not in numbers:
            near = difflib.get_close_matches(name, {*numbers, *settings}, 1)
            hint = f"Did you mean {near[0]!r}?" if near else "Take a setting of EnvConfig or a leaf of EnvParams."
            raise ValueError(f"A sweep over {name!r}: there is no such number. {hint}")
        if name in settings:
            for value in {point[name] for point in points}:
                _check_is_number(config, base, span, name, value)
    each = []
    for point in points:
        of_config = {name: value for name, value in point.items() if name in settings}
        params = make_params(dataclasses.replace(config, **of_config), span)
        others = {n: jnp.asarray(value, getattr(base, n).dtype) for n, value in point.items() if n not in settings}
        each.append(params.replace(**others))
    stacked = {}
    for name in numbers:
        leaves = [getattr(params, name) for params in each]
        if len({np.shape(leaf) if leaf is not None else None for leaf in leaves}) > 1:
            raise ValueError(
                f"The values of the sweep give {name!r} different shapes: some leave it to the instrument and others do"
                " not. Run a sweep for either."
            )
        if any(_differ(leaf, getattr(base, name)) for leaf in leaves):
            stacked[name] = jnp.stack([jnp.asarray(leaf) for leaf in leaves])
    # Points that change nothing are accounts as well, one each.
    return base, stacked or {"initial_cash": jnp.stack([params.initial_cash for params in each])}


def _check_is_number(config: EnvConfig, base: EnvParams, span: Market, name: str, value: Any) -> None:
    """Make sure that a setting's value is a number that the program reads, and no other program.

    Raises:
        ValueError: saying why it is not, and what to do.
    """
    before = getattr(config, name)
    if value == before:
        return
    if before is None or value is None:
        raise ValueError(
            f"A sweep over {name}: with None the rule is off, which is another program. Give the configuration a number"
            f" ({name}=...), and the sweep numbers only."
        )
    moved = make_params(dataclasses.replace(config, **{name: value}), span)
    names = [field.name for field in dataclasses.fields(EnvParams) if field.name not in _NOT_NUMBERS]
    if not any(_differ(getattr(moved, one), getattr(base, one)) for one in names):
        raise ValueError(
            f"A sweep over {name}: it is part of the program, not a number that the program reads. Run a backtest for"
            " each of its values."
        )


def _differ(one: Any, other: Any) -> bool:
    return (one is None) != (other is None) or (one is not None and not np.array_equal(one, other))


def _account(env: TradingEnv, num_steps: int, params: EnvParams, policy: Policy) -> dict[str, jax.Array]:
    observation, state = env.reset_at(0, num_steps, params)
    state, observation = jax.tree.map(lambda x: x[None], (state, observation))
    keys = jax.random.fold_in(jax.random.key(0), 0)[None]
    runner = Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))

    def record(step: Step) -> dict[str, jax.Array]:
        return {name: step.info[name] for name in _RECORDED}

    return rollout(env, params, policy, runner, num_steps, record, auto_reset=False)[2]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _play_agent(
    env: TradingEnv,
    network: Network,
    num_steps: int,
    agent: AgentParams,
    params: EnvParams,
    changed: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    # The table of the market is the same at every point, and is made once.
    policy = market_policy(network, agent, params.market)
    return jax.vmap(lambda point: _account(env, num_steps, params.replace(**point), policy))(changed)


@partial(jax.jit, static_argnums=(0, 1))
def _play_table(
    env: TradingEnv, num_steps: int, decisions: jax.Array, params: EnvParams, changed: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    def policy(_: jax.Array, obs: Observation) -> tuple[jax.Array, None]:
        return decisions[obs.t], None

    return jax.vmap(lambda point: _account(env, num_steps, params.replace(**point), policy))(changed)
