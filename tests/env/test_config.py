"""EnvConfig: what it refuses, that it survives files, and that each of its settings changes something."""

import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.env.types import EnvParams, EnvState
from tests.env.scenes import EVERY_RULE
from tests.env.worlds import NUM_BARS, make_config, random_actions, random_market, random_noise, simulate

NAN, INFINITE = float("nan"), float("inf")

BAD: dict[str, list[Any]] = {
    "action": ["short", ""],
    "decide_every": [0, -2, 1.5],
    "action_masks": ["all", None],
    "observation": ["short", None],
    "episode_length": [0, -3],
    "initial_cash": [0.0, -1.0, NAN, INFINITE],
    "fill": ["open", None],
    "order_type": ["stop", None],
    "limit_offset_bps": [-1.0, NAN],
    "buy_pct": [0.0, -0.1, 1.5, NAN],
    "max_position_pct": [0.0, 1.01],
    "max_sector_pct": [0.0, 1.5],
    "sizing": ["kelly"],
    "instrument": ["coin"],
    "target_volatility": [0.0, -0.1],
    "risk_pct": [0.0, 2.0],
    "risk_atr": [0.0, -1.0],
    "bars_per_year": [0.0, NAN],
    "drawdown_scaling": [0.0, 1.0],
    "no_trade_band": [-0.01],
    "min_order_cash": [-1.0, NAN],
    "lot_size": [0.0, -1.0],
    "max_participation": [0.0, 1.5],
    "remainder": ["keep"],
    "min_holding_bars": [0, -1, 1.5],
    "max_trades_per_day": [0, 2.5],
    "spread_bps": [-1.0, NAN],
    "tick_size": [-0.01],
    "slippage_bps": [-1.0],
    "slippage_atr": [-0.1],
    "slippage_volatility": [-0.1],
    "slippage_noise": [-0.5],
    "impact": [-1.0, INFINITE],
    "fees": ["free"],
    "fee_rounding": ["month"],
    "commission_bps": [-1.0, NAN],
    "commission_per_share": [-0.01],
    "commission_per_order": [-1.0],
    "commission_min": [-1.0],
    "stop_loss": [0.0, 1.0, -0.02, NAN],
    "take_profit": [0.0, -0.04, NAN, INFINITE],
    "trailing_stop": [0.0, 1.0],
    "break_even": [0.0, -0.1],
    "stop_loss_atr": [0.0],
    "take_profit_atr": [-1.0],
    "trailing_atr": [0.0, NAN],
    "max_holding_bars": [0, 1.5],
    "drawdown_halt": [0.0, 1.0],
    "both_touched": ["stop"],
    "settlement_days": [-1, 6, 1.5],
    "cash_rate": [-0.01],
    "day_trade_rule": ["pdt", None],
    "day_trade_mode": ["never"],
    "day_trade_equity": [-1.0],
    "delisting_recovery": [-0.1, 1.1],
    "ruin_pct": [-0.1, 1.1, NAN],
    "reward": ["sharpe"],
    "reward_eta": [0.0, 1.5],
    "reward_volatility": [0.0],
    "reward_scaling": [NAN],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_settings_are_refused_by_name_and_value(name: str, value: Any):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        EnvConfig(**{name: value})


def test_settings_that_make_no_sense_together_are_refused():
    with pytest.raises(ValueError, match="must stay below 10,000"):
        EnvConfig(spread_bps=19_000.0, slippage_bps=600.0)
    with pytest.raises(ValueError, match="remainder='carry' has nothing to carry: set max_participation"):
        EnvConfig(remainder="carry")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"slippage_atr": 0.1}, "atr"),
        ({"trailing_atr": 2.0}, "atr"),
        ({"sizing": "atr"}, "atr"),
        ({"slippage_volatility": 0.1}, "volatility"),
        ({"sizing": "volatility"}, "volatility"),
        ({"impact": 1.0}, "adv"),
    ],
)
def test_a_market_that_lacks_what_a_rule_reads_is_refused(settings: dict[str, Any], field: str):
    market = random_market(0).replace(**{field: None})
    env = TradingEnv(EnvConfig(episode_length=5, **settings))
    with pytest.raises(ValueError, match=f"The market has no '{field}'"):
        env.default_params(market)
    assert TradingEnv(EnvConfig(episode_length=5)).default_params(market.replace(atr=None, volatility=None, adv=None))


def test_settings_survive_json():
    config = EnvConfig(**{**EVERY_RULE, "fees": "alpaca@2024-05-22", "reward": "log_return, -0.1*turnover"})
    assert EnvConfig.from_plain(json.loads(json.dumps(config.to_plain()))) == config
    assert EnvConfig.from_plain(json.loads(json.dumps(EnvConfig().to_plain()))) == EnvConfig()
    terms = EnvConfig(reward=(("log_return", 2.0), ("turnover", -0.5)))
    assert EnvConfig.from_plain(terms.to_plain()).reward == "2.0*log_return, -0.5*turnover"
    own = EnvConfig(reward=lambda before, after: after.equity, buy_pct=0.2)
    assert EnvConfig.from_plain(json.loads(json.dumps(own.to_plain()))) == EnvConfig(buy_pct=0.2)


