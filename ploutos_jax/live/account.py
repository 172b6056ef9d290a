"""The simulated account of paper trading: the broker of training and backtests, one bar at a time.

Its market has three rows, the bar before, the present one and what is known of the next. Everything in the account that
counts in rows is moved by one before each step, so that it is as if the market went on.

Letters: A assets.
"""

import dataclasses
import hashlib
import io
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from ploutos_jax.agents.acting import act_next
from ploutos_jax.agents.agent import Agent
from ploutos_jax.agents.network import AgentParams, Network
from ploutos_jax.env.rollout import Runner
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import NOT_HELD, EnvParams, EnvState, Observation
from ploutos_jax.evaluate.backtest.recorder import ACCOUNT, Records, fill_table
from ploutos_jax.evaluate.backtest.replay import play_action, start_of
from ploutos_jax.live.guards import Estimate
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import Market

FIGURES = (*ACCOUNT, "gross_exposure")
"""Figures of a bar that become columns of a ledger."""
_FAR = 2**30
"""The last bar of an account that has none."""


class Decision(NamedTuple):
    """What an agent does at the close of a bar.

    Attributes:
        action: `[A]`, or `[A, 2]` of bands.
        outputs: of the network, of which it is the greedy choice.
        seen: the observation.
    """

    action: np.ndarray
    outputs: np.ndarray
    seen: Observation


