"""Returns over periods, held to empyrical, quantstats and pandas."""

import numpy as np
import pandas as pd
import pytest
import quantstats as qs
from empyrical import aggregate_returns

from ploutos_jax.evaluate.metrics.periods import (
    LENGTHS,
    QUANTILES,
    extremes,
    lengths_of,
    return_quantiles,
    returns_by,
)
from ploutos_jax.market.calendar import Calendar

RULES = {"day": "D", "week": "W-SUN", "month": "ME", "quarter": "QE", "year": "YE"}


@pytest.fixture(scope="module")
def series():
    days = pd.bdate_range("2013-02-08", periods=1300)
    return pd.Series(np.random.default_rng(1).standard_t(4, 1300) * 0.01, index=days)


@pytest.mark.parametrize("length", LENGTHS)
def test_periods_are_those_of_pandas(series, length):
    ours = returns_by(series.index.to_numpy(), series.to_numpy(), length)
    theirs = (1 + series).resample(RULES[length]).prod() - 1
    theirs = theirs[series.resample(RULES[length]).count() > 0]
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-10, atol=1e-14)
    last = series.index.to_series().resample(RULES[length]).max().dropna()
    assert (ours.index == pd.DatetimeIndex(last)).all()


@pytest.mark.parametrize(("length", "name"), [("month", "monthly"), ("quarter", "quarterly"), ("year", "yearly")])
def test_periods_are_those_of_empyrical(series, length, name):
    ours = returns_by(series.index.to_numpy(), series.to_numpy(), length)
    np.testing.assert_allclose(ours.to_numpy(), aggregate_returns(series, name).to_numpy(), rtol=1e-10)


def test_weeks_are_those_of_empyrical_inside_a_year(series):
    """empyrical groups by year and ISO week, which tears the week of a new year apart."""
    inside = series["2014-01-06":"2014-12-28"]
    ours = returns_by(inside.index.to_numpy(), inside.to_numpy(), "week")
    np.testing.assert_allclose(ours.to_numpy(), aggregate_returns(inside, "weekly").to_numpy(), rtol=1e-10)


@pytest.mark.parametrize(("length", "name"), [("month", "ME"), ("quarter", "QE"), ("year", "YE"), ("day", None)])
def test_extremes_are_those_of_quantstats(series, length, name):
    best, worst = extremes(returns_by(series.index.to_numpy(), series.to_numpy(), length), 2)
    aggregate = {"day": None, "month": "ME", "quarter": "QE", "year": "YE"}[length]
    assert best.iloc[0] == pytest.approx(qs.stats.best(series, aggregate=aggregate, prepare_returns=False), rel=1e-10)
    assert worst.iloc[0] == pytest.approx(qs.stats.worst(series, aggregate=aggregate, prepare_returns=False), rel=1e-10)


def test_quantiles_are_those_of_what_quantstats_distributes(series):
    theirs = qs.stats.distribution(series, compounded=True, prepare_returns=False)
    for length, name in (("month", "Monthly"), ("quarter", "Quarterly"), ("year", "Yearly")):
        # It sets outliers apart; the box is of all.
        every = [*theirs[name]["values"], *theirs[name]["outliers"]]
        ours = return_quantiles(returns_by(series.index.to_numpy(), series.to_numpy(), length).to_numpy())
        np.testing.assert_allclose(ours, pd.Series(every).quantile(list(QUANTILES)), rtol=1e-9, err_msg=length)


def test_bars_of_a_day_are_one_return():
    days = np.repeat(np.array(["2020-01-02", "2020-01-03"], "datetime64[D]"), 3)
    ours = returns_by(days, np.array([0.1, -0.2, 0.3, 0.0, np.nan, 0.5]), "day")
    np.testing.assert_allclose(ours.to_numpy(), [1.1 * 0.8 * 1.3 - 1, 0.5])


def test_what_is_not_known_is_left_out(series):
    holed = series.copy()
    holed["2014-03"] = np.nan
    holed.iloc[[5, 700]] = np.nan
    ours = returns_by(holed.index.to_numpy(), holed.to_numpy(), "month")
    assert pd.Timestamp("2014-03-31") not in ours.index and len(ours) == len(aggregate_returns(series, "monthly")) - 1
    theirs = (1 + holed.dropna()).resample("ME").prod() - 1
    theirs = theirs[holed.dropna().resample("ME").count() > 0]
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), rtol=1e-10)
    assert (
        np.isnan(return_quantiles(np.full(3, np.nan))).all()
        and len(returns_by(np.zeros(0, "M8[D]"), np.zeros(0), "day")) == 0
    )
    with pytest.raises(ValueError, match="2 dates for 1 returns"):
        returns_by(series.index[:2].to_numpy(), np.ones(1), "day")


def test_extremes_share_no_period():
    returns = pd.Series([0.1, -0.1, 0.3], index=pd.date_range("2020-01-01", periods=3))
    best, worst = extremes(returns, 5)
    assert list(best) == [0.3] and list(worst) == [-0.1]
    tied = pd.Series([0.1, 0.2, 0.2, 0.1], index=pd.date_range("2020-01-01", periods=4))
    assert extremes(tied, 1)[0].index[0] == tied.index[1] and extremes(tied, 1)[1].index[0] == tied.index[0]


def test_no_period_is_shorter_than_a_bar():
    assert lengths_of(Calendar()) == LENGTHS
    assert lengths_of(Calendar(periods_per_year=12, period="month")) == ("month", "quarter", "year")
    assert lengths_of(Calendar(periods_per_year=90, period="period")) == LENGTHS
