"""No program does more than is on record: what a machine's noise cannot hide."""

import json
from importlib.metadata import version

import pytest

from benchmarks import counts

RECORDED = json.loads(counts.RECORDED.read_text(encoding="utf-8"))
BEFORE = {"a": {"kernels": 100.0, "megabytes": 10.0, "megaflops": 5.0}, "b": {"compilations": 7.0}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"kernels": 50, "megabytes": 1, "megaflops": 1}, []),
        ({"kernels": 103}, []),
        ({"kernels": 104}, ["a: kernels 104, 100 recorded (+4.0%)."]),
        ({"megaflops": 5.1}, ["a: megaflops 5.1, 5 recorded (+2.0%)."]),
        ({"megabytes": 20, "kernels": 200}, ["a: kernels 200", "a: megabytes 20"]),
    ],
)
def test_what_is_more_than_recorded_is_said(changes, expected):
    found = counts.excesses({**BEFORE, "a": BEFORE["a"] | changes}, BEFORE)
    assert len(found) == len(expected) and all(x.startswith(y) for x, y in zip(found, expected, strict=True))


def test_a_program_that_is_not_on_record_is_one_too_many():
    assert counts.excesses({"new": {"kernels": 1}}, BEFORE) == ["new: kernels 1, none recorded."]
    assert counts.excesses({"b": {"compilations": 8}}, BEFORE) == ["b: compilations 8, 7 recorded (+14.3%)."]


@pytest.mark.thorough
@pytest.mark.skipif(version("jaxlib") != RECORDED["jaxlib"], reason="the counts are those of another jaxlib")
def test_programs_do_no_more_than_is_recorded():
    found = counts.count()
    assert found.keys() == RECORDED["counts"].keys()
    assert not counts.excesses(found, RECORDED["counts"]), "measure, and record it if it is meant: benchmarks/counts.py"
    # Nor far less, which would leave room for what is to be found.
    fewer = {name: {what: 0.9 * x for what, x in row.items()} for name, row in RECORDED["counts"].items()}
    assert counts.excesses(found, fewer), "record the better counts: python -m benchmarks.counts --record"
