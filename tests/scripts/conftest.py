"""One small run that the tests of the scripts share."""

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.made_once import made_once
from tests.scripts.command_line import ROOT, Outcome, start, train_args, wait, write_bars

NUM_UPDATES = 4
NAME = "my run; no 1"
"""Of the folder: one that a shell would take apart."""


class FinishedRun(NamedTuple):
    """A run folder, its data, and what the command said."""

    folder: Path
    data: Path
    outcome: Outcome
    names: set[str]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished training run of four updates, from a process of its own; tests only add a report to it."""

    def run(place: Path) -> list[object]:
        data = write_bars(place / "bars.csv")
        # The run names its bars by where they lie: there they stay.
        return [str(data), *wait(start("train", [*train_args(data, place / NAME, NUM_UPDATES), "--report"], ROOT))]

    place, (data, *told) = made_once(tmp_path_factory, "finished", run)
    # It printed where it had written: commands that it names are about this copy.
    code, *said = told
    outcome = Outcome(code, *(text.replace(str(Path(data).parent), str(place)) for text in said))
    assert outcome.code == 0, outcome.err
    return FinishedRun(place / NAME, Path(data), outcome, {path.name for path in (place / NAME).iterdir()})
