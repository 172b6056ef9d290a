"""Every example runs as it stands, and what it makes is what it says."""

import runpy
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
PNG = b"\x89PNG"


def check_own_data(made, folder):
    assert made["panel"].num_assets == 3 and not made["panel"].tradable.all()
    assert set(made["market"].feature_names) >= {"overnight", "signal_mood", "rsi_14"}
    assert "'tomorrow' looks ahead" in made["caught"] and made["ledger"].returns.size == 99


def check_own_reward(made, folder):
    assert list(made["figures"]) == ["log return", "cautious", "cautious, turnover costs"]
    assert made["figures"]["cautious"]["final_equity"] != made["figures"]["log return"]["final_equity"]


def check_own_strategy(made, folder):
    ledger = made["ledger"]
    assert ledger.name == "trend" and set(ledger.fills["bar"] % 5) <= {1, 0}
    assert set(made["stopped"].fills["ticker"]) == set(made["panel"].symbols[:2])
    assert made["returns"].size == ledger.returns.size == made["learned"].returns.size
    for name in ("own_strategy.png", "own_strategy_trades.png"):
        assert (folder / name).read_bytes().startswith(PNG)


def check_sweep_costs(made, folder):
    table = made["table"]
    assert len(table) == 12 and table["total_cost"].nunique() > 4
    assert (np.diff(made["ends"]) < 0).all(), "a wider spread leaves less"
    assert list(made["rates"]["learning_rate"]) == [1e-4, 1e-3]
    assert (folder / "sweep.png").read_bytes().startswith(PNG)


def check_many_seeds(made, folder):
    assert made["figures"].shape == (4, 3) and made["figures"]["total_return"].nunique() == 4
    assert made["ledger"].name == "ensemble" and len(made["together"].members) == 4


def check_stress_test(made, folder):
    assert len(made["table"]) == 3 and (made["table"]["survival_rate"] > 0).any()
    assert not np.array_equal(made["crashed"].close, made["panel"].close)


def check_walk_forward(made, folder):
    tests = [window for window, _ in made["segments"]]
    assert [(window.start, window.stop) for window in tests] == [(320, 420), (420, 520), (520, 620)]
    assert made["ledger"].returns.size == 300 and np.array_equal(made["ledger"].times, made["hold"].times)


def check_checkpoints(made, folder):
    assert np.array_equal(made["same"][0].equity, made["same"][1].equity)
    assert made["early"].step == 0 < made["again"].step == made["agent"].step
    assert (folder / "exported").is_dir()


def check_read_report(made, folder):
    assert made["metrics"]["verdict"] and (folder / "report" / "report.html").stat().st_size > 10_000
    assert made["table"].loc["agent", "sharpe"] == pytest.approx(made["ledger"].summary()["sharpe"])


def check_derivatives(made, folder):
    found, figures = made["found"], made["figures"]
    assert figures["turnover"].astype(float).min() > 0 and figures["sharpe"].nunique() == 2
    assert all(found.slopes[name] < 0 and found.moved[name] < 0 for name in ("spread", "slippage", "commission"))


def check_stable_baselines(made, folder):
    assert set(made["gain"]) == {"Stable-Baselines3", "agent", "equal weight"}
    assert len(made["equity"]) == made["span"].num_bars - 1 == 149 and made["model"].num_timesteps == 4_096
    hold = made["pj"].backtest(made["agent"], made["market"], start=450).returns
    assert hold.size == len(made["equity"]), "the same bars"


def check_rejax_ppo(made, folder):
    assert made["returns"].shape[0] == 2 and np.isfinite(np.asarray(made["returns"])).all()
    assert int(made["lengths"].max()) == 60
    assert float(made["info"]["cost"]) > 0, "a purchase costs"


def check_rllib_ppo(made, folder):
    first, second, *_ = made["results"]
    assert (first["num_env_steps_sampled_lifetime"], second["num_env_steps_sampled_lifetime"]) == (1024, 2048)
    # 16 accounts in 64 steps each: one whole episode, and it takes as many steps as were asked for.
    assert first["num_episodes"] == 16 and first["episode_len_min"] == first["episode_len_max"] == made["EPISODE"]
    assert second["num_episodes_lifetime"] == 32 and abs(second["episode_return_mean"]) < 1


CHECKS = {name.removeprefix("check_"): check for name, check in list(globals().items()) if name.startswith("check_")}
THOROUGH = ("checkpoints", "own_strategy", "sweep_costs", "read_report")
"""All four share the compiled update of one market's shape; the others compile their own, and are slow."""
MARKS = dict.fromkeys(THOROUGH, pytest.mark.thorough)
EXTRAS = {"stable_baselines": "stable_baselines3", "rejax_ppo": "rejax", "rllib_ppo": "ray.rllib"}
"""What an example needs beside the extra `test`; it is skipped where that is not installed."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS.get(n, pytest.mark.slow)) for n in CHECKS])
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"{EXTRAS[name]} is not installed")
    monkeypatch.chdir(tmp_path)
    made = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    CHECKS[name](made, tmp_path)
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_every_example_is_listed_and_run():
    files = {path.stem for path in EXAMPLES.glob("*.py")}
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert files == set(CHECKS) == {name for name in files if f"[{name}.py]({name}.py)" in page}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    source = path.read_text(encoding="utf-8")
    assert source.startswith('"""') and source.count("\n# %%") >= 3
    assert len(source.splitlines()) <= 90
