"""Every figure that the charts show, read back from the page and held to quantstats, empyrical and pandas.

Annual figures are those of the ledger's calendar: the whole is done for one of 252 days a year and one of 365.25.
"""

import dataclasses

import empyrical
import numpy as np
import pandas as pd
import pytest
import quantstats as qs

from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.evidence import evidence_of
from ploutos_jax.evaluate.report.page import build_page
from ploutos_jax.evaluate.report.verdict import judge
from ploutos_jax.evaluate.stress.paths import StressedDraw, StressPath
from ploutos_jax.market.calendar import YEAR_DAYS, Calendar
from tests.evaluate.accounts import make_ledger
from tests.evaluate.report.drawn import chart_of
from tests.evaluate.report.test_page import Page

NUM_BARS = 700
DIGITS = 2e-6
"""Relative; a chart holds seven digits of what is no money."""


def close_to(theirs, **more):
    return pytest.approx(np.asarray(theirs, float), rel=DIGITS, abs=1e-9, nan_ok=True, **more)


@dataclasses.dataclass(frozen=True)
class Case:
    """A page, and the daily returns of agent and benchmark that it is of."""

    page: str
    own: pd.Series
    index: pd.Series
    year: float
    ledger: object


def page_beside(ledger, index, **more):
    ledgers = {"agent": ledger, "Index": index}
    figures = {"agent": summarize(ledger, benchmark=index), "Index": summarize(index)}
    evidence = evidence_of(ledgers, figures)
    roles = {name: one.role for name, one in ledgers.items()}
    verdict = judge("agent", figures, evidence, roles=roles, provenance=ledger.provenance)
    return build_page(ledgers, figures, evidence, verdict=verdict, title="t", facts={}, relative_to="Index", **more)


@pytest.fixture(scope="module", params=[252.0, YEAR_DAYS])
def case(request):
    facts = {"calendar": Calendar(periods_per_year=request.param, days_per_year=request.param)}
    ledger, index = (make_ledger(name, i, NUM_BARS, 5, **facts) for i, name in enumerate(("agent", "Index")))
    own, other = (one.to_quantstats() for one in (ledger, index))
    return Case(page_beside(ledger, index), own, other, request.param, ledger)


def window_of(case):
    window = round(case.year)
    assert len(case.own) >= 2 * window or window == 365
    return window if len(case.own) >= 2 * window else round(case.year / 2)


def test_years_beside_the_benchmark(case):
    bars = chart_of(case.page, "Return by year")
    assert bars.x == [str(year) for year in sorted(set(case.own.index.year))]
    for name, returns in (("agent", case.own), ("Index", case.index)):
        assert bars.lines[name] == close_to(empyrical.aggregate_returns(returns, "yearly"))
        assert bars.lines[name] == close_to(qs.utils.group_returns(returns, returns.index.year, compounded=True))


def test_quantiles_of_returns_by_length(case):
    boxes = chart_of(case.page, "Quantiles")
    theirs = qs.stats.distribution(case.own, compounded=True, prepare_returns=False)
    for place, name in ((0, "Daily"), (2, "Monthly"), (3, "Quarterly"), (4, "Yearly")):
        every = pd.Series([*theirs[name]["values"], *theirs[name]["outliers"]])
        assert boxes.x[place].split("\n")[1] == f"{len(every):,}"
        ours = [values[place] for values in boxes.lines.values()]
        assert ours == close_to(every.quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]))
    weeks = (1 + case.own).resample("W-SUN").prod() - 1
    assert [values[1] for values in boxes.lines.values()] == close_to(
        weeks.quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    )


def test_best_and_worst_days_and_months(case):
    page = Page(case.page)
    for word, aggregate in (("days", None), ("months", "ME")):
        table = next(table for table in page.tables if table[0][0][2] == [f"Best {word}"])
        values = [[float(cell[1]["data-v"]) for cell in row if "data-v" in cell[1]] for row in table[1:]]
        grouped = case.own if aggregate is None else (1 + case.own).resample(aggregate).prod() - 1
        assert [best for best, _ in values] == close_to(grouped.nlargest(5))
        assert [worst for _, worst in values] == close_to(grouped.nsmallest(5))
        assert values[0][0] == close_to(qs.stats.best(case.own, aggregate=aggregate, prepare_returns=False))
        assert values[0][1] == close_to(qs.stats.worst(case.own, aggregate=aggregate, prepare_returns=False))