class PaperAccount:
    """An account in cash that observes the middle row of a market of three.

    Args:
        agent: by whose rules and costs it trades.
        market: of `BarWindow.market`.
        memory: what a network that remembers knows of the bars before the last.
    """

    def __init__(self, agent: Agent, market: Market, memory: Array | None) -> None:
        self.agent, self.memory = agent, memory
        config = dataclasses.replace(agent.env_config, episode_length=1)
        self.env = TradingEnv(config, itemised=True)
        params = self.env.default_params(agent.with_own_sectors(market))
        # Whether every asset will trade in every bar is not known.
        self._params = params if market.num_assets == 1 else params.replace(has_gaps=jnp.zeros((), bool))
        seen, state = self.env.reset_at(1, _FAR, self._params)
        self.runner = start_of(state, seen)

    @property
    def state(self) -> EnvState:
        """The account at the close of the last bar."""
        return jax.tree.map(lambda x: x[0], self.runner.state)

    def figures(self) -> dict[str, float]:
        """Return the figures of an account that has not traded."""
        state = self.state
        return dict.fromkeys(FIGURES, 0.0) | {"equity": float(state.equity), "cash": float(state.cash)}

    def params_of(self, market: Market) -> EnvParams:
        """Return the numbers of the environment with the last bars, fees by their dates."""
        rates, caps = self.env.config.schedule.resolve(np.asarray(market.sessions))
        dtype = self._params.fee_rates.dtype
        held = self._params.market
        market = jax.tree.map(jnp.asarray, market.replace(labels=None, sector=None))
        market = market.replace(labels=held.labels, feature_names=held.feature_names, sector=held.sector)
        return self._params.replace(
            market=market, fee_rates=jnp.asarray(rates, dtype), fee_caps=jnp.asarray(caps, dtype)
        )

    def try_action(self, action: np.ndarray, market: Market) -> tuple[Runner, Records]:
        """Return where an action would lead over the second bar of a market whose first is the last one known."""
        runner = self.runner.replace(state=_moved(self.runner.state))
        after, records = play_action(self.env, jnp.asarray(action), self.params_of(market), runner)
        # Picked apart on the host: each slice of a device's array would be a program of its own.
        return after, jax.device_get(records)

    def step(self, action: np.ndarray, market: Market) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Play an action over the bar that has closed; return the figures of the account and its fills.

        Args:
            action: of the close before.
            market: of `BarWindow.market`, its middle row the bar that has closed.

        Returns:
            Figures by the names of `FIGURES`, and the rows of a ledger's fills; their `bar` is 0 for one that traded
            at the close that was observed and 1 for the bar itself.
        """
        self.runner, records = self.try_action(action, market)
        one = {name: float(records[name][0, 0]) for name in FIGURES}
        return one, self.fills(records, market)

    def expect(
        self, action: np.ndarray, market: Market, symbols: tuple[str, ...]
    ) -> tuple[Estimate, list[dict[str, Any]]]:
        """Return what an action does over a bar flat at the last closes, to positions and as orders.

        Args:
            action: at the close of the last bar.
            market: of `BarWindow.market`.
            symbols: the A tickers.

        Returns:
            The estimate; and orders as `Journal.write_order` takes them, without bar and name.
        """
        config = self.env.config
        reach = 2e-4 * config.limit_offset_bps if config.order_type == "limit" else 0.0
        flat = jax.tree.map(lambda x: np.asarray(x)[[1, 2, 2]], market.replace(path_end=None, sector=None, labels=None))
        low, high = (np.array(flat.close) for _ in range(2))
        low[1] *= 1 - min(reach, 0.99)
        high[1] *= 1 + reach
        flat = flat.replace(low=low, high=high, labels=market.labels, path_end=np.full(3, 2, np.int32))
        after, records = self.try_action(action, flat)
        traded, planned = np.zeros(len(symbols)), []
        for fill in self.fills(records, flat):
            sign = 1 if fill["side"] == "buy" else -1
            if fill["reason"] == "order":
                traded[symbols.index(fill["ticker"])] += sign * fill["shares"] * fill["price"]
            planned.append({name: fill[name] for name in ("ticker", "side", "shares", "price", "reason")})
            planned[-1]["status"] = "planned"
        state = jax.tree.map(lambda x: x[0], after.state)
        weight = np.asarray(state.shares * flat.close[1] / state.equity, np.float64)
        return Estimate(traded, weight), planned

    def fills(self, records: Records, market: Market) -> list[dict[str, Any]]:
        """Return the fills of one step as rows of a ledger."""
        if not any(np.asarray(fill.shares).any() for fill in records["fills"]):
            return []
        two = market.replace(sector=None, path_end=None, labels=None)
        two = jax.tree.map(lambda x: x[:2], two).replace(labels=_first_two(market))
        table = fill_table(jax.tree.map(lambda x: x[:, 0], records["fills"]), self.env.config, two)
        return table.drop(columns="date").to_dict("records")

    def decide(self, market: Market) -> Decision:
        """Return what the agent does at the close of the last bar; a network that remembers takes it in."""
        args = self.agent.params, self.params_of(market), self.runner.state, self.memory
        seen, action, outputs, self.memory = _decide(self.env, self.agent.network, *args)
        return Decision(np.asarray(action[0]), np.asarray(outputs[0]), seen)

    def to_bytes(self, **more: np.ndarray) -> bytes:
        """Return all that a later process needs to go on, and more arrays."""
        leaves = jax.tree.leaves((self.runner.state, self.runner.step, self.memory))
        file = io.BytesIO()
        own = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        np.savez(file, allow_pickle=False, **own, **more)
        return file.getvalue()

    def from_bytes(self, data: bytes) -> dict[str, np.ndarray]:
        """Take up where `to_bytes` was called; return the other arrays.

        Raises:
            ValueError: if the account has other rules.
        """
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        tree = self.runner.state, self.runner.step, self.memory
        leaves, structure = jax.tree.flatten(tree)
        known = [arrays.pop(f"leaf_{i}", None) for i in range(len(leaves))]
        if any(x is None or x.shape != leaf.shape for x, leaf in zip(known, leaves, strict=True)):
            raise ValueError("The journal's account is kept by other rules than the agent's; give another journal.")
        state, step, self.memory = jax.tree.unflatten(structure, [jnp.asarray(x) for x in known])
        self.runner = self.runner.replace(state=state, step=step)
        return arrays


def _first_two(market: Market) -> Labels | None:
    return None if market.labels is None else market.labels.rows(slice(0, 2))


def hash_of(seen: Observation) -> str:
    """Return a hash of what was seen of the account, 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for leaf in jax.tree.leaves(seen.replace(t=None)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


@partial(jax.jit, static_argnums=(0, 1))
def _decide(
    env: TradingEnv,
    network: Network,
    agent: AgentParams,
    params: EnvParams,
    state: EnvState,
    memory: Float[Array, "*members blocks A kept"] | None,
) -> tuple[Observation, Num[Array, "E actions *edges"], Float[Array, "E *N A outputs"], Any]:
    seen = jax.vmap(env.observe, in_axes=(0, None))(state, params)
    return seen, *act_next(network, agent, params.market, seen, memory)


@jax.jit
def _moved(state: EnvState) -> EnvState:
    """Return accounts `[E]` that stand in the second row as they stand in the first, all rows one less."""
    # Rows of the past lie below 0, where -1 means not held too: shares tell.
    entry = jnp.where(state.shares != 0, state.entry_bar - 1, NOT_HELD)
    phase = None if state.phase is None else state.phase - 1
    return state.replace(t=state.t - 1, entry_bar=entry, phase=phase)
