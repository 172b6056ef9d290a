"""What the agent sees: its bounds, its values, and that it knows nothing of later bars."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.observation import ACCOUNT_FIELDS, ASSET_FIELDS, fields_of, flatten, observe
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState, Observation
from ploutos_jax.market.sectors import GICS_SECTORS
from tests.env.worlds import (
    NUM_ACCOUNTS,
    NUM_ASSETS,
    NUM_BARS,
    calm_market,
    make_config,
    make_params,
    random_actions,
    random_market,
    random_numbers,
    simulate,
)

CONFIG = make_config()
STEPS = NUM_BARS - 1
see = jax.jit(jax.vmap(functools.partial(observe, CONFIG), in_axes=(0, None)))
flat = jax.jit(jax.vmap(flatten, in_axes=(0, None)))


def run(seed: int, **numbers: float) -> tuple[EnvParams, EnvState]:
    """Return states `[S · N]` of accounts that share an initial cash of 1,000."""
    market, drawn = random_market(seed), random_numbers(seed) | {"initial_cash": 1_000.0} | numbers
    trace = simulate(CONFIG, market, drawn, random_actions(seed))
    state = jax.tree.map(lambda x: x.reshape(STEPS * NUM_ACCOUNTS, *x.shape[2:]), trace.state)
    return make_params(CONFIG, market, {"initial_cash": 1_000.0}), state


@pytest.mark.parametrize("seed", range(3))
def test_account_values_are_bounded_and_small(seed: int):
    params, state = run(seed)
    obs = jax.device_get(see(state, params))
    assert (obs.positions.dtype, obs.levels.dtype, obs.account.dtype) == (np.float16, np.uint8, np.float16)
    stored = (obs.positions.nbytes + obs.levels.nbytes) / obs.positions[..., 0].size
    assert stored <= 8, "bytes per asset and step"
    assert obs.assets.shape == (len(state.t), NUM_ASSETS, len(ASSET_FIELDS))
    assert obs.account.shape == (len(state.t), len(ACCOUNT_FIELDS))
    assert np.isfinite(obs.assets).all()
    assert np.isfinite(obs.account).all()
    assert (np.abs(obs.assets) <= 1).all()
    assert (np.abs(obs.account) <= 1.001).all()
    np.testing.assert_array_equal(obs.t, state.t)


def test_account_values_mean_what_their_names_say():
    params, state = run(0)
    obs = jax.device_get(see(state, params))
    assets = dict(zip(ASSET_FIELDS, np.moveaxis(obs.assets, -1, 0), strict=True))
    account = dict(zip(ACCOUNT_FIELDS, obs.account.T, strict=True))
    close = np.asarray(params.market.close)[state.t]
    held = state.shares != 0
    age = np.where(held, state.t[:, None] - state.entry_bar, 0)
    gain = close / np.where(held, state.entry_price, 1) - 1
    equity = state.equity[:, None]
    for ours, theirs in (
        (assets["weight"], state.shares * close / equity),
        (assets["unrealised_return"], np.where(held, np.clip(gain, -1, 1), 0)),
        (assets["age"], age / (age + 20)),
        (account["cash_share"], state.cash / state.equity),
        (account["drawdown"], 1 - state.equity / state.peak_equity),
        (account["growth"], np.clip(np.log(state.equity / 1_000), -1, 1)),
        (account["position_count"], held.mean(axis=1)),
        (account["leverage"], (state.shares * close).sum(axis=1) / state.equity),
        (assets["stop_distance"], nearness(held, 1 - 0.98 * state.entry_price / np.where(held, close, 1))),
        (assets["target_distance"], nearness(held, 1.04 * state.entry_price / np.where(held, close, 1) - 1)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2.1e-3)
        assert len(np.unique(ours)) > 3
    np.testing.assert_allclose(assets["weight"].sum(axis=1) + account["cash_share"], 1, atol=3e-3)


def nearness(held: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return a distance as the observation writes it: 0 at the level or beyond, 1 without one."""
    distance = np.maximum(distance, 0)
    return np.where(held, distance / (distance + 0.05), 1)


@pytest.mark.thorough
def test_levels_are_those_of_the_rules_in_force():
    """Close 100 in bar 1, 110 in bar 2: a position bought at 100 has its trailing stop at 99 and its target at 120."""
    close = np.repeat([[100.0], [100.0], [110.0], [110.0]], 2, axis=1)
    rules = {"stop_loss": None, "take_profit": 0.2, "trailing_stop": 0.1, "episode_length": 3}
    free = {"spread_bps": 0.0, "tick_size": None, "slippage_bps": 0.0, "fees": "none"}
    env = TradingEnv(EnvConfig(**rules, **free))
    params = env.default_params(calm_market(close))
    _, state = env.reset_at(0, 3, params)
    for action in ([1, 0], [0, 0]):
        obs, state, *_ = env.step_env(jax.random.key(0), state, np.array(action), params)
    stop, target = np.asarray(obs.assets)[:, 3:].T
    np.testing.assert_allclose(stop, [nearness(np.True_, np.float64(11 / 110)), 1], atol=2e-3)
    np.testing.assert_allclose(target, [nearness(np.True_, np.float64(10 / 110)), 1], atol=2e-3)


