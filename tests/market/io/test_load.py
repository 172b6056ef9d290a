"""Loading files: layouts, gaps, faults, corporate actions, times, universes, and what the messages name."""

import gzip
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ploutos_jax.market.io import sizes
from ploutos_jax.market.io.align import PRICES
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.io.universe import load_membership, load_sectors, membership_mask
from ploutos_jax.market.labels import UNKNOWN_SECTOR
from ploutos_jax.market.panel import Panel

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
HEADER = "date,ticker,open,high,low,close,volume"


def bars(days: int, tickers: tuple[str, ...] = ("AAPL", "MSFT"), **columns) -> pd.DataFrame:
    """A clean long table; every number differs from every other."""
    dates = pd.bdate_range("2020-01-01", periods=days)
    base = np.arange(days * len(tickers)) * 0.25 + 50.0
    frame = {
        "date": np.tile(dates.strftime("%Y-%m-%d"), len(tickers)),
        "ticker": np.repeat(tickers, days),
        "open": base,
        "high": base + 2.0,
        "low": base - 1.5,
        "close": base + 0.5,
        "volume": np.arange(days * len(tickers)) * 10.0 + 1000.0,
    }
    return pd.DataFrame(frame | columns)


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else content.to_csv(index=False)
    path.write_text(text, encoding="utf-8")
    return path


def assert_same(left: Panel, right: Panel) -> None:
    assert left.symbols == right.symbols
    assert left.sectors == right.sectors
    np.testing.assert_array_equal(left.times, right.times)
    for name in ("open", "high", "low", "close", "volume", "tradable", "sessions", "dividend", "split"):
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert left.signals.keys() == right.signals.keys()
    for name in left.signals:
        np.testing.assert_array_equal(left.signals[name], right.signals[name], err_msg=name)


def notes(panel: Panel) -> str:
    assert panel.labels is not None
    return "\n".join(panel.labels.notes)


def assert_rejects(path: Path, *parts: str, **arguments) -> None:
    """Loading fails with one ValueError that names all the parts."""
    with pytest.raises(ValueError) as caught:
        load_panel(path, **arguments)
    for part in parts:
        assert part in str(caught.value)


# Layouts.


