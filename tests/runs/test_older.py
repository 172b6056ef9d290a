"""Files, flags and commands of the older systems: read as what they are here, or answered with the form to type."""

import dataclasses

import pytest
import yaml

from ploutos_jax.cli.main import main
from ploutos_jax.runs.settings import parse_settings
from tests.scripts.command_line import call


def parsed(tmp_path, text, *flags):
    (tmp_path / "old.yaml").write_text(text)
    return parse_settings(["--config", str(tmp_path / "old.yaml"), *flags])


def test_a_file_of_the_third_version_is_read(tmp_path):
    settings = parsed(
        tmp_path,
        "training: {n_envs: 16, n_steps: 4096, batch_size: 8192, n_epochs: 20, learning_rate: 5e-5, ent_coef: 0.01,"
        " gamma: 0.995, gae_lambda: 0.98, target_kl: 0.015, seed: 42, device: 'cuda:0'}\n"
        "environment: {buy_pct: 0.25, max_position_pct: 0.30, reward_scaling: 2.0}\n"
        "data: {tickers: [NVDA, TSLA]}\n",
    )
    train, env = settings.train, settings.env
    assert (train.num_envs, train.steps_per_rollout, train.batch_size, train.num_epochs) == (16, 4096, 8192, 20)
    assert (train.learning_rate, train.entropy_coef, train.target_kl, train.seed) == (5e-5, 0.01, 0.015, 42)
    assert (env.buy_pct, env.max_position_pct, env.reward_scaling) == (0.25, 0.3, 2.0)
    assert settings.device == "gpu" and settings.data.tickers == ("NVDA", "TSLA")


def test_old_and_new_sections_go_together(tmp_path):
    settings = parsed(tmp_path, "training: {n_envs: 8}\ntrain: {num_epochs: 2}\ndevice: cuda\n", "--n-steps", "16")
    assert (settings.train.num_envs, settings.train.num_epochs, settings.train.steps_per_rollout) == (8, 2, 16)
    assert settings.device == "gpu"


def test_flags_of_stable_baselines_are_read():
    settings = parse_settings(["--n-envs", "8", "--n_epochs=2", "--ent-coef", "0.02", "--device=cuda:0"])
    assert (settings.train.num_envs, settings.train.num_epochs, settings.train.entropy_coef) == (8, 2, 0.02)
    assert settings.device == "gpu"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--type enhanced", "no variant of Sentio; there are standard, maskable, enhanced-maskable"),
        ("--device cuda:1", "CUDA_VISIBLE_DEVICES=1, and --device gpu"),
        ("--nohup", "--detach"),
        ("--model final_model.zip", "python scripts/evaluate.py --checkpoint RUN --data FILE --output REPORT"),
        ("--period 10y", "scripts/download.py --tickers TICKERS --period 10y --output data/bars.parquet"),
        ("--interval=1h", "scripts/download.py --tickers TICKERS --interval 1h --output data/bars.parquet"),
    ],
)
def test_flags_without_a_counterpart_are_answered_with_the_form_to_type(flags, said):
    with pytest.raises(ValueError) as error:
        parse_settings(flags.split())
    assert said in str(error.value) and flags.split()[0].partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    ("variant", "preset"),
    [("standard", "sentio"), ("maskable", "sentio-maskable"), ("enhanced-maskable", "sentio-enhanced")],
)
def test_the_variants_of_sentio_are_presets(tmp_path, variant, preset):
    named = parse_settings(["--preset", preset])
    assert parse_settings(["--type", variant]) == parse_settings([f"--type={variant}"]) == named
    from_file = parsed(tmp_path, f"type: {variant}\n")
    assert (from_file.preset, from_file.train, from_file.env) == (preset, named.train, named.env)


def test_a_run_before_the_twenty_numbers_is_read_with_the_features_it_had(tmp_path):
    before = dataclasses.asdict(parse_settings(["--preset", "sentio"]))
    before["env"].pop("observation")
    assert parsed(tmp_path, yaml.safe_dump(before)).data.features == "sentio_20"
    assert parsed(tmp_path, yaml.safe_dump(before)).env.observation == "full"
    assert parsed(tmp_path, "data: {features: sentio}\n").data.features == "sentio"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"tickers": ["NVDA", "TSLA"], "period": "10y", "interval": "1h"},
         "--tickers NVDA,TSLA --period 10y --interval 1h --output data/bars.parquet, then --data data/bars.parquet"),
        ({"period": "5y"}, "--tickers SP500 --period 5y"),
        ({"tickers": "momentum", "interval": "1d"}, "--tickers momentum --interval 1d"),
    ],
)  # fmt: skip
def test_data_that_is_to_be_downloaded_is_answered_with_the_command(tmp_path, data, said):
    with pytest.raises(ValueError) as error:
        parsed(tmp_path, yaml.safe_dump({"data": data}))
    assert said in str(error.value) and "old.yaml" in str(error.value)


def test_the_backtest_command_says_what_took_its_place(tmp_path, capsys):
    outcome = call("backtest", ["--model", "final_model", "--data", "bars.csv"], tmp_path)
    assert outcome.code == 2 and "scripts/evaluate.py --checkpoint RUN --data FILE --output REPORT" in outcome.message
    assert main(["backtest", "--model", "x"]) == 2
    assert "ploutos evaluate" in capsys.readouterr().err
