"""Output that cannot be written, signals while a command is loaded, no home folder: an exit code and one message each.

A full disk for stdout is the device for it; one for files a small file system of memory (`test_disk.small_disk`).
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ploutos_jax.cli import device
from ploutos_jax.datasets.config import DataConfig
from tests.scripts.command_line import ROOT, call
from tests.scripts.test_disk import check_one_message, small_disk

__all__ = ["small_disk"]

COMMANDS = ("train", "evaluate", "orders", "validate", "download", "benchmark", "main")
EVERY = [pytest.param(name, marks=() if name in ("train", "main") else pytest.mark.slow) for name in COMMANDS]
"""Each takes some seconds to load, so two stand for all among the fast tests."""
SIGNALS = [("SIGTERM", 143, "Ended by SIGTERM."), pytest.param("SIGINT", 130, "Interrupted.", marks=pytest.mark.slow)]
FULL = Path("/dev/full")


def words_of(name):
    return ["-m", "ploutos_jax.cli.main"] if name == "main" else [str(ROOT / "scripts" / f"{name}.py")]


def run(name, args, folder, stdout, **environment):
    """Run a command in a process of its own; return its exit code and what it said to stderr."""
    done = subprocess.run(
        [sys.executable, *words_of(name), *args],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=120,
    )
    return done.returncode, done.stderr.decode("ascii", errors="replace")


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_full_output_is_named(tmp_path, name):
    with FULL.open("w") as full:
        code, said = run(name, ["--help"], tmp_path, full)
    assert code == 2, said
    assert said.startswith("Error: the output (stdout) cannot be written: No space left on device.")
    assert said.count("\n") == 1


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
def test_a_reader_that_has_gone_ends_a_command(tmp_path, name):
    reader, writer = os.pipe()
    os.close(reader)
    code, said = run(name, ["--help"], tmp_path, writer)
    os.close(writer)
    assert code == 141, said
    assert said == (
        ""
        if name == "main"
        else "Error: whoever read the output (stdout) has gone; stopped. Files that are finished stay.\n"
    )


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EVERY)
def test_help_is_written_in_any_encoding(tmp_path, name, encoding):
    with (tmp_path / "out").open("wb") as out:
        code, said = run(name, ["--help"], tmp_path, out, PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    assert (code, said) == (0, "")
    text = (tmp_path / "out").read_bytes().decode(encoding)
    assert len(text) > 200 and "?" * 3 not in text


CLOSED = """
import os, sys
os.close(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "number", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow)]
)
def test_an_output_that_is_closed_is_no_obstacle(tmp_path, number):
    words = [str(number), *words_of("evaluate"), "--help"]
    done = subprocess.run([sys.executable, "-c", CLOSED, *words], cwd=tmp_path, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert bool(done.stdout) == (number != 1)


@pytest.mark.parametrize(("number", "code", "word"), SIGNALS)
@pytest.mark.parametrize("name", EVERY)
def test_a_signal_while_a_command_is_loaded_ends_it_with_a_word(tmp_path, name, number, code, word):
    # What is imported is told line by line; the signal comes while JAX is.
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *words_of(name), *(["train"] if name == "main" else []), "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(" jax.version"):
            process.send_signal(getattr(signal, number))
            break
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said[-500:]
    assert word in said and "Traceback" not in said


@pytest.mark.slow
def test_the_table_of_a_run_is_written_in_ascii(finished, tmp_path):
    args = ["--checkpoint", str(finished.folder), "--output", "report"]
    with (tmp_path / "out").open("wb") as out:
        code, said = run("evaluate", args, tmp_path, out, PYTHONIOENCODING="ascii")
    assert (code, said) == (0, "")
    assert "agent" in (tmp_path / "out").read_bytes().decode("ascii")


@pytest.mark.thorough
@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_a_report_is_whole_although_its_figures_cannot_be_printed(finished, tmp_path):
    with FULL.open("w") as full:
        code, said = run("evaluate", ["--checkpoint", str(finished.folder), "--output", "report"], tmp_path, full)
    assert code == 2 and said.startswith("Error: the output (stdout) cannot be written")
    assert (tmp_path / "report" / "report.html").is_file() and (tmp_path / "report" / "metrics.json").is_file()


@pytest.mark.thorough
def test_a_full_disk_is_named_by_every_command_that_writes(finished, small_disk, tmp_path):
    disk = small_disk(64)
    (disk / "fill").write_bytes(b"x" * 40_000)
    outcome = call("evaluate", ["--checkpoint", str(finished.folder), "--output", "disk/report"], tmp_path)
    check_one_message(outcome, "The report disk/report cannot be written: No space left on device. Make room")
    assert [path.name for path in disk.iterdir()] == ["fill"]
    (disk / "fill").write_bytes(b"x" * 65_536)
    plan = ["--train-window", "120", "--validation-window", "40", "--test-window", "40", "--output", "disk/validation"]
    outcome = call("validate", ["--data", str(finished.data), *plan, "--episode-length", "20"], tmp_path)
    check_one_message(outcome, "The validation disk/validation cannot be written: No space left on device.")


def test_without_a_home_folder_nothing_is_kept(monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    device.configure("cpu")
    assert DataConfig().cache_folder is None


@pytest.mark.slow
def test_a_home_that_is_a_file_is_no_obstacle(tmp_path):
    (tmp_path / "home").write_text("")
    with (tmp_path / "out").open("wb") as out:
        code, said = run("download", ["--help"], tmp_path, out, HOME=str(tmp_path / "home"))
    assert (code, said) == (0, "")