def test_long_csv_becomes_a_panel(tmp_path):
    panel = load_panel(write(tmp_path / "all.csv", bars(5)))
    assert panel.symbols == ("AAPL", "MSFT")
    assert panel.sectors == (UNKNOWN_SECTOR, UNKNOWN_SECTOR)
    assert panel.close.shape == (5, 2)
    assert all(getattr(panel, name).dtype == np.float64 for name in ("open", "high", "low", "close", "volume"))
    assert all(isinstance(getattr(panel, name), np.ndarray) for name in ("open", "tradable", "sessions"))
    assert panel.tradable.dtype == bool and panel.tradable.all()
    assert panel.sessions.dtype == np.int32
    assert panel.times.dtype == np.dtype("datetime64[ns]")
    assert str(panel.times[0]) == "2020-01-01T00:00:00.000000000"
    assert panel.sessions[0] == date(2020, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
    np.testing.assert_array_equal(panel.close[:, 1], bars(5)["close"].to_numpy()[5:])
    np.testing.assert_array_equal(panel.volume[:, 0], bars(5)["volume"].to_numpy()[:5])
    assert panel.dividend is None and panel.split is None and not panel.signals and notes(panel) == ""


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet", ".feather", ".CSV", ".Parquet"])
def test_all_suffixes_give_the_same_panel(tmp_path, suffix):
    frame = bars(4)
    path = tmp_path / f"x{suffix}"
    if suffix == ".csv.gz":
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    elif suffix == ".CSV":
        frame.to_csv(path, index=False)
    elif suffix == ".feather":
        frame.to_feather(path)
    else:
        frame.to_parquet(path)
    assert_same(load_panel(path), load_panel(write(tmp_path / "plain.csv", frame)))


@pytest.mark.parametrize(
    "names",
    [
        ("Date", "Symbol", "Open", "High", "Low", "Close", "Volume"),
        (" DATETIME ", "NAME", " open", "high ", "LOW", "cLose", "VOLUME"),
        ("timestamp", "tic", "Open", "High", "Low", "Close", "Volume"),
        ("Time", "Ticker", "Open", "High", "Low", "Close", "Volume"),
    ],
)
def test_names_match_without_case_and_blanks_in_any_order(tmp_path, names):
    frame = bars(3)
    renamed = frame.set_axis(list(names), axis=1).iloc[:, ::-1]
    assert_same(load_panel(write(tmp_path / "a.csv", renamed)), load_panel(write(tmp_path / "b.csv", frame)))


def test_parquet_with_dictionary_tickers_dates_and_saved_index(tmp_path):
    frame = bars(3)
    expected = load_panel(write(tmp_path / "a.csv", frame))
    frame["date"] = pd.to_datetime(frame["date"])
    frame.astype({"ticker": "category"}).to_parquet(tmp_path / "category.parquet")
    frame.set_index(["date", "ticker"]).to_parquet(tmp_path / "index.parquet")
    frame.assign(date=frame["date"].dt.date).to_parquet(tmp_path / "days.parquet")
    frame.assign(date=frame["date"].dt.strftime("%Y%m%d").astype(int)).to_parquet(tmp_path / "numbers.parquet")
    for name in ("category", "index", "days", "numbers"):
        assert_same(load_panel(tmp_path / f"{name}.parquet"), expected)


def test_csv_as_other_programs_write_it(tmp_path):
    frame = bars(3)
    lines = frame.to_csv(index=False).splitlines()
    text = "\ufeff" + "\r\n".join([lines[0].replace(",", ", "), *(line.replace(",", " , ") for line in lines[1:4])])
    text += "\r\n\r\n,,,,,,\r\n" + "\r\n".join(f'"{line}"'.replace(",", '","') for line in lines[4:]) + "\r\n\r\n"
    (tmp_path / "x.csv").write_bytes(text.encode())
    panel = load_panel(tmp_path / "x.csv")
    assert_same(panel, load_panel(write(tmp_path / "plain.csv", frame)))
    assert notes(panel) == ""
    # Rows are counted with the blank ones, so that the line is the file's.
    (tmp_path / "x.csv").write_bytes((text + "2020-01-09,A,x,1,1,1,1").encode())
    assert_rejects(tmp_path / "x.csv", "'x'", "row 10 (line 11)")


def test_numbers_saved_as_texts_are_read(tmp_path):
    frame = bars(3).assign(alpha=1.5)
    expected = load_panel(write(tmp_path / "x.csv", frame))
    frame.astype(str).to_parquet(tmp_path / "x.parquet")
    assert_same(load_panel(tmp_path / "x.parquet"), expected)


def test_folder_of_one_file_per_ticker(tmp_path):
    frame = bars(4, ("AAPL", "BRK.B", "MSFT"))
    expected = load_panel(write(tmp_path / "all.csv", frame))
    folder = tmp_path / "many"
    folder.mkdir()
    write(folder / "aapl.csv", frame[frame.ticker == "AAPL"].drop(columns="ticker"))
    frame[frame.ticker == "BRK.B"].drop(columns="ticker").to_parquet(folder / "BRK.B.parquet")
    write(folder / "other.csv", frame[frame.ticker == "MSFT"])
    write(folder / "README.md", "not data")
    write(folder / ".hidden.csv", "not data")
    assert_same(load_panel(folder), expected)


def test_file_without_ticker_column_is_named_after_it(tmp_path):
    frame = bars(3, ("X",)).drop(columns="ticker")
    assert load_panel(write(tmp_path / "spy_1m.csv", frame)).symbols == ("SPY_1M",)
    path = tmp_path / "brk.b.csv.gz"
    path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    assert load_panel(path).symbols == ("BRK.B",)


WIDE = {
    "Price,Ticker": "Price,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
    "Ticker,AAPL,LOW,AAPL,LOW,AAPL,LOW,AAPL,LOW,AAPL,LOW\nDate,,,,,,,,,,\n"
    "2024-01-02,10,20,11,21,9,19,10.5,20.5,100,200\n2024-01-03,11,,12,,10,,11.5,,110,\n",
    "Ticker,Price": "Ticker,LOW,LOW,LOW,LOW,LOW,AAPL,AAPL,AAPL,AAPL,AAPL\n"
    "Price,Open,High,Low,Close,Volume,Open,High,Low,Close,Volume\nDate,,,,,,,,,,\n"
    "2024-01-02,20.5,21,19,20,200,10.5,11,9,10,100\n2024-01-03,,,,,0,11.5,12,10,11,110\n",
    "no names": ",Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
    ",AAPL,LOW,AAPL,LOW,AAPL,LOW,AAPL,LOW,AAPL,LOW\nDate,,,,,,,,,,\n"
    "2024-01-02,10,20,11,21,9,19,10.5,20.5,100,200\n2024-01-03,11,,12,,10,,11.5,,110,\n",
    "no date line": "Date,Close,Close,High,High,Low,Low,Open,Open,Volume,Volume\n"
    ",AAPL,LOW,AAPL,LOW,AAPL,LOW,AAPL,LOW,AAPL,LOW\n"
    "2024-01-02,10,20,11,21,9,19,10.5,20.5,100,200\n2024-01-03,11,,12,,10,,11.5,,110,\n",
}


@pytest.mark.parametrize("layout", list(WIDE))
def test_wide_csv_of_yfinance(tmp_path, layout):
    panel = load_panel(write(tmp_path / "wide.csv", WIDE[layout]))
    assert panel.symbols == ("AAPL", "LOW")
    nan = np.nan
    np.testing.assert_array_equal(panel.open, [[10.5, 20.5], [11.5, nan]])
    np.testing.assert_array_equal(panel.high, [[11, 21], [12, nan]])
    np.testing.assert_array_equal(panel.low, [[9, 19], [10, nan]])
    np.testing.assert_array_equal(panel.close, [[10, 20], [11, nan]])
    np.testing.assert_array_equal(panel.volume, [[100, 200], [110, 0]])
    np.testing.assert_array_equal(panel.tradable, [[True, True], [True, False]])
    assert notes(panel) == ""


def test_wide_csv_of_one_ticker(tmp_path):
    text = (
        "Price,Adj Close,Close,High,Low,Open,Volume\nTicker,SPY,SPY,SPY,SPY,SPY,SPY\nDate,,,,,,\n"
        "2024-01-02,5,10,11,9,10,100\n2024-01-03,11,11,12,10,11,110\n"
    )
    panel = load_panel(write(tmp_path / "x.csv", text))
    assert panel.symbols == ("SPY",)
    np.testing.assert_array_equal(panel.close[:, 0], [5, 11])
    np.testing.assert_array_equal(panel.high[:, 0], [5.5, 12])
    assert "total return" in notes(panel)


def test_wide_csv_names_the_line_of_a_fault_and_keeps_a_ticker_without_data(tmp_path):
    text = WIDE["Price,Ticker"]
    path = write(tmp_path / "wide.csv", text.replace("2024-01-03,11,", "2024-01-03,bad,"))
    assert_rejects(path, "wide.csv", "'Close'", "'bad'", "line 5")
    empty = text.replace(",20,", ",,").replace(",21,", ",,").replace(",19,", ",,")
    empty = empty.replace(",20.5,", ",,").replace(",200\n", ",\n")
    panel = load_panel(write(tmp_path / "empty.csv", empty))
    assert panel.symbols == ("AAPL", "LOW") and not panel.tradable[:, 1].any()
    assert "2 rows lack open, high, low or close and count as no bar" in notes(panel)
    twice = text.replace("Ticker,AAPL,LOW", "Ticker,AAPL,AAPL")
    assert_rejects(write(tmp_path / "twice.csv", twice), "twice.csv", "two columns Close of AAPL")


# Gaps, faults and repairs.


def test_ragged_histories_become_a_mask(tmp_path):
    frame = bars(6, ("A", "B", "C"))
    days = frame["date"].unique()
    late = (frame.ticker == "B") & frame.date.isin(days[:2])
    gone = (frame.ticker == "C") & frame.date.isin(days[3:])
    hole = (frame.ticker == "A") & (frame.date == days[4])
    panel = load_panel(write(tmp_path / "x.csv", frame[~(late | gone | hole)]))
    assert panel.symbols == ("A", "B", "C") and panel.num_bars == 6
    expected = np.ones((6, 3), bool)
    expected[:2, 1] = expected[3:, 2] = expected[4, 0] = False
    np.testing.assert_array_equal(panel.tradable, expected)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(np.isfinite(getattr(panel, name)), expected)
    assert (panel.volume[~expected] == 0).all() and (panel.volume[expected] > 0).all()


def fault_file(tmp_path: Path, *rows: str) -> Path:
    clean = "2020-01-01,A,10,11,9,10,100\n2020-01-01,B,10,11,9,10,100"
    return write(tmp_path / "faults.csv", "\n".join([HEADER, clean, *rows]) + "\n")


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ("2020-01-02,A,,,,10,100", "1 row lacks open, high or low and counts as no bar (first: A 2020-01-02)"),
        ("2020-01-02,A,10,11,9,null,100", "1 row lacks close and counts as no bar"),
        ("2020-01-02,A,10,inf,9,10,100", "1 row lacks high and counts as no bar"),
        ("2020-01-02,A,10,11,0,10,100", "1 row has a price that is not above 0 and counts as no bar"),
        ("2020-01-02,A,10,11,9,-1,100", "1 row has a price that is not above 0"),
        ("2020-01-02,A,10,9,11,10,100", "1 row has high below low and counts as no bar"),
    ],
)
def test_faulty_rows_count_as_no_bar(tmp_path, row, note):
    panel = load_panel(fault_file(tmp_path, row, "2020-01-02,B,10,11,9,10,100"))
    np.testing.assert_array_equal(panel.tradable, [[True, True], [False, True]])
    assert np.isnan([panel.open[1, 0], panel.high[1, 0], panel.low[1, 0], panel.close[1, 0]]).all()
    assert panel.volume[1, 0] == 0
    assert note in notes(panel)


