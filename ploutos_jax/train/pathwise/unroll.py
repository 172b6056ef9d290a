"""A rollout and its derivatives: what each decision does to what follows it, through the broker's own step.

Nothing but the environment's step is differentiated here. What an agent sees is cut off (it is an index and a few
rounded numbers), so that a network's outputs are the only way into a step, and its account the only way on. The
derivative by the outputs of each decision is what a learner then hands to the network.

Every decision is judged by its own discounted future: on the way back from a step to the one before, derivatives by
the account are multiplied by γ. A critic that knows what a unit of weight in each asset is worth stands in where the
rollout or an episode ends, and, with λ below 1, for a share of what the rollout itself has seen:

    J_s = r_s + γ·((1 − λ)·V(s + 1) + λ·J_{s+1}),     V(s) = Σ worth_i·weight_i,

a linear function of the account, as derivatives are all that is asked of it. What it is to learn comes with them: the
derivative of J by the weights held, each bought with cash.

Source: Xu et al., "Accelerated Policy Learning with Parallel Differentiable Simulation" (2022), for rollouts that are
differentiated and end in a critic; Fairbank and Alonso, "Value-gradient learning" (2012), for a critic of derivatives.
"""

import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from ploutos_jax.env.rollout import Boundaries, Path, Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState, Observation
from ploutos_jax.policy.distributions import PathHead

Look = Callable[[Observation], tuple[Float[Array, "n A outputs"], Float[Array, "n A"], Any]]
"""`observations [n] -> (outputs of the actor, worth of a unit of weight in each asset, whatever is to be noted)`."""


class Bars(NamedTuple):
    """What the accounts of a rollout did in each bar; differentiable.

    Attributes:
        reward: `[S, E]` of the environment.
        gain: `[S, E]` simple return, net of all costs.
        turnover: `[S, E]` value traded over equity at the close before.
    """

    reward: Float[Array, "S E"]
    gain: Float[Array, "S E"]
    turnover: Float[Array, "S E"]


Objective = Callable[[Bars], Float[Array, ""]]
"""What is to grow: a sum over all bars of all accounts, or as many times a mean."""


@typing.no_type_check
class Nudges(struct.PyTreeNode):
    """Zeros by which derivatives are taken, `[S, E, A, ...]`.

    Attributes:
        outputs: added to the outputs of the network.
        weight: share of equity moved from cash into each asset before the action.
    """

    outputs: Float[Array, "S E A outputs"]
    weight: Float[Array, "S E A"]


@typing.no_type_check
class Decision(struct.PyTreeNode):
    """What the policy and the link leave of a step: see `Unrolled`; `equity` and `value` before it, `[E]`."""

    outputs: Float[Array, "E A outputs"]
    action: Float[Array, "E A *parts"]
    worth: Float[Array, "E A"]
    equity: Float[Array, " E"]
    value: Float[Array, " E"]
    noted: Any


@typing.no_type_check
class Unrolled(struct.PyTreeNode):
    """Decisions of a rollout and what follows from them, `[S, E, ...]`.

    Attributes:
        observation: seen.
        outputs: of the actor.
        action: drawn, rounded as it is stored.
        believed: the critic's worth of a unit of weight at the close observed.
        pull: derivative of J by the outputs.
        worth: derivative of J by the weights held at the close observed, what the critic is to learn.
        terminated, truncated: ends of episodes.
        objective: what was to grow, its value.
    """

    observation: Observation
    outputs: Float[Array, "S E A outputs"]
    action: Float[Array, "S E A *parts"]
    believed: Float[Array, "S E A"]
    pull: Float[Array, "S E A outputs"]
    worth: Float[Array, "S E A"]
    terminated: Bool[Array, "S E"]
    truncated: Bool[Array, "S E"]
    objective: Float[Array, ""]


