"""Sweeps: each point is a backtest of its own, and the picture shows what the table holds."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.baselines import equal_weight
from ploutos_jax.evaluate.backtest.run import backtest, baselines_by_rule
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.heat_map import heat_map
from ploutos_jax.experiment.sweep import FIGURES, sweep
from ploutos_jax.train.config import TrainConfig
from ploutos_jax.train.loop import train_seeds
from tests.evaluate.backtest.worlds import COSTLY, make_agent, make_market
from tests.train import planted

CONFIG = dataclasses.replace(COSTLY, trailing_stop=0.1, max_participation=0.5, cash_rate=0.01)
SHARED_FIGURES = [name for name in FIGURES if name != "num_fills"]


@pytest.fixture(scope="module")
def market():
    return make_market()


@pytest.fixture(scope="module")
def agent(market):
    return make_agent(market, CONFIG)


GRIDS = {
    "costs": {"spread_bps": [0.0, 10.0, 50.0], "commission_per_share": [0.0, 0.05]},
    "exits": {"stop_loss": [0.01, 0.05], "trailing_stop": [0.02, 0.2]},
    "sizes and interest": {"buy_pct": [0.05, 0.3], "cash_rate": [0.0, 0.1]},
    "cash": {"initial_cash": [1_000.0, 1e6]},
    "participation": {"max_participation": [1e-5, 1.0]},
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", GRIDS)
def test_each_point_is_a_backtest_of_its_own(market, agent, name):
    grid = GRIDS[name]
    table = sweep(agent, market, grid, 10)
    assert list(table.columns) == [*grid, *FIGURES] and len(table) == np.prod([len(v) for v in grid.values()])
    for row in table.to_dict("records"):
        env = TradingEnv(dataclasses.replace(CONFIG, **{key: row[key] for key in grid}))
        ledger = backtest(agent, market, 10, env=env)
        figures = summarize(ledger) | {"num_fills": len(ledger.fills)}
        for figure in FIGURES:
            assert row[figure] == pytest.approx(figures[figure], rel=2e-4, abs=2e-5, nan_ok=True), (row, figure)
    assert table["final_equity"].nunique() > 1


@pytest.mark.thorough
def test_leaves_of_the_parameters_have_their_own_names(market, agent):
    leaves = sweep(agent, market, {"spread": [0.0, 0.005]})
    settings = sweep(agent, market, {"spread_bps": [0.0, 50.0]})
    pd.testing.assert_frame_equal(leaves[list(FIGURES)], settings[list(FIGURES)])


@pytest.mark.thorough
def test_points_that_change_nothing_are_backtests_too(market, agent):
    table = sweep(agent, market, {"buy_pct": [CONFIG.buy_pct] * 2})
    assert len(table) == 2 and list(table["final_equity"]) == pytest.approx([backtest(agent, market).equity[-1]] * 2)


@pytest.mark.thorough
def test_decisions_are_swept_too(market):
    targets = equal_weight(market)
    table = sweep(targets[:-1], market, {"slippage_bps": [1.0, 20.0]}, env=COSTLY.without_strategy_rules())
    for row in table.to_dict("records"):
        config = dataclasses.replace(COSTLY, slippage_bps=row["slippage_bps"])
        ledger = baselines_by_rule(market, config, {"rule": equal_weight})["rule"]
        assert row["final_equity"] == pytest.approx(ledger.equity[-1], rel=1e-5)
        assert row["total_cost"] == pytest.approx(ledger.cost.sum(), rel=1e-4)


@pytest.mark.thorough
def test_a_training_is_swept_over_the_numbers_of_ppo():
    """Each point is a run of its own with these numbers, from the same seeds."""
    config = dataclasses.replace(
        planted.CONFIG, total_timesteps=2 * planted.CONFIG.timesteps_per_update, num_seeds=2, seed=3
    )
    market = planted.market()
    grid = {"learning_rate": [1e-4, 3e-3]}
    table = sweep(config, market, grid, planted.SPLIT, env=planted.ENV)
    assert list(table["seed"]) == [3, 4, 3, 4] and list(table["learning_rate"]) == [1e-4, 1e-4, 3e-3, 3e-3]
    hyper = config.hyper().replace(learning_rate=3e-3)
    agents = train_seeds(config, planted.seen(), planted.ENV, hyper=hyper)
    figures = summarize(backtest(agents[1], market, planted.SPLIT))
    for name in SHARED_FIGURES:
        assert table[name].iloc[3] == pytest.approx(figures[name], rel=1e-9, nan_ok=True), name
    assert table["final_equity"].nunique() == 4


@pytest.mark.thorough
def test_points_side_by_side_are_those_trained_alone():
    """Numbers of PPO and of the environment in one program; one that diverges does not end the others."""
    config = dataclasses.replace(planted.CONFIG, total_timesteps=2 * planted.CONFIG.timesteps_per_update)
    rules = dataclasses.replace(planted.ENV.config, spread_bps=1.0)
    grid = {"learning_rate": [1e-3, 1e30], "spread_bps": [1.0, 40.0]}
    both = sweep(config, planted.market(), grid, planted.SPLIT, env=rules, at_once=4)
    assert both["final_equity"].isna().tolist() == [False, False, True, True]
    for row in both.head(2).to_dict("records"):
        env = TradingEnv(dataclasses.replace(rules, spread_bps=row["spread_bps"]))
        (agent,) = train_seeds(config, planted.seen(), env)
        figures = summarize(backtest(agent, planted.market(), planted.SPLIT, env=env))
        for name in ("total_return", "turnover", "total_cost"):
            assert row[name] == pytest.approx(figures[name], rel=0.05, abs=1e-3), name
    assert both["total_cost"][1] > 2 * both["total_cost"][0]


REFUSED = {
    "an unknown name": ({"spred": [1.0]}, "A sweep over 'spred': there is no such number. Did you mean 'spread'\\?"),
    "a rule that is off": ({"take_profit_atr": [1.0]}, r"\(take_profit_atr=\.\.\.\), and the sweep numbers only"),
    "a rule switched off": ({"stop_loss": [None, 0.1]}, "with None the rule is off"),
    "part of the program": ({"settlement_days": [0, 2]}, "it is part of the program, not a number"),
    "a choice": ({"fill": ["next_open", "next_close"]}, "it is part of the program"),
    "a value out of bounds": ({"buy_pct": [2.0]}, r"buy_pct=2.0 must"),
    "no value": ({"spread_bps": []}, "has no value of spread_bps"),
    "no name": ({}, "The sweep has no name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sweep(market, agent, case):
    grid, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        sweep(agent, market, grid)


def test_what_is_no_sweep_of_a_training(market):
    with pytest.raises(ValueError, match="swept over numbers of PPO and of the environment, and 'num_envs' is none"):
        sweep(TrainConfig(), market, {"num_envs": [1.0]}, 50)
    with pytest.raises(ValueError, match="needs start=, the first bar to score on"):
        sweep(TrainConfig(), market, {"gamma": [0.9]})
    with pytest.raises(ValueError, match="leaves no bars to train on"):
        sweep(TrainConfig(), market, {"gamma": [0.9]}, 0)
    with pytest.raises(ValueError, match=r"decisions have shape \(5, 3\); the span has 89 bars"):
        sweep(np.zeros((5, 3)), market, {"spread_bps": [1.0]}, env=EnvConfig())


def table_of(values):
    rows = [
        {"a": a, "b": b, "sharpe": values[i][j]} for i, b in enumerate((1, 2)) for j, a in enumerate((0.1, 0.2, 0.3))
    ]
    return pd.DataFrame(rows)


def test_a_heat_map_shows_the_numbers_of_the_table():
    figure = heat_map(table_of([[1.0, -2.0, np.nan], [0.25, 3.0, -1.0]]), "a", "b")
    axes = figure.axes[0]
    shown = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "1.00", (1, 0): "−2.00", (2, 0): "–", (0, 1): "0.25", (1, 1): "3.00", (2, 1): "−1.00"}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.1", "0.2", "0.3"]
    assert axes.images[0].get_clim() == (-3.0, 3.0) and figure._repr_png_().startswith(b"\x89PNG")


def test_seeds_are_averaged_and_one_sign_uses_all_colours():
    twice = pd.concat([table_of([[1.0, 2.0, 3.0]] * 2), table_of([[3.0, 2.0, 1.0]] * 2)])
    axes = heat_map(twice, "a", "b").axes[0]
    assert {text.get_text() for text in axes.texts} == {"2.00"}
    assert heat_map(table_of([[1.0, 2.0, 3.0]] * 2), "a", "b").axes[0].images[0].get_clim() == (1.0, 3.0)


def test_what_is_no_heat_map():
    table = table_of([[1.0, 2.0, 3.0]] * 2)
    with pytest.raises(ValueError, match="no column 'c'; there are a, b, sharpe"):
        heat_map(table, "c", "b")
    with pytest.raises(ValueError, match="needs three columns"):
        heat_map(table, "a", "a")
    wide = pd.DataFrame({"a": range(30), "b": 1, "sharpe": 0.0})
    with pytest.raises(ValueError, match="30 values of a and 1 of b; draw at most 24"):
        heat_map(wide, "a", "b")