def test_a_date_with_faulty_rows_only_stays_on_the_grid(tmp_path):
    panel = load_panel(fault_file(tmp_path, "2020-01-02,A,,,,10,100"))
    assert panel.num_bars == 2 and not panel.tradable[1].any()


def test_ranges_are_widened_to_hold_open_and_close(tmp_path):
    rows = "2020-01-02,A,12,11,9,10,100", "2020-01-02,B,10,11,9,8,100"
    panel = load_panel(fault_file(tmp_path, *rows))
    np.testing.assert_array_equal(panel.high, [[11, 11], [12, 11]])
    np.testing.assert_array_equal(panel.low, [[9, 9], [9, 8]])
    assert panel.tradable.all()
    assert "2 bars have open or close outside [low, high]; the range is widened to hold them (first: A" in notes(panel)


@pytest.mark.parametrize("volume", ["0", "", "nan", "-5", "inf"])
def test_bars_without_volume_keep_prices_and_are_not_tradable(tmp_path, volume):
    panel = load_panel(fault_file(tmp_path, f"2020-01-02,A,10,11,9,10,{volume}"))
    assert panel.close[1, 0] == 10 and panel.volume[1, 0] == 0 and not panel.tradable[1, 0]
    assert "1 bar has no volume and is not tradable" in notes(panel)


def test_index_without_any_volume_is_tradable(tmp_path):
    rows = "2020-01-01,^VIX,10,11,9,10,0", "2020-01-02,^VIX,10,11,9,10,"
    panel = load_panel(fault_file(tmp_path, *rows))
    assert panel.tradable[:, 2].all() and (panel.volume[:, 2] == 0).all()
    assert "1 ticker without any volume kept tradable at volume 0: ^VIX" in notes(panel)


def test_index_rule_looks_at_the_whole_file_not_at_the_span(tmp_path):
    panel = load_panel(fault_file(tmp_path, "2020-01-02,A,10,11,9,10,0"), start="2020-01-02")
    assert not panel.tradable[0, 0]


# Errors.


def test_repeated_bars_are_rejected_in_one_file_and_across_files(tmp_path):
    path = fault_file(tmp_path, "2020-01-01,A,10,11,9,10,100")
    assert_rejects(path, "A 2020-01-01", "faults.csv", "one row per date and ticker")
    assert_rejects(fault_file(tmp_path, "2020-01-01 00:00:00,A ,10,11,9,10,100"), "A 2020-01-01")
    folder = tmp_path / "many"
    folder.mkdir()
    write(folder / "one.csv", bars(3))
    write(folder / "two.csv", bars(1))
    assert_rejects(folder, "AAPL 2020-01-01", "one.csv, two.csv", "2 bars")


@pytest.mark.parametrize("role", ["date", "open", "high", "low", "close"])
def test_missing_columns_are_named(tmp_path, role):
    names = "date, datetime, timestamp, time" if role == "date" else role
    path = write(tmp_path / "x.csv", bars(2).rename(columns={role: "zzz"}))
    assert_rejects(path, "x.csv", f"no {role} column", "'zzz'", "'ticker'", "Accepted names", names)
    bars(2).drop(columns=role).to_parquet(tmp_path / "x.parquet")
    assert_rejects(tmp_path / "x.parquet", "x.parquet", f"no {role} column")


@pytest.mark.parametrize("value", ["abc", "$10.5.1", "1.234,5", "2020-01-01", "10 USD"])
@pytest.mark.parametrize("role", ["open", "close", "volume"])
def test_values_that_are_no_numbers_are_named(tmp_path, role, value):
    frame = bars(3).astype({role: object})
    frame.loc[2, role] = value
    assert_rejects(write(tmp_path / "x.csv", frame), "x.csv", f"'{role}'", "row 3 (line 4)", repr(value))
    frame.astype({role: str}).to_parquet(tmp_path / "x.parquet")
    assert_rejects(tmp_path / "x.parquet", "x.parquet", f"'{role}'", "row 3:", repr(value))


