"""scripts/evaluate.py: the report of a run, from the very command that training prints."""

import json
import math
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from ploutos_jax.evaluate.backtest.baselines import RULES
from ploutos_jax.evaluate.backtest.run import MARKET_MAKING
from ploutos_jax.train.checkpoints.export import export_policy
from tests.evaluate.report.drawn import charts_of
from tests.scripts.command_line import NUM_HELD_OUT, ROOT, TICKERS, call, start, wait, write_bars

FIGURES = (
    *("total_return", "annual_return", "annual_volatility", "sharpe", "sortino", "calmar", "max_drawdown"),
    *("max_drawdown_bars", "var_95", "cvar_95", "win_rate", "profit_factor", "turnover", "num_trades"),
    *("average_trade_bars", "total_cost", "exposure"),
)
EQUITY_COLUMNS = ["date", "equity", "return", "drawdown", "cash", "gross_exposure", "turnover", "cost"]
TRADE_COLUMNS = [
    *("ticker", "entry_date", "exit_date", "shares", "entry_price", "exit_price", "pnl", "cost", "exit_reason"),
    "bars",
]
PNG = b"\x89PNG\r\n\x1a\n"


def evaluate(run, folder, *more):
    """Score a run into `folder / "report"`; return its figures, its equity by bar, and what was printed."""
    outcome = call("evaluate", ["--checkpoint", str(run), "--output", "report", *more], folder)
    assert outcome.code == 0, outcome.err
    metrics = json.loads((folder / "report" / "metrics.json").read_text(encoding="utf-8"))
    return metrics, pd.read_parquet(folder / "report" / "equity.parquet"), outcome.out


@pytest.fixture(scope="module")
def printed(finished):
    """What the command that training printed says; its report lies where the command puts it."""
    command = shlex.split(finished.outcome.out.splitlines()[-1].removeprefix("Next: "))
    assert command[:2] == [sys.executable, str(ROOT / "scripts" / "evaluate.py")]
    return wait(start("evaluate", command[2:], ROOT)), finished.folder / "stress"


@pytest.mark.thorough
def test_printed_command_works(printed, finished):
    outcome, report = printed
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert f"Report: {report / 'report.html'}" in outcome.out.splitlines()
    assert "Out of sample" in outcome.out
    assert json.loads((report / "metrics.json").read_text())["verdict"] in " ".join(outcome.out.split())
    # The table is the one that training has shown.
    for name in ("agent", *RULES, "random"):
        rows = [
            line for text in (outcome.out, finished.outcome.out) for line in text.splitlines() if line.startswith(name)
        ]
        assert len(rows) == 2 and rows[0] == rows[1], name


@pytest.mark.thorough
def test_metrics_hold_every_figure(printed):
    report = printed[1]
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["baselines"]) == {*RULES, "random"}
    for figures in (metrics, *metrics["baselines"].values()):
        assert set(figures) >= set(FIGURES)
        assert all(figures[name] is None or math.isfinite(figures[name]) for name in FIGURES)
    assert metrics["baselines"]["buy and hold"]["exposure"] > 0.9
    assert metrics["facts"]["out_of_sample"].startswith("Out of sample")
    assert metrics["facts"]["checkpoint"].endswith("update 4")
    assert metrics["facts"]["trials"].startswith(f"{metrics['evidence']['num_trials']}, counted in 1 run folder")


@pytest.mark.thorough
def test_equity_and_trades_are_tables(printed):
    report = printed[1]
    equity, trades = (pd.read_parquet(report / f"{name}.parquet") for name in ("equity", "trades"))
    assert list(equity) == EQUITY_COLUMNS
    assert list(trades) == TRADE_COLUMNS
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert equity["equity"].iloc[-1] / equity["equity"].iloc[0] - 1 == pytest.approx(metrics["total_return"])
    assert equity["cost"].sum() == pytest.approx(metrics["total_cost"])
    assert len(equity) == NUM_HELD_OUT
    assert set(trades["ticker"]) <= set(TICKERS)
    closed = trades[trades["exit_reason"] != "open"]
    assert len(closed) == metrics["num_trades"] and len(trades) > 0


