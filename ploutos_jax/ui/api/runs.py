"""Runs: what there is, settings, curves, logs; start, stop, go on. Evaluations, comparisons and validations of them."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse

from ploutos_jax.runs.run_files import RunFiles
from ploutos_jax.train.run.folder import CONFIG_FILE
from ploutos_jax.train.run.text_log import LOG_FILE
from ploutos_jax.ui.api.bodies import Compare, Evaluate, JobState, OneRun, Record, Resume, Start
from ploutos_jax.ui.api.context import Context, context_of, responses
from ploutos_jax.ui.results import (
    find_models,
    find_reports,
    find_validations,
    remove_model,
    report_page,
    stop_writer,
)
from ploutos_jax.ui.series import CURVES

router = APIRouter(prefix="/api")
Here = Annotated[Context, Depends(context_of)]
RunName = Annotated[str, Query(max_length=400, description="a run, such as checkpoints/run-1")]
RunNames = Annotated[list[str], Query(max_length=20, description="runs")]
_LAST_BYTES = 65_536
_MAY_CHANGE = frozenset({"total_timesteps", "minutes", "episodes", "until_converged", "device", "checkpoint_every"})
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data:; font-src data:"
)
"""A report is a file that anybody may have written: its scripts draw, and reach nothing of this server."""


@router.get("/runs", tags=["runs"])
def list_runs(here: Here) -> list[Record]:
    """List all runs, the newest first: settings that matter, progress, score, state."""
    return here.runs.all()


@router.get("/runs/one", tags=["runs"], responses={**responses(400, 404)})
def read_run(here: Here, run: RunName) -> Record:
    """Return what is known of a run."""
    return here.runs.about(here.project.run(run))


@router.get("/runs/config", tags=["runs"], responses={**responses(400, 404)})
def read_config(here: Here, run: RunName) -> Record:
    """Return the settings of a run, as its `config.yaml` holds them, and the text of that file."""
    folder = here.project.run(run)
    try:
        settings: dict[str, Any] | None = RunFiles(folder).settings
    except ValueError:
        settings = None
    text = (folder / CONFIG_FILE).read_bytes()[:_LAST_BYTES].decode("utf-8", errors="replace")
    return {"settings": _plain(settings), "text": text}


@router.get("/runs/figures", tags=["runs"], responses={**responses(400, 404)})
def read_curves(here: Here, run: RunNames) -> Record:
    """Return the curves of runs: points of at most 1,200 updates each; of several seeds the means."""
    folders = {name: here.project.run(name) for name in run}
    return {"curves": list(CURVES), "runs": {name: here.runs.points(folder) for name, folder in folders.items()}}


@router.get("/runs/log", tags=["runs"], responses={**responses(400, 404)})
def read_log(here: Here, run: RunName) -> PlainTextResponse:
    """Return the end of a run's text log."""
    return PlainTextResponse(_end_of(here.project.run(run) / LOG_FILE))


@router.get("/runs/live", tags=["runs"], responses={**responses(400, 404)})
async def follow_runs(here: Here, run: RunNames = []) -> StreamingResponse:  # noqa: B006  # read, never changed
    """Follow runs and the list of all: server-sent events `runs`, `figures` and `log`."""
    folders = [here.project.run(name) for name in run]
    return events(here.live.follow(folders, run))


@router.post("/runs", tags=["runs"], status_code=202, responses={**responses(400, 429, 503)})
def start_run(here: Here, body: Start) -> JobState:
    """Train: a job of `ploutos train` with these settings."""
    values = here.with_output(body.values, "checkpoints", "run")
    return here.start(here.forms.words("train", values), str(values["output"]), body)


@router.post("/runs/stop", tags=["runs"], status_code=202, responses={**responses(400, 404, 409)})
def stop_run(here: Here, body: OneRun) -> Record:
    """Ask the process that trains to end, whoever started it: it writes a checkpoint first."""
    return {"run": body.run, "process": stop_writer(here.project.run(body.run), "run")}


