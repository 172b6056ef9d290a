"""The step in float32: how far it drifts, what it keeps, and that cash stays above 0 all the same."""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.env.broker.account import compensated_add
from ploutos_jax.env.trading import TradingEnv
from tests.env.scenes import EVERY_RULE, INERT
from tests.env.worlds import (
    NUM_ACCOUNTS,
    PRICES,
    Trace,
    make_config,
    make_params,
    random_actions,
    random_fees,
    random_market,
    random_noise,
    random_numbers,
    simulate,
)

YEAR, LARGE, FEW = 253, 503, 16
UNCUT = {"buy_pct": 0.001, "max_position_pct": 0.0015}
"""Orders for 503 assets that always find cash enough."""
USUAL = {"stop_loss": 0.02, "take_profit": 0.04, "spread": 2e-4, "slippage": 1e-4, "commission": 0.0}
USUAL |= {"commission_per_share_cash": 0.0, "buy_pct": 0.1, "max_position_pct": 0.25, "delisting_recovery": 1.0}
"""Numbers of the default configuration; its fees, by day, are compiled in."""


def both_precisions(kind: str, seed: int, numbers: dict[str, float], *, cents: bool = False) -> tuple[Trace, Trace]:
    """Run a year of 503 assets in float32 and in float64 from exactly the same inputs."""
    config = make_config(kind, YEAR)
    market = random_market(seed, YEAR, LARGE)
    if cents:
        prices = {name: np.round(getattr(market, name), 2) for name in PRICES}
        market = market.replace(**prices, tradable=market.tradable & (prices["low"] > 0))
    drawn = {name: value.astype(np.float32) for name, value in random_numbers(seed, FEW).items()}
    drawn |= {name: np.full(FEW, value, np.float32) for name, value in numbers.items()}
    actions = random_actions(seed, kind, YEAR - 1, FEW, LARGE)
    actions = actions if kind == "discrete" else actions.astype(np.float32)
    wide = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, (market, drawn, actions))
    wide = (wide[0].replace(labels=market.labels), *wide[1:])
    return simulate(config, market, drawn, actions), simulate(config, *wide)


class Difference(NamedTuple):
    """How a run in float32 differs from one in float64.

    Attributes:
        drift: largest relative difference of equity before an event differs, while 10 % of the money is left: at less
            an episode ends.
        ruined: the same for accounts with less.
        flipped: share of accounts in which any event ever differs.
        fills: share of the fills that differ.
        last: largest relative difference of equity at the end, events that differ included.
    """

    drift: float
    ruined: float
    flipped: float
    fills: float
    last: float


def measure_difference(single: Trace, double: Trace) -> Difference:
    happened = [np.stack([fill.reason for fill in trace.info["fills"]]) for trace in (single, double)]
    flips = happened[0] != happened[1]
    differs = flips.any(axis=(0, 3))
    apart = np.abs(single.state.equity - double.state.equity) / double.state.equity
    drift = np.where(np.maximum.accumulate(differs, axis=0), 0, apart)
    initial = double.state.equity[0] / np.exp(double.reward[0])
    alive = np.minimum.accumulate(double.state.equity, axis=0) > 0.1 * initial
    return Difference(
        drift=float(drift[alive].max()),
        ruined=float(drift.max()),
        flipped=float(differs.any(axis=0).mean()),
        fills=float(flips.sum() / (happened[1] != 0).sum()),
        last=float(apart[-1][alive[-1]].max(initial=0)),
    )


def check_difference(
    kind: str, seed: int, numbers: dict[str, float], *, cents: bool = False, limit: float = 1e-5
) -> None:
    single, double = both_precisions(kind, seed, numbers, cents=cents)
    found = measure_difference(single, double)
    print(kind, seed, found)
    assert found.drift < limit
    # What rounding may cost stays uninvested: an account that turns over twice a bar at high costs loses less for it.
    assert found.ruined < 5e-5
    assert found.fills < (3e-4 if cents else 1e-4)
    assert found.flipped <= (0.95 if cents else 0.6)
    assert found.last < 5e-3
    assert (double.info["num_trades"].sum(axis=0) > 1000).any()
    cost = double.state.cost[-1] + double.state.cost_low[-1]
    np.testing.assert_allclose(single.state.cost[-1] + single.state.cost_low[-1], cost, rtol=1e-3)
    assert (single.state.cash + single.state.cash_low >= 0).all()


WORLDS = {"usual": USUAL, "usual uncut": USUAL | UNCUT, "random": {}, "random uncut": UNCUT}


@pytest.mark.thorough
@pytest.mark.parametrize("case", list(itertools.product(["discrete", "weights"], WORLDS)), ids=", ".join)
def test_a_year_of_503_assets_in_float32_stays_near_float64(case: tuple[str, str]):
    kind, numbers = case
    check_difference(kind, 0, WORLDS[numbers])


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_levels_that_cents_meet_exactly_seldom_flip(kind: str):
    """Without costs, a level such as 98.00 of an entry at 100.00 is met to the digit; rounding then decides."""
    check_difference(kind, 1, USUAL | UNCUT | {"spread": 0.0, "slippage": 0.0}, cents=True)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", WORLDS)
