"""Metrics against empyrical and SciPy, against numbers worked out by hand, and at the edges."""

import warnings

import empyrical
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ploutos_jax.evaluate.ledger import FILL_COLUMNS, Ledger
from ploutos_jax.evaluate.metrics import summary
from ploutos_jax.evaluate.round_trips import TRADE_COLUMNS

RNG = np.random.default_rng(7)
SERIES = {
    "random": RNG.normal(4e-4, 0.012, 1250),
    "short": RNG.normal(0, 0.02, 7),
    "two": np.array([0.01, -0.03]),
    "one": np.array([0.02]),
    "all_negative": -np.abs(RNG.normal(0, 0.01, 100)),
    "all_positive": np.abs(RNG.normal(0, 0.01, 100)),
    "constant": np.full(50, 0.001),
    "zero": np.zeros(50),
    "missing": np.where(RNG.uniform(size=300) < 0.1, np.nan, RNG.normal(0, 0.01, 300)),
    "total_loss": np.append(RNG.normal(0, 0.01, 20), [-1.0, 0.0, 0.0]),
    "empty": np.zeros(0),
}
ORACLES = {
    summary.total_return: lambda r: empyrical.cum_returns_final(r),
    summary.annual_return: empyrical.annual_return,
    summary.annual_volatility: empyrical.annual_volatility,
    summary.sharpe: empyrical.sharpe_ratio,
    summary.sortino: empyrical.sortino_ratio,
    summary.calmar: empyrical.calmar_ratio,
    summary.max_drawdown: empyrical.max_drawdown,
    summary.var_95: lambda r: empyrical.value_at_risk(r[~np.isnan(r)]),
    summary.cvar_95: empyrical.conditional_value_at_risk,
    summary.omega: empyrical.omega_ratio,
    summary.tail_ratio: empyrical.tail_ratio,
    summary.skew: lambda r: scipy.stats.skew(r, nan_policy="omit"),
    summary.kurtosis: lambda r: scipy.stats.kurtosis(r, nan_policy="omit"),
}


@pytest.mark.parametrize("series", SERIES)
@pytest.mark.parametrize("metric", ORACLES, ids=lambda metric: metric.__name__)
def test_metric_equals_the_oracle(metric, series):
    returns = SERIES[series]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = metric(returns)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = float(ORACLES[metric](returns)) if returns.size else np.nan
    assert isinstance(ours, float)
    if np.isfinite(theirs):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-13)
    else:
        assert np.isnan(ours)


def test_rates_and_periods_equal_the_oracle():
    returns = SERIES["random"]
    np.testing.assert_allclose(
        summary.sharpe(returns, 365, risk_free=1e-4),
        empyrical.sharpe_ratio(returns, risk_free=1e-4, annualization=365),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        summary.sortino(returns, 52, required=2e-4),
        empyrical.sortino_ratio(returns, required_return=2e-4, annualization=52),
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        summary.omega(returns, 252, required=0.05), empyrical.omega_ratio(returns, required_return=0.05), rtol=1e-10
    )
    np.testing.assert_allclose(
        summary.annual_return(returns, 12), empyrical.annual_return(returns, annualization=12), rtol=1e-10
    )


@pytest.mark.parametrize(
    ("wealth", "bars"),
    [
        ([1, 2, 3, 4], 0),
        ([4, 3, 2, 1], 3),
        ([1, 3, 2, 3, 4], 2),
        ([2, 1, 2, 1.5, 1, 1.9, 2.0, 3], 4),
        ([1, 3, 2, 2.5, 3, 4, 3, 3, 3, 3, 3], 5),
        ([1, 1, 1], 0),
        ([2, 3, 2.9], 1),
    ],
)
def test_max_drawdown_bars_counts_from_peak_to_recovery_or_end(wealth, bars):
    assert summary.max_drawdown_bars(np.diff(wealth) / np.array(wealth[:-1])) == bars


