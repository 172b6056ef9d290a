"""What requests and answers of the API look like."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Path = Annotated[str, StringConstraints(min_length=1, max_length=400)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Number = Annotated[float, Field(allow_inf_nan=False)] | int
Value = bool | Number | Text | Annotated[list[Text | Number], Field(max_length=2000)] | None
Values = Annotated[dict[Name, Value], Field(max_length=200)]


class Body(BaseModel):
    """A body without anything that is not known."""

    model_config = ConfigDict(extra="forbid")


class Room(Body):
    """What a job is taken to need, where the usual is not meant."""

    cores: int | None = Field(None, ge=1, le=1024, description="cores")
    memory_mb: int | None = Field(None, ge=1, le=10_000_000, description="memory in MB")


class Start(Room):
    """Settings of a command, by name, as `GET /api/settings` lists them."""

    values: Values = {}


class Resume(Room):
    """A run to go on with, and settings that may be others now, such as `total_timesteps` or `minutes`."""

    run: Path
    values: Values = {}


class OneRun(Body):
    """A run."""

    run: Path


class Evaluate(Start):
    """A run or an exported agent to score, and settings of `ploutos evaluate`."""

    run: Path


class Compare(Start):
    """Runs to score over the same bars, and settings of `ploutos evaluate`."""

    runs: Annotated[list[Path], Field(min_length=2, max_length=20)]


class Sweep(Start):
    """What is searched and how, and settings of training; with a run its agent under other costs, not trained."""

    run: Path | None = None


class OneSweep(Body):
    """A sweep, by its folder."""

    sweep: Path


class ResumeSweep(Room):
    """A sweep to go on with, and how many trials side by side, with how many cores each."""

    sweep: Path
    values: Values = {}


class OneJournal(Body):
    """A paper account, by its journal."""

    journal: Path


class PaperReport(Room):
    """A paper account, and the run of its agent."""

    journal: Path
    run: Path


class Check(Body):
    """A command and settings of it, to be read by its own parser."""

    command: Annotated[str, StringConstraints(pattern="^(train|validate|evaluate|download|sweep)$")]
    values: Values = {}


class Queue(Body):
    """Whether jobs that wait may start."""

    paused: bool


class JobState(BaseModel):
    """A job; see `ploutos_jax.ui.jobs.record.Job`."""

    id: str
    command: str
    about: str
    cores: int
    memory_mb: int
    asked: float
    state: str
    code: int | None
    reason: str | None


class Checked(BaseModel):
    """What the command says of the values, and the command line that they make."""

    complaint: str | None
    command: str


Record = dict[str, Any]
