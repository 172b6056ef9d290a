"""Random markets, accounts and actions for the environment's tests, and one compiled run over them.

A market here holds what real ones hold: bars that are missing or do not trade, late listings, delistings, assets that
leave a universe and come back, splits on traded and on missing bars, dividends, gaps through stops, weekends, bars of
little or no volume, spreads and impact that are not the usual ones.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState, Info
from ploutos_jax.market.instrument import US_EQUITY, Instrument
from ploutos_jax.market.labels import Labels
from ploutos_jax.market.panel import SCALES, Market

PRICES = ("open", "high", "low", "close")

NUM_BARS, NUM_ASSETS, NUM_ACCOUNTS = 64, 4, 40
"""The usual size: tests that keep to it share compiled programs."""


SECTORS = np.array(["Energy", "Health"])


def make_labels(num_bars: int, sectors: np.ndarray) -> Labels:
    """Return labels of assets in some sectors."""
    times = np.datetime64("2019-01-01", "ns") + np.arange(num_bars) * np.timedelta64(1, "h")
    kinds = (Instrument(US_EQUITY),) * len(sectors)
    return Labels(tuple(f"A{a}" for a in range(len(sectors))), tuple(sectors.tolist()), times, instruments=kinds)


def make_market(prices: dict[str, np.ndarray], dtype: Any = np.float32, **fields: Any) -> Market:
    """Return a market of broker-ready prices; whatever is not given is plain: tradable, one path, no events.

    Ranges, volatility and usual volume are known of no asset; sectors are two that take turns.
    """
    num_bars, num_assets = prices["close"].shape
    unknown = np.zeros((num_bars, num_assets), dtype)
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
        "atr": unknown,
        "volatility": unknown,
        "adv": unknown,
        "labels": make_labels(num_bars, SECTORS[np.arange(num_assets) % len(SECTORS)]),
    }
    floats = {name: x.astype(dtype) for name, x in fields.items() if getattr(x, "dtype", None) == np.float64}
    return Market(**{name: prices[name].astype(dtype) for name in PRICES}, **(settings | fields | floats))


def calm_market(close: np.ndarray, **fields: np.ndarray) -> Market:
    """Return a market whose bars are all at their close, of the same structure as a random one."""
    shape = close.shape
    events = {"delisted": np.zeros(shape, bool), "split": np.ones(shape), "dividend": np.zeros(shape)}
    events |= {name: np.ones(shape) for name in SCALES} | {"buyable": np.ones(shape, bool)}
    return make_market(dict.fromkeys(PRICES, close), **(events | fields))


def random_market(
    seed: int,
    num_bars: int = NUM_BARS,
    num_assets: int = NUM_ASSETS,
    dtype: Any = np.float32,
    *,
    plain: bool = False,
    intraday: bool = False,
) -> Market:
    """Draw a market; a `plain` one has no missing bars and no corporate events (the fields are None).

    The asset in the last column is listed late, the one in the column before it is delisted. Each bar is a session of
    its own, on weekdays, unless it is `intraday`: then sessions have five bars or so.
    """
    rng = np.random.default_rng(seed)
    shape = (num_bars, num_assets)
    split = np.where(rng.random(shape) < 0.03, rng.choice([0.1, 0.5, 1.5, 2.0, 7.0], shape), 1.0)
    split[0] = 1.0
    prices = _random_prices(rng, np.cumprod(split, axis=0) if not plain else np.ones(shape))
    activity = _random_activity(np.random.default_rng([seed, 3]), prices["close"], intraday)
    if plain:
        return make_market(prices, dtype, **activity)

    exists = rng.random(shape) > 0.04
    listed = int(rng.integers(1, num_bars // 2))
    exists[:listed, -1], exists[listed, -1] = False, True
    tradable = exists & (rng.random(shape) > 0.04)
    delisted = np.zeros(shape, bool)
    if num_assets > 1:
        final = int(rng.integers(num_bars // 3, num_bars - 2))
        exists[final, -2] = tradable[final, -2] = delisted[final + 1, -2] = True
        tradable[final + 1 :, -2] = False
        # Some go on to print prices that nobody can trade at.
        exists[final + 1 :, -2] &= rng.random() < 0.5
    dividend = np.where(rng.random(shape) < 0.03, rng.uniform(0, 0.03, shape) * prices["close"], 0.0)
    _carry_closes(prices, exists, split)
    events = {"tradable": tradable, "delisted": delisted, "dividend": dividend, "split": split}
    events["buyable"] = _random_members(seed, shape)
    return make_market(prices, dtype, **events, **activity, **_random_scales(seed, shape))


def _random_activity(rng: np.random.Generator, close: np.ndarray, intraday: bool) -> dict[str, Any]:
    """Draw what a bar traded, what is known of that beforehand, and which day and sector it belongs to."""
    shape = close.shape
    dollars = np.exp(rng.uniform(np.log(1e4), np.log(1e8), shape[1])) * np.exp(rng.normal(0, 0.5, shape))
    volume = dollars / close * np.exp(rng.normal(0, 0.5, shape))
    volume *= rng.choice([1.0, 1e-3, 0.0], shape, p=[0.88, 0.07, 0.05])
    first, days = 18_000, rng.choice([1, 1, 1, 1, 3], shape[0])
    if intraday:
        days *= rng.random(shape[0]) < 0.2
    known = {"atr": rng.uniform(0.004, 0.06, shape), "volatility": rng.uniform(0.004, 0.05, shape), "adv": dollars}
    sectors = rng.permutation(SECTORS[np.arange(shape[1]) % len(SECTORS)])
    return {
        **{name: np.where(rng.random(shape) < 0.08, 0.0, values) for name, values in known.items()},
        "volume": volume,
        "sessions": (first + np.cumsum(days)).astype(np.int32),
        "labels": make_labels(shape[0], sectors),
    }


def _random_members(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw where assets belong to a universe: each leaves for a while, some for good, one before it has joined."""
    rng = np.random.default_rng([seed, 8])
    left = rng.integers(0, shape[0], shape[1])
    back = left + rng.integers(1, shape[0] // 2, shape[1])
    row = np.arange(shape[0])[:, None]
    return (row < left) | (row >= back)


def _random_scales(seed: int, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Draw multiples of spread and impact: 1 in most bars, as often less as more in the others."""
    rng = np.random.default_rng([seed, 7])
    drawn = {name: np.exp(rng.uniform(-np.log(30), np.log(30), shape)) for name in SCALES}
    return {name: np.where(rng.random(shape) < 0.7, 1.0, scale) for name, scale in drawn.items()}


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


RULE_NUMBERS: dict[str, tuple[float, float]] = {
    "max_sector_pct": (0.1, 1.0),
    "target_volatility": (0.02, 1.0),
    "risk_pct": (0.001, 0.05),
    "risk_atr": (0.5, 4.0),
    "bars_per_year": (50.0, 2_000.0),
    "drawdown_scaling": (0.05, 0.9),
    "no_trade_band": (0.002, 0.2),
    "lot_size": (0.1, 100.0),
    "max_participation": (0.001, 1.0),
    "min_holding_bars": (1, 9),
    "tick_size": (0.001, 0.5),
    "slippage_atr": (0.001, 0.5),
    "slippage_volatility": (0.001, 0.5),
    "slippage_noise": (0.01, 1.0),
    "impact": (0.02, 2.0),
    "commission_per_order_cash": (0.01, 5.0),
    "commission_min_cash": (0.01, 5.0),
    "trailing_stop": (0.002, 0.3),
    "break_even": (0.001, 0.2),
    "stop_loss_atr": (0.1, 5.0),
    "take_profit_atr": (0.1, 8.0),
    "trailing_atr": (0.1, 5.0),
    "max_holding_bars": (1, 30),
    "drawdown_halt": (0.03, 0.9),
    "cash_rate": (0.001, 0.3),
    "day_trade_equity_cash": (1e3, 1e7),
}
"""The same for the numbers of rules that are off by default; each is drawn so that small ones are as many as large."""

IN_BARS = ("min_holding_bars", "max_holding_bars")

ACCOUNT_NUMBERS = ("initial_cash", "limit_offset", *NUMBERS, *RULE_NUMBERS)
"""What every account of a run may have its own value of."""


def random_numbers(seed: int, num_accounts: int = NUM_ACCOUNTS, *, rules: bool = False) -> dict[str, np.ndarray]:
    """Draw `[N]` values of the numbers in `EnvParams`; each cost is 0 in a third of the accounts.

    With `rules`, those of all rules are drawn, else those of `NUMBERS`.
    """
    rng = np.random.default_rng([seed, 1])
    drawn = {name: rng.uniform(*span, num_accounts) for name, span in NUMBERS.items()}
    # As many small ones as large ones: some lie inside the spread.
    drawn |= {n: np.exp(rng.uniform(*np.log(NUMBERS[n]), num_accounts)) for n in ("stop_loss", "take_profit")}
    for name in ("spread", "slippage", "commission", "commission_per_share_cash"):
        drawn[name] *= rng.random(num_accounts) < 2 / 3
    # Some brokers cost more per share than a penny stock is worth.
    drawn["commission_per_share_cash"] *= np.where(rng.random(num_accounts) < 0.1, 100, 1)
    drawn |= {"initial_cash": np.exp(rng.uniform(np.log(500), np.log(1e7), num_accounts))}
    # Drawn apart: the other numbers of a seed stay what they were.
    drawn["limit_offset"] = np.random.default_rng([seed, 9]).choice([0.0, 0.001, 0.005, 0.02], num_accounts)
    return drawn | _random_rule_numbers(rng, num_accounts) if rules else drawn


def _random_rule_numbers(rng: np.random.Generator, num_accounts: int) -> dict[str, np.ndarray]:
    drawn = {name: np.exp(rng.uniform(*np.log(span), num_accounts)) for name, span in RULE_NUMBERS.items()}
    for name in ("commission_per_order_cash", "commission_min_cash"):
        drawn[name] *= rng.random(num_accounts) < 1 / 3
    whole = rng.random(num_accounts) < 0.7
    drawn["lot_size"] = np.where(whole, np.ceil(drawn["lot_size"]), drawn["lot_size"])
    return drawn | {name: np.floor(drawn[name]).astype(np.int32) for name in IN_BARS}


def random_fees(seed: int, num_kinds: int, num_bars: int = NUM_BARS) -> tuple[np.ndarray, np.ndarray]:
    """Draw rates and caps `[K, T]` of kinds of fees, the even ones on dollars and the odd ones per share.

    Some rates are 0, some are large; half of the caps is inf.
    """
    rng = np.random.default_rng([seed, 4])
    shape = (num_kinds, num_bars)
    rates = np.exp(rng.uniform(np.log(1e-6), np.log(3e-3), shape)) * (rng.random(shape) < 0.9)
    rates[1::2] *= 10
    return rates, np.where(rng.random(shape) < 0.5, np.exp(rng.uniform(np.log(0.01), np.log(10), shape)), np.inf)


def random_noise(
    seed: int, num_steps: int = NUM_BARS - 1, num_accounts: int = NUM_ACCOUNTS, num_assets: int = NUM_ASSETS
) -> np.ndarray:
    """Draw `[S, N, A]` standard normal numbers."""
    return np.random.default_rng([seed, 5]).normal(size=(num_steps, num_accounts, num_assets))


def random_actions(
    seed: int,
    kind: str = "discrete",
    num_steps: int = NUM_BARS - 1,
    num_accounts: int = NUM_ACCOUNTS,
    num_assets: int = NUM_ASSETS,
) -> np.ndarray:
    """Draw `[S, N, A]` orders, or `[S, N, A]` or `[S, N, A + 1]` weights for `kind` "weights" or "weights+cash".

    Weights add up to less or more than 1; some are NaN, 0 or negative. For `kind` "levels" there are `[S, N, A]` of
    them, for "bands" `[S, N, A, 2]` edges: narrow and wide, some upside down, some from nothing to nothing.
    """
    rng = np.random.default_rng([seed, 2])
    if kind == "levels":
        keeps = rng.uniform(0.1, 0.9, (1, num_accounts, 1))
        levels = rng.integers(1, 5, (num_steps, num_accounts, num_assets))
        return np.where(rng.random(levels.shape) < keeps, 0, levels).astype(np.int32)
    if kind == "bands":
        middle = random_actions(seed, "weights", num_steps, num_accounts, num_assets)
        reach = np.where(middle == 0, 0, rng.normal(0.1, 0.1, middle.shape) * rng.choice([0.1, 1.0], middle.shape))
        edges = middle[..., None] + reach[..., None] * np.array([-1, 1])
        half_kept = rng.random(middle.shape) < 0.03
        edges[..., 1] = np.where(half_kept, np.nan, edges[..., 1])
        return edges
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


ACCOUNT_AXES = EnvParams(
    **{field.name: 0 if field.name in ACCOUNT_NUMBERS else None for field in dataclasses.fields(EnvParams)}  # type: ignore[arg-type]
)


@functools.cache
def compiled_run(config: EnvConfig) -> Any:
    """Return a compiled `(params with [N] numbers, actions [S, N, ...], noise, last bar) -> Trace`, without resets."""
    env = TradingEnv(config)

    def run(params: EnvParams, actions: jax.Array, noise: jax.Array | None, end: jax.Array) -> Trace:
        def step(state: EnvState, given: tuple[jax.Array, jax.Array | None]) -> tuple[EnvState, Trace]:
            _, state, reward, terminated, truncated, info = jax.vmap(env.advance, in_axes=(0, 0, 0, ACCOUNT_AXES))(
                state, *given, params
            )
            return state, Trace(state, reward, terminated, truncated, info)

        reset = jax.vmap(lambda p: env.reset_at(0, end, p)[1], in_axes=(ACCOUNT_AXES,))
        return jax.lax.scan(step, reset(params), (actions, noise))[1]

    return jax.jit(run)


def make_config(kind: str = "discrete", num_bars: int = NUM_BARS, **settings: Any) -> EnvConfig:
    """Return a configuration for actions of `kind` and an episode as long as a market of `num_bars`.

    The cap per asset is that of many assets, so that the few of these markets meet it.
    """
    action = kind.removesuffix("+cash")
    return EnvConfig(**{"action": action, "episode_length": num_bars - 1, "max_position_pct": 0.25, **settings})


def make_params(config: EnvConfig, market: Market, numbers: dict[str, Any]) -> EnvParams:
    """Return the parameters of `config` with some numbers replaced, in the market's dtype."""
    params = TradingEnv(config).default_params(market)
    return params.replace(**{name: jnp.asarray(value, getattr(params, name).dtype) for name, value in numbers.items()})


def simulate(
    config: EnvConfig,
    market: Market,
    numbers: dict[str, Any],
    actions: np.ndarray,
    noise: np.ndarray | None = None,
) -> Trace:
    """Run N accounts from the first bar, in the precision of the market; arrays come back to the host.

    A number is one for all accounts or, for those in `ACCOUNT_NUMBERS`, `[N]`; what is not given is as in `config`.
    Actions are `[S, N, ...]`; noise is `[S, N, A]`, for a `config` with `slippage_noise`.
    """
    with jax.enable_x64(market.close.dtype == np.float64):
        params = make_params(config, market, numbers)
        own = {name: jnp.broadcast_to(getattr(params, name), actions.shape[1]) for name in ACCOUNT_NUMBERS}
        if actions.dtype == np.float64:
            actions = actions.astype(market.close.dtype)
        # The step reads the episode's end from the state: one program serves all lengths.
        run = compiled_run(dataclasses.replace(config, episode_length=1))
        trace = jax.device_get(run(params.replace(**own), actions, noise, np.int32(config.episode_length)))
    assert trace.state.equity.dtype == market.close.dtype
    return trace
