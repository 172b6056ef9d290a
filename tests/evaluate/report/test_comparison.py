"""Runs side by side: figures against a calculation of their own, and words that follow from them."""

import dataclasses
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from ploutos_jax.agents.provenance import Provenance
from ploutos_jax.evaluate.ledger import Role
from ploutos_jax.evaluate.metrics.summary import summarize
from ploutos_jax.evaluate.report.comparison import compare, judge_comparison, write_comparison
from tests.evaluate.accounts import account_of, make_ledger
from tests.evaluate.report.drawn import without_library

OUT = Provenance("after_training", ("2013-01-01", "2016-12-30"))
IN = Provenance("overlaps_training", ("2013-01-01", "2018-12-31"))


def scored(ledgers, provenance=OUT):
    return {name: dataclasses.replace(one, provenance=provenance) for name, one in ledgers.items()}


def wandering(name, mean, seed, num_days=400):
    steps = np.random.default_rng(seed).normal(mean, 0.01, num_days)
    return account_of(100 * np.cumprod(np.append(1.0, 1 + steps)), name=name)


@pytest.fixture(scope="module")
def runs():
    return {name: wandering(name, mean, i) for i, (name, mean) in enumerate((("a", 4e-4), ("b", 5e-3), ("c", 0.0)))}


@pytest.fixture(scope="module")
def found(runs):
    rule = {"hold": wandering("hold", 3e-4, 9)}
    figures = {name: summarize(one) for name, one in (runs | rule).items()}
    return compare(runs, rule, figures), figures


def test_luck_of_choosing_by_its_formula(runs, found):
    """Deflated Sharpe worked out with scipy, from the definition."""
    returns = {name: np.diff(one.equity) / one.equity[:-1] for name, one in runs.items()}
    sharpes = np.array([r.mean() / r.std(ddof=1) for r in returns.values()])
    best = list(returns)[int(sharpes.argmax())]
    euler, normal = 0.5772156649, scipy.stats.norm
    expected = sharpes.std(ddof=1) * ((1 - euler) * normal.ppf(1 - 1 / 3) + euler * normal.ppf(1 - 1 / (3 * math.e)))
    own, r = sharpes.max(), returns[best]
    skew, kurtosis = scipy.stats.skew(r), scipy.stats.kurtosis(r, fisher=False)
    error = math.sqrt((1 - skew * own + (kurtosis - 1) / 4 * own**2) / (r.size - 1))
    comparison = found[0]
    assert (comparison["best"], comparison["num_trials"]) == (best, 3) == ("b", 3)
    assert comparison["expected_best_sharpe"] == pytest.approx(expected * math.sqrt(252), rel=1e-6)
    assert comparison["deflated_sharpe"] == pytest.approx(normal.cdf((own - expected) / error), rel=1e-6)
    pairs = [np.corrcoef(returns[x], returns[y])[0, 1] for x, y in ("ab", "ac", "bc")]
    assert comparison["correlation"] == pytest.approx(np.mean(pairs))


def test_the_best_is_tested_against_every_other(found):
    comparison, figures = found
    assert set(comparison["sharpe_differences"]) == {"a", "c", "hold"}
    for name, test in comparison["sharpe_differences"].items():
        assert test["difference"] == pytest.approx(figures["b"]["sharpe"] - figures[name]["sharpe"], rel=1e-6)
        assert test["low"] < test["difference"] < test["high"]
    assert 0 <= comparison["overfitting_probability"] < 0.5
    assert comparison["no_better_p_value"]["hold"] < 0.05


def test_verdict_says_no_more_than_the_tests(runs, found):
    comparison, figures = found
    roles: dict[str, Role] = {name: "agent" if name in runs else "baseline" for name in figures}
    runs = scored(runs)
    strong = {**comparison, "deflated_sharpe": 0.99}
    ahead = {
        name: {**test, "p_value": 0.001, "p_value_adjusted": 0.003}
        for name, test in comparison["sharpe_differences"].items()
    }
    good = strong | {"sharpe_differences": ahead}
    assert judge_comparison(runs, figures, good, roles).tone == "good"
    assert judge_comparison(runs, figures, good | {"deflated_sharpe": 0.9}, roles).tone == "open"
    tied = {**ahead, "a": {**ahead["a"], "p_value": 0.04, "p_value_adjusted": 0.4}}
    verdict = judge_comparison(runs, figures, good | {"sharpe_differences": tied}, roles)
    assert verdict.tone == "open" and "luck of choosing cannot be ruled out" in verdict.headline
    assert judge_comparison(scored(runs, IN), figures, good, roles).tone == "bad"
    better = figures | {"hold": figures["hold"] | {"sharpe": 99.0}}
    verdict = judge_comparison(runs, better, good, roles)
    assert verdict.tone == "bad" and "hold has 99.00" in verdict.headline


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "compared"
    runs = {name: make_ledger(name, seed, num_bars=200) for seed, name in enumerate(("first", "<second>"))}
    runs = scored(runs)
    rules = {"Cash": make_ledger("Cash", trade_every=0, num_bars=200)}
    content = write_comparison(folder, runs, rules, facts={name: {"seed": "3"} for name in runs})
    return folder, content, runs


def test_folder_of_a_comparison(written):
    folder, content, runs = written
    assert sorted(path.name for path in folder.iterdir()) == [
        "baselines.parquet",
        "metrics.json",
        "report.html",
        "runs.parquet",
    ]
    assert json.loads((folder / "metrics.json").read_text("utf-8")) == content
    assert set(content["runs"]) == set(runs) and set(content["baselines"]) == {"Cash"}
    frame = pd.read_parquet(folder / "runs.parquet")
    np.testing.assert_array_equal(frame["<second>"], runs["<second>"].equity)
    page = (folder / "report.html").read_text("utf-8")
    assert (
        not re.search(r"https?://|\bsrc=", without_library(page))
        and "&lt;second&gt;" in page
        and "<second>" not in page
    )
    assert content["verdict"].replace("<", "&lt;").replace(">", "&gt;") in page
    for heading in ("Side by side", "The best against the others", "Over time", "Costs", "About these runs"):
        assert f"<h2>{heading}</h2>" in page, heading
    assert not re.search(r"\bnan\b|\binf\b", without_library(page))


def test_bad_comparisons_are_refused(written, tmp_path):
    folder, _, runs = written
    with pytest.raises(ValueError, match="already holds a report"):
        write_comparison(folder, runs, {})
    with pytest.raises(ValueError, match="two runs at least, got 1: first"):
        write_comparison(tmp_path / "r", {"first": runs["first"]}, {})
    with pytest.raises(ValueError, match="share a name"):
        write_comparison(tmp_path / "r", runs, {"first": runs["first"]})
    with pytest.raises(ValueError, match="run both over the same bars"):
        write_comparison(tmp_path / "r", runs | {"late": make_ledger("late", start="2018-01-02", num_bars=200)}, {})
    assert not (tmp_path / "r").exists()


def test_runs_that_never_traded_have_a_page(tmp_path):
    idle = account_of(np.full(60, 100.0))
    content = write_comparison(tmp_path / "r", {"a": idle, "b": dataclasses.replace(idle, name="b")}, {})
    assert content["comparison"]["sharpe_differences"]["b"]["p_value"] is None
    assert "proves nothing" in content["verdict"]