def test_dates_as_a_price_are_rejected(tmp_path):
    bars(3).assign(open=pd.Timestamp("2020-01-01")).to_parquet(tmp_path / "x.parquet")
    assert_rejects(tmp_path / "x.parquet", "'open'", "row 1", "2020-01-01")


@pytest.mark.parametrize("value", ["", "soon", "2020-13-01", "2020-02-30", "1526364000", "0001-01-01", "9999-01-01"])
def test_values_that_are_no_dates_are_named(tmp_path, value):
    frame = bars(3)
    frame.loc[1, "date"] = value
    assert_rejects(write(tmp_path / "x.csv", frame), "x.csv", "'date'", "row 2 (line 3)", repr(value))


def test_numbers_that_count_nothing_are_no_dates(tmp_path):
    bars(2).assign(date=45293).to_parquet(tmp_path / "x.parquet")
    assert_rejects(tmp_path / "x.parquet", "'date'", "row 1", "'45293'")


def test_blank_tickers_are_named(tmp_path):
    frame = bars(3)
    frame.loc[1, "ticker"] = " "
    assert_rejects(write(tmp_path / "x.csv", frame), "x.csv", "'ticker'", "row 2 (line 3)")
    frame.loc[1, "ticker"] = None
    frame.to_parquet(tmp_path / "x.parquet")
    assert_rejects(tmp_path / "x.parquet", "x.parquet", "'ticker'", "row 2")


@pytest.mark.parametrize("text", ["", "\n", "\ufeff"])
def test_empty_files_are_rejected(tmp_path, text):
    assert_rejects(write(tmp_path / "x.csv", text), "x.csv", "empty")


def test_files_without_rows_or_usable_bars_are_rejected(tmp_path):
    assert_rejects(write(tmp_path / "x.csv", HEADER + "\n"), "x.csv", "no rows")
    assert_rejects(write(tmp_path / "x.csv", HEADER + "\n,,,,,,\n\n"), "x.csv", "no rows")
    bars(2).iloc[:0].to_parquet(tmp_path / "x.parquet")
    assert_rejects(tmp_path / "x.parquet", "x.parquet", "no rows")
    assert_rejects(write(tmp_path / "x.csv", HEADER + "\n2020-01-01,A,,,,,\n"), "No usable bar in x.csv", "1 row lacks")


def test_paths_that_are_no_data_are_rejected(tmp_path):
    assert_rejects(tmp_path / "nowhere.csv", "No such file or folder", "nowhere.csv", ".feather")
    assert_rejects(write(tmp_path / "x.xlsx", "x"), "x.xlsx", ".csv, .csv.gz, .parquet, .feather")
    folder = tmp_path / "empty"
    folder.mkdir()
    write(folder / "notes.txt", "x")
    assert_rejects(folder, "empty", "no data file")


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".csv.gz", ".csv"])
def test_broken_files_are_named(tmp_path, suffix, monkeypatch):
    # What a file that is cut off says of its size is chance, and no reason to talk about memory.
    monkeypatch.setattr(sizes, "free_memory", lambda: 1 << 28)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"\xff\x00\x81broken" * 9)
    assert_rejects(path, "cannot be read", path.name)
    whole = tmp_path / "whole.csv.gz"
    whole.write_bytes(gzip.compress(bars(500).to_csv(index=False).encode())[:-200])
    assert_rejects(whole, "cannot be read", "whole.csv.gz")


@pytest.mark.parametrize("line", [2, 3])
def test_rows_with_too_many_cells_are_rejected(tmp_path, line):
    lines = bars(3).to_csv(index=False).splitlines()
    lines[line - 1] = lines[line - 1].replace(",50.", ",1,050.")
    assert_rejects(write(tmp_path / "x.csv", "\n".join(lines)), "x.csv", "cannot be read")


def test_ambiguous_columns_are_rejected(tmp_path):
    twice = bars(2).assign(x=1.0).rename(columns={"x": "Close "})
    assert_rejects(write(tmp_path / "x.csv", twice), "x.csv", "two columns named 'Close'")
    signals = bars(2).assign(a=1.0, b=1.0).rename(columns={"a": "My Signal", "b": "my/signal"})
    assert_rejects(write(tmp_path / "x.csv", signals), "x.csv", "'my_signal'")


def test_arguments_are_checked(tmp_path):
    path = write(tmp_path / "x.csv", bars(5))
    assert_rejects(path, "ZZZ", "QQQ", tickers=["ZZZ", "AAPL", "QQQ"])
    assert_rejects(path, "'AAPL,MSFT'", "list", tickers="AAPL,MSFT")
    assert_rejects(path, "no list of tickers", tickers=[])
    assert_rejects(path, "2020-01-06", "2020-01-02", start="2020-01-06", end="2020-01-02")
    assert_rejects(path, "holds no bar", start="2021-01-01")
    assert_rejects(path, "'Mars/Phobos'", exchange_timezone="Mars/Phobos")


# Tickers, signals, sectors.


def test_tickers_keep_their_order_and_only_their_dates(tmp_path):
    frame = bars(6, ("A", "B", "C"))
    frame = frame[(frame.ticker == "A") | (frame.date > "2020-01-03")]
    path = write(tmp_path / "x.csv", frame)
    panel = load_panel(path, tickers=["C", "B", "C"])
    assert panel.symbols == ("C", "B") and panel.num_bars == 3 and panel.tradable.all()
    alone = load_panel(write(tmp_path / "y.csv", frame[frame.ticker != "A"]))
    assert_same(panel.select(["B", "C"]), alone)


def test_span_includes_both_ends(tmp_path):
    panel = load_panel(write(tmp_path / "x.csv", bars(6)), start="2020-01-02", end="2020-01-06")
    assert [str(t)[:10] for t in panel.times] == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert panel.close.shape == (3, 2) and panel.sessions.shape == (3,)


