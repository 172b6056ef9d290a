"""Sweeps: what there is, trials and what came of them; start, stop, go on."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse

from ploutos_jax.ui.api.bodies import JobState, OneSweep, Record, ResumeSweep, Sweep
from ploutos_jax.ui.api.context import Context, context_of, responses
from ploutos_jax.ui.forms import SettingError
from ploutos_jax.ui.results import stop_writer
from ploutos_jax.ui.sweeps import checked

router = APIRouter(prefix="/api", tags=["sweeps"])
Here = Annotated[Context, Depends(context_of)]
SweepName = Annotated[str, Query(max_length=400, description="a sweep, such as checkpoints/sweep-1")]
_MAY_CHANGE = frozenset({"cores", "gpus", "at_once", "device"})


@router.get("/sweeps")
def list_sweeps(here: Here) -> list[Record]:
    """List all sweeps, the newest first: what each searches, how many trials, the best of them, its state."""
    return here.sweeps.all()


@router.get("/sweeps/one", responses={**responses(400, 404)})
def read_sweep(here: Here, sweep: SweepName) -> Record:
    """Return what is known of a sweep, and a row for each of its trials, the best first."""
    folder = here.sweeps.folder_of(sweep)
    return here.sweeps.about(folder) | here.sweeps.table(folder)


@router.get("/sweeps/picture", responses={**responses(400, 404)})
def read_picture(here: Here, sweep: SweepName) -> FileResponse:
    """Return the picture of a sweep that has ended."""
    return FileResponse(here.sweeps.picture(here.sweeps.folder_of(sweep)), media_type="image/png")


@router.post("/sweeps", status_code=202, responses={**responses(400, 404, 429, 503)})
def start_sweep(here: Here, body: Sweep) -> JobState:
    """Try many settings: a job of `ploutos sweep`. `values.over` says which, such as `learning_rate=1e-4,1e-3`."""
    if not body.values.get("over"):
        raise SettingError("over is missing: say what is to be tried, such as 'learning_rate=1e-4,1e-3'.")
    values = here.with_output(body.values, "checkpoints", "sweep")
    words = here.forms.words("sweep", values)
    if body.run is not None:
        folder = here.project.inside(body.run)
        if not folder.is_dir():
            raise FileNotFoundError("There is no run or exported agent of that name.")
        words[1:1] = [f"--checkpoint={here.project.name_of(folder)}"]
    return here.start(words, str(values["output"]), body)


@router.post("/sweeps/stop", status_code=202, responses={**responses(400, 404, 409)})
def stop_sweep(here: Here, body: OneSweep) -> Record:
    """Ask the process of a sweep to end, whoever started it; trials that are done stay."""
    return {"sweep": body.sweep, "process": stop_writer(here.sweeps.folder_of(body.sweep), "sweep")}


@router.post("/sweeps/resume", status_code=202, responses={**responses(400, 404, 409, 429, 503)})
def resume_sweep(here: Here, body: ResumeSweep) -> JobState:
    """Go on with a sweep: a job of `ploutos sweep --resume`, its settings those that it was started with."""
    folder = here.sweeps.folder_of(body.sweep)
    checked(folder)
    here.check_can_go_on("sweep", folder, body.values, _MAY_CHANGE)
    name = here.project.name_of(folder)
    words = here.forms.words("sweep", body.values)
    words[1:1] = [f"--output={name}", "--resume"]
    return here.start(words, name, body)
