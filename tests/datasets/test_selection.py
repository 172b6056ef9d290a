"""Which tickers and rows a run uses: named universes, the most traded on training bars, several spans."""

import dataclasses

import numpy as np
import pytest

from ploutos_jax.datasets.config import DataConfig, market_to_score, read_panel, split_market
from ploutos_jax.datasets.selection import UNIVERSES, expand_tickers, read_spans
from ploutos_jax.datasets.training import read_training
from ploutos_jax.env.config import EnvConfig
from ploutos_jax.env.params import make_params
from ploutos_jax.market.features.build import build_market
from tests.scripts.command_line import write_bars


@pytest.fixture(scope="module")
def market(make_panel):
    """200 days from 2015-01-01."""
    return build_market(make_panel(num_bars=200, num_assets=2), "minimal")


def test_universes_are_those_of_the_guide():
    assert UNIVERSES == {
        "momentum": ("NVDA", "TSLA", "AMD", "MSTR"),
        "tech": ("MSFT", "AAPL", "GOOGL", "META"),
        "indices": ("SPY", "QQQ", "IWM", "DIA"),
        "sectors": ("XLE", "XLF", "XLK", "XLV", "XLI"),
    }


def test_universes_stand_for_tickers_wherever_they_are_asked_for(tmp_path):
    assert DataConfig(tickers=("indices",)).tickers == UNIVERSES["indices"]
    assert expand_tickers(["AAPL", "tech", "SPY"]) == ("AAPL", "MSFT", "GOOGL", "META", "SPY")
    # A ticker in capitals is one, and one given twice is still told by the reader of the file.
    assert expand_tickers(["TECH", "A", "A"]) == ("TECH", "A", "A")
    write_bars(tmp_path / "bars.csv", tickers=("SPY", "QQQ", "IWM", "DIA", "GLD"), num_bars=40)
    assert read_panel(DataConfig(str(tmp_path / "bars.csv"), tickers=("indices",))).symbols == UNIVERSES["indices"]


@pytest.mark.thorough
def test_spans_are_joined_and_no_episode_leaves_one(market):
    config = DataConfig(spans="2015-01-01..2015-02-19,2015-03-01..2015-04-29")
    training, held_out = split_market(market, config)
    rows = np.r_[0:50, 59:119]
    np.testing.assert_array_equal(training.times, market.times[rows])
    np.testing.assert_array_equal(training.features, market.features[rows])
    np.testing.assert_array_equal(np.unique(training.path_end), [49, 109])
    assert held_out is not None and held_out.times[0] == training.times[-1]
    starts = np.asarray(make_params(EnvConfig(episode_length=20), training).starts)
    assert len(starts) == 30 + 40 and not ((starts < 50) & (starts + 20 > 49)).any()
    # Bars between the spans are neither trained nor scored on.
    assert market_to_score(market, config).times[0] == training.times[-1]


def test_one_span_is_start_and_end(market):
    one, other = (
        split_market(market, config)
        for config in (DataConfig(spans="2015-02..2015-03"), DataConfig(start="2015-02", end="2015-03"))
    )
    np.testing.assert_array_equal(one[0].times, other[0].times)
    np.testing.assert_array_equal(one[0].path_end, other[0].path_end)
    np.testing.assert_array_equal(one[1].times, other[1].times)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2019-01-01", "'2019-01-01' is no span; write FIRST..LAST"),
        ("2019..2020,", "'' is no span"),
        ("2020-01-01..2019-01-01", "2020-01-01 lies after 2019-01-01"),
        ("2019..2020,2020..2021", "2020..2021 must begin after 2020"),
        ("2019..2020-06,2020-06-15..2021", "must begin after 2020-06"),
        ("2021..2022,2019..2020", "must begin after 2022"),
        ("then..now", "is not a date"),
    ],
)
def test_spans_that_are_none_are_refused(text, said):
    with pytest.raises(ValueError) as error:
        DataConfig("bars.csv", spans=text)
    assert said in str(error.value)


def test_spans_leave_out_what_contradicts_them():
    assert read_spans("2019..2020, 2022..2022") == (("2019", "2020"), ("2022", "2022"))
    for changes in ({"start": "2019-01-01"}, {"stress_prob": 0.5}, {"data": "bootstrap:bars.csv"}):
        with pytest.raises(ValueError, match="spans"):
            DataConfig(**{"data": "bars.csv", "spans": "2019..2020", **changes})
    with pytest.raises(ValueError, match="a market that is redrawn has no dates"):
        read_training(DataConfig(spans="2019..2020"), refresh=True)


@pytest.mark.thorough
def test_the_most_traded_tickers_are_chosen_on_training_bars_alone(tmp_path):
    import pandas as pd

    path = write_bars(tmp_path / "bars.csv", num_bars=100)
    rows = pd.read_csv(path)
    is_late = rows["date"] > rows["date"].sort_values().unique()[79]
    rows.loc[(rows["ticker"] == "CCC") & ~is_late, "volume"] = 1e9
    rows.loc[(rows["ticker"] == "BBB") & ~is_late, "volume"] = 1.0
    rows.loc[(rows["ticker"] == "BBB") & is_late, "volume"] = 1e12
    rows.to_csv(path, index=False)
    config = DataConfig(str(path), liquid=2, features="minimal")
    panel = read_panel(config)
    assert panel.symbols == ("CCC", "AAA")
    assert any(note.startswith("Of 3 tickers the 2 that traded most dollars") for note in panel.notes)
    assert read_training(config).market.symbols == ("CCC", "AAA")
    assert read_panel(dataclasses.replace(config, liquid=3)).symbols == ("AAA", "BBB", "CCC")
    last = dataclasses.replace(config, spans=f"{rows['date'].min()}..{rows['date'].max()}", liquid=1)
    assert read_panel(last).symbols == ("CCC",)


def test_numbers_of_tickers_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="liquid=0 must be at least 1"):
        DataConfig("bars.csv", liquid=0)
    with pytest.raises(ValueError, match="liquid=5 needs tickers of a file"):
        DataConfig("synthetic", liquid=5)
