"""Run folders beside the one that is asked about, damaged or made by others: they are no obstacle."""

import pytest
import yaml

from ploutos_jax.evaluate.report.evidence import trials_beside
from ploutos_jax.runs.reader import Run

CONFIG = {"data": {"data": "bars.csv"}, "train": {"num_seeds": 1}}

CONFIGS = {
    "no YAML": b"{{{",
    "not UTF-8": b"\xff\xfe",
    "empty": b"",
    "a list": b"[1]",
    "seeds below none": b"data: bars.csv\nnum_seeds: -5",
    "seeds that are text": b"data: bars.csv\nnum_seeds: x",
    "seeds without end": b"data: bars.csv\nnum_seeds: 1000000000000",
    "aliases without end": b"a: &a [x]\n" + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b"*a,*a") for i in range(9)),
}
SUMMARIES = {
    "scores that are numbers": '{"score_by_seed": [1, 2]}',
    "scores that are one number": '{"score_by_seed": 3}',
    "a ratio that is text": '{"score_by_seed": [{"sharpe": "x"}]}',
    "a year without end": '{"calendar": {"periods_per_year": 1e999}}',
    "brackets without end": "[" * 100_000,
    "cut short": '{"score_by_seed": [',
}
SCORES = {"text": '"x"', "a list with text": '[1, "x"]', "a mapping": "{}", "no end": "1e999", "a truth": "true"}


@pytest.fixture
def beside(tmp_path):
    """A whole run, and the folder of another one beside it."""
    for name in ("run-1", "run-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    row = '{"update": 1, "timesteps": 8, "held_out_sharpe": 1.5}\n'
    (tmp_path / "run-1" / "metrics.jsonl").write_text(row)
    return tmp_path / "run-1", tmp_path / "run-2"


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_broken_configuration_beside_a_run(beside, content):
    run, other = beside
    (other / "config.yaml").write_bytes(content)
    trials = trials_beside(run)
    assert trials is not None and trials.count == 1


def test_a_folder_in_the_place_of_a_configuration(beside):
    run, other = beside
    (other / "config.yaml").unlink()
    (other / "config.yaml").mkdir()
    trials = trials_beside(run)
    assert trials is not None and trials.count == 1


@pytest.mark.parametrize("content", SUMMARIES.values(), ids=SUMMARIES)
def test_a_broken_summary_beside_a_run(beside, content):
    run, other = beside
    (other / "summary.json").write_text(content)
    trials = trials_beside(run)
    assert trials is not None and (trials.count, len(trials.sharpes)) == (2, 1)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_scores_that_are_none_beside_a_run(beside, score):
    run, other = beside
    (other / "metrics.jsonl").write_text(f'{{"update": 1, "timesteps": 8, "held_out_sharpe": {score}}}\n')
    trials = trials_beside(run)
    assert trials is not None and trials.count == 2 and 1 <= len(trials.sharpes) <= 2
    assert len(Run(other).metrics) == 1