def test_tickers_stay_as_written(tmp_path):
    tickers = ("000001", "NA", "nan", "BRK.B", "aapl", "TRUE", "1E5", " IBM ")
    frame = bars(2, tickers)
    expected = tuple(sorted(t.strip() for t in tickers))
    frame.to_parquet(tmp_path / "x.parquet")
    assert load_panel(write(tmp_path / "x.csv", frame)).symbols == expected
    assert load_panel(tmp_path / "x.parquet").symbols == expected
    numbers = bars(2, ("000001", "000002"))
    assert load_panel(write(tmp_path / "y.csv", numbers)).symbols == ("000001", "000002")


def test_numeric_columns_become_signals(tmp_path):
    frame = bars(2).assign(sentiment=[0.1, np.nan, 0.3, np.inf], company="Apple", empty=np.nan, flag=True)
    frame = frame.rename(columns={"sentiment": " P/E Ratio(1)"})
    frame.insert(0, "Unnamed: 0", range(4))
    frame.insert(0, "", range(4))
    panel = load_panel(write(tmp_path / "x.csv", frame))
    assert list(panel.signals) == ["flag", "p_e_ratio_1_"]
    np.testing.assert_array_equal(panel.signals["p_e_ratio_1_"], [[0.1, 0.3], [np.nan, np.nan]])
    np.testing.assert_array_equal(panel.signals["flag"], np.ones((2, 2)))
    assert "'company' is not numeric and left out" in notes(panel)
    assert "'empty' holds no value" in notes(panel) and "nnamed" not in notes(panel)
    frame.drop(columns="").to_parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(load_panel(tmp_path / "x.parquet").signals["p_e_ratio_1_"][0], [0.1, 0.3])


def test_second_date_and_name_columns_are_no_signals(tmp_path):
    panel = load_panel(write(tmp_path / "x.csv", bars(2).assign(timestamp=1526364000, name="Apple Inc")))
    assert not panel.signals and panel.symbols == ("AAPL", "MSFT")
    assert "'timestamp' is left out, as 'date' holds the date" in notes(panel)


def test_signals_of_a_folder_are_joined(tmp_path):
    write(tmp_path / "A.csv", bars(2, ("A",)).assign(alpha=1.5))
    write(tmp_path / "B.csv", bars(2, ("B",)).assign(beta=2.5, text="x"))
    panel = load_panel(tmp_path)
    np.testing.assert_array_equal(panel.signals["alpha"], [[1.5, np.nan]] * 2)
    np.testing.assert_array_equal(panel.signals["beta"], [[np.nan, 2.5]] * 2)
    assert notes(panel) == "B.csv: column 'text' is not numeric and left out."


def test_sectors_come_from_the_last_row_or_a_file(tmp_path):
    frame = bars(3, ("A", "B", "C")).assign(sector=["Old", "New", "", "Tech", None, "", "", "", "NA"])
    path = write(tmp_path / "x.csv", frame.iloc[::-1])
    assert load_panel(path).sectors == ("New", "Tech", UNKNOWN_SECTOR)
    frame.astype({"sector": "category"}).to_parquet(tmp_path / "x.parquet")
    assert load_panel(tmp_path / "x.parquet").sectors == ("New", "Tech", UNKNOWN_SECTOR)
    sectors = write(tmp_path / "sectors.csv", "Symbol,Name,Sector\nC,Cee, Energy \nB,Bee,\nC,Cee,Utilities\n")
    assert load_sectors(sectors) == {"C": "Utilities"}
    assert load_panel(path, sectors=sectors, tickers=["C", "A"]).sectors == ("Utilities", "New")
    assert_rejects(path, "nowhere.csv", sectors=tmp_path / "nowhere.csv")
    assert_rejects(path, "no sector column", sectors=write(tmp_path / "bad.csv", "ticker,industry\nA,Oil\n"))


# Universe.


def test_universe_masks_what_may_be_bought_and_keeps_bars(tmp_path):
    frame = bars(6, ("A", "B", "C"))
    path = write(tmp_path / "x.csv", frame)
    members = "Ticker,start_date,end_date\nA,2020-01-02,2020-01-03\nA,2020-01-08,\nB,,2020-01-01\nZ,2000-01-01,\n"
    universe = write(tmp_path / "members.csv", members)
    panel = load_panel(path, universe=universe)
    assert panel.symbols == ("A", "B")
    assert panel.buyable is not None and panel.tradable.all()
    np.testing.assert_array_equal(panel.buyable[:, 0], [False, True, True, False, False, True])
    np.testing.assert_array_equal(panel.buyable[:, 1], [True, False, False, False, False, False])
    full = load_panel(path, tickers=["A", "B"])
    np.testing.assert_array_equal(panel.close, full.close)
    np.testing.assert_array_equal(panel.volume, full.volume)
    assert "1 ticker not in the universe" in notes(panel) and "left out: C." in notes(panel)
    assert "8 bars outside the universe" in notes(panel)
    always = write(tmp_path / "always.csv", "ticker,start,end\nA,,\nB,2020-01-01,\n")
    assert load_panel(path, universe=always).buyable is None


def test_universe_without_a_common_ticker_or_with_faults_is_rejected(tmp_path):
    path = write(tmp_path / "x.csv", bars(2))
    file = tmp_path / "members.csv"
    assert_rejects(path, "nowhere.csv", "ticker, start, end", universe=tmp_path / "nowhere.csv")
    assert_rejects(path, "none of the tickers", "AAPL", "Z", universe=write(file, "ticker,start,end\nZ,2000-01-01,\n"))
    assert_rejects(path, "no start column", "start_date", universe=write(file, "ticker,from,end\nAAPL,2000-01-01,\n"))
    bad_date = write(file, "ticker,start,end\nAAPL,2000-01-01,\nMSFT,x,\n")
    assert_rejects(path, "members.csv", "row 2 (line 3)", "'start'", "'x'", universe=bad_date)
    reverse = write(file, "ticker,start,end\nAAPL,2001-01-01,2000-01-01\n")
    assert_rejects(path, "members.csv, row 1", "AAPL", "2000-01-01", universe=reverse)
    assert_rejects(path, "row 1", "no ticker", universe=write(file, "ticker,start,end\n,2001-01-01,\n"))


