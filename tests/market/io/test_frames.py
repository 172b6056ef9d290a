"""Tables in memory: read as files of the same content are, and written back; what the messages name."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.panel import Panel
from tests.market.io.test_load import assert_same, bars

FIELDS = ["open", "high", "low", "close", "volume"]


class Stream:
    """A table of a library that is not known here: all it has is the protocol."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._table = pa.Table.from_pandas(frame, preserve_index=False)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def with_moments(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(date=pd.to_datetime(frame["date"]))


def of_ticker(frame: pd.DataFrame, ticker: str) -> pd.DataFrame:
    """One ticker as most vendors' libraries hand it over."""
    own = frame.loc[frame["ticker"] == ticker].set_index("date")[FIELDS]
    return own.rename_axis("Date").rename(columns=str.capitalize)


def by_ticker(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {ticker: of_ticker(frame, ticker) for ticker in dict.fromkeys(frame["ticker"])}


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Two levels of columns, `(Price, Ticker)`, as `yfinance.download` returns them."""
    return pd.concat(by_ticker(frame), axis=1, names=["Ticker", "Price"]).swaplevel(axis=1).sort_index(axis=1)


LAYOUTS = {
    "long": lambda f: f,
    "dates as text": lambda f: f.assign(date=f["date"].dt.strftime("%Y-%m-%d")),
    "other names and order": lambda f: f.rename(columns={"ticker": "Symbol", "date": "Timestamp"}).sample(frac=1.0),
    "ticker as index": lambda f: f.set_index("ticker"),
    "date as index": lambda f: f.set_index("date"),
    "date as index and column": lambda f: f.set_index("date", drop=False),
    "index without a name": lambda f: f.set_index("date").rename_axis(None),
    "an index that means nothing": lambda f: f.set_index(pd.Index(np.arange(len(f)) + 7, name="row")),
    "periods": lambda f: f.assign(date=f["date"].dt.to_period("D")),
    "a zone": lambda f: f.assign(date=f["date"].dt.tz_localize("America/New_York")),
    "categories": lambda f: f.assign(ticker=f["ticker"].astype("category")),
    "numbers as text": lambda f: f.assign(close=f["close"].map("{:.2f}".format), volume=f["volume"].map(str)),
    "rows of date and ticker": lambda f: f.set_index(["date", "ticker"]),
    "rows of ticker and date": lambda f: f.set_index(["ticker", "date"]),
    "rows without names": lambda f: f.set_index(["ticker", "date"]).rename_axis([None, None]),
    "rows of other names": lambda f: f.set_index(["date", "ticker"]).rename_axis(["day", "paper"]),
    "field and ticker": wide,
    "ticker and field": lambda f: wide(f).swaplevel(axis=1),
    "ticker and field, mixed": lambda f: wide(f).swaplevel(axis=1).sample(frac=1.0, axis=1, random_state=1),
    "wide with the date as column": lambda f: wide(f).reset_index(),
    "dictionary": by_ticker,
    "dictionary of streams": lambda f: {name: Stream(one.reset_index()) for name, one in by_ticker(f).items()},
    "Arrow stream": Stream,
    "Arrow reader": lambda f: pa.Table.from_pandas(f).to_reader(),
    "Arrow table": lambda f: pa.Table.from_pandas(f.set_index("ticker")),
    "wide Arrow table": lambda f: pa.Table.from_pandas(wide(f)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_frame_is_what_its_file_is(layout, tmp_path):
    frame = bars(6)
    frame.to_csv(tmp_path / "bars.csv", index=False)
    given = LAYOUTS[layout](with_moments(frame))
    kept = given.copy() if isinstance(given, pd.DataFrame) else None
    assert_same(Panel.from_frame(given), load_panel(tmp_path / "bars.csv"))
    if kept is not None:
        pd.testing.assert_frame_equal(given, kept)


def test_repairs_notes_and_signals_are_those_of_the_file(tmp_path):
    frame = bars(30, sentiment=1.5, sector="Energy", adj_factor=2.0)
    frame.loc[3, "close"], frame.loc[7, "high"], frame.loc[9, "volume"] = np.nan, 1.0, 0.0
    frame.loc[12, "open"] = frame.loc[12, "high"] + 1
    frame.to_csv(tmp_path / "bars.csv", index=False)
    panel, of_file = Panel.from_frame(with_moments(frame)), load_panel(tmp_path / "bars.csv")
    assert_same(panel, of_file)
    assert panel.signals.keys() == {"sentiment"} and len(panel.notes) >= 4
    assert [note.replace("the frame", "bars.csv") for note in panel.notes] == list(of_file.notes)


def test_settings_are_those_of_files(tmp_path):
    frame = bars(40, ("AAPL", "MSFT", "SPY"))
    frame.to_csv(tmp_path / "bars.csv", index=False)
    (tmp_path / "members.csv").write_text("ticker,start,end\nAAPL,2020-01-10,2020-01-20\nSPY,2020-01-01,\n")
    (tmp_path / "sectors.csv").write_text("ticker,sector\nAAPL,Technology\n")
    how = {
        "tickers": ["SPY", "AAPL"],
        "start": "2020-01-06",
        "end": "2020-02-05",
        "universe": tmp_path / "members.csv",
        "sectors": tmp_path / "sectors.csv",
        "periods_per_year": 250.0,
    }
    panel, of_file = Panel.from_frame(frame, **how), load_panel(tmp_path / "bars.csv", **how)
    assert_same(panel, of_file)
    np.testing.assert_array_equal(panel.buyable, of_file.buyable)
    assert panel.symbols == ("SPY", "AAPL") and panel.calendar == of_file.calendar


def test_closes_alone_say_that_their_columns_are_tickers():
    closes = wide(with_moments(bars(5)))["Close"]
    assert closes.columns.name == "Ticker"
    panel = Panel.from_frame(closes)
    np.testing.assert_array_equal(panel.close, closes.to_numpy())
    assert panel.symbols == ("AAPL", "MSFT") and "closes only" in panel.notes[0]
    with pytest.raises(ValueError, match=r"says that its columns are tickers: frame.rename_axis\(columns='ticker'\)"):
        Panel.from_frame(closes.rename_axis(columns=None))


def test_a_ticker_is_named():
    own = of_ticker(with_moments(bars(5)), "MSFT")
    assert Panel.from_frame(own).symbols == ("ASSET",)
    panel = Panel.from_frame(own, ticker="MSFT")
    assert panel.symbols == ("MSFT",)
    np.testing.assert_array_equal(panel.close[:, 0], own["Close"].to_numpy())
    assert list(panel.times.astype("datetime64[D]")) == list(own.index.to_numpy("datetime64[D]"))


def test_columns_are_renamed():
    frame = bars(5).rename(columns={"close": "Schluss", "date": "Tag", "ticker": "Papier"})
    roles = {"close": "Schluss", "date": "Tag", "ticker": "Papier"}
    assert_same(Panel.from_frame(frame, columns=roles), Panel.from_frame(bars(5)))
    turned = wide(with_moments(bars(5))).rename(columns={"Close": "Schluss"}, level=0)
    assert_same(Panel.from_frame(turned, columns={"close": "Schluss"}), Panel.from_frame(bars(5)))


def test_minutes_are_in_utc():
    times = pd.date_range("2020-01-06 09:30", periods=390, freq="min", tz="America/New_York")
    days = pd.DatetimeIndex(np.concatenate([times, times + pd.Timedelta(days=1)]))
    close = np.linspace(50.0, 60.0, len(days))
    frame = pd.DataFrame({"close": close, "volume": 100.0}, index=days)
    panel = Panel.from_frame(frame, ticker="SPY")
    assert panel.times[0] == np.datetime64("2020-01-06T14:30") and len(np.unique(panel.sessions)) == 2
    assert_same(Panel.from_frame(panel.to_frame()), panel)


REFUSED = {
    "no close": (lambda f: f.drop(columns="close"), {}, "the frame has no close column: found 'date'"),
    "another name": (lambda f: f.rename(columns={"close": "Kurs"}), {}, 'say which is which: columns="close=Kurs"'),
    "no such column": (lambda f: f, {"columns": {"close": "Shut"}}, "has no column 'Shut', which columns gives for"),
    "no such role": (lambda f: f, {"columns": {"clos": "Shut"}}, "did you mean 'close'?"),
    "a word": (lambda f: f.assign(close=["x", *f["close"][1:]]), {}, "the frame, column 'close', row 1: 'x' is not a"),
    "no date": (lambda f: f.assign(date="never"), {}, 'row 1: .never. is not a date.*columns="date_format='),
    "twice": (lambda f: pd.concat([f, f]), {}, "More than one row for AAPL 2020-01-01 in the frame; 10 bars"),
    "no rows": (lambda f: f[:0], {}, "the frame holds no rows."),
    "other levels": (
        lambda f: wide(f).rename(columns={"Close": "A", "Open": "B", "High": "C", "Low": "D"}, level=0),
        {},
        "of which neither names open, high, low and close: found .*columns=.close=NAME",
    ),
    "three levels": (
        lambda f: f.set_index(["date", "ticker", "open"]),
        {},
        "has 3 levels of rows and 1 of columns; two of one",
    ),
    "one of several": (
        lambda f: {"AAPL": of_ticker(f, "AAPL"), "MSFT": of_ticker(f, "MSFT").drop(columns="Close")},
        {},
        "the frame 'MSFT' has no close column",
    ),
    "a column of lists": (
        lambda f: Stream(f.assign(close=[[1.0]] * len(f))),
        {},
        "the frame, column 'close' holds lists",
    ),
    "no table": (lambda f: f["close"], {}, "the frame is of the type Series; give a pandas DataFrame, a dictionary"),
    "a path": (lambda f: "bars.csv", {}, "is of the type str"),
    "an empty dictionary": (lambda f: {}, {}, "The dictionary of frames is empty"),
    "tickers as text": (lambda f: f, {"tickers": "AAPL"}, "tickers='AAPL' is no list of tickers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    make, how, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        Panel.from_frame(make(bars(5)), **how)


def full_panel() -> Panel:
    """Gaps, a split, a dividend, a signal and sectors."""
    frame = bars(40, ("AAPL", "MSFT", "SPY"), sector="Energy", mood=np.linspace(-1, 1, 120), dividend=0.0, split=1.0)
    frame.loc[20, "dividend"] = 0.5
    frame.loc[60:79, ["open", "high", "low", "close"]] /= 4
    frame.loc[60, "split"] = 4.0
    return Panel.from_frame(frame.drop(index=[5, 6, 50]))


@pytest.mark.parametrize("is_wide", [False, True])
def test_to_frame_and_back(is_wide):
    panel = full_panel()
    assert panel.split is not None and panel.dividend is not None and not panel.tradable.all()
    frame = panel.to_frame(wide=is_wide)
    again = Panel.from_frame(frame)
    assert_same(again if not is_wide else again.replace(labels=panel.labels), panel)
    if is_wide:
        assert frame.columns.names == ["field", "ticker"] and frame.index.name == "date"
        np.testing.assert_array_equal(frame["close"].to_numpy(), panel.close)
    else:
        assert len(frame) == 117 and list(frame.columns[:7]) == ["date", "ticker", *FIELDS]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_bars_come_back(data):
    """Prices, volumes and gaps at random: what is written is what is read, to the bit."""
    days, tickers = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3))
    frame = bars(days, ("AAA", "BBB", "CCC")[:tickers])
    factor = st.floats(1e-4, 1e6, allow_subnormal=False)
    frame[["open", "high", "low", "close"]] *= np.array(
        data.draw(st.lists(factor, min_size=len(frame), max_size=len(frame)))
    )[:, None]
    frame["volume"] = data.draw(st.lists(st.integers(1, 10**9), min_size=len(frame), max_size=len(frame)))
    kept = data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame)).filter(any))
    panel = Panel.from_frame(frame[kept])
    assert_same(Panel.from_frame(panel.to_frame()), panel)
    again = Panel.from_frame(panel.to_frame(wide=True))
    np.testing.assert_array_equal(again.close, panel.close)
    np.testing.assert_array_equal(again.tradable, panel.tradable)


def test_a_panel_without_labels_says_so():
    with pytest.raises(ValueError, match="has no labels"):
        full_panel().replace(labels=None).to_frame()
