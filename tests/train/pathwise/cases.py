"""One small differentiated rollout in float64, with decisions and beliefs that depend on the bar alone."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.rollout import start_runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.policy.bands import BandsHead
from ploutos_jax.train.pathwise.unroll import Bars, unroll
from tests.train.worlds import LITTLE_OPTIMISED, random_market

NUM_STEPS, NUM_ENVS, NUM_ASSETS = 12, 3, 3
EPISODE = 7
"""Shorter than the rollout: episodes end within it."""


@dataclasses.dataclass(frozen=True)
class WholeBands(BandsHead):
    """Bands that are not rounded: a difference of a millionth has to be felt."""

    action_dtype = jnp.float64


ENV = TradingEnv(
    EnvConfig(action="bands", episode_length=EPISODE, stop_loss=None, take_profit=None, spread_bps=20.0, fees="none")
)
HEAD = WholeBands(cap=0.6, width=0.2)


@functools.cache
def world() -> tuple[Any, Any, Any, Any]:
    """Return numbers, runner, outputs by bar and beliefs by bar; call it under x64."""
    market = random_market(3, num_bars=60, num_assets=NUM_ASSETS, missing=0.0)
    market = jax.tree.map(lambda x: jnp.asarray(x, float) if np.asarray(x).dtype == np.float32 else x, market)
    params = ENV.default_params(market)
    rng = np.random.default_rng(5)
    outputs = jnp.asarray(rng.normal(0, 0.7, (60, NUM_ASSETS, 4)))
    worth = jnp.asarray(rng.normal(0, 0.02, (60, NUM_ASSETS)))
    return params, start_runner(ENV, params, jax.random.key(1), NUM_ENVS, staggered=True), outputs, worth


def reward_sum(bars: Bars) -> jax.Array:
    return bars.reward.sum()


@functools.cache
def differentiated(objective: Any = reward_sum, gamma: float = 0.9, trace: float = 0.7, believes: bool = True) -> Any:
    """Return the derivatives of the rollout."""
    with jax.enable_x64(True):
        params, runner, outputs, worth = world()

        def look(seen: Any) -> Any:
            return outputs[seen.t], worth[seen.t] * believes, None

        def run(runner: Any) -> Any:
            tally = (lambda step: step.reward, jnp.zeros(NUM_ENVS))
            given = {"gamma": gamma, "trace": trace, "tally": tally}
            return unroll(ENV, params, HEAD, look, objective, runner, NUM_STEPS, **given)[2]

        return jax.device_get(jax.jit(run, compiler_options=LITTLE_OPTIMISED)(runner))


@functools.cache
def replayed() -> Any:
    """Return `(changes of outputs [S, E, A, 4], changes of weights [S, E, A]) -> account by account what happened`.

    Written as a plain loop over `step_env`, with the keys of the rollout: rewards, gains and turnover `[S, E]`, the
    weights at the beginning of each step and at its end `[S, E, A]`, the bars of both, and ends of episodes.
    """
    params, runner, outputs, _ = world()
    of_policy, of_env = jax.vmap(jax.random.split, out_axes=1)(runner.keys)

    def one(policy_key: Any, env_key: Any, state: Any, more: Any, shifted: Any) -> Any:
        rows = []
        for number in range(NUM_STEPS):
            begin, close = state, params.market.close[state.t]
            moved = shifted[number] * state.equity
            state = state.replace(shares=state.shares + moved / close, cash=state.cash - moved.sum())
            drawn = HEAD.draw(jax.random.fold_in(policy_key, number), outputs[state.t] + more[number])
            key = jax.random.fold_in(env_key, number)
            after, last, reward, terminated, truncated, info = ENV.step_state(
                key, state, HEAD.to_env(drawn, params.market.tradable[state.t]), params
            )

            def weight(s: Any) -> Any:
                return s.shares * params.market.close[s.t] / s.equity

            rows.append(
                {
                    "reward": reward,
                    "gain": last.equity / begin.equity - 1,
                    "turnover": info["turnover"],
                    "weight": weight(begin),
                    "last_weight": weight(last),
                    "t": begin.t,
                    "last_t": last.t,
                    "terminated": terminated,
                    "truncated": truncated,
                }
            )
            state = after
        return jax.tree.map(lambda *x: jnp.stack(x), *rows)

    run = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, 1, 1), out_axes=1), compiler_options=LITTLE_OPTIMISED)
    return lambda more, shifted: jax.device_get(run(of_policy, of_env, runner.state, more, shifted))


def judged(seen: Any, worth: np.ndarray, gamma: float, trace: float) -> np.ndarray:
    """Return J `[S, E]` as the page of `unroll` states it, backward in time, in NumPy."""
    result = np.zeros((NUM_STEPS, NUM_ENVS))
    for s in range(NUM_STEPS - 1, -1, -1):
        believed = (worth[seen["last_t"][s]] * seen["last_weight"][s]).sum(axis=-1)
        ended = seen["truncated"][s]
        later = (
            believed
            if s == NUM_STEPS - 1
            else np.where(ended, believed, (1 - trace) * believed + trace * result[s + 1])
        )
        result[s] = seen["reward"][s] + gamma * np.where(seen["terminated"][s], 0, later)
    return result
