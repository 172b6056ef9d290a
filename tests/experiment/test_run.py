"""run_experiment: from Python, what `ploutos train` does."""

import dataclasses
import json

import pytest

import ploutos_jax as pj
from ploutos_jax.datasets.training import read_training
from ploutos_jax.evaluate.backtest.baselines import RULES
from ploutos_jax.experiment.run import ENSEMBLE
from ploutos_jax.runs.settings import parse_settings
from tests.scripts.command_line import call, train_args, write_bars

OF_THE_SCORE = ("final_score", "final_score_bars", "projection", "best")


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("bars") / "bars.csv")


@pytest.mark.thorough
def test_it_gives_what_the_command_gives_and_prints_nothing(bars, tmp_path, capsys):
    seen = []
    settings = parse_settings(train_args(bars, tmp_path / "python", 2))
    result = pj.run_experiment(settings, observers=[seen.append])
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
    assert seen[-1].done_timesteps == seen[-1].total_timesteps == 128
    assert call("train", train_args(bars, "command", 2), tmp_path).code == 0
    found, expected = summary_of(tmp_path / "python"), summary_of(tmp_path / "command")
    assert list(found) == list(expected)
    assert {name: found[name] for name in OF_THE_SCORE} == {name: expected[name] for name in OF_THE_SCORE}
    assert {path.name for path in (tmp_path / "python").iterdir()} == {
        path.name for path in (tmp_path / "command").iterdir()
    }

    assert isinstance(result, pj.ExperimentResult) and result.output == tmp_path / "python"
    assert list(result.scores) == ["agent", *RULES, "random"] and not result.in_sample and result.reason is None
    assert result.scores["agent"]["total_return"] == found["final_score"]["total_return"]
    assert found["final_score_bars"] == {"first": result.first, "last": result.last}
    months = {f"month_of_{days}_days_in_sample": gain for days, gain in result.projection.items()}
    assert months == pytest.approx(found["projection"])
    assert list(result.scores_by_seed) == [7] and result.interval == {}
    assert [agent.step for agent in result.agents] == [2]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.first = "2000-01-01"


@pytest.mark.thorough
def test_it_stops_when_asked_and_scores_what_there_is(bars, tmp_path):
    settings = parse_settings(train_args(bars, tmp_path / "run", 1000, "--holdout", "0"))
    result = pj.run_experiment(settings, should_stop=lambda: True)
    assert 0 < result.agents[0].step < 1000
    assert result.in_sample and result.first == "2015-01-05"
    resumed = dataclasses.replace(settings, resume=True, env=dataclasses.replace(settings.env, initial_cash=5.0))
    with pytest.raises(ValueError, match="was started with other settings: initial_cash"):
        pj.run_experiment(resumed)


@pytest.mark.thorough
def test_several_seeds_have_a_mean_and_an_interval(bars, tmp_path):
    args = train_args(bars, tmp_path / "run", 1, "--num-seeds", "2")
    result = pj.run_experiment(parse_settings(args))
    returns = [score["total_return"] for score in result.scores_by_seed.values()]
    assert list(result.scores_by_seed) == [7, 8] and len(result.agents) == 2
    assert result.scores["agent"]["total_return"] == pytest.approx(sum(returns) / 2)
    low, high = result.interval["total_return"]
    assert low <= result.scores["agent"]["total_return"] <= high
    together = pj.backtest(pj.ensemble(result.agents), read_training(parse_settings(args).data).held_out)
    assert result.scores[ENSEMBLE]["total_return"] == pytest.approx(pj.summarize(together)["total_return"])
    assert summary_of(tmp_path / "run")["score_ensemble"]["sharpe"] == pytest.approx(result.scores[ENSEMBLE]["sharpe"])
    report = call("evaluate", ["--checkpoint", "run", "--ensemble", "--output", "report"], tmp_path)
    assert report.code == 0, report.err
    assert "The agent is an ensemble of 2: seed 7, update 1; seed 8, update 1." in report.out
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["total_return"] == pytest.approx(result.scores[ENSEMBLE]["total_return"])
    assert "ensemble of 2 (seed 7, update 1; seed 8, update 1)" in metrics["facts"]["checkpoint"]
