"""scripts/train.py on markets that are drawn: resampled, stressed, refreshed; and what it refuses."""

import json

import pytest

from ploutos_jax.train.checkpoints.checkpoint import restore
from tests.scripts.command_line import TICKERS, call, train_args, write_bars

DRAWN = ("--bank-paths", "2", "--bank-bars", "90", "--market-refresh", "2")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resampled", "stressed"])
def test_a_run_on_drawn_markets_ends_with_a_score_on_real_bars(kind, tmp_path):
    data = write_bars(tmp_path / "bars.csv")
    args = train_args(f"bootstrap:{data}" if kind == "resampled" else data, tmp_path / "run", 4)
    outcome = call("train", [*args, *DRAWN, "--stress-prob", "0.5"], tmp_path)
    assert outcome.code == 0, outcome.err
    said = "2 paths of 90 bars" if kind == "resampled" else "5 paths of 320 bars"
    assert said in outcome.out and "bars never trained on" in outcome.out
    agent = restore(tmp_path / "run")
    assert agent.symbols == TICKERS and agent.step == 4
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [1, 2, 3, 4]
    again = call("evaluate", ["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "report")], tmp_path)
    assert again.code == 0, again.err


@pytest.mark.slow
def test_an_agent_of_random_tickers_is_scored_on_all_of_them(tmp_path):
    data = write_bars(tmp_path / "bars.csv", (*TICKERS, "DDD"))
    varied = ("--path-tickers", "2", "--volatility-jitter", "0.3")
    outcome = call("train", [*train_args(f"bootstrap:{data}", tmp_path / "run", 4), *DRAWN, *varied], tmp_path)
    assert outcome.code == 0, outcome.err
    assert "Each path holds 2 of 4 tickers" in outcome.out and "Training on 2 assets" in outcome.out
    agent = restore(tmp_path / "run")
    assert agent.symbols == () and set(agent.sectors) == {-1}
    again = call("evaluate", ["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "report")], tmp_path)
    assert again.code == 0, again.err
    assert "DDD" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.thorough
def test_a_network_bound_to_its_assets_is_refused_random_ones(tmp_path):
    data = write_bars(tmp_path / "bars.csv")
    args = train_args(f"bootstrap:{data}", tmp_path / "run", 4)
    outcome = call("train", [*args, *DRAWN, "--path-tickers", "2", "--torso", "flat"], tmp_path)
    assert outcome.code == 2 and "policy.torso='flat' is bound to its assets" in outcome.message
    assert not (tmp_path / "run").exists()


def test_bars_that_cannot_be_drawn_anew_are_refused(tmp_path):
    data = write_bars(tmp_path / "bars.csv")
    outcome = call("train", [*train_args(data, tmp_path / "run", 4), "--market-refresh", "2"], tmp_path)
    assert outcome.code == 2 and "market_refresh=2 needs markets that can be redrawn" in outcome.message
    assert not (tmp_path / "run").exists()
