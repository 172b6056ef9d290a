"""What a figure of a backtest changes by, for a little more of a cost, a limit or another number of the rules.

The whole backtest is differentiated, bar by bar through the broker, with every decision of the agent as it was: what it
saw is cut off. That is exact as long as no event moves. What an event that moves does (a stop that is hit in one case
and not in the other, an order that falls below the smallest) no derivative knows of; `Sensitivity.moved` shows, on
request, the difference between two backtests beside it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ploutos_jax.agents.acting import market_policy
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.rollout import Runner, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, Observation
from ploutos_jax.market.panel import Market

Metric = Callable[[Float[Array, " rows"], Float[Array, ""]], Float[Array, ""]]
"""`(equity at each close [N + 1], bars in a year) -> figure`, of JAX arrays."""

BASIS_POINT = 1e-4
NUMBERS = ("spread", "slippage", "commission", "impact", "cash_rate", "max_position_pct")
"""Numbers of `EnvParams` that a figure is asked about unless others are named."""


def total_return(equity: Float[Array, " rows"], bars_per_year: Float[Array, ""]) -> Float[Array, ""]:
    """Return last over first equity, less 1."""
    del bars_per_year
    return equity[-1] / equity[0] - 1


def annual_return(equity: Float[Array, " rows"], bars_per_year: Float[Array, ""]) -> Float[Array, ""]:
    """Return the geometric return of a year."""
    return (equity[-1] / equity[0]) ** (bars_per_year / (equity.shape[0] - 1)) - 1


def sharpe(equity: Float[Array, " rows"], bars_per_year: Float[Array, ""]) -> Float[Array, ""]:
    """Return `mean / deviation · √(bars in a year)` of the simple returns, as `metrics.returns.sharpe`."""
    returns = equity[1:] / equity[:-1] - 1
    return returns.mean() / returns.std(ddof=1) * jnp.sqrt(bars_per_year)


def max_drawdown(equity: Float[Array, " rows"], bars_per_year: Float[Array, ""]) -> Float[Array, ""]:
    """Return the largest fall from a peak, a fraction at or below 0."""
    del bars_per_year
    return (equity / jax.lax.cummax(equity)).min() - 1


METRICS: dict[str, Metric] = {
    function.__name__: function for function in (total_return, annual_return, sharpe, max_drawdown)
}


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """A figure of a backtest and its derivatives.

    Attributes:
        value: the figure.
        slopes: by the name of a number of `EnvParams`, per unit of it (a spread of 1 is 100 %); of numbers that each
            asset has its own of, for all of them moved alike.
        moved: the change of the figure between whole backtests, over that of the number, where it was asked for.
    """

    value: float
    slopes: dict[str, float]
    moved: dict[str, float] = dataclasses.field(default_factory=dict)

    def per_basis_point(self, name: str) -> float:
        """Return what one more basis point of a number changes the figure by."""
        return self.slopes[name] * BASIS_POINT


def gradient_of(
    metric: str | Metric,
    agent: Agent,
    market: Market,
    start: Any = None,
    end: Any = None,
    *,
    by: Sequence[str] = NUMBERS,
    env: TradingEnv | None = None,
    step: float | None = None,
) -> Sensitivity:
    """Return a figure of a backtest and its derivatives by numbers of the rules.

    Args:
        metric: a name of `METRICS`, or a function of equity.
        agent: what decides; its greedy actions are taken, and stay what they are.
        market: bars and features; the whole history.
        start, end: the span, as in `backtest`.
        by: names of numbers of `EnvParams`, such as `spread`. A rule that is off does not read its number: 0.
        env: rules and costs; those of the training without it.
        step: with it, also the change between two backtests whose number is this much lower and higher, in which
            events move and the agent decides anew; between the number as it is and higher, where lower is below 0.

    Raises:
        ValueError: for a metric or a number that is not known, or a span of fewer than three bars.
    """
    function = _metric(metric)
    agent.check_market(market)
    span = market.window(start, end, lead=agent.network.warm_up)
    if span.num_bars < 3:
        raise ValueError(f"The span start={start}, end={end} holds {span.num_bars} bars; a figure needs three.")
    config = env.config if env is not None else agent.env_config
    whole = TradingEnv(dataclasses.replace(config, episode_length=span.num_bars - 1))
    params = whole.default_params(agent.with_own_sectors(span))
    _check_names(by, params)
    numbers = {name: getattr(params, name) for name in by}
    static = function, whole, agent.network, span.num_bars - 1
    value, slopes = jax.device_get(_slopes(*static, agent.params, params, numbers))
    moved: dict[str, float] = {}
    if step is not None:
        for name, number in numbers.items():
            # No cost is below 0: what a rebate would do is another question.
            lower = step if bool((number >= step).all()) else 0.0
            low, high = (
                float(_played(*static, True, agent.params, params, numbers | {name: number + change}))
                for change in (-lower, step)
            )
            moved[name] = (high - low) / (lower + step)
    return Sensitivity(float(value), {name: float(slope) for name, slope in slopes.items()}, moved)


def _metric(metric: str | Metric) -> Metric:
    if callable(metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r} is unknown; use {', '.join(map(repr, METRICS))} or a function of equity.")
    return METRICS[metric]


def _check_names(by: Sequence[str], params: EnvParams) -> None:
    known = [
        name for name, x in vars(params).items() if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
    ]
    for name in by:
        if name not in known:
            raise ValueError(f"by={name!r} is no number of the rules; those are {', '.join(known)}.")


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _slopes(
    metric: Metric,
    env: TradingEnv,
    network: Network,
    num_steps: int,
    agent: AgentParams,
    params: EnvParams,
    numbers: dict[str, Array],
) -> tuple[Array, dict[str, Array]]:
    """Return the figure and its derivatives, forward: there are few numbers and many bars."""

    def figure(numbers: dict[str, Array]) -> Array:
        return _figure(metric, env, network, num_steps, False, agent, params, numbers)

    names = list(numbers)
    ways = {
        name: jnp.zeros((len(names), *x.shape), x.dtype).at[place].set(1)
        for place, (name, x) in enumerate(numbers.items())
    }
    value, slopes = jax.vmap(lambda way: jax.jvp(figure, (numbers,), (way,)), out_axes=(None, 0))(ways)
    return value, {name: slopes[place] for place, name in enumerate(names)}


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _played(*arguments: Any) -> Array:
    return _figure(*arguments)


def _figure(
    metric: Metric,
    env: TradingEnv,
    network: Network,
    num_steps: int,
    decides_anew: bool,
    agent: AgentParams,
    params: EnvParams,
    numbers: dict[str, Array],
) -> Float[Array, ""]:
    """Return a figure of a backtest under some other numbers.

    Unless it `decides_anew`, no derivative passes through what the agent sees.
    """
    params = params.replace(**numbers)
    decide = market_policy(network, agent, params.market)

    def policy(keys: Array, seen: Observation) -> tuple[Array, None]:
        return decide(keys, seen if decides_anew else jax.lax.stop_gradient(seen))

    observation, state = jax.vmap(lambda _: env.reset_at(0, num_steps, params))(jnp.zeros(1))
    keys = jax.random.key(0)[None]
    runner = Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))
    equity = rollout(env, params, policy, runner, num_steps, lambda x: x.info["equity"][0], auto_reset=False)[2]
    return metric(jnp.concatenate([state.equity, equity]), params.bars_per_year)
