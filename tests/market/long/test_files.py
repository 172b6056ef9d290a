"""Folders of Parquet files: all of them at once, and a span of time without the rest."""

import jax
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from ploutos_jax.market.io.dataset import ParquetBars
from ploutos_jax.market.io.load import load_panel
from ploutos_jax.market.io.times import Exchange
from ploutos_jax.market.panel import Panel
from tests.market.long.worlds import TICKERS, minutes, write_days, write_tickers

FRAME = minutes(num_days=60, per_day=40)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("parquet")
    FRAME.to_parquet(base / "one.parquet", index=False, row_group_size=700)
    return {
        "one file": base / "one.parquet",
        "by month": write_days(FRAME, base / "months", rows=700),
        "by ticker": write_tickers(FRAME, base / "tickers", hive=False),
        "ticker=": write_tickers(FRAME, base / "hive", hive=True),
    }


KINDS = ("one file", "by month", "by ticker", "ticker=")


def assert_same(panel: Panel, other: Panel) -> None:
    assert panel.symbols == other.symbols and list(panel.signals) == list(other.signals)
    np.testing.assert_array_equal(panel.times, other.times)
    jax.tree.map(np.testing.assert_array_equal, panel.replace(labels=None), other.replace(labels=None))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_read_as_the_frame_it_was_written_from(folders, kind):
    assert_same(load_panel(folders[kind]), Panel.from_frame(FRAME))


def test_folders_by_year_are_read_too(tmp_path):
    for year, part in FRAME.assign(year=FRAME["date"].dt.month).groupby("year"):
        (tmp_path / f"200{year}").mkdir()
        part.drop(columns="year").to_parquet(tmp_path / f"200{year}" / "bars.parquet", index=False)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "other.parquet").write_bytes(b"no bars")
    assert_same(load_panel(tmp_path), Panel.from_frame(FRAME))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_a_folder_is_found_without_its_prices(folders, kind):
    survey = ParquetBars(folders[kind], Exchange()).survey()
    assert survey.symbols == TICKERS and survey.num_rows == len(FRAME)
    np.testing.assert_array_equal(survey.times, np.unique(FRAME["date"].dt.tz_localize(None).to_numpy("M8[ns]")))
    assert survey.traded.tolist() == [True, True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_span_holds_the_rows_between_its_ends(folders, kind):
    bars = ParquetBars(folders[kind], Exchange(), tickers=["CCC", "AAA"])
    survey = bars.survey()
    table = bars.read(survey, 100, 349)
    moments = FRAME["date"].dt.tz_localize(None)
    rows = FRAME[moments.between(survey.times[100], survey.times[349]) & FRAME["ticker"].isin(["AAA", "CCC"])]
    found = pd.DataFrame(
        {
            "date": table.times[table.time_codes],
            "ticker": np.array(table.symbols, object)[table.symbol_codes],
            "close": table.columns["close"],
            "mood": table.signals["mood"],
        }
    ).sort_values(["date", "ticker"], ignore_index=True)
    wanted = rows.assign(date=moments[rows.index]).sort_values(["date", "ticker"], ignore_index=True)
    for name in found:
        np.testing.assert_array_equal(found[name].to_numpy(), wanted[name].to_numpy())
    assert survey.symbols == ("CCC", "AAA")


def test_row_groups_outside_a_span_are_not_read(folders, tmp_path):
    whole = tmp_path / "bars.parquet"
    FRAME.to_parquet(whole, index=False, row_group_size=500, compression=None)
    with pyarrow.parquet.ParquetFile(whole) as file:
        group = file.metadata.row_group(file.metadata.num_row_groups - 1).column(0)
        begin = group.dictionary_page_offset or group.data_page_offset
    data = bytearray(whole.read_bytes())
    # Where the last group lies there is nothing that anybody could read.
    data[begin : begin + 200] = bytes(200)
    whole.write_bytes(data)
    bars = ParquetBars(folders["one file"], Exchange())
    survey, damaged = bars.survey(), ParquetBars(whole, Exchange())
    assert len(damaged.read(survey, 0, 200).time_codes) == len(bars.read(survey, 0, 200).time_codes)
    with pytest.raises(OSError):
        damaged.read(survey, 0, len(survey.times) - 1)


def test_the_sample_is_of_the_first_rows_wherever_their_groups_lie(tmp_path):
    for number, (first, last) in enumerate([(0, 0), (0, 7), (7, 12), (12, 500)]):
        FRAME[first:last].to_parquet(tmp_path / f"{number}.parquet", index=False, row_group_size=4)
    sample = ParquetBars(tmp_path, Exchange()).source.sample
    wanted = [tuple(str(cell) for cell in row) for row in FRAME.head(20).itertuples(index=False)]
    assert [row[1:] for row in sample] == [row[1:] for row in wanted]
    assert [pd.Timestamp(row[0]) for row in sample] == list(FRAME.head(20)["date"])


def test_what_cannot_be_read_a_span_at_a_time_is_refused(tmp_path):
    frame = FRAME.head(50)
    frame.to_csv(tmp_path / "bars.csv", index=False)
    with pytest.raises(ValueError, match="--device-bars reads Parquet alone"):
        ParquetBars(tmp_path / "bars.csv", Exchange())
    frame.assign(date=frame["date"].astype(str)).to_parquet(tmp_path / "texts.parquet", index=False)
    with pytest.raises(ValueError, match="column 'date' holds .*string.*Write the column again"):
        ParquetBars(tmp_path / "texts.parquet", Exchange())
    frame.assign(split=1.0).to_parquet(tmp_path / "split.parquet", index=False)
    with pytest.raises(ValueError, match="has the column 'split': dividends and splits are judged"):
        ParquetBars(tmp_path / "split.parquet", Exchange())
    frame.to_parquet(tmp_path / "good.parquet", index=False)
    with pytest.raises(ValueError, match="no rows of these tickers"):
        ParquetBars(tmp_path / "good.parquet", Exchange(), tickers=["ZZZ"]).survey()
