"""Every metric beside empyrical and quantstats, on real returns and at the edges; and where they differ, on purpose."""

import warnings

import empyrical
import numpy as np
import pandas as pd
import pytest
import quantstats.stats as quantstats
import scipy.stats

from ploutos_jax.evaluate.inference.sharpe import probabilistic_sharpe
from ploutos_jax.evaluate.metrics import summary

RNG = np.random.default_rng(11)
DAYS = pd.bdate_range("2015-01-01", periods=1300)
EDGES = {
    "random": RNG.normal(4e-4, 0.012, 1300),
    "one": np.array([0.02]),
    "two": np.array([0.01, -0.03]),
    "all_negative": -np.abs(RNG.normal(0, 0.01, 100)) - 1e-6,
    "all_positive": np.abs(RNG.normal(0, 0.01, 100)),
    "constant": np.full(50, 0.001),
    "zero": np.zeros(50),
    "gap": np.where((np.arange(300) > 40) & (np.arange(300) < 60), np.nan, RNG.normal(0, 0.01, 300)),
    "total_loss": np.append(RNG.normal(0, 0.01, 20), [-1.0, 0.0, 0.0]),
}


def series(values):
    return pd.Series(values, DAYS[: len(values)])


def dense(values):
    return values[np.isfinite(values)]


EMPYRICAL = {
    summary.total_return: empyrical.cum_returns_final,
    summary.annual_return: empyrical.annual_return,
    summary.annual_volatility: empyrical.annual_volatility,
    summary.sharpe: empyrical.sharpe_ratio,
    summary.sortino: empyrical.sortino_ratio,
    summary.calmar: empyrical.calmar_ratio,
    summary.max_drawdown: empyrical.max_drawdown,
    summary.var_95: lambda r: empyrical.value_at_risk(dense(r)),
    summary.cvar_95: empyrical.conditional_value_at_risk,
    summary.omega: empyrical.omega_ratio,
    summary.tail_ratio: empyrical.tail_ratio,
    summary.skew: lambda r: scipy.stats.skew(r, nan_policy="omit"),
    summary.kurtosis: lambda r: scipy.stats.kurtosis(r, nan_policy="omit"),
}
QUANTSTATS = {
    summary.total_return: lambda r: quantstats.comp(r),
    summary.annual_volatility: lambda r: quantstats.volatility(r),
    summary.sharpe: lambda r: quantstats.sharpe(r),
    summary.sortino: lambda r: quantstats.sortino(r),
    summary.max_drawdown: lambda r: quantstats.max_drawdown(r),
    summary.annual_return: lambda r: quantstats.cagr(r),
    summary.calmar: lambda r: quantstats.calmar(r),
    summary.omega: lambda r: quantstats.omega(r),
    summary.tail_ratio: lambda r: quantstats.tail_ratio(r),
}


def same(ours, theirs):
    if np.isfinite(theirs):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)
    else:
        assert np.isnan(ours), f"{ours} where the library has {theirs}"


def call(library, *values):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return float(library(*values))
        except ZeroDivisionError:
            return np.nan


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("metric", EMPYRICAL, ids=lambda metric: metric.__name__)
def test_a_metric_equals_that_of_empyrical(metric, name):
    same(metric(EDGES[name]), call(EMPYRICAL[metric], EDGES[name]))


