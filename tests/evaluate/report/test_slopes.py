"""What one more basis point costs, as a page and a file say it."""

import pytest

from ploutos_jax.evaluate.backtest.sensitivity import Sensitivity
from ploutos_jax.evaluate.report.slopes import LABELS, slopes_section, to_json

FOUND = {
    "annual_return": Sensitivity(0.08, dict.fromkeys(LABELS, -12.5), dict.fromkeys(LABELS, float("nan"))),
    "sharpe": Sensitivity(0.9, {"spread": -31.0, "cash_rate": 4.0}, {"spread": -29.0}),
}


def test_each_number_is_a_change_for_a_basis_point():
    page = slopes_section(FOUND)
    rows = {row.split("<")[0]: row for row in page.split("<tr><th scope='row'>")[1:]}
    assert list(rows) == list(LABELS.values())
    spread = rows[LABELS["spread"]]
    # −12.5 per unit is −0.125 % of a year for a hundredth of a percent; nothing is made up of what is not known.
    assert "−0.125 points" in spread and "−0.0031" in spread and "−0.0029" in spread
    assert rows[LABELS["cash_rate"]].count("–") == 2 and "+0.0004" in rows[LABELS["cash_rate"]]


def test_the_file_holds_the_same():
    kept = to_json(FOUND)
    assert kept["sharpe"]["value"] == 0.9
    assert kept["sharpe"]["as_decided"] == {"spread": pytest.approx(-0.0031), "cash_rate": pytest.approx(0.0004)}
    assert kept["sharpe"]["decided_anew"] == {"spread": pytest.approx(-0.0029)}
