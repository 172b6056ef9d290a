"""Replaying golden traces in the environment and in the reference broker."""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import HOLD, ORDER, STOP, TARGET, TIME, TRAILING, EnvParams
from tests.env.worlds import make_market
from tests.oracles.bars import GOLDEN, NUM_BARS
from tests.reference.broker import ReferenceBroker

OFF: dict[str, Any] = {
    "stop_loss": 1.0,
    "take_profit": 1e9,
    "trailing_stop": 1.0,
    "break_even": 1e9,
    "stop_loss_atr": 1e9,
    "take_profit_atr": 1e9,
    "trailing_atr": 1e9,
    "max_holding_bars": 10**6,
}
"""Every exit is in the program; what a trace does not set is out of reach."""

PLAIN: dict[str, Any] = {
    "action": "weights",
    "max_position_pct": 1.0,
    "min_order_cash": 0.0,
    "spread_bps": 0.0,
    "slippage_bps": 0.0,
    "tick_size": None,
    "fees": "none",
    "day_trade_rule": "none",
    "ruin_pct": 0.0,
}
"""What no engine has is off."""

STATIC = ("action", "fill", "lot_size", "max_participation")
"""Settings of traces that are another program."""

KINDS = {ORDER: "order", STOP: "stop", TARGET: "target", TRAILING: "trailing", TIME: "time"}

FIELDS = ("volume", "atr")
"""What a trace may hold beside prices."""

Prices = dict[str, np.ndarray]
Row = tuple[int, int, float, float, float, str]
"""A fill: bar, asset, shares (sold below 0), price, fee, kind."""


class Replay(NamedTuple):
    """What an account went through, at the closes of bars 1, 2, ...: `[S]`, `[S]`, `[S, A]`, and its fills."""

    equity: np.ndarray
    cash: np.ndarray
    shares: np.ndarray
    fills: list[Row]


@functools.cache
def load(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def read_prices(bars: dict[str, Any], num_assets: int) -> Prices:
    """Return `[T, A]` bars, the last one repeated and assets of flat bars added as far as they lack any."""
    prices = {name: np.array(rows, np.float64) for name, rows in bars.items()}
    num_bars, given = prices["close"].shape
    repeats = np.minimum(np.arange(NUM_BARS), num_bars - 1)
    flat = np.full((NUM_BARS, num_assets - given), 100.0)
    return {name: np.concatenate([x[repeats], flat], axis=1) for name, x in prices.items()}


def read_actions(trace: dict[str, Any], num_assets: int) -> np.ndarray:
    """Return `[S, A]` target weights, or orders where the trace is of discrete actions."""
    discrete = trace["account"].get("action") == "discrete"
    actions = np.full((NUM_BARS - 1, num_assets), HOLD if discrete else np.nan, np.int32 if discrete else np.float64)
    for bar, asset, action in trace["actions"]:
        actions[bar, asset] = action
    return actions


def in_order(fills: list[Row]) -> list[Row]:
    return sorted(fills, key=lambda fill: (fill[0], fill[1], fill[5] != "order"))


@functools.cache
def compiled_run(config: EnvConfig) -> Callable[..., Any]:
    env = TradingEnv(config)

    def run(params: EnvParams, actions: jax.Array) -> Any:
        def step(state: Any, action: jax.Array) -> Any:
            _, state, _, _, _, info = env.step_env(jax.random.key(0), state, action, params)
            return state, (state.equity, info["cash"], state.shares, info["fills"])

        return jax.lax.scan(step, env.reset_at(0, len(actions), params)[1], actions)[1]

    return jax.jit(run)


def replay_env(account: dict[str, Any], prices: Prices, actions: np.ndarray) -> Replay:
    """Trade in the environment, in float64."""
    static = {name: account[name] for name in STATIC if name in account}
    program = EnvConfig(
        **PLAIN | dict.fromkeys(OFF, 0.5) | {"max_holding_bars": 1} | static, episode_length=len(actions)
    )
    config = dataclasses.replace(program, **{name: value for name, value in account.items() if name not in OFF})
    with jax.enable_x64(True):
        fields = {"atr": np.zeros_like(prices["close"])} | {name: prices[name] for name in FIELDS if name in prices}
        params = TradingEnv(config).default_params(make_market(prices, np.float64, **fields))
        exits = {name: jnp.asarray(account.get(name, off), getattr(params, name).dtype) for name, off in OFF.items()}
        equity, cash, shares, moments = jax.device_get(compiled_run(program)(params.replace(**exits), actions))
    assert equity.dtype == np.float64
    fills: list[Row] = []
    for place, fill in enumerate(moments):
        before = account["fill"] == "same_close" and place < 2
        for step, asset in np.argwhere(fill.shares != 0).tolist():
            numbers = tuple(float(x[step, asset]) for x in (fill.shares, fill.price, fill.fee_cash))
            fills.append((step + (not before), asset, *numbers, KINDS[int(fill.reason[step, asset])]))
    return Replay(equity, cash, shares, in_order(fills))


def replay_reference(account: dict[str, Any], prices: Prices, actions: np.ndarray) -> Replay:
    """Trade with the reference broker."""
    settings = PLAIN | {"tick_size": 0.0, "fees": ()} | dict.fromkeys(OFF) | account
    broker = ReferenceBroker(**prices, tradable=np.ones(prices["close"].shape, bool), **settings)
    rows, fills = [], []
    for t, action in enumerate(actions):
        for fill in broker.step(action)["fills"]:
            early = account["fill"] == "same_close" and fill.reason == "order"
            numbers = (fill.side * fill.shares, fill.price, fill.fee)
            fills.append((t if early else t + 1, fill.asset, *numbers, fill.reason))
        rows.append((broker.equity, broker.cash, np.array(broker.shares)))
    equity, cash, shares = (np.array(column) for column in zip(*rows, strict=True))
    return Replay(equity, cash, shares, in_order(fills))


def after_orders_at_close(replay: Replay, prices: Prices) -> Replay:
    """Return the replay with each bar marked after the orders that fill at its close, before which ours is marked."""
    cash, shares = replay.cash.copy(), replay.shares.copy()
    for bar, asset, signed, price, fee, kind in replay.fills:
        if kind == "order":
            cash[bar - 1] -= signed * price + fee
            shares[bar - 1, asset] += signed
    return replay._replace(cash=cash, shares=shares, equity=cash + (shares * prices["close"][1:]).sum(axis=1))
