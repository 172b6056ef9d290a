"""A command line as people type it: other names, numbers, lists, and what is said of flags that there are not."""

import dataclasses

import pytest

from ploutos_jax.cli.download import DownloadSettings
from ploutos_jax.cli.evaluate import Evaluation
from ploutos_jax.runs.command_line import first_as, leaf_types, read, spell
from ploutos_jax.runs.meanings import MEANINGS, advise
from ploutos_jax.runs.overrides import ALIASES, whole_number
from ploutos_jax.runs.settings import RunSettings, parse_settings


@pytest.mark.parametrize(
    ("word", "number"),
    [("1000000", 10**6), ("1_000_000", 10**6), ("1e6", 10**6), ("2.5E3", 2500), ("1e+6", 10**6), ("-3", -3)],
)
def test_whole_numbers_as_people_write_them(word, number):
    assert whole_number(word) == number


@pytest.mark.parametrize("word", ["2.5", "2.55e1", "1e400", "1e-2", "nan", "inf", "", "1e", "many", "0x10", "1,000"])
def test_what_is_no_whole_number_is_refused(word):
    with pytest.raises(ValueError, match="is no whole number"):
        whole_number(word)


def test_settings_under_the_names_that_people_type():
    settings = parse_settings(
        ["--lr", "1e-3", "--n-steps", "32", "--timesteps=1e6", "--envs", "128", "--algo", "pathwise", "--cash", "5e3"]
    )
    assert (settings.train.learning_rate, settings.train.rollout_length) == (1e-3, 32)
    assert (settings.train.total_timesteps, settings.train.num_envs) == (10**6, 128)
    assert settings.train.algorithm == "pathwise" and settings.env.initial_cash == 5000


def test_every_other_name_stands_for_a_setting_and_is_none_itself():
    names = leaf_types(RunSettings)
    assert set(ALIASES.values()) <= set(names) and not set(ALIASES) & set(names)
    for word, meant in MEANINGS.items():
        assert word not in names and word not in ALIASES
        assert isinstance(meant, str) or set(meant) <= set(names), word


@pytest.mark.parametrize(
    "words",
    [["--tickers", "A", "B", "C"], ["--tickers", "A,B,C"], ["--tickers=A,B,C"], ["--tickers", "A,", "B", "C,"]],
)
def test_lists_take_commas_and_spaces(words):
    assert parse_settings([*words, "--hidden", "8,4"]).data.tickers == ("A", "B", "C")
    assert parse_settings([*words, "--hidden", "8", "4"]).train.policy.hidden == (8, 4)
    assert read(Evaluation, ["--output", "out", *words]).tickers == "A,B,C"
    assert read(DownloadSettings, [*words, "--output", "x.parquet"]).tickers == "A,B,C"


def test_spans_and_columns_may_be_parted_by_spaces():
    assert spell(["--spans", "2019..2020", "2021..2022"], RunSettings) == ["--spans", "2019..2020,2021..2022"]
    assert spell(["--columns", "volume=Volume BTC"], RunSettings) == ["--columns", "volume=Volume BTC"]


def test_a_folder_with_a_comma_in_its_name_is_one(tmp_path):
    folder = tmp_path / "a,b"
    folder.mkdir()
    assert spell(["--compare", str(folder), "c,d"], Evaluation) == ["--compare", str(folder), "c", "d"]


def test_what_stands_first_is_the_run():
    assert first_as("--checkpoint", ["run", "--best"]) == ["--checkpoint", "run", "--best"]
    assert first_as("--checkpoint", ["--best", "run"]) == ["--best", "run"]
    assert first_as("--checkpoint", []) == []
    assert read(Evaluation, first_as("--checkpoint", ["run", "--best"])).checkpoint == ("run",)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--commission", "did you mean --commission-bps, --fees or --spread-bps?"),
        ("--gpu", "did you mean --device?"),
        ("--num-env", "did you mean --num-envs?"),
        ("--drawdown", "did you mean --drawdown-halt or --drawdown-scaling?"),
        ("--leverage", "short selling and margin are not simulated."),
        ("--epochs", "did you mean --total-timesteps or --num-epochs?"),
        ("--" + "x" * 500, "did you mean --"),
    ],
)
def test_an_unknown_flag_is_answered_by_meaning(flag, said):
    with pytest.raises(ValueError, match="is no setting") as caught:
        parse_settings([flag, "1"])
    assert said in str(caught.value) and "--help-all lists every one" in str(caught.value)


def test_advice_names_only_settings_of_the_command():
    assert advise("start-date", ["start", "end"]) == "did you mean --start?"
    assert advise("commission", ["tickers", "output"]) in ("did you mean --tickers?", "did you mean --output?")


def test_flags_that_switch_off_are_known():
    off = [name for name, of in leaf_types(RunSettings).items() if of is bool]
    for name in off:
        spell([f"--no-{name.replace('_', '-')}"], RunSettings)
    assert "report" in off
    with pytest.raises(ValueError, match="no-such"):
        spell(["--no-such"], RunSettings)


def test_sections_are_gone_into():
    assert {"data", "stop_loss", "hidden", "num_envs", "preset"} <= set(leaf_types(RunSettings))
    assert not {"env", "train", "policy"} & set(leaf_types(RunSettings))
    assert set(leaf_types(Evaluation)) == {field.name for field in dataclasses.fields(Evaluation)}
