"""What is in the compiled step: a rule that is off leaves no trace, numbers are arguments, nothing calls the host."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from jax.extend import core

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.market.panel import SCALES
from tests.env.worlds import NUM_ASSETS, NUM_BARS, make_config, random_market

OPTIONAL = {
    "max_sector_pct": 0.4,
    "drawdown_scaling": 0.5,
    "no_trade_band": 0.01,
    "lot_size": 1.0,
    "max_participation": 0.1,
    "min_holding_bars": 2,
    "tick_size": 0.01,
    "slippage_atr": 0.02,
    "slippage_volatility": 0.05,
    "slippage_noise": 0.5,
    "impact": 1.0,
    "stop_loss": 0.02,
    "take_profit": 0.04,
    "trailing_stop": 0.05,
    "break_even": 0.02,
    "stop_loss_atr": 2.0,
    "take_profit_atr": 4.0,
    "trailing_atr": 3.0,
    "max_holding_bars": 20,
    "drawdown_halt": 0.3,
    "cash_rate": 0.03,
}
OFF = dict.fromkeys(OPTIONAL) | {"fees": "none", "day_trade_rule": "none"}


def trace_step(config: EnvConfig, **scales: Any) -> tuple[set[str], int, set[str]]:
    """Return the numbers of `EnvParams` that a step reads, how many operations it has, and their names."""
    env, market = TradingEnv(config), random_market(0).replace(**{name: scales.get(name) for name in SCALES})
    params = env.default_params(market)
    _, state = env.reset_at(0, 10, params)
    action = np.zeros(market.num_assets, np.int32 if config.action == "discrete" else np.float32)

    def step(params, state):
        return env.step_env(jax.random.key(0), state, action, params)

    program = jax.make_jaxpr(step)(params, state).jaxpr
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path((params, state))]
    read = {id(var) for equation in program.eqns for var in equation.invars if not hasattr(var, "val")}
    used = {name for name, var in zip(names, program.invars, strict=True) if id(var) in read}
    return used, count_operations(program), {str(e.primitive) for e in every_equation(program)}


def every_equation(program):
    for equation in program.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from every_equation(inner)


def count_operations(program) -> int:
    return sum(1 for _ in every_equation(program))


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_rule_that_is_off_is_not_in_the_program(name: str):
    action = "weights" if name == "no_trade_band" else "discrete"
    config = make_config(action, 11, **OFF)
    before, operations, _ = trace_step(config)
    after, more, _ = trace_step(dataclasses.replace(config, **{name: OPTIONAL[name]}))
    assert not any(f".{name}" in leaf for leaf in before)
    assert any(f".{name}" in leaf for leaf in after) or name == "max_sector_pct"
    assert more > operations


def test_costs_that_are_the_usual_ones_are_not_scaled_in_the_program():
    config = make_config("discrete", 11, **(OFF | {"impact": 1.0}))
    scale = np.ones((NUM_BARS, NUM_ASSETS), np.float32)
    plain, wide, steep = (trace_step(config, **scales) for scales in ({}, *({name: scale} for name in SCALES)))
    assert not any("_scale" in leaf for leaf in plain[0])
    assert ".market.spread_scale" in str(wide[0]) and wide[1] > plain[1] < steep[1]
    # Without impact, what it is multiplied by is not read.
    off = make_config("discrete", 11, **OFF)
    assert trace_step(off, impact_scale=scale)[1] == trace_step(off)[1]


@pytest.mark.parametrize(
    "rules",
    [
        {"fees": "alpaca"},
        {"fees": "percent"},
        {"day_trade_rule": "pdt_2001"},
        {"max_trades_per_day": 4},
        {"settlement_days": 1},
        {"max_participation": 0.1, "remainder": "carry"},
        {"reward": "differential_sharpe"},
        {"decide_every": 3},
    ],
    ids=str,
)
def test_a_rule_that_is_off_has_no_state(rules: dict):
    plain, full = make_config("discrete", 11, **OFF), make_config("discrete", 11, **(OFF | rules))
    states = [
        TradingEnv(c).reset_at(0, 10, TradingEnv(c).default_params(random_market(0, plain=True)))[1]
        for c in (plain, full)
    ]
    assert len(jax.tree.leaves(states[0])) == 12, "the account of a market without rules"
    fewer, more = (trace_step(c)[1] for c in (plain, full))
    assert more > fewer


def test_the_step_never_calls_the_host_and_holds_no_large_constant():
    everything = make_config("discrete", 11, **(OPTIONAL | {"day_trade_rule": "pdt_2001", "settlement_days": 1}))
    _, operations, names = trace_step(everything)
    assert not {name for name in names if "callback" in name or "infeed" in name}
    assert operations > trace_step(make_config("discrete", 11, **OFF))[1] > 50


EVERYTHING = OPTIONAL | {"fees": "alpaca", "day_trade_rule": "pdt_2001", "settlement_days": 1, "remainder": "carry"}


def test_limit_orders_are_in_the_program_of_limit_orders_alone():
    market, limit = (make_config("discrete", 11, **OFF, order_type=kind) for kind in ("market", "limit"))
    # The offset is not read, and nothing else of a program of market orders depends on it.
    assert trace_step(market) == trace_step(dataclasses.replace(market, limit_offset_bps=500.0))
    assert not any(".limit_offset" in leaf for leaf in trace_step(market)[0])
    assert any(".limit_offset" in leaf for leaf in trace_step(limit)[0])


@pytest.mark.parametrize("fill", ["next_open", "next_close", "same_close", "limit"])
@pytest.mark.parametrize("rules", [OFF, EVERYTHING], ids=["no rule", "every rule"])
def test_costs_that_are_not_itemised_are_not_in_the_program(fill: str, rules: dict):
    """Without the flag the step is the very text of one that itemises and whose record nobody reads."""
    if fill == "limit":
        config = make_config("discrete", 11, **(rules | {"order_type": "limit", "remainder": "cancel"}))
    else:
        config = dataclasses.replace(make_config("discrete", 11, **rules), fill=fill)
    market = random_market(0)
    params = TradingEnv(config).default_params(market)
    _, state = TradingEnv(config).reset_at(0, 10, params)
    action = np.zeros(market.num_assets, np.int32)

    def program(env: TradingEnv) -> str:
        def step(params, state):
            *outcome, info = env.step_env(jax.random.key(0), state, action, params)
            assert ("order_moment" in info) == env.itemised
            assert all((fill.costs is not None) == env.itemised for fill in info["fills"])
            info = {name: value for name, value in info.items() if name != "order_moment"}
            return *outcome, info | {"fills": tuple(fill.replace(costs=None) for fill in info["fills"])}

        return jax.jit(step).lower(params, state).as_text()

    env = TradingEnv(config)
    assert program(env) == program(dataclasses.replace(env, itemised=True))