def test_membership_counts_trading_days_of_intraday_bars(tmp_path):
    file = write(tmp_path / "members.csv", "ticker,start,end\nA,2020-01-02,2020-01-02\n")
    mask = membership_mask(load_membership(file), ("A", "B"), np.array([18262, 18263, 18263, 18264], np.int32))
    np.testing.assert_array_equal(mask, [[False, False], [True, False], [True, False], [False, False]])


# Corporate actions.


def split_file(path: Path, closes: Sequence[float], split: Sequence[float], **columns) -> Path:
    close = np.array(closes)
    frame = bars(len(close), ("A",)).assign(open=close, high=close, low=close, close=close, split=split)
    return write(path, frame.assign(**columns))


def test_dividends_and_splits_are_kept_beside_raw_prices(tmp_path):
    path = split_file(
        tmp_path / "x.csv", [100, 101, 50, 51], [0, np.nan, 2, 1], dividend=[0, 0.5, np.nan, 0], adj_close=[9, 9, 9, 9]
    )
    panel = load_panel(path)
    assert panel.split is not None and panel.dividend is not None
    np.testing.assert_array_equal(panel.close[:, 0], [100, 101, 50, 51])
    np.testing.assert_array_equal(panel.split[:, 0], [1, 1, 2, 1])
    np.testing.assert_array_equal(panel.dividend[:, 0], [0, 0.5, 0, 0])
    assert not panel.signals and notes(panel) == ""


def test_columns_without_events_are_none(tmp_path):
    panel = load_panel(split_file(tmp_path / "x.csv", [10, 11], [0, 1], dividend=0.0))
    assert panel.split is None and panel.dividend is None


def test_names_of_yfinance_events_are_known(tmp_path):
    frame = bars(3, ("A",)).assign(dividend=[0, 0.1, 0], split=[0, 0, 1.5])
    frame = frame.rename(columns={"dividend": "Dividends", "split": "Stock Splits"})
    frame.loc[2, ["open", "high", "low", "close"]] /= 1.5
    panel = load_panel(write(tmp_path / "x.csv", frame))
    assert panel.dividend is not None and panel.split is not None
    assert panel.dividend[1, 0] == 0.1 and panel.split[2, 0] == 1.5 and not panel.signals


def test_splits_already_in_the_prices_are_ignored(tmp_path):
    panel = load_panel(split_file(tmp_path / "x.csv", [25, 25.2, 25, 25.6], [0, 0, 4, 0], dividend=[0, 0.1, 0, 0]))
    assert panel.split is None and panel.dividend is not None
    assert "1 split listed in x.csv ignored" in notes(panel)


def test_splits_are_judged_one_by_one_and_file_by_file(tmp_path):
    # One adjusted split among raw ones, and a reverse split, do not change the verdict on others.
    closes = [100, 50, 50, 25, 250, 251]
    raw = split_file(tmp_path / "RAW.csv", closes, [0, 2, 2, 2, 0.1, 0])
    panel = load_panel(raw)
    assert panel.split is not None
    np.testing.assert_array_equal(panel.split[:, 0], [1, 2, 1, 2, 0.1, 1])
    # Small splits are no evidence, and go with the clear ones before them.
    split_file(tmp_path / "DONE.csv", [30, 31, 30, 30, 30, 31], [0, 3, 0, 1.05, 0.2, 0])
    frame = pd.read_csv(tmp_path / "DONE.csv").assign(ticker="B")
    panel = load_panel(write(tmp_path / "DONE.csv", frame).parent)
    assert panel.split is not None and panel.symbols == ("A", "B")
    np.testing.assert_array_equal(panel.split[:, 0], [1, 2, 1, 2, 0.1, 1])
    np.testing.assert_array_equal(panel.split[:, 1], np.ones(6))
    assert "4 splits listed in DONE.csv, RAW.csv ignored" in notes(panel)


def test_splits_are_judged_against_the_last_bar_before(tmp_path):
    panel = load_panel(split_file(tmp_path / "x.csv", [100, 0, np.nan, 50, 51], [0, 0, 0, 2, 0]))
    assert panel.split is not None and panel.split[3, 0] == 2


def test_small_splits_alone_are_no_evidence(tmp_path):
    panel = load_panel(split_file(tmp_path / "x.csv", [100, 101, 102], [0, 0, 1.05]))
    assert panel.split is not None and panel.split[2, 0] == 1.05


def test_split_on_the_first_bar_or_without_a_bar_is_no_evidence(tmp_path):
    panel = load_panel(split_file(tmp_path / "x.csv", [100, 101, 0], [2, 0, 3]))
    assert panel.split is not None
    np.testing.assert_array_equal(panel.split[:, 0], [2, 1, 3])


def test_adj_close_alone_gives_total_return_prices(tmp_path):
    frame = bars(3, ("A",))
    scale = np.array([0.5, 0.8, 1.0])
    panel = load_panel(write(tmp_path / "x.csv", frame.assign(**{"Adj Close": frame["close"] * scale})))
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(getattr(panel, name)[:, 0], frame[name] * scale, rtol=1e-15)
    np.testing.assert_array_equal(panel.volume[:, 0], frame["volume"])
    assert not panel.signals and "adj_close / close" in notes(panel)


def test_missing_adj_close_is_no_bar(tmp_path):
    frame = bars(3, ("A",)).assign(adjclose=[1.0, np.nan, 3.0])
    panel = load_panel(write(tmp_path / "x.csv", frame))
    np.testing.assert_array_equal(panel.tradable[:, 0], [True, False, True])
    assert "1 row lacks open, high, low or close" in notes(panel)


# Times.


def intraday(times: list[str]) -> pd.DataFrame:
    return bars(len(times), ("SPY",)).assign(date=times)


