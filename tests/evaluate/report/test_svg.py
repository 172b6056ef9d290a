"""What charts are drawn with: places, ticks, thinning."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ploutos_jax.evaluate.report import svg


def test_ticks_read_as_what_they_are():
    """A tick at 27.5 must not be written $28."""
    assert svg.Axis(24.3, 34.6, "dollars").ticks(5) == [
        (25.0, "$25.00"),
        (27.5, "$27.50"),
        (30.0, "$30.00"),
        (32.5, "$32.50"),
    ]
    assert [text for _, text in svg.Axis(95_000, 126_000, "dollars").ticks(5)] == ["$100k", "$110k", "$120k"]
    assert [text for _, text in svg.Axis(1e6, 4.2e6, "dollars").ticks(4)] == ["$1M", "$2M", "$3M", "$4M"]
    assert [text for _, text in svg.Axis(-0.06, 0.0, "percent").ticks(3)] == ["−6%", "−4%", "−2%", "0%"]


@given(st.floats(0.5, 1e7), st.floats(1.01, 1e4))
def test_money_axis_holds_its_values_and_labels_tell_ticks_apart(lowest, factor):
    y = svg.money_axis(lowest, lowest * factor)
    assert y.low < lowest and y.high > lowest * factor and y.log == (factor > 4)
    shares = y.share(np.array([lowest, lowest * factor]))
    assert 0 < shares[0] < shares[1] < 1
    labels = [text for _, text in y.ticks()]
    assert len(set(labels)) == len(labels)


@given(st.integers(1, 9000), st.integers(0, 5))
def test_thinning_keeps_ends_and_extremes(size, seed):
    values = np.random.default_rng(seed).normal(size=size)
    rows = svg.thin(values)
    assert rows.size <= svg.MOST_POINTS + 2 and (np.diff(rows) > 0).all()
    assert rows[0] == 0 and rows[-1] == size - 1
    assert values[rows].min() == values.min() and values[rows].max() == values.max()


def test_gaps_break_a_line():
    x, y = svg.Axis(0, 4), svg.Axis(0, 1)
    path = svg.line(x, y, np.arange(5.0), np.array([0, 1, np.nan, 1, 0.5]), "c0")
    assert re.search(r" d='([^']*)'", path).group(1) == "M0 1000L250 0M750 0L1000 500"
    assert "d=''" in svg.line(x, y, np.arange(5.0), np.full(5, np.nan), "c0")


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 0.0), (-0.2, 0.0), (0.0, 3.0), (-1.0, 2.0)])
def test_share_axis_has_zero_in_it(lowest, highest):
    y = svg.share_axis(lowest, highest)
    assert y.low <= lowest <= highest <= y.high and y.low <= 0 <= y.high and y.low < y.high


def test_dates_of_any_span_have_ticks():
    for first, last in (
        ("2013-02-08", "2018-02-07"),
        ("2017-01-03", "2017-01-05"),
        ("2020-01-02T09:30", "2020-01-02T16:00"),
    ):
        ticks = svg.date_ticks(svg.time_axis(np.array([first, last], "datetime64[m]")))
        assert 2 <= len(ticks) <= 12 and len({text for _, text in ticks}) > 1
