"""The console command: each subcommand is the one that its script is, and errors keep their codes."""

import signal
import subprocess
import sys

import pytest

from ploutos_jax.cli import benchmark
from ploutos_jax.cli.main import COMMANDS, main
from ploutos_jax.cli.short_help import FIRST
from ploutos_jax.cli.terminal import exit_codes, resumable
from ploutos_jax.runs.command_line import leaf_types
from ploutos_jax.runs.settings import RunSettings


def said_for_help(name, word, capsys):
    try:
        code = main([name, word])
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"benchmark"}))
@pytest.mark.parametrize("word", ["--help", "--help-all"])
def test_help_of_a_command_begins_with_its_name(name, word, capsys):
    assert said_for_help(name, word, capsys).startswith(f"usage: ploutos {name} ")
    assert not sys.argv[0].startswith("ploutos ")


@pytest.mark.parametrize("name", ["train", "demo", "validate"])
def test_help_is_what_matters_first_and_all_of_it_on_request(name, capsys):
    short, full = (said_for_help(name, word, capsys) for word in ("--help", "--help-all"))
    assert all(f"  --{setting.replace('_', '-')}" in short for setting in FIRST)
    assert f"ploutos {name} --help-all" in " ".join(short.split()) and "(default: bands)" in " ".join(short.split())
    assert all(f"--{setting.replace('_', '-')}" in full for setting in leaf_types(RunSettings))
    assert len(short.splitlines()) < 80 and "--trailing-stop" not in short
    assert ("--train-window" in short) == ("--train-window" in full) == (name == "validate")


def test_help_shows_the_defaults_of_a_preset(capsys):
    assert main(["train", "--preset", "gpu", "--help"]) == 0
    assert "(default: 4096)" in " ".join(capsys.readouterr().out.split())


def test_bad_input_is_one_message_and_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--data", "nowhere.csv", "--output", "new"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: No such file or folder: nowhere.csv; ") and said.count("\n") == 1


def test_a_benchmark_without_a_checkout_says_what_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["benchmark"])
    assert stop.value.code == 2 and "needs a source checkout" in capsys.readouterr().err


def test_a_benchmark_in_a_checkout_runs_there(monkeypatch):
    calls = []
    monkeypatch.setattr(
        benchmark.subprocess, "run", lambda command: calls.append(command) or subprocess.CompletedProcess(command, 3)
    )
    assert main(["benchmark", "env", "--quick"]) == 3
    assert calls == [[sys.executable, str(benchmark.ROOT / "scripts" / "benchmark.py"), "env", "--quick"]]


def test_what_can_go_on_says_so_when_it_is_interrupted(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, exit_codes(), resumable(tmp_path / "out"):
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 130
    said = " ".join(capsys.readouterr().err.split())
    assert "continue with the same command and --resume" in said and str(tmp_path / "out") in said
    with pytest.raises(SystemExit) as stop, exit_codes():
        raise KeyboardInterrupt
    assert stop.value.code == 130 and "--resume" not in capsys.readouterr().err