def test_rules_for_following_weights_keep_costs_and_drop_the_strategy():
    loose = EnvConfig(**EVERY_RULE).without_strategy_rules()
    assert (loose.action, loose.max_position_pct) == ("weights", 1.0)
    assert (loose.drawdown_halt, loose.max_holding_bars, loose.max_trades_per_day) == (None, None, None)
    for name in ("impact", "slippage_atr", "max_participation", "cash_rate", "day_trade_rule", "fee_rounding"):
        assert getattr(loose, name) == EVERY_RULE[name]


NUMBERS: dict[str, float] = {
    "episode_length": 50,
    "initial_cash": 50_000.0,
    "buy_pct": 0.2,
    "max_position_pct": 0.1,
    "max_sector_pct": 0.2,
    "target_volatility": 0.1,
    "bars_per_year": 1_000.0,
    "drawdown_scaling": 0.1,
    "min_order_cash": 5_000.0,
    "lot_size": 70.0,
    "max_participation": 0.01,
    "min_holding_bars": 5,
    "spread_bps": 50.0,
    "tick_size": 1.0,
    "slippage_bps": 5.0,
    "slippage_atr": 0.2,
    "slippage_volatility": 0.2,
    "slippage_noise": 0.5,
    "impact": 0.3,
    "commission_bps": 5.0,
    "commission_per_share": 0.01,
    "commission_per_order": 1.0,
    "commission_min": 2.0,
    "stop_loss": 0.03,
    "take_profit": 0.02,
    "trailing_stop": 0.01,
    "break_even": 0.005,
    "stop_loss_atr": 0.5,
    "take_profit_atr": 0.5,
    "trailing_atr": 0.5,
    "max_holding_bars": 3,
    "drawdown_halt": 0.02,
    "cash_rate": 0.3,
    "day_trade_equity": 1e9,
    "delisting_recovery": 0.5,
    "ruin_pct": 0.999,
    "reward_eta": 0.1,
    "reward_volatility": 0.05,
    "reward_scaling": 2.0,
}
"""Another value of each number."""

SIZED_BY_ATR = {"risk_pct": 0.03, "risk_atr": 1.0}
WEIGHTS_ONLY = {"no_trade_band": 0.2}
LIMITS_ONLY = {"limit_offset_bps": 50.0}

CHOICES: dict[str, dict[str, Any]] = {
    "action": {"action": "weights"},
    "decide_every": {"decide_every": 3},
    "reward": {"reward": "simple_return"},
    "fill": {"fill": "next_close"},
    "order_type": {"order_type": "limit"},
    "sizing": {"sizing": "atr"},
    "remainder": {"remainder": "carry"},
    "holding_binds_stops": {"holding_binds_stops": True},
    "max_trades_per_day": {"max_trades_per_day": 1},
    "fees": {"fees": "percent"},
    "instrument": {"instrument": "crypto", "fees": "auto"},
    "fee_rounding": {"fee_rounding": "fill"},
    "both_touched": {"both_touched": "target"},
    "settlement_days": {"settlement_days": 3},
    "day_trade_rule": {"day_trade_rule": "pdt_2001"},
    "day_trade_mode": {"day_trade_rule": "pdt_2001", "day_trade_mode": "exit"},
}

GENTLE = {
    **EVERY_RULE,
    "sizing": "volatility",
    "lot_size": 1.0,
    "drawdown_halt": 0.9,
    "fee_rounding": "day",
    "reward": "log_return, 0.1*differential_sharpe, 0.1*five_term",
}
"""Every rule is on, and the account goes on trading."""


def make_hyperparams(config: EnvConfig) -> dict[str, Any]:
    """Return the leaves that the configuration makes, by name."""
    params: EnvParams = TradingEnv(config).default_params(random_market(2))
    leaves = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    return {name: value for name, value in leaves.items() if name not in ("market", "starts") and value is not None}


def outcome(program: EnvConfig, config: EnvConfig) -> list[np.ndarray]:
    """Run the numbers of one configuration through the compiled program of another."""
    kind = program.action
    noise = random_noise(2) if program.slippage_noise is not None else None
    program = dataclasses.replace(program, episode_length=config.episode_length)
    trace = simulate(program, random_market(2), make_hyperparams(config), random_actions(2, kind), noise)
    return [trace.state.equity, trace.reward, trace.terminated, trace.truncated]


