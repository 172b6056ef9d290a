"""scripts/paper.py: from a run and a file to a journal, gone on with, reported and shared."""

import json

import numpy as np
import pandas as pd
import pytest

import ploutos_jax as pj
from ploutos_jax.evaluate.reference import Reference
from tests.scripts.command_line import NUM_HELD_OUT, call


def paper(folder, *args):
    return call("paper", list(args), folder)


@pytest.fixture(scope="module")
def traded(finished, tmp_path_factory):
    """A journal that was written in two calls."""
    folder = tmp_path_factory.mktemp("paper")
    args = [
        str(finished.folder),
        "--source",
        f"replay:{finished.data}",
        "--start",
        "2016-04-01",
        "--journal",
        "j.sqlite",
    ]
    first = paper(folder, *args, "--end", "2016-05-02", "--kill-file", "stop")
    assert first.code == 0, first.err
    return folder, args, first, paper(folder, *args)


@pytest.mark.thorough
def test_a_journal_is_gone_on_with(traded):
    _, _, first, second = traded
    assert "Nothing here is investment advice" in first.out and "bars; equity $" in first.out
    assert second.code == 0 and "on from bar 22." in second.out, second.err


def test_the_run_says_what_training_was_like(finished):
    known = Reference.read(finished.folder)
    panel = pj.load_panel(finished.data)
    rows = panel.num_bars - NUM_HELD_OUT
    moves = np.diff(np.log(np.asarray(panel.close)[:rows]), axis=0)
    assert known.deviation == pytest.approx(moves.std(), rel=0.01)


@pytest.mark.thorough
def test_the_report_is_that_of_a_backtest(finished, traded):
    folder = traded[0]
    outcome = paper(folder, str(finished.folder), "--journal", "j.sqlite", "--report", "report")
    assert outcome.code == 0, outcome.err
    assert "replayed: at most $0.00 of equity apart, 0 fills. The backtest: at most $0.00 of equity" in outcome.out
    assert "apart; decisions that differ: 0 of " in outcome.out
    agent = pj.restore(finished.folder)
    market = pj.build_market(pj.load_panel(finished.data), list(agent.feature_names))
    alone = pj.backtest(agent, market, "2016-04-01")
    equity = pd.read_parquet(folder / "report" / "equity.parquet")
    assert equity["equity"].to_numpy()[-1] == pytest.approx(alone.equity[-1], abs=0.005)
    assert len(alone.fills) == len(pd.read_parquet(folder / "report" / "fills.parquet"))
    differences = pd.read_parquet(folder / "report" / "paper_against_backtest.parquet")
    assert len(differences) == len(alone.equity) and (differences["equity_replay"] == 0).all()
    facts = json.loads((folder / "report" / "metrics.json").read_text())
    assert "investment advice" in json.dumps(facts) and "backtest" in facts["baselines"]


def test_a_copy_for_sharing_has_no_report(finished, traded):
    folder = traded[0]
    outcome = paper(folder, "--journal", "j.sqlite", "--strip", "shared.sqlite")
    assert outcome.code == 0 and "none of the vendor's bars" in outcome.out
    refused = paper(folder, str(finished.folder), "--journal", "shared.sqlite", "--report", "other")
    assert refused.code == 2 and "shared.sqlite" in refused.message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "Give --source to trade, --report for the pages of a journal, or --strip to share one."),
        (("--source", "nowhere:x"), "source='nowhere:x' is unknown; use replay:FILE, ccxt:EXCHANGE or alpaca."),
        (("--source", "ccxt:binance"), "A stream needs an --interval, such as 1h"),
        (("--report", "out"), "No such journal: new.sqlite"),
        (("--source", "replay:none.csv"), "No such file or folder: none.csv"),
        (("--source", "replay:x", "--max-daily-loss", "2"), "max_daily_loss=2.0 must be a number in (0, 1]"),
    ],
)
def test_bad_input_is_one_message(finished, tmp_path, more, message):
    outcome = paper(tmp_path, str(finished.folder), "--journal", "new.sqlite", *more)
    assert outcome.code == 2 and message in outcome.message
