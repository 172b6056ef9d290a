"""The calendar travels from the panel to the ledger, and everything that annualises reads it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.backtest.run import baselines
from ploutos_jax.evaluate.metrics.robustness import annual_return_at_cost, robustness
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.market.calendar import Calendar, find_calendar
from ploutos_jax.market.features.build import build_market


@pytest.mark.thorough
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


def stamps(index) -> np.ndarray:
    return pd.DatetimeIndex(index).to_numpy("datetime64[ns]")


def days_of(index) -> np.ndarray:
    return pd.DatetimeIndex(index).to_numpy("datetime64[D]").astype(np.int64)


def sessions(first: str, days: int, start: str, bars: int, minutes: int) -> pd.DatetimeIndex:
    """Bars of `days` business days, so many minutes apart from a time of day on."""
    each = [
        pd.date_range(f"{d:%Y-%m-%d} {start}", periods=bars, freq=f"{minutes}min")
        for d in pd.bdate_range(first, periods=days)
    ]
    return pd.DatetimeIndex(np.concatenate(each))


@pytest.mark.parametrize(
    ("index", "periods", "per_session", "period"),
    [
        (pd.bdate_range("2015-01-01", "2019-12-31"), 252, 1, "day"),
        (pd.date_range("2019-01-01", "2021-12-31"), 365.25, 1, "day"),
        (pd.date_range("2015-01-02", "2019-12-31", freq="W-FRI"), 365.25 / 7, 1, "week"),
        (pd.date_range("2000-01-01", "2019-12-31", freq="BME"), 12, 1, "month"),
        (pd.date_range("1990-01-01", "2019-12-31", freq="QE"), 4, 1, "quarter"),
        (pd.date_range("1950-12-31", "2019-12-31", freq="YE"), 1, 1, "year"),
        (pd.date_range("2020-01-01", periods=400, freq="2D"), 365.25 / 2, 1, "period"),
        (sessions("2024-01-02", 30, "14:30", 7, 60), 252, 7, "day"),
        (sessions("2024-01-02", 4, "14:30", 390, 1), 252, 390, "day"),
        (pd.date_range("2022-01-01", "2022-03-31 23:00", freq="h"), 365.25, 24, "day"),
        (pd.date_range("2022-01-01", "2022-01-31 23:45", freq="15min"), 365.25, 96, "day"),
        # Sunday to Thursday is a week of five days, too.
        ([d for d in pd.date_range("2019-01-01", "2020-12-31") if d.weekday() not in (4, 5)], 252, 1, "day"),
        (pd.date_range("2020-01-01", periods=1), 252, 1, "day"),
    ],
)
def test_a_calendar_is_found_from_times(index, periods, per_session, period):
    found = find_calendar(stamps(index), days_of(index))
    assert found.periods_per_year == pytest.approx(periods) and found.period == period
    assert found.bars_per_session == per_session
    assert found.bars_per_year == pytest.approx(periods * per_session)


def test_a_missing_print_or_an_early_close_does_not_make_days_shorter():
    hours = pd.date_range("2022-01-01", "2022-06-30 23:00", freq="h")
    thinned = hours[np.random.default_rng(0).random(len(hours)) > 0.05]
    assert find_calendar(stamps(thinned), days_of(thinned)).bars_per_session == 24
    full = sessions("2024-01-02", 20, "14:30", 78, 5)
    cut = full[~((full.normalize() == full[0].normalize()) & (full.hour >= 18))]
    assert find_calendar(stamps(cut), days_of(cut)).bars_per_session == 78


def test_a_setting_goes_before_what_was_found():
    days = pd.bdate_range("2019-01-01", "2019-12-31")
    assert find_calendar(stamps(days), days_of(days), 243.0) == Calendar(243.0, 1.0, 243.0)
    weeks = pd.date_range("2015-01-05", "2019-12-31", freq="W-MON")
    assert find_calendar(stamps(weeks), days_of(weeks), 52.0) == Calendar(52.0, 1.0, 252.0, "week")


def test_spans_of_rules_follow_the_calendar():
    assert [Calendar().sessions_in(share) for share in (1, 1 / 4, 1 / 12, 1 / 52)] == [252, 63, 21, 5]
    assert [Calendar(365.25).sessions_in(share) for share in (1, 1 / 12, 1 / 52)] == [365, 30, 7]
    assert [Calendar(365.25 / 7).sessions_in(share) for share in (1, 1 / 4, 1 / 12, 1 / 52)] == [52, 13, 4, 1]
    assert Calendar(12.0, period="month").describe() == "one bar a month, 12 months a year"
