"""Jobs and their logs, files of bars, settings as forms, the machine."""

import os
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from ploutos_jax.ui.api.bodies import Check, Checked, JobState, Queue, Record, Start
from ploutos_jax.ui.api.context import Context, context_of, responses, state_of
from ploutos_jax.ui.api.runs import events
from ploutos_jax.ui.forms import SettingError
from ploutos_jax.ui.jobs.queue import PAUSED, free_memory_mb
from ploutos_jax.ui.jobs.record import Job
from ploutos_jax.ui.live_figures import follow_text
from ploutos_jax.version import __version__

router = APIRouter(prefix="/api")
Here = Annotated[Context, Depends(context_of)]
JobName = Annotated[str, InPath(max_length=60)]
_LAST_BYTES = 2**18


@router.get("/machine", tags=["machine"])
def read_machine(here: Here) -> Record:
    """Return which version this is, the project's folder, cores, free memory, load."""
    return {
        "version": __version__,
        "project": str(here.project.root),
        "cores": os.cpu_count(),
        "free_memory_mb": free_memory_mb(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "is_queue_paused": (here.jobs.folder / PAUSED).exists(),
    }


@router.get("/settings", tags=["settings"], responses={**responses(503)})
def read_settings(here: Here) -> Record:
    """Return every setting of the commands with its type, default, bounds and help, and the presets."""
    return here.forms.describe()


@router.post("/settings/check", tags=["settings"], responses={**responses(400, 503)})
def check_settings(here: Here, body: Check) -> Checked:
    """Say what the command itself says of settings, without running it."""
    words = here.forms.words(body.command, body.values)
    shown = Job("", tuple(words), "", 0, 0, 0.0, "", None, None).command
    return Checked(complaint=here.forms.complaint(words), command=shown)


@router.get("/jobs", tags=["jobs"])
def list_jobs(here: Here) -> list[JobState]:
    """List all jobs, the newest first, with the command line of each."""
    return [state_of(job) for job in here.jobs.all()]


@router.get("/jobs/{job}", tags=["jobs"], responses={**responses(404)})
def read_job(here: Here, job: JobName) -> JobState:
    """Return a job."""
    return state_of(here.jobs.get(job))


@router.get("/jobs/{job}/log", tags=["jobs"], responses={**responses(404)})
def read_job_log(here: Here, job: JobName) -> PlainTextResponse:
    """Return the end of what a job printed."""
    file = here.jobs.log_of(job)
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - _LAST_BYTES, 0))
        return PlainTextResponse(opened.read().decode("utf-8", errors="replace"))


@router.get("/jobs/{job}/log/live", tags=["jobs"], responses={**responses(404)})
async def follow_job_log(here: Here, job: JobName) -> StreamingResponse:
    """Follow what a job prints: server-sent events `text`, then `end`."""
    file = await run_in_threadpool(here.jobs.log_of, job)
    return events(follow_text(file, lambda: here.jobs.get(job).state not in ("waiting", "running")))


@router.post("/jobs/{job}/stop", tags=["jobs"], status_code=202, responses={**responses(404)})
def stop_job(here: Here, job: JobName) -> JobState:
    """Ask a job to end; training writes a checkpoint first."""
    return state_of(here.jobs.stop(job))


@router.post("/queue", tags=["jobs"])
def set_queue(here: Here, body: Queue) -> Queue:
    """Let no job begin that waits, or let them begin again."""
    file = here.jobs.folder / PAUSED
    if body.paused:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    else:
        file.unlink(missing_ok=True)
    return body


@router.get("/data", tags=["data"])
def list_data(here: Here) -> list[Record]:
    """List the files of bars in `data/`."""
    return here.data.all()


@router.get("/data/facts", tags=["data"], responses={**responses(400, 404)})
def read_data_facts(here: Here, path: str) -> Record:
    """Return what a file holds and how well it covers its span, ticker by ticker, as `load_panel` reads it."""
    return here.data.facts(path)


@router.post("/data/download", tags=["data"], status_code=202, responses={**responses(400, 429, 503)})
def download_data(here: Here, body: Start) -> JobState:
    """Fetch bars into a file in `data/`: a job of `ploutos download`."""
    output = str(body.values.get("output") or "data/bars.parquet")
    here.project.inside(output, ("data",))
    if not output.endswith(".parquet"):
        raise SettingError(f"output={output[:80]!r} must end in .parquet.")
    if not body.values.get("tickers"):
        raise SettingError("tickers is missing: name some, such as AAPL,MSFT, or SP500.")
    words = here.forms.words("download", {**body.values, "output": output})
    return here.start(words, output, body)


@router.put(
    "/data/files/{name}",
    tags=["data"],
    status_code=201,
    responses={**responses(400, 409, 413)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def take_file(here: Here, request: Request, name: Annotated[str, InPath(max_length=100)]) -> Record:
    """Take a file of bars into `data/`: its bytes are the body. It is kept if `load_panel` reads it."""
    file = await here.data.receive(name, request.stream())
    return await run_in_threadpool(here.data.take_in, file)