def test_rolling_figures(case):
    window = window_of(case)
    sharpe = chart_of(case.page, "Sharpe ratio over").lines["agent"]
    theirs = qs.stats.rolling_sharpe(case.own, rolling_period=window, periods_per_year=case.year, prepare_returns=False)
    assert sharpe == close_to(theirs[-sharpe.size :])
    volatility = chart_of(case.page, "Volatility a year")
    for name, returns in (("agent", case.own), ("Index", case.index)):
        spread = returns.rolling(window).std() * np.sqrt(case.year)
        assert volatility.lines[name] == close_to(spread[window - 1 :])
        assert volatility.lines[name][-1] == close_to(
            empyrical.annual_volatility(returns[-window:], annualization=case.year)
        )
    beta = chart_of(case.page, "Beta against Index").lines["agent"]
    assert beta == close_to(empyrical.roll_beta(case.own, case.index, window=window)[-beta.size :])
    greeks = qs.stats.rolling_greeks(case.own, case.index, periods=window, prepare_returns=False)
    assert beta == close_to(greeks["beta"].dropna().to_numpy()[-beta.size :])
    loss = chart_of(case.page, "Rolling VaR").lines
    assert loss["VaR 95"] == close_to(case.own.rolling(window).quantile(0.05)[window - 1 :])
    assert loss["CVaR 95"][-1] == close_to(empyrical.conditional_value_at_risk(case.own[-window:]))


def test_drawdowns_of_both(case):
    falls = chart_of(case.page, "Drawdown of agent").lines
    for name, returns in (("agent", case.own), ("Index", case.index)):
        theirs = qs.stats.to_drawdown_series(returns).to_numpy()
        np.testing.assert_allclose(falls[name][1:], theirs, atol=1e-7)
        assert falls[name].min() == close_to(empyrical.max_drawdown(returns))


def test_distribution_and_its_tail(case):
    bars = chart_of(case.page, "Daily returns")
    assert bars.lines["Days"].sum() == len(case.own)
    (cvar, _, _), (var, _, said_var) = bars.content["uprights"]
    assert var == close_to(empyrical.value_at_risk(case.own, 0.05)) and f"{var:.1%}"[1:] in said_var
    assert cvar == close_to(max(empyrical.conditional_value_at_risk(case.own, 0.05), np.quantile(case.own, 0.005)))
    step = bars.content["step"]
    inside = case.own[(case.own > bars.x[1] - step / 2) & (case.own <= bars.x[-2] + step / 2)]
    assert bars.lines["Days"][1:-1].sum() == pytest.approx(len(inside), abs=1)
    assert bars.lines["Normal law"].sum() == pytest.approx(len(case.own), rel=0.03)


def test_alpha_and_beta_against_the_index(case):
    table = next(t for t in Page(case.page).tables if any(row[0][1].get("data-key") == "alpha" for row in t))
    own = {row[0][1].get("data-key"): row[1][1].get("data-v") for row in table}
    alpha, beta = empyrical.alpha_beta(case.own, case.index, annualization=case.year)
    assert (float(own["alpha"]), float(own["beta"])) == (pytest.approx(alpha), pytest.approx(beta))
    assert float(own["beta"]) == pytest.approx(
        qs.stats.greeks(case.own, case.index, case.year, prepare_returns=False)["beta"]
    )


def test_leverage_turnover_and_positions_are_those_of_the_account(case):
    gross = case.ledger.gross_exposure / case.ledger.equity
    assert chart_of(case.page, "Leverage").lines["Leverage"] == close_to(gross)
    assert chart_of(case.page, "Turnover").lines["Turnover"] == close_to(case.ledger.turnover)


@pytest.mark.thorough
def test_shocks_are_marked_where_they_struck():
    ledger, index = make_ledger("agent", 0, 60), make_ledger("Index", 1, 60)
    median = StressedDraw(ledger.equity * 0.9, ledger.equity, 10, 12, -0.1)
    worst = StressedDraw(ledger.equity * 0.8, ledger.equity, 20, 20, -0.2)
    path = StressPath("gap_down", ledger.times, median, worst, 8)
    stress = pd.DataFrame({"return_change": [0.0, -0.1]}, index=["none", "gap_down"])
    page = page_beside(ledger, index, stress=stress, stress_paths=[path])
    drawn = chart_of(page, "Equity under gap_down")
    assert drawn.lines["Median draw"] == close_to(median.equity) and drawn.lines["No shock"] == close_to(ledger.equity)
    at = [[np.datetime64(int(second), "s") for second in band[:2]] for band in drawn.content["bands"]]
    assert at == [list(ledger.times[[10, 12]]), list(ledger.times[[20, 20]])]
    assert [band[3] for band in drawn.content["bands"]] == ["median", "worst"]
    assert "Gap down: −10.0 points of total return in the median of 8 draws, −20.0 points in the worst" in page
    page = page_beside(ledger, index, stress=stress, stress_paths=[dataclasses.replace(path, draws=1)])
    assert set(chart_of(page, "Equity under gap_down").lines) == {"Under the shock", "No shock"}
