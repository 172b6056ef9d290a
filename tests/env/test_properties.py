"""What must hold for every account in every market."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ploutos_jax.env.rewards import log_return
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvConfig, EnvParams, EnvState
from ploutos_jax.market.panel import Market
from tests.env.worlds import (
    NUM_ACCOUNTS,
    NUM_ASSETS,
    NUM_BARS,
    make_config,
    make_params,
    random_actions,
    random_market,
    random_numbers,
    simulate,
)

SEEDS = st.integers(0, 2**31)
KINDS = ["discrete", "weights"]
few = settings(max_examples=8, deadline=None, phases=[Phase.reuse, Phase.generate])


def assert_equal(ours: Any, theirs: Any) -> None:
    """Every leaf is the same to the last bit."""
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@few
@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_value_is_conserved(seed: int, kind: str):
    market, numbers, actions = random_market(seed, dtype=np.float64), random_numbers(seed), random_actions(seed, kind)
    trace = simulate(make_config(kind), market, numbers, actions)
    gained = trace.info["profit"].sum(axis=2).cumsum(axis=0)
    np.testing.assert_allclose(numbers["initial_cash"] + gained, trace.state.equity, rtol=1e-9, atol=1e-9)
    paid = trace.info["cost"].cumsum(axis=0)
    np.testing.assert_allclose(trace.state.cost + trace.state.cost_low, paid, rtol=1e-9)
    peak = np.maximum(trace.state.equity.max(axis=0), numbers["initial_cash"])
    np.testing.assert_array_equal(trace.state.peak_equity[-1], peak)


@few
@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_nothing_is_sold_short_and_cash_never_falls_below_zero(seed: int, kind: str):
    market, numbers, actions = random_market(seed, dtype=np.float64), random_numbers(seed), random_actions(seed, kind)
    state = simulate(make_config(kind), market, numbers, actions).state
    assert (state.shares >= 0).all()
    assert (state.cash + state.cash_low >= 0).all()
    flat = state.shares == 0
    assert (flat == (state.entry_bar == -1)).all()
    assert (flat == (state.entry_price == 0)).all()


@few
@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_nothing_fills_where_nothing_trades(seed: int, kind: str):
    market = random_market(seed, dtype=np.float64)
    trace = simulate(make_config(kind), market, random_numbers(seed), random_actions(seed, kind))
    closed = ~market.tradable[1:, None]
    sale, buy, exit_ = (fill.shares != 0 for fill in trace.info["fills"])
    gone = trace.info["reasons"]["delisted"]
    assert not (closed & (buy | exit_)).any()
    assert not (closed & sale & ~gone).any()
    assert not (gone & ~market.delisted[1:, None]).any()
    ended = np.maximum.accumulate(market.delisted, axis=0)[1:, None]
    assert not (ended & (trace.state.shares != 0)).any()
    # A fill lies inside its bar, moved against the trader only.
    for fill in trace.info["fills"]:
        traded = (fill.shares != 0) & ~gone
        worse = np.sign(fill.shares) * (fill.price - fill.reference) >= 0
        inside = (market.low[1:, None] <= fill.reference) & (fill.reference <= market.high[1:, None])
        assert (worse & inside)[traded].all()


@few
@given(seed=SEEDS)
def test_higher_costs_never_make_a_holder_richer(seed: int):
    spans = {"spread": 0.02, "slippage": 0.02, "commission": 0.02, "commission_per_share_cash": 0.05}
    levels = NUM_ACCOUNTS // len(spans)
    numbers = {name: np.repeat(value[:1], NUM_ACCOUNTS) for name, value in random_numbers(seed).items()}
    # Nothing but buying and holding: no stop, no target, and cash for all buys, so that costs alone differ.
    numbers |= {"buy_pct": np.full(NUM_ACCOUNTS, 0.2), "max_position_pct": np.ones(NUM_ACCOUNTS)}
    numbers |= {"stop_loss": np.ones(NUM_ACCOUNTS), "take_profit": np.full(NUM_ACCOUNTS, 1e9)}
    numbers |= {name: np.zeros(NUM_ACCOUNTS) for name in spans}
    for place, (name, largest) in enumerate(spans.items()):
        numbers[name][place * levels : (place + 1) * levels] = np.linspace(0, largest, levels)
    actions = np.zeros((NUM_BARS - 1, NUM_ACCOUNTS, NUM_ASSETS), np.int32)
    actions[0] = 1
    trace = simulate(make_config(), random_market(seed, dtype=np.float64), numbers, actions)
    equity = trace.state.equity.reshape(-1, len(spans), levels)
    assert (np.diff(equity, axis=2) <= 0).all()
    traded = trace.info["num_trades"][0] > 0
    assert not traded.any() or (np.diff(equity[0], axis=1) < 0).all()
    assert (np.diff(trace.state.cost[-1].reshape(len(spans), levels), axis=1) >= 0).all()


def join_at(row: int, before: Market, after: Market) -> Market:
    """Return a market whose rows up to `row` come from one market and whose later rows from another."""
    return jax.tree.map(lambda a, b: np.concatenate([a[: row + 1], b[row + 1 :]]), before, after)


@few
@given(seed=SEEDS, row=st.integers(0, NUM_BARS - 2), kind=st.sampled_from(KINDS))
def test_bars_to_come_change_nothing(seed: int, row: int, kind: str):
    numbers, actions, config = random_numbers(seed), random_actions(seed, kind), make_config(kind)
    market = random_market(seed, dtype=np.float64)
    one = simulate(config, market, numbers, actions)
    two = simulate(config, join_at(row, market, random_market(seed + 1, dtype=np.float64)), numbers, actions)
    # Step i trades bar i + 1.
    assert_equal(*jax.tree.map(lambda x: x[:row], (one, two)))
    assert (one.state.equity[row:] != two.state.equity[row:]).any()


@few
@given(seed=SEEDS, row=st.integers(1, NUM_BARS - 2), kind=st.sampled_from(KINDS))
def test_what_fills_at_the_open_does_not_know_the_rest_of_the_bar(seed: int, row: int, kind: str):
    numbers, actions, config = random_numbers(seed), random_actions(seed, kind), make_config(kind)
    market = random_market(seed, dtype=np.float64)
    other = {name: getattr(market, name).copy() for name in ("high", "low", "close")}
    for values, factor in zip(other.values(), (1.2, 0.7, 0.9), strict=True):
        values[row] *= factor
    one = simulate(config, market, numbers, actions)
    two = simulate(config, market.replace(**other), numbers, actions)
    at_open = (one.info["fills"][:2], two.info["fills"][:2])
    assert_equal(*jax.tree.map(lambda x: x[:row], at_open))


@few
@given(seed=SEEDS, kind=st.sampled_from([*KINDS, "weights+cash"]))
def test_the_order_of_the_assets_does_not_matter(seed: int, kind: str):
    market, numbers, actions = random_market(seed, dtype=np.float64), random_numbers(seed), random_actions(seed, kind)
    order = np.random.default_rng(seed).permutation(NUM_ASSETS)
    shuffled = jax.tree.map(lambda x: x[:, order] if x.ndim > 1 else x, market)
    places = [*order, NUM_ASSETS] if kind == "weights+cash" else order
    one = simulate(make_config(kind), market, numbers, actions)
    two = simulate(make_config(kind), shuffled, numbers, actions[..., places])
    scale = numbers["initial_cash"]
    np.testing.assert_allclose(two.state.equity / scale, one.state.equity / scale, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(two.state.shares, one.state.shares[..., order], rtol=1e-8)
    np.testing.assert_array_equal(two.info["rejected_orders"], one.info["rejected_orders"])
    np.testing.assert_array_equal(two.state.entry_bar, one.state.entry_bar[..., order])


@few
@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_only_ratios_of_prices_and_of_money_matter(seed: int, kind: str):
    market, numbers, actions = random_market(seed, dtype=np.float64), random_numbers(seed), random_actions(seed, kind)
    numbers["commission_per_share_cash"] *= 0
    one = simulate(make_config(kind), market, numbers, actions)
    # A power of two changes no digit, so the results are equal to the last bit.
    dear = {name: getattr(market, name) * 4 for name in ("open", "high", "low", "close", "dividend")}
    two = simulate(make_config(kind), market.replace(**dear), numbers, actions)
    assert_equal(two.state.equity, one.state.equity)
    assert_equal(two.state.shares * 4, one.state.shares)
    rich = numbers | {name: numbers[name] * 8 for name in ("initial_cash", "min_order_cash")}
    three = simulate(make_config(kind), market, rich, actions)
    assert_equal(three.state.equity, one.state.equity * 8)
    assert_equal(three.reward, one.reward)


def test_holding_cash_earns_and_costs_nothing():
    market, numbers, actions = random_market(0, dtype=np.float64), random_numbers(0), random_actions(0) * 0
    trace = simulate(make_config(), market, numbers, actions)
    assert (trace.state.equity == numbers["initial_cash"]).all()
    assert not trace.reward.any()
    assert not trace.info["turnover"].any()
    assert not trace.info["num_trades"].any()
    assert not trace.info["rejected_orders"].any()


def walk(step: Any, config: EnvConfig, params: EnvParams, actions: np.ndarray) -> list[Any]:
    """Step one account by a Python loop; return state, reward and info after each step."""
    _, state = TradingEnv(config).reset_at(0, config.episode_length, params)
    rows = []
    for action in actions:
        _, state, reward, _, _, info = step(jax.random.key(0), state, action, params)
        rows.append((state, reward, info))
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_many_accounts_at_once_equal_one_at_a_time_compiled_or_not(kind: str):
    market, numbers, actions = random_market(5, dtype=np.float64), random_numbers(5), random_actions(5, kind)
    config = make_config(kind)
    trace = simulate(config, market, numbers, actions)
    env = TradingEnv(config)
    for step, accounts, length in ((jax.jit(env.step_env), range(4), NUM_BARS - 1), (env.step_env, [4], 12)):
        for account in accounts:
            one = {name: value[account] for name, value in numbers.items()}
            with jax.enable_x64(True):
                rows = walk(step, config, make_params(config, market, one), actions[:length, account])
            ours = jax.tree.map(lambda *x: np.stack(x), *rows)
            theirs = (trace.state, trace.reward, trace.info)
            theirs = jax.tree.map(lambda x, i=account, n=length: x[:n, i], theirs)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-8), ours, theirs)


def test_new_numbers_need_no_new_compilation():
    traces = []

    def reward(before: EnvState, after: EnvState) -> jax.Array:
        traces.append(1)
        return log_return(before, after)

    config = make_config(reward=reward)
    step = jax.jit(TradingEnv(config).step_env)
    market, numbers, equity = random_market(5), random_numbers(5), []
    for account in range(5):
        params = make_params(config, market, {name: value[account] for name, value in numbers.items()})
        equity.append(float(walk(step, config, params, np.ones((3, NUM_ASSETS), np.int32))[-1][0].equity))
    assert len(traces) == 1
    assert len(set(equity)) == 5


def test_gradients_reach_the_weights():
    """Between the points where something fills or does not, equity is a smooth function of target weights."""
    config = make_config("weights", stop_loss=None, take_profit=None)
    env, market = TradingEnv(config), random_market(6, dtype=np.float64, plain=True)
    weights = np.random.default_rng(0).uniform(0.05, 0.2, (5, NUM_ASSETS))
    with jax.enable_x64(True):
        params = make_params(config, market, {"commission": 0.001, "commission_per_share_cash": 0.005})

        def final_growth(weights: jax.Array) -> jax.Array:
            _, state = env.reset_at(0, config.episode_length, params)
            for action in weights:
                _, state, *_ = env.step_env(jax.random.key(0), state, action, params)
            return state.equity / params.initial_cash

        value_and_grad = jax.jit(jax.value_and_grad(final_growth))
        _, slope = value_and_grad(weights)
        assert np.isfinite(slope).all()
        assert np.asarray(slope).all()
        for place in ((0, 0), (2, 3), (4, 1)):
            nudge = np.zeros_like(weights)
            nudge[place] = 1e-6
            up, down = (float(value_and_grad(weights + sign * nudge)[0]) for sign in (1, -1))
            assert (up - down) / 2e-6 == pytest.approx(float(slope[place]), rel=1e-5, abs=1e-8)
