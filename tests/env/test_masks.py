"""Action masks: what is taken away would have changed nothing, by the broker itself, and the table on the page.

The table is worked out here in NumPy from docs/broker.md; soundness is tried out: accounts in random markets under all
rules step once with random orders and once with what is masked of them held.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.masks import valid_actions
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import BUY, MAY_BUY, MAY_SELL, SELL, EnvState
from ploutos_jax.market.panel import Market
from tests.env.worlds import (
    ACCOUNT_AXES,
    ACCOUNT_NUMBERS,
    NUM_ACCOUNTS,
    NUM_ASSETS,
    calm_market,
    make_config,
    make_params,
    random_actions,
    random_market,
    random_noise,
    random_numbers,
    simulate,
)
from tests.marks import thorough_but

COMMON: dict[str, Any] = {
    "fees": "none",
    "drawdown_scaling": 0.5,
    "min_holding_bars": 2,
    "slippage_noise": 0.1,
    "sizing": "atr",
    "trailing_stop": 0.05,
}
RULES: dict[str, dict[str, Any]] = {
    "open": {"day_trade_rule": "pdt_2001", "day_trade_mode": "both", "max_trades_per_day": 6, "drawdown_halt": 0.2},
    "carried": {"max_participation": 0.1, "remainder": "carry", "max_trades_per_day": 4, "settlement_days": 1},
    "close": {"fill": "next_close", "day_trade_rule": "by_date", "day_trade_mode": "exit"},
    "same": {"fill": "same_close", "day_trade_rule": "pdt_2001", "day_trade_mode": "entry", "drawdown_halt": 0.2},
    "limit": {"order_type": "limit", "day_trade_rule": "pdt_2001", "day_trade_mode": "both", "decide_every": 2},
}
"""Programs in which every line of the table occurs, and every moment at which orders fill."""


class World(NamedTuple):
    """Accounts `[S, N]` somewhere in a market, the bars that their orders fill in `[S]`, and what they are told."""

    config: EnvConfig
    market: Market
    numbers: dict[str, np.ndarray]
    state: EnvState
    fills: np.ndarray
    valid: np.ndarray


def over_accounts(function: Any) -> Any:
    """Return a function of `(params with [N] numbers, [S, N] states, ...)`, compiled."""
    inner = jax.vmap(function, in_axes=(ACCOUNT_AXES, 0, 0, 0))
    return jax.jit(jax.vmap(inner, in_axes=(None, 0, 0, 0)))


@functools.cache
def world_of(name: str, seed: int = 3) -> World:
    config = make_config("discrete", action_masks="sound", **COMMON, **RULES[name])
    market = random_market(seed, dtype=np.float64, intraday=True)
    numbers = random_numbers(seed, rules=True)
    # Few accounts live long under strict rules: each binds in some of them.
    rng = np.random.default_rng([seed, 11])
    for number, loose in {"drawdown_halt": 0.99, "day_trade_equity_cash": 0.0, "min_holding_bars": 0}.items():
        numbers[number] = np.where(rng.random(NUM_ACCOUNTS) < 0.4, loose, numbers[number])
    numbers["min_holding_bars"] = numbers["min_holding_bars"].astype(np.int32)
    trace = simulate(config, market, numbers, random_actions(seed, num_accounts=NUM_ACCOUNTS), random_noise(seed))
    state = jax.tree.map(lambda x: x[:-1], trace.state)
    if state.flagged is not None:  # it takes an account that grew, was flagged and shrank
        state = state.replace(flagged=rng.random(state.t.shape) < 0.1)
    fills = state.t[:, 0] + (config.fill != "same_close")
    with jax.enable_x64(True):
        params = params_of(config, market, numbers)
        see = over_accounts(lambda params, state, *_: valid_actions(config, params, state))
        none = np.zeros(state.t.shape)
        valid = np.asarray(see(params, state, none, none))
    return World(config, market, numbers, state, fills, valid)


def params_of(config: EnvConfig, market: Market, numbers: dict[str, np.ndarray]) -> Any:
    params = make_params(config, market, numbers)
    return params.replace(**{name: jnp.broadcast_to(getattr(params, name), NUM_ACCOUNTS) for name in ACCOUNT_NUMBERS})


def step_all(world: World, actions: np.ndarray, noise: np.ndarray) -> tuple[EnvState, np.ndarray]:
    env = TradingEnv(world.config)

    def step(params: Any, state: Any, action: Any, noise: Any) -> tuple[EnvState, Any]:
        _, after, reward, *_ = env.advance(state, action, noise, params)
        return after, reward

    with jax.enable_x64(True):
        params = params_of(world.config, world.market, world.numbers)
        return jax.device_get(over_accounts(step)(params, world.state, actions, noise))


@pytest.mark.parametrize("name", thorough_but(["open"], RULES))
def test_what_is_masked_would_have_changed_nothing(name: str):
    world = world_of(name)
    market, valid = world.market, world.valid
    drawn = np.random.default_rng(5).integers(0, 3, valid.shape).astype(np.int32)
    # Only the bar itself tells that an asset has none, or is paid out.
    waits = market.tradable[world.state.t[:, 0]] & ~market.tradable[world.fills]
    drawn[np.broadcast_to(waits[:, None], drawn.shape) | market.delisted[world.fills].any(axis=1)[:, None, None]] = 0
    is_masked = ((drawn == BUY) & (valid & MAY_BUY == 0)) | ((drawn == SELL) & (valid & MAY_SELL == 0))
    held = np.where(is_masked, 0, drawn)
    assert is_masked.mean() > 0.05 and (~is_masked & (drawn != 0)).mean() > 0.05
    noise = np.random.default_rng(6).normal(size=drawn.shape)
    as_drawn, as_held = step_all(world, drawn, noise), step_all(world, held, noise)
    jax.tree.map(np.testing.assert_array_equal, as_drawn, as_held)
    traded = as_drawn[0].shares != world.state.shares
    assert traded[~is_masked & (drawn != 0)].mean() > 0.1, "what is not masked does something"


def table(world: World) -> tuple[np.ndarray, dict[str, int]]:
    """Return the bits of the table on the page, and how often each of its lines takes something away."""
    config, market, state = world.config, world.market, world.state
    number = {name: np.asarray(value)[None, :, None] for name, value in world.numbers.items()}
    t, row = state.t[..., None], world.fills[:, None, None]
    new = market.sessions[row] != market.sessions[t]
    held, equity = state.shares != 0, state.equity[..., None]
    drawdown = 1 - equity / state.peak_equity[..., None]
    scale = np.maximum(1 - drawdown / number["drawdown_scaling"], 0)
    atr = market.atr[state.t]
    risk = number["risk_atr"] * atr
    size = np.where(risk > 0, number["risk_pct"] * equity / np.where(risk > 0, risk, 1), number["buy_pct"] * equity)
    sells: dict[str, np.ndarray] = {
        "nothing to sell": ~held,
        "held too short": held & (row - state.entry_bar < number["min_holding_bars"]),
    }
    buys = {"no size": (size * scale < number["min_order_cash"]) | (scale == 0)}
    both = {"unseen": np.broadcast_to(~market.tradable[state.t], held.shape)}
    if state.halted is not None:
        both["halted"] = np.broadcast_to(state.halted[..., None], held.shape)
    if state.trades_today is not None:
        today = np.where(new, 0, state.trades_today[..., None])
        both["trades"] = np.broadcast_to(today >= config.max_trades_per_day, held.shape)
    if state.day_trades is not None:
        last = state.day_trades[..., -1:]
        count = state.day_trades.sum(axis=-1, keepdims=True) - np.where(new, last, 0)
        opened = state.opened_today & ~new
        start = np.where(new, equity, state.session_equity[..., None])
        ends = np.datetime64("2026-06-04").astype(int) if config.day_trade_rule == "by_date" else 2**31 - 1
        bound = (start < number["day_trade_equity_cash"]) & (market.sessions[row] < ends)
        buys["flagged"] = np.broadcast_to(bound & state.flagged[..., None], held.shape)
        if config.day_trade_mode != "exit":
            left = 3 - count - (opened & held).sum(axis=-1, keepdims=True)
            buys["fourth entry"] = bound & ~opened & (left <= 0)
        if config.day_trade_mode != "entry":
            sells["fourth exit"] = bound & opened & (count >= 3)
    working = np.zeros(held.shape, bool) if state.working_shares is None else state.working_shares != 0
    unseen = both["unseen"]
    counts = {name: int((off & ~unseen & ~working).sum()) for name, off in (sells | buys | both).items()}
    counts |= {"unseen": int(unseen.sum()), "working": int(working.sum())}
    no_buy = functools.reduce(np.logical_or, (buys | both).values()) & ~working | unseen
    no_sale = functools.reduce(np.logical_or, (sells | both).values()) & ~working | unseen
    bits = np.where(no_buy, 0, MAY_BUY) | np.where(no_sale, 0, MAY_SELL)
    if config.decide_every is not None:
        decides = (state.t - state.phase) % config.decide_every == 0
        bits = np.where(decides[..., None], bits, 0)
    return bits, counts


@pytest.mark.thorough
def test_masks_are_those_of_the_table():
    met: dict[str, int] = {}
    for name in RULES:
        world = world_of(name)
        bits, counts = table(world)
        np.testing.assert_array_equal(world.valid, bits, err_msg=name)
        met = {line: met.get(line, 0) + counts.get(line, 0) for line in met | counts}
    lines = {"nothing to sell", "held too short", "no size", "unseen", "halted", "trades", "flagged"}
    lines |= {"fourth entry", "fourth exit", "working"}
    assert {line for line, number in met.items() if number >= 10} == lines, met


@pytest.mark.parametrize("masks", ["sound", "advised"])
def test_of_what_comes_masks_know_the_calendar_alone(masks: str):
    world = world_of("open")
    config = dataclasses.replace(world.config, action_masks=masks)
    step = 30
    state = jax.tree.map(lambda x: x[step : step + 1], world.state)
    row = int(state.t[0, 0])
    other = random_market(77, dtype=np.float64, intraday=True)

    def changed(name: str, ours: Any, theirs: Any) -> Any:
        keep = name in ("sessions", "path_end", "labels", "feature_names", "sector") or not isinstance(ours, np.ndarray)
        return ours if keep else np.concatenate([ours[: row + 1], theirs[row + 1 :]])

    fields = {f.name: getattr(world.market, f.name) for f in dataclasses.fields(Market)}
    later = world.market.replace(**{n: changed(n, x, getattr(other, n)) for n, x in fields.items()})
    assert (later.close[row + 1 :] != world.market.close[row + 1 :]).all()
    with jax.enable_x64(True):
        see = over_accounts(lambda params, state, *_: valid_actions(config, params, state))
        none = np.zeros(state.t.shape)
        seen = [see(params_of(config, market, world.numbers), state, none, none) for market in (world.market, later)]
    np.testing.assert_array_equal(*seen)
    assert len(np.unique(seen[0])) > 1


def test_the_last_close_of_a_path_knows_nothing_of_the_next_path():
    """A session of another path is no new day: counters of the day stand as they are."""
    config = make_config("discrete", 3, action_masks="sound", max_trades_per_day=1, fees="none")
    close = np.full((8, 2), 100.0, np.float32)
    market = calm_market(close, path_end=np.array([3] * 4 + [7] * 4, np.int32), sessions=np.array([9] * 4 + [1] * 4))
    env = TradingEnv(config)
    params = env.default_params(market.replace(delisted=None, split=None, dividend=None, buyable=None))
    _, state = env.reset_at(3, 3, params)
    state = state.replace(trades_today=jnp.int32(1))
    assert not np.asarray(env.observe(state, params).valid).any()
    assert not np.asarray(env.observe(state.replace(t=jnp.int32(2)), params).valid).any()
    assert np.asarray(env.observe(state.replace(trades_today=jnp.int32(0)), params).valid).tolist() == [MAY_BUY] * 2


HALF: dict[str, Any] = {"buy_pct": 0.4, "max_position_pct": 0.5, "fees": "none", "spread_bps": 0.0, "slippage_bps": 0.0}
HALF |= {"tick_size": None, "stop_loss": None, "take_profit": None}


def bits_after(actions: list[list[int]], masks: str, **rules: Any) -> list[list[int]]:
    """Return the bits of two assets at 100 dollars before each action and after the last."""
    env = TradingEnv(make_config("discrete", 8, action_masks=masks, **(HALF | rules)))
    params = env.default_params(calm_market(np.full((8, 2), 100.0, np.float32)))
    observation, state = env.reset_at(0, 7, params)
    seen = [observation.valid]
    for action in actions:
        observation, state, *_ = env.step_env(jax.random.key(0), state, jnp.asarray(action), params)
        seen.append(observation.valid)
    return np.asarray(seen).tolist()


@pytest.mark.thorough
def test_what_is_advised_against():
    # 40 % of the account, then the tenth that is left under the cap: exactly a quarter of a buy.
    actions = [[BUY, 0], [BUY, 0], [SELL, 0]]
    assert bits_after(actions, "sound") == [[1, 1], [3, 1], [3, 1], [1, 1]]
    assert bits_after(actions, "advised", max_position_pct=0.51) == [[1, 1], [3, 1], [2, 1], [1, 1]]
    assert bits_after(actions, "advised", max_position_pct=0.49) == [[1, 1], [2, 1], [2, 1], [1, 1]]
    # Two buys leave 20,000; one more of the rest, and there is no cash.
    spent = [[BUY, BUY], [BUY, BUY]]
    assert bits_after(spent, "advised", max_position_pct=1.0) == [[1, 1], [3, 3], [2, 2]]
    assert bits_after(spent, "sound", max_position_pct=1.0) == [[1, 1], [3, 3], [3, 3]]
    # What sales bring is settled two days later.
    sold = [[BUY, BUY], [BUY, BUY], [SELL, 0], [0, 0], [0, 0]]
    settling = bits_after(sold, "advised", max_position_pct=1.0, settlement_days=2)
    assert settling == [[1, 1], [3, 3], [2, 2], [0, 2], [1, 3], [1, 3]]
    # Sectors of the two are not the same: the first is full, the second is not.
    assert bits_after([[BUY, 0]], "advised", max_sector_pct=0.4) == [[1, 1], [2, 1]]


@pytest.mark.parametrize("kind", ["levels", "bands", "weights"])
def test_of_numbers_and_levels_an_asset_counts_as_a_whole(kind: str):
    env = TradingEnv(make_config(kind, 8, action_masks="advised", drawdown_halt=0.2, min_holding_bars=3, fees="none"))
    market = calm_market(np.full((8, NUM_ASSETS), 100.0, np.float32))
    market.tradable[0, 1] = False
    params = env.default_params(market)
    observation, state = env.reset_at(0, 7, params)
    assert np.asarray(observation.valid).tolist() == [3, 0, 3, 3]
    halted = env.observe(state.replace(halted=jnp.ones((), bool)), params)
    assert not np.asarray(halted.valid).any() and observation.valid.dtype == jnp.uint8


def test_masks_that_are_off_are_not_in_the_program():
    market = random_market(0)

    def program(config: EnvConfig) -> str:
        env = TradingEnv(config)
        params = env.default_params(market)
        _, state = env.reset_at(0, 10, params)
        return str(jax.make_jaxpr(env.observe)(state, params))

    rules: dict[str, Any] = {"drawdown_scaling": 0.5, "min_holding_bars": 3, "max_trades_per_day": 4}
    off, sound = (program(make_config(**rules, action_masks=masks)) for masks in ("none", "sound"))
    assert "u8[4]" not in off and "u8[4]" in sound
    baseline = make_config(**rules, action_masks="sound").without_strategy_rules()
    assert not baseline.masks_actions, "rules that hold weights are told nothing"
