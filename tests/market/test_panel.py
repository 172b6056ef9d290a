"""Panel and Market: spans by date and by row, choice of tickers, labels beside the arrays, validation."""

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from ploutos_jax.market.features.build import build_market
from ploutos_jax.market.labels import Labels, read_date
from ploutos_jax.market.panel import Panel


@pytest.fixture(scope="module")
def daily(make_panel):
    """Ten business days from Thursday 2020-01-02, three assets."""
    panel = make_panel(num_bars=10, num_assets=3)
    days = np.busday_offset("2020-01-02", np.arange(10), roll="forward")
    times = days.astype("datetime64[ns]")
    return panel.replace(labels=Labels(panel.symbols, panel.sectors, times), sessions=days.astype(np.int32))


@pytest.fixture(scope="module")
def intraday(make_panel):
    """Five days of four bars: 14:30, 15:30, 16:30 and 17:30."""
    panel = make_panel(num_bars=20, num_assets=2)
    days, bars = np.divmod(np.arange(20), 4)
    times = np.datetime64("2021-03-01T14:30", "ns") + days * np.timedelta64(1, "D") + bars * np.timedelta64(1, "h")
    return panel.replace(labels=Labels(panel.symbols, panel.sectors, times), sessions=(18_687 + days).astype(np.int32))


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        (None, None, (0, 10)),
        ("2020-01-06", "2020-01-09", (2, 6)),
        ("2020-01-06", "2020-01-06", (2, 3)),
        ("2020-01-04", "2020-01-11", (2, 7)),
        ("1999-01-01", "2099-01-01", (0, 10)),
        (datetime.date(2020, 1, 6), pd.Timestamp("2020-01-09"), (2, 6)),
        (np.datetime64("2020-01-06"), np.datetime64("2020-01-09"), (2, 6)),
        ("2020-01", "2020-01", (0, 10)),
        (None, "2019", None),
        (3, 5, (3, 5)),
        (3, None, (3, 10)),
        (None, np.int32(4), (0, 4)),
        (-3, None, (7, 10)),
        (0, 999, (0, 10)),
        ("2020-01-06", 5, (2, 5)),
    ],
)
def test_window_by_date_and_by_row(daily, start, end, rows):
    if rows is None:
        with pytest.raises(ValueError, match="holds no bar"):
            daily.window(start, end)
        return
    assert daily.find_rows(start, end) == slice(*rows)
    cut = daily.window(start, end)
    np.testing.assert_array_equal(cut.close, daily.close[slice(*rows)])
    np.testing.assert_array_equal(cut.sessions, daily.sessions[slice(*rows)])
    np.testing.assert_array_equal(cut.times, daily.times[slice(*rows)])
    assert cut.symbols == daily.symbols and cut.num_bars == rows[1] - rows[0]


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        ("2021-03-02", "2021-03-02", (4, 8)),
        ("2021-03-02", "2021-03-03", (4, 12)),
        ("2021-03", "2021-03", (0, 20)),
        ("2021-03-02 15:30", "2021-03-02 16:30", (5, 7)),
        ("2021-03-02 15:31", "2021-03-02 16:29", None),
        (pd.Timestamp("2021-03-02 15:30"), datetime.datetime(2021, 3, 3, 14, 30), (5, 9)),
    ],
)
def test_a_date_stands_for_its_whole_day(intraday, start, end, rows):
    if rows is None:
        with pytest.raises(ValueError, match="holds no bar"):
            intraday.window(start, end)
    else:
        assert intraday.find_rows(start, end) == slice(*rows)


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2020-01-09", "2020-01-06", "start=2020-01-09, end=2020-01-06 holds no bar"),
        ("2020-01-04", "2020-01-05", "holds no bar; the data covers 2020-01-02"),
        ("2021-01-01", None, "holds no bar"),
        (5, 5, "holds no bar"),
        (10, None, "holds no bar"),
        (99, 120, "holds no bar"),
        ("soon", None, "start='soon' is not a date; write it as YYYY-MM-DD"),
        (None, "2020-13-01", "end='2020-13-01' is not a date"),
        ("20200106", None, "start='20200106' is not a date"),
        ("", None, "start='' is not a date"),
        (None, "NaT", "end='NaT' is not a date"),
        (2.5, None, "start=2.5 is not a date"),
    ],
)
def test_spans_that_are_none(daily, start, end, said):
    with pytest.raises(ValueError) as error:
        daily.window(start, end)
    assert said in str(error.value)