def differs(program: EnvConfig, change: dict[str, Any]) -> bool:
    ours, theirs = outcome(program, program), outcome(program, dataclasses.replace(program, **change))
    return any((a != b).any() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.thorough
@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_changes_something(name: str):
    assert differs(make_config(**GENTLE), {name: NUMBERS[name]})


@pytest.mark.parametrize("name", SIZED_BY_ATR)
def test_every_number_of_sizing_by_atr_changes_something(name: str):
    assert differs(make_config(sizing="atr", fees="none"), {name: SIZED_BY_ATR[name]})


@pytest.mark.parametrize("name", WEIGHTS_ONLY)
def test_every_number_of_weights_changes_something(name: str):
    assert differs(make_config("weights", no_trade_band=0.01, fees="none"), {name: WEIGHTS_ONLY[name]})


@pytest.mark.parametrize("name", LIMITS_ONLY)
def test_every_number_of_limit_orders_changes_something(name: str):
    assert differs(make_config(order_type="limit", fees="none"), {name: LIMITS_ONLY[name]})


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_changes_something(name: str):
    settings = {"buy_pct": 0.4, "max_position_pct": 1.0, "max_participation": 0.5, "min_holding_bars": 2}
    base = make_config(**settings, max_trades_per_day=9, day_trade_equity=1e9, take_profit=0.01)
    if name == "day_trade_mode":
        base = dataclasses.replace(base, day_trade_rule="pdt_2001")
    results = []
    for config in (base, dataclasses.replace(base, **CHOICES[name])):
        trace = simulate(config, random_market(2, intraday=True), {}, random_actions(2, config.action))
        results.append((trace.state.equity, trace.reward))
    assert any((a != b).any() for a, b in zip(*results, strict=True))


def test_every_setting_is_covered_above():
    settings = {field.name for field in dataclasses.fields(EnvConfig)}
    # A high that meets a target to the digit is rare: that choice has its bar in test_stops.py. Masks change what an
    # agent is told, and random orders nothing: test_masks.py. So does a brief observation: test_observation.py.
    elsewhere = {"strict_targets", "action_masks", "observation"}
    assert {*NUMBERS, *SIZED_BY_ATR, *WEIGHTS_ONLY, *LIMITS_ONLY, *CHOICES, *elsewhere} == settings
    assert set(BAD) == settings - {"holding_binds_stops", "strict_targets"}


def test_leaves_are_in_fractions_and_dollars():
    config = make_config(spread_bps=5.0, slippage_bps=3.0, commission_bps=2.0, commission_min=1.5)
    leaves = make_hyperparams(config)
    assert [float(leaves[name]) for name in ("spread", "slippage", "commission")] == pytest.approx([5e-4, 3e-4, 2e-4])
    assert float(leaves["commission_min_cash"]) == 1.5
    assert float(leaves["max_holding_bars"]) == 0
    assert (leaves["max_holding_bars"].dtype, leaves["stop_loss"].dtype) == (np.int32, np.float32)
    assert leaves["fee_rates"].shape == (3, NUM_BARS)


def test_a_rule_that_is_off_keeps_nothing_in_the_account():
    def state_of(config: EnvConfig) -> EnvState:
        params = TradingEnv(config).default_params(random_market(0, plain=not config.settlement_days))
        return jax.eval_shape(TradingEnv(config).reset, jax.random.key(0), params)[1]

    optional = {field.name for field in dataclasses.fields(EnvState) if field.default is None}
    bare = state_of(EnvConfig(episode_length=5, fees="none"))
    assert {name for name in optional if getattr(bare, name) is not None} == set()
    carrying = {
        "remainder": "carry",
        "decide_every": 3,
        "settlement_days": 2,
        "fee_rounding": "day",
        "reward": "five_term",
    }
    full = state_of(EnvConfig(episode_length=5, **(EVERY_RULE | carrying)))
    assert {name for name in optional if getattr(full, name) is None} == set()


def test_a_configuration_shows_what_differs():
    assert repr(EnvConfig()) == "EnvConfig()"
    config = EnvConfig(action="weights", spread_bps=5.0, stop_loss=None, max_holding_bars=20)
    said = repr(config)
    assert said == "EnvConfig(action='weights', spread_bps=5.0, stop_loss=None, max_holding_bars=20)"
    assert eval(said, {"EnvConfig": EnvConfig}) == config


def test_a_card_lists_the_rules_that_are_on():
    said = str(EnvConfig(stop_loss=None, take_profit=None, trailing_stop=0.1, impact=1.0))
    assert "exits    trailing_stop 0.1\n" in said and "impact 1.0" in said
    assert "stop_loss" not in said.splitlines()[4] and "lot_size" not in said
    assert "account  delisting_recovery 1.0, ruin_pct 0.1\n" in said


def test_a_reward_of_ones_own_is_shown_by_its_name():
    def mine(before, after):
        return after.equity - before.equity

    assert repr(EnvConfig(reward=mine)) == "EnvConfig(reward=mine)"
    assert repr(EnvConfig(reward=((mine, 0.5), ("turnover", -0.1)))) == (
        "EnvConfig(reward=((mine, 0.5), ('turnover', -0.1)))"
    )
