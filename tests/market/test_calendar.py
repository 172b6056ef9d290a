"""The calendar travels from the panel to the ledger, and everything that annualises reads it."""

import dataclasses

import numpy as np
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.run import baselines
from ploutos_jax.evaluate.metrics.robustness import annual_return_at_cost, robustness
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.market.calendar import Calendar
from ploutos_jax.market.features.build import build_market


def test_a_calendar_is_carried_from_the_panel_to_the_figures(make_panel):
    panel = make_panel(num_bars=60)
    assert panel.calendar.periods_per_year == 365.25, "its days include weekends"
    weekly = panel.replace(labels=dataclasses.replace(panel.labels, calendar=Calendar(52.0, 1.0)))
    market = build_market(weekly, "minimal")
    assert market.window(10, 50).calendar.periods_per_year == 52
    ledger = baselines(market, EnvConfig())["buy and hold"]
    assert ledger.calendar == Calendar(52.0, 1.0)
    daily = dataclasses.replace(ledger, calendar=Calendar())
    own, other = summarize(ledger), summarize(daily)
    for name in ("annual_volatility", "sharpe"):
        assert own[name] / other[name] == pytest.approx(np.sqrt(52 / 252), rel=1e-12)
    assert 1 + own["annual_return"] == pytest.approx((1 + other["annual_return"]) ** (52 / 252), rel=1e-12)
    multiple = np.array([1.0])
    assert annual_return_at_cost(ledger, multiple) != annual_return_at_cost(daily, multiple)
    assert robustness(ledger)["annual_return_without_best_days"] != robustness(daily)["annual_return_without_best_days"]


def test_a_calendar_without_periods_is_refused():
    with pytest.raises(ValueError, match="periods_per_year=0"):
        Calendar(0)