def test_read_date():
    assert read_date("2017-01-31", "day") == np.datetime64("2017-01-31")
    assert read_date("2017-01-31 15:30", "day") == np.datetime64("2017-01-31T15:30")
    with pytest.raises(ValueError, match="day='31.01.2017' is not a date"):
        read_date("31.01.2017", "day")


def test_market_window_keeps_features_and_moves_path_ends(make_panel):
    panel = make_panel(num_bars=60, num_assets=2)
    market = build_market(panel, "minimal", path_end=np.repeat([29, 59], 30))
    cut = market.window(20, 50)
    np.testing.assert_array_equal(cut.features, market.features[20:50])
    np.testing.assert_array_equal(cut.path_end, np.repeat([9, 29], [10, 20]))
    np.testing.assert_array_equal(market.window(-10).path_end, np.full(10, 9))
    assert cut.feature_names == market.feature_names
    assert cut.window("2015-01-25", "2015-01-30").times.size == 6


def test_select_takes_tickers_in_the_order_given(make_ragged_panel):
    panel = make_ragged_panel()
    signal = np.arange(panel.close.size, dtype=float).reshape(panel.close.shape)
    panel = panel.replace(signals={"mood": signal})
    chosen = panel.select(["T3", "T0"])
    assert chosen.symbols == ("T3", "T0") and chosen.num_assets == 2
    for name in ("open", "volume", "tradable", "split", "dividend"):
        np.testing.assert_array_equal(getattr(chosen, name), getattr(panel, name)[:, [3, 0]])
    np.testing.assert_array_equal(chosen.signals["mood"], signal[:, [3, 0]])
    np.testing.assert_array_equal(chosen.sessions, panel.sessions)
    assert chosen.notes == panel.notes and chosen.num_bars == panel.num_bars


def test_select_names_what_it_cannot_give(panel):
    with pytest.raises(ValueError, match="Unknown ticker: NOPE, NADA. The data has 4 tickers, such as T0, T1"):
        panel.select(["T0", "NOPE", "NADA"])
    with pytest.raises(ValueError, match="The ticker T1 is given twice"):
        panel.select(["T1", "T0", "T1"])


def test_labels_stay_on_replacing_and_go_in_transformations(panel):
    assert panel.replace(close=panel.close * 2).symbols == panel.symbols
    doubled = jax.jit(lambda p: p.replace(close=p.close * 2))(panel)
    np.testing.assert_allclose(doubled.close, panel.close * 2, rtol=1e-6)
    assert doubled.labels is None
    for name in ("symbols", "sectors", "times", "notes"):
        with pytest.raises(ValueError, match="This Panel has no labels: JAX transformations return arrays only"):
            getattr(doubled, name)
    # Sessions are arrays of their own, so dates are still known; times of day are not.
    assert doubled.window(end="2015-01-02").num_bars == 2
    with pytest.raises(ValueError, match="no labels"):
        doubled.window("2015-01-02 15:30", None)
    with pytest.raises(ValueError, match="no labels"):
        doubled.select(["T0"])
    assert doubled.window(3, 7).num_bars == 4
    with pytest.raises(ValueError, match="rows 0 to 330"):
        doubled.window(7, 3)
    restored = doubled.replace(labels=panel.labels)
    assert restored.symbols == panel.symbols and restored.window(end="2015-01-02").num_bars == 2


def test_market_loses_labels_and_names_in_transformations(panel):
    market = build_market(panel.window(0, 40), "minimal")
    assert market.feature_names[-1] == "known" and market.num_features == len(market.feature_names)
    mapped = jax.tree.map(jnp.asarray, market)
    assert mapped.feature_names == () and mapped.labels is None
    with pytest.raises(ValueError, match="This Market has no labels"):
        _ = mapped.times


def test_labels_never_cause_another_compilation(panel):
    compiled = jax.jit(lambda p: p.close.sum())
    compiled(panel)
    other = Labels(("A", "B", "C", "D"), panel.sectors, panel.times + np.timedelta64(1, "D"))
    compiled(panel.replace(labels=other))
    assert compiled._cache_size() == 1