QUANTSTATS_DIFFERS = {
    ("annual_return", "gap"): "only known periods count as time that passed",
    ("calmar", "gap"): "the same",
    ("sharpe", "constant"): "the rounding error of a mean counts as spread",
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("metric", QUANTSTATS, ids=lambda metric: metric.__name__)
def test_a_metric_equals_that_of_quantstats(metric, name):
    ours, theirs = metric(EDGES[name]), call(QUANTSTATS[metric], series(EDGES[name]))
    if (metric.__name__, name) in QUANTSTATS_DIFFERS:
        assert np.isfinite(theirs) and not np.isclose(ours, theirs, rtol=1e-6), "the difference is gone"
    else:
        same(ours, theirs)


@pytest.fixture(scope="module")
def real(data_dir):
    """Daily total returns of eight liquid stocks and of SPY, by date."""
    frame = pd.read_parquet(data_dir / "sp500_daily_adj_2005_2018.parquet", columns=["date", "ticker", "adj_close"])
    prices = frame.pivot(index="date", columns="ticker", values="adj_close")
    names = ["AAPL", "AMZN", "BAC", "GE", "JNJ", "MSFT", "XOM", "WMT"]
    index = pd.read_parquet(data_dir / "index_daily.parquet")
    spy = index[index["ticker"] == "SPY"].set_index("date")["close"]
    together = pd.concat([prices[names], spy.rename("SPY")], axis=1, join="inner")
    return together.astype(np.float64).pct_change().iloc[1:]


@pytest.mark.realdata
def test_metrics_of_real_returns_equal_those_of_both_libraries(real):
    assert len(real) > 3000 and real.notna().all().all()
    for name in real:
        for metric, library in EMPYRICAL.items():
            same(metric(real[name].to_numpy()), call(library, real[name].to_numpy()))
        for metric, library in QUANTSTATS.items():
            same(metric(real[name].to_numpy()), call(library, real[name]))


@pytest.mark.realdata
def test_figures_beside_a_benchmark_equal_those_of_both_libraries(real):
    spy = real["SPY"]
    for name in real.columns.drop("SPY"):
        own, other = real[name].to_numpy(), spy.to_numpy()
        same(summary.beta(own, other), call(empyrical.beta, own, other))
        same(summary.beta(own, other), float(quantstats.greeks(real[name], spy)["beta"]))
        same(summary.alpha(own, other), call(empyrical.alpha, own, other))
        same(summary.alpha(own, other, risk_free=1e-4), float(empyrical.alpha(own, other, risk_free=1e-4)))
        same(summary.information_ratio(own, other), np.sqrt(252) * call(empyrical.excess_sharpe, own, other))
        same(summary.information_ratio(own, other, 1), call(quantstats.information_ratio, real[name], spy))
        same(summary.correlation(own, other), float(np.corrcoef(own, other)[0, 1]))


@pytest.mark.realdata
@pytest.mark.parametrize("window", [21, 126])
def test_rolling_figures_of_real_returns_equal_those_of_the_libraries(real, window):
    own, other = real["AAPL"], real["SPY"]
    values, benchmark = own.to_numpy(), other.to_numpy()
    pairs = {
        "sharpe": (summary.rolling_sharpe(values, window), empyrical.roll_sharpe_ratio(values, window)),
        "volatility": (summary.rolling_volatility(values, window), empyrical.roll_annual_volatility(values, window)),
        "beta": (summary.rolling_beta(values, benchmark, window), empyrical.roll_beta(values, benchmark, window)),
        "drawdown": (summary.rolling_drawdown(values, window), empyrical.roll_max_drawdown(values, window)),
    }
    for name, (ours, theirs) in pairs.items():
        assert ours.shape == values.shape and np.isnan(ours[: window - 1]).all()
        np.testing.assert_allclose(ours[window - 1 :], theirs, rtol=1e-10, atol=1e-13, err_msg=name)
    var, cvar = summary.rolling_var(values, window), summary.rolling_cvar(values, window)
    for row in np.linspace(window, len(values), 40).astype(int):
        inside = values[row - window : row]
        same(var[row - 1], float(np.percentile(inside, 5)))
        same(cvar[row - 1], call(empyrical.conditional_value_at_risk, inside))
    # quantstats runs its sums along, which costs digits.
    np.testing.assert_allclose(
        summary.rolling_sharpe(values, window)[window - 1 :],
        quantstats.rolling_sharpe(own, rolling_period=window).to_numpy()[window - 1 :],
        rtol=1e-7,
        atol=1e-9,
    )


@pytest.mark.realdata
def test_the_table_of_months_equals_those_of_both_libraries(real):
    own = real["MSFT"]
    table = summary.monthly_returns(own.index.to_numpy(), own.to_numpy())
    theirs = quantstats.monthly_returns(own)
    np.testing.assert_allclose(table[list(range(1, 13))].fillna(0.0), theirs.iloc[:, :12], rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(table["year"], theirs["EOY"].astype(float), rtol=1e-10, atol=1e-13)
    for (year, month), value in empyrical.aggregate_returns(own, "monthly").items():
        np.testing.assert_allclose(table.loc[year, month], value, rtol=1e-10, atol=1e-13)
    yearly = empyrical.aggregate_returns(own, "yearly")
    np.testing.assert_allclose(table["year"], yearly, rtol=1e-10, atol=1e-13)


def test_figures_beside_a_benchmark_at_the_edges():
    own, other = EDGES["random"][:300], EDGES["gap"]
    same(summary.beta(own, other), call(empyrical.beta, own, other))
    same(summary.information_ratio(own, other), np.sqrt(252) * call(empyrical.excess_sharpe, own, other))
    known = np.isfinite(other)
    same(summary.alpha(own, other), call(empyrical.alpha, own[known], other[known]))
    for figure in (summary.beta, summary.alpha, summary.information_ratio, summary.correlation):
        assert np.isnan(figure(own[:1], own[:1])) and np.isnan(figure(own[:0], own[:0]))
        assert np.isnan(figure(np.zeros(9), np.zeros(9)))
    assert summary.tracking_error(own, own) == 0
    with pytest.raises(ValueError, match="300 returns, the benchmark 2"):
        summary.beta(own, own[:2])


@pytest.mark.parametrize("name", ["constant", "zero", "gap", "all_negative"])
def test_rolling_figures_at_the_edges_are_those_of_each_window(name):
    values, window = EDGES[name], 12
    pairs = {
        summary.sharpe: summary.rolling_sharpe(values, window),
        summary.annual_volatility: summary.rolling_volatility(values, window),
        summary.max_drawdown: summary.rolling_drawdown(values, window),
        summary.var_95: summary.rolling_var(values, window),
        summary.cvar_95: summary.rolling_cvar(values, window),
    }
    for metric, rolled in pairs.items():
        expected = [metric(values[i - window : i]) for i in range(window, len(values) + 1)]
        np.testing.assert_allclose(rolled[window - 1 :], expected, rtol=1e-10, atol=1e-13)
    other = EDGES["random"][: len(values)]
    rolled = summary.rolling_beta(values, other, window)
    expected = [summary.beta(values[i - window : i], other[i - window : i]) for i in range(window, len(values) + 1)]
    np.testing.assert_allclose(rolled[window - 1 :], expected, rtol=1e-10, atol=1e-13)


def test_rolling_over_too_few_returns_is_unknown_and_a_window_of_one_is_refused():
    assert np.isnan(summary.rolling_sharpe(EDGES["two"], 5)).all()
    assert summary.rolling_beta(np.zeros(0), np.zeros(0), 5).shape == (0,)
    with pytest.raises(ValueError, match="window of 1"):
        summary.rolling_sharpe(EDGES["random"], 1)


def test_months_with_gaps_and_parts():
    times = np.array(["2019-11-29", "2019-12-02", "2020-02-03", "2020-02-04"], "datetime64[ns]")
    table = summary.monthly_returns(times, np.array([0.1, np.nan, 0.1, 0.1]))
    assert list(table.index) == [2019, 2020] and list(table.columns) == [*range(1, 13), "year"]
    np.testing.assert_allclose([table.loc[2019, 11], table.loc[2019, 12], table.loc[2020, 2]], [0.1, 0.0, 0.21])
    assert np.isnan(table.loc[2020, 1]) and table.loc[2020, "year"] == pytest.approx(0.21)


def test_projections_compound_the_mean_growth():
    growth = 1.001 ** np.array([21, 22])
    projected = [summary.projected_return(np.full(300, 0.001), days) for days in summary.TRADING_DAYS]
    np.testing.assert_allclose(projected, growth - 1, rtol=1e-10)
    values = EDGES["random"]
    # A year's projection is the annual return, whatever the order of the days.
    same(summary.projected_return(values, 252), float(empyrical.annual_return(values)))
    assert np.isnan(summary.projected_return(np.zeros(0), 21))
    assert summary.projected_return(EDGES["total_loss"], 21) == -1


def test_recovery_counts_from_the_bottom_to_the_old_peak():
    wealth = np.array([4, 5, 4, 2, 3, 4.9, 5, 4.5])
    assert summary.recovery_bars(np.diff(wealth) / wealth[:-1]) == 3
    assert np.isnan(summary.recovery_bars(np.array([0.1, -0.2, 0.1])))
    assert np.isnan(summary.recovery_bars(np.array([0.1, 0.2]))) and np.isnan(summary.recovery_bars(np.zeros(0)))


class TestDefinitionsThatDiffer:
    """Where a library means something else by the same word, both sides are asserted."""

    values = EDGES["random"]
    frame = series(EDGES["random"])

    def test_quantstats_var_and_cvar_are_those_of_a_normal_law(self):
        mean, spread = self.values.mean(), self.values.std(ddof=1)
        normal = mean + spread * scipy.stats.norm.ppf(0.05)
        same(float(quantstats.value_at_risk(self.frame)), normal)
        tail = mean - spread * scipy.stats.norm.pdf(scipy.stats.norm.ppf(0.05)) / 0.05
        same(float(quantstats.cvar(self.frame)), tail)
        assert summary.var_95(self.values) != pytest.approx(normal, rel=1e-4)
        assert summary.cvar_95(self.values) != pytest.approx(tail, rel=1e-4)

    def test_quantstats_corrects_skew_and_kurtosis_for_bias(self):
        same(float(quantstats.skew(self.frame)), scipy.stats.skew(self.values, bias=False))
        same(float(quantstats.kurtosis(self.frame)), scipy.stats.kurtosis(self.values, bias=False))
        same(summary.skew(self.values), scipy.stats.skew(self.values, bias=True))

    def test_quantstats_win_rate_and_profit_factor_are_those_of_periods_without_zeros(self):
        periods = pd.Series([0.02, 0.0, -0.01, 0.03], DAYS[:4])
        assert quantstats.win_rate(periods) == pytest.approx(2 / 3)
        assert summary.win_rate(np.array([20.0, 0.0, -10.0, 30.0])) == 0.5
        assert quantstats.profit_factor(periods) == pytest.approx(5)
        # In dollars the order of sizes decides: percent of a small account and of a large one are not the same.
        assert summary.profit_factor(np.array([20.0, -1_000.0])) == 0.02

    def test_quantstats_alpha_is_not_compounded(self):
        other = series(EDGES["random"][::-1].copy())
        slope = summary.beta(self.values, other.to_numpy())
        per_period = self.values.mean() - slope * other.mean()
        same(float(quantstats.greeks(self.frame, other)["alpha"]), per_period * 252)
        same(summary.alpha(self.values, other.to_numpy()), (1 + per_period) ** 252 - 1)

    def test_quantstats_probabilistic_sharpe_takes_moments_corrected_for_bias(self):
        theirs = float(quantstats.probabilistic_ratio(self.frame))
        assert probabilistic_sharpe(self.values) == pytest.approx(theirs, abs=1e-4)
        own = self.values.mean() / self.values.std(ddof=1)
        third, fourth = scipy.stats.skew(self.values, bias=False), scipy.stats.kurtosis(self.values, bias=False) + 3
        error = np.sqrt((1 - third * own + (fourth - 1) / 4 * own**2) / (len(self.values) - 1))
        same(theirs, float(scipy.stats.norm.cdf(own / error)))

    def test_quantstats_takes_returns_that_never_fall_and_exceed_one_for_prices(self):
        doubling = series(np.array([1.5, 0.5, 2.0]))
        assert call(quantstats.comp, doubling) == pytest.approx(summary.total_return(doubling.to_numpy()))
        assert call(quantstats.sharpe, doubling) != pytest.approx(summary.sharpe(doubling.to_numpy()), rel=1e-3)

    def test_quantstats_rolling_beta_fills_gaps_with_zero(self):
        own, other = EDGES["gap"].copy(), EDGES["random"][:300]
        theirs = quantstats.rolling_greeks(series(own), series(other), 50)["beta"].to_numpy()
        filled = summary.rolling_beta(np.nan_to_num(own), other, 50)
        np.testing.assert_allclose(theirs[49:], filled[49:], rtol=1e-6)
        assert abs(theirs[65] - summary.rolling_beta(own, other, 50)[65]) > 1e-3
