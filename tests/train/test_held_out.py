"""Scores on held-out bars during a run: of the state that is saved, in the row of its update, and the best one kept."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from ploutos_jax.evaluate.backtest.run import backtest
from ploutos_jax.train.checkpoints.checkpoint import BEST_FOLDER, BestAgent, restore
from ploutos_jax.train.held_out import HeldOut
from ploutos_jax.train.loop import train
from ploutos_jax.train.run.resources import MACHINE_FIGURES
from tests.train import planted
from tests.train.worlds import assert_identical

PER_UPDATE = planted.CONFIG.timesteps_per_update
CONFIG = dataclasses.replace(
    planted.CONFIG, total_timesteps=7 * PER_UPDATE, eval_every=2 * PER_UPDATE, checkpoint_every=1, keep_checkpoints=9
)
SCORED = [2, 4, 6, 7]


def fingerprint(agent):
    """A number that any change of any parameter changes, and that rises and falls over a run."""
    leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(agent.params)]
    return float(np.sin(1e3 * np.concatenate(leaves)).sum())


def rows_of(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: x for name, x in row.items() if name not in MACHINE_FIGURES} for row in rows]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A run of seven updates that is scored after four of them: its folder, and the agents that were scored."""
    folder, agents = tmp_path_factory.mktemp("held_out") / "run", []

    def score(agent):
        agents.append(dataclasses.replace(agent, params=jax.tree.map(np.asarray, agent.params)))
        return {"score": fingerprint(agent), "other": None}

    train(CONFIG, planted.seen(), planted.ENV, output=folder, held_out=HeldOut(score, "2014-01-01", "2017-12-31"))
    return folder, agents


@pytest.mark.thorough
def test_the_state_that_is_scored_is_the_one_saved(scored):
    folder, agents = scored
    assert [agent.step for agent in agents] == SCORED
    for agent in agents:
        assert_identical(restore(folder, step=agent.step).params, agent.params)


def test_scores_stand_in_the_rows_of_their_updates(scored):
    folder, agents = scored
    rows = {row["update"]: row for row in rows_of(folder)}
    assert [update for update, row in rows.items() if "held_out_score" in row] == SCORED
    for agent in agents:
        assert rows[agent.step]["held_out_score"] == fingerprint(restore(folder, step=agent.step))
        assert rows[agent.step]["held_out_other"] is None


def test_the_best_is_kept_apart(scored):
    folder, agents = scored
    scores = [fingerprint(agent) for agent in agents]
    expected = agents[int(np.argmax(scores))]
    assert len(set(scores)) == len(scores)
    best = restore(folder, best=True)
    assert best.step == expected.step
    assert_identical(best.params, expected.params)
    assert best.chosen_on == ("2014-01-01", "2017-12-31")
    assert best.provenance("2015-01-01", "2016-01-01").relation == "overlaps_selection"
    assert best.provenance("2018-02-01", "2018-12-31").sample == "out_of_sample"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    found = {"update": best.step, "timesteps": best.step * PER_UPDATE, "score": max(scores), "other": None}
    assert summary["best"] == found
    with pytest.raises(ValueError, match="step=2 and best=True name two checkpoints"):
        restore(folder, step=2, best=True)


@pytest.mark.thorough
def test_a_resumed_run_has_the_same_best(scored, tmp_path):
    whole, _ = scored
    for stop_at in (2, 5):
        folder, rows = tmp_path / f"stopped-{stop_at}", []
        arguments = dict(output=folder, held_out=HeldOut(lambda agent: {"score": fingerprint(agent), "other": None}))

        def stop(rows=rows, stop_at=stop_at):
            return len(rows) >= stop_at

        train(
            CONFIG,
            planted.seen(),
            planted.ENV,
            observers=[lambda progress, rows=rows: rows.extend(progress.rows)],
            should_stop=stop,
            **arguments,
        )
        assert restore(folder).step < 7
        train(CONFIG, planted.seen(), planted.ENV, resume=True, **arguments)
        assert rows_of(folder) == rows_of(whole)
        assert_identical(restore(folder, best=True).params, restore(whole, best=True).params)
        assert [path.name for path in (folder / BEST_FOLDER).iterdir()] == [str(restore(whole, best=True).step)]


def test_runs_without_a_best_say_so(finished_run):
    with pytest.raises(ValueError, match="has no best checkpoint: it was not scored on held-out bars"):
        restore(finished_run.folder, best=True)


def test_only_a_higher_score_replaces_the_best(finished_run, tmp_path):
    params = finished_run.agent.params
    other = jax.tree.map(lambda leaf: leaf + 1, params)
    meta = {"chosen_on": []}
    with BestAgent(tmp_path, meta) as best:
        best.offer(3, params, {"score": None})
        assert best.found is None and not best._steps.numbers
        best.offer(4, params, {"score": -1.0})
        best.offer(5, other, {"score": -1.0})
        best.offer(6, other, {"score": None})
    with BestAgent(tmp_path, meta) as best:
        assert best.found == {"update": 4, "score": -1.0}
        # A run that goes on from update 1 on other hardware finds a better one before the update of the old best.
        best.offer(2, other, {"score": 0.5})
    with BestAgent(tmp_path, meta) as best:
        assert best.found == {"update": 2, "score": 0.5} and best._steps.numbers == [2]


@pytest.mark.thorough
def test_a_backtest_is_a_score(scored):
    folder, _ = scored
    agent = restore(folder)
    held_out = HeldOut(lambda agent: {"score": backtest(agent, planted.unseen()).equity[-1]})
    figures = held_out.figures((agent, agent))
    assert figures == {"score": pytest.approx(backtest(agent, planted.unseen()).equity[-1])}
    assert HeldOut(lambda _: {"score": float("nan")}).figures((agent,)) == {"score": None}
    with pytest.raises(ValueError, match="a figure named 'score' is needed"):
        HeldOut(lambda _: {"sharpe": 1.0}).figures((agent,))