@pytest.mark.thorough
def test_pictures_and_page_exist(printed):
    report = printed[1]
    pictures = [report / "backtest_equity.png", *report.glob("backtest_trades_*.png")]
    assert len(pictures) > 1
    for picture in pictures:
        assert picture.read_bytes().startswith(PNG), picture
    assert "<html" in (report / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_flag_is_heeded(finished, tmp_path):
    (tmp_path / "moved.csv").write_bytes(finished.data.read_bytes())
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_text("{}")
    (tmp_path / "report" / "diary.txt").write_text("mine")
    of_data = ("--data", "moved.csv", "--start", "2015-06-01", "--end", "2015-09-21", "--benchmark", "BBB")
    of_agent = ("--step", "3", "--seed", "7", "--device", "cpu", "--overwrite", "--tickers", "CCC,AAA")
    of_agent += ("--market-making", "20", "--slopes")
    metrics, equity, printed = evaluate(finished.folder, tmp_path, *of_data, *of_agent)
    assert len(equity) == NUM_HELD_OUT
    assert str(equity["date"].iloc[0])[:10] == "2015-06-01" and str(equity["date"].iloc[-1])[:10] == "2015-09-21"
    assert "In sample" in metrics["facts"]["out_of_sample"] and "In sample" in printed
    assert metrics["facts"]["checkpoint"].endswith("update 3")
    assert metrics["facts"]["actions"] == "sampled with seed 7"
    assert metrics["facts"]["data"] == "moved.csv, 3 tickers"
    assert (tmp_path / "report" / "diary.txt").read_text() == "mine"
    drawn = sorted(path.stem[-3:] for path in (tmp_path / "report").glob("backtest_trades_*.png"))
    assert drawn == ["AAA", "CCC"]

    slopes = metrics["slopes"]["annual_return"]
    assert slopes["as_decided"]["spread"] < 0 and slopes["decided_anew"]["commission"] < 0

    quoted = metrics["baselines"][MARKET_MAKING]
    assert quoted["num_trades"] > 0 and any(line.startswith("market making") for line in printed.splitlines())
    assert "market making" not in metrics["verdict"]
    assert metrics["benchmark"]["name"] == "BBB"
    assert any(line.startswith("BBB ") for line in printed.splitlines())
    bars = pd.read_csv(finished.data).query("ticker == 'BBB' and '2015-06-01' <= date <= '2015-09-21'")
    held = bars["close"].iloc[-1] / bars["open"].iloc[1] / (1 + 2e-4) - 1
    assert metrics["benchmark"]["total_return"] == pytest.approx(held, abs=1e-4)


@pytest.mark.thorough
def test_data_that_begins_after_the_training_is_scored_whole(finished, tmp_path):
    write_bars(tmp_path / "later.csv", first="2018-01-01", num_bars=NUM_HELD_OUT)
    metrics, equity, _ = evaluate(finished.folder, tmp_path, "--data", "later.csv")
    assert len(equity) == NUM_HELD_OUT
    assert "Out of sample" in metrics["facts"]["out_of_sample"]


@pytest.mark.thorough
def test_runs_side_by_side(finished, tmp_path):
    """A run and its copy are as good as each other, and the page says so."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    flags = ["--compare", str(finished.folder), "copy", "--data", str(finished.data), "--output", "both"]
    outcome = call("evaluate", flags, tmp_path)
    assert outcome.code == 0, outcome.err
    content = json.loads((tmp_path / "both" / "metrics.json").read_text(encoding="utf-8"))
    names = [finished.folder.name, "copy"]
    assert list(content["runs"]) == names and set(content["baselines"]) >= {"buy and hold", "equal weight", "random"}
    assert content["runs"]["copy"] == content["runs"][names[0]]
    test = content["comparison"]["sharpe_differences"][({*names} - {content["comparison"]["best"]}).pop()]
    assert (test["difference"], test["p_value"]) == (0.0, 1.0)
    assert all(any(line.startswith(name) for line in outcome.out.splitlines()) for name in names)
    assert content["verdict"] in " ".join(outcome.out.split())
    assert outcome.out.splitlines()[-1] == f"Report: {Path('both') / 'report.html'}"


@pytest.mark.slow
def test_several_checkpoints_on_several_markets(finished, tmp_path):
    """Each has a report of its own, which says what it says alone; the pages above link to all of them."""
    shutil.copytree(finished.folder, tmp_path / "copy")
    write_bars(tmp_path / "later.csv", first="2018-01-01", num_bars=NUM_HELD_OUT)
    flags = ["--checkpoint", str(finished.folder), "copy", "--data", str(finished.data), "later.csv"]
    outcome = call("evaluate", [*flags, "--output", "all"], tmp_path)
    assert outcome.code == 0, outcome.err
    overview = json.loads((tmp_path / "all" / "metrics.json").read_text(encoding="utf-8"))
    markets, runs = [finished.data.stem, "later"], [finished.folder.name, "copy"]
    assert [(one["market"], one["run"]) for one in overview["scored"]] == [(m, r) for m in markets for r in runs]
    page = (tmp_path / "all" / "report.html").read_text(encoding="utf-8")
    for one in overview["scored"]:
        assert f"href='{one['report']}'" in page
        report = tmp_path / "all" / unquote(one["report"])
        assert report.is_file(), report
        alone = json.loads((report.parent / "metrics.json").read_text(encoding="utf-8"))
        assert alone["sharpe"] == one["sharpe"] and alone["verdict"] == one["verdict"]
        assert alone["relative_to"] == one["relative_to"] == "buy and hold"
        beside = alone["baselines"]["buy and hold"]["annual_return"]
        assert beside == one["reference_annual_return"] is not None
    for market in markets:
        compared = json.loads((tmp_path / "all" / market / "metrics.json").read_text(encoding="utf-8"))
        assert list(compared["runs"]) == runs and compared["runs"]["copy"] == compared["runs"][runs[0]]
    single, _, _ = evaluate(finished.folder, tmp_path, "--data", "later.csv")
    (found,) = [one for one in overview["scored"] if (one["market"], one["run"]) == ("later", "copy")]
    assert single["sharpe"] == found["sharpe"] and single["beta"] == found["beta"]
    again = call("evaluate", [*flags, "--output", "all"], tmp_path)
    assert again.code == 2 and "already holds a report" in again.message


@pytest.mark.thorough
def test_a_run_on_made_bars_is_scored_on_a_file(finished, tmp_path):
    """What belongs to the made market of a run, its edge and its number of paths, does not follow it to other bars."""
    shutil.copytree(finished.folder, tmp_path / "made")
    config = tmp_path / "made" / "config.yaml"
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings["data"] |= {"data": "synthetic", "edge": 0.05, "paths": 2}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    flags = ["--checkpoint", "made", "--data", str(finished.data), "--output", "report"]
    outcome = call("evaluate", flags, tmp_path)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_stress_by_scenario_and_severity(finished, tmp_path):
    flags = ("--stress", "2", "--scenarios", "gap_down, flash_crash", "--severity", "1")
    metrics, _, printed = evaluate(finished.folder, tmp_path, *flags)
    assert list(metrics["stress"]) == ["none", "gap_down", "flash_crash"]
    assert "gap down" in printed and "prolonged bear" not in printed
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert [one.words for one in charts_of(page) if "under" in one.words] == [
        "Equity under gap_down",
        "Equity under flash_crash",
    ]
    for fact, words in (("command", "ploutos evaluate --checkpoint"), ("rules", "next open"), ("training", "seed 7")):
        assert words in metrics["facts"][fact]
    outcome = call("evaluate", ["--checkpoint", "x", "--output", "y", "--scenarios", "flash_crsh"], tmp_path)
    assert outcome.code == 2 and "did you mean 'flash_crash'?" in outcome.message


def test_help_of_both_scripts(tmp_path):
    for name, flag in (("train", "--total-timesteps"), ("evaluate", "--checkpoint")):
        outcome = call(name, ["--help"], tmp_path)
        assert outcome.code == 0 and flag in outcome.out


@pytest.mark.thorough
def test_the_best_agent_is_scored_as_during_training(finished, tmp_path):
    best = json.loads((finished.folder / "summary.json").read_text(encoding="utf-8"))["best"]
    metrics, _, out = evaluate(finished.folder, tmp_path, "--best")
    assert metrics["sharpe"] == pytest.approx(best["score"], rel=1e-12)
    assert metrics["total_return"] == pytest.approx(best["total_return"], rel=1e-12)
    assert "so the figures flatter it" in out and "Out of sample" not in out


@pytest.mark.thorough
def test_an_exported_policy_gives_the_report_of_its_run(finished, tmp_path):
    export_policy(finished.folder, tmp_path / "policy")
    (tmp_path / "run").mkdir()
    expected = evaluate(finished.folder, tmp_path / "run")
    found = evaluate("policy", tmp_path)
    # How many trials stand behind a policy is written in its run folder alone.
    of_run = dict.fromkeys(("facts", "evidence", "verdict"))
    assert found[0] | of_run == expected[0] | of_run
    assert found[0]["facts"]["checkpoint"] == "policy, update 4"
    pd.testing.assert_frame_equal(found[1], expected[1])
    outcome = call("evaluate", ["--checkpoint", "policy", "--output", "more", "--best"], tmp_path)
    assert outcome.code == 2 and "is an exported policy" in outcome.message