def test_trade_figures_by_hand():
    pnl = np.array([100.0, -50.0, 0.0, 30.0, -15.0])
    assert summary.win_rate(pnl) == 0.4
    assert summary.profit_factor(pnl) == 2.0
    assert summary.average_win(pnl) == 65.0
    assert summary.average_loss(pnl) == -32.5
    assert summary.average_trade_bars(np.array([1, 4])) == 2.5
    nothing = np.zeros(0)
    trade_metrics = (summary.win_rate, summary.profit_factor, summary.average_win, summary.average_loss)
    assert all(np.isnan(metric(nothing)) for metric in (*trade_metrics, summary.average_trade_bars))
    assert np.isnan(summary.profit_factor(np.array([3.0])))


def test_turnover_is_one_sided_and_per_year():
    # Buying and later selling everything in half a year is one full turn in that time, two in a year.
    equity = np.full(127, 1000.0)
    traded = np.zeros(127)
    traded[1] = traded[100] = 1.0
    np.testing.assert_allclose(summary.turnover(traded, equity, years=0.5), 2.0)
    assert np.isnan(summary.turnover(traded[:1], equity[:1], years=0.0))


def test_exposure_leaves_out_the_row_before_trading():
    np.testing.assert_allclose(summary.exposure(np.array([0.0, 50, 150]), np.array([100.0, 100, 200])), 0.625)


def ledger_of(equity, times, cost=None, fills=None):
    equity = np.asarray(equity, float)
    cost = np.zeros_like(equity) if cost is None else np.asarray(cost, float)
    fills = pd.DataFrame(columns=list(FILL_COLUMNS)) if fills is None else fills
    return Ledger("x", times, equity, equity, 0 * equity, 0 * equity, cost, equity[0], fills)


def test_gross_return_adds_cost_back():
    times = np.datetime64("2020-01-01") + np.arange(3)
    ledger = ledger_of([100.0, 109.0, 118.9], times, cost=[0, 1.0, 1.09])
    np.testing.assert_allclose(summary.summarize(ledger)["gross_return"], 1.10 * (118.9 + 1.09) / 109 - 1)


def test_intraday_returns_are_compounded_to_days():
    minutes = np.datetime64("2020-01-06T15:00", "m") + np.arange(0, 120, 30)
    times = np.concatenate([minutes + np.timedelta64(day, "D") for day in range(5)])
    equity = 100 * np.cumprod(1 + RNG.normal(0, 0.01, times.size))
    ledger = ledger_of(equity, times)
    by_day = np.append(equity[0], equity[3::4])
    expected = by_day[1:] / by_day[:-1] - 1
    np.testing.assert_allclose(summary.daily_returns(ledger), expected)
    figures = summary.summarize(ledger)
    np.testing.assert_allclose(figures["sharpe"], empyrical.sharpe_ratio(expected), rtol=1e-10)
    np.testing.assert_allclose(figures["total_return"], equity[-1] / equity[0] - 1)
    np.testing.assert_allclose(figures["max_drawdown"], empyrical.max_drawdown(ledger.returns))
    assert figures["num_bars"] == 19


def test_daily_returns_are_left_as_they_are():
    ledger = ledger_of(100 * np.cumprod(1 + SERIES["short"]), np.datetime64("2020-01-01") + np.arange(7))
    np.testing.assert_array_equal(summary.daily_returns(ledger), ledger.returns)


@pytest.mark.parametrize("equity", [[100.0], [100.0, 100.0], [100.0, 0.0, 0.0, 0.0], [100.0, -5.0, 3.0]])
def test_summary_of_degenerate_accounts_warns_of_nothing(equity):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = summary.summarize(ledger_of(equity, np.datetime64("2020-01-01") + np.arange(len(equity))))
    assert figures["num_trades"] == 0 and np.isnan(figures["win_rate"])
    assert figures["start"] == "2020-01-01"
    if len(equity) > 1:
        np.testing.assert_allclose(figures["total_return"], equity[1] / 100 - 1)