def unroll(
    env: TradingEnv,
    params: EnvParams,
    head: PathHead,
    look: Look,
    objective: Objective,
    runner: Runner,
    num_steps: int,
    *,
    gamma: Float[Array, ""] | float,
    trace: Float[Array, ""] | float,
    noise: Float[Array, ""] | float | None = None,
    tally: tuple[Callable[[Step], Any], Any],
    record: Callable[[Step], Any] = lambda _: None,
) -> tuple[Runner, Boundaries, Unrolled, Any, Any]:
    """Run E environments for S steps with actions drawn by a head, and differentiate what comes of them.

    Args:
        env, params: the environment.
        head: of the actions.
        look: what the network makes of observations.
        objective: what is to grow.
        runner: where the environments stand.
        num_steps: S.
        gamma: γ.
        trace: λ.
        noise: deviation of the actions over that of an untrained network; None leaves it to the network to learn.
        tally: sums over the steps, see `rollout`.
        record: what else is kept of each step; its `extra` is a `Decision`.

    Returns:
        The runner after S steps, the ends of episodes, the derivatives, what was recorded, and the sums.
    """
    num_envs, num_assets = runner.state.shares.shape
    dtype = runner.state.equity.dtype
    shape = (num_steps, num_envs, num_assets)

    def policy(keys: Array, seen: Observation, nudge: Nudges) -> tuple[Array, Decision]:
        outputs, worth, noted = jax.lax.stop_gradient(look(seen))
        felt = outputs + nudge.outputs
        drawn = jax.vmap(head.draw)(keys, felt if noise is None else head.with_noise(felt, noise))
        action = jax.lax.stop_gradient(drawn.astype(head.action_dtype))
        # Rounded as it is stored, and with the derivative of what it was before.
        felt = drawn + jax.lax.stop_gradient(action.astype(drawn.dtype) - drawn)
        none = jnp.zeros(num_envs, dtype)
        decision = Decision(outputs=outputs, action=action, worth=worth, equity=none, value=none, noted=noted)
        return head.to_env(felt, params.market.tradable[seen.t]), decision

    def link(state: EnvState, decision: Decision, nudge: Nudges) -> tuple[EnvState, Decision]:
        decision = decision.replace(equity=state.equity, value=_value(params, state, decision.worth))
        state = jax.tree.map(lambda x: _scaled(x, gamma * trace), state)
        close = params.market.close[state.t]
        moved = nudge.weight * jax.lax.stop_gradient(state.equity)[:, None]
        shares = state.shares + moved / jnp.where(close > 0, close, 1)
        return state.replace(shares=shares, cash=state.cash - moved.sum(axis=-1)), decision

    def kept(step: Step) -> tuple[Any, ...]:
        bars = Bars(step.reward, step.info["equity"] / step.extra.equity - 1, step.info["turnover"])
        return bars, step.observation, step.extra.replace(noted=None), step.terminated, step.truncated, record(step)

    def total(nudges: Nudges) -> tuple[Array, tuple[Any, ...]]:
        path = Path(nudges, link)
        after, ends, (steps, sums) = rollout(env, params, policy, runner, num_steps, kept, tally=tally, path=path)
        bars, observation, decision, terminated, truncated, others = steps
        reached = objective(bars)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (ends.observation, ends.state))
        of_ends = _value(params, flat[1], jax.lax.stop_gradient(look(flat[0])[1])).reshape(num_envs, -1)
        is_end = jnp.arange(of_ends.shape[1]) < ends.count[:, None]
        last = _value(params, after.state, jax.lax.stop_gradient(look(after.observation)[1]))
        beyond = last.sum() + jnp.where(is_end, of_ends, 0).sum() + (1 - trace) * decision.value.sum()
        kept_steps = (after, ends, reached, observation, decision, terminated, truncated, others, sums)
        return reached + gamma * beyond, kept_steps

    zeros = Nudges(
        outputs=jnp.zeros((*shape, head.num_outputs), dtype),
        weight=jnp.zeros(shape, dtype),
    )
    slope, (after, ends, reached, observation, decision, terminated, truncated, others, sums) = jax.grad(
        total, has_aux=True
    )(zeros)
    unrolled = Unrolled(
        observation=observation,
        outputs=decision.outputs,
        action=decision.action,
        believed=decision.worth,
        pull=slope.outputs,
        worth=slope.weight,
        terminated=terminated,
        truncated=truncated,
        objective=reached,
    )
    return after, ends, unrolled, others, sums


def _value(params: EnvParams, state: EnvState, worth: Float[Array, "n A"]) -> Float[Array, " n"]:
    """Return `Σ worth_i·weight_i` of accounts `[n]` at their closes."""
    weight = state.shares * params.market.close[state.t] / state.equity[:, None]
    return (worth * weight).sum(axis=-1)


def _scaled(x: Array, factor: Array | float) -> Array:
    """Return x; its derivative is `factor` times that of what is given."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return _with_slope(x, jnp.asarray(factor, x.dtype))


@jax.custom_jvp
def _with_slope(x: Array, factor: Array) -> Array:
    del factor
    return x


@_with_slope.defjvp
def _with_slope_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x, factor = primals
    return x, factor * tangents[0]