def test_sector_exposures_add_up_to_the_positions():
    columns = np.array([3, 3, 10, -1], np.int32)
    market = random_market(0).replace(sector=columns)
    params = make_params(CONFIG, market, {"initial_cash": 1_000.0})
    state = run(0)[1]
    obs = jax.device_get(see(state, params))
    weight, sectors = obs.positions[..., 0].astype(np.float64), obs.account[:, -len(GICS_SECTORS) :]
    np.testing.assert_allclose(sectors[:, 3], weight[:, :2].sum(axis=1), atol=2e-3)
    np.testing.assert_allclose(sectors[:, 10], weight[:, 2], atol=2e-3)
    assert not np.delete(sectors, [3, 10], axis=1).any()
    assert sectors[:, 3].any()


def test_day_trades_left_and_recent_returns():
    config = make_config(day_trade_rule="pdt_2001", reward="differential_sharpe")
    params = make_params(config, random_market(0), {})
    _, state = TradingEnv(config).reset_at(0, STEPS, params)
    moved = state.stats.replace(sharpe_mean=0.002, sharpe_square=0.002**2 + 0.01**2)
    state = state.replace(day_trades=np.array([1, 0, 0, 1, 0], np.int32), stats=moved)
    for equity, left in ((10_000.0, 1 / 3), (30_000.0, 1.0)):
        account = np.asarray(observe(config, state.replace(equity=np.float32(equity)), params).account)
        seen = dict(zip(ACCOUNT_FIELDS, account, strict=True))
        assert seen["day_trades_left"] == pytest.approx(left, rel=1e-3)
        assert seen["recent_sharpe"] == pytest.approx(0.2, rel=1e-3)
        assert seen["recent_volatility"] == pytest.approx(0.5, rel=1e-3)


def test_an_empty_account_sees_cash_and_no_levels():
    params = make_params(CONFIG, random_market(0), {})
    obs, _ = TradingEnv(CONFIG).reset_at(0, STEPS, params)
    assert not obs.assets[:, :3].any() and (obs.assets[:, 3:] == 1).all()
    seen = dict(zip(ACCOUNT_FIELDS, obs.account.tolist(), strict=True))
    assert {name for name, value in seen.items() if value} == {"cash_share", "day_trades_left"}
    assert seen["cash_share"] == seen["day_trades_left"] == 1


def test_an_account_that_lost_everything_sees_finite_numbers():
    delisted = np.zeros((NUM_BARS, NUM_ASSETS), bool)
    delisted[5] = True
    tradable = np.broadcast_to(np.arange(NUM_BARS)[:, None] < 5, delisted.shape)
    market = calm_market(np.full(delisted.shape, 100.0), delisted=delisted, tradable=tradable)
    numbers = {"delisting_recovery": 0.0, "buy_pct": 0.25, "max_position_pct": 1.0, "ruin_pct": 0.0}
    trace = simulate(CONFIG, market, numbers, np.ones((STEPS, NUM_ACCOUNTS, NUM_ASSETS), np.int32))
    last = jax.tree.map(lambda x: x[-1], trace.state)
    assert (last.equity < 100).all()
    obs = see(last, make_params(CONFIG, market, {}))
    for value in jax.tree.leaves((obs, trace.reward, trace.info)):
        assert np.isfinite(value).all()


def test_flat_vector_holds_market_row_then_assets_then_account():
    params, state = run(0)
    place = int(np.argmax((state.shares != 0).sum(axis=1)))
    obs: Observation = jax.tree.map(lambda x: np.asarray(x[place]), see(state, params))
    vector = flatten(obs, params)
    features = np.asarray(params.market.features)
    assert vector.shape == (NUM_ASSETS * (features.shape[2] + len(ASSET_FIELDS)) + len(ACCOUNT_FIELDS),)
    assert vector.dtype == np.float32
    row = features[state.t[place]].ravel()
    expected = [row, obs.assets.astype(np.float32).ravel(), obs.account.astype(np.float32)]
    np.testing.assert_array_equal(vector, np.concatenate(expected))
    assert row.any()
    assert obs.assets.any()


@pytest.mark.thorough
@settings(max_examples=8, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**31), row=st.integers(0, NUM_BARS - 2))
def test_nothing_seen_depends_on_a_later_bar(seed: int, row: int):
    params, state = run(seed)
    other = random_market(seed + 1)
    market = jax.tree.map(lambda a, b: np.concatenate([a[: row + 1], b[row + 1 :]]), params.market, other)
    known = state.t <= row
    both = [jax.device_get(see(state, params)), jax.device_get(see(state, params.replace(market=market)))]
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[known], b[known]), *both)
    seen, changed = (jax.tree.map(lambda x: x[::NUM_ACCOUNTS], obs) for obs in both)
    vectors = flat(seen, params), flat(changed, params.replace(market=market))
    early = seen.t <= row
    np.testing.assert_array_equal(vectors[0][early], vectors[1][early])
    assert (np.asarray(vectors[0])[~early] != np.asarray(vectors[1])[~early]).any()


def test_a_brief_observation_is_the_first_fields_of_a_full_one():
    params, state = run(0)
    full = jax.device_get(see(state, params))
    config = dataclasses.replace(CONFIG, observation="brief")
    brief = jax.device_get(jax.vmap(functools.partial(observe, config), in_axes=(0, None))(state, params))
    of_asset, of_account = fields_of("brief")
    assert of_asset == ASSET_FIELDS[:3] and of_account == ACCOUNT_FIELDS[:3]
    np.testing.assert_array_equal(brief.assets, full.assets[..., :3])
    np.testing.assert_array_equal(brief.account, full.account[..., :3])