def test_a_consistent_panel_passes(panel, ragged):
    assert panel.validate() is panel
    assert ragged.validate() is ragged
    assert ragged.replace(labels=None).validate().labels is None


def changed(panel, name, value, row=5, asset=1):
    field = np.array(getattr(panel, name), dtype=float if name != "tradable" else bool)
    field[row, asset] = value
    return panel.replace(**{name: field})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("close", np.nan, "a price that is missing or not above 0 in a tradable bar at 2015-01-06"),
        ("low", -1.0, "a price that is missing or not above 0"),
        ("open", np.inf, "a price that is missing or not above 0"),
        ("high", 0.01, "open or close outside [low, high]"),
        ("low", 1e6, "open or close outside [low, high]"),
        ("volume", -5.0, "a volume that is negative or not finite"),
        ("volume", np.nan, "a volume that is negative or not finite"),
        ("split", 0.0, "a split ratio that is not above 0"),
        ("split", np.nan, "a split ratio that is not above 0"),
        ("dividend", np.nan, "a dividend that is not finite"),
    ],
)
def test_bad_numbers_are_named_with_date_and_ticker(ragged, name, value, said):
    broken = changed(ragged, name, value, asset=0)
    with pytest.raises(ValueError) as error:
        broken.validate()
    message = str(error.value)
    assert said in message and "2015-01-06" in message and "T0" in message and "(1 such bars in all)" in message
    with pytest.raises(ValueError, match="bar 5, asset 0"):
        broken.replace(labels=None).validate()


@pytest.mark.parametrize("name", ["spread_scale", "impact_scale"])
def test_a_multiple_of_costs_is_a_number_from_0_on(panel, name):
    for value in (-1.0, np.nan):
        scale = np.ones(panel.close.shape)
        scale[5, 0] = value
        with pytest.raises(ValueError, match=f"{name} that is negative or not finite.*T0"):
            panel.replace(**{name: scale}).validate()
    with pytest.raises(ValueError, match=rf"panel.{name} has shape \(3,\)"):
        panel.replace(**{name: np.ones(3)}).validate()


def test_a_missing_bar_may_hold_nothing(panel, remove_bars):
    missing = np.zeros(panel.close.shape, bool)
    missing[5, 1] = True
    remove_bars(panel, missing).validate()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"open": np.ones((3, 4))}, "panel.open has shape (3, 4), but panel.close has (330, 4)"),
        ({"tradable": np.ones((330, 3), bool)}, "panel.tradable has shape (330, 3)"),
        ({"split": np.ones((330,))}, "panel.split has shape (330,)"),
        ({"signals": {"mood": np.ones((330, 5))}}, "Signal 'mood' has shape (330, 5)"),
        ({"sessions": np.zeros(329, np.int32)}, "panel.sessions has shape (329,), expected (330,)"),
        ({"close": np.ones(330)}, "close has shape (330,)"),
        ({"close": np.ones((0, 4))}, "at least one bar and one asset; close has shape (0, 4)"),
    ],
)
def test_bad_shapes_are_named(panel, changes, said):
    with pytest.raises(ValueError) as error:
        panel.replace(**changes).validate()
    assert said in str(error.value)


def test_bad_labels_are_named(panel):
    symbols, sectors, times = panel.symbols, panel.sectors, panel.times
    backward = times.copy()
    backward[7] = backward[6]
    for labels, said in (
        (Labels(symbols[:3], sectors, times), "labels.symbols holds 3 entries, but the panel has 4"),
        (Labels(symbols, sectors, times[:9]), "labels.times holds 9 entries, but the panel has 330"),
        (Labels(("A", "B", "A", "C"), sectors, times), "labels.symbols holds 'A' twice"),
        (Labels(symbols, sectors, backward), "labels.times must ascend: bar 7"),
    ):
        with pytest.raises(ValueError) as error:
            panel.replace(labels=labels).validate()
        assert said in str(error.value)


def test_panel_is_a_pytree_of_arrays_only(panel):
    leaves, structure = jax.tree.flatten(panel.replace(signals={"mood": panel.close}))
    assert all(hasattr(leaf, "shape") for leaf in leaves) and len(leaves) == 8
    assert isinstance(jax.tree.unflatten(structure, leaves), Panel)
