"""One description of the data to a market: file, folder or synthetic data; what is trained on and what is kept."""

import dataclasses

import jax
import numpy as np
import pytest

from ploutos_jax.datasets import config as data_config
from ploutos_jax.datasets.config import DataConfig, bars_after, read_market, read_panel, split_market
from ploutos_jax.datasets.planted import read_planted
from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.synthetic.planted import HINT, NUM_BARS, planted_panel


@pytest.fixture(scope="module")
def market(make_panel):
    """200 days from 2015-01-01."""
    return build_market(make_panel(num_bars=200, num_assets=2), "minimal")


@pytest.fixture
def bars_file(make_panel, tmp_path):
    panel = make_panel(num_bars=40, num_assets=3)
    lines = ["date,ticker,open,high,low,close,volume"]
    for t, day in enumerate(panel.times.astype("datetime64[D]")):
        for a, symbol in enumerate(panel.symbols):
            numbers = (getattr(panel, name)[t, a] for name in ("open", "high", "low", "close", "volume"))
            lines.append(",".join([str(day), symbol, *(f"{x:.6f}" for x in numbers)]))
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("config", "trained", "kept"),
    [
        (DataConfig(), (0, 160), (159, 200)),
        (DataConfig(holdout=0.5), (0, 100), (99, 200)),
        (DataConfig(holdout=0.0), (0, 200), None),
        (DataConfig(holdout=0.1), (0, 180), (179, 200)),
        (DataConfig(holdout=0.09), (0, 182), None),
        (DataConfig(start="2015-02-20"), (50, 170), (169, 200)),
        (DataConfig(end="2015-04-10"), (0, 100), (99, 200)),
        (DataConfig(end="2015-06-28", holdout=0.5), (0, 179), (178, 200)),
        (DataConfig(end="2015-07-19"), (0, 200), None),
        (DataConfig(start="2015-02-20", end="2015-04-10"), (50, 100), (99, 200)),
        (DataConfig(start="2015-02", end="2015-03"), (31, 90), (89, 200)),
    ],
)
def test_what_is_trained_on_and_what_is_kept(market, config, trained, kept):
    training, held_out = split_market(market, config)
    np.testing.assert_array_equal(training.times, market.times[slice(*trained)])
    np.testing.assert_array_equal(training.features, market.features[slice(*trained)])
    assert (held_out is None) == (kept is None)
    if kept is not None:
        np.testing.assert_array_equal(held_out.times, market.times[slice(*kept)])
        assert held_out.times[0] == training.times[-1], "the close of the last training bar is the first decision"


def test_a_span_without_bars_is_refused(market):
    with pytest.raises(ValueError, match="start=2030-01-01, end=None holds no bar"):
        split_market(market, DataConfig(start="2030-01-01"))


@pytest.mark.parametrize("names", [("momentum_252_21",), ("momentum_252_21", "known")])
def test_features_that_no_training_bar_completes_are_refused(market, names):
    alone = market.replace(features=market.features[..., : len(names)] > 0, feature_names=names)
    with pytest.raises(ValueError, match="momentum_252_21 needs 253 bars to warm up, .* no asset has more than"):
        split_market(alone, DataConfig())


def test_bars_after_a_date(market):
    later = bars_after(market, "2015-04-10")
    assert later is not None
    np.testing.assert_array_equal(later.times, market.times[99:])
    assert bars_after(market, "2015-07-10") is None
    whole = bars_after(market, "2014-01-01")
    assert whole is not None and whole.num_bars == 200


@pytest.mark.thorough
def test_made_data():
    panel = read_panel(DataConfig())
    assert panel.num_assets == 30 and panel.num_bars == 2520
    np.testing.assert_array_equal(read_panel(DataConfig(data="synthetic:30")).close, panel.close)
    first, _, third = panel.symbols[:3]
    chosen = read_panel(DataConfig(tickers=(third, first)))
    assert chosen.symbols == (third, first)
    np.testing.assert_array_equal(chosen.close, np.asarray(panel.close)[:, [2, 0]])
    for tickers, said in ((("NOPE",), "Unknown ticker: NOPE"), ((first, first), f"{first} is given twice")):
        with pytest.raises(ValueError, match=said):
            read_panel(DataConfig(tickers=tickers))