def fills_of(*rows):
    columns = ["bar", "ticker", "side", "shares", "price", "reference_price", "fee", "reason"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["date"] = np.datetime64("2020-01-01", "ns")
    return frame


def trading_ledger(fills, closes, symbols=("A", "B"), split=None):
    closes = np.asarray(closes, float)
    times = np.datetime64("2020-01-01") + np.arange(len(closes))
    flat = np.full(len(closes), 1000.0)
    zero = np.zeros(len(closes))
    return Ledger("t", times, flat, flat, zero, zero, zero, 1000.0, fills, symbols, closes, split)


def test_round_trips_at_average_cost():
    fills = fills_of(
        (1, "B", "buy", 4, 50.0, 50.0, 0.0, "order"),
        (1, "A", "buy", 10, 10.1, 10.0, 1.0, "order"),
        (2, "A", "buy", 10, 12.1, 12.0, 1.0, "order"),
        (3, "A", "sell", 5, 12.9, 13.0, 0.5, "order"),
        (4, "A", "sell", 15, 8.9, 9.0, 0.5, "stop"),
        (4, "A", "buy", 2, 9.0, 9.0, 0.0, "order"),
        (5, "A", "sell", 2, 10.0, 10.0, 0.0, "target"),
    )
    trades = trading_ledger(fills, np.full((7, 2), 55.0)).trades
    assert ",".join(trades.columns) == (
        "ticker,entry_date,exit_date,shares,entry_price,exit_price,pnl,cost,exit_reason,bars"
    )
    assert trades["ticker"].tolist() == ["A", "B", "A"]
    first, held, second = (trades.iloc[i] for i in range(3))
    np.testing.assert_allclose(
        [first.shares, first.entry_price, first.exit_price], [20, 11.1, (5 * 12.9 + 15 * 8.9) / 20]
    )
    np.testing.assert_allclose([first.cost, first.pnl], [3.0 + 4.0, 5 * 12.9 + 15 * 8.9 - 101 - 121 - 3])
    assert (first.exit_reason, first.bars, str(first.exit_date.date())) == ("stop", 3, "2020-01-05")
    assert (held.exit_reason, held.bars) == ("open", 5) and pd.isna(held.exit_date)
    np.testing.assert_allclose([held.shares, held.exit_price, held.pnl], [4, 55.0, 20.0])
    assert (second.exit_reason, second.bars, second.pnl) == ("target", 1, 2.0)
    figures = summary.summarize(trading_ledger(fills, np.full((7, 2), 55.0)))
    assert (figures["num_trades"], figures["stop_exits"], figures["target_exits"]) == (2, 1, 1)
    assert (figures["open_trades"], figures["open_pnl"]) == (1, 20.0)


def test_partial_sells_of_an_open_position_count_in_its_profit():
    fills = fills_of((1, "A", "buy", 10, 10.0, 10.0, 0.0, "order"), (2, "A", "sell", 4, 12.0, 12.0, 0.0, "order"))
    trade = trading_ledger(fills, np.full((4, 2), 11.0)).trades.iloc[0]
    np.testing.assert_allclose([trade.shares, trade.exit_price, trade.pnl], [10, 11.0, 8 + 6])


def test_dust_of_float32_shares_is_flat():
    shares = np.float32([10.1, 3.3, 7.7])
    total = float(shares.sum(dtype=np.float32))
    rows = [(i + 1, "A", "buy", float(s), 10.0, 10.0, 0.0, "order") for i, s in enumerate(shares)]
    for off in (-4e-6, 4e-6):
        sell = (4, "A", "sell", total + off, 10.0, 10.0, 0.0, "order")
        again = (5, "A", "buy", 1.0, 10.0, 10.0, 0.0, "order")
        trades = trading_ledger(fills_of(*rows, sell, again), np.full((6, 2), 10.0)).trades
        assert trades["exit_reason"].tolist() == ["order", "open"]


def test_a_split_inside_a_trade_keeps_profit_and_restates_prices():
    split = np.ones((5, 2))
    split[2, 0] = 2.0
    fills = fills_of((1, "A", "buy", 10, 100.0, 100.0, 0.0, "order"), (3, "A", "sell", 20, 55.0, 55.0, 0.0, "order"))
    trade = trading_ledger(fills, np.full((5, 2), 55.0), split=split).trades.iloc[0]
    np.testing.assert_allclose([trade.shares, trade.entry_price, trade.exit_price, trade.pnl], [20, 50, 55, 100])
    still_held = trading_ledger(fills.iloc[:1], np.full((5, 2), 55.0), split=split).trades.iloc[0]
    np.testing.assert_allclose([still_held.shares, still_held.entry_price, still_held.pnl], [20, 50, 100])
    with pytest.raises(ValueError, match="sells 20 A in bar 3.*but 10 are held.*split="):
        _ = trading_ledger(fills, np.full((5, 2), 55.0)).trades


def test_trades_add_up_to_the_account():
    """Cash moved by all fills plus what is held at the end equals the profit of all round trips."""
    num_bars, symbols = 200, tuple(f"S{i}" for i in range(20))
    close = 50 * np.exp(np.cumsum(RNG.normal(0, 0.02, (num_bars, 20)), axis=0))
    rows, held = [], np.zeros(20)
    for bar in range(1, num_bars):
        for asset in RNG.permutation(20)[:6]:
            price = float(close[bar, asset])
            if RNG.uniform() < 0.5:
                held[asset] += 5.0
                rows.append((bar, symbols[asset], "buy", 5.0, price * 1.001, price, 0.1, "order"))
            elif held[asset] > 0:
                sold = held[asset] if RNG.uniform() < 0.6 else 0.4 * held[asset]
                held[asset] -= sold
                rows.append((bar, symbols[asset], "sell", sold, price * 0.999, price, 0.1, "order"))
    fills = fills_of(*rows)
    trades = trading_ledger(fills, close, symbols).trades
    sign = np.where(fills["side"] == "buy", -1.0, 1.0)
    cash = float((sign * fills["shares"] * fills["price"] - fills["fee"]).sum())
    np.testing.assert_allclose(trades["pnl"].sum(), cash + held @ close[-1], rtol=1e-9)
    paid = float((fills["fee"] + (fills["price"] - fills["reference_price"]).abs() * fills["shares"]).sum())
    np.testing.assert_allclose(trades["cost"].sum(), paid, rtol=1e-9)
    assert (trades["exit_reason"] == "open").sum() == (held > 0).sum()
    assert trades["entry_date"].is_monotonic_increasing


def test_ledger_without_fills_has_an_empty_table_of_the_same_columns():
    trades = ledger_of([100.0, 101.0], np.datetime64("2020-01-01") + np.arange(2)).trades
    assert trades.empty and tuple(trades.columns) == TRADE_COLUMNS


def test_equity_frame_columns_and_first_row():
    frame = ledger_of([100.0, 110.0, 99.0], np.datetime64("2020-01-01") + np.arange(3)).equity_frame()
    assert list(frame.columns) == ["date", "equity", "return", "drawdown", "cash", "gross_exposure", "turnover", "cost"]
    np.testing.assert_allclose(frame["return"].iloc[1:], [0.1, -0.1])
    np.testing.assert_allclose(frame["drawdown"], [0, 0, -0.1])
    assert np.isnan(frame["return"].iloc[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bar": 9}, "bars 1 to 9, but must lie in 0 to 3"),
        ({"bar": 0}, "not sorted by bar"),
        ({"ticker": "ZZ"}, "ticker 'ZZ'"),
        ({"side": "short"}, "side 'short'.*buy, sell"),
        ({"reason": "whim"}, "reason 'whim'"),
        ({"shares": 0.0}, "shares 0.0 in row 1; it must be above 0"),
        ({"price": np.nan}, "price nan in row 1"),
    ],
)
def test_bad_fills_are_named(change, message):
    fills = fills_of((1, "A", "buy", 1, 1.0, 1.0, 0.0, "order"), (2, "A", "sell", 1, 1.0, 1.0, 0.0, "order"))
    for column, value in change.items():
        fills[column] = fills[column].where(fills.index != 1, value)
    with pytest.raises(ValueError, match=message):
        trading_ledger(fills, np.ones((4, 2)))


def test_bad_arrays_are_named():
    times = np.datetime64("2020-01-01") + np.arange(2)
    with pytest.raises(ValueError, match="equity is nan in bar 1"):
        ledger_of([100.0, np.nan], times)
    with pytest.raises(ValueError, match="equity has shape"):
        ledger_of([100.0, 100.0, 100.0], times)
    with pytest.raises(ValueError, match="must be above 0"):
        ledger_of([0.0, 1.0], times)
