"""The report of markets and accounts of every kind: minutes, months, one asset, a few bars, gaps, crowds of trades."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.evaluate.ledger import FILL_COLUMNS, Ledger
from ploutos_jax.evaluate.report.chart import MOST_POINTS
from ploutos_jax.evaluate.report.trade_charts import MANY, MOST_CANDLES, MOST_MARKS, merge_bars, trades_chart
from ploutos_jax.market.calendar import Calendar, find_calendar
from tests.evaluate.accounts import make_ledger, page_of
from tests.evaluate.report.drawn import chart_of, charts_of, without_library


def with_candles(ledger, seed=0):
    """The account with an open, a high and a low around each close."""
    rng = np.random.default_rng(seed)
    opens = ledger.close * np.exp(rng.normal(0, 0.01, ledger.close.shape))
    ends = np.stack([opens, ledger.close])
    return dataclasses.replace(ledger, open=opens, high=1.01 * ends.max(0), low=0.99 * ends.min(0))


def at_times(ledger, times):
    """The same account at other times, with the calendar that they tell of."""
    days = times.astype("datetime64[D]").astype(np.int64)
    fills = ledger.fills.assign(date=times[ledger.fills["bar"].to_numpy(int)])
    calendar = find_calendar(times.astype("datetime64[ns]"), days)
    return dataclasses.replace(ledger, times=times, sessions=days, fills=fills, calendar=calendar)


def minutes(num_days, a_day):
    days = np.busday_offset(np.datetime64("2019-01-02"), np.arange(num_days), roll="forward")
    return (days.astype("datetime64[m]")[:, None] + 570 + np.arange(a_day)).ravel()


def test_minute_bars_are_dated_by_the_minute_and_compounded_to_days():
    times = minutes(40, 20)
    ledger = at_times(with_candles(make_ledger("agent", num_bars=times.size - 1, trade_every=7)), times)
    assert ledger.calendar.is_intraday and ledger.calendar.periods_per_year == 252
    page = page_of(ledger)
    equity = chart_of(page, "Equity of agent")
    np.testing.assert_array_equal(equity.x, times)
    assert not equity.content["x"]["whole"] and equity.content["x"]["seconds"] == 60
    boxes = chart_of(page, "Quantiles")
    # The account begins in the first bar, whose session has the returns of the bars after it.
    assert [name.split("\n") for name in boxes.x[:2]] == [["Day", "40"], ["Week", "9"]]
    closes = np.append(ledger.equity[0], ledger.equity[19::20])
    days = closes[1:] / closes[:-1] - 1
    np.testing.assert_allclose(boxes.lines["Median"][0], np.median(days), rtol=1e-5)
    best = times[20 * int(days.argmax())].astype("datetime64[D]")
    assert "Best and worst days" in page and f"<th scope='row'>{best}</th>" in page


def test_monthly_bars_have_no_days():
    times = (np.datetime64("2005-01", "M") + np.arange(121)).astype("datetime64[D]")
    ledger = at_times(make_ledger("agent", num_bars=120), times)
    assert ledger.calendar.period == "month" and ledger.calendar.periods_per_year == 12
    page = page_of(ledger)
    assert [name.split("\n")[0] for name in chart_of(page, "Quantiles").x] == ["Month", "Quarter", "Year"]
    assert "Best and worst months" in page and "Best and worst days" not in page
    assert "over the last 12 months" in page


def test_one_asset():
    ledger = with_candles(make_ledger("agent", num_bars=80))
    rows = ledger.fills["ticker"] == "AAA"
    one = dataclasses.replace(
        ledger,
        symbols=("AAA",),
        fills=ledger.fills[rows].reset_index(drop=True),
        **{name: getattr(ledger, name)[:, :1] for name in ("open", "high", "low", "close")},
    )
    drawn = charts_of(trades_chart(one, "AAA"))[0]
    assert list(drawn.lines) == ["Open", "High", "Low", "Close"] and drawn.content["drawn"] == "candles"
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(drawn.lines[name.capitalize()], getattr(one, name)[:, 0], rtol=1e-8)
    assert "Largest position" in page_of(one)


@pytest.mark.parametrize("num_bars", [1, 2, 5, 12])
def test_a_few_bars(num_bars):
    page = page_of(
        with_candles(make_ledger("agent", num_bars=num_bars, trade_every=2)), hold=make_ledger("h", 1, num_bars)
    )
    assert charts_of(page) and not re.search(r"\bnan\b|NaN|\binf\b", without_library(page))


def test_days_without_a_price_are_gaps():
    ledger = with_candles(make_ledger("agent", num_bars=60))
    holes = {name: getattr(ledger, name).copy() for name in ("open", "high", "low", "close")}
    for values in holes.values():
        values[[7, 8, 30], 1] = np.nan
        values[:4, 1] = 0.0  # not listed yet
    drawn = charts_of(trades_chart(dataclasses.replace(ledger, **holes), "BRK.B"))[0]
    unknown = np.flatnonzero(np.isnan(drawn.lines["Close"]))
    assert unknown.tolist() == [0, 1, 2, 3, 7, 8, 30] == np.flatnonzero(np.isnan(drawn.lines["High"])).tolist()


def test_fills_are_marked_at_their_bar_and_price():
    ledger = with_candles(make_ledger("agent", num_bars=200, trade_every=2))
    fills = ledger.fills[ledger.fills["ticker"] == "AAA"]
    marks = charts_of(trades_chart(ledger, "AAA"))[0].content["marks"]
    for one in marks:
        rows = fills[fills["side"] == one["side"]]
        if one["side"] == "sell":
            rows = rows[rows["reason"] == one["name"].removeprefix("sell: ").replace("sell", "order")]
        assert one["row"] == rows["bar"].tolist() and one["shares"] == rows["shares"].tolist()
        np.testing.assert_allclose(one["price"], rows["price"], rtol=1e-8)
    assert sum(len(one["row"]) for one in marks) == len(fills)


def test_prices_and_shares_before_a_split_are_those_of_today():
    ledger = with_candles(make_ledger("agent", num_bars=60))
    split = np.ones_like(ledger.close)
    split[30, 0] = 2.0
    factor = np.cumprod(split, axis=0)
    as_traded = {name: getattr(ledger, name) / factor for name in ("open", "high", "low", "close")}
    at = ledger.fills["bar"].to_numpy(int)
    held = np.where(ledger.fills["ticker"] == "AAA", factor[at, 0], 1.0)
    fills = ledger.fills.assign(price=ledger.fills["price"] / held, shares=ledger.fills["shares"] * held)
    halved = dataclasses.replace(ledger, split=split, fills=fills, **as_traded)
    ours, plain = (charts_of(trades_chart(one, "AAA"))[0] for one in (halved, ledger))
    np.testing.assert_allclose(ours.lines["High"], plain.lines["High"] / 2, rtol=1e-8)
    for one, other in zip(ours.content["marks"], plain.content["marks"], strict=True):
        np.testing.assert_allclose(one["price"], np.array(other["price"]) / 2, rtol=1e-8)
        np.testing.assert_allclose(one["shares"], np.array(other["shares"]) * 2, rtol=1e-5)


def test_merged_candles_are_those_of_pandas():
    prices = [np.random.default_rng(i).normal(size=23) for i in range(4)]
    prices[1][:5] = np.nan
    frame = pd.DataFrame(dict(zip("ohlc", prices, strict=True)))
    theirs = frame.groupby(np.arange(23) // 5).agg({"o": "first", "h": "max", "l": "min", "c": "last"})
    np.testing.assert_array_equal(np.stack(merge_bars(prices, 5)).T, theirs.to_numpy())
    assert merge_bars(prices, 1) is prices


def crowded(num_bars):
    """An account in one ticker that trades a share at every close."""
    times = np.datetime64("2019-01-02T00:00") + np.arange(num_bars + 1)
    close = 50 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 1e-4, num_bars + 1)))
    bar = np.arange(1, num_bars + 1)
    buys = bar % 2 == 1
    columns = {
        **{"bar": bar, "date": times[bar], "ticker": "AAA", "side": np.where(buys, "buy", "sell"), "shares": 1.0},
        **{"price": close[bar], "reference_price": close[bar], "fee": 0.0, "reason": "order"},
    }
    cash = 1000 - np.append(0, np.cumsum(np.where(buys, 1, -1) * close[bar]))
    gross = np.append(0, np.where(buys, close[bar], 0))
    fills, zero = pd.DataFrame({name: columns[name] for name in FILL_COLUMNS}), np.zeros(num_bars + 1)
    equity, prices = cash + gross, close[:, None]
    more = {"open": prices, "high": prices, "low": prices, "calendar": Calendar(365.25, 1440, 365.25)}
    return Ledger("agent", times, equity, cash, gross, zero, zero, 1000.0, fills, ("AAA",), prices, **more)


@pytest.mark.thorough
def test_thousands_of_marks_and_bars_stay_small():
    ledger = crowded(30_000)
    text = trades_chart(ledger, "AAA")
    drawn = charts_of(text)[0]
    assert sum(len(one["row"]) for one in drawn.content["marks"]) == MOST_MARKS and len(drawn.x) <= MOST_CANDLES
    assert "bands" not in drawn.content and len(ledger.trades) > MANY
    assert "Each candle is 7 bars." in text and "of 30,000 fills" in text and len(text) < 1_000_000
    page = page_of(ledger)
    assert len(chart_of(page, "Equity").x) <= MOST_POINTS + 2 and len(page) < 3_000_000