def test_number_of_made_assets(monkeypatch):
    monkeypatch.setattr(
        data_config, "synthetic_panel", lambda key, num_assets, num_paths, edge: (num_assets, num_paths, edge)
    )
    assert read_panel(DataConfig(data="synthetic:4")) == (4, 1, None)
    assert read_panel(DataConfig(data="synthetic:4", paths=3, edge=0.05)) == (4, 3, 0.05)
    assert DataConfig(data="synthetic:4").is_synthetic and DataConfig().is_synthetic
    assert not DataConfig(data="synthetic.csv").is_synthetic


@pytest.mark.thorough
def test_planted_data():
    panel = read_panel(DataConfig(data="planted:3"))
    assert panel.num_assets == 3 and panel.num_bars == NUM_BARS
    for again in ("planted:3", "planted:3:0.3"):
        same = read_panel(DataConfig(data=again))
        for a, b in zip(jax.tree.leaves(panel), jax.tree.leaves(same), strict=True):
            np.testing.assert_array_equal(a, b)
    assert read_panel(DataConfig(data="planted:3", tickers=("P002",))).symbols == ("P002",)
    training, kept = split_market(read_market(DataConfig(data="planted:3")), DataConfig())
    assert kept is not None and training.num_bars == 4032 and kept.num_bars == 1009
    for strength in (0, 1):
        leaked = read_panel(DataConfig(data=f"planted:3:{strength}"))
        told = np.corrcoef(np.asarray(leaked.signals[HINT])[:-1, 0], np.diff(np.log(np.asarray(leaked.close)[:, 0])))
        assert told[0, 1] == pytest.approx(strength, abs=0.07)


@pytest.mark.parametrize(
    ("data", "kind", "assets", "strength"),
    [
        ("planted", "planted", 30, 0.3),
        ("planted:4", "planted", 4, 0.3),
        ("planted:503:0.05", "planted", 503, 0.05),
        ("planted_persistent", "persistent", 30, 0.1),
        ("planted_persistent:4", "persistent", 4, 0.1),
        ("planted_persistent:4:0.05:0.98", "persistent", 4, 0.05),
        ("planted_lag", "lag", 30, 0.3),
        ("planted_lag:4:0.2", "lag", 4, 0.2),
        ("planted_regimes", "regimes", 30, 0.3),
        ("planted_regimes:4:0.2:b", "regimes", 4, 0.2),
    ],
)
def test_kinds_and_numbers_of_planted_markets(data, kind, assets, strength):
    config, read = DataConfig(data=data), read_planted(data)
    assert config.is_planted and not config.is_synthetic and config.file is None
    panel = read.panel(jax.random.key(0)) if assets < 100 else planted_panel(jax.random.key(0), assets, 30, strength)
    law = panel.labels.hint
    assert (
        (law.kind, panel.num_assets, law.strength) == (kind, assets, strength) == (kind, read.num_assets, read.strength)
    )
    if data.count(":") == 3:
        assert law.persistence == 0.98 if kind == "persistent" else law.sizes == (1.0, 1.0)


def test_other_names_are_not_planted():
    for data in ("planted.csv", "planted_lag.parquet", "planted_lags", "synthetic"):
        assert not DataConfig(data=data).is_planted
    with pytest.raises(ValueError, match="names no planted market; known are planted, planted_persistent, planted_lag"):
        read_planted("planted_lags:3")


