"""Files people have, kind by kind: what is read, what is said, and what a refusal tells to type."""

import re
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

import ploutos_jax as pj
from ploutos_jax.datasets.config import DataConfig, read_panel
from ploutos_jax.env.limits import describe_limits
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.io.columns import read_mapping
from ploutos_jax.market.io.load import load_panel

DAYS = ("2024-01-02", "2024-01-03", "2024-01-04")
HEAD = "date,open,high,low,close,volume"


def write(folder: Path, *lines: str, name: str = "X.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def closes(panel) -> list[float]:
    return np.asarray(panel.close)[:, 0].tolist()


def times(panel) -> list[str]:
    return [str(time)[:16] for time in panel.times]


def refusal(path: Path, **how) -> str:
    with pytest.raises(ValueError) as caught:
        load_panel(path, **how)
    said = str(caught.value)
    assert "\n" not in said and path.name in said
    return said


# Tickers that look like something else.


@pytest.mark.parametrize("tickers", [("INF", "1E5"), ("000001", "null"), ("-", "None"), ("1.5", "nan"), ("600519",)])
@pytest.mark.parametrize("tickers_first", [False, True])
def test_tickers_of_a_wide_csv_that_look_like_numbers(tmp_path, tickers, tickers_first):
    fields = ("Close", "High", "Low", "Open", "Volume")
    heads = ["Price," + ",".join(field for field in fields for _ in tickers), "Ticker," + ",".join(tickers * 5)]
    cells = {"Close": 10.5, "High": 12, "Low": 9, "Open": 10, "Volume": 100}
    rows = [f"{day}," + ",".join(str(cells[field]) for field in fields for _ in tickers) for day in DAYS]
    panel = load_panel(write(tmp_path, *(heads[::-1] if tickers_first else heads), "Date" + "," * 5, *rows))
    assert panel.symbols == tuple(sorted(tickers)) and closes(panel) == [10.5] * 3


def test_a_long_file_with_a_blank_first_date_is_not_wide(tmp_path):
    said = refusal(write(tmp_path, ",open,high,low,close,volume", ",5,6,4,5,100", "2024-01-02,5,6,4,5,100"))
    assert "is not a date" in said and "line 2" in said


# Date and time apart.


@pytest.mark.parametrize(
    "clocks",
    [("09:30", "09:31"), ("9:30:00", "9:31:00"), ("930", "931"), ("093000", "093100"), ("09:30 AM", "09:31 AM")],
)
@pytest.mark.parametrize("day", ["2024-01-02", "20240102", "31.01.2024", "02-Jan-2024"])
def test_date_and_time_in_two_columns(tmp_path, clocks, day):
    rows = [f"{day},{clock},10,11,9,10.5,100" for clock in clocks]
    panel = load_panel(write(tmp_path, "Date,Time,Open,High,Low,Close,Volume", *rows))
    date = "2024-01-31" if day.startswith("31") else "2024-01-02"
    assert times(panel) == [f"{date}T09:30", f"{date}T09:31"]
    assert not panel.signals


def test_date_and_time_of_a_parquet_file(tmp_path):
    clock = pd.to_datetime(["2000-01-01 09:30:00", "2000-01-01 15:59:30"]).time
    frame = pd.DataFrame({"date": pd.Timestamp("2024-01-02"), "time": clock, "close": [10.0, 11.0], "volume": 5.0})
    frame.to_parquet(tmp_path / "X.parquet")
    assert times(load_panel(tmp_path / "X.parquet")) == ["2024-01-02T09:30", "2024-01-02T15:59"]


def test_clock_times_of_another_name_are_said(tmp_path):
    path = write(tmp_path, "date,bar,close", "2024-01-02,09:30,10", "2024-01-02,09:31,11")
    assert times(load_panel(path, columns={"time": "bar"})) == ["2024-01-02T09:30", "2024-01-02T09:31"]
    said = refusal(write(tmp_path, "date,bar,close", "2024-01-02,soon,10"), columns="time=bar")
    assert "'bar'" in said and "HH:MM:SS" in said


# Numbers.


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_decimal_commas_with_other_separators(tmp_path, mark):
    rows = [mark.join([day, "1.000,5", "1.100,0", "999,25", "1.000", "1.234.567"]) for day in DAYS]
    panel = load_panel(write(tmp_path, HEAD.replace(",", mark), *rows))
    assert closes(panel) == [1000.0] * 3 and np.asarray(panel.open)[0, 0] == 1000.5
    assert np.asarray(panel.volume)[0, 0] == 1234567
    assert "numbers are read with a decimal comma" in " ".join(panel.notes)


def test_signals_have_the_decimal_mark_of_the_prices(tmp_path):
    path = write(tmp_path, "date;close;mood", "2024-01-02;10,5;0,25", "2024-01-03;11,5;1.000,5")
    panel = load_panel(path, columns="decimal=comma")
    assert closes(panel) == [10.5, 11.5]
    assert "'mood' is not numeric" in " ".join(panel.notes)  # groups of thousands are for prices and volumes
    path = write(tmp_path, "date;close;mood", "2024-01-02;10,5;0,25", "2024-01-03;11,5;0,75")
    np.testing.assert_array_equal(load_panel(path).signals["mood"][:, 0], [0.25, 0.75])


@pytest.mark.parametrize(
    ("row", "close", "volume"),
    [
        ('$1,234.50,"1,000,000"', 1234.5, 1e6),
        ("€12.5,1.5K", 12.5, 1500),
        ("£3.25,2M", 3.25, 2e6),
        ("US$7.5,0.5B", 7.5, 5e8),
        ('"1,234.5","1,234"', 1234.5, 1234),
    ],
)
def test_currency_signs_thousands_and_units(tmp_path, row, close, volume):
    row = re.sub(r"^\$1,234", '"$1,234', row).replace('.50,"', '.50","') if row.startswith("$1,") else row
    panel = load_panel(write(tmp_path, "date,close,volume", f"2024-01-02,{row}", f"2024-01-03,{row}"))
    assert closes(panel) == [close] * 2 and np.asarray(panel.volume)[0, 0] == volume


@pytest.mark.parametrize("price", ["1.5K", "12 USD", "$", "1,23,456", "--5"])
def test_prices_that_are_no_numbers_stay_refused(tmp_path, price):
    assert "'close', row 1" in refusal(
        write(tmp_path, "date,close,volume", f'2024-01-02,"{price}",1', "2024-01-03,1.5,2")
    )


def test_a_comma_before_three_digits_must_be_said(tmp_path):
    path = write(tmp_path, "date;close", "2024-01-02;1,234", "2024-01-03;1,235")
    said = refusal(path)
    assert "'1,234'" in said and "decimal=comma" in said and "decimal=point" in said
    assert closes(load_panel(path, columns="decimal=comma")) == [1.234, 1.235]
    assert closes(load_panel(path, columns={"decimal": "point"})) == [1234, 1235]


def test_points_and_commas_in_one_file_are_refused(tmp_path):
    said = refusal(write(tmp_path, "date;close", "2024-01-02;100,5", "2024-01-03;100.5"))
    assert "'100,5'" in said and "decimal point" in said


# Times.


@pytest.mark.parametrize(("name", "scale"), [("unix", 1), ("t", 10**6), ("timestamp", 10**9), ("date", 1000)])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_counts_since_1970(tmp_path, name, scale, suffix):
    first = 1704153600
    frame = pd.DataFrame({name: [(first + 60 * i) * scale for i in range(3)], "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5})
    path = tmp_path / f"X{suffix}"
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    panel = load_panel(path)
    assert times(panel) == ["2024-01-02T00:00", "2024-01-02T00:01", "2024-01-02T00:02"]
    assert "since 1970-01-01 (UTC)" in " ".join(panel.notes)


@pytest.mark.parametrize(
    "form",
    [
        "%a, %d %b %Y 00:00:00",
        "%Y-%b-%d",
        "%d-%b-%y",
        "%b %d, %Y",
        "%d %B %Y",
        "%B %d, %Y",
        "%Y%m%d",
        "%Y.%m.%d",
        "%Y/%m/%d",
        "%d-%b-%Y %H:%M",
    ],
)
def test_dates_with_names_of_months_and_others(tmp_path, form):
    days = pd.to_datetime(["2013-02-08", "2013-02-11", "2013-12-31"])
    panel = load_panel(write(tmp_path, "Date,Close", *(f'"{day:{form}}",{i + 1}' for i, day in enumerate(days))))
    assert [time[:10] for time in times(panel)] == ["2013-02-08", "2013-02-11", "2013-12-31"]


def test_fractions_of_seconds_since_1970(tmp_path):
    panel = load_panel(write(tmp_path, "time,close", "1704153600.25,1", "1704153601,2", "1704153601.123456789,3"))
    assert [str(time)[17:] for time in panel.times] == ["00.250000000", "01.000000000", "01.123456789"]


def test_days_that_may_be_months_must_be_said(tmp_path):
    path = write(tmp_path, "Date,Close", "05.04.2024,1", "06.04.2024,2")
    said = refusal(path)
    assert "date_format=%d.%m.%Y" in said and "date_format=%m.%d.%Y" in said
    assert times(load_panel(path, columns="date_format=%d.%m.%Y"))[0].startswith("2024-04-05")
    assert times(load_panel(path, columns={"date_format": "%m.%d.%Y"}))[0].startswith("2024-05-04")
    assert "of the form %Y" in refusal(path, columns="date_format=%Y")


# Columns that are not there.


def test_a_file_without_volume_trades_and_says_so(tmp_path):
    rows = [
        f"{day},10,12,9,{10.5 + i}"
        for i, day in enumerate(pd.bdate_range("2023-01-02", periods=80).strftime("%Y-%m-%d"))
    ]
    panel = load_panel(write(tmp_path, "date,open,high,low,close", *rows))
    said = " ".join(panel.notes)
    assert "there is no column of volume" in said and "Features of volume are constant" in said
    assert panel.tradable.all() and not np.asarray(panel.volume).any()
    market = build_market(panel, ["volume_ratio_20", "mfi_14"])
    assert np.isinf(np.asarray(market.volume)).all()
    table = np.asarray(market.features)[30:, 0, :2]
    assert np.isfinite(table).all() and (table == table[0]).all()


@pytest.mark.thorough
def test_a_cap_on_volume_does_not_bind_where_volume_is_unknown(tmp_path):
    path = write(tmp_path, "date,close", *(f"{day:%Y-%m-%d},10" for day in pd.bdate_range("2023-01-02", periods=30)))
    market = build_market(load_panel(path), "minimal")
    config = pj.EnvConfig(max_participation=0.01, episode_length=8, action="weights")
    assert "max_participation does nothing for X" in " ".join(describe_limits(config, market))
    assert "max_participation" not in " ".join(describe_limits(pj.EnvConfig(), market))
    env = pj.TradingEnv(config)
    params = env.default_params(market)
    key = jax.random.key(0)
    _, state = env.reset(key, params)
    _, state, reward, *_ = env.step(key, state, np.ones(1, np.float32), params)
    assert float(state.shares[0]) > 0 and np.isfinite(float(reward))


def test_the_most_traded_tickers_need_volume(tmp_path):
    for name in ("A.csv", "B.csv"):
        write(
            tmp_path,
            "date,close",
            *(f"{day:%Y-%m-%d},10" for day in pd.bdate_range("2023-01-02", periods=60)),
            name=name,
        )
    with pytest.raises(ValueError, match=r"liquid=1 needs to know what was traded"):
        read_panel(DataConfig(data=str(tmp_path), liquid=1))


def test_one_ticker_without_volume_beside_one_with(tmp_path):
    write(tmp_path, "date,close", *(f"{day},10" for day in DAYS), name="IDX.csv")
    write(tmp_path, "date,close,volume", *(f"{day},10,{i * 5}" for i, day in enumerate(DAYS)), name="STK.csv")
    panel = load_panel(tmp_path)
    assert panel.symbols == ("IDX", "STK")
    np.testing.assert_array_equal(panel.tradable, [[True, False], [True, True], [True, True]])
    volume = np.asarray(build_market(panel, "minimal").volume)
    np.testing.assert_array_equal(volume, [[np.inf, 0], [np.inf, 5], [np.inf, 10]])


@pytest.mark.parametrize("name", ["Close", "close", "Adj Close,Close"])
def test_closes_alone_are_said(tmp_path, name):
    cells = "9.5,10.5" if "," in name else "10.5"
    panel = load_panel(write(tmp_path, f"Date,{name}", *(f"{day},{cells}" for day in DAYS)))
    right = 9.5 if "," in name else 10.5
    for field in ("open", "high", "low", "close"):
        np.testing.assert_allclose(getattr(panel, field), right)
    assert "closes only" in " ".join(panel.notes)


def test_some_prices_of_four_are_refused(tmp_path):
    said = refusal(write(tmp_path, "date,open,close,top", "2024-01-02,10,11,12"))
    assert "no high column" in said and "'top'" in said


# Rows that cannot be.


@pytest.mark.parametrize("word", ["today", "now", "Today", "tomorrow", "2024-02-30", "1700-01-01", "2150-01-01", "24"])
def test_words_and_dates_that_are_none(tmp_path, word):
    said = refusal(write(tmp_path, HEAD, "2024-01-02,10,11,9,10,5", f"{word},10,11,9,10,5"))
    assert repr(word) in said and "row 2 (line 3)" in said


@pytest.mark.parametrize(("role", "value"), [("dividend", -1000), ("split", -2), ("dividend", "inf"), ("split", "inf")])
def test_corporate_actions_that_cannot_be(tmp_path, role, value):
    said = refusal(write(tmp_path, f"{HEAD},{role}", f"2024-01-02,10,11,9,10,5,{value}"))
    assert f"'{role}', row 1 (line 2)" in said


def test_a_dividend_above_the_price_is_noted(tmp_path):
    path = write(tmp_path, f"{HEAD},dividend", "2024-01-02,10,11,9,10,5,0", "2024-01-03,10,11,9,10,5,1000")
    assert "above the price of the bar before" in " ".join(load_panel(path).notes)


def test_a_negative_volume_counts_as_none(tmp_path):
    panel = load_panel(write(tmp_path, HEAD, "2024-01-02,10,11,9,10,-5", "2024-01-03,10,11,9,10,5"))
    assert "1 row has a negative volume" in " ".join(panel.notes)
    assert np.asarray(panel.tradable)[:, 0].tolist() == [False, True]


# The mapping.


def test_a_mapping_is_a_text_or_a_dict():
    assert read_mapping("close=Close/Last, date=Date") == {"close": "Close/Last", "date": "Date"}
    assert read_mapping("close=Last, in $ (x=1),volume=2") == {"close": "Last, in $ (x=1)", "volume": "2"}
    assert read_mapping({"close": "a,b=c"}) == {"close": "a,b=c"}
    assert read_mapping(None) == read_mapping("") == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Close/Last", "is no mapping"),
        ("closing=Close", "did you mean 'close'?"),
        ({"closing": "Close"}, "did you mean 'close'?"),
        ("close=A,close=B", "names close twice"),
        ("close=", "names no column"),
        ("decimal=semicolon", "decimal=comma"),
        ("date_format=YYYY", "%d/%m/%Y"),
        ({"close": 4}, "names no column"),
    ],
)
def test_a_mapping_that_is_none_is_refused(tmp_path, given, said):
    with pytest.raises(ValueError) as caught:
        load_panel(write(tmp_path, HEAD), columns=given)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_the_user_says_goes_first(tmp_path):
    path = write(tmp_path, "date,close,settle,volume", "2024-01-02,10,10.25,5", "2024-01-03,11,11.25,5")
    panel = load_panel(path, columns="close=settle")
    assert closes(panel) == [10.25, 11.25] and not panel.signals
    assert "'close' is left out, as 'settle' holds the close" in " ".join(panel.notes)
    assert "no column 'fixing'" in refusal(path, columns="close=fixing")
    assert closes(load_panel(path, columns="close=3")) == [10.25, 11.25]


@pytest.mark.parametrize(
    ("head", "row", "typed"),
    [
        (
            "fecha;apertura;máximo;mínimo;cierre;volumen",
            "2024-01-02;10,5;12;9;11;100",
            "date=fecha,open=apertura,high=máximo,low=mínimo,close=cierre,volume=volumen",
        ),
        ("when,a,b,c,d,e", "2024-01-02,10,12,9,11,100", "date=when,open=a,high=b,low=c,close=d,volume=e"),
        ("id,when,a,b,c,d", "7,2024-01-02,10,12,9,11", "date=when,open=a,high=b,low=c,close=d"),
        ("Date,NAV", "2024-01-02,10.5", "close=NAV"),
        ("Date,Remark,Shut", "2024-01-02,none,10.5", "close=Shut"),
    ],
)
def test_a_refusal_holds_the_mapping_that_reads_the_file(tmp_path, head, row, typed):
    path = write(tmp_path, head, row)
    (found,) = re.findall(r'--columns "([^"]+)"', refusal(path))
    assert found == typed
    assert closes(load_panel(path, columns=found))[0] in (11.0, 10.5)


def test_blanks_between_cells_are_told_what_to_do(tmp_path):
    said = refusal(write(tmp_path, "Date  Open High Low Close", "2024-01-02  10 12 9 11", "2024-01-03  10 12 9 11"))
    assert "sep=r'\\s+'" in said


def test_a_table_of_closes_by_ticker_is_told_what_to_do(tmp_path):
    said = refusal(write(tmp_path, "Date,AAPL,MSFT", "2024-01-02,10,20"))
    assert "frame.melt('Date', var_name='ticker', value_name='close')" in said


@pytest.mark.parametrize("fields", [("Close",), ("Close", "Volume")])
def test_closes_alone_in_a_wide_table(tmp_path, fields):
    names = [(field, ticker) for field in fields for ticker in ("NA", "600519")]
    columns = pd.MultiIndex.from_tuples(names, names=["Price", "Ticker"])
    frame = pd.DataFrame(np.arange(1.0, 4)[:, None] * np.ones(len(names)), pd.DatetimeIndex(DAYS, name="Date"), columns)
    frame.to_csv(tmp_path / "X.csv")
    frame.to_parquet(tmp_path / "X.parquet")
    for name in ("X.csv", "X.parquet"):
        panel = load_panel(tmp_path / name)
        assert panel.symbols == ("600519", "NA") and closes(panel) == [1.0, 2.0, 3.0]
        assert "closes only" in " ".join(panel.notes)


def test_lines_above_the_header_are_noted(tmp_path):
    path = write(tmp_path, "Daily prices of X", "as of 2024-02-01", HEAD, "2024-01-02,10,11,9,10,5")
    panel = load_panel(path)
    assert closes(panel) == [10.0] and "2 lines above the header left out" in " ".join(panel.notes)


# Tickers.


@pytest.mark.parametrize("ticker", ["A\x00B", "A\x1b[31m", "A\u2028B", "A\x7f", "A\x9b"])
def test_tickers_with_control_characters_are_refused(tmp_path, ticker):
    frame = pd.DataFrame({"date": DAYS, "ticker": ticker, "close": 10.0})
    frame.to_parquet(tmp_path / "X.parquet")
    said = refusal(tmp_path / "X.parquet")
    assert "control character" in said and ticker not in said


@pytest.mark.parametrize("ticker", ["R\u202eTXT", "A\u200bB", "\u2066X", "A\ufeffB"])
def test_tickers_with_unseen_characters_are_noted(tmp_path, ticker):
    pd.DataFrame({"date": DAYS, "ticker": ticker, "close": 10.0}).to_parquet(tmp_path / "X.parquet")
    panel = load_panel(tmp_path / "X.parquet")
    said = " ".join(panel.notes)
    assert panel.symbols == (ticker,) and "not seen" in said and ticker not in said
