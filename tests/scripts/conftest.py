"""One small run that the tests of the scripts share."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scripts.command_line import ROOT, Outcome, start, train_args, wait, write_bars

NUM_UPDATES = 4


class FinishedRun(NamedTuple):
    """A run folder, its data, and what the command said."""

    folder: Path
    data: Path
    outcome: Outcome
    names: set[str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished training run of four updates, from a process of its own; tests only add a report to it."""
    place = tmp_path_factory.mktemp("finished")
    data = write_bars(place / "bars.csv")
    # A name that a shell would take apart.
    folder = place / "my run; no 1"
    outcome = wait(start("train", [*train_args(data, folder, NUM_UPDATES), "--report"], ROOT))
    assert outcome.code == 0, outcome.err
    return FinishedRun(folder, data, outcome, {path.name for path in folder.iterdir()})
