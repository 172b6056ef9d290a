"""benchmarks/soak.py: a few seconds of it hold; what is broken on purpose is found."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.soak import ALL_RULES, INVARIANTS, NUM_ASSETS, NUM_BARS, Soak, _broken, play, trainings
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.generate import synthetic_panel


@pytest.fixture(scope="module")
def market():
    return build_market(synthetic_panel(jax.random.key(7), num_assets=NUM_ASSETS, num_bars=NUM_BARS), "minimal")


def test_every_rule_that_can_be_on_is_on():
    defaults, on = EnvConfig(), EnvConfig(**ALL_RULES)
    off = {
        field.name
        for field in dataclasses.fields(EnvConfig)
        if getattr(on, field.name) is None or getattr(on, field.name) == 0.0 == getattr(defaults, field.name)
    }
    # Left to the market or the schedule, other forms of what is on, and what it would contradict.
    assert off == {
        *("max_position_pct", "bars_per_year", "no_trade_band", "fee_rounding"),
        *("commission_bps", "commission_per_share", "commission_min"),
    }


@pytest.mark.thorough
def test_a_short_soak_holds(market):
    figures = play(Soak(minutes=0.01), market)
    assert figures["broken"] == {} and figures["episodes"] > 0
    assert figures["checks"] == figures["steps"] * len(INVARIANTS) > 0


@pytest.mark.thorough
def test_what_is_broken_is_found(market):
    env = TradingEnv(EnvConfig(**ALL_RULES))
    params = env.default_params(market)
    step = jax.jit(env.step_env)
    _, before = env.reset(jax.random.key(0), params)
    for number in range(3):
        state = before
        _, after, reward, _, _, info = step(jax.random.key(number), state, jnp.ones(NUM_ASSETS, jnp.int32), params)
        before = after
    before = state
    check = jax.jit(_broken)

    def found(after: Any = after, reward: Any = reward, info: Any = info) -> set[str]:
        return {INVARIANTS[i] for i in np.flatnonzero(check(params, before, after, reward, info))}

    assert found() == set()
    sums, moves, flow, finite, short, negative, lots, costs = INVARIANTS
    assert found(after.replace(equity=after.equity * 1.01)) == {sums, moves}
    assert found(after.replace(cash=after.cash + 500)) == {sums, flow}
    assert found(after.replace(cash=after.cash * -1)) >= {sums, flow, negative}
    assert found(reward=jnp.nan) == {finite}
    assert found(info=info | {"interest": info["interest"] + 1000}) == {moves, flow}
    assert found(after.replace(shares=after.shares - 100)) >= {sums, short}
    assert found(after.replace(shares=after.shares + 0.033)) >= {lots}
    assert found(after.replace(cost=after.cost * 0)) == {costs}


@pytest.mark.slow
def test_memory_is_flat_over_trainings(market):
    """Of 30 trainings the last ten take no more than the ten before them, but for what the allocator keeps."""
    after = trainings(30, market)["memory_after_trainings"]
    if after[0] is None:
        pytest.skip("this system does not say how much memory a process holds")
    assert np.mean(after[20:]) < 1.05 * np.mean(after[10:20])


@pytest.mark.slow
def test_a_soak_of_five_minutes_holds(market):
    figures = play(Soak(minutes=5), market)
    assert figures["broken"] == {}
    assert figures["memory_at_end"] < 1.05 * figures["memory_at_start"]
