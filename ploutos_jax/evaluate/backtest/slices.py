"""Backtests over markets that lie in files: one slice after the other, the account handed from each to the next.

A slice begins a bar before the one that its account stands at and ends a bar after its last, so that each step sees
what it would see of the whole: whether a session begins, whether one ends. What a network remembers is handed on, too.

Letters: N steps, S steps of a slice, A assets.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from ploutos_jax.agents.acting import market_policy, remember
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.params import moved_to, params_of_slice
from ploutos_jax.env.rollout import Policy, Runner, Step, rollout
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import NOT_HELD, EnvParams, EnvState, Observation
from ploutos_jax.evaluate.backtest.recorder import Records, record_account, to_ledger
from ploutos_jax.evaluate.ledger import Ledger
from ploutos_jax.market.long.mapped import release
from ploutos_jax.market.panel import Market
from ploutos_jax.policy.distributions import head_for

_AROUND = 3
"""Bars of a slice beside its steps: the one that the account stands at, one before it, and one after the last."""

MakePolicy = Callable[[Any, EnvParams], Policy]
"""`(arrays, params) -> policy` of a slice; hashable, as it is part of a compiled program."""


_RECORD_BYTES, _BYTES_OF_ASSET = 2**28, 256
"""Most memory for the records of a slice, and for those of an asset in a step: five fills of a dozen figures."""


def is_sliced(span: Market) -> bool:
    """Return whether a span lies in files and has more bars than are played at a time."""
    return span.labels is not None and span.labels.device_bars is not None and span.num_bars > _steps_of(span) + _AROUND


def _steps_of(span: Market) -> int:
    """Return the steps of a slice: what the device holds, and no more than what may be recorded of them."""
    most = None if span.labels is None else span.labels.device_bars
    recorded = max(1, _RECORD_BYTES // (_BYTES_OF_ASSET * span.num_assets))
    return recorded if most is None else min(most - _AROUND, recorded)


@dataclasses.dataclass(frozen=True)
class AgentPolicy:
    """How an agent acts in a slice; arrays are its parameters and what it remembers of the bars before the slice."""

    network: Network
    sampled: bool

    def __call__(self, arrays: tuple[AgentParams, Any], params: EnvParams) -> Policy:
        agent, memory = arrays
        return market_policy(self.network, agent, params.market, sampled=self.sampled, memory=memory)


@dataclasses.dataclass
class Remembered:
    """What the policy of an agent reads, slice by slice: its parameters, and its memory.

    Attributes:
        network: shapes.
        agent: parameters and scaling.
        memory: of the bars before the slice; None of a network without one.
    """

    network: Network
    agent: AgentParams
    memory: Any = None

    @classmethod
    def of(cls, agent: Agent, span: Market) -> "Remembered":
        """Return what is remembered where a span begins: the bars that lead it."""
        lead = span.lead
        if not agent.network.warm_up:
            return cls(agent.network, agent.params)
        rows = (span.features[:0], span.tradable[:0]) if lead is None else (lead.features, lead.tradable)
        return cls(agent.network, agent.params, _remember(agent.network, agent.params, *map(jnp.asarray, rows), None))

    def __call__(self, rows: slice) -> tuple[AgentParams, Any]:
        """Return what the policy of a slice reads."""
        return self.agent, self.memory

    def pass_by(self, market: Market, number: int) -> None:
        """Remember the first bars of a slice, after which the next one begins."""
        if self.memory is not None:
            rows = market.features[:number], market.tradable[:number]
            self.memory = _remember(self.network, self.agent, *rows, self.memory)


@partial(jax.jit, static_argnums=0)
def _remember(network: Network, agent: AgentParams, features: jax.Array, tradable: jax.Array, memory: Any) -> Any:
    return remember(network, agent, features, tradable, memory)


def rule_policy(arrays: jax.Array, params: EnvParams) -> Policy:
    """Return how a rule acts in a slice; arrays are its targets `[rows of the slice, A]`."""
    del params
    return lambda _, obs: (arrays[obs.t], None)


@dataclasses.dataclass(frozen=True)
class RandomPolicy:
    """Random actions of an environment."""

    config: EnvConfig

    def __call__(self, arrays: None, params: EnvParams) -> Policy:
        num_assets = params.market.close.shape[1]
        head = head_for(self.config.action, num_assets, self.config.max_position_pct)
        outputs = jnp.zeros((num_assets, head.num_outputs))

        def policy(keys: jax.Array, obs: Observation) -> tuple[jax.Array, None]:
            if obs.valid is None:
                return head.to_env(jax.vmap(head.sample, in_axes=(0, None))(keys, outputs)), None
            return head.to_env(jax.vmap(head.sample, in_axes=(0, None, 0))(keys, outputs, obs.valid)), None

        return policy


def play_slices(
    name: str,
    env: TradingEnv,
    span: Market,
    make_policy: MakePolicy,
    arrays: Callable[[slice], Any],
    *,
    seed: int = 0,
    pass_by: Callable[[Market, int], None] = lambda *_: None,
    **about: Any,
) -> Ledger:
    """Play a policy over a span that lies in files, once, from an account in cash.

    Args:
        name: of the ledger.
        env: rules, with an episode as long as the span.
        span: the bars, in files.
        make_policy: of a slice.
        arrays: what the policy of a slice reads, by the rows of the span that it holds.
        seed: of everything random.
        pass_by: is told of each slice how many of its bars lie before the next one.
        about: role and the like of the ledger.

    Raises:
        ValueError: if a slice is too short for a step.
    """
    parts = []
    for rows, market, records in _play(env, span, make_policy, arrays, seed, pass_by):
        parts.append((rows, to_ledger(name, market, env.config, records, **about)))
        release(span)
    return _joined(parts, span)


def _play(
    env: TradingEnv,
    span: Market,
    make_policy: MakePolicy,
    arrays: Callable[[slice], Any],
    seed: int,
    pass_by: Callable[[Market, int], None],
) -> Iterator[tuple[slice, Market, Records]]:
    """Yield of each slice the rows that were played, those bars, and what was recorded of its steps."""
    num_steps = span.num_bars - 1
    length = _steps_of(span)
    if length < 1:
        raise ValueError(f"device_bars={length + _AROUND} is too short for a backtest: give at least {_AROUND + 1}.")
    params: EnvParams | None = None
    runner: Any = None
    begun = 0
    # All slices have one length, and so one program: the last one plays on beyond the end, of which nothing is kept.
    steps = -(-num_steps // -(-num_steps // length))
    size = min(steps + _AROUND, span.num_bars)
    for first in range(0, num_steps, steps):
        begin = min(max(first - 1, 0), span.num_bars - size)
        around = slice(begin, begin + size)
        if params is None:
            short = dataclasses.replace(env.config, episode_length=1)
            params = params_of_slice(short, span.replace(lead=None), around)
            runner = _start(env, params, seed, num_steps)
        else:
            cut = span.window(around.start, around.stop).replace(labels=None, lead=None)
            pass_by(params.market, around.start - begun)
            params = moved_to(params, env.config, jax.tree.map(lambda x: jnp.asarray(np.array(x)), cut))
            runner = _moved(runner, around.start - begun)
        begun = around.start
        runner, records = _go_on(env, make_policy, steps, arrays(around), params, runner)
        played = min(steps, num_steps - first)
        kept = jax.tree.map(lambda x, n=played: np.asarray(x)[:n], records)
        rows = slice(first, first + played + 1)
        yield rows, span.window(rows.start, rows.stop), kept


@partial(jax.jit, static_argnums=(0, 1, 2))
def _go_on(
    env: TradingEnv, make_policy: MakePolicy, num_steps: int, arrays: Any, params: EnvParams, runner: Runner
) -> tuple[Runner, Records]:
    def record(step: Step) -> Records:
        return record_account(params, step)

    runner, _, records = rollout(env, params, make_policy(arrays, params), runner, num_steps, record, auto_reset=False)
    return runner, records


def _start(env: TradingEnv, params: EnvParams, seed: int, last: int) -> Runner:
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), jnp.arange(1))
    observation, state = jax.vmap(lambda _: env.reset_at(0, last, params))(keys)
    runner = Runner(state=state, observation=observation, keys=keys, step=jnp.zeros((), jnp.uint32))
    # Numbers of Python in it, or arrays that are bound to no device, would make another program of the first slice.
    runner = runner.replace(state=jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), runner.state))
    return jax.device_put(runner, jax.local_devices()[0])


def _moved(runner: Runner, bars: int) -> Runner:
    """Return accounts that count bars from another one on, so many bars later."""
    state: EnvState = runner.state
    return runner.replace(
        state=state.replace(
            t=state.t - bars,
            end=state.end - bars,
            entry_bar=jnp.where(state.entry_bar == NOT_HELD, NOT_HELD, state.entry_bar - bars),
            phase=None if state.phase is None else state.phase - bars,
        )
    )


def _joined(parts: list[tuple[slice, Ledger]], span: Market) -> Ledger:
    """Return one ledger of those of consecutive slices, each of which begins at the bar where the one before ends."""
    ledgers = [ledger for _, ledger in parts]
    fills = [ledger.fills.assign(bar=ledger.fills["bar"] + rows.start) for rows, ledger in parts]
    columns = ("equity", "cash", "gross_exposure", "turnover", "cost", "fee_rounding", "interest")
    grids = ("close", "open", "high", "low", "split")

    def joined(name: str) -> np.ndarray | None:
        found = [getattr(ledger, name) for ledger in ledgers]
        if any(one is None for one in found):
            return None
        return np.concatenate([found[0], *(one[1:] for one in found[1:])])

    return dataclasses.replace(
        ledgers[0],
        times=span.times,
        sessions=np.asarray(span.sessions),
        fills=pd.concat([one for one in fills if len(one)] or fills[:1], ignore_index=True),
        **{name: joined(name) for name in (*columns, *grids)},
    )