def test_naive_intraday_times_are_utc_and_sessions_are_local_days(tmp_path):
    times = ["2024-01-02 14:30:00", "2024-01-02 20:59:00", "2024-01-03 00:30:00", "2024-01-03 05:00:00"]
    path = write(tmp_path / "x.csv", intraday(times))
    panel = load_panel(path)
    np.testing.assert_array_equal(panel.times, np.array(times, "datetime64[ns]"))
    np.testing.assert_array_equal(panel.sessions - panel.sessions[0], [0, 0, 0, 1])
    assert panel.sessions[0] == np.datetime64("2024-01-02").astype(int)
    tokyo = load_panel(path, exchange_timezone="Asia/Tokyo")
    np.testing.assert_array_equal(tokyo.sessions - panel.sessions[0], [0, 1, 1, 1])


def test_times_with_a_zone_become_utc_across_a_clock_change(tmp_path):
    days = (("2024-03-08", "-05:00"), ("2024-03-11", "-04:00"))
    times = [f"{day} {clock}:00{zone}" for day, zone in days for clock in ("09:30", "10:30")]
    utc = np.array(["2024-03-08T14:30", "2024-03-08T15:30", "2024-03-11T13:30", "2024-03-11T14:30"], "datetime64[ns]")
    np.testing.assert_array_equal(load_panel(write(tmp_path / "x.csv", intraday(times))).times, utc)
    frame = intraday(times)
    frame["date"] = pd.to_datetime(frame["date"], utc=True).dt.tz_convert("America/New_York")
    frame.to_parquet(tmp_path / "x.parquet")
    np.testing.assert_array_equal(load_panel(tmp_path / "x.parquet").times, utc)


@pytest.mark.parametrize(
    "times",
    [
        ["2024-03-08 00:00:00-05:00", "2024-03-11 00:00:00-04:00"],
        ["2024-03-08T05:00:00Z", "2024-03-11T04:00:00Z"],
        ["2024-03-08 00:00:00.000-05", "2024-03-11 00:00-0400"],
        ["2024-03-08 00:00:00+09:00", "2024-03-11 00:00:00+09:00"],
        ["2024-03-08 00:00", "2024-03-11 00:00"],
        ["20240308", "20240311"],
        ["03/08/2024", "3/11/2024"],
        ["2024/03/08", "2024/03/11"],
    ],
)
def test_daily_bars_are_dates_however_stamped(tmp_path, times):
    if times[0].startswith("03/08"):
        times = [*times, "3/13/2024"]
    panel = load_panel(write(tmp_path / "x.csv", intraday(times)))
    assert [str(t)[:19] for t in panel.times[:2]] == ["2024-03-08T00:00:00", "2024-03-11T00:00:00"]
    np.testing.assert_array_equal(panel.sessions, panel.times.astype("datetime64[D]").astype(int))


def test_days_before_months_are_told_apart_or_rejected(tmp_path):
    panel = load_panel(write(tmp_path / "x.csv", intraday(["05.04.2024", "13.04.2024"])))
    assert [str(t)[:10] for t in panel.times] == ["2024-04-05", "2024-04-13"]
    path = write(tmp_path / "y.csv", intraday(["05/04/2024", "06/04/2024"]))
    assert_rejects(path, "y.csv", "'date'", "'05/04/2024'", "YYYY-MM-DD")


def test_daily_and_intraday_files_do_not_mix(tmp_path):
    write(tmp_path / "SPY.csv", intraday(["2024-01-02 14:30:00", "2024-01-02 14:31:00"]).drop(columns="ticker"))
    write(tmp_path / "VIX.csv", intraday(["2024-01-02", "2024-01-03"]).drop(columns="ticker"))
    assert_rejects(tmp_path, "VIX.csv", "SPY.csv", "do not mix")


# Any order, any subset.


@st.composite
def ragged_tables(draw):
    days, tickers = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    frame = bars(days, tuple("ABCD"[:tickers])).assign(sector="S", alpha=np.arange(days * tickers) * 1.0)
    kept = draw(st.lists(st.sampled_from(range(len(frame))), min_size=1, unique=True))
    frame = frame.iloc[kept].reset_index(drop=True)
    faults = draw(st.lists(st.tuples(st.sampled_from(range(len(frame))), st.sampled_from(PRICES))))
    for row, column in faults[: len(frame) - 1]:
        frame.loc[row, column] = draw(st.sampled_from([np.nan, 0.0, 500.0]))
    return frame


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_order_of_rows_does_not_matter(tmp_path, data):
    frame = data.draw(ragged_tables())
    order = data.draw(st.permutations(range(len(frame))))
    left, right = write(tmp_path / "a.csv", frame), write(tmp_path / "b.csv", frame.iloc[list(order)])
    try:
        panel = load_panel(left)
    except ValueError as error:
        assert "No usable bar in a.csv" in str(error)
        with pytest.raises(ValueError, match="No usable bar in b.csv"):
            load_panel(right)
        return
    assert_same(panel, load_panel(right))
    assert notes(panel) == notes(load_panel(right))
    # Bars are those of the file or nothing at all.
    assert np.isin(panel.close[np.isfinite(panel.close)], frame["close"]).all()
    assert not panel.tradable[~np.isfinite(panel.close)].any()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=st.integers(0, 11))
