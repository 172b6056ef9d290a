"""Random markets, accounts and actions for the environment's tests, and one compiled run over them.

A market here holds what real ones hold: bars that are missing or do not trade, late listings, delistings, splits on
traded and on missing bars, dividends, gaps through stops.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvConfig, EnvParams, EnvState, Info
from ploutos_jax.market.panel import Market

PRICES = ("open", "high", "low", "close")

NUM_BARS, NUM_ASSETS, NUM_ACCOUNTS = 64, 4, 40
"""The usual size: tests that keep to it share compiled programs."""


def make_market(prices: dict[str, np.ndarray], dtype: Any = np.float32, **fields: Any) -> Market:
    """Return a market of broker-ready prices; whatever is not given is plain: tradable, one path, no events."""
    num_bars, num_assets = prices["close"].shape
    known = prices["close"] > 0
    features = np.zeros((num_bars, num_assets, 2))
    features[1:, :, 0] = prices["close"][1:] / np.where(known, prices["close"], 1)[:-1] - 1
    features[..., 1] = known
    settings = {
        "volume": np.full((num_bars, num_assets), 1e6, dtype),
        "tradable": known,
        "delisted": None,
        "sessions": np.arange(num_bars, dtype=np.int32) + 18_000,
        "path_end": np.full(num_bars, num_bars - 1, np.int32),
        "features": features.astype(dtype),
    }
    floats = {name: x.astype(dtype) for name, x in fields.items() if getattr(x, "dtype", None) == np.float64}
    return Market(**{name: prices[name].astype(dtype) for name in PRICES}, **(settings | fields | floats))


def calm_market(close: np.ndarray, **fields: np.ndarray) -> Market:
    """Return a market whose bars are all at their close, of the same structure as a random one."""
    shape = close.shape
    events = {"delisted": np.zeros(shape, bool), "split": np.ones(shape), "dividend": np.zeros(shape)}
    return make_market(dict.fromkeys(PRICES, close), **(events | fields))


def random_market(
    seed: int,
    num_bars: int = NUM_BARS,
    num_assets: int = NUM_ASSETS,
    dtype: Any = np.float32,
    *,
    plain: bool = False,
) -> Market:
    """Draw a market; a `plain` one has no missing bars and no corporate events (the fields are None).

    The asset in the last column is listed late, the one in the column before it is delisted.
    """
    rng = np.random.default_rng(seed)
    shape = (num_bars, num_assets)
    split = np.where(rng.random(shape) < 0.03, rng.choice([0.1, 0.5, 1.5, 2.0, 7.0], shape), 1.0)
    split[0] = 1.0
    prices = _random_prices(rng, np.cumprod(split, axis=0) if not plain else np.ones(shape))
    if plain:
        return make_market(prices, dtype)

    exists = rng.random(shape) > 0.04
    listed = int(rng.integers(1, num_bars // 2))
    exists[:listed, -1], exists[listed, -1] = False, True
    tradable = exists & (rng.random(shape) > 0.04)
    delisted = np.zeros(shape, bool)
    if num_assets > 1:
        final = int(rng.integers(num_bars // 3, num_bars - 2))
        exists[final, -2] = tradable[final, -2] = delisted[final + 1, -2] = True
        tradable[final + 1 :, -2] = False
        # Some go on to print prices that nobody can trade at, such as a stock that leaves the universe.
        exists[final + 1 :, -2] &= rng.random() < 0.5
    dividend = np.where(rng.random(shape) < 0.03, rng.uniform(0, 0.03, shape) * prices["close"], 0.0)
    _carry_closes(prices, exists, split)
    return make_market(prices, dtype, tradable=tradable, delisted=delisted, dividend=dividend, split=split)


def _random_prices(rng: np.random.Generator, shares_per_first: np.ndarray) -> dict[str, np.ndarray]:
    shape = shares_per_first.shape
    gap = rng.normal(0, 0.01, shape) + np.where(rng.random(shape) < 0.05, rng.normal(0, 0.12, shape), 0)
    move = rng.normal(0, 0.02, shape)
    path = np.log(rng.uniform(2, 400, shape[1])) + np.cumsum(gap + move, axis=0)
    scale = np.exp(path) / shares_per_first
    first, close = scale * np.exp(-move), scale
    high = np.maximum(first, close) * np.exp(np.abs(rng.normal(0, 0.012, shape)))
    low = np.minimum(first, close) * np.exp(-np.abs(rng.normal(0, 0.012, shape)))
    return {"open": first, "high": high, "low": low, "close": close}


def _carry_closes(prices: dict[str, np.ndarray], exists: np.ndarray, split: np.ndarray) -> None:
    """Write into each missing bar the last close known, in shares of that day; 0 before the first bar."""
    last = np.zeros(exists.shape[1])
    for t in range(len(exists)):
        last = last / split[t]
        for name in PRICES:
            prices[name][t] = np.where(exists[t], prices[name][t], last)
        last = prices["close"][t]


NUMBERS: dict[str, tuple[float, float]] = {
    "buy_pct": (0.02, 1.0),
    "max_position_pct": (0.05, 1.0),
    "stop_loss": (0.002, 0.2),
    "take_profit": (0.002, 0.3),
    "spread": (0.0, 0.01),
    "slippage": (0.0, 0.005),
    "commission": (0.0, 0.01),
    "commission_per_share_cash": (0.0, 0.05),
    "min_order_cash": (0.01, 20.0),
    "delisting_recovery": (0.0, 1.0),
    "ruin_pct": (0.0, 0.5),
}
"""The span from which each number of `EnvParams` is drawn, beside `initial_cash`."""


def random_numbers(seed: int, num_accounts: int = NUM_ACCOUNTS) -> dict[str, np.ndarray]:
    """Draw `[N]` values of every number in `EnvParams`; each cost is 0 in a third of the accounts."""
    rng = np.random.default_rng([seed, 1])
    drawn = {name: rng.uniform(*span, num_accounts) for name, span in NUMBERS.items()}
    # As many small ones as large ones: some lie inside the spread.
    drawn |= {n: np.exp(rng.uniform(*np.log(NUMBERS[n]), num_accounts)) for n in ("stop_loss", "take_profit")}
    for name in ("spread", "slippage", "commission", "commission_per_share_cash"):
        drawn[name] *= rng.random(num_accounts) < 2 / 3
    # Some brokers cost more per share than a penny stock is worth.
    drawn["commission_per_share_cash"] *= np.where(rng.random(num_accounts) < 0.1, 100, 1)
    return drawn | {"initial_cash": np.exp(rng.uniform(np.log(500), np.log(1e7), num_accounts))}


def random_actions(
    seed: int,
    kind: str = "discrete",
    num_steps: int = NUM_BARS - 1,
    num_accounts: int = NUM_ACCOUNTS,
    num_assets: int = NUM_ASSETS,
) -> np.ndarray:
    """Draw `[S, N, A]` orders, or `[S, N, A]` or `[S, N, A + 1]` weights for `kind` "weights" or "weights+cash".

    Weights add up to less or more than 1; some are NaN, 0 or negative.
    """
    rng = np.random.default_rng([seed, 2])
    if kind == "discrete":
        appetite = rng.uniform(0.05, 0.9, (1, num_accounts, 1))
        draw = rng.random((num_steps, num_accounts, num_assets))
        return np.where(draw < appetite, 1, np.where(draw < appetite + 0.1, 2, 0)).astype(np.int32)
    shape = (num_steps, num_accounts, num_assets + (kind == "weights+cash"))
    weights = rng.uniform(-0.2, 1.0, shape) * rng.choice([0.3, 1.0, 3.0], (1, num_accounts, 1)) / num_assets
    weights[rng.random(shape) < 0.15] = 0.0
    weights[rng.random(shape) < rng.choice([0.0, 0.3, 0.8], (1, num_accounts, 1))] = np.nan
    return weights


class Trace(NamedTuple):
    """What N accounts went through in S steps; arrays `[S, N, ...]`, `state` after each step."""

    state: EnvState
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    info: Info


ACCOUNT_AXES = EnvParams(market=None, starts=None, **dict.fromkeys((*NUMBERS, "initial_cash"), 0))  # type: ignore[arg-type]


@functools.cache
def compiled_run(config: EnvConfig) -> Any:
    """Return a compiled `(params with [N] numbers, actions [S, N, ...], last bar) -> Trace`, without resets."""
    env = TradingEnv(config)

    def run(params: EnvParams, actions: jax.Array, end: jax.Array) -> Trace:
        def step(state: EnvState, action: jax.Array) -> tuple[EnvState, Trace]:
            _, state, reward, terminated, truncated, info = jax.vmap(env.step_env, in_axes=(None, 0, 0, ACCOUNT_AXES))(
                jax.random.key(0), state, action, params
            )
            return state, Trace(state, reward, terminated, truncated, info)

        reset = jax.vmap(lambda p: env.reset_at(0, end, p)[1], in_axes=(ACCOUNT_AXES,))
        return jax.lax.scan(step, reset(params), actions)[1]

    return jax.jit(run)


def make_config(kind: str = "discrete", num_bars: int = NUM_BARS, **settings: Any) -> EnvConfig:
    """Return a configuration for actions of `kind` and an episode as long as a market of `num_bars`."""
    action = "discrete" if kind == "discrete" else "weights"
    return EnvConfig(action=action, episode_length=num_bars - 1, **settings)


def make_params(config: EnvConfig, market: Market, numbers: dict[str, Any]) -> EnvParams:
    """Return the parameters of `config` with some numbers replaced, in the market's dtype."""
    params = TradingEnv(config).default_params(market)
    dtype = params.initial_cash.dtype
    return params.replace(**{name: jnp.asarray(value, dtype) for name, value in numbers.items()})


def simulate(config: EnvConfig, market: Market, numbers: dict[str, Any], actions: np.ndarray) -> Trace:
    """Run N accounts from the first bar, in the precision of the market; arrays come back to the host.

    A number is one for all accounts or `[N]`; what is not given is as in `config`. Actions are `[S, N, ...]`.
    """
    with jax.enable_x64(market.close.dtype == np.float64):
        params = make_params(config, market, numbers)
        names = (*NUMBERS, "initial_cash")
        params = params.replace(**{name: jnp.broadcast_to(getattr(params, name), actions.shape[1]) for name in names})
        if actions.dtype == np.float64:
            actions = actions.astype(market.close.dtype)
        # The step reads the episode's end from the state: one program serves all lengths.
        run = compiled_run(dataclasses.replace(config, episode_length=1))
        trace = jax.device_get(run(params, actions, np.int32(config.episode_length)))
    assert trace.state.equity.dtype == market.close.dtype
    return trace
