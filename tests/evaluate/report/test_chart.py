"""What a chart says it shows: values in full, gaps, thinning, and names that do no harm."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ploutos_jax.evaluate.report.assets import LIBRARY, script, style
from ploutos_jax.evaluate.report.chart import MOST_POINTS, Band, Chart, Marks, Series, chart, thin
from tests.evaluate.report.drawn import charts_of

DAYS = np.datetime64("2020-01-01") + np.arange(5)


def drawn(x, *lines, **more):
    lines = [Series(f"line {i}", np.asarray(values, float), "c0") for i, values in enumerate(lines)]
    return charts_of(chart(Chart(x, lines, more.pop("unit", "number"), "words", **more)))[0]


def test_values_and_times_travel_in_full():
    values = [123_456.789, 0.1, np.nan, -2.5e-5, 1e9]
    one = drawn(DAYS, values, unit="dollars")
    np.testing.assert_array_equal(one.x, DAYS)
    np.testing.assert_allclose(one.lines["line 0"], values, rtol=1e-8)
    minutes = np.datetime64("2020-01-01T09:30") + np.arange(5)
    assert (drawn(minutes, values).x == minutes).all() and not drawn(minutes, values).content["x"]["whole"]
    before = np.datetime64("1969-12-30T00:00:01") + np.arange(5)
    assert (drawn(before, values).x == before).all()


def test_a_line_that_is_never_known_is_left_out():
    assert list(drawn(DAYS, np.full(5, np.nan), np.ones(5)).lines) == ["line 1"]
    assert drawn(DAYS, np.full(5, np.nan)).lines == {}


@given(st.integers(1, 3 * MOST_POINTS), st.integers(1, 5), st.integers(0, 5))
def test_thinning_keeps_ends_and_extremes_of_every_line(size, lines, seed):
    columns = np.random.default_rng(seed).normal(size=(lines, size))
    rows = thin(columns)
    assert rows.size <= MOST_POINTS + 2 * lines and (np.diff(rows) > 0).all()
    assert rows[0] == 0 and rows[-1] == size - 1
    for values in columns:
        assert values[rows].min() == values.min() and values[rows].max() == values.max()
    assert size > MOST_POINTS or rows.size == size


def test_thinning_of_stretches_by_hand():
    rows = thin([np.array([5.0, np.nan, 1, 9, 2, 2, 8, 0, 3])], 6)  # stretches of three
    assert rows.tolist() == [0, 2, 3, 4, 6, 7, 8]
    assert thin([np.full(9, np.nan)], 6)[[0, -1]].tolist() == [0, 8]
    assert thin([], 6).size == 0


def test_a_logarithmic_scale_is_offered_for_money_above_0_alone():
    assert drawn(DAYS, [1, 2, 3, 4, 5.0], log=True).content["log"] is True
    steady = drawn(DAYS, [1, 2, 3, 3.5, 3.9], log=True).content
    assert steady["mayLog"] is True and steady["log"] is False
    assert drawn(DAYS, [1, 2, 0, 3.5, 3.9], log=True).content["mayLog"] is False
    assert "mayLog" not in drawn(DAYS, [1, 2, 3, 4, 5.0]).content


def test_what_stands_beside_lines_is_placed():
    marks = Marks("buy", "buy", "ink", np.array([1, 3]), np.array([2.0, 4.0]), np.array([10.0, 2.5]))
    one = drawn(DAYS, np.ones(5), bands=[Band(DAYS[1], DAYS[2], "faint", "1")], marks=[marks], ends=[(0, "one")])
    assert one.content["bands"] == [[1577923200.0, 1578009600.0, "faint", "1"]]
    assert one.content["marks"][0]["row"] == [1, 3] and one.content["marks"][0]["shares"] == [10, 2.5]
    assert one.content["ends"] == [{"series": 0, "label": "one", "value": 1.0, "color": "c0", "strong": True}]


def test_marks_of_a_thinned_chart_lie_on_a_row_that_is_drawn():
    size = 3 * MOST_POINTS
    times = np.datetime64("2020-01-01", "m") + np.arange(size)
    at = np.array([0, 777, size - 1])
    marks = Marks("buy", "buy", "ink", at, np.ones(3), np.ones(3))
    one = drawn(times, np.random.default_rng(0).normal(size=size), marks=[marks])
    found = one.x[one.content["marks"][0]["row"]]
    assert (np.abs(found - times[at]) <= np.timedelta64(6, "m")).all()


@pytest.mark.parametrize("name", ["</script><b>", "a\u202eb", "\"'&", "<!--<script>"])
def test_no_name_ends_the_script_or_turns_the_page(name):
    text = chart(Chart(DAYS, [Series(name, np.ones(5), "c0")], "number", name))
    inside = text[text.index("json'>") + 6 : text.index("</script>")]
    assert text.count("<script") == text.count("</script") == 1 and "<" not in inside and "\u202e" not in text
    assert json.loads(inside)["series"][0]["name"] == name.replace("\u202e", "\\u202e")


def test_the_library_comes_with_its_licence():
    assert script().startswith(f"/*! {LIBRARY}\nThe MIT License (MIT)\n\nCopyright (c) 2022 Leon Sorokin")
    assert "</script" not in script()
    assert len(script()) < 100_000 and ".u-over" in style()


def test_every_asset_goes_into_the_wheel():
    root = Path(__file__).resolve().parents[3]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    package = root / "ploutos_jax"
    taken = {path for pattern in settings["package-data"]["ploutos_jax"] for path in package.glob(pattern)}
    assets = [path for path in (package / "evaluate" / "report" / "assets").iterdir() if path.is_file()]
    assert len(assets) > 8 and set(assets) <= taken