def test_dropping_a_row_changes_only_its_bar(tmp_path, row):
    frame = bars(4, ("A", "B", "C"))
    before = load_panel(write(tmp_path / "a.csv", frame))
    after = load_panel(write(tmp_path / "b.csv", frame.drop(index=row)))
    for name in ("open", "high", "low", "close", "volume", "tradable"):
        changed = getattr(before, name) != getattr(after, name)
        assert np.argwhere(changed).tolist() == [[row % 4, row // 4]], name


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.sampled_from([*WIDE.values(), f"{HEADER}\n2020-01-01,A,10,11,9,10,100\n2020-01-02,A,10,11,9,10,100\n"]),
    place=st.floats(0, 1),
    cut=st.integers(0, 12),
    insert=st.sampled_from(["", ",", "\n", '"', "\0", "-", "nan", "inf", "1e999", "0x1", "2020-01-01", "+05:00", "é"]),
)
def test_damaged_text_is_rejected_with_its_file_or_gives_a_valid_panel(tmp_path, text, place, cut, insert):
    at = int(place * len(text))
    path = write(tmp_path / "x.csv", text[:at] + insert + text[at + cut :])
    try:
        panel = load_panel(path)
    except ValueError as error:
        assert "x.csv" in str(error)
        return
    assert np.isfinite(panel.close[panel.tradable]).all()


# Real files.


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not in the shared data folder")
    return DATA / name


@pytest.mark.realdata
def test_real_csv_with_known_faults():
    panel = load_panel(real("all_stocks_5yr.csv"), sectors=real("sp500_sector_map.csv"))
    assert panel.close.shape == (1259, 505)
    assert "11 rows lack open, high or low and count as no bar" in notes(panel)
    assert "1 row has high below low and counts as no bar" in notes(panel)
    # The twelfth is the row whose high is below its low.
    assert "11 bars have open or close outside [low, high]" in notes(panel)
    # The four rows of zero volume are among the eleven without prices.
    assert "no volume" not in notes(panel)
    assert panel.tradable.sum() == 619_040 - 11 - 1
    assert (panel.tradable == np.isfinite(panel.close)).all()
    # 29 tickers start late and 6 have gaps: all stay.
    first = np.argmax(panel.tradable, axis=0)
    assert (first > 0).sum() == 29
    assert panel.sectors[panel.symbols.index("AAPL")] == "Information Technology"
    assert sum(sector == UNKNOWN_SECTOR for sector in panel.sectors) < 10


@pytest.mark.realdata
def test_real_parquet_agrees_with_its_csv():
    csv_panel, panel = load_panel(real("all_stocks_5yr.csv")), load_panel(real("sp500_daily_2013_2018.parquet"))
    assert panel.symbols == csv_panel.symbols
    np.testing.assert_array_equal(panel.times, csv_panel.times)
    both = panel.tradable & csv_panel.tradable
    assert (panel.close[both] == csv_panel.close[both]).mean() > 0.99


@pytest.mark.thorough
@pytest.mark.realdata
def test_real_adjusted_panel_keeps_raw_prices_and_events():
    panel = load_panel(real("sp500_daily_adj_2005_2018.parquet"))
    assert panel.close.shape == (3298, 494) and panel.split is not None and panel.dividend is not None
    assert (panel.split != 1).sum() == 229 and (panel.dividend > 0).sum() == 17_325
    assert np.isfinite(panel.close).sum() == 1_497_571
    assert "35 bars have no volume and are not tradable" in notes(panel)
    # The day on which Generac was listed: its prices know nothing of the split before.
    assert "1 split listed in sp500_daily_adj_2005_2018.parquet ignored" in notes(panel) and not panel.signals
    assert "GNRC 2010-02-12" in notes(panel) and "upside down" not in notes(panel)
    # Apple's seven for one of June 2014 is in the prices as traded.
    row, column = panel.find_rows("2014-06-09").start, panel.symbols.index("AAPL")
    assert panel.split[row, column] == pytest.approx(7, abs=1e-4)
    assert 6 < panel.close[row - 1, column] / panel.close[row, column] < 8


@pytest.mark.realdata
def test_real_splits_in_adjusted_prices_are_found(tmp_path):
    panel = load_panel(real("us_daily_events_2015_2017.parquet"))
    assert panel.split is not None and (panel.split != 1).sum() == 104
    # Three for two, listed for 2016-09-01; the price shows it two weeks later.
    row, column = panel.find_rows("2016-09-15").start, panel.symbols.index("BIP")
    assert panel.split[row, column] == 1.5 and "moved there (BIP 2016-09-15)" in notes(panel)
    frame = pd.read_parquet(real("us_daily_events_2015_2017.parquet"))
    frame = frame.sort_values(["ticker", "date"], ascending=[True, False])
    later = frame.groupby("ticker", observed=True)["split"].transform(lambda s: s.cumprod().shift(fill_value=1.0))
    frame[["open", "high", "low", "close"]] = frame[["open", "high", "low", "close"]].div(later, axis=0)
    frame.to_parquet(tmp_path / "adjusted.parquet")
    adjusted = load_panel(tmp_path / "adjusted.parquet")
    # One of them was listed two weeks early: there the prices now rise where they should have fallen.
    assert adjusted.split is not None and (adjusted.split != 1).sum() == 1
    assert "103 splits listed in adjusted.parquet ignored" in notes(adjusted)


@pytest.mark.realdata
def test_real_universe_masks_and_leaves_out():
    path, members = real("us_daily_events_2015_2017.parquet"), real("sp500_membership_intervals.csv")
    full, panel = load_panel(path), load_panel(path, universe=members)
    assert full.num_assets == 793 and panel.num_assets == 793 - 535
    assert "535 tickers not in the universe" in notes(panel)
    full = full.select(panel.symbols)
    np.testing.assert_array_equal(panel.tradable, full.tradable)
    assert panel.buyable is not None and 0.3 < (panel.buyable & panel.tradable).sum() / full.tradable.sum() < 1
    np.testing.assert_array_equal(panel.close, full.close)
    # American Airlines joined on 2015-03-23, the second day of the file.
    column = panel.symbols.index("AAL")
    assert full.tradable[0, column] and not panel.buyable[0, column] and panel.buyable[1, column]


@pytest.mark.realdata
def test_real_intraday_bars_have_local_sessions():
    panel = load_panel(real("spy_1m_2024_2025.parquet"))
    assert panel.close.shape == (102_236, 1)
    assert (np.diff(panel.sessions) >= 0).all()
    weekdays = (np.unique(panel.sessions) + 3) % 7
    assert weekdays.max() <= 4
    assert str(panel.times[0]) == "2024-03-26T13:30:00.000000000"
    assert panel.sessions[0] == np.datetime64("2024-03-26").astype(int)
    assert load_panel(real("crypto_btcusd_1h_2018_2022.parquet")).symbols == ("BTCUSD",)


@pytest.mark.realdata
def test_real_index_without_volume_is_tradable():
    panel = load_panel(real("vix_daily.parquet"))
    assert panel.symbols == ("^VIX",) and panel.tradable.all() and not panel.volume.any()
    assert "without any volume" in notes(panel)
