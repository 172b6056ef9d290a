"""The evidence of a report: what is in it when, and that it is that of the statistics."""

import math

import numpy as np
import pytest
import scipy.stats

from ploutos_jax.evaluate.inference.sharpe import Trials
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.evidence import describe_trials, evidence_of, evidence_rows, trials_beside
from ploutos_jax.market.calendar import Calendar
from tests.evaluate.accounts import account_of, make_ledger


def evidence_for(*ledgers, trials=None):
    named = {one.name: one for one in ledgers}
    figures = {name: summarize(one) for name, one in named.items()}
    return evidence_of(named, figures, trials), figures


def test_probability_by_its_formula():
    ledger = make_ledger("agent", num_bars=300)
    bound = make_ledger("hindsight", 2, num_bars=300, role="oracle")
    found, figures = evidence_for(ledger, make_ledger("hold", 1, num_bars=300), bound)
    r = np.diff(ledger.equity) / ledger.equity[:-1]
    own = r.mean() / r.std(ddof=1)
    spread = 1 - scipy.stats.skew(r) * own + (scipy.stats.kurtosis(r, fisher=False) - 1) / 4 * own**2
    expected = scipy.stats.norm.cdf(own * math.sqrt((r.size - 1) / spread))
    assert found["probabilistic_sharpe"] == pytest.approx(expected, rel=1e-9)
    low, high = found["sharpe_interval"]
    assert low < figures["agent"]["sharpe"] < high and high - low == pytest.approx(4 * math.sqrt(252 / 300), rel=0.4)
    assert set(found["sharpe_differences"]) == {"hold"}, "an oracle is no rival"
    assert (found["num_trials"], found["deflated_sharpe"]) == (None, None)


@pytest.mark.thorough
def test_more_trials_deflate_more():
    ledger = make_ledger("agent", num_bars=300)
    chances = [
        evidence_for(ledger, trials=Trials(count, np.array([0.01, -0.02, 0.03]), ()))[0]["deflated_sharpe"]
        for count in (1, 4, 400)
    ]
    assert chances[0] == pytest.approx(evidence_for(ledger)[0]["probabilistic_sharpe"])
    assert chances[0] > chances[1] > chances[2]


def test_trials_are_counted_beside_the_run(tmp_path):
    for name, data in (("a", "bars.csv"), ("b", "bars.csv"), ("c", "other.csv"), ("d", None)):
        (tmp_path / name).mkdir()
        settings = "train: {num_seeds: 3}\n" + (f"data: {{data: {data}}}\n" if data else "")
        (tmp_path / name / "config.yaml").write_text(settings)
    (tmp_path / "notes").mkdir()
    trials = trials_beside(tmp_path / "a")
    assert trials is not None and [folder.name for folder in trials.folders] == ["a", "b"]
    assert describe_trials(trials) == "6, counted in 2 run folders on the same data"
    alone = trials_beside(tmp_path / "d")
    assert alone is not None and (alone.count, len(alone.folders)) == (3, 1)
    assert trials_beside(tmp_path / "notes") is None


def test_too_few_or_equal_returns_say_nothing():
    for account in (account_of([100, 101, 99.0]), account_of(np.full(50, 100.0))):
        found, figures = evidence_for(account)
        assert "sharpe_interval" not in found and evidence_rows(figures["x"], found, Calendar()) == []


def test_rows_tell_what_is_not_known():
    ledger = make_ledger("agent", num_bars=300)
    found, figures = evidence_for(ledger)
    rows = {name: (value, meaning) for name, value, meaning in evidence_rows(figures["agent"], found, Calendar())}
    assert rows["Deflated Sharpe"][0] == "–" and "not known" in rows["Deflated Sharpe"][1]
    found, _ = evidence_for(ledger, trials=Trials(1200, np.zeros(0), ()))
    rows = {name: (value, meaning) for name, value, meaning in evidence_rows(figures["agent"], found, Calendar())}
    assert "1,200 trials" in rows["Deflated Sharpe"][1]
