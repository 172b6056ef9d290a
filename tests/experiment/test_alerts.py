"""Alerts: what counts as worse, what as noise, and a baseline that is none."""

import math

import pytest

from ploutos_jax.cli.check import Check, main
from ploutos_jax.experiment.alerts import Figure, compare, read_baseline, write_baseline


def case(share=0.9, deviation=0.01, sharpe=2.0, megabytes=1000.0):
    return {
        "planted": {
            "share_of_oracle": Figure(share, deviation, 4),
            "sharpe": Figure(sharpe, 0.05, 4),
            "peak_megabytes": Figure(megabytes, 0.0, 1),
        }
    }


CHANGES = {
    "nothing": ({}, set(), set()),
    "within noise": ({"share": 0.875}, set(), set()),
    "beyond noise": ({"share": 0.86}, {"share_of_oracle"}, set()),
    "no number": ({"share": math.nan}, {"share_of_oracle"}, set()),
    "better": ({"share": 0.95}, set(), {"share_of_oracle"}),
    "a lower Sharpe ratio": ({"sharpe": 1.8}, {"sharpe"}, set()),
    "more memory": ({"megabytes": 1260.0}, {"peak_megabytes"}, set()),
    "a little more memory": ({"megabytes": 1240.0}, set(), set()),
    "less memory": ({"megabytes": 700.0}, set(), {"peak_megabytes"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_worse_is_beyond_noise(name):
    """Four standard errors of the difference of two means of four seeds that scatter by 0.01: 0.028."""
    changes, worse, better = CHANGES[name]
    rows = compare(case(), case(**changes))
    assert {row.figure for row in rows if row.failed} == worse
    assert {row.figure for row in rows if row.better} == better
    assert rows[0].allowed == pytest.approx(4 * 0.01 * math.sqrt(2 / 4))
    assert all(word in str(rows[0]) for word in ("planted", "share_of_oracle", "recorded", "allowed 0.028"))


def test_a_baseline_is_read_as_it_was_written(tmp_path):
    write_baseline(tmp_path / "b.json", case(), {"cores": 2})
    assert read_baseline(tmp_path / "b.json") == case()
    (tmp_path / "c.json").write_text("[]")
    for name in ("c.json", "none.json"):
        with pytest.raises(ValueError, match=r"is no baseline .*--record"):
            main(["--baseline", str(tmp_path / name)])


def test_a_case_that_is_none_is_said():
    with pytest.raises(ValueError, match="cases=planetd is unknown; there are planted, edge"):
        Check("x.json", cases=("planetd",))
