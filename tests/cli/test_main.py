"""The console command: each subcommand is the one that its script is, and errors keep their codes."""

import subprocess
import sys

import pytest

from ploutos_jax.cli import benchmark
from ploutos_jax.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"benchmark"}))
def test_help_of_a_command_begins_with_its_name(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ploutos {name} ")
    assert not sys.argv[0].startswith("ploutos ")


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
