"""The API as one ASGI application, and the static pages beside it."""

import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import plotly
from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from ploutos_jax.ui.api import jobs, papers, runs, sweeps
from ploutos_jax.ui.api.access import Access
from ploutos_jax.ui.api.context import Context, answer_errors
from ploutos_jax.ui.project import Project
from ploutos_jax.version import __version__

MAX_UPLOAD_MB = 200
_PAGES = Path(__file__).resolve().parents[1] / "live"
_PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_FILES = {
    "/live": ("live.html", "text/html"),
    "/live.js": ("live.js", "text/javascript"),
    "/curves.js": ("curves.js", "text/javascript"),
    "/live.css": ("live.css", "text/css"),
    "/api/docs": ("operations.html", "text/html"),
    "/operations.js": ("operations.js", "text/javascript"),
}
_PAGE_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; frame-ancestors 'self';"
    " base-uri 'none'; form-action 'self'"
)
"""Plotly writes style sheets of its own into the page; scripts come from files of this server alone."""


class Front(Protocol):
    """What serves the pages."""

    lifespan: Any

    def load(self) -> None:
        """Import what pages use."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        ...


def make_app(
    project: Project,
    *,
    token: str | None = None,
    max_upload_mb: int = MAX_UPLOAD_MB,
    front: Front | None = None,
    context: Context | None = None,
) -> Access:
    """Return the API of a project, with a front end at `/` if there is one.

    Args:
        project: the folder.
        token: that requests have to give; None asks for none.
        max_upload_mb: the largest file that is taken in, in MB.
        front: what serves every other path.
        context: what the API works with, where the front end shares it.
    """
    here = context or Context.of(project, max_upload_mb)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # The first look at many runs takes longest; nobody should have to wait for it.
        await run_in_threadpool(here.runs.all)
        if front is not None:
            threading.Thread(target=_prepare, args=(here, front), daemon=True).start()
        async with contextlib.nullcontext() if front is None else front.lifespan(app):
            yield

    app = FastAPI(
        title="ploutos",
        version=__version__,
        summary="Runs, models, data and jobs of a project of ploutos_jax.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.context = here
    answer_errors(app)
    app.include_router(runs.router)
    app.include_router(jobs.router)
    app.include_router(papers.router)
    app.include_router(sweeps.router)
    for address, (name, kind) in _FILES.items():
        _serve(app, address, _PAGES / name, kind)
    _serve(app, "/plotly.js", _PLOTLY, "text/javascript", seconds=86_400)

    @app.get("/healthz", include_in_schema=False)
    def say_well() -> PlainTextResponse:
        return PlainTextResponse("ok")

    if front is not None:
        app.mount("/", front)
    most = max_upload_mb * 2**20
    # Above the limit that `DataFiles` refuses by, with a sentence: what does not say its length is cut off here.
    uploads = {"/api/data/files/": most + 2**20, "/_stcore/upload_file/": most + 2**20}
    return Access(app, token=token, key=here.key, uploads=uploads)


def _prepare(here: Context, front: Front) -> None:
    """Have libraries and settings at hand before somebody opens a page; whoever asks for them hears of an error."""
    front.load()
    with contextlib.suppress(RuntimeError):
        here.forms.describe()


def _serve(app: FastAPI, address: str, file: Path, kind: str, seconds: int = 0) -> None:
    headers = {"cache-control": f"max-age={seconds}"}
    if kind == "text/html":
        headers["content-security-policy"] = _PAGE_POLICY

    @app.get(address, include_in_schema=False)
    def send_file() -> FileResponse:
        return FileResponse(file, media_type=f"{kind}; charset=utf-8", headers=headers)