@pytest.mark.parametrize("kind", ["discrete", "weights"])
def test_many_years_in_float32_stay_near_float64(kind: str, numbers: str):
    for seed in range(10, 16):
        check_difference(kind, seed, WORLDS[numbers], limit=1e-5)


STRICT = EVERY_RULE | {"remainder": "carry", "settlement_days": 1, "fee_rounding": "day", "lot_size": 1.0}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "fill"), [("discrete", "next_open"), ("weights", "next_close"), ("bands", "next_open")]
)
def test_cash_never_falls_below_zero_in_float32_with_every_rule_on(kind: str, fill: str):
    config = make_config(kind, fill=fill, **STRICT)
    for seed in range(6):
        numbers = random_numbers(seed, rules=True)
        rng = np.random.default_rng([seed, 7])
        for name in sorted(INERT.keys() & numbers.keys()):
            numbers[name] = np.where(rng.random(NUM_ACCOUNTS) < 0.5, INERT[name], numbers[name])
        rates, caps = random_fees(seed, 3)
        numbers |= {"fee_rates": rates, "fee_caps": caps}
        market = random_market(seed, intraday=seed % 2 == 1)
        state = simulate(config, market, numbers, random_actions(seed, kind), random_noise(seed)).state
        assert (state.cash + state.cash_low >= 0).all()
        assert (state.shares >= 0).all()
        for value in jax.tree.leaves(state.replace(waiting=None)):  # NaN there: nothing waits
            assert np.isfinite(value).all()


@pytest.mark.parametrize(
    ("kind", "num_assets"), [pytest.param("discrete", 1, marks=pytest.mark.slow), ("discrete", 30), ("weights", 30)]
)
def test_cash_never_falls_below_zero_in_float32(kind: str, num_assets: int):
    accounts = 200
    for seed in range(3):
        numbers = random_numbers(seed, accounts)
        for name in ("buy_pct", "max_position_pct"):
            numbers[name][::2] = 1.0
        trace = simulate(
            make_config(kind),
            random_market(seed, num_assets=num_assets),
            numbers,
            random_actions(seed, kind, num_accounts=accounts, num_assets=num_assets),
        )
        state = trace.state
        assert (state.cash + state.cash_low >= 0).all()
        assert (state.shares >= 0).all()
        # Accounts that spend all they have are among them.
        assert (state.cash < 1e-4 * state.equity).any()
        for value in jax.tree.leaves((state.replace(waiting=None), trace.reward, trace.info)):
            assert np.isfinite(value).all()
        gained = trace.info["profit"].astype(np.float64).sum(axis=(0, 2))
        initial = numbers["initial_cash"]
        gained = gained - trace.info["fee_rounding"].astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(1 + gained / initial, state.equity[-1] / initial, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["discrete", "weights", "bands", "levels"])
def test_float32_stays_float32(kind: str):
    config = make_config(kind, decide_every=None if kind in ("discrete", "weights") else 3)
    env, params = TradingEnv(config), make_params(config, random_market(0), {})
    action = jnp.zeros((4, 2) if kind == "bands" else 4, jnp.int32 if config.is_choice else jnp.float32)
    key = jax.random.key(0)
    _, state = jax.eval_shape(env.reset, key, params)

    def describe(tree: Any) -> Any:
        return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)

    for step in (env.step, env.step_env):
        obs, after, reward, terminated, truncated, info = jax.eval_shape(step, key, state, action, params)
        assert describe(after) == describe(state)
        dtypes = {x.dtype for x in jax.tree.leaves(after.replace(waiting=None))}
        assert dtypes == {jnp.dtype("int32"), jnp.dtype("float32")}
        assert after.waiting.dtype == (jnp.int8 if config.is_choice else jnp.float32)
        assert not any(x.weak_type for x in jax.tree.leaves((after, obs, reward, info)))
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (jnp.float32, jnp.bool, jnp.bool)
    # A Python number among the parameters must not change types either.
    loose = params.replace(spread=0.001, stop_loss=0.05)
    assert describe(jax.eval_shape(env.step, key, state, action, loose)[1]) == describe(state)


def test_pennies_are_not_lost_on_a_large_account():
    pennies = np.full(10_000, 0.01, np.float32)

    def add(total: tuple[jax.Array, jax.Array], change: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        return compensated_add(*total, change), None

    (high, low), _ = jax.lax.scan(add, (jnp.float32(1e7), jnp.float32(0)), pennies)
    assert float(high) + float(low) == pytest.approx(1e7 + 100, abs=1e-3)
    assert np.float32(1e7) + pennies[0] == np.float32(1e7)  # a plain sum would not move
