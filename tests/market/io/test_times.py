"""Which rows make a session, and when a file is intraday: found from the times, or told by an exchange."""

import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.io.load import load_panel

FORM = "%Y-%m-%d %H:%M:%S"


def write(folder, index, tickers=("AAA",), form: str = FORM):
    """Write bars at 100 for each ticker at each time; return the path."""
    rows = pd.DataFrame({"date": pd.DatetimeIndex(index).strftime(form)})
    rows = rows.assign(open=100.0, high=101.0, low=99.0, close=100.0, volume=1e6)
    pd.concat([rows.assign(ticker=name) for name in tickers]).to_csv(folder / "bars.csv", index=False)
    return folder / "bars.csv"


def in_utc(first: str, days: int, zone: str, start: str, hours: int) -> pd.DatetimeIndex:
    """Hourly bars of business days from a local time on, as UTC."""
    each = [
        pd.date_range(f"{day:%Y-%m-%d} {start}", periods=hours, freq="h", tz=zone).tz_convert("UTC").tz_localize(None)
        for day in pd.bdate_range(first, periods=days)
    ]
    return pd.DatetimeIndex(np.concatenate(each))


def session_days(panel) -> list[str]:
    return [str(day) for day in np.unique(np.asarray(panel.sessions)).astype("datetime64[D]")]


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [("Australia/Sydney", "10:00", 6), ("Asia/Tokyo", "09:00", 6), ("Europe/London", "08:00", 9)],
)
def test_a_session_is_a_date_of_the_exchange(tmp_path, zone: str, start: str, hours: int):
    days = pd.bdate_range("2023-03-20", periods=15)  # clocks change in between
    path = write(tmp_path, in_utc("2023-03-20", 15, zone, start, hours))
    panel = load_panel(path, exchange_timezone=zone)
    assert session_days(panel) == [f"{day:%Y-%m-%d}" for day in days]
    assert (panel.calendar.periods_per_year, panel.calendar.bars_per_session) == (252, hours)
    one = panel.window("2023-03-28", "2023-03-28")
    assert one.num_bars == hours and session_days(one) == ["2023-03-28"]
    assert panel.window("2023-04").num_bars == 5 * hours


def test_an_exchange_by_its_code_brings_zone_and_sessions(tmp_path):
    path = write(tmp_path, in_utc("2023-03-20", 15, "Australia/Sydney", "10:00", 6))
    panel = load_panel(path, exchange="XASX")
    assert len(session_days(panel)) == 15
    assert 250 < panel.calendar.periods_per_year < 255 and panel.calendar.periods_per_year != 252
    assert load_panel(path, exchange="XASX", periods_per_year=250).calendar.periods_per_year == 250


def test_evening_trading_of_a_future_belongs_to_the_next_session(tmp_path):
    evening = pd.date_range("2023-03-21 22:00", periods=3, freq="h")  # 17:00 in Chicago
    path = write(tmp_path, evening.append(pd.date_range("2023-03-22 14:00", periods=6, freq="h")))
    assert session_days(load_panel(path, exchange="CMES")) == ["2023-03-22"]


def test_an_unknown_exchange_is_refused(tmp_path):
    path = write(tmp_path, in_utc("2023-03-20", 3, "America/New_York", "10:00", 3))
    with pytest.raises(ValueError, match="exchange='XXXX' is unknown to exchange_calendars"):
        load_panel(path, exchange="XXXX")


def test_sessions_that_run_over_midnight_in_new_york_are_noted(tmp_path):
    path = write(tmp_path, in_utc("2023-07-03", 10, "Australia/Sydney", "10:00", 6))
    (note,) = (note for note in load_panel(path).notes if "midnight" in note)
    assert "run over midnight in America/New_York" in note and "--exchange-timezone" in note


def test_a_market_without_a_weekend_counts_days_in_utc(tmp_path):
    hours = pd.date_range("2022-01-01", "2022-01-31 23:00", freq="h")
    panel = load_panel(write(tmp_path, hours))
    assert len(session_days(panel)) == 31 and panel.calendar.bars_per_year == pytest.approx(24 * 365.25)
    assert any("every day of the week" in note for note in panel.notes)


def test_currencies_roll_at_five_in_new_york(tmp_path):
    hours = pd.date_range("2023-01-01 22:00", "2023-01-27 21:00", freq="h")
    closed = (
        ((hours.day_of_week == 4) & (hours.hour >= 22))
        | (hours.day_of_week == 5)
        | ((hours.day_of_week == 6) & (hours.hour < 22))
    )
    panel = load_panel(write(tmp_path, hours[~closed]))
    assert session_days(panel) == [f"{day:%Y-%m-%d}" for day in pd.bdate_range("2023-01-02", "2023-01-27")]
    assert (panel.calendar.periods_per_year, panel.calendar.bars_per_session) == (252, 24)


@pytest.mark.parametrize("stamp", ["16:00:00", "20:59:00"])
def test_daily_bars_stamped_at_the_close_stand_for_their_dates(tmp_path, stamp: str):
    days = pd.bdate_range("2024-01-02", periods=8)
    panel = load_panel(write(tmp_path, [f"{day:%Y-%m-%d} {stamp}" for day in days], ("AAA", "BBB")))
    assert session_days(panel) == [f"{day:%Y-%m-%d}" for day in days]
    assert panel.num_bars == 8 and panel.calendar.bars_per_session == 1
    assert any("stamped with a time of day" in note for note in panel.notes)


def test_a_day_that_is_not_over_does_not_make_a_file_intraday(tmp_path):
    stamps = [*[f"{day:%Y-%m-%d}" for day in pd.bdate_range("2024-01-02", periods=5)], "2024-01-09 15:32:10"]
    panel = load_panel(write(tmp_path, stamps))
    assert session_days(panel)[-1] == "2024-01-09" and panel.num_bars == 6
    assert any("15:32:10" in note for note in panel.notes)


def test_a_few_intraday_bars_of_thin_tickers_stay_intraday(tmp_path):
    index = in_utc("2023-03-20", 6, "America/New_York", "10:00", 4)
    panel = load_panel(write(tmp_path, index[np.arange(len(index)) % 4 != 3]))
    assert panel.calendar.is_intraday and len(session_days(panel)) == 6
