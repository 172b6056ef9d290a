"""How a run was made: read from its folder, and in words."""

import json

import yaml

from ploutos_jax.env.config import EnvConfig
from ploutos_jax.evaluate.report.about import describe_rules, describe_run, making_of
from ploutos_jax.version import __version__


def write_run(folder, summary):
    folder.mkdir()
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"data": {"data": "x.csv"}, "train": {"seed": 3, "num_seeds": 2}})
    )
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_run_folder_tells_seeds_steps_and_commit(tmp_path):
    summary = {"timesteps": 20480, "versions": {"ploutos_jax": "0.1.9"}, "git_commit": "0123456789abcdef-dirty"}
    facts = describe_run(making_of(write_run(tmp_path / "run", summary), EnvConfig(), "ploutos evaluate 'a b'"))
    assert facts["training"] == "seed 3, 4, 20,480 environment steps"
    assert facts["trained_by"] == "ploutos_jax 0.1.9, commit 0123456789ab, with changes"
    assert facts["report_by"].startswith(f"ploutos_jax {__version__}") and facts["command"] == "ploutos evaluate 'a b'"


def test_what_is_not_known_is_left_out(tmp_path):
    assert set(describe_run(making_of(tmp_path, EnvConfig()))) == {"price_of_a_trade", "rules", "report_by"}
    begun = making_of(write_run(tmp_path / "run", {}), EnvConfig())
    assert begun.trained_by is None and describe_run(begun)["training"] == "seed 3, 4"


def test_rules_that_are_not_as_usual_are_named():
    usual = EnvConfig()
    assert describe_rules(usual).endswith("at the start; all else as usual")
    words = describe_rules(EnvConfig(trailing_stop=0.07, stop_loss=None, strict_targets=True, initial_cash=5e4))
    assert "trailing stop 0.07" in words and "strict targets" in words and "$50,000 at the start" in words
    assert ("no stop loss" in words) == (usual.stop_loss is not None)
    # What a backtest does not read is no rule of it, and spread and slippage have a line of their own.
    assert describe_rules(EnvConfig(episode_length=20, spread_bps=9)) == describe_rules(usual)
