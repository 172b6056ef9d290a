"""What a run says at its end, of results that are written out here, and of a demo that is run."""

import dataclasses
import io
import types

import numpy as np
import pytest
from rich.console import Console

from ploutos_jax.cli import demo
from ploutos_jax.cli.closing import answers, pictures
from ploutos_jax.experiment.run import ExperimentResult

SCORE = {"annual_return": 0.125, "sharpe": 0.9, "turnover": 3.25, "total_cost": 1234.4}


def result_of(folder, **changes):
    fields = {
        "agents": (),
        "output": folder,
        "scores": {"agent": SCORE, "equal weight": SCORE | {"annual_return": 0.1, "sharpe": None}},
        "first": "2020-01-01",
        "last": "2020-12-31",
        "in_sample": False,
        "scores_by_seed": {},
        "interval": {},
        "projection": {},
    }
    return ExperimentResult(**fields | changes)


def told(result):
    console = Console(file=io.StringIO(), width=400)
    console.print(answers(result))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_a_known_edge_is_told_with_the_share_that_was_found(tmp_path):
    promised = {"agent": 0.15, "ridge": 0.12, "equal weight": -0.004, "oracle": 0.2}
    found, share, cost = told(result_of(tmp_path, promised=promised))
    assert found.startswith("What there was to be found +20.0% a year, net of costs")
    assert share == "What was found 75% of it: +15.0% a year, ridge +12.0%, equal weight -0.4%."
    assert cost.startswith("What it cost $1,234 in spread, slippage and fees, turnover 3.2 times the account a year")
    losing = told(result_of(tmp_path, promised=promised | {"agent": -0.05}))[1]
    assert losing.startswith("What was found 0% of it: -5.0% a year")


def test_no_edge_is_called_none(tmp_path):
    found, share, _ = told(result_of(tmp_path, promised={"agent": -0.001, "equal weight": 0.0, "oracle": 0.0}))
    assert "Nothing: these bars are made up" in found and "%" in share and "of it" not in share


def test_real_bars_follow_no_law_that_anybody_knows(tmp_path):
    found, share, _ = told(result_of(tmp_path))
    assert "Nobody knows" in found
    assert share == "What was found +12.5% a year, Sharpe ratio 0.90; equal weight +10.0%, –. One span is one draw."
    assert told(result_of(tmp_path, in_sample=True))[1].endswith("In sample, so it proves nothing.")


@pytest.fixture
def result(tmp_path):
    rows = ({"update": i, "timesteps": 10 * i, "held_out_score": [i / 3, i / 2]} for i in range(1, 5))
    (tmp_path / "metrics.jsonl").write_text("".join(f"{row}\n".replace("'", '"') for row in rows))
    ledgers = {name: types.SimpleNamespace(equity=np.linspace(1e5, end, 50)) for name, end in
               (("agent", 1.2e5), ("equal weight", 1.1e5), ("oracle", 1.3e5), ("cash", 1e5))}  # fmt: skip
    return dataclasses.replace(result_of(tmp_path), ledgers=ledgers)


def drawn(result, **terminal):
    console = Console(file=io.StringIO(), width=80, **terminal)
    for picture in pictures(result, console):
        console.print(picture)
    return console.file.getvalue()


def test_a_terminal_shows_how_it_learned_and_what_became_of_the_account(result):
    shown = drawn(result, force_terminal=True, color_system=None)
    assert "Sharpe ratio on bars held out" in shown and "1.67" in shown and "40 steps" in shown
    assert "Equity on bars never trained on" in shown and "$130,000" in shown and "2020-12-31" in shown
    assert all(f" {name}" in shown for name in ("agent", "oracle", "equal weight")) and " cash" not in shown


def test_what_is_no_terminal_shows_no_picture(result, monkeypatch):
    assert drawn(result) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert drawn(result, force_terminal=True) == ""


def test_a_terminal_without_braille_gets_plain_signs(result, monkeypatch):
    monkeypatch.setattr(Console, "encoding", "ascii")
    shown = drawn(result, force_terminal=True, color_system=None)
    assert "*" in shown and not any(0x2800 <= ord(sign) < 0x2900 for sign in shown)


def test_a_demo_is_a_run_in_the_next_free_folder(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(demo.train, "main", lambda args: calls.append(args) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ploutos-demo").mkdir()
    assert demo.main(["--seed", "1"]) == 0 and demo.main(["--output=own"]) == 0 and demo.main(["--help"]) == 0
    assert calls == [["--output", "ploutos-demo-2", "--seed", "1"], ["--output=own"], ["--help"]]