@pytest.mark.thorough
def test_an_edge_is_one_more_feature_of_synthetic_data():
    plain, edged = (read_market(DataConfig(data="synthetic:2", features="minimal", edge=edge)) for edge in (None, 0.05))
    names = plain.feature_names
    assert edged.feature_names == (*names[:-2], "signal_hint", *names[-2:])
    assert not plain.notes and "adds 0.05 of the asset's usual daily volatility" in edged.notes[0]
    for path in range(2):
        panel = read_panel(DataConfig(data="synthetic:2", paths=2, edge=0.05))
        assert panel.labels.hint.path[path * 2520] == path
    columns = panel.select((panel.symbols[1],)).labels.hint
    np.testing.assert_array_equal(columns.volatility, panel.labels.hint.volatility[:, [1]])
    spans = DataConfig(data="synthetic:2", edge=0.05, features="minimal", spans="2011-01-01..2011-12-31,2013..2013")
    joined = split_market(edged, spans)[0]
    assert joined.labels.hint.path.shape == (joined.num_bars,) == joined.times.shape
    cut = panel.window(2000, 3000).labels.hint
    np.testing.assert_array_equal(cut.volatility_by_bar, panel.labels.hint.volatility_by_bar[2000:3000])


@pytest.mark.thorough
def test_planted_data_shows_its_signals_alone_unless_more_is_asked_for():
    signals = ("signal_hint", "signal_noise_0", "signal_noise_1", "signal_noise_2", "warm", "known")
    assert read_market(DataConfig(data="planted:2")).feature_names == signals
    more = read_market(DataConfig(data="planted:2", features="minimal"))
    assert more.feature_names[-6:] == signals and more.num_features == 11
    assert read_market(DataConfig(data="planted:2"), ["signal_noise_1"]).num_features == 3


@pytest.mark.thorough
def test_features_are_the_core_set_without_a_choice(monkeypatch, make_panel):
    monkeypatch.setattr(data_config, "synthetic_panel", lambda key, **_: make_panel(num_bars=30))
    assert read_market(DataConfig()).feature_names == read_market(DataConfig(features="core")).feature_names
    assert read_market(DataConfig()).num_features > 20


def test_file_with_tickers_sectors_and_universe(bars_file):
    (bars_file.parent / "sectors.csv").write_text("ticker,sector\nT1,Energy\n")
    (bars_file.parent / "members.csv").write_text("ticker,start,end\nT1,2015-01-11,\nT2,,2015-01-05\n")
    config = DataConfig(
        data=str(bars_file),
        tickers=("T2", "T1"),
        sectors=str(bars_file.parent / "sectors.csv"),
        universe=str(bars_file.parent / "members.csv"),
        features="minimal",
    )
    panel = read_panel(config)
    assert panel.symbols == ("T2", "T1") and panel.sectors == ("Unknown", "Energy")
    assert panel.buyable is not None and panel.tradable.all()
    np.testing.assert_array_equal(panel.buyable.sum(axis=0), [5, 30])
    market = read_market(config)
    assert market.symbols == ("T2", "T1") and market.num_bars == 40
    assert read_market(config, ["log_return_5"]).feature_names == ("log_return_5", "warm", "known")


