"""A ledger for people and other libraries: its card and figures, daily returns beside quantstats, the picture."""

import dataclasses
import warnings

import empyrical
import numpy as np
import pandas as pd
import pytest
import quantstats

from ploutos_jax.evaluate.metrics.summary import summarize
from tests.evaluate.accounts import account_of, make_ledger


@pytest.fixture(scope="module")
def ledger():
    return make_ledger("mine", num_bars=300)


def test_the_card_says_what_the_summary_holds(ledger):
    figures, said = summarize(ledger), str(ledger)
    assert repr(ledger) == (
        f"Ledger('mine', 300 bars, 2017-01-30 to 2018-03-26, {figures['total_return']:+.1%}, {len(ledger.fills)} fills)"
    )
    rows = dict(line.strip().split("  ", 1) for line in said.splitlines()[1:])
    rows = {name: text.strip() for name, text in rows.items()}
    assert rows["sharpe"] == f"{figures['sharpe']:,.2f}" and rows["max drawdown"] == f"{figures['max_drawdown']:.1%}"
    assert rows["closed trades"] == str(figures["num_trades"])
    assert rows["final equity"] == f"${figures['final_equity']:,.0f}"
    assert len(said.splitlines()) <= 20 and "<table>" in ledger._repr_html_()


def test_an_account_that_did_nothing_has_a_card():
    still = account_of([100.0, 100.0])
    assert "0 fills" in repr(still) and "–" in str(still)


def test_summary_is_a_column_of_a_table(ledger):
    other = make_ledger("other", seed=1, num_bars=300)
    table = pd.DataFrame({one.name: one.summary() for one in (ledger, other)})
    assert table.loc["sharpe", "mine"] == summarize(ledger)["sharpe"]
    assert {"alpha", "beta"} <= set(ledger.summary(benchmark=other).index) - set(ledger.summary().index)


def test_to_frame_has_dates_as_index(ledger):
    frame = ledger.to_frame()
    assert isinstance(frame.index, pd.DatetimeIndex) and len(frame) == 301
    np.testing.assert_array_equal(frame["equity"], ledger.equity)
    np.testing.assert_array_equal(frame["equity"].pct_change()[1:], ledger.returns)


def test_quantstats_and_empyrical_take_the_returns(ledger):
    returns = ledger.to_quantstats()
    assert isinstance(returns.index, pd.DatetimeIndex) and returns.name == "mine"
    np.testing.assert_array_equal(returns.index.to_numpy(), ledger.times[1:])
    figures = ledger.summary()
    with warnings.catch_warnings():
        # quantstats' own use of pandas.
        warnings.simplefilter("ignore")
        known = {
            "sharpe": quantstats.stats.sharpe(returns),
            "sortino": quantstats.stats.sortino(returns),
            "max_drawdown": quantstats.stats.max_drawdown(returns),
            "annual_volatility": quantstats.stats.volatility(returns),
            "total_return": quantstats.stats.comp(returns),
        }
        assert len(quantstats.reports.metrics(returns, display=False)) > 10
    for name, value in known.items():
        assert figures[name] == pytest.approx(value, rel=1e-9), name
    assert figures["calmar"] == pytest.approx(empyrical.calmar_ratio(returns), rel=1e-9)


def test_intraday_returns_are_those_of_sessions():
    """Against pandas: the last equity of each date, and the first of all before it."""
    times = np.concatenate([np.datetime64("2020-01-06T14:30") + np.arange(7) * np.timedelta64(1, "h")] * 3)
    times = times + np.repeat(np.arange(3), 7) * np.timedelta64(1, "D")
    equity = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 21)))
    bare = account_of(equity)
    ledger = dataclasses.replace(bare, times=times, sessions=times.astype("datetime64[D]").astype(int))
    closes = pd.Series(equity, pd.DatetimeIndex(times)).groupby(times.astype("datetime64[D]")).last()
    expected = closes.to_numpy() / np.append(equity[0], closes.to_numpy()[:-1]) - 1
    returns = ledger.to_quantstats()
    np.testing.assert_allclose(returns, expected, rtol=1e-12)
    assert list(returns.index) == list(pd.DatetimeIndex(closes.index))


def test_a_plot_draws_what_it_is_given(ledger):
    other = make_ledger("other", seed=1, num_bars=300)
    figure = ledger.plot(other, title="Two accounts")
    top = figure.axes[0]
    curves = [line.get_ydata() for line in top.lines if len(line.get_ydata()) == 301]
    assert any(np.array_equal(curve, ledger.equity) for curve in curves)
    assert any(np.allclose(curve, other.equity) for curve in curves)
    assert "Two accounts" in {text.get_text() for text in figure.texts}
    assert ledger.plot(other).texts[0].get_text() == "mine and other"
    assert figure._repr_png_().startswith(b"\x89PNG")
    trades = ledger.plot(ticker="AAA")
    assert "AAA: " in trades.texts[0].get_text()


def test_what_cannot_be_drawn_is_refused(ledger):
    with pytest.raises(ValueError, match="'ZZZ' is not among the 3 of the ledger: AAA"):
        ledger.plot(ticker="ZZZ")
    with pytest.raises(ValueError, match="run both over the same bars"):
        ledger.plot(make_ledger("short", num_bars=30))
    with pytest.raises(ValueError, match="share a name"):
        ledger.plot(make_ledger("mine", seed=1, num_bars=300))
    with pytest.raises(ValueError, match="leave the rest out"):
        ledger.plot(make_ledger("other", num_bars=300), ticker="AAA")
