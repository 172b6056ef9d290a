"""A short form of the fuzzer, and ten minutes of it at night."""

import subprocess
import sys

import pytest

from tests.fuzz.targets import TARGETS, Broken, exercise
from tests.marks import thorough_but

EXAMPLES = {"run folders": 6, "CSV": 30, "actions": 40}


@pytest.mark.parametrize(
    "name", thorough_but([name for name in TARGETS if name not in ("run folders", "actions")], TARGETS)
)
def test_inputs_are_read_or_refused_in_one_line(name):
    counts = exercise(name, EXAMPLES.get(name, 60), seed=1)
    assert counts.total() > 0
    assert set(counts) <= {"read", "refused"}


def test_the_fuzzer_finds_what_is_planted(monkeypatch):
    def crash(given):
        raise KeyError(given)

    strategy, _ = TARGETS["figures"]
    monkeypatch.setitem(TARGETS, "figures", (strategy, crash))
    with pytest.raises(KeyError):
        exercise("figures", 5, seed=1)

    def lines(given):
        raise ValueError("one\ntwo")

    monkeypatch.setitem(TARGETS, "figures", (strategy, lines))
    with pytest.raises(Broken, match="one line"):
        exercise("figures", 5, seed=1)


@pytest.mark.slow
def test_ten_minutes():
    done = subprocess.run([sys.executable, "-m", "tests.fuzz.run", "--minutes", "10"], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:]