def test_the_span_is_not_cut_when_reading(bars_file):
    config = DataConfig(data=str(bars_file), start="2015-01-20")
    assert read_panel(config).num_bars == 40
    training, _ = split_market(read_market(config, ["log_return_5"]), dataclasses.replace(config, holdout=0.0))
    assert training.num_bars == 21
    known = np.asarray(training.features)[0, :, training.feature_names.index("log_return_5")]
    assert (known != 0).all(), "features at the start of the span know the bars before it"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start": "someday"}, "start='someday' is not a date; write it as YYYY-MM-DD"),
        ({"end": "20170131"}, "end='20170131' is not a date"),
        ({"end": ""}, "end='' is not a date"),
        ({"start": "2017-02-01", "end": "2017-01-31"}, "start=2017-02-01 lies after end=2017-01-31"),
        ({"start": "2018", "end": "2017-05-01"}, "start=2018 lies after end=2017-05-01"),
        ({"holdout": 1.0}, "holdout=1.0 must lie in [0, 1)"),
        ({"holdout": -0.1}, "holdout=-0.1 must lie in [0, 1)"),
        ({"holdout": float("nan")}, "holdout=nan must lie in [0, 1)"),
        ({"features": "standart"}, "features='standart' is unknown; did you mean 'standard'"),
        ({"data": "synthetic:"}, "write synthetic:N"),
        ({"data": "synthetic:0"}, "write synthetic:N"),
        ({"data": "synthetic:many"}, "data='synthetic:many': write synthetic:N"),
        ({"data": "synthetic:3", "paths": 0}, "paths=0 must be at least 1"),
        ({"data": "file.csv", "paths": 2}, "paths=2 needs synthetic data"),
        ({"data": "synthetic:-3"}, "write synthetic:N"),
        ({"data": "planted:"}, "data='planted:': write planted:A:STRENGTH"),
        ({"data": "planted:0"}, "write planted:A:STRENGTH"),
        ({"data": "planted:-3:0.3"}, "write planted:A:STRENGTH"),
        ({"data": "planted:many"}, "write planted:A:STRENGTH"),
        ({"data": "planted:30:"}, "write planted:A:STRENGTH"),
        ({"data": "planted:30:strong"}, "write planted:A:STRENGTH"),
        ({"data": "planted:30:1.5"}, "data='planted:30:1.5': write planted:A:STRENGTH"),
        ({"data": "planted:30:-0.1"}, "write planted:A:STRENGTH"),
        ({"data": "planted:30:nan"}, "write planted:A:STRENGTH"),
        ({"data": "planted:30:0.3:7"}, "write planted:A:STRENGTH"),
        ({"data": "planted_persistent:"}, "write planted_persistent:A:STRENGTH:PERSISTENCE"),
        ({"data": "planted_persistent:30:0.1:1"}, "a persistence from 0 to below 1, such as planted_persistent:30:0.1"),
        ({"data": "planted_persistent:30:0.1:x"}, "write planted_persistent:A:STRENGTH:PERSISTENCE"),
        ({"data": "planted_lag:30:0.1:5"}, "data='planted_lag:30:0.1:5': write planted_lag:A:STRENGTH with"),
        ({"data": "planted_regimes:30:0.3:c"}, "a variant a or b, such as planted_regimes:30:0.3:a"),
        ({"edge": -0.1}, "edge=-0.1 must lie in [0, 1]"),
        ({"edge": 1.5}, "edge=1.5 must lie in [0, 1]"),
        ({"edge": float("nan")}, "edge=nan must lie in [0, 1]"),
        ({"edge": "much"}, "edge='much'"),
        ({"edge": 0.05, "data": "bars.csv"}, "edge=0.05 is for --data synthetic, whose returns are made; 'bars.csv'"),
        ({"edge": 0.05, "data": "bootstrap:bars.csv"}, "edge=0.05 is for --data synthetic"),
        ({"edge": 0.05, "data": "planted:3"}, "edge=0.05 is for --data synthetic"),
        ({"edge": 0.05, "stress_prob": 0.1}, "edge=0.05 with stress_prob=0.1: a shock is not in the hint"),
        ({"path_tickers": 3}, "path_tickers=3 is for --data bootstrap:FILE"),
        ({"path_tickers": 3, "data": "bars.csv"}, "'bars.csv' has the same ones throughout"),
        ({"path_tickers": 0, "data": "bootstrap:bars.csv"}, "path_tickers=0"),
        ({"volatility_jitter": 0.3, "data": "bars.csv"}, "volatility_jitter=0.3 is for paths that are drawn"),
        ({"volatility_jitter": 0.3, "data": "planted:3"}, "volatility_jitter=0.3 is for paths that are drawn"),
        ({"volatility_jitter": 1.0}, "volatility_jitter=1.0"),
        ({"volatility_jitter": float("nan")}, "volatility_jitter=nan"),
    ],
)
def test_bad_descriptions_are_refused(fields, said):
    with pytest.raises(ValueError) as error:
        DataConfig(**fields)
    assert said in str(error.value)


def test_an_end_without_a_day_stands_for_its_whole_span():
    assert DataConfig(start="2017-06-15", end="2017").end == "2017"


def test_missing_data_is_named(tmp_path):
    with pytest.raises(ValueError, match="No such file or folder: .*nowhere.csv"):
        read_panel(DataConfig(data=str(tmp_path / "nowhere.csv")))
