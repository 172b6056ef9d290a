"""The run that several tests look at."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ploutos_jax.agents.agent import Agent


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run of `planted.CONFIG`: its folder, its agent, its rows of figures, and how many rows each call gave."""

    folder: Path
    agent: "Agent"
    rows: list[dict[str, Any]]
    calls: list[int]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Train once on the seen part of the planted market; tests must not change the folder."""
    # Here, not above: JAX must not be imported before the settings of the whole test run are made.
    from ploutos_jax.train.loop import train
    from tests.train import planted

    folder, rows, calls = tmp_path_factory.mktemp("runs") / "whole", [], []

    def observe(progress):
        rows.extend(progress.rows)
        calls.append(len(progress.rows))

    agent = train(planted.CONFIG, planted.seen(), planted.ENV, output=folder, observers=[observe])
    return FinishedRun(folder=folder, agent=agent, rows=rows, calls=calls)