@router.post("/runs/resume", tags=["runs"], status_code=202, responses={**responses(400, 404, 409, 429, 503)})
def resume_run(here: Here, body: Resume) -> JobState:
    """Go on with a run from its newest checkpoint: a job of `ploutos train --resume`."""
    folder = here.project.run(body.run)
    here.check_can_go_on("run", folder, body.values, _MAY_CHANGE)
    name = here.project.name_of(folder)
    words = here.forms.words("train", body.values)
    words[1:1] = [f"--config={name}/{CONFIG_FILE}", f"--output={name}", "--resume"]
    return here.start(words, name, body)


@router.get("/models", tags=["models"])
def list_models(here: Here) -> list[Record]:
    """List runs with their checkpoints, and exported agents."""
    return find_models(here.project)


@router.delete("/models", tags=["models"], status_code=204, responses={**responses(400, 404, 409)})
def delete_model(here: Here, path: RunName, confirm: Annotated[str, Query(max_length=200)]) -> None:
    """Remove a run, one checkpoint or an exported agent; `confirm` is the name of its folder once more."""
    remove_model(here.project, path, confirm)


@router.post("/models/compare", tags=["models"], status_code=202, responses={**responses(400, 404, 429, 503)})
def compare_models(here: Here, body: Compare) -> JobState:
    """Score runs over the same bars, on one page: a job of `ploutos evaluate --compare`."""
    names = [here.project.name_of(here.project.run(name)) for name in body.runs]
    values = here.with_output(body.values, "reports", "comparison")
    words = here.forms.words("evaluate", values)
    words[1:1] = ["--compare", *names]
    return here.start(words, str(values["output"]), body)


@router.get("/evaluations", tags=["evaluations"])
def list_evaluations(here: Here) -> list[Record]:
    """List all reports, the newest first, with their main figures."""
    return find_reports(here.project)


@router.post("/evaluations", tags=["evaluations"], status_code=202, responses={**responses(400, 404, 429, 503)})
def evaluate(here: Here, body: Evaluate) -> JobState:
    """Score a run, or an exported agent, on bars it never saw: a job of `ploutos evaluate`."""
    folder = here.project.inside(body.run)
    if not folder.is_dir():
        raise FileNotFoundError("There is no run or exported agent of that name.")
    name = here.project.name_of(folder)
    values = here.with_output(body.values, name, "evaluation")
    words = here.forms.words("evaluate", values)
    words[1:1] = [f"--checkpoint={name}"]
    return here.start(words, str(values["output"]), body)


@router.get("/reports/page", tags=["evaluations"], responses={**responses(400, 404)})
def read_report(here: Here, path: Annotated[str, Query(max_length=400)]) -> FileResponse:
    """Return the page of a report."""
    file = report_page(here.project, path)
    return FileResponse(file, media_type="text/html", headers={"content-security-policy": REPORT_POLICY})


@router.get("/validations", tags=["validations"])
def list_validations(here: Here) -> list[Record]:
    """List all validations, with their results."""
    return [_plain(each) for each in find_validations(here.project)]


@router.post("/validations", tags=["validations"], status_code=202, responses={**responses(400, 429, 503)})
def validate(here: Here, body: Start) -> JobState:
    """Retrain on every fold of a history: a job of `ploutos validate`."""
    values = here.with_output(body.values, "checkpoints", "validation")
    return here.start(here.forms.words("validate", values), str(values["output"]), body)


def events(stream: AsyncIterator[bytes]) -> StreamingResponse:
    """Return a stream of server-sent events."""
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


def _end_of(file: Path) -> str:
    with suppress(OSError), file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - _LAST_BYTES, 0))
        return opened.read().decode("utf-8", errors="replace")
    return ""


def _plain(value: Any) -> Any:
    """Return what JSON can say: YAML knows dates and numbers that are none."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bool | str | None):
        return value
    is_number = isinstance(value, int | float) and abs(value) < 1e300
    return value if is_number else str(value)
