"""Derivatives of backtests by costs and limits: against differences of whole backtests in float64, and by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ploutos_jax.agents.agent import Agent
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.trading import TradingEnv
from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.evaluate.backtest.sensitivity import METRICS, gradient_of
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.market.panel import Market
from tests.evaluate.backtest.worlds import make_agent, make_market
from tests.marks import thorough_but

CONFIG = EnvConfig(
    action="bands",
    episode_length=20,
    stop_loss=None,
    take_profit=None,
    spread_bps=8.0,
    tick_size=None,
    fees="none",
    impact=0.5,
    commission_bps=2.0,
    initial_cash=1e7,
    min_order_cash=0.0,
)
BY = ("spread", "slippage", "commission", "impact", "cash_rate")
STEP = 1e-6


def blind_agent(market: Market, config: EnvConfig) -> Agent:
    """Return an agent that sees the market alone: what it does is the same in every backtest."""
    agent = make_agent(market, config)
    policy = dataclasses.replace(agent.network.model.config, sees_account=False)
    model = dataclasses.replace(agent.network.model, config=policy)
    return dataclasses.replace(agent, network=dataclasses.replace(agent.network, model=model))


@pytest.fixture(scope="module")
def doubled() -> tuple[Agent, Market]:
    """Return an agent and its market in float64."""
    with jax.enable_x64(True):
        market = make_market()
        assert market.close.dtype == np.float64
        return blind_agent(market, CONFIG), market


@pytest.mark.parametrize("metric", thorough_but(["total_return"], METRICS))
def test_slopes_equal_differences_of_whole_backtests(doubled, metric):
    agent, market = doubled
    with jax.enable_x64(True):
        found = gradient_of(metric, agent, market, by=BY, step=STEP)
    assert found.slopes == pytest.approx(found.moved, rel=1e-6, abs=2e-8), "2e-8 is rounding over the step"
    assert all(found.slopes[name] != 0 for name in ("spread", "slippage", "commission", "impact"))
    assert found.slopes["cash_rate"] == 0, "the rule is off"
    assert found.per_basis_point("spread") == pytest.approx(1e-4 * found.slopes["spread"])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["spread", "slippage", "commission", "commission_per_share_cash", "impact"])
def test_the_first_more_of_a_cost_counts_in_full(doubled, name):
    """Of a cost that is 0 the slope is that to the right: there is no cost below it."""
    agent, market = doubled
    free = dataclasses.replace(CONFIG, spread_bps=0.0, slippage_bps=0.0, commission_bps=0.0, impact=1e-12)
    with jax.enable_x64(True):
        found = gradient_of(
            "total_return", agent, market, by=(name,), env=TradingEnv(free), step=STEP if name != "impact" else 1e-4
        )
    assert found.slopes[name] < 0
    assert found.slopes[name] == pytest.approx(found.moved[name], rel=2e-4)


@pytest.mark.thorough
def test_a_commission_costs_what_is_traded(doubled):
    """The slope at no cost at all, by hand: of each dollar traded, grown as the account grows from there on."""
    agent, market = doubled
    free = dataclasses.replace(CONFIG, spread_bps=0.0, slippage_bps=0.0, commission_bps=0.0, impact=None)
    with jax.enable_x64(True):
        env = TradingEnv(free)
        ledger = backtest(agent, market, env=env)
        found = gradient_of("total_return", agent, market, by=("slippage", "commission"), env=env)
    by_hand = -sum(
        abs(fill.shares) * fill.price * ledger.equity[-1] / ledger.equity[fill.bar]
        for fill in ledger.fills.itertuples()
    )
    assert found.slopes["commission"] == pytest.approx(by_hand / ledger.equity[0], rel=0.05), (
        "cash that is gone buys less"
    )
    assert found.slopes["commission"] == pytest.approx(found.slopes["slippage"], rel=0.05)


@pytest.mark.thorough
def test_the_figures_are_those_of_a_backtest(doubled):
    agent, market = doubled
    with jax.enable_x64(True):
        known = summarize(backtest(agent, market))
        for metric in METRICS:
            assert gradient_of(metric, agent, market, by=("spread",)).value == pytest.approx(known[metric], rel=1e-6)


@pytest.mark.thorough
def test_where_an_event_moves_the_difference_shows():
    """Without a smallest order a stop is what jumps: two backtests a percent of stop apart are not one slope."""
    config = dataclasses.replace(CONFIG, stop_loss=0.03, impact=None)
    market = make_market()
    found = gradient_of("total_return", blind_agent(market, config), market, by=("stop_loss",), step=0.01)
    assert np.isfinite(found.slopes["stop_loss"])
    assert abs(found.moved["stop_loss"] - found.slopes["stop_loss"]) > 1e-3


@pytest.mark.thorough
def test_a_figure_of_ones_own_and_a_number_of_each_asset():
    market = make_market()
    agent = blind_agent(market, CONFIG)
    own = gradient_of(lambda equity, _: jnp.log(equity[-1]), agent, market, by=("initial_cash", "max_position_pct"))
    cash = CONFIG.initial_cash
    assert own.slopes["initial_cash"] * cash == pytest.approx(1, abs=0.02), "but for impact, size is no matter"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"metric": "luck"}, "metric='luck' is unknown; use 'total_return'"),
        ({"by": ("spreads",)}, "by='spreads' is no number of the rules"),
        ({"by": ("min_holding_bars",)}, "by='min_holding_bars' is no number"),
        ({"end": 2}, "holds 2 bars"),
    ],
)
def test_what_cannot_be_asked(given, message):
    market = make_market()
    with pytest.raises(ValueError, match=message):
        gradient_of(**({"metric": "sharpe", "agent": blind_agent(market, CONFIG), "market": market} | given))
